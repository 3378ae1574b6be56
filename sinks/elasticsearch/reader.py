"""Reading what is indexed: the same answers as `connwatch.query` gives on the embedded store.

A server answers for the documents that it is sure of. The others, that may or may not match
(`query`), are read here, and `connwatch.query` says which of them do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

import polars as pl

from connwatch.alert import Document, iso, micros
from connwatch.errors import StoreError
from connwatch.query import run
from connwatch.query.run import commonest, over_time
from connwatch.query.to_polars import field_of
from connwatch.query.tree import Everything, Query
from connwatch.schema import BY_NAME, OBJECTS, STORED, UTC, empty

from .client import Server, refusal, segment
from .conditions import ADDRESSES
from .documents import from_documents
from .dsl import ALL, Dsl, all_of, any_of, between
from .layout import Layout
from .mappings import field as mapping_of
from .query import Asked, compile_events
from .snapshot import Snapshot

_EVERYTHING: Final = Query(Everything())
_COUNTS: Final[dict[str, pl.DataType]] = {"time": UTC, "count": pl.Int64()}
#: spans that a server counts by as we do; others are made of days
_FIXED: Final = re.compile(r"\d+[smhd]")
_ID: Final = re.compile(r"[0-9a-f]+")


class ServerReader:
    """What is indexed in a server. It is closed with its connection."""

    def __init__(self, server: Server, layout: Layout) -> None:
        self.server = server
        self.layout = layout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.close()

    def search(
        self,
        query: Query,
        *,
        now: datetime,
        start: datetime | None = None,
        end: datetime | None = None,
        sort: tuple[str, bool] = ("@timestamp", True),
        limit: int | None = 100,
        columns: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """As `connwatch.query.search`."""
        nothing = empty().lazy()
        # What cannot be asked is said before anything is.
        run.search(nothing, query, now=now, sort=sort, limit=limit, columns=columns)
        name, descending = sort
        asked = compile_events(query, now=now, start=start, end=end, also=(name,))
        fields = _needed([*(BY_NAME if columns is None else columns), name])
        found = [empty()]
        with self._events() as events:
            order = _order(name, descending)
            pages = events.pages(
                asked.certain, sort=order, fields=fields, limit=limit, verbatim=True
            )
            found += [_frame(page) for page in pages]
            for page in self._decided(events, asked, query, now, start, end):
                found.append(page)
                if limit is not None:
                    found = [_first(found, now, sort, limit)]
        rows = pl.concat(found).lazy()
        return run.search(rows, _EVERYTHING, now=now, sort=sort, limit=limit, columns=columns)

    def count(
        self,
        query: Query,
        *,
        now: datetime,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> int:
        """As `connwatch.query.count`."""
        run.count(empty().lazy(), query, now=now)
        asked = compile_events(query, now=now, start=start, end=end)
        with self._events() as events:
            more = self._decided(events, asked, query, now, start, end)
            return events.count(asked.certain) + sum(page.height for page in more)

    def by(
        self,
        query: Query,
        field: str,
        limit: int | None = 20,
        *,
        now: datetime,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> pl.DataFrame:
        """As `connwatch.query.by`."""
        none = run.by(empty().lazy(), query, field, now=now)
        names = _groups(field)
        asked = compile_events(
            query, now=now, start=start, end=end, also=(field_of(field).name,), known=bool(names)
        )
        counts: dict[Any, int] = {}
        with self._events() as events:
            sources = [{"terms": {"field": name}} for name in names]
            for values, count in events.buckets(asked.certain, sources) if names else ():
                for value in set(values):
                    counts[value] = counts.get(value, 0) + count
            for page in self._decided(events, asked, query, now, start, end):
                here = run.by(page.lazy(), _EVERYTHING, field, None, now=now)
                for value, count in here.iter_rows():
                    counts[value] = counts.get(value, 0) + count
        table = pl.DataFrame(
            {"value": list(counts), "count": list(counts.values())}, schema=none.schema
        )
        return commonest(table, limit)

    def histogram(
        self,
        query: Query,
        every: str,
        *,
        now: datetime,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> pl.DataFrame:
        """As `connwatch.query.histogram`."""
        run.histogram(empty().lazy(), query, every, now=now)
        asked = compile_events(query, now=now, start=start, end=end, also=("@timestamp",))
        interval = every if _FIXED.fullmatch(every) else "1d"
        source = {"date_histogram": {"field": "@timestamp", "fixed_interval": interval}}
        with self._events() as events:
            rows = [(key[0] * 1_000, n) for key, n in events.buckets(asked.certain, [source])]
            counts = [pl.DataFrame(rows, schema=_COUNTS, orient="row")]
            counts += [
                page.select(time="@timestamp", count=pl.lit(1, pl.Int64))
                for page in self._decided(events, asked, query, now, start, end)
            ]
        return over_time(pl.concat(counts).lazy(), every, start, end)

    def moments(
        self, query: Query, names: Sequence[str], *, now: datetime, end: datetime | None = None
    ) -> pl.DataFrame:
        """Every combination of values of these text columns, and of time, the millisecond in which
        records that match are."""
        asked = compile_events(query, now=now, end=end, also=("@timestamp", *names))
        sources: list[Dsl] = [{"terms": {"field": name, "missing_bucket": True}} for name in names]
        sources.append({"date_histogram": {"field": "@timestamp", "fixed_interval": "1ms"}})
        schema = {**dict.fromkeys(names, pl.String()), "time": UTC}
        with self._events() as events:
            rows = [
                (*key[:-1], key[-1] * 1_000) for key, _ in events.buckets(asked.certain, sources)
            ]
            found = [pl.DataFrame(rows, schema=schema, orient="row")]
            found += [
                page.select(*names, time=pl.col("@timestamp").dt.truncate("1ms"))
                for page in self._decided(events, asked, query, now, None, end)
            ]
        return pl.concat(found).unique(maintain_order=True)

    def refresh(self) -> None:
        """Let all that was sent before be found at once. Who may not ask for that, as he may only
        read, finds it after a second."""
        for alias in self.layout.families:
            path = f"/{segment(alias)}/_refresh"
            self.server.perform("POST", path, params={"ignore_unavailable": "true"})

    def in_order(
        self,
        query: Query,
        *,
        now: datetime,
        start: datetime | None = None,
        end: datetime | None = None,
        since: datetime | None = None,
    ) -> Iterator[pl.DataFrame]:
        """The stored columns of all that match, page by page, by @timestamp; times that a server
        cannot order come last. since: leave out those before it, but for these."""
        first = start if since is None else since
        asked = compile_events(query, now=now, start=first, end=end, also=("@timestamp",))
        wanted = asked.certain
        if asked.doubtful is not None:
            wanted = any_of([asked.certain, asked.doubtful])
        with self._events() as events:
            for page in events.pages(wanted, sort=_order("@timestamp", False), verbatim=True):
                rows = _frame(page).lazy()
                yield run.matching(rows, query, now=now, start=start, end=end).collect()

    def alert_pages(
        self, start: datetime | None = None, end: datetime | None = None
    ) -> Iterator[list[Document]]:
        """The alerts that have hits at or after `start`, and before `end` (log time), by their
        beginning."""
        parts = [ALL]
        if start is not None:
            parts.append(between("event.end", gte=iso(start)))
        if end is not None:
            parts.append(between("event.start", lt=iso(end)))
        with Snapshot(self.server, self.layout.alerts) as alerts:
            for page in alerts.pages(all_of(parts), sort=_order("event.start", False)):
                yield [_alert_of(hit["_source"]) for hit in page]

    def alerts_of(self, ids: Sequence[str]) -> list[tuple[Document, str]]:
        """The alerts with these ids that are there, each with its index."""
        return self._alerts({"terms": {"event.id": list(ids)}}) if ids else []

    def alerts(self) -> list[Document]:
        """All alerts, by their beginning."""
        return [document for document, _ in self._alerts(ALL)]

    def alert(self, alert_id: str) -> Document:
        """One alert by its id, or the beginning of an id that is unique."""
        return self._alert(alert_id)[0]

    def set_alert_status(self, alert_id: str, status: str) -> None:
        """Write down what an analyst says of an alert: nothing else of it is written."""
        document, index = self._alert(alert_id)
        path = f"/{segment(index)}/_update/{segment(document['event']['id'])}"
        answer = self.server.perform(
            "POST",
            path,
            {"doc": {"connwatch": {"status": status}}},
            params={"retry_on_conflict": "3", "refresh": "true"},
        )
        if not answer.ok:
            raise refusal(answer, f"POST {path}")

    def _alert(self, alert_id: str) -> tuple[Document, str]:
        wanted = alert_id.lower()
        if not _ID.fullmatch(wanted):
            raise StoreError(
                f"{alert_id!r} is not an alert's id", hint="connwatch alerts lists them"
            )
        found = self._alerts({"prefix": {"event.id": {"value": wanted}}})
        if len(found) != 1:
            what = "no alert has" if not found else f"{len(found)} alerts have"
            raise StoreError(
                f"{what} an id that begins with {alert_id!r}", hint="connwatch alerts lists them"
            )
        return found[0]

    def _alerts(self, query: Dsl) -> list[tuple[Document, str]]:
        """Documents, each with its index."""
        with Snapshot(self.server, self.layout.alerts) as alerts:
            found = [
                (_alert_of(hit["_source"]), hit["_index"])
                for page in alerts.pages(query)
                for hit in page
            ]
        found.sort(key=lambda one: (micros(one[0]["event"]["start"]), one[0]["event"]["id"]))
        return found

    def _events(self) -> Snapshot:
        return Snapshot(self.server, self.layout.events)

    def _decided(
        self,
        events: Snapshot,
        asked: Asked,
        query: Query,
        now: datetime,
        start: datetime | None,
        end: datetime | None,
    ) -> Iterator[pl.DataFrame]:
        """The doubtful documents that match, as frames of stored columns."""
        if asked.doubtful is None:
            return
        for page in events.pages(asked.doubtful, verbatim=True):
            rows = _frame(page).lazy()
            yield run.matching(rows, query, now=now, start=start, end=end).collect()


def _frame(page: Sequence[dict[str, Any]]) -> pl.DataFrame:
    return from_documents(hit["_source"] for hit in page)


def _needed(names: Sequence[str]) -> list[str] | None:
    """The stored columns that these columns come from, and the id. None: the whole document, as a
    server that takes something out writes numbers of unknown fields anew."""
    needed = {"event.id"}
    for name in names:
        derive = BY_NAME[name].derive
        needed.update([name] if derive is None else derive.meta.root_names())
    return None if needed & OBJECTS else [name for name in STORED if name in needed]


def _order(name: str, descending: bool) -> list[Dsl]:
    """By a field as `connwatch.query.search` orders: texts of addresses, and ties by id."""
    name = ADDRESSES.get(name, name)
    kind = mapping_of(BY_NAME[name].es)["type"]
    order: Dsl = {
        "order": "desc" if descending else "asc", "missing": "_last", "unmapped_type": kind,
    }  # fmt: skip
    if kind == "date_nanos":
        order |= {"format": "strict_date_optional_time_nanos", "numeric_type": "date_nanos"}
    return [{name: order}, {"event.id": {"order": "asc"}}]


def _first(
    frames: Sequence[pl.DataFrame], now: datetime, sort: tuple[str, bool], limit: int
) -> pl.DataFrame:
    """The first rows of all of them, with their stored columns."""
    rows = pl.concat(frames).lazy()
    return run.search(rows, _EVERYTHING, now=now, sort=sort, limit=limit, columns=list(STORED))


def _groups(field: str) -> tuple[str, ...]:
    """The fields by which a server groups what `field` has; none where it cannot.

    It counts names inside a column of objects wrongly, and times by the millisecond; an address it
    gives without its zone.
    """
    found = field_of(field)
    if found.name == "related.ip":
        return tuple(ADDRESSES.values())
    if found.path is not None or found.es == "date":
        return ()
    return (ADDRESSES.get(found.name, found.name),)


def _alert_of(source: dict[str, Any]) -> Document:
    """A document as it was sent: an update says of what an alert has lost that it is null."""
    found = dict(source)
    for part in ("source", "destination", "process", "user", "host"):
        own = {name: one for name, one in source.get(part, {}).items() if one is not None}
        if own:
            found[part] = own
        else:
            found.pop(part, None)
    return found
