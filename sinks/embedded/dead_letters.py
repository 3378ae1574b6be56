"""What a sink refused for good, with the reason, until somebody sends it again or drops it.

Letters of all sinks lie in the embedded store's catalogue: it is there whatever else is configured.
A document is the whole of what was refused: of an event its stored columns, by name; of an alert
its document.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import StringIO
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from connwatch.alert import Written
from connwatch.contracts import HIT_SCHEMA, REJECT_SCHEMA, Delivery, Receipt, Sink
from connwatch.schema import STORED, empty

from . import alerts, catalogue

if TYPE_CHECKING:
    from .catalogue import Database
    from .store import EmbeddedStore

#: letters that are sent again at once, at most
_BATCH: Final = 1_000
_REQUIRED: Final = ("event.id", "@timestamp")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One document that a sink refused. number: of the letter, null before it is kept. since:
    seconds since the epoch. kind: event or alert. document: JSON."""

    number: int | None
    sink: str
    since: float
    reason: str
    kind: str
    document: str

    @property
    def id(self) -> str | None:
        """The id of the event or alert, if it has one."""
        try:
            found = json.loads(self.document)
            one = found["event"]["id"] if self.kind == "alert" else found["event.id"]
        except (ValueError, KeyError, TypeError):
            return None
        return one if isinstance(one, str) else None


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of letters that were sent again. unknown: sinks that are not configured."""

    delivered: int
    refused: int
    waiting: int
    unknown: tuple[str, ...]


def letters(sink: str, since: datetime, delivery: Delivery, receipt: Receipt) -> list[DeadLetter]:
    """What a receipt says was refused, as letters; since: when."""
    events: dict[str, str] = {}
    wanted = [one.id for one in receipt.refused if one.kind == "event"]
    if wanted:
        rows = delivery.events.filter(pl.col("event.id").is_in(wanted))
        lines = rows.select(list(STORED)).write_ndjson().splitlines()
        events = dict(zip(rows["event.id"], lines, strict=True))
    documents = {
        "event": events.get,
        "alert": {
            alert["event"]["id"]: json.dumps(dict(alert), ensure_ascii=False)
            for alert in delivery.alerts
        }.get,
    }
    return [
        DeadLetter(None, sink, since.timestamp(), one.reason, one.kind, document)
        for one in receipt.refused
        if (document := documents[one.kind](one.id)) is not None
    ]


def add(store: EmbeddedStore, found: Iterable[DeadLetter]) -> None:
    """Keep letters."""
    with catalogue.errors(store.folder), store.database.changing():
        insert(store.database, found)


def insert(database: Database, found: Iterable[DeadLetter]) -> None:
    """In a transaction: keep letters."""
    database.executemany(
        "INSERT INTO dead_letters (sink, since, reason, kind, document) VALUES (?, ?, ?, ?, ?)",
        ((one.sink, one.since, one.reason, one.kind, one.document) for one in found),
    )


def kept(database: Database) -> list[DeadLetter]:
    """All letters, the oldest first."""
    with database.guard:
        if database.execute("PRAGMA user_version").fetchone()[0] < 2:
            return []
        query = "SELECT id, sink, since, reason, kind, document FROM dead_letters ORDER BY id"
        return [DeadLetter(*row) for row in database.execute(query)]


def remove(store: EmbeddedStore, numbers: Sequence[int] | None) -> int:
    """Drop letters by number, None: all; how many there were."""
    with catalogue.errors(store.folder), store.database.changing():
        if numbers is None:
            return store.database.execute("DELETE FROM dead_letters").rowcount
        query = "DELETE FROM dead_letters WHERE id = ?"
        return sum(store.database.execute(query, (number,)).rowcount for number in set(numbers))


def retry(
    store: EmbeddedStore, sinks: Mapping[str, Sink], numbers: Sequence[int] | None = None
) -> Retried:
    """Send letters again to the sinks that refused them, None: all of them.

    What is taken now is no letter any more; what is refused again keeps its place, with the new
    reason; what the sink wants later stays as it is.
    """
    chosen = [one for one in kept(store.database) if numbers is None or one.number in numbers]
    unknown = {one.sink for one in chosen if one.sink not in sinks}
    done: list[int] = []
    again: dict[int, str] = {}
    for name, sink in sinks.items():
        mine = [one for one in chosen if one.sink == name]
        for start in range(0, len(mine), _BATCH):
            for number, fate in _sent(store, sink, mine[start : start + _BATCH]):
                if fate is None:
                    done.append(number)
                elif fate:
                    again[number] = fate
    with catalogue.errors(store.folder), store.database.changing():
        store.database.executemany(
            "UPDATE dead_letters SET reason = ? WHERE id = ?",
            ((reason, number) for number, reason in again.items()),
        )
    remove(store, done)
    return Retried(
        len(done), len(again), len(chosen) - len(done) - len(again), tuple(sorted(unknown))
    )


def _sent(
    store: EmbeddedStore, sink: Sink, batch: Sequence[DeadLetter]
) -> list[tuple[int, str | None]]:
    """The number and fate of each letter: None taken, a reason, or nothing: later."""
    fates: dict[int, str | None] = {}
    frames, documents = [empty()], []
    for one in batch:
        number = one.number or 0
        try:
            if one.kind == "event":
                frames.append(event(one.document))
            else:
                documents.append(_alert(one.document))
        except ValueError as error:
            fates[number] = str(error)
    events = pl.concat(frames).unique("event.id", keep="first", maintain_order=True)
    hits = pl.DataFrame(schema=HIT_SCHEMA)
    rejects = pl.DataFrame(schema=REJECT_SCHEMA)
    receipt = sink.write(Delivery(events, hits, tuple(documents), rejects))
    if sink is store:
        _put_missing(store, documents)
    refused = {(one.kind, one.id): one.reason for one in receipt.refused}
    later = {("alert", one) for one in receipt.retry_alerts}
    later |= {("event", one) for one in events["event.id"].filter(receipt.fates == "retry")}
    for one in batch:
        key = (one.kind, one.id or "")
        fates.setdefault(one.number or 0, "" if key in later else refused.get(key))
    return list(fates.items())


def event(document: str) -> pl.DataFrame:
    """An event's document as a frame of one row. Raises ValueError that says what is wrong."""
    try:
        found = json.loads(document)
    except ValueError as error:
        raise ValueError(f"the document is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError("the document is not an object")
    unknown = sorted(set(found) - set(STORED))
    if unknown:
        raise ValueError(f"the schema has no column {unknown[0]!r}")
    for name in _REQUIRED:
        if not isinstance(found.get(name), str):
            raise ValueError(f"there is no {name}")
    try:
        return pl.read_ndjson(StringIO(json.dumps(found)), schema=dict(STORED))
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"a value is of another type: {error}") from None


def _alert(document: str) -> dict[str, Any]:
    found = json.loads(document)
    try:
        Written.of(found)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the document is no alert: {error!r}") from None
    return dict(found)


def _put_missing(store: EmbeddedStore, documents: Sequence[Mapping[str, Any]]) -> None:
    """The store merges alerts by their hits; letters have none, so that an alert is put whole if it
    is not there."""
    with catalogue.errors(store.folder), store.database.changing():
        query = "SELECT 1 FROM alerts WHERE id = ?1 UNION SELECT 1 FROM aliases WHERE old = ?1"
        for document in documents:
            if store.database.execute(query, (document["event"]["id"],)).fetchone() is None:
                alerts.put(store.database, dict(document))
