"""Retention: what is too old, or too much, leaves the store; by whole UTC days, the oldest first.

Events go with their keys, so that replaying an old archive stores them again. Alerts have a life of
their own: an alert stays as it is, with its evidence and its count, when events behind it are
gone, and so do its hits and their keys. So the same archive counts no hit twice, and once its
events are back, `alerts events` shows them again. Alerts go with their hits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl

from connwatch.contracts import HIT_SCHEMA
from connwatch.schema import UTC as TIME
from connwatch.spans import placed

from . import catalogue, tidy
from .catalogue import Database
from .exchange import relist, tell
from .files import EVER, Stored, listed, write
from .keys import hit_keys
from .numbers import both

if TYPE_CHECKING:
    from .store import EmbeddedStore

_DAY: Final = 86_400_000_000  # microseconds
_EPOCH: Final = date(1970, 1, 1)
#: bytes of an event in the files of keys
_KEY: Final = 16
#: key in the catalogue: the day before which retention has removed events
EVENTS_FROM: Final = "events_from"


@dataclass(frozen=True, slots=True)
class Policy:
    """What is kept. events, alerts: how long, None: for ever. max_size: bytes of the whole store,
    None: without bound."""

    events: timedelta | None = None
    alerts: timedelta | None = None
    max_size: int | None = None


@dataclass(frozen=True, slots=True)
class Day:
    """A day that is removed; bytes: of its events. reason: age or size."""

    day: date
    events: int
    bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class Retained:
    """What was removed. alerts: how many. size: bytes of what the store has then, without replaced
    files that readers may still have open. fits: whether that is within the policy's size."""

    days: tuple[Day, ...]
    alerts: int
    size: int
    fits: bool


def retain(store: EmbeddedStore, policy: Policy, now: datetime) -> Retained:
    """Remove what the policy does not keep: first alerts, then days that are too old, then days
    that are too much. Every step is a commit of its own.

    now: what ages refer to, with a time zone. Neither the day of `now` and those after it nor the
    newest day of events is removed for its size. A run in progress may go on writing meanwhile.
    """
    folder, database = store.folder, store.database
    with catalogue.errors(folder):
        alerts = sum(_remove_alerts(folder, database, cut) for cut in _ends(database, policy, now))
        days: list[Day] = []
        for day in _days(database):
            if policy.events is not None and day.day < _first(now, policy.events):
                days.append(day)
                _remove_day(folder, database, day.day)
        while too_much := _too_much(database, policy, now, _size(database)):
            days.append(too_much[0])
            _remove_day(folder, database, too_much[0].day)
        size = _size(database)
    return Retained(tuple(days), alerts, size, _fits(policy, size))


def planned(database: Database, policy: Policy, now: datetime) -> Retained:
    """What `retain` would remove, near enough; it cannot say to the byte what is then left."""
    with catalogue.moment(database):
        size = _size(database)
        alerts = 0
        if policy.alerts is not None:
            cut = _micros(_first(now, policy.alerts))
            query = "SELECT count(*), coalesce(sum(length(document)), 0) FROM alerts WHERE last < ?"
            alerts, freed = database.execute(query, (cut,)).fetchone()
            size -= freed
        days = list(_days(database))
    old = [day for day in days if policy.events and day.day < _first(now, policy.events)]
    size -= sum(day.bytes + day.events * _KEY for day in old)
    rest = days[len(old) :]
    while rest and policy.max_size is not None and size > policy.max_size:
        if not _removable(rest, now):
            break
        old.append(_for_size(rest.pop(0)))
        size -= old[-1].bytes + old[-1].events * _KEY
    return Retained(tuple(old), alerts, size, _fits(policy, size))


def _fits(policy: Policy, size: int) -> bool:
    return policy.max_size is None or size <= policy.max_size


def _first(now: datetime, age: timedelta) -> date:
    """The first day that is not wholly older than that."""
    return (now.astimezone(UTC) - age).date()


def _micros(day: date) -> int:
    return (day - _EPOCH).days * _DAY


def _days(database: Database) -> list[Day]:
    """The days of events, the oldest first."""
    with database.guard:
        query = f"SELECT day, sum(rows), sum(bytes) FROM {both(database)}"  # noqa: S608  constants
        rows = database.execute(f"{query} WHERE kind = 'events' GROUP BY day ORDER BY day")
        return [Day(date.fromisoformat(day), events, size, "age") for day, events, size in rows]


def _too_much(database: Database, policy: Policy, now: datetime, size: int) -> list[Day]:
    """The day to remove next because the store is too large; empty: none."""
    days = [] if _fits(policy, size) else _days(database)
    return [_for_size(days[0])] if _removable(days, now) else []


def _removable(days: list[Day], now: datetime) -> bool:
    """Whether the first day may go for its size."""
    return len(days) > 1 and days[0].day < now.astimezone(UTC).date()


def _for_size(day: Day) -> Day:
    return Day(day.day, day.events, day.bytes, "size")


