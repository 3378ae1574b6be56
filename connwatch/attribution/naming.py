"""Writing into stored alerts which processes are behind them, as far as snapshots tell, and who
else tells of the events that they list.

A store notes which alerts are to be looked at (`sinks.embedded.unnamed`): those that a commit
changed, and here those that new rows of tables concern. A replay looks at all of them at its end, a
live run at some now and then; what is written is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from connwatch.sinks.embedded import EmbeddedStore, Shots, StoreReader, Unnamed

from .join import Settings
from .learned import learned, named
from .places import StorePlace, between
from .stored import AROUND, earlier, later, moments
from .witnesses import several

#: alerts that are looked at together by a replay
_PAGE: Final = 5_000
#: µs: how near a snapshot tells of a flow, whatever snapshots are between, with room for clocks
_NEAR: Final = Settings().reach + 5 * 60_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def name_all(store: EmbeddedStore, start: datetime, end: datetime) -> None:
    """Look at all alerts that wait, and at all near a span of the times of events, whether
    something of them is new or not. Their id and their count stay."""
    low, high = _micros(earlier(start, AROUND)), _micros(later(end, AROUND))
    with StoreReader(store.folder) as reader:
        told = _told_near(reader, low, high)
    if told:
        Unnamed(store).mark(low, high)
    while name_some(store, _PAGE):
        pass


def name_some(store: EmbeddedStore, most: int) -> int:
    """Look at the alerts that have waited longest, so many at once; how many there were. Where no
    snapshot near them names a process, and one log tells of all, nothing is written."""
    waiting = Unnamed(store)
    with StoreReader(store.folder) as reader:
        if shots := waiting.shots():
            waiting.mark(*_concerned(reader, shots), shots)
        there = waiting.waiting()
        if there is None:
            return 0
        if there.alerts > most and not _told_near(reader, there.first, there.last):
            waiting.forget(there)
            return there.alerts
        asked = waiting.next(most)
        found = learned(reader, reader.alerts_of([one.id for one in asked]))
    waiting.told(asked, found)
    return len(asked)


def _concerned(reader: StoreReader, shots: Sequence[Shots]) -> tuple[int, int]:
    """Of which alerts new snapshots may tell something: from when to when they are, µs since the
    epoch.

    A snapshot tells of flows that ended after the one before it of the same host, or shortly before
    it; and, when it comes late, of those that were told of since. Earlier ones have been told by
    that other snapshot.
    """
    first, last = min(one.first for one in shots), max(one.last for one in shots)
    low, high = (
        _micros(earlier(_moment(first), AROUND)), _micros(later(_moment(last), AROUND)),
    )  # fmt: skip
    times = moments(StorePlace(reader), _moment(first), _moment(last))
    time = pl.col("time").dt.epoch("us")
    hosts = (
        times.filter(time <= last)
        .group_by("host")
        .agg(new=time.filter(time >= first).min(), before=time.filter(time < first).max())
        .drop_nulls("new")
        .with_columns(pl.col("before").fill_null(low))
    )
    begins = hosts.select(pl.min_horizontal("before", pl.col("new") - _NEAR).min()).item()
    return low if begins is None else max(low, begins), high


def _told_near(reader: StoreReader, first: int, last: int) -> bool:
    """Whether there may be something to say of alerts of a span of time."""
    near = between(reader, earlier(_moment(first), AROUND), later(_moment(last), AROUND))
    return named(near) or several(near)


def _moment(micros: int) -> datetime:
    return _EPOCH + micros * _MICROSECOND


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
