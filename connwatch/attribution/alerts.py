"""The processes behind alerts, as their documents say it, and as stores keep it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from connwatch.alert import Document
from connwatch.contracts import SPAN_SCHEMA
from connwatch.sinks.embedded import EmbeddedStore, StoreReader
from connwatch.spans import placed

from .questions import ASKED, Clocks, summed, told_of
from .stored import AROUND, IS_SOCKET, between, earlier, later

#: alerts that are looked at together
_PAGE: Final = 5_000
#: processes that an alert lists
LISTED: Final = 20
_OF_PROCESS: Final = ("host", "pid", "name", "user")


def with_processes(document: Document, found: Iterable[Mapping[str, Any]]) -> Document:
    """A document with what is known of the processes behind its events.

    found: as `questions.of_alert` gives it; where it is empty (the events are gone), the document
    is as it was. All of it stands in `connwatch.processes`. Where one process alone is sure, it is
    `process`, `user` and `host` of the alert too, if the alert is about one source and that is the
    process's end, or about one service and that is: a scan is not the matter of the one program
    that answered.
    """
    listed = [dict(one) for one in found][:LISTED]
    if not listed:
        return document
    own = {name: value for name, value in document["connwatch"].items() if name != "processes"}
    made = {
        name: value for name, value in document.items() if name not in ("process", "user", "host")
    }
    own["processes"] = listed
    sure = [one for one in listed if one["verdict"] in ("exact", "bounded")]
    one_only = len({tuple(one.get(name) for name in (*_OF_PROCESS, "side")) for one in sure}) == 1
    if one_only and _is_its(document, sure[0]["side"]):
        made |= _fields(sure[0])
    return {**made, "connwatch": own}


def _is_its(document: Document, side: str) -> bool:
    """Whether all that an alert lists has one source, or one destination and port."""
    end = document.get(side, {})
    return "ip" in end and (side == "source" or "port" in end)


def _fields(one: Mapping[str, Any]) -> Document:
    process = {name: one[name] for name in ("pid", "name") if name in one}
    user = {"id" if str(one["user"]).isdigit() else "name": one["user"]} if "user" in one else {}
    fields = {"process": process, "user": user, "host": {"name": one.get("host")}}
    return {name: value for name, value in fields.items() if any(value.values())}


def process_lines(found: Iterable[Mapping[str, Any]], count: int) -> Iterator[str]:
    """The same for people; not yet safe. Nothing where no event has anything to do with a host
    that has snapshots. count: events of the alert."""
    listed = list(found)
    if all(one["reason"] in ("other_host", "no_ports") for one in listed):
        return
    for place, one in enumerate(listed):
        title = "process" if place == 0 else ""
        host = f" on {one['host']}" if "host" in one else ""
        user = f", user {one['user']}" if "user" in one else ""
        who = f"{one.get('name', '?')} (pid {one.get('pid', '?')})" if "pid" in one else "not known"
        share = f"{one['events']:,} of {count:,} events"
        yield f"{title:<12} {who}{host}{user}: {share}, {one['verdict']}"
        candidates = f" ({', '.join(one['candidates'])})" if "candidates" in one else ""
        side = f"{one['side']}: " if "side" in one else ""
        yield f"             {side}{one['text']}{candidates}"


def enrich(store: EmbeddedStore, start: datetime, end: datetime) -> int:
    """Write into stored alerts which processes are behind them, as far as snapshots tell; how many
    of them say something new then.

    start, end: of what was stored since this was done last, by the events' own times. Alerts near
    to it may have learned something, even if they are older: their id and their count stay.
    """
    with StoreReader(store.folder) as reader:
        low, high = earlier(start, AROUND), later(end, AROUND)
        shown = between(reader, low, high).filter(IS_SOCKET, pl.col("process.name").is_not_null())
        if shown.head(1).collect().is_empty():
            return 0
        changed = [
            after
            for page in reader.alert_pages(low, high, _PAGE)
            for before, after in _learned(reader, page)
            if after != before
        ]
    store.put_processes(changed)
    return len(changed)


def _learned(
    reader: StoreReader, documents: Sequence[Document]
) -> Iterator[tuple[Document, Document]]:
    """Alerts as they are, and as they are with their processes."""
    behind = _behind(reader, documents)
    if behind.is_empty():
        return
    first, last = behind["@timestamp"].min(), behind["@timestamp"].max()
    assert isinstance(first, datetime)  # noqa: S101  there are some
    assert isinstance(last, datetime)  # noqa: S101
    events = (
        between(reader, first, later(last, timedelta(microseconds=1)))
        .join(behind.lazy().select("event.id"), on="event.id", how="semi")
        .collect()
    )
    told = told_of(reader, events, Clocks({})).rename({"id": "event.id"})
    named = behind.join(told, on="event.id")
    of_alert = {key[0]: found for key, found in named.group_by("alert")}
    for document in documents:
        found = of_alert.get(document["event"]["id"])
        if found is not None:
            yield document, with_processes(document, summed(found.drop("alert", "@timestamp")))


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
