"""How what a session finds is made durable.

Positions, state of detection, events and alerts are committed together. The state is saved whole
now and then (a snapshot); between snapshots each commit adds its records to a journal, and a
restart runs the rules over the journal again. Where records come by the hundred thousand, several
batches are one commit with a snapshot, there is no journal, and an alert is written once, as it
then is.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import polars as pl

from connwatch.alert import Written
from connwatch.carried import save
from connwatch.contracts import HIT_SCHEMA, REJECT_SCHEMA, SHOWN_SCHEMA, SPAN_SCHEMA, Delivery
from connwatch.detection import Detected, Detection, newest
from connwatch.detectors.compact import compact
from connwatch.detectors.fold import begin
from connwatch.memory import give_back
from connwatch.schema import empty
from connwatch.sinks.embedded import Run
from connwatch.stages import Behind

from .journal import packed
from .progress import Totals

#: rows from which on a batch is committed with a snapshot, not with the journal
LARGE: Final = 5_000
#: rows and commits after which the journal gives way to a snapshot
_JOURNAL_ROWS: Final = 50_000
_JOURNAL_COMMITS: Final = 500
#: seconds between two commits of large batches, at least
_APART: Final = 1.0
#: a snapshot is made at most so often that it costs one part in this of the time
_SHARE: Final = 20
#: key of the saved totals
TOTALS: Final = "totals"


@dataclass(frozen=True, slots=True)
class Batch:
    """What is to be committed beside what the rules found. events: those that the rules saw, as the
    journal keeps them; fresh: those that the store does not have, and their keys; known: those that
    it has (None: there are none)."""

    events: pl.DataFrame
    fresh: pl.DataFrame
    known: pl.DataFrame | None
    keys: pl.DataFrame | None
    rejects: Sequence[pl.DataFrame]
    positions: Mapping[str, Any]


@dataclass(slots=True)
class _Commit:
    """What the writing thread gets: a delivery of a batch, the detection of which a snapshot is to
    be taken with it (None: none), and alerts (`fold.ALERT_SCHEMA`) of which it is to make
    documents. All is let go of as soon as it is written."""

    delivery: Delivery | None
    keys: pl.DataFrame | None
    known: pl.DataFrame | None
    detection: Detection | None
    more: bool
    alerts: pl.DataFrame


class _Waiting:
    """Alerts that were touched since their documents were last delivered. Their newest rows are
    those of the open alerts, but of those that were closed meanwhile, which are kept here."""

    def __init__(self) -> None:
        self._alerts: dict[str, None] = {}
        self._closed: list[pl.DataFrame] = []

    def add(self, found: Sequence[Detected]) -> None:
        for one in found:
            self._alerts.update(dict.fromkeys(one.touched["alert"]))
            closed = one.closed.filter(_among(self._alerts))
            if closed.height:
                # What is taken of a batch would hold all of its texts.
                self._closed.append(compact(closed, one.hits.height + one.before.height))

    def taken(self, still: pl.DataFrame) -> pl.DataFrame:
        """All of them (`fold.ALERT_SCHEMA`), and nothing waits. still: the open alerts."""
        alive = still.filter(_among(self._alerts))
        rows = newest(pl.concat([*self._closed, alive]))
        self._alerts, self._closed = {}, []
        return rows


class Commits:
    """One session's way into the store. opened: told of every alert once, when it is opened; it is
    counted in `totals`.

    committed: something was. told: ids of alerts that somebody knows of. snapshot_seconds: how long
    the last snapshot took.
    """

    def __init__(
        self, run: Run, detection: Detection, totals: Totals, opened: Callable[[Written], None]
    ) -> None:
        self.committed = False
        self.told: set[str] = set()
        self.snapshot_seconds = 0.0
        self._run, self._detection, self._totals, self._opened = run, detection, totals, opened
        self._waiting = _Waiting()
        self._staged = False
        self._journal_rows = self._journal_commits = 0
        self._last = self._snapped = time.monotonic()
        self._writer: Behind[_Commit] = Behind(self._write, 1)

    @property
    def waiting(self) -> int:
        """Deliveries that wait for the sink."""
        return self._writer.waiting

    def again(self, found: Sequence[Detected]) -> None:
        """What the rules found in a journal once more: the store has it, unless the rules are
        others now. Nobody is told."""
        self.told.update(alert for one in found for alert in one.touched["alert"])
        self._stage(_NOTHING, found)

    def take(self, batch: Batch, found: Sequence[Detected]) -> None:
        """One batch more: it is committed now, or together with the next ones."""
        rows, now = batch.events.height, time.monotonic()
        if rows >= LARGE and now - self._last < self._apart():
            touched = _touched(found)
            self._tell(self._detection.written(touched.filter(~_among(self.told))))
            self._stage(batch, found)
            return
        if rows >= LARGE or self._staged:
            self._commit(batch, found, snapshot=True)
            return
        self._journal_rows += rows
        self._journal_commits += 1
        full = (
            self._journal_rows > _JOURNAL_ROWS or self._journal_commits > _JOURNAL_COMMITS
        ) and now - self._snapped > _SHARE * self.snapshot_seconds
        self._commit(batch, found, snapshot=full)

    def settle(self) -> None:
        """There is nothing to do: what waits for others is committed."""
        if self._staged:
            self._commit(_NOTHING, (), snapshot=True)

    def finish(self) -> None:
        """Commit what there is, with a snapshot; returns when that is done."""
        self._commit(_NOTHING, (), snapshot=True)
        self._writer.close()

    def check(self) -> None:
        """Raise what went wrong in writing."""
        self._writer.check()

    def abandon(self) -> None:
        """End without what is not written yet."""
        self._run.hurry()
        self._writer.abandon()

    def _apart(self) -> float:
        return max(_APART, _SHARE * self.snapshot_seconds)

    def _stage(self, batch: Batch, found: Sequence[Detected]) -> None:
        """Hand over a batch that the next commit is to take with it; documents come then."""
        self._staged = True
        self._waiting.add(found)
        delivery = self._delivery(batch, found, ())
        commit = _Commit(delivery, batch.keys, batch.known, None, True, _NO_ALERTS)
        self._writer.put(commit, taken=True)

    def _commit(self, batch: Batch, found: Sequence[Detected], *, snapshot: bool) -> None:
        """Hand over a batch and all that waits; without a snapshot the journal has its records."""
        alerts: Sequence[Written] = ()
        if self._staged:
            self._waiting.add(found)
            later = self._waiting.taken(self._detection.open)
            self._tell(self._detection.written(later.filter(~_among(self.told))))
        else:
            later = _NO_ALERTS
            alerts = self._detection.written(_touched(found))
            self._tell(alerts)
        now = time.monotonic()
        self._last, self._staged = now, False
        self._totals.commits += 1
        if snapshot:
            self._journal_rows = self._journal_commits = 0
            self._snapped = now
        delivery = self._delivery(batch, found, alerts)
        if not snapshot and batch.events.height:
            delivery = replace(delivery, journal=packed(batch.events))
        detection = copy.copy(self._detection) if snapshot else None
        commit = _Commit(delivery, batch.keys, batch.known, detection, False, later)
        self._writer.put(commit, taken=batch.events.height >= LARGE)

    def _tell(self, alerts: Sequence[Written]) -> None:
        """Tell of those of which nobody was told."""
        for alert in alerts:
            if alert.id not in self.told:
                self.told.add(alert.id)
                self._totals.alerts += 1
                self._opened(alert)
        if len(self.told) > 2 * self._detection.open.height + 10_000:
            self.told.intersection_update(self._detection.open["alert"])

    def _delivery(
        self, batch: Batch, found: Sequence[Detected], alerts: Sequence[Written]
    ) -> Delivery:
        return Delivery(
            batch.fresh,
            pl.concat([_NO_HITS, *(one.hits for one in found)]),
            tuple(alerts),
            pl.concat([_NO_REJECTS, *batch.rejects]),
            {**batch.positions, TOTALS: self._totals.saved()},
            pl.concat([_NO_SHOWN, *(one.shown for one in found)]),
            newest(pl.concat([_NO_SPANS, *(one.spans for one in found)])),
        )

    def _write(self, commit: _Commit) -> None:
        """In the writing thread."""
        assert commit.delivery is not None  # noqa: S101  it is written once
        self._run.stage(commit.delivery, commit.keys, commit.known)
        commit.delivery = commit.keys = commit.known = None
        if commit.more:
            give_back()  # until the next commit it may be many batches
            return
        has_snapshot = commit.detection is not None
        self._run.commit(
            partial(self._save, commit) if has_snapshot else None,
            lambda: self._detection.written(commit.alerts),
        )
        self.committed = True
        if has_snapshot:
            give_back()

    def _save(self, commit: _Commit, path: Path) -> None:
        assert commit.detection is not None  # noqa: S101  it is saved once
        begun = time.monotonic()
        save(commit.detection, path)
        commit.detection = None
        self.snapshot_seconds = time.monotonic() - begun


def _among(alerts: Collection[str]) -> pl.Expr:
    return pl.col("alert").is_in(list(alerts))


def _touched(found: Sequence[Detected]) -> pl.DataFrame:
    """The alerts touched, each once, as it is now."""
    return newest(pl.concat([_NO_ALERTS, *(one.touched for one in found)]))


_NO_ALERTS: Final = begin()
_NO_HITS: Final = pl.DataFrame(schema=HIT_SCHEMA)
_NO_REJECTS: Final = pl.DataFrame(schema=REJECT_SCHEMA)
_NO_SHOWN: Final = pl.DataFrame(schema=SHOWN_SCHEMA)
_NO_SPANS: Final = pl.DataFrame(schema=SPAN_SCHEMA)
_NOTHING: Final = Batch(empty(), empty(), None, None, (), {})
