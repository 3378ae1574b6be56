"""What a live run finds again after a restart: positions, the journal, and the newest snapshot.

All of it is committed with the events and alerts that it belongs to. The snapshot is a file that
the catalogue lists; what was the newest before it is rubbish afterwards.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from connwatch.errors import StoreDamagedError

from .files import Stored, write_whole

KIND: Final = "state"
TABLES: Final = """
CREATE TABLE IF NOT EXISTS positions (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS journal (number INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Resumed:
    """positions: every `Delivery.checkpoint` together. snapshot: the file written last (None: none
    was). journal: `Delivery.journal` of every delivery since, in order."""

    positions: dict[str, Any] = field(default_factory=dict)
    snapshot: Path | None = None
    journal: tuple[bytes, ...] = ()


def read(folder: Path, database: sqlite3.Connection) -> Resumed:
    """What was committed last. StoreDamagedError when the snapshot is not what it was."""
    saved = database.execute("SELECT key, value FROM positions").fetchall()
    # One text of all of them: there is one for each file that was ever read.
    values = json.loads(f"[{','.join(value for _, value in saved)}]")
    positions = {key: value for (key, _), value in zip(saved, values, strict=True)}
    snapshot = None
    for stored in _snapshots(database):
        path = folder / stored.name
        if not path.is_file() or not stored.is_whole(path):
            raise StoreDamagedError(
                "the state of detection is damaged",
                where=str(path),
                hint="connwatch store verify names what else is",
            )
        snapshot = path
    rows = database.execute("SELECT data FROM journal ORDER BY number").fetchall()
    return Resumed(positions, snapshot, tuple(row[0] for row in rows))


def keep(database: sqlite3.Connection, positions: Mapping[str, Any], journal: bytes | None) -> None:
    """In a transaction: positions that changed, and one more part of the journal."""
    gone = [(key,) for key, value in positions.items() if value is None]
    kept = [(key, json.dumps(value)) for key, value in positions.items() if value is not None]
    database.executemany("DELETE FROM positions WHERE key = ?", gone)
    database.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?)", kept)
    if journal is not None:
        database.execute("INSERT INTO journal (data) VALUES (?)", (journal,))


def write_snapshot(folder: Path, save: Callable[[Path], None]) -> Stored:
    """A file with a snapshot; it counts once `replace` lists it."""
    return write_whole(folder, KIND, save)


def replace(database: sqlite3.Connection, snapshot: Stored) -> list[str]:
    """In a transaction: this is the snapshot now, and nothing was journalled since. The names of
    files that are rubbish once that is committed."""
    old = [stored.name for stored in _snapshots(database)]
    database.execute("DELETE FROM files WHERE kind = ?", (KIND,))
    snapshot.insert(database)
    database.execute("DELETE FROM journal")
    return old


def _snapshots(database: sqlite3.Connection) -> list[Stored]:
    rows = database.execute("SELECT * FROM files WHERE kind = ?", (KIND,))
    return [Stored(*row) for row in rows]
