"""Other files in the place of some: in one transaction, and told to the runs that look keys up.

A file that is replaced stays for a while, for readers that have it open or are about to.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from .catalogue import Database
from .files import Stored

#: seconds for which a file that was replaced stays, for readers that still use it
GRACE: Final = 600.0
#: replaced files that are deleted at once, at most
_EXPIRED: Final = 64


def relist(
    database: Database, old: Iterable[Stored], new: Iterable[Stored], folded: Iterable[int] = ()
) -> None:
    """In a transaction: `new` is listed instead of `old`, and of the small parts `folded`."""
    for stored in new:
        stored.insert(database)
    for stored in old:
        database.execute("DELETE FROM files WHERE name = ?", (stored.name,))
        # The system's clock: this is housekeeping, no event depends on it.
        database.execute("INSERT INTO replaced VALUES (?, ?)", (stored.name, time.time()))
    database.executemany("DELETE FROM small WHERE id = ?", ((number,) for number in folded))


def tell(database: Database, kind: str, old: Sequence[Stored], new: Sequence[Stored]) -> None:
    """Tell those who look keys up; with the guard held since the transaction."""
    for watcher in list(database.watchers):
        watcher.exchanged(kind, old, new)


def exchange(
    database: Database,
    kind: str,
    old: Sequence[Stored],
    new: Sequence[Stored],
    folded: Iterable[int] = (),
) -> None:
    """One step of upkeep, in a transaction of its own: the rows are the same before and after."""
    with database.guard:
        with database.upholding():
            relist(database, old, new, folded)
        tell(database, kind, old, new)


def expire(folder: Path, database: Database) -> bool:
    """Delete replaced files whose grace is over, some at a time; whether there were any."""
    with database.guard:
        names = database.execute(
            "SELECT name FROM replaced WHERE since < ? LIMIT ?", (time.time() - GRACE, _EXPIRED)
        ).fetchall()
        if not names:
            return False
        for (name,) in names:
            (folder / name).unlink(missing_ok=True)
        with database.upholding():
            database.executemany("DELETE FROM replaced WHERE name = ?", names)
    return True
