"""From the embedded store to a server, while others may go on writing to the store.

Events go in slices of time, each an account of its own; what the server has already it knows by the
id. Of alerts it is looked up first what is there: only what says more is sent, and what an analyst
said is carried to where nothing was said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from connwatch.alert import Document, united
from connwatch.copying.progress import Outcome, Place, Progress, Wanted, listing
from connwatch.query import count
from connwatch.query.run import matching
from connwatch.sinks.elasticsearch.bodies import Alert
from connwatch.sinks.elasticsearch.fitting import changed
from connwatch.sinks.elasticsearch.reader import ServerReader
from connwatch.sinks.elasticsearch.sink import ElasticsearchSink, Sent
from connwatch.sinks.embedded import StoreReader
from connwatch.sinks.embedded.alerts import UNKNOWN

#: events of a slice, and those that are in memory at once
_SLICE: Final = 50_000
#: alerts that are looked up and sent together
_ALERTS: Final = 500
_MINUTE: Final = timedelta(minutes=1)


def copy_to_server(
    store: StoreReader, sink: ElasticsearchSink, wanted: Wanted, progress: Progress, to: Outcome
) -> None:
    """Copy; `to` counts along. StoreError, ServerError: what was copied stays, and the same copy
    again goes on from there."""
    server = ServerReader(sink.server, sink.layout)
    to.total = count(store.events(wanted.start, wanted.end), wanted.query, **wanted.when)
    server.refresh()
    since = _resumed(store, server, wanted, progress, to)
    for first, last in _slices(store, wanted, since):
        for events in _events(store, wanted, first, last):
            to.events.cut += int(changed(events).sum())
            sent = _done(sink.send(events))
            to.events.copied += sent.stored
            to.events.there += sent.known
            to.refused(sent.refused)
            to.told(to)
        if last is not None:
            progress.save(Place(last, to.done, to.events.refused))
    for page in store.alert_pages(wanted.start, wanted.end, _ALERTS):
        _alerts(store, server, sink, _listing(store, wanted, page), to)
        to.told(to)
    server.refresh()
    progress.forget()


def _resumed(
    store: StoreReader, server: ServerReader, wanted: Wanted, progress: Progress, to: Outcome
) -> datetime | None:
    """Up to when an earlier copy came, if what it looked at and what it sent are still there."""
    place = progress.read()
    if place is None:
        return None
    span = {**wanted.when, "end": place.until}
    here = count(store.events(wanted.start, place.until), wanted.query, **span)
    if here != place.events or server.count(wanted.query, **span) < here - place.refused:
        progress.forget()
        return None
    to.events.skipped = here
    return place.until


def _slices(
    store: StoreReader, wanted: Wanted, since: datetime | None
) -> Iterator[tuple[datetime, datetime | None]]:
    """Spans of whole minutes, one after the other, that hold all events from `since` on: each a
    slice's worth, or one minute. None: to the end of time."""
    start = wanted.start if since is None else since
    events = matching(
        store.events(start, wanted.end), wanted.query, now=wanted.now, start=start, end=wanted.end
    )
    minutes = (
        events.group_by(pl.col("@timestamp").dt.truncate("1m").alias("minute"))
        .agg(pl.len())
        .sort("minute")
        .collect(engine="streaming")
    )
    first, rows = None, 0
    for begin, number in minutes.iter_rows():
        minute = begin if start is None else max(begin, start)
        if first is not None and rows + number > _SLICE:
            yield first, minute
            first, rows = None, 0
        first, rows = first or minute, rows + number
    if first is not None:
        yield first, _after(minutes["minute"][-1], _MINUTE)


def _after(moment: datetime, step: timedelta) -> datetime | None:
    """None: there is no later time."""
    try:
        return moment + step
    except OverflowError:
        return None


