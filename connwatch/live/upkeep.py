"""Keeping the store in order while it is written to: compaction and retention, in background."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from connwatch.config import Retention
from connwatch.errors import StoreError
from connwatch.sinks.embedded import EmbeddedStore, Policy, Retained, retain

#: seconds between two looks whether there is something to do, and between two of retention
_LOOK: Final = 0.5
_RETAIN: Final = 300.0


@dataclass(slots=True)
class Done:
    """What upkeep did since the start. steps: of compaction; days, alerts: that retention removed;
    retained: when it last ran (ISO 8601, None: not yet); fits: whether the store is within its
    size. error: why it does not go on at the moment."""

    steps: int = 0
    days: int = 0
    alerts: int = 0
    retained: str | None = None
    fits: bool = True
    error: str | None = None


@dataclass(slots=True)
class Upkeep:
    """A thread that tidies up until `close`. An error is kept in `done` and the step tried again
    later: it never ends the run, which meets what is wrong with the store by itself."""

    store: EmbeddedStore
    retention: Retention
    done: Done = field(default_factory=Done)
    _end: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after the step in hand."""
        self._end.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        policy = Policy(self.retention.events, self.retention.alerts, self.retention.max_size)
        wanted = any(value is not None for value in (policy.events, policy.alerts, policy.max_size))
        retained = -_RETAIN
        pause = _LOOK
        while not self._end.wait(pause):
            try:
                while not self._end.is_set() and self.store.tidy():
                    self.done.steps += 1
                if wanted and time.monotonic() - retained >= _RETAIN:
                    retained = time.monotonic()
                    now = datetime.now(UTC)
                    self._note(retain(self.store, policy, now), now)
                self.done.error, pause = None, _LOOK
            except StoreError as error:
                self.done.error, pause = str(error), min(60.0, 2 * pause)

    def _note(self, removed: Retained, now: datetime) -> None:
        self.done.days += len(removed.days)
        self.done.alerts += removed.alerts
        self.done.fits = removed.fits
        self.done.retained = now.isoformat(timespec="seconds").replace("+00:00", "Z")


def measures(store: EmbeddedStore, done: Done) -> dict[str, Any]:
    """For the status: what is stored in how many parts, and what upkeep did."""
    return {
        **store.parts(),
        "steps": done.steps,
        "removed_days": done.days,
        "removed_alerts": done.alerts,
        "retained": done.retained,
        "fits": done.fits,
        "error": done.error,
    }
