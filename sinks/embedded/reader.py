"""Reading a store: no lock, no waiting, and never half a commit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl

from connwatch.alert import Document
from connwatch.contracts import REJECT_SCHEMA
from connwatch.errors import StoreDamagedError, StoreError
from connwatch.schema import STORED

from . import catalogue, journal, maintenance, processes
from .dead_letters import DeadLetter, kept
from .files import EVER, listed
from .numbers import numbers
from .processes import told
from .retention import EVENTS_FROM, Policy, Retained, planned
from .small import SCHEMAS, parts, together


class StoreReader:
    """What is in a store. Raises StoreError when there is none, or for events, hits and alerts of a
    journal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._database = catalogue.connect(folder, write=False)
        with catalogue.errors(folder):
            self._told = processes.columns(self._database)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; what a query came upon in a damaged file is said as StoreDamagedError."""
        self.close()
        if isinstance(error, pl.exceptions.ComputeError):
            with catalogue.errors(self.folder):
                raise error

    def close(self) -> None:
        self._database.close()

    def _check(self) -> None:
        with catalogue.errors(self.folder):
            if journal.is_one(self._database):
                raise journal.refused(self.folder)

    def events(self, start: datetime | None = None, end: datetime | None = None) -> pl.LazyFrame:
        """Events whose file overlaps start (inclusive) to end (exclusive): the schema's stored
        columns. Filter on @timestamp for the exact span."""
        self._check()
        return self._scan("events", *_span(start, end))

    def hits(self, start: datetime | None = None, end: datetime | None = None) -> pl.LazyFrame:
        """Hits (`HIT_SCHEMA`) whose file overlaps start (inclusive) to end (exclusive)."""
        self._check()
        return self._scan("hits", *_span(start, end))

    def alerts(self) -> list[Document]:
        """All alerts, by their beginning."""
        self._check()
        rows = self._rows(f"SELECT {self._told} ORDER BY first, id")
        return [told(*row) for row in rows]

    def alert_pages(
        self, start: datetime | None = None, end: datetime | None = None, size: int = 1_000
    ) -> Iterator[list[Document]]:
        """The alerts that have hits at or after `start`, and before `end` (log time), by their
        beginning, so many at once."""
        first, last = _span(start, end)
        place: tuple[int, str] = (EVER[0], "")
        while rows := self._rows(
            f"SELECT first, id, {self._told} WHERE last >= ? AND first <= ?"
            " AND (first, id) > (?, ?) ORDER BY first, id LIMIT ?",
            *(first, last, *place, size),
        ):
            yield [told(*row[2:]) for row in rows]
            place = rows[-1][:2]

    def alerts_of(self, ids: Sequence[str]) -> list[Document]:
        """The alerts with these ids that are there."""
        query = f"SELECT {self._told} WHERE id = ?"
        return [told(*row) for one in ids for row in self._rows(query, one)]

    def earlier_ids(self, ids: Sequence[str]) -> dict[str, str]:
        """Ids that became part of one of these alerts, each with the id it leads to."""
        rows = (self._rows("SELECT old, id FROM aliases WHERE id = ?", one) for one in ids)
        return {old: new for found in rows for old, new in found}

    def alert(self, alert_id: str) -> Document:
        """One alert by its id, an earlier id of it, or the beginning of an id that is unique."""
        self._check()
        wanted = alert_id.lower()
        if not wanted or any(letter not in "0123456789abcdef" for letter in wanted):
            raise StoreError(
                f"{alert_id!r} is not an alert's id", hint="connwatch alerts lists them"
            )
        # In one go: retention may take the alert away behind a look for its id.
        found = self._rows(
            f"SELECT {self._told} WHERE id BETWEEN ? AND ? "  # noqa: S608
            "OR id IN (SELECT id FROM aliases WHERE old BETWEEN ? AND ?)",
            *(wanted, wanted + "g") * 2,
        )
        if len(found) != 1:
            what = "no alert has" if not found else f"{len(found)} alerts have"
            raise StoreError(
                f"{what} an id that begins with {alert_id!r}", hint="connwatch alerts lists them"
            )
        return told(*found[0])

    def alert_events(self, alert_id: str) -> pl.LazyFrame:
        """Every event behind an alert, however many, by time."""
        return self._behind(self._hits_of(self.alert(alert_id)))

    def gone_events(self, alert_id: str) -> int:
        """How many of the events behind an alert retention has removed, and no replay has brought
        back."""
        rows = self._rows("SELECT value FROM meta WHERE key = ?", EVENTS_FROM)
        if not rows:
            return 0
        kept = datetime.fromisoformat(rows[0][0]).replace(tzinfo=UTC)
        hits = self._hits_of(self.alert(alert_id)).filter(pl.col("@timestamp") < kept)
        there = self._behind(hits).select(pl.len()).collect().item()
        return hits.height - int(there)

    def _hits_of(self, document: Document) -> pl.DataFrame:
        key, event = document["connwatch"]["key"], document["event"]
        time = pl.col("connwatch.log_time")
        return (
            self.hits()
            .filter(pl.col("rule") == key["rule"], pl.col("group") == key["group"])
            .filter(time >= datetime.fromisoformat(event["start"]))
            .filter(time <= datetime.fromisoformat(event["end"]))
            .select("event.id", "@timestamp")
            .collect()
        )

    def _behind(self, hits: pl.DataFrame) -> pl.LazyFrame:
        """The events of hits that are stored."""
        if hits.is_empty():
            return pl.LazyFrame(schema=STORED)
        first, last = hits["@timestamp"].min(), hits["@timestamp"].max()
        return (
            self.events(first, None)  # type: ignore[arg-type]
            .filter(pl.col("@timestamp").is_between(first, last))
            .join(hits.lazy().select("event.id"), on="event.id", how="semi")
            .sort("connwatch.log_time", "event.id")
        )

    def rejects(self) -> pl.DataFrame:
        """Lines that could not be read (`REJECT_SCHEMA`), by file and line."""
        rows = self._rows(
            "SELECT path, line, offset, format, field, reason, raw FROM rejects ORDER BY path, line"
        )
        return pl.DataFrame(rows, schema=REJECT_SCHEMA, orient="row")

    def dead_letters(self) -> list[DeadLetter]:
        """What sinks refused for good, the oldest first."""
        with catalogue.errors(self.folder):
            return kept(self._database)

    def info(self) -> dict[str, Any]:
        """Numbers: events, alerts, hits, rejects, files, bytes, days, first and last event.

        files: of events; small: parts that are not in a file yet.

        rejects_over_cap: rejects that were turned away because the store had its fill of them.
        """
        with catalogue.errors(self.folder), catalogue.moment(self._database):
            return {"path": str(self.folder), **numbers(self._database)}

    def planned(self, policy: Policy, now: datetime) -> Retained:
        """What `retain` would remove, near enough."""
        with catalogue.errors(self.folder):
            return planned(self._database, policy, now)

    def verify(self) -> list[str]:
        """What contradicts the catalogue, in words; empty when the store is whole."""
        with catalogue.errors(self.folder):
            return maintenance.verify(self.folder, self._database)

    def _rows(self, query: str, *values: object) -> list[Any]:
        with catalogue.errors(self.folder):
            return self._database.execute(query, values).fetchall()

    def _scan(self, kind: str, first: int, last: int) -> pl.LazyFrame:
        with catalogue.errors(self.folder), catalogue.moment(self._database):
            files = listed(self._database, kind, first, last)
            rows = parts(self._database, kind, first, last)
        schema = SCHEMAS[kind]
        found: list[pl.LazyFrame] = []
        if files:
            paths = [_whole(self.folder / stored.name, stored.bytes) for stored in files]
            found.append(pl.scan_parquet(paths, schema=schema, missing_columns="insert"))
        if rows or not files:
            found.append(together(kind, rows).lazy())
        return found[0] if len(found) == 1 else pl.concat(found)


def _whole(path: Path, size: int) -> Path:
    """The file, if it is there at full length; a look at its content is for `verify`."""
    try:
        found = path.stat().st_size
    except FileNotFoundError:
        raise StoreDamagedError("a file of the store is missing", where=str(path)) from None
    if found != size:
        raise StoreDamagedError(f"has {found} bytes, {size} were written", where=str(path))
    return path


def _span(start: datetime | None, end: datetime | None) -> tuple[int, int]:
    """µs since the epoch; both included."""
    first = EVER[0] if start is None else _micros(start)
    return first, EVER[1] if end is None else _micros(end) - 1


def _micros(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond
