"""Background compaction, in small steps: small parts into files, small files into larger ones.

As in a log-structured merge tree: eight files of one kind and day whose sizes are within a factor
of eight become one. So a day has at most seven files of each size, however many commits there were,
and a row is written again once a level. What is read is never changed, so a step holds nobody up
but for the moment in which the catalogue lists the new file.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import polars as pl

from . import catalogue
from .catalogue import Database
from .exchange import exchange, expire
from .files import EVER, Stored, write
from .keys import ordered
from .small import SCHEMAS, Small, parts, together

#: rows up to which files are put together, by kind
LIMITS: Final = {"events": 300_000, "hits": 300_000, "event-keys": 500_000, "hit-keys": 500_000}
#: rows that a step puts together, at most, unless told: 0.2 s on two busy cores. A thread of its
#: own may take more, as commits go on while a file is written
BUDGET: Final = 50_000
#: keys that count as one row
_KEYS: Final = 8
#: files of one size that become one
FAN: Final = 8
#: small parts of a kind that become files: when there are so many of them, or rows, or bytes
FOLD: Final = (64, 20_000, 4 << 20)
#: how many times as many there may be before a commit itself puts them into files
_PATIENCE: Final = 4
#: days of events that one step puts into files
_DAYS: Final = 8
#: seconds between two looks for files whose grace is over
_EVERY: Final = 5.0


def step(folder: Path, database: Database, budget: int = BUDGET) -> bool:
    """Take one step; whether there is more to do. See `EmbeddedStore.tidy`."""
    with catalogue.errors(folder), database.upkeep:
        for kind in _full(database, 1):
            fold(folder, database, kind)
            return True
        group = _smallest(database, budget)
        if group:
            stored = merged(folder, group)
            exchange(database, group[0].kind, group, [stored])
            return True
        if time.monotonic() < database.looked + _EVERY:
            return False
        if expire(folder, database):
            return True
        database.looked = time.monotonic()
        return False


def relieve(folder: Path, database: Database) -> None:
    """After a commit: nobody has tidied up for long, so it is done here."""
    for kind in _full(database, _PATIENCE):
        with catalogue.errors(folder), database.upkeep:
            fold(folder, database, kind)


def fold_all(folder: Path, database: Database) -> None:
    """Put all small parts into files."""
    with catalogue.errors(folder), database.upkeep:
        for kind in SCHEMAS:
            while fold(folder, database, kind):
                pass


def _full(database: Database, times: int) -> list[str]:
    """Kinds with so many small parts that it is time for a file."""
    with database.guard:
        rows = database.execute(
            "SELECT kind, count(*), sum(rows), sum(length(data)) FROM small GROUP BY kind"
        ).fetchall()
    return [
        kind
        for kind, *found in rows
        if any(number >= times * limit for number, limit in zip(found, FOLD, strict=True))
    ]


def fold(folder: Path, database: Database, kind: str) -> bool:
    """Put small parts of a kind into a file for each day; whether there may be more of them."""
    with database.guard:
        found = parts(database, kind, *EVER)
    by_day: dict[str | None, list[Small]] = {}
    for one in found:
        by_day.setdefault(one.day, []).append(one)
    chosen = list(by_day.items())[:_DAYS]
    if not chosen:
        return False
    new = [
        write(
            folder,
            kind,
            day,
            in_order(kind, together(kind, group)),
            min(one.first for one in group),
            max(one.last for one in group),
        )
        for day, group in chosen
    ]
    numbers = [one.number for _, group in chosen for one in group if one.number is not None]
    exchange(database, kind, (), new, numbers)
    return len(by_day) > _DAYS


def in_order(kind: str, frame: pl.DataFrame) -> pl.DataFrame:
    """As files have their rows: keys by key, all else by time."""
    return ordered(frame) if kind.endswith("-keys") else frame.sort("@timestamp")


def merged(folder: Path, group: Sequence[Stored]) -> Stored:
    """A new file with the rows of some files of one kind and day."""
    kind, day = group[0].kind, group[0].day
    paths = [folder / stored.name for stored in group]
    if kind.endswith("-keys"):
        frame = pl.concat([pl.read_ipc(path) for path in paths])
    else:
        scan = pl.scan_parquet(paths, schema=SCHEMAS[kind], missing_columns="insert")
        frame = scan.collect()
    first, last = min(stored.first for stored in group), max(stored.last for stored in group)
    return write(folder, kind, day, in_order(kind, frame), first, last)


class _Size(NamedTuple):
    """Files that may be put together: of one kind and day, and within a factor of `FAN`."""

    kind: str
    day: str | None
    level: int


def _smallest(database: Database, budget: int) -> list[Stored]:
    """The files that are to become one next: the fewest rows first. Empty: none."""
    with database.guard:
        newest = database.execute("SELECT max(rowid) FROM files").fetchone()[0]
        if (newest, budget) == database.settled:
            return []
        groups = [group for group in _groups(database, budget) if group]
        if not groups:
            database.settled = newest, budget
            return []
    return min(groups, key=lambda group: sum(stored.rows for stored in group))


def _groups(database: Database, budget: int) -> Iterator[list[Stored]]:
    for kind, limit in LIMITS.items():
        most = min(limit, budget * _KEYS if kind.endswith("-keys") else budget)
        rows = database.execute(
            "SELECT * FROM files WHERE kind = ? AND rows < ? ORDER BY first, name",
            (kind, most // 2),
        )
        sizes: dict[_Size, list[Stored]] = {}
        for stored in (Stored(*row) for row in rows):
            size = _Size(kind, stored.day, level(stored.rows))
            sizes.setdefault(size, []).append(stored)
        yield from (_within(files[:FAN], most) for files in sizes.values() if len(files) >= FAN)


def level(rows: int) -> int:
    """How many times a number of rows can be divided by `FAN`."""
    return (max(rows, 1).bit_length() - 1) // (FAN.bit_length() - 1)


def _within(files: Sequence[Stored], most: int) -> list[Stored]:
    """As many of the files, from the first, as have no more rows than that; two at least."""
    chosen: list[Stored] = []
    for stored in files:
        if len(chosen) > 1 and sum(one.rows for one in chosen) + stored.rows > most:
            break
        chosen.append(stored)
    return chosen
