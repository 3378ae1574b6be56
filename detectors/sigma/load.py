"""Rule files become rules; what cannot be used is named with file, line, reason and a hint."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from sigma.exceptions import SigmaConditionError, SigmaError
from sigma.filters import SigmaFilter
from sigma.modifiers import modifier_mapping
from sigma.rule import SigmaRule
from sigma.types import Placeholder, SigmaString

from connwatch.errors import RuleError
from connwatch.schema import BY_NAME

from ..ruleset import HOUR, Rule, RuleSet, Unfed
from .compile import UnfedError, compile_rule
from .documents import RuleDocument, read, rule_files
from .fields import FieldMap, field_maps, map_for
from .tree import columns

_PERIOD: Final = re.compile(r"(\d+)([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_STANDARD: Final = (
    "title", "id", "name", "taxonomy", "related", "status", "description", "license", "author",
    "references", "date", "modified", "logsource", "detection", "fields", "falsepositives",
    "level", "tags", "scope", "action", "correlation", "filter", "analytic",
)  # fmt: skip
_OWN: Final = ("suppress", "group-by", "message", "enabled")
_DEFAULT_GROUP: Final = ("source.ip", "destination.ip")
_QUOTED: Final = re.compile(r"'([^']{1,80})'|\"([^\"]{1,80})\"")


def load(paths: Sequence[Path]) -> RuleSet:
    """See `ruleset.load_rules`."""
    documents: list[RuleDocument] = []
    errors: list[RuleError] = []
    for path in rule_files(paths):
        read_documents, error = read(path)
        documents.extend(read_documents)
        if error is not None:
            errors.append(error)
    placeholders, documents = _placeholders(documents)
    filters, documents, wrong = _filters(documents)
    errors.extend(wrong)
    rules: dict[str, Rule] = {}
    unfed: list[Unfed] = []
    for document in documents:
        try:
            rule = _rule(document, filters, placeholders)
        except RuleError as error:
            errors.append(error)
            continue
        if isinstance(rule, Unfed):
            unfed.append(rule)
        elif rule.key in rules:
            errors.append(
                RuleError(
                    f"the rule {rule.title!r} has the id of the rule at {rules[rule.key].where}",
                    where=document.where(rule.id or rule.title),
                    hint="give each rule an id of its own",
                )
            )
        else:
            rules[rule.key] = rule
    ordered = [rules[key] for key in sorted(rules)]
    return RuleSet(
        tuple(rule for rule in ordered if rule.enabled),
        tuple(rule for rule in ordered if not rule.enabled),
        tuple(errors),
        tuple(unfed),
    )


def _placeholders(
    documents: list[RuleDocument],
) -> tuple[dict[str, list[str]], list[RuleDocument]]:
    """Values of placeholders, from documents that are nothing but `placeholders:`."""
    values: dict[str, list[str]] = {}
    rest = []
    for document in documents:
        content = document.content
        if isinstance(content, dict) and set(content) == {"placeholders"}:
            for name, words in (content["placeholders"] or {}).items():
                values[str(name)] = [
                    str(w) for w in (words if isinstance(words, list) else [words])
                ]
        else:
            rest.append(document)
    return values, rest


def _filters(
    documents: list[RuleDocument],
) -> tuple[list[SigmaFilter], list[RuleDocument], list[RuleError]]:
    filters, rest, errors = [], [], []
    for document in documents:
        if not (isinstance(document.content, dict) and "filter" in document.content):
            rest.append(document)
            continue
        try:
            filters.append(SigmaFilter.from_dict(document.content))
        except SigmaError as error:
            errors.append(_explained(error, document))
    return filters, rest, errors


def _rule(
    document: RuleDocument,
    filters: Sequence[SigmaFilter],
    placeholders: Mapping[str, Sequence[str | Placeholder]],
) -> Rule | Unfed:
    content = document.content
    if not isinstance(content, dict):
        raise RuleError("a rule is a mapping of keys to values", where=document.where())
    title = str(content.get("title", "without a title"))
    for kind, what in (("correlation", "correlations"), ("analytic", "analytics")):
        if kind in content:
            reason = f"{what} are not in this version"
            return Unfed(title, document.where(kind), reason)
    _check_keys(document)
    if _retired(content):
        reason = "its condition has the retired | syntax; write it as a correlation"
        return Unfed(title, document.where("condition"), reason)
    try:
        parsed = SigmaRule.from_dict(content)
        for one in filters:
            one.apply_on_rule(parsed)
    except SigmaError as error:
        raise _explained(error, document) from None
    source = {
        "category": parsed.logsource.category,
        "product": parsed.logsource.product,
        "service": parsed.logsource.service,
    }
    fields = map_for(source, field_maps())
    if fields is None:
        named = ", ".join(f"{key} {value}" for key, value in source.items() if value)
        return Unfed(title, document.where("logsource"), f"no source here feeds {named}")
    _expand(parsed, placeholders)
    try:
        node = compile_rule(parsed, fields)
    except UnfedError as error:
        return Unfed(title, document.where(*_quoted(str(error))), str(error))
    except SigmaError as error:
        raise _explained(error, document) from None
    except RuleError as error:
        where = document.where(*_quoted(error.message), "detection")
        raise RuleError(error.message, where=where, hint=error.hint) from None
    return Rule(
        key=str(parsed.id) if parsed.id else hashlib.sha256(title.encode()).hexdigest()[:32],
        id=str(parsed.id) if parsed.id else None,
        title=title,
        description=parsed.description,
        level=parsed.level.name.lower() if parsed.level else "medium",
        tags=tuple(str(tag) for tag in parsed.tags),
        author=parsed.author,
        references=tuple(str(reference) for reference in parsed.references),
        falsepositives=tuple(str(one) for one in parsed.falsepositives),
        message=_text(document, "message"),
        suppress=_suppress(document),
        group_by=_group_by(document, fields),
        enabled=_enabled(document),
        where=document.where(),
        needs=frozenset(columns(node)),
        datasets=fields.datasets,
        node=node,
    )


def _retired(content: dict[str, Any]) -> bool:
    detection = content.get("detection")
    conditions = detection.get("condition") if isinstance(detection, dict) else None
    listed = conditions if isinstance(conditions, list) else [conditions]
    return any(isinstance(one, str) and "|" in one for one in listed)


def _check_keys(document: RuleDocument) -> None:
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


def _expand(rule: SigmaRule, placeholders: Mapping[str, Sequence[str | Placeholder]]) -> None:
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
                    if isinstance(value, SigmaString) and value.contains_placeholder()
                    else [value]
                )
            ]


def _text(document: RuleDocument, key: str) -> str | None:
    value = document.content.get(key)
    if value is not None and not isinstance(value, str):
        raise RuleError(f"{key} must be text", where=document.where(key))
    return value


def _suppress(document: RuleDocument) -> int:
    value = document.content.get("suppress")
    if value is None:
        return HOUR
    period = _PERIOD.fullmatch(str(value))
    if period is None:
        raise RuleError(
            f"suppress: {value!r} is not a period",
            where=document.where("suppress"),
            hint="write a number and s, m, h or d, as in 30m",
        )
    return int(period[1]) * _SECONDS[period[2]] * 1_000_000


def _group_by(document: RuleDocument, fields: FieldMap) -> tuple[str, ...]:
    value = document.content.get("group-by")
    if value is None:
        return _DEFAULT_GROUP
    named = [value] if isinstance(value, str) else value
    if not isinstance(named, list):
        raise RuleError("group-by must be a list of fields", where=document.where("group-by"))
    group = []
    for name in named:
        target = fields.target(str(name))
        if target is None or BY_NAME[target.column].es == "flattened":
            near = fields.suggestion(str(name))
            raise RuleError(
                f"group-by: no record here has the field {name!r}",
                where=document.where(str(name)),
                hint=f"did you mean {near!r}?" if near else "connwatch schema lists the fields",
            )
        group.append(target.column)
    return tuple(group)


def _enabled(document: RuleDocument) -> bool:
    value = document.content.get("enabled", True)
    if not isinstance(value, bool):
        raise RuleError("enabled must be true or false", where=document.where("enabled"))
    return value


def _quoted(message: str) -> list[str]:
    return [one or other for one, other in _QUOTED.findall(message)]


def _explained(error: SigmaError, document: RuleDocument) -> RuleError:
    """pySigma's error with the line it is about, and a hint where there is a likely one."""
    message = str(error.args[0]) if error.args else type(error).__name__
    if isinstance(error, SigmaConditionError) and message.startswith("Expected"):
        position = message.rpartition("(at ")[2].partition(")")[0]
        return RuleError(
            f"the condition cannot be read further than {position or 'its beginning'}",
            where=document.where("condition"),
            hint="it is made of names of detections, and, or, not, 1 of, all of and parentheses",
        )
    words = [word.strip() for word in _quoted(message)]
    hint = None
    if "modifier" in message.lower() and "nknown" in message:
        for word in words:
            if near := get_close_matches(word, modifier_mapping, n=1, cutoff=0.6):
                hint = f"did you mean {near[0]!r}?"
    if "egular expression" in message:
        hint = "expressions run in linear time: without look-around and back-references"
    detection = document.content.get("detection")
    names = (
        [name for name in detection if name != "condition"] if isinstance(detection, dict) else []
    )
    if hint is None and "etection" in message:
        for word in words:
            if near := get_close_matches(word, [str(name) for name in names], n=1, cutoff=0.6):
                hint = f"did you mean {near[0]!r}?"
    fallback = [
        key
        for key in ("condition", "logsource", "detection", "level", "status", "date", "id", "tags")
        if key in message.lower()
    ]
    return RuleError(message, where=document.where(*words, *fallback, "detection"), hint=hint)
