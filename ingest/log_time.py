"""Log time: per stream, the running maximum of event.end. It drives every window.

A clock that is wrong by hours must not close windows, so a record whose event.end is more than
`LIMIT` after the stream's log time is in doubt until the records behind it are seen. If one of the
next `AHEAD` is back within `LIMIT`, those in doubt before it are *from the future*: they get the
log time that was, and are counted. Else nothing was written for a long time, and log time goes on.
So log time depends on the records alone. A record *from the past* ends more than `LIMIT` before
the log time that it gets: parts of a log in the wrong order, or a clock that was set back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from connwatch.schema import DERIVED, UTC, empty

LOG_TIME: Final = "connwatch.log_time"
#: µs that log time may go forward at once without a doubt
LIMIT: Final = 3_600_000_000
#: records that are looked at for the end of a doubt
AHEAD: Final = 10_000

_Times = npt.NDArray[np.int64]


@dataclass(slots=True)
class LogTime:
    """The log time of one stream. latest: of the records given (µs since the epoch; None: none
    yet). future: how many of them were from the future. past: how many from the past."""

    latest: int | None = None
    future: int = 0
    past: int = 0
    _doubted: pl.DataFrame = field(default_factory=empty)

    @property
    def doubted(self) -> pl.DataFrame:
        """Records that are held back until more is seen."""
        return self._doubted

    def feed(self, events: pl.DataFrame) -> pl.DataFrame:
        """Those records, and those held back before, of which the log time is certain; filled."""
        return self._filled(events, last=False)

    def flush(self) -> pl.DataFrame:
        """All that was held back; nothing is to come that could settle the doubt."""
        return self._filled(self._doubted.clear(), last=True)

    def _filled(self, events: pl.DataFrame, *, last: bool) -> pl.DataFrame:
        if self._doubted.height:
            events = pl.concat([self._doubted, events])
        if events.is_empty():
            return events
        ends = events.select_seq(DERIVED["event.end"].dt.epoch("us")).to_series().to_numpy()
        times, certain, future = _log_times(ends, self.latest, last=last)
        # Nothing of a frame would still hold all of it.
        self._doubted = events.slice(certain) if certain < events.height else events.clear()
        self.future += future
        self.past += int(np.count_nonzero(times - ends[:certain] > LIMIT))
        if certain:
            self.latest = int(times[-1])
        # Not with_columns: of columns cut at different places it would make new ones, all of them.
        filled = events.head(certain)
        return filled.replace_column(
            filled.get_column_index(LOG_TIME), pl.Series(LOG_TIME, times).cast(UTC)
        )


def _log_times(ends: _Times, latest: int | None, *, last: bool) -> tuple[_Times, int, int]:
    """Log times of records up to the first one in doubt, their number, and how many of them are
    from the future."""
    start = int(ends[0]) if latest is None else latest
    times = np.maximum.accumulate(np.maximum(ends, start))
    first = _jump(times, start)
    if first is None:
        return times, len(times), 0
    future = 0
    place = first
    now = int(times[place - 1]) if place else start
    while place < len(ends):
        # `place` is more than LIMIT after `now`: it, and what follows it, is in doubt.
        behind = ends[place + 1 : place + 1 + AHEAD] <= now + LIMIT
        if behind.any():
            back = place + 1 + int(behind.argmax())
            times[place:back] = now
            future += back - place
        elif last or len(behind) == AHEAD:
            back, now = place + 1, int(ends[place])
            times[place] = now
        else:
            return times[:place], place, future
        place, now = _steady(ends, times, back, now)
    return times, len(times), future


def _jump(times: _Times, start: int) -> int | None:
    """The first place at which running maxima go forward by more than `LIMIT`."""
    steps = np.diff(times, prepend=start) > LIMIT
    return int(steps.argmax()) if steps.any() else None


def _steady(ends: _Times, times: _Times, place: int, now: int) -> tuple[int, int]:
    """Fill `times` from `place` on up to the next jump: where that is, and log time before it."""
    width = 64
    while place < len(ends):
        part = np.maximum.accumulate(np.maximum(ends[place : place + width], now))
        jump = _jump(part, now)
        certain = len(part) if jump is None else jump
        times[place : place + certain] = part[:certain]
        now = int(part[certain - 1]) if certain else now
        place += certain
        if jump is not None:
            break
        width *= 2
    return place, now
