"""Keeping a store in order: rubbish, compaction, verification, dropping old days."""

from __future__ import annotations

import json
import sqlite3
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import polars as pl

from connwatch.contracts import HIT_SCHEMA
from connwatch.schema import STORED

from . import alerts, catalogue
from .files import Stored, listed, write
from .keys import ordered

#: seconds for which a file that compaction replaced stays, for readers that still use it
GRACE: Final = 600.0
#: rows up to which files are put together
COMPACT_TO: Final = 300_000
KEYS_TO: Final = 500_000
_FOLDERS: Final = ("events", "hits", "event_keys", "hit_keys", "state")
_EVER: Final = (-(2**62), 2**62)


def clean(folder: Path, database: sqlite3.Connection) -> None:
    """Delete what a killed writer left, and replaced files whose grace is over."""
    known = {row[0] for row in database.execute("SELECT name FROM files")}
    grace = dict(database.execute("SELECT name, since FROM replaced").fetchall())
    for name in _present(folder):
        # The file system's clock: this is housekeeping, no event depends on it.
        if name in known or (name in grace and time.time() - grace[name] < GRACE):
            continue
        (folder / name).unlink(missing_ok=True)
        database.execute("DELETE FROM replaced WHERE name = ?", (name,))


def _present(folder: Path) -> list[str]:
    return [
        str(path.relative_to(folder))
        for top in _FOLDERS
        for path in sorted((folder / top).rglob("*"))
        if path.is_file()
    ]


def _exchange(
    folder: Path, database: sqlite3.Connection, old: list[Stored], new: list[Stored]
) -> None:
    """In a transaction: `new` is listed instead of `old`, whose files stay for a while."""
    for stored in new:
        stored.insert(database)
    for stored in old:
        database.execute("DELETE FROM files WHERE name = ?", (stored.name,))
        database.execute("INSERT INTO replaced VALUES (?, ?)", (stored.name, time.time()))


def compact(folder: Path, database: sqlite3.Connection) -> tuple[int, int]:
    """Put small files together, day by day; how many files there were and are."""
    before = _number(database)
    with catalogue.errors(folder):
        for kind, limit in (
            ("events", COMPACT_TO),
            ("hits", COMPACT_TO),
            ("event-keys", KEYS_TO),
            ("hit-keys", KEYS_TO),
        ):
            by_day: dict[str | None, list[Stored]] = {}
            for stored in listed(database, kind, *_EVER):
                by_day.setdefault(stored.day, []).append(stored)
            for day, files in by_day.items():
                for group in _groups(files, limit):
                    new = _together(folder, kind, day, group)
                    with catalogue.transaction(database):
                        _exchange(folder, database, group, [new])
        clean(folder, database)
    return before, _number(database)


def _number(database: sqlite3.Connection) -> int:
    return int(database.execute("SELECT count(*) FROM files").fetchone()[0])


def _groups(files: list[Stored], limit: int) -> list[list[Stored]]:
    """Runs of neighbours in time that are worth putting together."""
    groups: list[list[Stored]] = [[]]
    for stored in sorted(files, key=lambda s: (s.first, s.name)):
        if groups[-1] and sum(s.rows for s in groups[-1]) + stored.rows > limit:
            groups.append([])
        groups[-1].append(stored)
    return [group for group in groups if len(group) > 1]


def _together(folder: Path, kind: str, day: str | None, group: list[Stored]) -> Stored:
    first, last = min(s.first for s in group), max(s.last for s in group)
    paths = [folder / stored.name for stored in group]
    if kind.endswith("-keys"):
        frame = ordered(pl.concat([pl.read_ipc(path) for path in paths]))
    else:
        frame = (
            pl.scan_parquet(
                paths, schema=STORED if kind == "events" else HIT_SCHEMA, missing_columns="insert"
            )
            .sort("@timestamp")
            .collect()
        )
    return write(folder, kind, day, frame, first, last)


