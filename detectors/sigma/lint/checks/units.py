"""Durations in another unit than the rule's: seconds where a column has nanoseconds, and the other
way round."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from connwatch.schema import BY_NAME

from ....windows.spec import METRICS, Threshold
from ...fields import Target
from ..finding import Finding
from ..formula import Comparison, comparisons, number
from ..subjects import Many, Subjects

_SECOND: Final = 1_000_000_000
#: a threshold in nanoseconds below this, a millisecond, is a number of seconds
_SHORTEST: Final = 1_000_000
#: one in seconds above this, 31 days, is a number of milli-, micro- or nanoseconds; of sums of
#: several records above ten years
_LONGEST: Final = 31 * 86_400 * _SECOND
_LONGEST_SUM: Final = 3_650 * 86_400 * _SECOND


def check(subjects: Subjects) -> Iterator[Finding]:
    for one in subjects.singles:
        hopeless = not subjects.theory.satisfiable(one.condition)
        for comparison in dict.fromkeys(comparisons(one.condition)):
            if fault := mistaken(comparison):
                yield Finding(
                    one.where(comparison), one.rule.title, "error" if hopeless else "warning",
                    "units", f"{comparison.text}: {fault[0]}", fault[1],
                )  # fmt: skip
    for many in subjects.many:
        yield from _thresholds(many)


def mistaken(comparison: Comparison) -> tuple[str, str] | None:
    """What is wrong with the unit of a comparison, and what to do."""
    value = number(comparison)
    if comparison.target is None or value is None:
        return None
    return duration_fault(comparison.target, value, _LONGEST)


def duration_fault(target: Target, value: float, longest: int) -> tuple[str, str] | None:
    """What is wrong with a number (in the unit of the column) that a duration is compared with,
    and what to do; None when it may be right. target.scale is 1 where a rule's numbers are
    nanoseconds as the column's are."""
    if BY_NAME[target.column].unit != "ns" or value <= 0:
        return None
    if target.scale == 1:
        if value < _SHORTEST:
            return (
                f"{value:g} ns is no length of a connection; this log source has nanoseconds",
                f"if seconds are meant, write {value * _SECOND:.0f}",
            )
        return None
    if value > longest:
        written = value / target.scale
        unit, size = next(
            (name, size)
            for name, size in (("nanoseconds", 1e9), ("microseconds", 1e6), ("milliseconds", 1e3))
            if size == 1e3 or written >= size * 1_000
        )
        return (
            f"{written:.0f} s is {written / 86_400:.0f} days; this log source has seconds",
            f"if {unit} are meant, write {written / size:g}",
        )
    return None


def _thresholds(many: Many) -> Iterator[Finding]:
    """Thresholds of sums, means and percentiles, which are numbers of a field too."""
    for window in many.rule.windows.windows:
        if window.measure not in METRICS or not isinstance(window.condition, Threshold):
            continue
        condition = many.document.content.get("correlation", {}).get("condition", {})
        written = next((v for k, v in condition.items() if k == window.condition.operator), None)
        column = window.fields[0][0]
        if not isinstance(written, int | float) or not written:
            continue
        scale = round(window.condition.number / float(written))
        longest = _LONGEST_SUM if window.measure == "value_sum" else _LONGEST
        if fault := duration_fault(Target(column, scale), window.condition.number, longest):
            yield Finding(
                many.where("condition"), many.rule.title, "warning", "units",
                f"{window.measure} of {column} {window.condition}: {fault[0]}", fault[1],
            )  # fmt: skip
