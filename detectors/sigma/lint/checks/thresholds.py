"""Thresholds of correlations that can never be reached, or always are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Final

from ....windows.engine import CAP
from ....windows.spec import Presence, Threshold, Window
from ..columns import bounds
from ..finding import Finding, Severity
from ..subjects import Many, Single, Subjects
from ..theory import Theory

#: rules whose every combination is tried in a condition over them
_MOST_RULES: Final = 12
_COUNTS: Final = frozenset({"event_count", "value_count", "temporal", "temporal_ordered"})


def check(subjects: Subjects) -> Iterator[Finding]:
    for many in subjects.many:
        if "correlation" not in many.document.content:
            continue
        for window in many.rule.windows.windows:
            if isinstance(window.condition, Threshold):
                yield from _threshold(many, window, window.condition, subjects.theory)
            else:
                yield from _presence(many, window.condition)
        yield from _percentile(many)
        for base in many.bases:
            if base is not None and not subjects.theory.satisfiable(base.condition):
                yield _finding(
                    many, "rules", "warning", "never",
                    f"counts {base.rule.title!r}, which can never match",
                    "correct that rule",
                )  # fmt: skip


def _threshold(
    many: Many, window: Window, condition: Threshold, theory: Theory
) -> Iterator[Finding]:
    low, high, why = _range(many, window, theory)
    whole = window.measure in _COUNTS
    said = f"{window.measure} {condition}"
    if not _may(condition.operator, condition.number, low, high, whole=whole):
        yield _finding(
            many, "condition", "error", "never",
            f"{said} can never be reached: it is {_between(low, high)} ({why})",
            "correct the threshold",
        )  # fmt: skip
    elif not _may(_OPPOSITE[condition.operator], condition.number, low, high, whole=whole):
        yield _finding(
            many, "condition", "warning", "always",
            f"{said} holds for every record that is counted: it is {_between(low, high)} ({why})",
            "correct the threshold, or leave the correlation out: its rule says the same",
        )  # fmt: skip


_OPPOSITE: Final = {
    "lt": "gte", "gte": "lt", "gt": "lte", "lte": "gt", "eq": "neq", "neq": "eq",
}  # fmt: skip


def _may(operator: str, number: float, low: float, high: float, *, whole: bool) -> bool:
    """Whether something between low and high (whole: a whole number) can compare so."""
    if operator == "lt":
        return low < number
    if operator == "lte":
        return low <= number
    if operator == "gt":
        return high > number
    if operator == "gte":
        return high >= number
    inside = low <= number <= high and (not whole or float(number).is_integer())
    return inside if operator == "eq" else not (inside and low == high)


def _between(low: float, high: float) -> str:
    if low == high:
        return f"always {low:.0f}"
    return f"at least {low:.0f}" if math.isinf(high) else f"{low:.0f} to {high:.0f}"


def _range(many: Many, window: Window, theory: Theory) -> tuple[float, float, str]:
    """What a window can measure, and why."""
    if window.measure == "event_count":
        return 1, CAP, f"a record counts itself, and a window holds {CAP:,} at most"
    if window.measure in ("temporal", "temporal_ordered"):
        number = len(many.bases)
        return (
            1 if window.measure == "temporal" else 0,
            number,
            f"it counts {number} rule{'' if number == 1 else 's'}",
        )
    if window.measure == "value_count":
        return _values(many, window, theory)
    column = window.fields[0][0]
    low, high = _numbers(many.bases, [per[0] for per in window.fields], theory)
    return low, math.inf if window.measure == "value_sum" else high, f"the values of {column}"


def _values(many: Many, window: Window, theory: Theory) -> tuple[float, float, str]:
    """How many different values there can be."""
    most = 0.0
    for base, fields, group in zip(many.bases, window.fields, window.group_by, strict=True):
        free = [column for column in fields if column not in group]
        if not free:
            most = max(most, 1)
        elif base is None:
            return 1, CAP, f"a window holds {CAP:,} records at most"
        else:
            most += math.prod(theory.at_most(base.condition, column) for column in free)
    names = " and ".join(dict.fromkeys(column for per in window.fields for column in per))
    if most > CAP:
        return 1, CAP, f"a window holds {CAP:,} records at most"
    return 1, max(most, 1), f"{names} can have no more values in the records that are counted"


def _numbers(
    bases: Sequence[Single | None], columns: Sequence[str], theory: Theory
) -> tuple[float, float]:
    """The least and greatest value of columns in the records that the rules match."""
    lows, highs = [], []
    for base, column in zip(bases, columns, strict=True):
        low, high = bounds(column)
        rows = None if base is None else theory.rows(base.condition, column)
        values = rows[column].drop_nulls() if rows is not None and column in rows.columns else None
        known = values is not None and len(values) > 0
        lows.append(int(str(values.min())) if values is not None and known else low)
        highs.append(int(str(values.max())) if values is not None and known else high)
    return min(lows), max(highs)


def _presence(many: Many, condition: Presence) -> Iterator[Finding]:
    number = len(many.bases)
    if number > _MOST_RULES:
        return
    # A window is looked at when it has seen a rule at least.
    outcomes = {
        _holds(condition, seen) for seen in product((False, True), repeat=number) if any(seen)
    }
    said = condition.text(many.rule.windows.names)
    if outcomes == {False}:
        yield _finding(
            many, "condition", "error", "never", f"{said} can never be true", "correct it"
        )
    elif outcomes == {True}:
        yield _finding(
            many, "condition", "warning", "always",
            f"{said} holds whenever one of its rules matches",
            "correct it, or let the rules alert themselves",
        )  # fmt: skip


def _holds(condition: Presence, seen: Sequence[bool]) -> bool:
    if condition.kind == "rule":
        return seen[condition.base]
    parts = [_holds(part, seen) for part in condition.parts]
    if condition.kind == "not":
        return not parts[0]
    return all(parts) if condition.kind == "and" else any(parts)


def _percentile(many: Many) -> Iterator[Finding]:
    correlation = many.document.content["correlation"]
    condition = correlation.get("condition")
    named = isinstance(condition, dict) and "percentile" in condition
    is_one = correlation.get("type") == "value_percentile"
    if is_one and not named:
        yield _finding(
            many, "type", "warning", "units",
            "says no percentile: it is the 50th, the median",
            "add percentile: 95 to the condition, or take value_median",
        )  # fmt: skip
    elif named and not is_one:
        yield _finding(
            many, "percentile", "warning", "units",
            f"{correlation.get('type')} has no percentile: it is not looked at",
            "take value_percentile, or leave it out",
        )  # fmt: skip
    elif is_one and isinstance(condition, dict) and condition["percentile"] == 1:
        yield _finding(
            many, "percentile", "note", "units",
            "the 1st percentile is all but the least value", "percentiles are 1 to 99",
        )  # fmt: skip


def _finding(
    many: Many, key: str, severity: Severity, check: str, what: str, advice: str
) -> Finding:
    return Finding(many.where(key), many.rule.title, severity, check, what, advice)
