"""What is committed here and still to be sent to a server: the outbox.

A commit puts its events into the outbox, and notes the alerts that it wrote, in its transaction; so
what is in the store is sent, whatever is killed in between. Events lie in files of their own, which
share their content with the store's files where they can (hard links), so that upkeep and
retention of the store do not touch them. Of an alert only the newest state is sent, however often
it grew meanwhile. What a server has acknowledged leaves the outbox.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from connwatch.errors import StoreDamagedError, StoreError
from connwatch.schema import STORED

from . import catalogue, dead_letters
from .dead_letters import DeadLetter
from .files import Stored, checksum, listed, make_folder, sync_folder, write
from .processes import told
from .small import Small, parts, small, together

if TYPE_CHECKING:
    from .catalogue import Database
    from .store import EmbeddedStore

FOLDER: Final = "outbox"
#: where parts go that cannot be read
DAMAGED: Final = "damaged"
#: what the system says of a file that is not there, or cannot be read any more
_DAMAGE: Final = (errno.ENOENT, errno.EIO)
#: seconds after which whoever waits for room looks again
_LOOK: Final = 0.1
_CHANGED: Final = """
INSERT INTO outbox_alerts VALUES (?1, 1, ?2)
ON CONFLICT (id) DO UPDATE SET change = change + 1, status = max(status, ?2)
"""
_JOINED: Final = """
INSERT INTO outbox_alerts SELECT id, 1, ?2 FROM aliases WHERE old = ?1
ON CONFLICT (id) DO UPDATE SET change = change + 1, status = max(status, ?2)
"""


@dataclass(frozen=True, slots=True)
class Part:
    """Events that are to be sent: of a file (`name`), or with their data. first, last: smallest and
    largest @timestamp, µs since the epoch; None: not known."""

    number: int | None
    rows: int
    name: str | None
    crc: int
    data: bytes | None
    first: int | None
    last: int | None

    @classmethod
    def of(cls, one: Stored | Small, name: str | None = None) -> Part:
        """With the content of a part of the store, or of the file `name`, which has the same."""
        if isinstance(one, Small):
            return cls(None, one.rows, None, one.crc, one.data, one.first, one.last)
        return cls(None, one.rows, name or one.name, one.crc, None, one.first, one.last)

    def insert(self, database: sqlite3.Connection) -> None:
        database.execute(
            "INSERT INTO outbox (rows, name, crc, data, first, last) VALUES (?, ?, ?, ?, ?, ?)",
            (self.rows, self.name, self.crc, self.data, self.first, self.last),
        )

    def events(self, folder: Path) -> pl.DataFrame:
        """Stored columns. StoreDamagedError: the file is not there, or is not what it was; another
        StoreError: it cannot be read at the moment."""
        if self.data is not None:
            return together("events", [_as_small(self.number, self.rows, self.crc, self.data)])
        path = folder / str(self.name)
        try:
            if checksum(path)[1] != self.crc:
                raise StoreDamagedError("its content has changed", where=str(path))
            found = pl.read_parquet(path, glob=False)
        except OSError as error:
            kind = StoreDamagedError if error.errno in _DAMAGE else StoreError
            raise kind(error.strerror or str(error), where=str(path)) from error
        except pl.exceptions.PolarsError as error:
            raise StoreDamagedError(str(error), where=str(path)) from error
        return _stored(found)


@dataclass(frozen=True, slots=True)
class Changed:
    """An alert of which the server is to know more. document: its newest state; None: the store has
    it no more. joined: it became part of another one. change: goes back to `Outbox.sent`. status:
    an analyst said here what it is. place: where the server has it, None: nowhere yet."""

    id: str
    document: dict[str, Any] | None
    joined: bool
    change: int
    status: bool
    place: str | None


class Outbox:
    """The outbox of a store that is open for writing. Threads may share it.

    most: rows that may wait; a run that commits more waits for the sender, until `stop` or `end` is
    set.
    """

    def __init__(self, store: EmbeddedStore, most: int, end: threading.Event | None = None) -> None:
        self.most = most
        self.stop = threading.Event()
        #: called again and again while somebody waits for room
        self.waits: Callable[[], None] = lambda: None
        self._ends = (self.stop,) if end is None else (self.stop, end)
        self._folder, self._database = store.folder, store.database
        self._news = threading.Condition()
        with catalogue.errors(self._folder), self._database.guard:
            self._rows = int(self._one("SELECT coalesce(sum(rows), 0) FROM outbox"))

    @property
    def rows(self) -> int:
        """Events that wait."""
        return self._rows

    @property
    def alerts(self) -> int:
        """Alerts that wait."""
        with catalogue.errors(self._folder), self._database.guard:
            return int(self._one("SELECT count(*) FROM outbox_alerts"))

    def _one(self, query: str) -> Any:
        return self._database.execute(query).fetchone()[0]

    def parts_of(self, made: Sequence[Stored | Small]) -> list[Part]:
        """Parts with the content of new parts of the store; they count once they are inserted."""
        return [
            Part.of(one, None if isinstance(one, Small) else _linked(self._folder, one.name))
            for one in made
        ]

    def part(self, events: pl.DataFrame) -> list[Part]:
        """A part with events that the store does not keep, or has already."""
        if events.is_empty():
            return []
        times = events["@timestamp"].to_physical()
        span = int(times.min()), int(times.max())  # type: ignore[arg-type]
        found = small("events", None, events, *span)
        return [Part.of(found or write(self._folder, FOLDER, None, events, *span))]

    def committed(self, rows: int) -> None:
        """Called after a commit that put so many events in."""
        with self._news:
            self._rows += rows
            self._news.notify_all()

    def wait_for_room(self) -> None:
        """Return when no more than `most` events wait, or there is an end."""
        while self._rows > self.most and not any(end.is_set() for end in self._ends):
            self.waits()
            with self._news:
                self._news.wait(_LOOK)

    def wait_for_news(self, seconds: float) -> None:
        """Return when something was committed, or after so long."""
        with self._news:
            self._news.wait(seconds)

    def pending(self, rows: int, without: Sequence[int] = ()) -> list[Part]:
        """The oldest parts: so many events about, but at least one part if there is one. without:
        numbers of parts that are to wait."""
        query = (
            "SELECT number, rows, name, crc, data, first, last FROM outbox"
            " WHERE number NOT IN (SELECT value FROM json_each(?)) ORDER BY number"
        )
        found: list[Part] = []
        with catalogue.errors(self._folder), self._database.guard:
            for row in self._database.execute(query, (json.dumps(without),)):
                found.append(Part(*row))
                if sum(part.rows for part in found) >= rows:
                    break
        return found

    def done(
        self,
        parts: Sequence[Part],
        refused: Sequence[DeadLetter] = (),
        left: pl.DataFrame | None = None,
    ) -> list[int]:
        """These are sent, or what the server refused of them is kept: they leave the outbox, but
        for events that are `left`. Numbers of the parts that have these."""
        numbers = [part.number for part in parts if part.number is not None]
        if left is not None and left.height == sum(part.rows for part in parts):
            parts, left = (), None  # they are as they were
        else:
            numbers = []
        if not parts and not refused:
            return numbers
        rest = [] if left is None else self.part(left)
        with catalogue.errors(self._folder), self._database.upholding():
            dead_letters.insert(self._database, refused)
            for part in rest:
                part.insert(self._database)
                numbers.append(self._one("SELECT last_insert_rowid()"))
            self._database.executemany(
                "DELETE FROM outbox WHERE number = ?", ((part.number,) for part in parts)
            )
        for part in parts:
            if part.name is not None:
                (self._folder / part.name).unlink(missing_ok=True)
        with self._news:
            self._rows += sum(part.rows for part in rest) - sum(part.rows for part in parts)
            self._news.notify_all()
        return numbers

    def set_aside(self, part: Part, why: StoreDamagedError) -> StoreDamagedError:
        """A part that cannot be read: what is left of it goes to the folder `damaged`, and what the
        store itself has of its time takes its place. Returns what to tell about it."""
        place = self._folder / DAMAGED / (Path(part.name).name if part.name else f"{part.number}")
        make_folder(place.parent)
        again = [] if part.first is None else self._again(part)
        if part.data is not None:
            place.write_bytes(part.data)
        elif (self._folder / str(part.name)).exists():
            (self._folder / str(part.name)).rename(place)
        with catalogue.errors(self._folder), self._database.upholding():
            self._database.execute("DELETE FROM outbox WHERE number = ?", (part.number,))
            for one in again:
                one.insert(self._database)
        rows = sum(one.rows for one in again)
        with self._news:
            self._rows += rows - part.rows
            self._news.notify_all()
        return _damage(part, why, place, rows)

    def _again(self, part: Part) -> list[Part]:
        """New parts with all that can be read of the store's events of a part's time."""
        span = part.first or 0, part.last or 0
        frames: list[pl.DataFrame] = []
        with catalogue.errors(self._folder), self._database.guard:
            files = listed(self._database, "events", *span)
            frames += [
                one.frame() for one in parts(self._database, "events", *span) if not one.problem
            ]
        for one in files:
            with suppress(OSError, pl.exceptions.PolarsError):
                if one.is_whole(self._folder / one.name):
                    frames.append(pl.read_parquet(self._folder / one.name, glob=False))
        time = pl.col("@timestamp").to_physical()
        return [
            new
            for frame in frames
            for new in self.part(_stored(frame.filter(time.is_between(*span))))
        ]

    def changed(self, most: int, without: Collection[str] = ()) -> list[Changed]:
        """Some of the alerts that the server is to know more of. without: ids of those that are to
        wait."""
        query = (
            "SELECT o.id, a.document, n.told, j.old IS NOT NULL, o.change, o.status, p.place"
            " FROM outbox_alerts o LEFT JOIN alerts a ON a.id = o.id"
            " LEFT JOIN alert_processes n ON n.id = o.id"
            " LEFT JOIN aliases j ON j.old = o.id LEFT JOIN outbox_places p ON p.id = o.id"
            " WHERE o.id NOT IN (SELECT value FROM json_each(?)) LIMIT ?"
        )
        with catalogue.errors(self._folder), self._database.guard:
            rows = self._database.execute(query, (json.dumps([*without]), most)).fetchall()
        return [
            Changed(one, text and told(text, known), bool(joined), change, bool(status), place)
            for one, text, known, joined, change, status, place in rows
        ]

    def sent(self, alerts: Sequence[Changed], places: Sequence[str | None]) -> None:
        """The server has these now at these places (None: it has it no more). What changed again
        meanwhile stays in the outbox."""
        with catalogue.errors(self._folder), self._database.upholding():
            for alert, place in zip(alerts, places, strict=True):
                self._database.execute(
                    "DELETE FROM outbox_alerts WHERE id = ? AND change = ?",
                    (alert.id, alert.change),
                )
                if place is None:
                    self._database.execute("DELETE FROM outbox_places WHERE id = ?", (alert.id,))
                else:
                    self._database.execute(
                        "INSERT OR REPLACE INTO outbox_places VALUES (?, ?)", (alert.id, place)
                    )


def note(database: Database, ids: Sequence[str], *, status: bool = False) -> None:
    """In a transaction: the server is to know of these alerts as they are now, or of those that
    they became part of."""
    database.executemany(_CHANGED, ((one, int(status)) for one in dict.fromkeys(ids)))
    database.executemany(_JOINED, ((one, int(status)) for one in dict.fromkeys(ids)))


def is_known(database: Database, alert: str) -> bool:
    """Whether an alert was sent to a server, or is to be."""
    query = (
        "SELECT 1 FROM outbox_alerts WHERE id = ?1 UNION SELECT 1 FROM outbox_places WHERE id = ?1"
    )
    return database.execute(query, (alert,)).fetchone() is not None


def forget(database: Database) -> None:
    """Forget where a server has alerts that the store has no more, and nothing is to be sent of."""
    with database.upholding():
        database.execute(
            "DELETE FROM outbox_places WHERE id NOT IN (SELECT id FROM alerts)"
            " AND id NOT IN (SELECT id FROM outbox_alerts)"
        )


def names(database: Database) -> set[str]:
    """The files of the outbox."""
    query = "SELECT name FROM outbox WHERE name IS NOT NULL"
    return {row[0] for row in database.execute(query)}


def _stored(found: pl.DataFrame) -> pl.DataFrame:
    """With the columns that a file lacks, as they had no values."""
    missing = [pl.lit(None, t).alias(name) for name, t in STORED.items() if name not in found]
    return found.with_columns(missing).select(list(STORED))


def _damage(part: Part, why: StoreDamagedError, place: Path, rows: int) -> StoreDamagedError:
    told = f"{part.rows:,} events that were to be sent cannot be read: {why.message}"
    if part.first is None or part.last is None:
        hint = "replay the logs of its time with the same server; what it has is not there twice"
    else:
        first, last = (
            datetime.fromtimestamp(one / 1_000_000, UTC).isoformat(timespec="seconds")
            for one in (part.first, part.last)
        )
        told += f"; {rows:,} that the store has of their time, {first} to {last}, are sent instead"
        hint = "replay the logs of that time with the same server: nothing is there twice;"
        hint += " connwatch store verify says what else is damaged"
    return StoreDamagedError(told, where=str(place), hint=hint)


def _as_small(number: int | None, rows: int, crc: int, data: bytes) -> Small:
    return Small(number, "events", None, rows, crc, 0, 0, data)


def _linked(folder: Path, name: str) -> str:
    """Another name for the content of a file, or a copy where links cannot be made."""
    own = f"{FOLDER}/{uuid.uuid4().hex}.parquet"
    make_folder(folder / FOLDER)
    try:
        os.link(folder / name, folder / own)
    except OSError:
        temporary = folder / f"{own}.part"
        shutil.copyfile(folder / name, temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.rename(folder / own)
    sync_folder(folder / FOLDER)
    return own
