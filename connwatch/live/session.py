"""One stretch of following: from what the store remembers to a stop, a reload or an error.

Positions, state of detection, events and alerts are committed together. The state is saved whole
now and then (a snapshot); between snapshots each commit adds its records to a journal, and a
restart runs the rules over the journal again. Where records come by the hundred thousand, several
batches are one commit with a snapshot, and there is no journal.
"""

from __future__ import annotations

import copy
import io
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import polars as pl

from connwatch.alert import Written
from connwatch.carried import save, taken_up
from connwatch.contracts import HIT_SCHEMA, REJECT_SCHEMA, SHOWN_SCHEMA, Delivery
from connwatch.detection import Detected, Detection
from connwatch.ingest.follow import Follower, Wake
from connwatch.ingest.live import Given, LiveMerge
from connwatch.schema import STORED, empty
from connwatch.sinks.embedded import Resumed, Run
from connwatch.stages import Behind, Handed, ahead

from .memory import give_back
from .progress import Totals

#: rows from which on a batch is committed with a snapshot, not with the journal
_LARGE: Final = 5_000
#: rows and commits after which the journal gives way to a snapshot
_JOURNAL_ROWS: Final = 50_000
_JOURNAL_COMMITS: Final = 500
#: seconds between two commits of large batches, at least
_APART: Final = 1.0
#: a snapshot is made at most so often that it costs one part in this of the time
_SHARE: Final = 20
#: seconds from the beginning of a batch that is not large to that of the next one
_GATHER: Final = 0.05
#: seconds: without news, the pause between two looks; between two looks at folders
_TICK: Final = 0.5
#: the same while something waits to be settled
_SOON: Final = 0.1
_LOOK: Final = 1.0
_LATE: Final = "_late"
_TOTALS: Final = "totals"
_PIECE: Final = "piece/"


@dataclass(slots=True)
class _Commit:
    """What the writing thread gets: a delivery, the keys of its events, and the detection of which
    a snapshot is to be taken with it (None: none)."""

    delivery: Delivery
    keys: pl.DataFrame | None
    detection: Detection | None
    more: bool


@dataclass(slots=True)
class Hooks:
    """What a session tells. alert: one that is new. between: called between two batches, and when
    there is nothing to do."""

    alert: Callable[[Written], None] = lambda alert: None
    between: Callable[[Session], None] = lambda session: None


