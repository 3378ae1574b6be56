"""The store's catalogue: one SQLite database that says what is part of the store.

A file that is not listed here does not exist for a reader; so a commit is one transaction, and
what a killed writer left behind is rubbish for the next one. WAL lets readers go on while a
writer commits, and each of them sees one moment.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import polars as pl

from connwatch.errors import StoreDamagedError, StoreError, StoreFullError

from .files import no_room
from .resume import TABLES

NAME: Final = "catalogue.sqlite"
VERSION: Final = 1

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
_INDEX: Final = "CREATE INDEX IF NOT EXISTS aliases_by_id ON aliases (id)"


def connect(folder: Path, *, write: bool) -> sqlite3.Connection:
    """Open the catalogue; a writer makes it if there is none. StoreError says what is wrong."""
    path = folder / NAME
    if not write and not path.exists():
        raise _none(folder)
    with errors(folder):
        database = _open(path, "rwc" if write else "rw")
        try:
            if write:
                _create(database)
            elif _medium_is_read_only(folder):
                database.close()
                database = _open(path, "ro&immutable=1")
            else:
                database.execute("PRAGMA query_only = ON")
            _check(database, folder, write=write)
        except BaseException:
            database.close()
            raise
    return database


def _open(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=30,
    )


def _medium_is_read_only(folder: Path) -> bool:
    """Nobody writes there: SQLite needs no log and no shared memory, and could not make them.

    With a log that a killed writer left, the catalogue alone is not the store.
    """
    log = folder / f"{NAME}-wal"
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY) and not log.exists()


def _create(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    if database.execute("PRAGMA user_version").fetchone()[0] == 0:
        database.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version = {VERSION};COMMIT;")
    database.execute(_INDEX)
    database.executescript(TABLES)


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
    if version != VERSION:
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
