"""How much is in a store."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

_FILES: Final = "SELECT kind, day, rows, bytes, first, last, 1 AS is_file FROM files"
_SMALL: Final = (
    "SELECT kind, day, rows, length(data) AS bytes, first, last, 0 AS is_file FROM small"
)


def both(database: sqlite3.Connection) -> str:
    """Files and small parts as one table for a query: kind, day, rows, bytes, first, last,
    is_file."""
    version = database.execute("PRAGMA user_version").fetchone()[0]
    return f"({_FILES})" if version < 2 else f"({_FILES} UNION ALL {_SMALL})"


def numbers(database: sqlite3.Connection) -> dict[str, Any]:
    """As `StoreReader.info` gives them; in one transaction."""
    every = both(database)
    rows, files, small, size, first, last, days = database.execute(
        "SELECT coalesce(sum(rows), 0), coalesce(sum(is_file), 0), coalesce(sum(NOT is_file), 0)"  # noqa: S608
        ", coalesce(sum(bytes), 0), min(first), max(last), count(DISTINCT day)"
        f" FROM {every} WHERE kind = 'events'"
    ).fetchone()

    def number(query: str) -> int:
        return int(database.execute(query).fetchone()[0] or 0)

    return {
        "events": rows,
        "alerts": number("SELECT count(*) FROM alerts"),
        "hits": number(f"SELECT sum(rows) FROM {every} WHERE kind = 'hits'"),  # noqa: S608
        "rejects": number("SELECT count(*) FROM rejects"),
        "rejects_over_cap": number("SELECT sum(value) FROM meta WHERE key = 'rejects_over_cap'"),
        "days": days,
        "files": files,
        "small": small,
        "bytes": number(f"SELECT sum(bytes) FROM {every}"),  # noqa: S608
        "event_bytes": size,
        "first_event": first,
        "last_event": last,
    }
