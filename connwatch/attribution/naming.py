"""Writing into stored alerts which processes are behind them, as far as snapshots tell, and who
else tells of the events that they list.

A store notes which alerts are to be looked at (`sinks.embedded.unnamed`): those that a commit
changed, and here those that new rows of tables concern. A replay looks at all of them at its end, a
live run at some now and then; what is written is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import polars as pl

from connwatch.alert import Document, parted
from connwatch.contracts import SPAN_SCHEMA
from connwatch.sinks.embedded import Asked, EmbeddedStore, Shots, StoreReader, Unnamed
from connwatch.spans import placed

from .alerts import renewed, told
from .join import Settings
from .places import StorePlace, between
from .questions import ASKED, Clocks, summed, told_of
from .stored import AROUND, IS_SOCKET, earlier, later, moments
from .witnesses import of_alerts, several

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
        if not _told_near(reader, there.first, there.last):
            waiting.forget(there)
            return there.alerts
        asked = waiting.next(most)
        found = _learned(reader, asked)
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
    return _named_near(reader, first, last) or several(between(reader, *_around(first, last)))


def _around(first: int, last: int) -> tuple[datetime, datetime]:
    return earlier(_moment(first), AROUND), later(_moment(last), AROUND)


def _named_near(reader: StoreReader, first: int, last: int) -> bool:
    """Whether a snapshot near a span of time names a process."""
    named = between(reader, *_around(first, last)).filter(
        IS_SOCKET, pl.col("process.name").is_not_null()
    )
    return not named.head(1).select("event.id").collect().is_empty()


def _learned(reader: StoreReader, asked: Sequence[Asked]) -> dict[str, Document]:
    """What alerts are to say of their processes and witnesses, of those that do not say it."""
    documents = reader.alerts_of([one.id for one in asked])
    first, last = min(one.first for one in asked), max(one.last for one in asked)
    named = dict[str, Document]()
    if _named_near(reader, first, last):
        for document, found in _found(reader, documents):
            known = told(document, found)
            if known is not None:
                named[document["event"]["id"]] = known
    witnesses = of_alerts(reader, documents)
    learned = dict[str, Document]()
    for document in documents:
        alert, before = document["event"]["id"], parted(document)[1] or {}
        known = renewed(document, named[alert]) if alert in named else before
        if alert in witnesses:
            known = {**known, "witnesses": witnesses[alert]}
        if known != before:
            learned[alert] = known
    return learned


def _found(
    reader: StoreReader, documents: Sequence[Document]
) -> Iterator[tuple[Document, list[dict[str, Any]]]]:
    """Alerts with the processes behind them, but for those of which no event is there."""
    behind = _behind(reader, documents)
    if behind.is_empty():
        return
    first, last = behind["@timestamp"].min(), behind["@timestamp"].max()
    assert isinstance(first, datetime)  # noqa: S101  there are some
    assert isinstance(last, datetime)  # noqa: S101
    events = (
        between(reader, first, later(last, _MICROSECOND))
        .join(behind.lazy().select("event.id"), on="event.id", how="semi")
        .collect()
    )
    named = behind.join(
        told_of(StorePlace(reader), events, Clocks({})).rename({"id": "event.id"}), on="event.id"
    )
    of_alert = {key[0]: found for key, found in named.group_by("alert")}
    for document in documents:
        found = of_alert.get(document["event"]["id"])
        if found is not None:
            yield document, summed(found.drop("alert", "@timestamp"))


def _behind(reader: StoreReader, documents: Sequence[Document]) -> pl.DataFrame:
    """Columns alert, event.id, @timestamp: the events behind alerts, of each no more than are
    asked."""
    rows = [
        (
            one["event"]["id"], one["connwatch"]["key"]["rule"], one["connwatch"]["key"]["group"],
            datetime.fromisoformat(one["event"]["start"]),
            datetime.fromisoformat(one["event"]["end"]), False,
        )
        for one in documents
    ]  # fmt: skip
    spans = pl.DataFrame(rows, schema=SPAN_SCHEMA, orient="row")
    time = pl.col("connwatch.log_time")
    hits = (
        reader.hits()
        .filter(time >= spans["start"].min(), time <= spans["end"].max())
        .join(spans.lazy().select("rule").unique(), on="rule", how="semi")
        .collect()
    )
    return (
        placed(spans, hits, ("event.id", "@timestamp"))
        .select("alert", "event.id", "@timestamp")
        .sort("alert", "@timestamp", "event.id")
        .group_by("alert", maintain_order=True)
        .head(ASKED)
        .collect()
    )


def _moment(micros: int) -> datetime:
    return _EPOCH + micros * _MICROSECOND


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