def _size(database: Database) -> int:
    """Bytes of the files that are listed, and of what the catalogue uses."""
    with database.guard:
        files = database.execute("SELECT coalesce(sum(bytes), 0) FROM files").fetchone()[0]
        pages, free, each = (
            database.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
    return int(files + (pages - free) * each)


def _remove_day(folder: Path, database: Database, day: date) -> None:
    """Remove the events of a day, and of those before it, with their keys."""
    cut = _micros(day) + _DAY
    with database.upkeep:
        into_files(folder, database, ("events", "event-keys"), cut)
        with database.guard:
            events = [s for s in listed(database, "events", EVER[0], cut - 1) if s.last < cut]
            keys = listed(database, "event-keys", EVER[0], cut - 1)
        left = {stored: rest_of_keys(folder, stored, cut) for stored in keys}
        with database.guard:
            before = database.total_changes
            with catalogue.transaction(database):
                relist(database, [*events, *left], [new for rest in left.values() for new in rest])
                database.execute(
                    "INSERT INTO meta VALUES (?1, ?2)"
                    " ON CONFLICT (key) DO UPDATE SET value = max(value, ?2)",
                    (EVENTS_FROM, str(day + timedelta(days=1))),
                )
            database.harmless += database.total_changes - before
            for stored, rest in left.items():
                tell(database, stored.kind, [stored], rest)


def into_files(folder: Path, database: Database, kinds: tuple[str, ...], cut: int) -> None:
    """Leave no small part that reaches before a moment, but for those that are just being made."""
    for kind in kinds:
        with database.guard:
            query = "SELECT 1 FROM small WHERE kind = ? AND first < ?"
            found = database.execute(query, (kind, cut)).fetchone()
        while found and tidy.fold(folder, database, kind):
            pass


def rest_of_keys(folder: Path, stored: Stored, cut: int) -> list[Stored]:
    """A file of keys without those of records before a moment (µs, whole seconds), as a new file;
    none if none is left."""
    rest = pl.read_ipc(folder / stored.name).filter(pl.col("hi") >= (cut // 1_000_000) << 32)
    return [write(folder, stored.kind, None, rest, cut, stored.last)] if rest.height else []


def _ends(database: Database, policy: Policy, now: datetime) -> Iterator[int]:
    """For each day on which alerts end that are too old, when it ends itself."""
    if policy.alerts is None:
        return
    with database.guard:
        rows = database.execute(
            "SELECT DISTINCT last / ?1 FROM alerts WHERE last < ?2 ORDER BY 1",
            (_DAY, _micros(_first(now, policy.alerts))),
        ).fetchall()
    for (day,) in rows:
        yield (day + 1) * _DAY


def _remove_alerts(folder: Path, database: Database, cut: int) -> int:
    """Remove the alerts that ended before a moment, with their hits; how many there were.

    Nothing is committed meanwhile: an alert that grows while it goes would lose hits it has.
    """
    with database.upkeep:
        into_files(folder, database, ("hits", "hit-keys"), cut)
        with database.guard:
            left, gone = _without_hits(folder, database, cut)
            left.update(_without_keys(folder, database, hit_keys(gone)))
            with catalogue.transaction(database):
                relist(database, left, [new for rest in left.values() for new in rest])
                old = "SELECT id FROM alerts WHERE last < ?"
                database.execute(f"DELETE FROM aliases WHERE id IN ({old})", (cut,))  # noqa: S608
                removed = database.execute("DELETE FROM alerts WHERE last < ?", (cut,)).rowcount
            for stored, rest in left.items():
                tell(database, stored.kind, [stored], rest)
    return removed


_Left = dict[Stored, list[Stored]]


def _without_hits(folder: Path, database: Database, cut: int) -> tuple[_Left, pl.DataFrame]:
    """Files of hits, each with what is left of it when those before a moment (of log time) go that
    are in no alert that stays; and these hits."""
    rows = database.execute(
        "SELECT rule, grp, first, last FROM alerts WHERE first < ?1 AND last >= ?1", (cut,)
    ).fetchall()
    schema = {"rule": pl.String, "group": pl.String, "start": pl.Int64, "end": pl.Int64}
    spans = pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        pl.col("start", "end").cast(TIME)
    )
    left: _Left = {}
    gone = [pl.DataFrame(schema=HIT_SCHEMA)]
    for stored in listed(database, "hits", EVER[0], cut - 1):
        hits = pl.read_parquet(folder / stored.name).select(list(HIT_SCHEMA)).with_row_index("row")
        old = hits.filter(pl.col("connwatch.log_time") < pl.lit(cut).cast(TIME))
        staying = placed(spans, old, ("row",)).select("row").collect()
        old = old.join(staying, on="row", how="anti")
        if old.height:
            gone.append(old.drop("row"))
            rest = hits.join(old, on="row", how="anti", maintain_order="left").drop("row")
            left[stored] = _written(folder, stored, rest)
    return left, pl.concat(gone)


def _written(folder: Path, stored: Stored, rest: pl.DataFrame) -> list[Stored]:
    if rest.is_empty():
        return []
    times = rest["@timestamp"].to_physical()
    return [write(folder, stored.kind, None, rest, int(times.min()), int(times.max()))]  # type: ignore[arg-type]


def _without_keys(folder: Path, database: Database, gone: pl.DataFrame) -> _Left:
    """Files of hits' keys, each with what is left of it without some keys."""
    if gone.is_empty():
        return {}
    seconds = gone["hi"] // 2**32
    first, last = int(seconds.min()), int(seconds.max())  # type: ignore[arg-type]
    left: _Left = {}
    for stored in listed(database, "hit-keys", first * 1_000_000, last * 1_000_000 + 999_999):
        keys = pl.read_ipc(folder / stored.name)
        rest = keys.join(gone, on=["hi", "lo"], how="anti", maintain_order="left")
        if rest.height < keys.height:
            left[stored] = (
                [write(folder, stored.kind, None, rest, stored.first, stored.last)]
                if rest.height
                else []
            )
    return left
