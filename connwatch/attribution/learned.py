"""What other records of a store tell of the events behind alerts: processes and witnesses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from connwatch.alert import Document, parted, with_learned
from connwatch.contracts import SPAN_SCHEMA
from connwatch.sinks.embedded import StoreReader
from connwatch.spans import placed

from .alerts import told
from .places import StorePlace, between
from .questions import ASKED, Clocks, summed, told_of
from .stored import AROUND, IS_SOCKET, earlier, later
from .witnesses import of_alerts

_MICROSECOND: Final = timedelta(microseconds=1)


def as_known_now(reader: StoreReader, document: Document) -> Document:
    """An alert's document, with all that the store tells of its events now."""
    known = learned(reader, [document]).get(document["event"]["id"])
    return document if known is None else with_learned(document, known)


def learned(reader: StoreReader, documents: Sequence[Document]) -> dict[str, Document]:
    """By id, what alerts are to say (`alert.with_learned`), of those that do not say it. Of what
    nothing can be found any more, they say what they said."""
    processes, witnesses = _processes(reader, documents), of_alerts(reader, documents)
    found = dict[str, Document]()
    for document in documents:
        alert, before = document["event"]["id"], parted(document)[1] or {}
        known = before
        if alert in processes:
            kept = {name: before[name] for name in ("witnesses",) if name in before}
            known = {**kept, **processes[alert]}
        if alert in witnesses:
            known = {**known, "witnesses": witnesses[alert]}
        if known != before:
            found[alert] = known
    return found


def named(events: pl.LazyFrame) -> bool:
    """Whether there is a row of a socket table that names a process."""
    rows = events.filter(IS_SOCKET, pl.col("process.name").is_not_null())
    return not rows.head(1).select("event.id").collect().is_empty()


def _processes(reader: StoreReader, documents: Sequence[Document]) -> dict[str, Document]:
    """`alerts.told` of the alerts of which anything is known."""
    spans = _spans(documents)
    if spans.is_empty():
        return {}
    first, last = spans["start"].min(), spans["end"].max()
    assert isinstance(first, datetime)  # noqa: S101  there are some
    assert isinstance(last, datetime)  # noqa: S101
    if not named(between(reader, earlier(first, AROUND), later(last, AROUND))):
        return {}
    return {
        document["event"]["id"]: known
        for document, found in _found(reader, documents, spans)
        if (known := told(document, found)) is not None
    }


def _spans(documents: Sequence[Document]) -> pl.DataFrame:
    """`SPAN_SCHEMA` of alerts."""
    rows = [
        (
            one["event"]["id"], one["connwatch"]["key"]["rule"], one["connwatch"]["key"]["group"],
            datetime.fromisoformat(one["event"]["start"]),
            datetime.fromisoformat(one["event"]["end"]), False,
        )
        for one in documents
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=SPAN_SCHEMA, orient="row")


def _found(
    reader: StoreReader, documents: Sequence[Document], spans: pl.DataFrame
) -> Iterator[tuple[Document, list[dict[str, Any]]]]:
    """Alerts with the processes behind them, but for those of which no event is there."""
    behind = _behind(reader, spans)
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
    of_each = behind.join(
        told_of(StorePlace(reader), events, Clocks({})).rename({"id": "event.id"}), on="event.id"
    )
    of_alert = {key[0]: found for key, found in of_each.group_by("alert")}
    for document in documents:
        found = of_alert.get(document["event"]["id"])
        if found is not None:
            yield document, summed(found.drop("alert", "@timestamp"))


def _behind(reader: StoreReader, spans: pl.DataFrame) -> pl.DataFrame:
    """Columns alert, event.id, @timestamp: the events behind alerts, of each no more than are
    asked."""
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
