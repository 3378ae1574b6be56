"""The processes behind stored alerts: what is known of them, and which are to be asked anew.

What is known stands beside the documents, so that an alert that grows keeps it. A commit notes, in
its transaction, which alerts it changed and of what time it brought rows of socket tables;
`unnamed` takes that from here when it writes down what was found.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

import polars as pl

from connwatch.alert import Document, quoted, with_learned

#: from, to: µs since the epoch, both included
Span: TypeAlias = tuple[int, int]

#: alert_processes: what is known (JSON, see `alert.with_learned`); unnamed: alerts to be asked,
#: change grows with every state of one; unnamed_shots: times of rows of tables that are new
TABLES: Final = """
CREATE TABLE IF NOT EXISTS alert_processes (id TEXT PRIMARY KEY, told TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS unnamed (id TEXT PRIMARY KEY, change INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS unnamed_shots (
    number INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL
) STRICT;
CREATE TRIGGER IF NOT EXISTS alert_gone AFTER DELETE ON alerts BEGIN
    DELETE FROM alert_processes WHERE id = old.id;
    DELETE FROM unnamed WHERE id = old.id;
END;
"""
_NOTE: Final = """
INSERT INTO unnamed SELECT id, 1 FROM alerts WHERE id = ?
ON CONFLICT (id) DO UPDATE SET change = change + 1
"""
_PUT: Final = "INSERT OR REPLACE INTO alert_processes SELECT id, ?2 FROM alerts WHERE id = ?1"


def note(database: sqlite3.Connection, alerts: Iterable[str], spans: Iterable[Span | None]) -> None:
    """In a transaction: these alerts are not what they were, and rows of tables of these times are
    new."""
    database.executemany(_NOTE, ((one,) for one in alerts))
    database.executemany(
        "INSERT INTO unnamed_shots (first, last) VALUES (?, ?)",
        (one for one in spans if one is not None),
    )


def shown(events: pl.DataFrame) -> Span | None:
    """From when to when events are that are rows of socket tables; None: none is."""
    snapshot = events["socket.snapshot.id"]
    if snapshot.null_count() == events.height:
        return None
    times = events.filter(snapshot.is_not_null())["@timestamp"].to_physical()
    return int(times.min()), int(times.max())  # type: ignore[arg-type]


def keep(database: sqlite3.Connection, alert: str, known: Mapping[str, Any]) -> None:
    """In a transaction: what somebody else knew of an alert, unless something is known here."""
    query = "SELECT 1 FROM alert_processes WHERE id = ?"
    if database.execute(query, (alert,)).fetchone() is None:
        put(database, alert, known)


def put(database: sqlite3.Connection, alert: str, known: Mapping[str, Any]) -> None:
    """In a transaction: this is known of an alert now, if it is there."""
    database.execute(_PUT, (alert, quoted(known)))


def columns(database: sqlite3.Connection) -> str:
    """What to select of alerts, and from where, to give it to `told`; of a store, too, that no
    writer of this version has opened yet."""
    there = database.execute("SELECT 1 FROM sqlite_master WHERE name = 'alert_processes'")
    if there.fetchone() is None:
        return "document, NULL FROM alerts"
    return "document, told FROM alerts LEFT JOIN alert_processes USING (id)"


def told(document: str, known: str | None) -> Document:
    """A stored document, with what is known of its processes."""
    found: Document = json.loads(document)
    return found if known is None else with_learned(found, json.loads(known))
