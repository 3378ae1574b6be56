"""Reading a store: no lock, no waiting, and never half a commit."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl

from connwatch.alert import Document
from connwatch.contracts import HIT_SCHEMA, REJECT_SCHEMA
from connwatch.errors import StoreError
from connwatch.schema import STORED

from . import catalogue, maintenance
from .files import Stored, listed

_EVER = (-(2**62), 2**62)


class StoreReader:
    """What is in a store. Raises StoreError when there is none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._database = catalogue.connect(folder, write=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    def events(self, start: datetime | None = None, end: datetime | None = None) -> pl.LazyFrame:
        """Events whose file overlaps start (inclusive) to end (exclusive): the schema's stored
        columns. Filter on @timestamp for the exact span."""
        files = listed(self._database, "events", *_span(start, end))
        return self._scan(files, STORED)

    def hits(self) -> pl.LazyFrame:
        """All hits (`HIT_SCHEMA`)."""
        return self._scan(listed(self._database, "hits", *_EVER), HIT_SCHEMA)

    def alerts(self) -> list[Document]:
        """All alerts, by their beginning."""
        rows = self._database.execute("SELECT document FROM alerts ORDER BY first, id")
        return [json.loads(document) for (document,) in rows]

    def alert(self, alert_id: str) -> Document:
        """One alert by its id, an earlier id of it, or the beginning of an id that is unique."""
        wanted = alert_id.lower()
        if not wanted or any(letter not in "0123456789abcdef" for letter in wanted):
            raise StoreError(
                f"{alert_id!r} is not an alert's id", hint="connwatch alerts lists them"
            )
        found = self._database.execute(
            "SELECT id FROM alerts WHERE id BETWEEN ? AND ? "
            "UNION SELECT id FROM aliases WHERE old BETWEEN ? AND ?",
            (wanted, wanted + "g") * 2,
        ).fetchall()
        if len(found) != 1:
            what = "no alert has" if not found else f"{len(found)} alerts have"
            raise StoreError(
                f"{what} an id that begins with {alert_id!r}", hint="connwatch alerts lists them"
            )
        row = self._database.execute(
            "SELECT document FROM alerts WHERE id = ?", found[0]
        ).fetchone()
        document: Document = json.loads(row[0])
        return document

    def alert_events(self, alert_id: str) -> pl.LazyFrame:
        """Every event behind an alert, however many, by time."""
        document = self.alert(alert_id)
        key, event = document["connwatch"]["key"], document["event"]
        time = pl.col("connwatch.log_time")
        hits = (
            self.hits()
            .filter(pl.col("rule") == key["rule"], pl.col("group") == key["group"])
            .filter(time >= datetime.fromisoformat(event["start"]))
            .filter(time <= datetime.fromisoformat(event["end"]))
            .select("event.id", "@timestamp")
            .collect()
        )
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
        rows = self._database.execute(
            "SELECT path, line, offset, format, field, reason, raw FROM rejects ORDER BY path, line"
        ).fetchall()
        return pl.DataFrame(rows, schema=REJECT_SCHEMA, orient="row")

    def info(self) -> dict[str, Any]:
        """Numbers: events, alerts, hits, rejects, files, bytes, days, first and last event."""
        one = self._database.execute
        rows, files, size, first, last, days = one(
            "SELECT coalesce(sum(rows), 0), count(*), coalesce(sum(bytes), 0), min(first),"
            " max(last), count(DISTINCT day) FROM files WHERE kind = 'events'"
        ).fetchone()
        return {
            "path": str(self.folder),
            "events": rows,
            "alerts": one("SELECT count(*) FROM alerts").fetchone()[0],
            "hits": one("SELECT coalesce(sum(rows), 0) FROM files WHERE kind = 'hits'").fetchone()[
                0
            ],
            "rejects": one("SELECT count(*) FROM rejects").fetchone()[0],
            "days": days,
            "files": files,
            "bytes": one("SELECT coalesce(sum(bytes), 0) FROM files").fetchone()[0],
            "event_bytes": size,
            "first_event": first,
            "last_event": last,
        }

    def verify(self) -> list[str]:
        """What contradicts the catalogue, in words; empty when the store is whole."""
        with catalogue.errors(self.folder):
            return maintenance.verify(self.folder, self._database)

    def _scan(self, files: list[Stored], schema: dict[str, pl.DataType]) -> pl.LazyFrame:
        if not files:
            return pl.LazyFrame(schema=schema)
        paths = [self.folder / stored.name for stored in files]
        return pl.scan_parquet(paths, schema=schema, missing_columns="insert")


def _span(start: datetime | None, end: datetime | None) -> tuple[int, int]:
    """µs since the epoch; both included."""
    first = _EVER[0] if start is None else _micros(start)
    return first, _EVER[1] if end is None else _micros(end) - 1


def _micros(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond
