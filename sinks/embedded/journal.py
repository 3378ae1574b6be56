"""A store that keeps nothing for its own sake: the journal of a run whose events go to a server.

It has what the server has not acknowledged (the outbox), and what a run needs to go on: positions,
the state of detection, keys of what was read lately, and alerts that may still grow. All else goes:
`shed`. Events and hits are never written to files of the store.
"""

from __future__ import annotations

import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Final

from connwatch.errors import StoreError

from . import outbox
from .catalogue import Database
from .exchange import relist, tell
from .files import EVER, listed
from .retention import into_files, rest_of_keys

#: key in the catalogue of what is a journal
_MARK: Final = "journal"
#: for how long before the newest event keys and alerts are kept: a day, in microseconds
KEEP: Final = 86_400_000_000
#: rejects that are kept; more are counted
REJECTS: Final = 10_000
#: bytes that the catalogue may hold free before it is written anew at the end
_FREE: Final = 1 << 20
_KINDS: Final = ("event-keys", "hit-keys")


def is_one(database: sqlite3.Connection) -> bool:
    """Whether a store is a journal."""
    return database.execute("SELECT 1 FROM meta WHERE key = ?", (_MARK,)).fetchone() is not None


def begin(folder: Path, database: Database) -> None:
    """Make a new store a journal. StoreError: it is a store with something in it."""
    if is_one(database):
        return
    tables = ("files", "small", "alerts")
    if any(database.execute(f"SELECT 1 FROM {one} LIMIT 1").fetchone() for one in tables):  # noqa: S608
        raise StoreError(
            "here is a store that has events, which is no journal",
            where=str(folder),
            hint="name another folder with `journal`, or this one as the `store` to go on with it",
        )
    with database.upholding():
        database.execute("INSERT INTO meta VALUES (?, '1')", (_MARK,))


def refused(folder: Path) -> StoreError:
    """What is said to whoever takes a journal for a store."""
    return StoreError(
        "this is the journal of a run that keeps no store (store: none)",
        where=str(folder),
        hint="its events and alerts are on the server: --elasticsearch URL, or -c FILE; or name"
        " another --store",
    )


def shed(folder: Path, database: Database, now: datetime) -> None:
    """Let go of what the server has acknowledged, and of keys, from a day and more before the
    newest event (of those up to `now`); of an alert only when its quiet period is over, too.

    To be called when nothing is journalled since the last snapshot: what is run again after a
    restart must find its keys.
    """
    with database.guard:
        journalled = database.execute("SELECT 1 FROM journal LIMIT 1").fetchone()
    newest = _newest(database)
    if newest is None or journalled:
        return
    mark = min(newest, int(now.timestamp()) * 1_000_000)
    cut = (mark - KEEP) // 1_000_000 * 1_000_000
    with database.upkeep:
        into_files(folder, database, _KINDS, cut)
        with database.guard:
            old = [one for kind in _KINDS for one in listed(database, kind, EVER[0], cut - 1)]
        left = {stored: rest_of_keys(folder, stored, cut) for stored in old}
        with database.guard:
            with database.upholding():
                relist(database, left, [new for rest in left.values() for new in rest])
            for stored, rest in left.items():
                tell(database, stored.kind, [stored], rest)
    _shed_alerts(database, mark)
    # Nobody reads a journal, so files that were replaced need not wait for readers.
    with database.guard:
        names = [name for (name,) in database.execute("SELECT name FROM replaced")]
        with database.upholding():
            database.execute("DELETE FROM replaced")
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _newest(database: Database) -> int | None:
    """@timestamp of the newest event whose key is there, in microseconds."""
    with database.guard:
        found: int | None = database.execute(
            "SELECT max(last) FROM (SELECT last FROM files WHERE kind = 'event-keys'"
            " UNION ALL SELECT last FROM small WHERE kind = 'event-keys')"
        ).fetchone()[0]
    return found


def _shed_alerts(database: Database, mark: int) -> None:
    """Alerts that cannot grow any more, and of whose last state the server knows."""
    quiet = "json_extract(document, '$.connwatch.key.suppress_us')"
    gone = (
        f"SELECT id FROM alerts WHERE last < ?1 AND last + {quiet} < ?1 + ?2"  # noqa: S608
        " AND id NOT IN (SELECT id FROM outbox_alerts)"
    )
    with database.guard:
        found = database.execute(gone, (mark - KEEP, KEEP)).fetchall()
        if found:
            with database.changing():
                database.executemany("DELETE FROM alerts WHERE id = ?", found)
                database.execute(
                    "DELETE FROM aliases WHERE id NOT IN (SELECT id FROM alerts)"
                    " AND old NOT IN (SELECT id FROM outbox_alerts)"
                )
            outbox.forget(database)


def shrink(database: Database) -> None:
    """At the end: give back what the catalogue holds free."""
    free, size = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "page_size")
    )
    if free * size > _FREE:
        database.execute("VACUUM")
