"""Rules with an `analytic:` block: a filter as in any rule, and windows over what it lets in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from connwatch.errors import RuleError

from ..analytics import ANALYTICS
from ..analytics.spec import Analytic, Count
from ..fold import EVIDENCE
from ..ruleset import Correlation, Rule, Unfed
from ..windows.held import Correlated
from ..windows.spec import Threshold, Window
from .documents import RuleDocument
from .faults import check_nested
from .indicators import TYPE as INDICATORS
from .own import FILLED_IN, field_of, message, period, quiet_period
from .single import Context, single

_KEYS: Final = ("type", "by", "any-of")
_NANOSECONDS: Final = 1_000


def analytic(document: RuleDocument, context: Context) -> Correlation | Unfed:
    """A rule with an analytic, ready to run; RuleError says what is wrong with it."""
    check_nested(document, "analytic", _KEYS)
    block = document.content["analytic"]
    kind = ANALYTICS.get(str(block.get("type")))
    if kind is None:
        raise RuleError(
            f"there is no analytic of the type {block.get('type')!r}",
            where=document.where("type", "analytic", section="analytic"),
            hint=f"there are {', '.join((*ANALYTICS, INDICATORS))}",
        )
    base = single(_filter(document), context)
    if isinstance(base, Unfed):
        return base
    by = _by(document, block, kind, base)
    windows = tuple(_windows(document, block, kind, by))
    timespan = max(window.timespan for window in windows)
    suppress = quiet_period(document, timespan)
    records = f"{base.key}/records"
    return Correlation(
        base.key, base.id, base.title, base.description, base.level, base.tags, base.author,
        base.references, base.falsepositives,
        message(document, (*EVIDENCE, *by, *FILLED_IN)),
        suppress, by, base.enabled, base.where,
        needs=base.needs.union(*(window.columns for window in windows)),
        datasets=base.datasets,
        windows=Correlated(base.key, (records,), windows, by, (by,), actor=kind.actor),
        fields=base.fields,
        own=replace(base, key=records),
    )  # fmt: skip


def _filter(document: RuleDocument) -> RuleDocument:
    """The rule without what belongs to its windows; without a detection it lets every record in."""
    kept = {
        key: value
        for key, value in document.content.items()
        if key not in ("analytic", "suppress", "group-by", "message")
    }
    if "group-by" in document.content:
        raise RuleError(
            "group-by has no meaning beside an analytic",
            where=document.where("group-by"),
            hint="analytic: by: says what alerts are grouped by",
        )
    kept.setdefault("detection", {"every": {"event.dataset": "*"}, "condition": "every"})
    return replace(document, content=kept)


def _by(
    document: RuleDocument, block: Mapping[str, Any], kind: Analytic, base: Rule
) -> tuple[str, ...]:
    """The columns that alerts are grouped by."""
    named = block.get("by", list(kind.by))
    if isinstance(named, str):
        named = [named]
    if not isinstance(named, list) or not named:
        raise RuleError("by is a list of fields", where=document.where("by", section="analytic"))
    return tuple(
        field_of(document, base.fields, str(name), "by: ", "analytic").column for name in named
    )


def _windows(
    document: RuleDocument, block: Mapping[str, Any], kind: Analytic, by: tuple[str, ...]
) -> Iterator[Window]:
    listed = block.get("any-of")
    if not isinstance(listed, list) or not listed:
        raise RuleError(
            "any-of is a list of thresholds",
            where=document.where("any-of", "analytic", section="analytic"),
            hint=f"such as {{{next(iter(kind.counts))}: 20, within: 5m}}",
        )
    for one in listed:
        yield _window(document, one, kind, by)


def _window(document: RuleDocument, one: Any, kind: Analytic, by: tuple[str, ...]) -> Window:
    if not isinstance(one, dict):
        raise RuleError("a threshold is a mapping", where=document.where("any-of"))
    names = [name for name in one if name in kind.counts]
    unknown = set(map(str, one)) - {*names, "within", "name"}
    if unknown or len(names) != 1 or "within" not in one:
        found = next(iter(sorted(unknown)), "any-of")
        raise RuleError(
            f"a threshold of a {kind.type} is one of {', '.join(kind.counts)}, and within",
            where=document.where(found, section="analytic"),
        )
    count = kind.counts[names[0]]
    missing = [column for column in by if column not in count.group]
    if missing:
        raise RuleError(
            f"{names[0]} are counted by {', '.join(count.group)}, which {missing[0]} is not of",
            where=document.where(names[0], section="analytic"),
            hint="alerts can be grouped by what every count of the rule is grouped by",
        )
    return Window(
        count.measure,
        period(document, "within", one["within"]),
        Threshold("gte", _number(document, names[0], one[names[0]], count)),
        (count.group,),
        (count.fields,),
        name=str(one.get("name", names[0])),
    )


def _number(document: RuleDocument, name: str, value: object, count: Count) -> float:
    if count.unit == "span":
        return float(period(document, name, value) * _NANOSECONDS)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise RuleError(
            f"{name}: {value!r} is no number of one or more",
            where=document.where(name, section="analytic"),
        )
    return float(value)