def verify(folder: Path, database: sqlite3.Connection) -> list[str]:
    """What contradicts the catalogue, in words; empty when the store is whole."""
    problems = [
        f"{catalogue.NAME}: {row[0]}"
        for row in database.execute("PRAGMA integrity_check")
        if row[0] != "ok"
    ]
    for kind in ("events", "hits", "event-keys", "hit-keys", "state"):
        for stored in listed(database, kind, *_EVER):
            path = folder / stored.name
            if not path.is_file():
                problems.append(f"{stored.name}: is missing")
            elif not stored.is_whole(path):
                problems.append(f"{stored.name}: its content has changed")
    return problems


def drop(folder: Path, database: sqlite3.Connection, before: date) -> int:
    """Remove the days before a date, with their hits and alerts; how many events are gone.

    An alert that reaches beyond the date stays, with the number of hits that are left.
    """
    cut = int(datetime(before.year, before.month, before.day, tzinfo=UTC).timestamp()) * 1_000_000
    with catalogue.errors(folder):
        events = [s for s in listed(database, "events", _EVER[0], cut - 1) if s.last < cut]
        hits = listed(database, "hits", _EVER[0], cut - 1)
        old_keys = [
            s
            for kind in ("event-keys", "hit-keys")
            for s in listed(database, kind, _EVER[0], cut - 1)
        ]
        kept = [new for stored in hits for new in _rest_of_hits(folder, stored, cut)]
        kept += [new for stored in old_keys for new in _rest_of_keys(folder, stored, cut)]
        gone = pl.concat(
            [
                pl.DataFrame(
                    schema={
                        "rule": pl.String,
                        "group": pl.String,
                        "connwatch.log_time": pl.Datetime("us", "UTC"),
                    }
                ),
                *(_hits_before(folder, stored, cut) for stored in hits),
            ]
        )
        with catalogue.transaction(database):
            _exchange(folder, database, [*events, *hits, *old_keys], kept)
            _forget(database, gone)
        clean(folder, database)
    return sum(stored.rows for stored in events)


def _moment(cut: int) -> pl.Expr:
    return pl.lit(cut, pl.Int64).cast(pl.Datetime("us", "UTC"))


def _hits_before(folder: Path, stored: Stored, cut: int) -> pl.DataFrame:
    frame = pl.read_parquet(folder / stored.name)
    old = frame.filter(pl.col("@timestamp") < _moment(cut))
    return old.select("rule", "group", "connwatch.log_time")


def _rest_of_hits(folder: Path, stored: Stored, cut: int) -> list[Stored]:
    rest = pl.read_parquet(folder / stored.name).filter(pl.col("@timestamp") >= _moment(cut))
    return [write(folder, stored.kind, None, rest, cut, stored.last)] if rest.height else []


def _rest_of_keys(folder: Path, stored: Stored, cut: int) -> list[Stored]:
    rest = pl.read_ipc(folder / stored.name).filter(pl.col("hi") >= (cut // 1_000_000) << 32)
    return [write(folder, stored.kind, None, rest, cut, stored.last)] if rest.height else []


def _forget(database: sqlite3.Connection, gone: pl.DataFrame) -> None:
    """Take the dropped hits out of the alerts."""
    if gone.is_empty():
        return
    last = gone.select(pl.col("connwatch.log_time").max().dt.epoch("us")).item()
    rows = database.execute(
        "SELECT id, rule, grp, first, last FROM alerts WHERE first <= ?", (last,)
    ).fetchall()
    names = {"number": pl.String, "rule": pl.String, "group": pl.String}
    schema = {**names, "start": pl.Int64, "end": pl.Int64}
    spans = pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        pl.col("start", "end").cast(pl.Datetime("us", "UTC"))
    )
    for alert_id, lost in alerts.within(spans, gone).items():
        row = database.execute("SELECT document FROM alerts WHERE id = ?", (alert_id,)).fetchone()
        document = json.loads(row[0])
        document["connwatch"]["count"] -= lost
        if document["connwatch"]["count"] > 0:
            alerts.put(database, document)
        else:
            database.execute("DELETE FROM alerts WHERE id = ?", (alert_id,))
            database.execute("DELETE FROM aliases WHERE id = ?", (alert_id,))
