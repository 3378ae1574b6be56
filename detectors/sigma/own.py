"""The keys of a rule that are ours: message, suppress, group-by, enabled."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, Final

from sigma.rule import SigmaRuleBase

from connwatch.errors import RuleError
from connwatch.schema import OBJECTS

from ..fold import EVIDENCE
from .documents import RuleDocument
from .fields import FieldMap, Target

_PERIOD: Final = re.compile(r"([0-9]+)([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
#: ten years; log time and a period must fit 64 bits of microseconds together
_LONGEST: Final = 3650 * 86400
_DEFAULT_GROUP: Final = ("source.ip", "destination.ip")
#: what of entries of lists a message may name
OF_LISTS: Final = ("indicator", "provider")
#: names of what an alert counts that a message may use beside fields
FILLED_IN: Final = ("count", "value", "peak", "counted", *OF_LISTS)
_FILLED: Final = re.compile(r"\{([^{}]+)\}")


def described(
    document: RuleDocument, parsed: SigmaRuleBase, group: tuple[str, ...], quiet: int
) -> dict[str, Any]:
    """What a rule says of itself, as the arguments of `ruleset.Described`."""
    title = parsed.title
    return {
        "key": str(parsed.id) if parsed.id else hashlib.sha256(title.encode()).hexdigest()[:32],
        "id": str(parsed.id) if parsed.id else None,
        "title": title,
        "description": parsed.description,
        "level": parsed.level.name.lower() if parsed.level else "medium",
        "tags": tuple(str(tag) for tag in parsed.tags),
        "author": parsed.author,
        "references": tuple(str(reference) for reference in parsed.references),
        "falsepositives": tuple(str(one) for one in parsed.falsepositives),
        "message": message(document, (*EVIDENCE, *group, *FILLED_IN)),
        "suppress": quiet,
        "group_by": group,
        "enabled": enabled(document),
        "where": document.where(),
    }


def message(document: RuleDocument, known: Sequence[str]) -> str | None:
    value = document.content.get("message")
    if value is None:
        return None
    if not isinstance(value, str):
        raise RuleError("message must be text", where=document.where("message"))
    for name in _FILLED.findall(value):
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise RuleError(
                f"message: {name!r} is no field of the evidence or the group",
                where=document.where("message"),
                hint=f"did you mean {near[0]!r}?" if near else "docs/alerts.md lists them",
            )
    return value


def suppress(document: RuleDocument, default: int) -> int:
    """The quiet period in µs."""
    value = document.content.get("suppress")
    return default if value is None else period(document, "suppress", value)


def quiet_period(document: RuleDocument, timespan: int) -> int:
    """The quiet period of a window; RuleError when it is shorter than the window."""
    quiet = suppress(document, timespan)
    if quiet < timespan:
        raise RuleError(
            "suppress is shorter than the window",
            where=document.where("suppress"),
            hint="the quiet period of a window is at least as long as the window",
        )
    return quiet


def period(document: RuleDocument, key: str, value: object) -> int:
    """A number and a unit as µs; RuleError when it is none."""
    found = _PERIOD.fullmatch(str(value))
    if found is None:
        raise RuleError(
            f"{key}: {value!r} is not a period",
            where=document.where(key),
            hint="write a number and s, m, h, d or w, as in 30m",
        )
    seconds = int(found[1]) * _SECONDS[found[2]]
    if seconds > _LONGEST:
        raise RuleError(f"{key}: {value} is too long", where=document.where(key))
    return seconds * 1_000_000


def group_by(document: RuleDocument, fields: FieldMap) -> tuple[str, ...]:
    value = document.content.get("group-by")
    if value is None:
        return _DEFAULT_GROUP
    named = [value] if isinstance(value, str) else value
    if not isinstance(named, list):
        raise RuleError("group-by must be a list of fields", where=document.where("group-by"))
    return tuple(field_of(document, fields, str(name), "group-by: ").column for name in named)


def field_of(
    document: RuleDocument,
    fields: FieldMap,
    name: str,
    said: str = "",
    section: str | None = None,
) -> Target:
    """What a field that a rule groups or counts by is here; RuleError when no record has it.

    said: what stands before the message. section: where the name stands in the rule.
    """
    target = fields.target(name)
    if target is None or target.column in OBJECTS:
        near = fields.suggestion(name)
        raise RuleError(
            f"{said}no record here has the field {name!r}",
            where=document.where(name, section=section),
            hint=f"did you mean {near!r}?" if near else "connwatch schema lists the fields",
        )
    return target


def enabled(document: RuleDocument) -> bool:
    value = document.content.get("enabled", True)
    if not isinstance(value, bool):
        raise RuleError("enabled must be true or false", where=document.where("enabled"))
    return value
