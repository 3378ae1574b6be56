"""The embedded store's writer."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import polars as pl

from connwatch.alert import Written
from connwatch.contracts import HIT_SCHEMA, SHOWN_SCHEMA, Delivery, Receipt
from connwatch.errors import StoreError
from connwatch.schema import empty

from . import alerts, catalogue, maintenance, outbox, processes, rejects, resume, tidy
from . import journal as journals
from .files import EVER, Stored, listed, make_folder
from .keys import Index, keys
from .keys import hit_keys as of_hits
from .linked import Links
from .lock import WriterLock
from .parts import events_written, keys_written, written
from .small import Small, parts, together

#: seconds between two times that a journal lets go of what it does not need
_SHED: Final = 10.0

_NO_EVENTS: Final = empty()
_NO_HITS: Final = pl.DataFrame(schema=HIT_SCHEMA)
_NO_SHOWN: Final = pl.DataFrame(schema=SHOWN_SCHEMA)

_FATES: Final = pl.Series(["new", "known", "duplicate"])


class EmbeddedStore:
    """The one writer of a store; see `Run` for how a replay writes.

    journal: keep only what a run needs whose events go to a server (see `journal`); such a store is
    written to in no other way.

    Raises StoreBusyError when another process writes, StoreFullError when no space is left (what
    was committed stays whole), StoreError for the rest.
    """

    name = "embedded"

    def __init__(self, folder: Path, *, journal: bool = False) -> None:
        self.folder = folder
        self.outbox: outbox.Outbox | None = None
        self._writes_journal = journal
        self._shed = 0.0
        with catalogue.errors(folder):
            make_folder(folder)
            self._lock = WriterLock(folder)
        try:
            self.database = catalogue.connect(folder, write=True)
        except BaseException:
            self._lock.release()
            raise
        try:
            with catalogue.errors(folder):
                maintenance.clean(folder, self.database)
                if journal:
                    journals.begin(folder, self.database)
                self.is_journal = journals.is_one(self.database)
        except BaseException:
            self._let_go()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self._let_go()

    def close(self) -> None:
        """Let go of the store. What was written is there already; small parts become files, if
        that can be done."""
        with suppress(StoreError):  # a full disk: they are safe where they are
            tidy.fold_all(self.folder, self.database)
            if self._writes_journal:
                self.shed()
                with catalogue.errors(self.folder):
                    journals.shrink(self.database)
        self._let_go()

    def _let_go(self) -> None:
        self.database.close()
        self._lock.release()

    def tidy(self, budget: int = tidy.BUDGET) -> bool:
        """Take one small step in keeping the number of parts and files low; whether there is more
        to do. Between two commits, or in a thread of its own.

        budget: rows that a step may put together (of keys eight times as many); with more of them,
        files become larger.
        """
        return tidy.step(self.folder, self.database, budget)

    def parts(self) -> dict[str, int]:
        """How many files and small parts the store is in, and the bytes of the files."""
        with catalogue.errors(self.folder), self.database.guard:
            files, size = self.database.execute(
                "SELECT count(*), total(bytes) FROM files"
            ).fetchone()
            few = self.database.execute("SELECT count(*) FROM small").fetchone()[0]
        return {"files": int(files), "small_parts": int(few), "bytes": int(size)}

    def shed(self) -> None:
        """Of a journal: let go of what is not needed any more."""
        self._shed = time.monotonic()
        with catalogue.errors(self.folder):
            # The system's clock: no more goes than if a record's clock were right.
            journals.shed(self.folder, self.database, datetime.now(UTC))

    def shed_now_and_then(self) -> None:
        """The same, unless this is no journal or it was done a moment ago."""
        if self._writes_journal and time.monotonic() - self._shed >= _SHED:
            self.shed()

    def begin_run(self) -> Run:
        """StoreError: it is a journal, and was not opened as one."""
        self._check()
        if self.outbox is not None:
            self.outbox.stop.clear()
        return Run(self)

    def open_outbox(self, most: int, end: threading.Event | None = None) -> outbox.Outbox:
        """From now on what runs commit is to be sent to a server, too; what waits is still there.
        most: events that may wait before a run does, until `end` is set."""
        self.outbox = outbox.Outbox(self, most, end)
        return self.outbox

    def resumed(self) -> resume.Resumed:
        """What a live run left: see `resume.Resumed`."""
        with catalogue.errors(self.folder), self.database.guard:
            return resume.read(self.folder, self.database)

    def _check(self) -> None:
        if self.is_journal and not self._writes_journal:
            raise journals.refused(self.folder)

    def write(self, delivery: Delivery) -> Receipt:
        """Store one delivery; events that are there already are "known"."""
        run = self.begin_run()
        fate, keys_of_new = run.classify(delivery.events)
        fresh = replace(delivery, events=delivery.events.filter(fate == "new"))
        run.write(fresh, keys_of_new)
        return Receipt(
            fate.replace_strict({"new": "stored", "known": "known", "duplicate": "known"})
        )

    def set_alert_status(self, alert_id: str, status: str, *, only_open: bool = False) -> None:
        """Write down what an analyst says of an alert: its whole id, or one that it once had.
        only_open: unless something was said of it already."""
        self._check()
        with catalogue.errors(self.folder), self.database.changing():
            database = self.database
            row = database.execute(
                "SELECT document FROM alerts WHERE id = ?1"
                " OR id = (SELECT id FROM aliases WHERE old = ?1) ORDER BY id != ?1",
                (alert_id,),
            ).fetchone()
            if row is None:
                raise StoreError(
                    f"no alert has the id {alert_id!r}", hint="connwatch alerts lists them"
                )
            document = json.loads(row[0])
            if only_open and document["connwatch"]["status"] != "open":
                return
            document["connwatch"]["status"] = status
            alerts.put(database, document)
            if outbox.is_known(database, document["event"]["id"]):
                outbox.note(database, [document["event"]["id"]], status=True)


class Run:
    """One run over records: knows what the store has, and what this run has met.

    `classify` and then `write`, batch by batch in the same order; the writes may be made by
    another thread, behind. A run ends with the first error; another makes up for it. follows_hits:
    whether runs before left any.
    """

    def __init__(self, store: EmbeddedStore) -> None:
        self._store = store
        self._guard = threading.Lock()
        self._staged: list[_Staged] = []
        self._own, self._growing, self._links = alerts.Own(), alerts.Growing(), Links()
        database = store.database
        with catalogue.errors(store.folder), database.guard:
            with catalogue.moment(database):
                self._events = _index(store.folder, database, "event-keys")
                self._hits = _index(store.folder, database, "hit-keys")
            self.follows_hits = bool(self._hits)
            database.watchers.add(self)

    def classify(self, events: pl.DataFrame) -> tuple[pl.Series, pl.DataFrame]:
        """Of each event: new, known (stored by an earlier run) or duplicate (met in this run).

        Also the keys of the new ones, which `write` wants with them.
        """
        with catalogue.errors(self._store.folder), self._guard:
            wanted = keys(events["event.id"], events["@timestamp"])
            fate, fresh = self._events.classify(wanted)
        return _FATES.gather(fate), fresh

    def look(self, hits: pl.DataFrame) -> pl.Series:
        """Of each hit (rule, event.id, @timestamp): 0 not stored, 1 stored by an earlier run, and 2
        by this one or met in it again."""
        with catalogue.errors(self._store.folder), self._guard:
            return self._hits.look(of_hits(hits))

    def write(
        self,
        delivery: Delivery,
        event_keys: pl.DataFrame | None = None,
        known: pl.DataFrame | None = None,
    ) -> None:
        """Commit a delivery, all or nothing: `stage` and `commit`."""
        self.stage(delivery, event_keys, known)
        self.commit()

    def stage(
        self, delivery: Delivery, event_keys: pl.DataFrame | None, known: pl.DataFrame | None = None
    ) -> None:
        """Write what is large of a delivery, which waits for `commit`; its events are those that
        `classify` called new, and event_keys what it gave for them (None: no events). known: those
        that it called known; a server may not have them, so the outbox gets them too.
        """
        with catalogue.errors(self._store.folder):
            self._staged.append(self._stage(delivery, event_keys, known))

    def commit(
        self,
        snapshot: Callable[[Path], None] | None = None,
        documents: Callable[[], Sequence[Written]] = tuple,
    ) -> None:
        """Commit all deliveries that wait, all or nothing.

        snapshot: writes the file that `EmbeddedStore.resumed` names in the place of the one before
        and of the journal. documents: makes those of alerts, after that, that no delivery has.
        """
        store = self._store
        with catalogue.errors(store.folder):
            state = None if snapshot is None else resume.write_snapshot(store.folder, snapshot)
            self._growing.deliver(documents())
            database = store.database
            rubbish: list[str] = []
            with database.guard:
                with catalogue.transaction(database):
                    self._own.check(database.changes)
                    for one in self._staged:
                        one.insert(database)
                    grown = self._links.counted(self._growing.grown(), self.look)
                    changed = alerts.merge(database, grown, self._own)
                    self._links.write(database)
                    if store.outbox is not None:
                        outbox.note(database, [*self._growing.delivered, *changed])
                    if not store.is_journal:
                        processes.note(database, changed, (one.shown for one in self._staged))
                    if state is not None:
                        rubbish = resume.replace(database, state)
                    changes = database.changes
                self._own.changes = changes
                with self._guard:
                    for one in self._staged:
                        for part in one.event_index:
                            self._events.committed(part if isinstance(part, Stored) else None)
                        for part in one.hit_index:
                            self._hits.committed(part if isinstance(part, Stored) else None)
            rows = sum(part.rows for one in self._staged for part in one.outgoing)
            self._staged, self._growing = [], alerts.Growing()
            for name in rubbish:
                (store.folder / name).unlink(missing_ok=True)
            tidy.relieve(store.folder, database)
        if state is not None:
            store.shed_now_and_then()
        if store.outbox is not None:
            store.outbox.committed(rows)
            store.outbox.wait_for_room()

    def _stage(
        self, delivery: Delivery, event_keys: pl.DataFrame | None, known: pl.DataFrame | None
    ) -> _Staged:
        """Write the files of a delivery; they count once the catalogue lists them."""
        folder = self._store.folder
        with self._guard:
            fate, hit_keys = self._hits.classify(of_hits(delivery.hits))
        hits = delivery.hits.filter(fate == 0)
        kept: list[Stored | Small] = []
        outgoing: list[outbox.Part] = []
        if self._store.is_journal:
            assert self._store.outbox is not None  # noqa: S101  a journal is there for it
            outgoing += self._store.outbox.part(delivery.events)
        else:
            kept = events_written(folder, delivery.events)
        if self._store.outbox is not None:
            outgoing += self._store.outbox.parts_of(kept)
            outgoing += [] if known is None else self._store.outbox.part(known)
        self._growing.add(delivery, hits)
        self._links.add(delivery)
        if not self._store.is_journal:
            kept += written(folder, "hits", hits)
        # What is in files, or out of date with the next delivery, need not wait for the commit.
        return _Staged(
            replace(
                delivery, events=_NO_EVENTS, hits=_NO_HITS, alerts=(), shown=_NO_SHOWN, spans=None
            ),
            kept,
            keys_written(folder, "event-keys", event_keys),
            keys_written(folder, "hit-keys", hit_keys),
            outgoing,
            journals.REJECTS if self._store.is_journal else rejects.CAP,
            processes.shown(delivery.events),
        )

    def hurry(self) -> None:
        """From any thread: `write` does not wait for room in the outbox any more."""
        if self._store.outbox is not None:
            self._store.outbox.stop.set()

    def exchanged(self, kind: str, old: Sequence[Stored], new: Sequence[Stored]) -> None:
        """Other files have the keys now; called with the database's guard held."""
        with self._guard:
            if kind == "event-keys":
                self._events.exchanged(old, new)
            elif kind == "hit-keys":
                self._hits.exchanged(old, new)


@dataclass(frozen=True, slots=True)
class _Staged:
    """A delivery whose files are written; its alerts are with those of the whole commit.
    most_rejects: how many the store may have. shown: see `processes.shown`."""

    delivery: Delivery
    made: list[Stored | Small]
    event_index: list[Stored | Small]
    hit_index: list[Stored | Small]
    outgoing: list[outbox.Part]
    most_rejects: int
    shown: processes.Span | None

    def insert(self, database: sqlite3.Connection) -> None:
        """In a transaction: all of it is part of the store."""
        delivery = self.delivery
        for part in (*self.made, *self.event_index, *self.hit_index, *self.outgoing):
            part.insert(database)
        rejects.keep(database, delivery.rejects, self.most_rejects)
        resume.keep(database, delivery.checkpoint, delivery.journal)


def _index(folder: Path, database: sqlite3.Connection, kind: str) -> Index:
    recent = together(kind, parts(database, kind, *EVER))
    return Index.begin(folder, listed(database, kind, *EVER), recent)
