"""What a rule over many records asks for: its windows, and when their content is worth an alert."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

Measure = Literal[
    "event_count", "value_count", "value_sum", "value_avg", "value_percentile", "value_median",
    "temporal", "temporal_ordered",
]  # fmt: skip
#: measures that need a number in each record
METRICS: Final = frozenset({"value_sum", "value_avg", "value_percentile", "value_median"})

#: what a window counts is told up to this number, or twice its threshold if that is more
MOST: Final = 1_000

_OPERATORS: Final = {
    "lt": (np.less, "<"),
    "lte": (np.less_equal, "<="),
    "gt": (np.greater, ">"),
    "gte": (np.greater_equal, ">="),
    "eq": (np.equal, "="),
    "neq": (np.not_equal, "!="),
}


@dataclass(frozen=True, slots=True)
class Threshold:
    """A comparison of what was measured with a number, in the unit of the column."""

    operator: str
    number: float

    def holds(self, measured: Numbers) -> Flags:
        found: Flags = _OPERATORS[self.operator][0](measured, self.number)
        return found

    def __str__(self) -> str:
        return f"{_OPERATORS[self.operator][1]} {self.number:g}"


@dataclass(frozen=True, slots=True)
class Presence:
    """Which rules a window must have seen: and, or, not over the positions of base rules."""

    kind: Literal["and", "or", "not", "rule"]
    parts: tuple[Presence, ...] = ()
    base: int = 0

    def text(self, names: tuple[str, ...]) -> str:
        """The condition in the words of the rule; names: of the base rules."""
        if self.kind == "rule":
            return names[self.base]
        if self.kind == "not":
            return f"not {self.parts[0].text(names)}"
        return f"({f' {self.kind} '.join(part.text(names) for part in self.parts)})"


@dataclass(frozen=True, slots=True)
class Window:
    """One sliding window of a rule.

    timespan: µs. group_by: by base rule, the columns whose values make a group (as many for each
    base). fields: by base rule, the columns whose values are counted or measured; empty where
    records are. percentile: 0 to 100. name: what an alert calls it.
    """

    measure: Measure
    timespan: int
    condition: Threshold | Presence
    group_by: tuple[tuple[str, ...], ...]
    fields: tuple[tuple[str, ...], ...]
    percentile: float = 50.0
    name: str = ""

    @property
    def ceiling(self) -> int | None:
        """The number up to which it counts, so that more need not be remembered; None: no end.

        Only where more is not another answer: counts that are to reach a threshold.
        """
        condition = self.condition
        if self.measure not in ("event_count", "value_count") or isinstance(condition, Presence):
            return None
        if condition.operator not in ("gte", "gt"):
            return None
        return max(MOST, 2 * ceil(condition.number))

    @property
    def columns(self) -> frozenset[str]:
        """Every column of the schema that it reads."""
        return frozenset(name for per in (*self.group_by, *self.fields) for name in per)
