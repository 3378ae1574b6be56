"""The alerts of a store whose processes are to be looked for: what waits, and what was found.

What waits was noted in the commit that made it wait, and is taken away in the one that writes down
what was found. So nothing that a kill comes upon is forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from connwatch.alert import Document

from . import catalogue, outbox, processes

if TYPE_CHECKING:
    from .store import EmbeddedStore

_MARK: Final = """
INSERT INTO unnamed SELECT id, 1 FROM alerts WHERE last >= ? AND first <= ? ORDER BY first, id
ON CONFLICT (id) DO UPDATE SET change = change + 1
"""


class Asked(NamedTuple):
    """An alert that waits. change: goes back to `Unnamed.told`; first, last: log time of its
    hits, µs since the epoch."""

    id: str
    change: int
    first: int
    last: int


class Shots(NamedTuple):
    """New rows of tables: their times, and the entry that says so."""

    number: int
    first: int
    last: int


class Waiting(NamedTuple):
    """How many alerts wait, with a sum that any change changes; and from when to when they are
    (log time, µs since the epoch)."""

    alerts: int
    changes: int
    first: int
    last: int


class Unnamed:
    """What waits in a store that is open for writing. Threads may share it."""

    def __init__(self, store: EmbeddedStore) -> None:
        self._folder, self._database = store.folder, store.database

    def shots(self) -> list[Shots]:
        """What is new of tables since `mark` was last told of it."""
        return [Shots(*row) for row in self._rows("SELECT number, first, last FROM unnamed_shots")]

    def mark(self, first: int, last: int, done: Sequence[Shots] = ()) -> None:
        """Let all alerts wait that overlap a span of log time, µs since the epoch. done: what is
        new of tables, and concerns no others."""
        with catalogue.errors(self._folder), self._database.upholding():
            self._database.execute(_MARK, (first, last))
            self._database.executemany(
                "DELETE FROM unnamed_shots WHERE number = ?", ((one.number,) for one in done)
            )

    def waiting(self) -> Waiting | None:
        """All that waits; None: nothing."""
        query = (
            "SELECT count(*), total(u.change), min(a.first), max(a.last)"
            " FROM unnamed u JOIN alerts a USING (id)"
        )
        ((alerts, changes, first, last),) = self._rows(query)
        return Waiting(alerts, int(changes), first, last) if alerts else None

    def next(self, most: int) -> list[Asked]:
        """The alerts that have waited longest."""
        query = (
            "SELECT u.id, u.change, a.first, a.last FROM unnamed u JOIN alerts a USING (id)"
            " ORDER BY u.rowid LIMIT ?"
        )
        return [Asked(*row) for row in self._rows(query, most)]

    def known(self, ids: Iterable[str]) -> dict[str, Document]:
        """What is known of these alerts."""
        query = "SELECT told FROM alert_processes WHERE id = ?"
        found = ((one, self._rows(query, one)) for one in ids)
        return {one: json.loads(rows[0][0]) for one, rows in found if rows}

    def forget(self, waiting: Waiting) -> None:
        """Nothing can be said of all that waited; what changed since waits on."""
        with catalogue.errors(self._folder), self._database.upholding():
            if self.waiting() == waiting:
                self._database.execute("DELETE FROM unnamed")

    def told(self, asked: Iterable[Asked], found: Mapping[str, Mapping[str, Any]]) -> None:
        """Write down what is known now. asked: alerts that wait no more, unless they changed;
        found: by id, of those of which something else is known than before. A server that has them
        gets them again."""
        with catalogue.errors(self._folder), self._database.upholding():
            for alert, known in found.items():
                processes.put(self._database, alert, known)
                if outbox.is_known(self._database, alert):
                    outbox.note(self._database, [alert])
            self._database.executemany(
                "DELETE FROM unnamed WHERE id = ? AND change = ?",
                ((one.id, one.change) for one in asked),
            )

    def _rows(self, query: str, *values: object) -> list[Any]:
        with catalogue.errors(self._folder), self._database.guard:
            return self._database.execute(query, values).fetchall()
