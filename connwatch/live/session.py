"""One stretch of following: from what the store remembers to a stop, a reload or an error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Final

import polars as pl

from connwatch.alert import Written
from connwatch.carried import taken_up
from connwatch.detection import Detected, Detection
from connwatch.ingest.follow import Follower, Wake
from connwatch.ingest.live import Given, LiveMerge
from connwatch.schema import STORED, empty
from connwatch.sinks.embedded import Resumed, Run
from connwatch.stages import Handed, ahead

from .commits import LARGE, TOTALS, Batch, Commits
from .journal import unpacked
from .progress import Totals

#: seconds from the beginning of a batch that is not large to that of the next one
_GATHER: Final = 0.05
#: seconds: without news, the pause between two looks; between two looks at folders
_TICK: Final = 0.5
#: the same while something waits to be settled
_SOON: Final = 0.1
_LOOK: Final = 1.0
_LATE: Final = "_late"
_PIECE: Final = "piece/"


@dataclass(slots=True)
class Hooks:
    """What a session tells. alert: one that is new. between: called between two batches, and when
    there is nothing to do."""

    alert: Callable[[Written], None] = lambda alert: None
    between: Callable[[Session], None] = lambda session: None


class Session:
    """Follows until `stop` is set, or, with until_idle, until everything is read and nothing came
    for so many seconds; nothing comes any more where all there was is standard input, and that is
    at its end. `run` raises what went wrong; what was committed before stays.
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
        self.commits = Commits(run, detection, self.totals, hooks.alert)
        self._wake, self._run, self._stop, self._hooks = wake, run, stop, hooks
        self._at: dict[str, Mapping[str, Any]] = {}
        self._handed = Handed()
        self._looked = False

    def resume(self, resumed: Resumed) -> None:
        """Take up the state of detection that was committed last, and go through the journal.

        What the journal's records come to is delivered again: the store has it, unless the rules
        are others now.
        """
        if resumed.snapshot is not None:
            taken_up(self.detection, resumed.snapshot)
        self._note(resumed.positions)
        before = resumed.positions.get(TOTALS)
        if before is not None:
            self.totals.take_up(before)
        self.commits.told.update(self.detection.open["alert"])
        for data in resumed.journal:
            self.commits.again(self._detect(_taken_up(unpacked(data))))
        self.commits.settle()

    def run(self, until_idle: float | None = None) -> None:
        """Follow. What was taken is committed when this returns, with a snapshot."""
        try:
            with closing(ahead(self._given(until_idle), 1)) as batches:
                try:
                    self._take(batches)
                finally:
                    self._handed.end()
            self.commits.finish()
        except BaseException:
            self.commits.abandon()
            raise

    def _take(self, batches: Iterable[Given | None]) -> None:
        for given in batches:
            self.commits.check()
            if given is None:
                self.commits.settle()
            else:
                self._process(given)
                self._handed.done()
                del given  # it would stay in memory while the next one is worked on
            self._hooks.between(self)

    def measures(self) -> dict[str, Any]:
        """How large the state of detection is, and what it had to let go."""
        items = self.detection.windows.items
        return {
            "open_alerts": self.detection.open.height,
            "window_items": sum(len(held) for held in items.values()),
            "items_by_rule": {key: len(held) for key, held in items.items() if len(held)},
            "forgotten": dict(self.detection.windows.forgotten),
            "snapshot_seconds": round(self.commits.snapshot_seconds, 3),
        }

    def _given(self, until_idle: float | None) -> Generator[Given | None, None, None]:
        """What is read, in order; None now and then when there is nothing."""
        looked = told = last = 0.0
        last = time.monotonic()
        self.merge.ends = until_idle
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
                large = given.late.height + given.events.height >= LARGE or given.behind
                del given
                self._rest(begun, large=large)
                continue
            self.merge.ends = enough = _LOOK if self.follower.over else until_idle
            quiet = begun - last
            if enough is not None and quiet >= enough and not self._unread(quiet):
                return
            if now - told >= _TICK:
                told = now
                yield None
            if self._looked:  # nobody waits for it: watching many folders takes a while
                self._wake.watch(self.follower.watched())
                self._looked = False
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
        begun = time.monotonic()
        self.follower.scan()
        self.merge.looked = begun
        for name, stream in self.follower.streams.items():
            if name not in self.merge.courses:
                self.merge.add(stream)
        self._looked = True

    def _with_updates(self, given: Given | None) -> Given | None:
        """With what changed of files without lines: where they are now, and that they are done."""
        changed = {
            f"{_PIECE}{piece}": {"at": dict(record), "given": 0}
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
                at = value["at"] if value["given"] == 0 else {**value["at"], "offset": -1}
                self._at[key.removeprefix(_PIECE)] = at

    def _unread(self, quiet: float) -> bool:
        """Whether something is to come after so many quiet seconds: records that wait for other
        streams, what is told at their ends, or files that are waited for, such as one that is being
        compressed or is not where it was."""
        courses = self.merge.courses.values()
        settling = quiet < 2 * self.follower.settle + _LOOK
        return (settling and self.follower.seeks) or any(
            one.waits or not one.finished or (settling and one.stream.pending) for one in courses
        )

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
        known = None if fresh.height == events.height else events.filter(fate != "new").drop(_LATE)
        self._count(given, events.height, fresh.height)
        found = self._detect(events)
        self.totals.allowed += sum(one.allowed for one in found)
        self.totals.closed_early += sum(one.early for one in found)
        positions = self._positions(given.positions)
        self.commits.take(Batch(events, fresh, known, keys, given.rejects, positions), found)

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

    def _positions(self, positions: Mapping[str, Any]) -> dict[str, Any]:
        gone, self.follower.forgotten = self.follower.forgotten, []
        forgotten = {f"{_PIECE}{piece}": None for piece in gone}
        return {**forgotten, **positions}


def _those(events: pl.DataFrame, wanted: pl.Series) -> pl.DataFrame:
    """The rows wanted; mostly all are, and then they are not copied."""
    return events if wanted.all() else events.filter(wanted)


def _taken_up(events: pl.DataFrame) -> pl.DataFrame:
    """Records of the journal; a column that the schema has only since then has no values."""
    missing = [pl.lit(None, t).alias(name) for name, t in STORED.items() if name not in events]
    return events.with_columns(missing).select(*STORED, _LATE)
