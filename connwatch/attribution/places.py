"""Where events and alerts are read from when processes are looked for: a store, or a server.

A question says what is wanted as an expression, and as queries that find all of that and perhaps
more: a store reads the one, a server is asked the others, and what it gives is looked through here.
So both answer the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

import polars as pl

from connwatch.alert import Document
from connwatch.behind import ServerRecords
from connwatch.detectors.ruleset import RuleSet
from connwatch.query.made import NO_TIME, equal, there
from connwatch.query.tree import And, Node, Or, Query
from connwatch.schema import BY_NAME, STORED
from connwatch.sinks.embedded import StoreReader

if TYPE_CHECKING:  # the client takes half a second to load
    from connwatch.sinks.elasticsearch.reader import ServerReader

#: values that a question asks a server for at once, and pairs of ends
_VALUES: Final = 1_000
_PAIRS: Final = 50

#: queries that find, together, all that is wanted; made when they are needed
Queries = Callable[[], Iterable[Node]]


class Place(Protocol):
    """Events and alerts, wherever they are."""

    def events(
        self,
        start: datetime | None,
        end: datetime | None,
        wanted: pl.Expr,
        queries: Queries,
        columns: Sequence[str] = tuple(STORED),
    ) -> pl.LazyFrame:
        """Events from start (inclusive) to end (exclusive) that are wanted; at least with these of
        the stored columns."""

    def values(self, name: str) -> list[str]:
        """Every value of a text column."""

    def alerts_with(self, events: pl.DataFrame) -> list[Document]:
        """The alerts that have one of these events (stored columns) behind them, by their begin."""


class StorePlace:
    """The embedded store."""

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader

    def events(
        self,
        start: datetime | None,
        end: datetime | None,
        wanted: pl.Expr,
        queries: Queries,
        columns: Sequence[str] = tuple(STORED),
    ) -> pl.LazyFrame:
        return between(self._reader, start, end).filter(wanted)

    def values(self, name: str) -> list[str]:
        found = self._reader.events().select(pl.col(name).drop_nulls().unique().sort())
        return found.collect()[name].to_list()

    def alerts_with(self, events: pl.DataFrame) -> list[Document]:
        hits = self._reader.hits().filter(pl.col("event.id").is_in(events["event.id"].implode()))
        found = hits.collect()
        if found.is_empty():
            return []
        keys = list(zip(found["rule"], found["group"], found["connwatch.log_time"], strict=True))
        first = found["connwatch.log_time"].min()
        assert isinstance(first, datetime)  # noqa: S101  there are some
        return [
            document
            for page in self._reader.alert_pages(first, None)
            for document in page
            if any(_is_of(document, rule, group, time) for rule, group, time in keys)
        ]


def between(reader: StoreReader, start: datetime | None, end: datetime | None) -> pl.LazyFrame:
    """Events of a store from start (inclusive) to end (exclusive)."""
    events = reader.events(start, end)
    if start is not None:
        events = events.filter(pl.col("@timestamp") >= start)
    return events if end is None else events.filter(pl.col("@timestamp") < end)


def _is_of(document: Document, rule: str, group: str, time: datetime) -> bool:
    """Whether a hit is one of an alert's."""
    key = document["connwatch"]["key"]
    first, last = _span(document)
    return (rule, group) == (key["rule"], key["group"]) and first <= time <= last


def _span(document: Document) -> tuple[datetime, datetime]:
    event = document["event"]
    return datetime.fromisoformat(event["start"]), datetime.fromisoformat(event["end"])


class ServerPlace:
    """A server. rules: that alerts came from; a server does not hold which events are behind an
    alert (`connwatch.behind`)."""

    def __init__(self, reader: ServerReader, rules: Callable[[], RuleSet]) -> None:
        self._reader, self._rules = reader, rules

    def events(
        self,
        start: datetime | None,
        end: datetime | None,
        wanted: pl.Expr,
        queries: Queries,
        columns: Sequence[str] = tuple(STORED),
    ) -> pl.LazyFrame:
        asked = {"event.id", "@timestamp", *columns, *wanted.meta.root_names()}
        names = [name for name in STORED if name in asked]
        frames = [pl.DataFrame(schema={name: STORED[name] for name in names})]
        frames += [
            self._reader.search(
                Query(query), now=NO_TIME, start=start, end=end,
                sort=("@timestamp", False), limit=None, columns=names,
            )
            for query in queries()
        ]  # fmt: skip
        found = pl.concat(frames)
        if len(frames) > 2:
            found = found.unique("event.id", keep="first", maintain_order=True)
        return found.lazy().filter(wanted)

    def values(self, name: str) -> list[str]:
        found = self._reader.by(Query(there(name)), name, None, now=NO_TIME)
        return found["value"].sort().to_list()

    def alerts_with(self, events: pl.DataFrame) -> list[Document]:
        times = events["connwatch.log_time"]
        first, last = times.min(), times.max()
        if not isinstance(first, datetime) or not isinstance(last, datetime):
            return []
        ids = set(events["event.id"])
        records = ServerRecords(self._reader, self._rules())
        return [
            document
            for page in self._reader.alert_pages(first, None)
            for document in page
            if _may_have(document, events)
            and not ids.isdisjoint(records.found(document).events["event.id"])
        ]


def _may_have(document: Document, events: pl.DataFrame) -> bool:
    """Whether one of these events is of an alert's time and group; of columns that are not stored
    nothing is known."""
    first, last = _span(document)
    wanted = pl.col("connwatch.log_time").is_between(first, last)
    for name, value in document["connwatch"]["group"].items():
        if name in STORED and not isinstance(value, dict | list):
            wanted = wanted & pl.col(name).eq_missing(pl.lit(value, STORED[name]))
    return not events.filter(wanted).is_empty()


def among(name: str, values: Sequence[Any] | pl.Series) -> Iterator[Node]:
    """Queries for the events of which a field has one of these values."""
    for begin in range(0, len(values), _VALUES):
        yield Or(tuple(equal(name, value) for value in values[begin : begin + _VALUES]))


def with_ends(pairs: Sequence[Sequence[Any]]) -> Iterator[Node]:
    """Queries for the flows between these ends, either way: transport, and address and port of one
    and of the other."""
    sides = ("source", "destination")
    for begin in range(0, len(pairs), _PAIRS):
        yield Or(
            tuple(
                And(
                    tuple(
                        equal(f"{side}.{what}", value)
                        for side, end in zip(sides, ends, strict=True)
                        for what, value in zip(("ip", "port"), end, strict=True)
                        if "%" not in str(value)  # a zone is no part of what is indexed
                    )
                )
                for _, ip, port, other, to in pairs[begin : begin + _PAIRS]
                for ends in (((ip, port), (other, to)), ((other, to), (ip, port)))
            )
        )


def both(*nodes: Node) -> Node:
    return And(nodes)


def roots(*expressions: pl.Expr) -> list[str]:
    """The stored columns that expressions are made of."""
    names = {name for one in expressions for name in one.meta.root_names()}
    derived = (BY_NAME[name].derive for name in names if name in BY_NAME)
    names |= {root for one in derived if one is not None for root in one.meta.root_names()}
    return [name for name in STORED if name in names]
