"""What is wrong with a rule: its line, the reason, and a hint where there is a likely one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Final

from sigma.exceptions import SigmaConditionError, SigmaError
from sigma.modifiers import modifier_mapping

from connwatch.errors import RuleError

from .documents import RuleDocument

_STANDARD: Final = (
    "title", "id", "name", "taxonomy", "related", "status", "description", "license", "author",
    "references", "date", "modified", "logsource", "detection", "fields", "falsepositives",
    "level", "tags", "scope", "action", "correlation", "filter", "analytic",
)  # fmt: skip
_OWN: Final = ("suppress", "group-by", "message", "enabled")
_QUOTED: Final = re.compile(r"'([^']{1,80})'|\"([^\"]{1,80})\"")


def check_keys(document: RuleDocument) -> None:
    """A key that is almost one we know was meant to be it."""
    for key in document.content:
        if key in _STANDARD or key in _OWN:
            continue
        near = get_close_matches(str(key), [*_STANDARD, *_OWN], n=1, cutoff=0.8)
        if near:
            raise RuleError(
                f"unknown key {key!r}",
                where=document.where(str(key)),
                hint=f"did you mean {near[0]!r}?",
            )


def check_nested(document: RuleDocument, section: str, known: Sequence[str]) -> None:
    """A section's keys are all known."""
    content = document.content[section]
    if not isinstance(content, dict):
        raise RuleError(f"{section} is a mapping of keys", where=document.where(section))
    for key in content:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            raise RuleError(
                f"{section}: unknown key {key!r}",
                where=document.where(str(key), section=section),
                hint=f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}",
            )


@contextmanager
def read_by_pysigma(document: RuleDocument) -> Iterator[None]:
    """pySigma's errors as ours, and what it raises for values of a type it does not look at."""
    try:
        yield
    except SigmaError as error:
        raise explained(error, document) from None
    except RecursionError:
        raise RuleError("is nested too deeply", where=document.where("condition")) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        where = document.where("detection", "filter", "correlation")
        raise RuleError(f"a value has the wrong type: {error}", where=where) from None


def check_types(document: RuleDocument) -> None:
    """What must be text and is not; pySigma takes it and breaks later."""
    content = document.content
    identity = content.get("id")
    if identity is not None and not isinstance(identity, str):
        raise RuleError("id must be text", where=document.where(section="id"))
    for section in ("detection", "filter"):
        waiting = [content.get(section)]
        seen: set[int] = set()  # YAML can hold itself
        while waiting:
            one = waiting.pop()
            if id(one) in seen:
                continue
            seen.add(id(one))
            if isinstance(one, list):
                waiting.extend(one)
            elif isinstance(one, dict):
                for key, value in one.items():
                    if fault := _mistyped(key, value):
                        raise RuleError(fault, where=document.where(str(key), section=section))
                waiting.extend(one.values())


def _mistyped(key: object, value: object) -> str | None:
    if not isinstance(key, str):
        return f"the name {key!r} must be text"
    values = value if isinstance(value, list) else [value]
    text = all(isinstance(one, str) for one in values)
    if key == "condition" and not text:
        return "a condition must be text"
    if "re" in key.split("|")[1:] and not text:
        return "a regular expression must be text"
    return None


def quoted(message: str) -> list[str]:
    """What stands in quotes in a message, in order."""
    return [one or other for one, other in _QUOTED.findall(message)]


def explained(error: SigmaError, document: RuleDocument) -> RuleError:
    """pySigma's error with the line it is about, and a hint where there is a likely one."""
    message = str(error.args[0]) if error.args else type(error).__name__
    if isinstance(error, SigmaConditionError) and message.startswith("Expected"):
        position = message.rpartition("(at ")[2].partition(")")[0]
        return RuleError(
            f"the condition cannot be read further than {position or 'its beginning'}",
            where=document.where("condition"),
            hint="it is made of names of detections, and, or, not, 1 of, all of and parentheses",
        )
    words = [word.strip() for word in quoted(message)]
    hint = None
    if "modifier" in message.lower() and "nknown" in message:
        for word in words:
            if near := get_close_matches(word, modifier_mapping, n=1, cutoff=0.6):
                hint = f"did you mean {near[0]!r}?"
    if "egular expression" in message:
        hint = "expressions run in linear time: without look-around and back-references"
    if message.startswith("Timespan"):
        hint = "write a number and s, m, h, d, w, M or y, as in 5m"
    detection = document.content.get("detection")
    names = (
        [name for name in detection if name != "condition"] if isinstance(detection, dict) else []
    )
    if hint is None and "etection" in message:
        for word in words:
            if near := get_close_matches(word, [str(name) for name in names], n=1, cutoff=0.6):
                hint = f"did you mean {near[0]!r}?"
    section = _about(message, document)
    inside = section if section in document.content else None
    if "condition" in message:
        words.append("condition")
    return RuleError(message, where=document.where(*words, section=inside), hint=hint)


def _about(message: str, document: RuleDocument) -> str:
    """The top-level key that one of pySigma's messages is about: the first that it names."""
    said = message.lower().replace("log source", "logsource")
    places = {}
    for key in _STANDARD:
        if key in document.content and (
            found := re.search(rf"\b{key.removesuffix('s')}s?\b", said)
        ):
            places[key] = found.start()
    if not places and "filter" in document.content:
        return "filter"
    return min(places, key=lambda key: places[key], default="detection")