class Session:
    """Follows until `stop` is set, or, with until_idle, until everything is read and nothing came
    for so many seconds. `run` raises what went wrong; what was committed before stays.

    committed: something was, since it began.
    """

    def __init__(
        self,
        follower: Follower,
        wake: Wake,
        merge: LiveMerge,
        detection: Detection,
        run: Run,
        stop: threading.Event,
        hooks: Hooks,
    ) -> None:
        self.follower, self.merge, self.detection = follower, merge, detection
        self.totals = Totals()
        self.snapshot_seconds = 0.0
        self.committed = False
        self._wake, self._run, self._stop, self._hooks = wake, run, stop, hooks
        self._told: set[str] = set()
        self._at: dict[str, Mapping[str, Any]] = {}
        self._staged = False
        self._handed = Handed()
        self._journal_rows = self._journal_commits = 0
        self._committed = self._snapped = time.monotonic()
        self._writer: Behind[_Commit] = Behind(self._write, 1)

    def resume(self, resumed: Resumed) -> None:
        """Take up the state of detection that was committed last, and go through the journal.

        What the journal's records come to is delivered again: the store has it, unless the rules
        are others now.
        """
        if resumed.snapshot is not None:
            taken_up(self.detection, resumed.snapshot)
        self._note(resumed.positions)
        before = resumed.positions.get(_TOTALS)
        if before is not None:
            self.totals = Totals(**before)
        self._told = set(self.detection.open["alert"])
        for data in resumed.journal:
            found = self._detect(_taken_up(pl.read_ipc(io.BytesIO(data))))
            self._writer.put(_Commit(_delivery(_NO_EVENTS, found), None, None, True))
            self._told.update(alert.id for one in found for alert in one.alerts)
        if resumed.journal:
            self._put(_delivery(_NO_EVENTS, ()), None, snapshot=True)

    def run(self, until_idle: float | None = None) -> None:
        """Follow. What was taken is committed when this returns, with a snapshot."""
        try:
            with closing(ahead(self._given(until_idle), 1)) as batches:
                try:
                    self._take(batches)
                finally:
                    self._handed.end()
            self._put(_delivery(_NO_EVENTS, ()), None, snapshot=True)
            self._writer.close()
        except BaseException:
            self._writer.abandon()
            raise

    def _take(self, batches: Iterable[Given | None]) -> None:
        for given in batches:
            self._writer.check()
            if given is None:
                self._settle()
            else:
                self._process(given)
                self._handed.done()
                del given
            self._hooks.between(self)

    def measures(self) -> dict[str, Any]:
        """How large the state of detection is, and what it had to let go."""
        items = self.detection.windows.items
        return {
            "open_alerts": self.detection.open.height,
            "window_items": sum(len(held) for held in items.values()),
            "items_by_rule": {key: len(held) for key, held in items.items() if len(held)},
            "forgotten": dict(self.detection.windows.forgotten),
            "snapshot_seconds": round(self.snapshot_seconds, 3),
        }

    @property
    def queued(self) -> int:
        """Deliveries that wait for the sink."""
        return self._writer.waiting

    def _given(self, until_idle: float | None) -> Generator[Given | None, None, None]:
        """What is read, in order; None now and then when there is nothing."""
        looked = told = last = 0.0
        last = time.monotonic()
        while not self._stop.is_set():
            begun = time.monotonic()
            due = begun - looked >= _LOOK or looked == 0.0
            if due:
                self._look()
                looked = begun
            given = self.merge.given()
            if given is not None:
                self._note(given.positions)
            if due:
                given = self._with_updates(given)
            now = time.monotonic()
            if given is not None:
                last = now
                self._handed.given()
                yield given
                large = given.late.height + given.events.height >= _LARGE or given.behind
                del given
                self._rest(begun, large=large)
                continue
            if until_idle is not None and now - last >= until_idle and not self._unread(now - last):
                return
            if now - told >= _TICK:
                told = now
                yield None
            self._wake.wait(self._pause())

    def _rest(self, begun: float, *, large: bool) -> None:
        """Wait until a batch of few records, begun then, is done with: one costs about the same
        whatever it has, so what comes meanwhile goes together into the next one. Of large ones,
        and while whole pieces wait, the next is read while one is worked on, and no further ahead:
        they take room."""
        while not self._handed.wait(1 if large else 0, _TICK) and not self._stop.is_set():
            pass
        if not large:
            self._stop.wait(max(begun + _GATHER - time.monotonic(), 0.0))

    def _look(self) -> None:
        """Look at folders and names, and take in new streams."""
        self.follower.scan()
        for name, stream in self.follower.streams.items():
            if name not in self.merge.courses:
                self.merge.add(stream)
        self._wake.watch(self.follower.watched())

    def _with_updates(self, given: Given | None) -> Given | None:
        """With what changed of files without lines: where they are now, and that they are done."""
        changed = {
            f"{_PIECE}{piece}": {"at": dict(record), "taken": 0}
            for piece, record in self.follower.updates(self._at).items()
        }
        if not changed:
            return given
        self._note(changed)
        if given is None:
            return Given(empty(), empty(), (), changed)
        return replace(given, positions={**given.positions, **changed})

    def _note(self, positions: Mapping[str, Any]) -> None:
        """Remember what is saved of files; of one of which records wait, nothing is to change."""
        for key, value in positions.items():
            if key.startswith(_PIECE):
                at = value["at"] if value["taken"] == 0 else {**value["at"], "offset": -1}
                self._at[key.removeprefix(_PIECE)] = at

    def _unread(self, quiet: float) -> bool:
        """Whether something is to come after so many quiet seconds: records that wait for other
        streams, or files that are waited for, such as one that is being compressed."""
        courses = self.merge.courses.values()
        settling = quiet < 2 * self.follower.settle + _LOOK
        return any(one.waits or (settling and one.stream.pending) for one in courses)

    def _pause(self) -> float:
        """Seconds until the next look, if nothing happens before."""
        waits = any(one.waits or one.stream.pending for one in self.merge.courses.values())
        return _SOON if waits else _TICK

    def _process(self, given: Given) -> None:
        events = given.events.with_columns(pl.lit(value=False).alias(_LATE))
        if given.late.height:
            late = given.late.with_columns(pl.lit(value=True).alias(_LATE))
            events = pl.concat([late, events])
        fate, keys = self._run.classify(events)
        once = fate != "duplicate"
        events, fate = _those(events, once), fate.filter(once)
        fresh = _those(events, fate == "new").drop(_LATE)
        self._count(given, events.height, fresh.height)
        found = self._detect(events)
        self.totals.allowed += sum(one.allowed for one in found)
        self.totals.closed_early += sum(one.early for one in found)
        self._tell(found)
        delivery = _delivery(fresh, found, given.rejects, self._positions(given.positions))
        self._commit(delivery, keys, events)

    def _detect(self, events: pl.DataFrame) -> list[Detected]:
        """What the rules say of records, the late ones first."""
        found = []
        behind = events[_LATE]
        for late, wanted in ((True, behind), (False, ~behind)):
            part = _those(events, wanted).drop(_LATE)
            if part.height:
                found.append(self.detection.step(part, late=late))
        return found

    def _count(self, given: Given, events: int, fresh: int) -> None:
        seen = given.late.height + given.events.height
        self.totals.events += events
        self.totals.stored += fresh
        self.totals.duplicates += seen - events
        self.totals.late += given.late.height
        self.totals.rejects += sum(frame.height for frame in given.rejects)

    def _tell(self, found: Sequence[Detected]) -> None:
        """Tell of every alert once, when it is opened."""
        for one in found:
            for alert in one.alerts:
                if alert.id not in self._told:
                    self._told.add(alert.id)
                    self.totals.alerts += 1
                    self._hooks.alert(alert)
        if len(self._told) > 2 * self.detection.open.height + 10_000:
            self._told.intersection_update(self.detection.open["alert"])

    def _positions(self, positions: Mapping[str, Any]) -> dict[str, Any]:
        gone, self.follower.forgotten = self.follower.forgotten, []
        forgotten = {f"{_PIECE}{piece}": None for piece in gone}
        return {**forgotten, **positions, _TOTALS: self.totals.saved()}

    def _commit(self, delivery: Delivery, keys: pl.DataFrame, events: pl.DataFrame) -> None:
        """Decide how this batch is made durable: with the journal or with a snapshot, and when."""
        now = time.monotonic()
        if events.height >= _LARGE or self._staged:
            if events.height >= _LARGE and now - self._committed < self._apart():
                self._staged = True
                self._writer.put(_Commit(delivery, keys, None, True))
                return
            self._put(delivery, keys, snapshot=True)
            return
        self._journal_rows += events.height
        self._journal_commits += 1
        full = (
            self._journal_rows > _JOURNAL_ROWS or self._journal_commits > _JOURNAL_COMMITS
        ) and now - self._snapped > _SHARE * self.snapshot_seconds
        if full or events.is_empty():
            self._put(delivery, keys, snapshot=full)
            return
        journal = io.BytesIO()
        events.write_ipc(journal, compression="lz4")
        self._put(
            Delivery(
                delivery.events,
                delivery.hits,
                delivery.alerts,
                delivery.rejects,
                delivery.checkpoint,
                delivery.shown,
                journal.getvalue(),
            ),
            keys,
            snapshot=False,
        )

    def _apart(self) -> float:
        return max(_APART, _SHARE * self.snapshot_seconds)

    def _settle(self) -> None:
        """There is nothing to do: what waits for others is committed."""
        if self._staged:
            self._put(_delivery(_NO_EVENTS, ()), None, snapshot=True)

    def _put(self, delivery: Delivery, keys: pl.DataFrame | None, *, snapshot: bool) -> None:
        now = time.monotonic()
        self._committed, self._staged = now, False
        self.totals.commits += 1
        if snapshot:
            self._journal_rows = self._journal_commits = 0
            self._snapped = now
        detection = copy.copy(self.detection) if snapshot else None
        self._writer.put(_Commit(delivery, keys, detection, False))

    def _write(self, commit: _Commit) -> None:
        """In the writing thread."""
        wanted = None if commit.detection is None else partial(self._save, commit.detection)
        self._run.write(commit.delivery, commit.keys, snapshot=wanted, more=commit.more)
        self.committed |= not commit.more
        if commit.detection is not None:
            give_back()

    def _save(self, detection: Detection, path: Path) -> None:
        begun = time.monotonic()
        save(detection, path)
        self.snapshot_seconds = time.monotonic() - begun


