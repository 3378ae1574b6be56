"""Values over time as one line of characters, for a terminal, a pipe or a ticket.

        37 |    ▁▂▃▄▅▆▇█
           |        ^^^^
           |14:00:00       |14:01:15

The upper line is the value in each column, the second marks the columns in which a condition held.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from connwatch.alert import iso

#: columns of a plot, and how many of them lie between two labels of the axis
_WIDTH: Final = 60
_TICK: Final = 15
BLOCKS: Final = "▁▂▃▄▅▆▇█"
#: for an output that has no blocks
PLAIN: Final = ".:-=+*%#"

_SECOND: Final = 1_000_000
_DAY: Final = 86_400 * _SECOND
#: µs that a column may stand for
_STEPS: Final = (
    *(1_000 * n for n in (1, 10, 100, 250, 500)),
    *(_SECOND * n for n in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800)),
    *(3600 * _SECOND * n for n in (1, 2, 3, 6, 12)),
    *(_DAY * n for n in (1, 2, 7, 30, 365, 3650, 36500)),
)


@dataclass(frozen=True, slots=True)
class Series:
    """start: µs since the epoch, of the first column. step: µs of each. values: None where a column
    has no record. holds: whether the condition held in it."""

    start: int
    step: int
    values: tuple[float | None, ...]
    holds: tuple[bool, ...]

    def points(self) -> list[dict[str, object]]:
        """As JSON shows it: the columns that have a value."""
        return [
            {"time": iso(_moment(self.start + place * self.step)), "value": value, "holds": held}
            for place, (value, held) in enumerate(zip(self.values, self.holds, strict=True))
            if value is not None
        ]


def over_time(records: pl.DataFrame, value: pl.Expr, holds: pl.Expr) -> Series | None:
    """Records (with `connwatch.log_time`) in at most sixty columns; None where there are none.

    value, holds: aggregations over the records of one column.
    """
    if records.is_empty():
        return None
    times = records["connwatch.log_time"].dt.epoch("us")
    first, last = int(times.min()), int(times.max())  # type: ignore[arg-type]
    step = next(step for step in _STEPS if last // step - first // step < _WIDTH)
    start = first // step * step
    found = (
        records.group_by(((times - start) // step).alias("column"))
        .agg(value.alias("value"), holds.alias("holds"))
        .select("column", pl.col("value").cast(pl.Float64), "holds")
    )
    by_column = {column: (value, held) for column, value, held in found.iter_rows()}
    filled = [by_column.get(n, (None, False)) for n in range((last - start) // step + 1)]
    values, held = zip(*filled, strict=True)
    return Series(start, step, tuple(values), tuple(held))


def draw(series: Series, top: str, scale: float, blocks: str = BLOCKS) -> list[str]:
    """The lines of a plot. scale: the value of a full block, and top: how it is written."""
    gutter = max(len(top), 8)
    bars = "".join(" " if v is None else blocks[level(v, scale) - 1] for v in series.values)
    lines = [f"{top:>{gutter}} |{bars}"]
    if any(series.holds):
        marks = "".join("^" if held else " " for held in series.holds).rstrip()
        lines.append(f"{'':>{gutter}} |{marks}")
    lines.append(f"{'':>{gutter}} {_axis(series)}")
    return lines


def level(value: float, scale: float) -> int:
    """The block for a value, from 1 to 8; values that are not above zero have the lowest."""
    if scale <= 0 or value <= 0:
        return 1
    return min(8, max(1, math.ceil(value / scale * 8)))


def _axis(series: Series) -> str:
    form = "%m-%d %H:%M" if series.step * len(series.values) > _DAY else "%H:%M:%S"
    labels = []
    for place in range(0, len(series.values), _TICK):
        moment = _moment(series.start + place * series.step)
        text = moment.strftime(form)
        if series.step < _SECOND:
            text += f".{moment.microsecond // 1000:03d}"
        labels.append(f"|{text:<{_TICK - 1}}")
    return "".join(labels).rstrip()


def _moment(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def drawable(blocks: Sequence[str], encoding: str | None) -> bool:
    """Whether an output of this encoding has these characters."""
    try:
        "".join(blocks).encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