def _events(
    store: StoreReader, wanted: Wanted, first: datetime, last: datetime | None
) -> Iterator[pl.DataFrame]:
    """The events of a slice."""
    end = min((one for one in (last, wanted.end) if one is not None), default=None)
    found = matching(store.events(first, end), wanted.query, now=wanted.now, start=first, end=end)
    for frame in found.collect_batches(chunk_size=_SLICE):
        if frame.height:
            yield frame


def _done(sent: Sent) -> Sent:
    if sent.error is not None:
        raise sent.error
    return sent


def _listing(store: StoreReader, wanted: Wanted, page: Sequence[Document]) -> list[Document]:
    """Those that list an event that matches the query, if there is one."""
    if wanted.everything:
        return list(page)
    ids = [one["event.id"] for alert in page for one in alert["connwatch"]["evidence"]]
    times = [
        datetime.fromisoformat(one["@timestamp"])
        for alert in page
        for one in alert["connwatch"]["evidence"]
    ]
    if not times:
        return []
    events = store.events(min(times), _after(max(times), timedelta(microseconds=1)))
    found = matching(
        events.filter(pl.col("event.id").is_in(ids)), wanted.query, now=wanted.now
    ).select("event.id")
    return listing(page, set(found.collect()["event.id"]))


def _alerts(
    store: StoreReader,
    server: ServerReader,
    sink: ElasticsearchSink,
    page: Sequence[Document],
    to: Outcome,
) -> None:
    """Send what the server does not have of these alerts; what became part of one of them goes."""
    earlier = store.earlier_ids([one["event"]["id"] for one in page])
    known: dict[str, list[tuple[Document, str]]] = {}
    for document, index in server.alerts_of([one["event"]["id"] for one in page] + [*earlier]):
        known.setdefault(document["event"]["id"], []).append((document, index))
    before: dict[str, list[str]] = {}
    for old, new in earlier.items():
        before.setdefault(new, []).append(old)
    todo: list[Alert] = []
    counts = to.alerts
    fates: dict[str, str] = {}
    for document in page:
        own = document["event"]["id"]
        copies = known.get(own, [])
        parts = [part for old in before.get(own, ()) for part in known.get(old, [])]
        wanted = _wanted(document, [one for one, _ in copies], [one for one, _ in parts])
        place = server.layout.alert_index(wanted)
        here = next((one for one, index in copies if index == place), None)
        if here is None or _plain(_known(here)) != _plain(wanted):
            todo.append(Alert(own, place, wanted, status=_says(here, wanted)))
            fates[own] = "grown" if copies else "copied"
        else:
            counts.there += 1
        for one, index in (*copies, *parts):
            if (one["event"]["id"], index) != (own, place):
                todo.append(Alert(one["event"]["id"], index, None))
    sent = _done(sink.send(alerts=todo))
    to.refused(sent.refused)
    for refusal in sent.refused:
        fates.pop(refusal.id, None)
    counts.copied += sum(fate == "copied" for fate in fates.values())
    counts.grown += sum(fate == "grown" for fate in fates.values())


def _wanted(document: Document, copies: Sequence[Document], parts: Sequence[Document]) -> Document:
    """What the server is to have of an alert. copies: what it has of it; parts: what it has of
    alerts that became part of it, of which only an analyst's word is not in it."""
    found = _known(document)
    for one in copies:
        found = united(found, _known(one))
    said = [word for one in parts if (word := one["connwatch"]["status"]) != "open"]
    if said and found["connwatch"]["status"] == "open":
        found = {**found, "connwatch": {**found["connwatch"], "status": said[0]}}
    return found


def _known(document: Document) -> Document:
    """Without what it says of a store."""
    own = {name: one for name, one in document["connwatch"].items() if name != UNKNOWN}
    return {**document, "connwatch": own}


def _says(here: Document | None, wanted: Document) -> bool:
    """Whether the status is somebody's word that the server does not know."""
    status = wanted["connwatch"]["status"]
    return status != "open" and (here is None or here["connwatch"]["status"] != status)


def _plain(document: Document) -> str:
    return json.dumps(document, sort_keys=True)
