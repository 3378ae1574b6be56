"""The store's catalogue: one SQLite database that says what is part of the store.

A file that is not listed here does not exist for a reader; so a commit is one transaction, and
what a killed writer left behind is rubbish for the next one. WAL lets readers go on while a
writer commits, and each of them sees one moment.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import polars as pl

from connwatch.errors import StoreDamagedError, StoreError, StoreFullError

from . import processes
from .files import Stored, no_room
from .resume import TABLES

NAME: Final = "catalogue.sqlite"
VERSION: Final = 2
#: a reader reads a store of version 1 as it is; the next writer makes it one of version 2
_READABLE: Final = (1, 2)

_SCHEMA: Final = """
CREATE TABLE files (
    name TEXT PRIMARY KEY,          -- path under the store's folder
    kind TEXT NOT NULL,             -- events, hits, event-keys or hit-keys
    day TEXT,                       -- of events: UTC day of @timestamp
    rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    crc INTEGER NOT NULL,           -- CRC-32 of the file
    first INTEGER NOT NULL,         -- smallest @timestamp, microseconds since the epoch
    last INTEGER NOT NULL           -- largest @timestamp
) STRICT;
CREATE INDEX files_by_time ON files (kind, first, last);
CREATE TABLE alerts (
    id TEXT PRIMARY KEY,
    rule TEXT NOT NULL,             -- rule key
    grp TEXT NOT NULL,              -- group key
    first INTEGER NOT NULL,         -- log time of the first hit, microseconds since the epoch
    last INTEGER NOT NULL,
    document TEXT NOT NULL          -- JSON
) STRICT;
CREATE INDEX alerts_by_group ON alerts (rule, grp, last);
CREATE TABLE aliases (old TEXT PRIMARY KEY, id TEXT NOT NULL) STRICT;
CREATE TABLE rejects (
    id BLOB PRIMARY KEY,            -- content hash: the same line is kept once
    path TEXT, line INTEGER, offset INTEGER, format TEXT, field TEXT, reason TEXT, raw TEXT
) STRICT;
CREATE TABLE replaced (name TEXT PRIMARY KEY, since REAL NOT NULL) STRICT;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""
#: what version 2 has more than version 1
_SECOND: Final = """
CREATE TABLE small (                -- see small.py
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,             -- as in files, and so on
    day TEXT,
    rows INTEGER NOT NULL,
    crc INTEGER NOT NULL,           -- CRC-32 of the data
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;
CREATE INDEX small_by_time ON small (kind, first, last);
CREATE TABLE dead_letters (         -- see dead_letters.py
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sink TEXT NOT NULL,
    since REAL NOT NULL,            -- seconds since the epoch
    reason TEXT NOT NULL,
    kind TEXT NOT NULL,             -- event or alert
    document TEXT NOT NULL          -- JSON
) STRICT;
"""
#: what is to be sent, see outbox.py. change: grows with every state of an alert; status: somebody's
#: word is to be sent with it; place: where the server has the alert, as the sender calls it
_OUTBOX: Final = """
CREATE TABLE IF NOT EXISTS outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    rows INTEGER NOT NULL,
    name TEXT,                      -- file, path under the store's folder
    crc INTEGER NOT NULL,           -- CRC-32 of the file or the data
    data BLOB,                      -- instead of a file: as of a small part
    first INTEGER, last INTEGER     -- as in files; null: not known
) STRICT;
CREATE TABLE IF NOT EXISTS outbox_alerts (
    id TEXT PRIMARY KEY, change INTEGER NOT NULL, status INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS outbox_places (id TEXT PRIMARY KEY, place TEXT NOT NULL) STRICT;
"""
#: bytes of the file's header: a log is kept (2) or not (1)
_JOURNALS: Final = slice(18, 20)
_INDEX: Final = "CREATE INDEX IF NOT EXISTS aliases_by_id ON aliases (id)"


class Watcher(Protocol):
    """Who is told when other files take the place of some."""

    def exchanged(self, kind: str, old: Sequence[Stored], new: Sequence[Stored]) -> None: ...


class Database(sqlite3.Connection):
    """The connection to a catalogue. One thread may write deliveries while another tidies up.

    guard: held in every transaction that writes, until `watchers` know what has changed. upkeep:
    held by whoever puts files in the place of others, from looking at them until they are listed.
    harmless: rows that upkeep has changed; none of them is an alert. settled: the newest file, and
    the budget, when `tidy` found nothing to put together; looked: when it last found nothing to
    delete (monotonic seconds).
    """

    def __init__(self, *values: Any, **options: Any) -> None:
        super().__init__(*values, **options)
        self.guard = threading.RLock()
        self.upkeep = threading.RLock()
        self.watchers: weakref.WeakSet[Watcher] = weakref.WeakSet()
        self.harmless = 0
        self.settled: tuple[int | None, int] | None = None
        self.looked = 0.0

    @property
    def changes(self) -> int:
        """Rows that this connection has changed, but for upkeep."""
        return self.total_changes - self.harmless

    @contextmanager
    def changing(self) -> Iterator[None]:
        """A transaction of this thread alone, all or nothing."""
        with self.guard, transaction(self):
            yield

    @contextmanager
    def upholding(self) -> Iterator[None]:
        """The same for upkeep: it changes no alert."""
        with self.guard:
            before = self.total_changes
            with transaction(self):
                yield
            self.harmless += self.total_changes - before