def _those(events: pl.DataFrame, wanted: pl.Series) -> pl.DataFrame:
    """The rows wanted; mostly all are, and then they are not copied."""
    return events if wanted.all() else events.filter(wanted)


def _taken_up(events: pl.DataFrame) -> pl.DataFrame:
    """Records of the journal; a column that the schema has only since then has no values."""
    missing = [pl.lit(None, t).alias(name) for name, t in STORED.items() if name not in events]
    return events.with_columns(missing).select(*STORED, _LATE)


def _delivery(
    events: pl.DataFrame,
    found: Sequence[Detected],
    rejects: Sequence[pl.DataFrame] = (),
    positions: Mapping[str, Any] | None = None,
) -> Delivery:
    """One delivery of what several steps found; of an alert, the newest state."""
    alerts = {alert.id: alert for one in found for alert in one.alerts}
    return Delivery(
        events,
        pl.concat([_NO_HITS, *(one.hits for one in found)]),
        tuple(alerts.values()),
        pl.concat([_NO_REJECTS, *rejects]),
        positions or {},
        pl.concat([_NO_SHOWN, *(one.shown for one in found)]),
    )


_NO_EVENTS: Final = empty()
_NO_HITS: Final = pl.DataFrame(schema=HIT_SCHEMA)
_NO_REJECTS: Final = pl.DataFrame(schema=REJECT_SCHEMA)
_NO_SHOWN: Final = pl.DataFrame(schema=SHOWN_SCHEMA)
