"""When tables were printed: moments, in which of them each kind of socket was looked at, and gaps.

A moment is a run of rows with one time. A snapshot may be one of TCP alone, so that it says nothing
of UDP: a *scope* is a transport, and a moment covers it if it shows any socket of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

import polars as pl

#: intervals by which the usual one is known, and how many it takes
_KEPT: Final = 9
_LEAST: Final = 2
#: times the usual interval above which snapshots are missing
_GAP: Final = 2.5

#: One row per scope and moment that covers it. rank: its number among those of the scope, from 0.
#: time: µs. before: time of the one before, null for the first. missed: how many snapshots seem to
#: be missing between the two.
COVERED: Final[dict[str, pl.DataType]] = {
    "scope": pl.String(),
    "moment": pl.Int64(),
    "rank": pl.Int64(),
    "time": pl.Int64(),
    "before": pl.Int64(),
    "missed": pl.Int64(),
}


@dataclass(slots=True)
class _Scope:
    """The last moment that covered it, and the last intervals between such moments (µs)."""

    rank: int
    moment: int
    time: int
    before: int | None = None
    missed: int = 0
    intervals: list[int] = field(default_factory=list)

    def next(self, moment: int, time: int) -> _Scope:
        """After one more moment."""
        passed = max(0, time - self.time)
        usual = median(self.intervals) if len(self.intervals) >= _LEAST else 0
        missed = round(passed / usual) - 1 if usual and passed > _GAP * usual else 0
        intervals = [*self.intervals, passed][-_KEPT:]
        return _Scope(self.rank + 1, moment, time, self.time, missed, intervals)

    def row(self, scope: str) -> tuple[str, int, int, int, int | None, int]:
        return scope, self.moment, self.rank, self.time, self.before, self.missed


@dataclass(slots=True)
class Scopes:
    """The scopes of a stream. last: number of its last moment, and the time of that (µs)."""

    last: tuple[int, int] | None = None
    _scopes: dict[str, _Scope] = field(default_factory=dict)

    def numbers(self, times: pl.Series) -> pl.Series:
        """The number of the moment of each row; times: µs, one row at least."""
        number = times.rle_id().cast(pl.Int64)
        if self.last is not None:
            number += self.last[0] + int(times[0] != self.last[1])
        self.last = int(number[-1]), int(times[-1])
        return number.alias("moment")

    def covered(self, rows: pl.DataFrame) -> pl.DataFrame:
        """`COVERED`, of these rows (scope, moment, time) and the moment before them."""
        known = [one.row(scope) for scope, one in self._scopes.items()]
        seen = rows.select("scope", "moment", "time").unique().sort("moment", "scope")
        # One turn a snapshot, not a row: the usual interval depends on those before.
        for scope, moment, time in seen.iter_rows():
            before = self._scopes.get(scope)
            if before is not None and before.moment == moment:
                continue
            now = _Scope(0, moment, time) if before is None else before.next(moment, time)
            self._scopes[scope] = now
            known.append(now.row(scope))
        return pl.DataFrame(known, schema=COVERED, orient="row")

    def saved(self) -> dict[str, Any]:
        """As JSON values."""
        scopes = {
            name: [one.rank, one.moment, one.time, one.before, one.missed, one.intervals]
            for name, one in self._scopes.items()
        }
        return {"last": self.last, "scopes": scopes}

    @classmethod
    def restored(cls, saved: Mapping[str, Any]) -> Scopes:
        last = None if saved["last"] is None else (saved["last"][0], saved["last"][1])
        return cls(last, {name: _Scope(*one) for name, one in saved["scopes"].items()})