def connect(folder: Path, *, write: bool) -> Database:
    """Open the catalogue; a writer makes it if there is none. StoreError says what is wrong."""
    path = folder / NAME
    if not write and not path.exists():
        raise _none(folder)
    with errors(folder):
        database = _open(path, "rwc") if write else _readable(path)
        try:
            if write:
                _create(database)
            _check(database, folder, write=write)
        except BaseException:
            database.close()
            raise
    return database


def _open(path: Path, mode: str) -> Database:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        factory=Database,
        isolation_level=None,
        check_same_thread=False,
        timeout=30,
    )


def _readable(path: Path) -> Database:
    """For reading. SQLite wants a log and shared memory beside the file; whoever may not make them
    can read what a writer has made, or does without."""
    folder, log = path.parent, path.with_name(f"{NAME}-wal")
    # With a log that a killed writer left, the catalogue alone is not the store.
    if not log.exists():
        if os.statvfs(folder).f_flag & os.ST_RDONLY:
            return _open(path, "ro&immutable=1")
        if not _may_write(folder) and (copy := _copied(path, log)) is not None:
            return copy
    database = _open(path, "rw" if _may_write(folder) else "ro")
    database.execute("PRAGMA query_only = ON")
    return database


def _may_write(folder: Path) -> bool:
    return os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _copied(path: Path, log: Path) -> Database | None:
    """All of a catalogue in memory, as it is between two writers; None: one is at work."""
    before = path.stat()
    content = bytearray(path.read_bytes())
    after = path.stat()
    if log.exists() or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        return None
    content[_JOURNALS] = b"\1\1"
    database = sqlite3.connect(
        ":memory:", factory=Database, isolation_level=None, check_same_thread=False
    )
    database.deserialize(bytes(content))
    return database


def _create(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    version = database.execute("PRAGMA user_version").fetchone()[0]
    second = _SECOND + TABLES
    missing = {0: _SCHEMA + second, 1: second}
    if version in missing:
        script = f"BEGIN;{missing[version]}PRAGMA user_version = {VERSION};COMMIT;"
        database.executescript(script)
    if version <= VERSION:
        database.executescript(f"{_INDEX};{_OUTBOX}{processes.TABLES}")
        there = {row[1] for row in database.execute("PRAGMA table_info(outbox)")}
        for name in ("first", "last"):
            if name not in there:  # of an outbox that is older than these columns
                database.execute(f"ALTER TABLE outbox ADD COLUMN {name} INTEGER")


def _none(folder: Path) -> StoreError:
    return StoreError(
        "there is no store here",
        where=str(folder),
        hint="replay something first, or name the store with --store or CONNWATCH_STORE",
    )


def _check(database: sqlite3.Connection, folder: Path, *, write: bool) -> None:
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version == 0 and not write:
        raise _none(folder)  # its first writer is about to make it, or was killed before
    if version not in _READABLE:
        raise StoreError(
            f"the store has version {version}, this program reads version {VERSION}",
            where=str(folder),
            hint="use the version of connwatch that made it, or replay into a new folder",
        )


@contextmanager
def errors(folder: Path) -> Iterator[None]:
    """What SQLite, Polars and the system raise while a store is used, as StoreError."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise _refused(folder, getattr(error, "sqlite_errorcode", 0), str(error)) from error
    except sqlite3.DatabaseError as error:
        raise StoreDamagedError(str(error), where=str(folder / NAME)) from error
    except pl.exceptions.ComputeError as error:
        raise StoreDamagedError(str(error), where=str(folder), hint=_VERIFY) from error
    except OSError as error:
        # Polars raises an OSError that has a text and no number.
        if error.errno in _NO_ROOM or "No space left" in str(error):
            raise _full(folder) from error
        where = str(error.filename or folder)
        raise StoreError(error.strerror or str(error), where=where) from error


_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_VERIFY: Final = "connwatch store verify names the damaged files"


def _refused(folder: Path, code: int, said: str) -> StoreError:
    """What SQLite means by an error code when it cannot do its work."""
    kind = code & 0xFF  # the rest tells where in SQLite
    if kind == sqlite3.SQLITE_FULL:
        return _full(folder)
    if kind in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and no_room(folder):
        return _full(folder)
    if kind == sqlite3.SQLITE_IOERR:
        hint = "look at the disk, at quotas and at limits of file size; nothing committed is lost"
        return StoreError(said, where=str(folder), hint=hint)
    if kind == sqlite3.SQLITE_READONLY:
        hint = "look whether its disk became read-only (a fault of it, or a mount) and who owns it"
        return StoreError("the store may not be written", where=str(folder), hint=hint)
    return StoreError(said, where=str(folder))


def _full(folder: Path) -> StoreFullError:
    return StoreFullError(
        "no space is left for the store; it holds what was committed before",
        where=str(folder),
        hint="free space, then run the same command again: nothing is stored twice",
    )


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All or nothing."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield database
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


@contextmanager
def moment(database: Database) -> Iterator[None]:
    """Several questions to the store as it is at one moment."""
    with database.guard:
        database.execute("BEGIN")
        try:
            yield
        finally:
            database.execute("ROLLBACK")
