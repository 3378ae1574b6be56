"""From a server to the embedded store.

Events come page by page, as the server had them at one moment, by time, and are committed in
batches; those that the store has it knows by the id. A server does not hold which event a rule hit,
but the store lives by that: without it, a replay of the same logs would count hits anew. So each
alert's rule is run again over the server's events (`connwatch.behind`); where that gives what the
alert counted, the alert has all its hits, and otherwise those of the events that it lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import polars as pl

from connwatch.alert import Document, fingerprint
from connwatch.behind import ServerRecords
from connwatch.contracts import HIT_SCHEMA, REJECT_SCHEMA, Delivery
from connwatch.copying.progress import Outcome, Place, Progress, Wanted, among, listing
from connwatch.detectors.ruleset import RuleSet
from connwatch.query import count
from connwatch.sinks.elasticsearch.fitting import marked
from connwatch.sinks.elasticsearch.reader import ServerReader
from connwatch.sinks.embedded import EmbeddedStore, Run, StoreReader
from connwatch.sinks.embedded.alerts import UNKNOWN
from connwatch.sinks.embedded.taken import take

#: events of a commit, about
_COMMIT: Final = 50_000
#: ids that are asked for at once: a query has so many conditions at most
_ASKED: Final = 500
#: times that a server orders by
_ORDERED: Final = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC))


def copy_to_store(
    server: ServerReader,
    store: EmbeddedStore,
    rules: RuleSet,
    wanted: Wanted,
    progress: Progress,
    to: Outcome,
) -> None:
    """Copy; `to` counts along. rules: that the alerts came from. StoreError, ServerError: what was
    copied stays, and the same copy again goes on from there."""
    server.refresh()
    to.total = server.count(wanted.query, **wanted.when)
    run = store.begin_run()
    since = _resumed(server, store, wanted, progress, to)
    ends = _Ends(since, to.events.skipped)
    for events in _batches(server.in_order(wanted.query, **wanted.when, since=since)):
        fates, keys = run.classify(events)
        fresh = events.filter(fates == "new")
        run.write(Delivery(fresh, _NO_HITS, (), _NO_REJECTS), keys)
        to.events.copied += fresh.height
        to.events.there += events.height - fresh.height
        to.events.cut += int(marked(events).sum())
        to.told(to)
        place = ends.after(events)
        if place is not None:
            progress.save(place)
    records = ServerRecords(server, rules)
    for page in server.alert_pages(wanted.start, wanted.end):
        _alerts(records, store, run, _listing(server, wanted, page), to)
        to.told(to)
    progress.forget()


class _Ends:
    """Up to when all events have come: not to the last one's own time, which others may share."""

    def __init__(self, since: datetime | None, events: int) -> None:
        self._last, self._before, self._seen = since, events, events

    def after(self, events: pl.DataFrame) -> Place | None:
        """After these events, in order, have come too; None: nothing is sure."""
        last: datetime = events["@timestamp"][-1]
        self._seen += events.height
        if not _ORDERED[0] <= last < _ORDERED[1] or (self._last is not None and last < self._last):
            return None  # those that cannot be ordered come last
        if last != self._last:
            self._before = self._seen - int((events["@timestamp"] == last).sum())
        self._last = last
        return Place(last, self._before)


def _resumed(
    server: ServerReader, store: EmbeddedStore, wanted: Wanted, progress: Progress, to: Outcome
) -> datetime | None:
    """Up to when an earlier copy came, if what it looked at and what it stored are still there."""
    place = progress.read()
    if place is None:
        return None
    span = {**wanted.when, "end": place.until}
    there = server.count(wanted.query, **span)
    with StoreReader(store.folder) as reader:
        here = count(reader.events(wanted.start, place.until), wanted.query, **span)
    if there != place.events or here < there:
        progress.forget()
        return None
    to.events.skipped = there
    return place.until


def _batches(pages: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Pages put together to a commit's worth."""
    waiting: list[pl.DataFrame] = []
    for page in pages:
        if page.height:
            waiting.append(page)
        if sum(one.height for one in waiting) >= _COMMIT:
            yield pl.concat(waiting, rechunk=True)
            waiting = []
    if waiting:
        yield pl.concat(waiting, rechunk=True)


def _listing(server: ServerReader, wanted: Wanted, page: Sequence[Document]) -> list[Document]:
    """Those that list an event that matches the query, if there is one."""
    if wanted.everything:
        return list(page)
    ids = sorted({one["event.id"] for alert in page for one in alert["connwatch"]["evidence"]})
    matched: set[str] = set()
    for start in range(0, len(ids), _ASKED):
        query = among(wanted, ids[start : start + _ASKED])
        found = server.search(query, now=wanted.now, limit=None, columns=["event.id"])
        matched.update(found["event.id"])
    return listing(page, matched)


def _alerts(
    records: ServerRecords, store: EmbeddedStore, run: Run, page: Sequence[Document], to: Outcome
) -> None:
    """Take these alerts, with the hits that can be found."""
    hits: list[pl.DataFrame] = [_NO_HITS]
    whole: set[str] = set()
    partial: set[str] = set()
    with StoreReader(store.folder) as reader:
        stored = {
            one["event"]["id"]: one
            for one in reader.alerts_of([alert["event"]["id"] for alert in page])
        }
    for alert in page:
        own = alert["event"]["id"]
        here = stored.get(own)
        if here is not None and UNKNOWN not in here["connwatch"] and _same(here, alert):
            continue  # with all its hits; at most the status is new
        found = records.found(alert)
        if found.doubt is None:
            whole.add(own)
            hits.append(found.hits)
        else:
            listed = [one["event.id"] for one in alert["connwatch"]["evidence"]]
            hits.append(found.hits.filter(pl.col("event.id").is_in(listed)))
            partial.add(own)
    taken = take(store, run, page, pl.concat(hits), whole, partial)
    to.alerts.partial += len(partial)
    to.alerts.copied += taken.new
    to.alerts.grown += taken.grown
    to.alerts.there += taken.there


def _same(one: Document, other: Document) -> bool:
    return fingerprint(one) == fingerprint(other)


_NO_HITS: Final = pl.DataFrame(schema=HIT_SCHEMA)
_NO_REJECTS: Final = pl.DataFrame(schema=REJECT_SCHEMA)
