"""Rule files become rules; what cannot be used is named with file, line, reason and a hint."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from sigma.exceptions import SigmaError
from sigma.filters import SigmaFilter
from sigma.modifiers import SigmaWideModifier, modifier_mapping
from sigma.rule import SigmaRule
from sigma.types import Placeholder, SigmaString

from connwatch.errors import RuleError
from connwatch.schema import BY_NAME

from ..fold import EVIDENCE
from ..ruleset import HOUR, Rule, RuleSet, Unfed
from .compile import compile_rule
from .documents import RuleDocument, read, rule_files
from .faults import check_keys, check_types, explained, quoted, read_by_pysigma
from .fields import FieldMap, UnfedError, field_maps, map_for
from .tree import columns

# Sigma calls it utf16le as well as wide; pySigma 2 knows the second name only.
modifier_mapping.setdefault("utf16le", SigmaWideModifier)

_PERIOD: Final = re.compile(r"([0-9]+)([smhdw])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
#: ten years; log time and a period must fit 64 bits of microseconds together
_LONGEST: Final = 3650 * 86400
_DEFAULT_GROUP: Final = ("source.ip", "destination.ip")
_FILLED: Final = re.compile(r"\{([^{}]+)\}")


def load(paths: Sequence[Path]) -> RuleSet:
    """See `ruleset.load_rules`."""
    documents: list[RuleDocument] = []
    errors: list[RuleError] = []
    for path in rule_files(paths):
        good, bad = read(path)
        documents.extend(good)
        errors.extend(bad)
    placeholders, documents, wrong = _placeholders(documents)
    errors.extend(wrong)
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
) -> tuple[dict[str, list[str]], list[RuleDocument], list[RuleError]]:
    """Values of placeholders, from documents that are nothing but `placeholders:`."""
    values: dict[str, list[str]] = {}
    rest, errors = [], []
    for document in documents:
        content = document.content
        if not (isinstance(content, dict) and set(content) == {"placeholders"}):
            rest.append(document)
            continue
        named = content["placeholders"] or {}
        if not isinstance(named, dict):
            where = document.where("placeholders")
            errors.append(RuleError("placeholders is a mapping of names to values", where=where))
            continue
        for name, words in named.items():
            values[str(name)] = [str(w) for w in (words if isinstance(words, list) else [words])]
    return values, rest, errors


def _filters(
    documents: list[RuleDocument],
) -> tuple[list[SigmaFilter], list[RuleDocument], list[RuleError]]:
    filters, rest, errors = [], [], []
    for document in documents:
        if not (isinstance(document.content, dict) and "filter" in document.content):
            rest.append(document)
            continue
        try:
            check_types(document)
            with read_by_pysigma(document):
                one = SigmaFilter.from_dict(document.content)
                for condition in deepcopy(one.filter).parsed_condition:
                    _ = condition.parsed  # a filter is to blame itself, not each rule it is for
            filters.append(one)
        except RuleError as error:
            errors.append(error)
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
    check_keys(document)
    check_types(document)
    if _retired(content):
        reason = "its condition has the retired | syntax; write it as a correlation"
        return Unfed(title, document.where("condition"), reason)
    with read_by_pysigma(document):
        parsed = SigmaRule.from_dict(content)
        for one in filters:
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
    _expand(parsed, placeholders)
    try:
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
    group_by = _group_by(document, fields)
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
        message=_message(document, group_by),
        suppress=_suppress(document),
        group_by=group_by,
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


def _message(document: RuleDocument, group_by: Sequence[str]) -> str | None:
    value = document.content.get("message")
    if value is None:
        return None
    if not isinstance(value, str):
        raise RuleError("message must be text", where=document.where("message"))
    known = (*EVIDENCE, *group_by)
    for name in _FILLED.findall(value):
        if name not in known:
            near = get_close_matches(name, known, n=1)
            raise RuleError(
                f"message: {name!r} is no field of the evidence or the group",
                where=document.where("message"),
                hint=f"did you mean {near[0]!r}?" if near else "docs/alerts.md lists them",
            )
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
            hint="write a number and s, m, h, d or w, as in 30m",
        )
    seconds = int(period[1]) * _SECONDS[period[2]]
    if seconds > _LONGEST:
        raise RuleError(f"suppress: {value} is too long", where=document.where("suppress"))
    return seconds * 1_000_000


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
