"""Rules about one record: read, filtered, filled in and compiled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sigma.exceptions import SigmaError
from sigma.filters import SigmaFilter
from sigma.modifiers import SigmaWideModifier, modifier_mapping
from sigma.rule import SigmaRule
from sigma.types import Placeholder, SigmaRegularExpression, SigmaString

from connwatch.errors import RuleError

from ..indicators import Lists
from ..ruleset import HOUR, Rule, Unfed
from .compile import compile_rule
from .documents import RuleDocument
from .faults import check_keys, check_types, explained, quoted, read_by_pysigma
from .fields import UnfedError, field_maps, map_for
from .own import described, group_by, suppress
from .tree import columns

# Sigma calls it utf16le as well as wide; pySigma 2 knows the second name only.
modifier_mapping.setdefault("utf16le", SigmaWideModifier)


@dataclass(frozen=True, slots=True)
class Context:
    """What stands beside the rules: filters, values of placeholders, and the lists of indicators
    that were read already, by files and options."""

    filters: Sequence[SigmaFilter]
    placeholders: Mapping[str, Sequence[str | Placeholder]]
    lists: dict[tuple[object, ...], Lists] = field(default_factory=dict)


def single(document: RuleDocument, context: Context) -> Rule | Unfed:
    """A rule about one record, ready to run; RuleError says what is wrong with it."""
    content = document.content
    title = str(content.get("title", "without a title"))
    check_keys(document)
    check_types(document)
    if _retired(content):
        reason = "its condition has the retired | syntax; write it as a correlation"
        return Unfed(title, document.where("condition"), reason)
    with read_by_pysigma(document):
        parsed = SigmaRule.from_dict(content)
        for one in context.filters:
            one.apply_on_rule(parsed)
    source = {
        "category": parsed.logsource.category,
        "product": parsed.logsource.product,
        "service": parsed.logsource.service,
    }
    fields = map_for(source, field_maps())
    if fields is None:
        named = ", ".join(f"{key} {value}" for key, value in source.items() if value)
        return Unfed(title, document.where("logsource"), f"no source here feeds {named}")
    try:
        fill_in(parsed, context.placeholders)
        node = compile_rule(parsed, fields)
    except UnfedError as error:
        where = document.where(*quoted(str(error)), section="detection")
        return Unfed(title, where, str(error))
    except SigmaError as error:
        raise explained(error, document) from None
    except RecursionError:
        raise RuleError("is nested too deeply", where=document.where("condition")) from None
    except RuleError as error:
        # the value stands behind the field in what is said, and is the better place
        where = document.where(*reversed(quoted(error.message)), section="detection")
        raise RuleError(error.message, where=where, hint=error.hint) from None
    return Rule(
        **described(document, parsed, group_by(document, fields), suppress(document, HOUR)),
        needs=frozenset(columns(node)),
        datasets=fields.datasets,
        node=node,
        fields=fields,
        product=source["product"] is not None,
    )


def _retired(content: dict[str, Any]) -> bool:
    detection = content.get("detection")
    conditions = detection.get("condition") if isinstance(detection, dict) else None
    listed = conditions if isinstance(conditions, list) else [conditions]
    return any(isinstance(one, str) and "|" in one for one in listed)


def fill_in(rule: SigmaRule, placeholders: Mapping[str, Sequence[str | Placeholder]]) -> None:
    """Put the values of placeholders into the rule; those without any stay, and are named later."""
    if not placeholders:
        return

    def values(placeholder: Placeholder) -> Iterator[str | Placeholder]:
        yield from placeholders.get(placeholder.name, [placeholder])

    for detection in rule.detection.detections.values():
        waiting: list[Any] = list(detection.detection_items)
        while waiting:
            item = waiting.pop()
            if hasattr(item, "detection_items"):
                waiting.extend(item.detection_items)
                continue
            item.value = [
                new
                for value in item.value
                for new in (
                    value.replace_placeholders(values)
                    if _can_be_filled(value, placeholders)
                    else [value]
                )
            ]


def _can_be_filled(value: Any, placeholders: Mapping[str, Sequence[str | Placeholder]]) -> bool:
    """Whether there are placeholders in a value, in an expression such that all have values: what
    is left in it would be text."""
    if isinstance(value, SigmaString):
        return value.contains_placeholder()
    if not isinstance(value, SigmaRegularExpression) or not value.contains_placeholder():
        return False
    names = [part.name for part in value.regexp.s if isinstance(part, Placeholder)]
    filled = (placeholders.get(name, ()) for name in names)
    return all(known and all(isinstance(one, str) for one in known) for known in filled)
