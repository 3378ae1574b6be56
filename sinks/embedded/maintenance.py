"""Keeping a store in order: rubbish, compaction, verification, dropping old days."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import polars as pl

from connwatch.contracts import HIT_SCHEMA

from . import alerts, catalogue, outbox, resume, tidy
from .catalogue import Database
from .exchange import exchange, expire, relist, tell
from .files import EVER, Stored, checksum, listed, write
from .retention import rest_of_keys
from .small import SCHEMAS, parts

_FOLDERS: Final = ("events", "hits", "event_keys", "hit_keys", resume.KIND, outbox.FOLDER)


def clean(folder: Path, database: Database) -> None:
    """Delete what a killed writer left, and replaced files whose grace is over."""
    while expire(folder, database):
        pass
    outbox.forget(database)
    known = {row[0] for row in database.execute("SELECT name FROM files")}
    known.update(row[0] for row in database.execute("SELECT name FROM replaced"))
    known.update(outbox.names(database))
    for name in _present(folder):
        if name not in known:
            (folder / name).unlink(missing_ok=True)


def _present(folder: Path) -> list[str]:
    return [
        str(path.relative_to(folder))
        for top in _FOLDERS
        for path in sorted((folder / top).rglob("*"))
        if path.is_file()
    ]


def compact(folder: Path, database: Database) -> tuple[int, int]:
    """Put small parts and files together, day by day; how many there were and are."""
    with catalogue.errors(folder), database.upkeep:
        before = _number(database)
        tidy.fold_all(folder, database)
        for kind, limit in tidy.LIMITS.items():
            by_day: dict[str | None, list[Stored]] = {}
            for stored in listed(database, kind, *EVER):
                by_day.setdefault(stored.day, []).append(stored)
            for files in by_day.values():
                for group in _groups(files, limit):
                    exchange(database, kind, group, [tidy.merged(folder, group)])
        while expire(folder, database):
            pass
        return before, _number(database)


def _number(database: Database) -> int:
    query = "SELECT (SELECT count(*) FROM files) + (SELECT count(*) FROM small)"
    return int(database.execute(query).fetchone()[0])


def _groups(files: list[Stored], limit: int) -> list[list[Stored]]:
    """Runs of neighbours in time that are worth putting together."""
    groups: list[list[Stored]] = [[]]
    for stored in sorted(files, key=lambda s: (s.first, s.name)):
        if groups[-1] and sum(s.rows for s in groups[-1]) + stored.rows > limit:
            groups.append([])
        groups[-1].append(stored)
    return [group for group in groups if len(group) > 1]


def verify(folder: Path, database: Database) -> list[str]:
    """What contradicts the catalogue, in words; empty when the store is whole."""
    with database.guard:
        problems = [
            f"{catalogue.NAME}: {row[0]}"
            for row in database.execute("PRAGMA integrity_check")
            if row[0] != "ok"
        ]
        with catalogue.moment(database):
            kinds = (*SCHEMAS, resume.KIND)
            files = [stored for kind in kinds for stored in listed(database, kind, *EVER)]
            rows = [part.problem for kind in SCHEMAS for part in parts(database, kind, *EVER)]
    problems += [problem for problem in rows if problem is not None]
    for stored in files:
        problem = _problem(folder / stored.name, stored)
        if problem is not None and _is_listed(database, stored):
            problems.append(f"{stored.name}: {problem}")
    return problems


def _problem(path: Path, stored: Stored) -> str | None:
    try:
        found = checksum(path)
    except FileNotFoundError:
        return "is missing"
    return None if found == (stored.bytes, stored.crc) else "its content has changed"


def _is_listed(database: Database, stored: Stored) -> bool:
    """Whether a file still counts: it may have been replaced while others were looked at."""
    with database.guard:
        query = "SELECT 1 FROM files WHERE name = ?"
        return database.execute(query, (stored.name,)).fetchone() is not None


def drop(folder: Path, database: Database, before: date) -> int:
    """Remove the days before a date, with their hits and alerts; how many events are gone.

    An alert that reaches beyond the date stays, with the number of hits that are left.
    """
    cut = int(datetime(before.year, before.month, before.day, tzinfo=UTC).timestamp()) * 1_000_000
    with catalogue.errors(folder), database.upkeep, database.guard:
        tidy.fold_all(folder, database)
        events = [s for s in listed(database, "events", EVER[0], cut - 1) if s.last < cut]
        hits = listed(database, "hits", EVER[0], cut - 1)
        left = {stored: _rest_of_hits(folder, stored, cut) for stored in hits}
        for kind in ("event-keys", "hit-keys"):
            for stored in listed(database, kind, EVER[0], cut - 1):
                left[stored] = rest_of_keys(folder, stored, cut)
        gone = pl.concat(
            [_none_gone(), *(_hits_before(folder, stored, cut) for stored in hits)],
        )
        with catalogue.transaction(database):
            relist(database, [*events, *left], [new for rest in left.values() for new in rest])
            _forget(database, gone)
        for stored, rest in left.items():
            tell(database, stored.kind, [stored], rest)
        while expire(folder, database):
            pass
    return sum(stored.rows for stored in events)


def _none_gone() -> pl.DataFrame:
    schema = {name: HIT_SCHEMA[name] for name in ("rule", "group", "connwatch.log_time")}
    return pl.DataFrame(schema=schema)


def _moment(cut: int) -> pl.Expr:
    return pl.lit(cut, pl.Int64).cast(pl.Datetime("us", "UTC"))


def _hits_before(folder: Path, stored: Stored, cut: int) -> pl.DataFrame:
    frame = pl.read_parquet(folder / stored.name)
    old = frame.filter(pl.col("@timestamp") < _moment(cut))
    return old.select("rule", "group", "connwatch.log_time")


def _rest_of_hits(folder: Path, stored: Stored, cut: int) -> list[Stored]:
    rest = pl.read_parquet(folder / stored.name).filter(pl.col("@timestamp") >= _moment(cut))
    return [write(folder, stored.kind, None, rest, cut, stored.last)] if rest.height else []


def _forget(database: Database, gone: pl.DataFrame) -> None:
    """Take the dropped hits out of the alerts."""
    if gone.is_empty():
        return
    last = gone.select(pl.col("connwatch.log_time").max().dt.epoch("us")).item()
    rows = database.execute(
        "SELECT id, rule, grp, first, last FROM alerts WHERE first <= ?", (last,)
    ).fetchall()
    names = {"alert": pl.String, "rule": pl.String, "group": pl.String}
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
