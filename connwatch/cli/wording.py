"""Windows in words: what they measure, what they ask for, and what was lacking."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from connwatch.detectors.windows.spec import METRICS, Threshold, Window
from connwatch.render import number
from connwatch.schema import BY_NAME

_SIGNS: Final = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "eq": "=", "neq": "!="}
_METRICS: Final = {"value_sum": "sum", "value_avg": "average", "value_median": "median"}
#: µs, the longest first
_SPANS: Final = (
    (86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms"),
)  # fmt: skip


def span(micros: int) -> str:
    """A time span as rules write it: 90s, 5m, 1d."""
    for unit, name in _SPANS:
        if micros and micros % unit == 0:
            return f"{micros // unit}{name}"
    return f"{micros / 1_000_000:g}s"


def subject(measure: str, fields: Sequence[str], names: Sequence[str], share: float = 50) -> str:
    """What a window measures. fields: that it counts or measures; names: of the rules it asks for;
    share: of a percentile."""
    of = " and ".join(fields)
    if measure == "event_count":
        return "records"
    if measure == "value_count":
        return f"different {of}"
    if measure == "value_percentile":
        return f"percentile {share:g} of {of}"
    if measure in _METRICS:
        return f"{_METRICS[measure]} of {of}"
    ordered = ", in this order" if measure == "temporal_ordered" else ""
    return f"rules of ({', '.join(names)}{ordered})"


def unit(measure: str, fields: Sequence[str]) -> str:
    """The unit of what is measured; "" for plain numbers."""
    column = BY_NAME.get(fields[0]) if measure in METRICS and fields else None
    return "" if column is None else column.unit


def quantity(value: float, unit: str = "") -> str:
    """A number with its unit; nanoseconds as seconds."""
    if unit == "ns":
        value, unit = value / 1e9, "s"
    text = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.6g}"
    return f"{text} {unit}" if unit else text


def asked(said: dict[str, Any]) -> str:
    """The condition of a window as a document says it (`detectors.alerts.asked`)."""
    fields, names = said.get("fields", []), said.get("rules", [])
    sign, _, number = said["condition"].partition(" ")
    within = f"within {span(said['timespan_seconds'] * 1_000_000)}"
    if sign not in _SIGNS.values():
        ordered = ", in the order of their names" if said["measure"] == "temporal_ordered" else ""
        return f"{said['condition']}{ordered}, {within}"
    text = quantity(float(number), unit(said["measure"], fields))
    return f"{subject(said['measure'], fields, names)} {sign} {text} {within}"


def condition(window: Window, said: dict[str, Any]) -> str:
    """The condition of a window of a rule at hand: the same, with every digit."""
    if not isinstance(window.condition, Threshold):
        return asked(said)
    fields = said.get("fields", [])
    what = subject(window.measure, fields, said.get("rules", []), window.percentile)
    return f"{what} {threshold(window.condition, window, fields)} within {span(window.timespan)}"


def threshold(condition: Threshold, window: Window, fields: Sequence[str]) -> str:
    """The comparison that a window asks for: >= 20."""
    text = quantity(condition.number, unit(window.measure, fields))
    return f"{_SIGNS[condition.operator]} {text}"


def near_miss(window: Window, said: dict[str, Any], value: float) -> tuple[str, str]:
    """How close a measured value came to a threshold, in words, and what was lacking ("" if it
    held)."""
    limit = window.condition
    assert isinstance(limit, Threshold)  # noqa: S101  conditions on rules are told by their names
    fields = said.get("fields", [])
    of = unit(window.measure, fields)
    what = subject(window.measure, fields, said.get("rules", []), window.percentile)
    got, wanted = quantity(value, of), quantity(limit.number, of)
    short = limit.operator == "gte" and value < limit.number
    if short:
        got = f"{got} of {wanted}"
    elif what == "records" and value == 1:
        what = "record"
    reached = f"{what} {got}" if window.measure in METRICS else f"{got} {what}"
    return f"{_EXTREMES[limit.operator]}: {reached}", _lacking(window, limit, value, of, wanted)


_EXTREMES: Final = {
    "gte": "largest", "gt": "largest", "lte": "smallest", "lt": "smallest",
    "eq": "nearest", "neq": "nearest",
}  # fmt: skip


def _lacking(window: Window, limit: Threshold, value: float, of: str, wanted: str) -> str:
    """What a value lacks to fulfil a comparison."""
    counts = window.measure not in METRICS
    low = limit.number if limit.operator == "gte" else math.floor(limit.number) + 1
    high = limit.number if limit.operator == "lte" else math.ceil(limit.number) - 1
    if limit.operator == "gte" or (limit.operator == "gt" and counts):
        missing = low - value
        were = "was" if missing == 1 else "were"
        return "" if missing <= 0 else f"{quantity(missing, of)} more {were} needed"
    if limit.operator == "lte" or (limit.operator == "lt" and counts):
        missing = value - high
        return "" if missing <= 0 else f"{quantity(missing, of)} too many"
    held = {
        "gt": value > limit.number,
        "lt": value < limit.number,
        "eq": value == limit.number,
        "neq": value != limit.number,
    }[limit.operator]
    words = {"gt": "more than", "lt": "less than", "eq": "exactly", "neq": "anything but"}
    return "" if held else f"{words[limit.operator]} {wanted} was needed"


def lost(gone: int, count: int) -> str:
    """How many of an alert's events retention has removed."""
    which = "all" if gone >= count else number(gone)
    return f"{which} of its {number(count)} events are no longer stored (retention removed them)"
