"""What is told of a live run, between batches: its status, and news in the log."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from connwatch import __version__
from connwatch.detection import forgotten_flows_note, forgotten_note
from connwatch.errors import StoreError
from connwatch.ingest.course import Course

from .log import Logger, utc_now
from .progress import Errors, SourceStatus, Status
from .run import LiveRun
from .session import Session
from .status_file import write_status
from .upkeep import measures

#: seconds between two writes, while something happens and while nothing does
_SOON: Final = 1.0
_CALM: Final = 5.0
#: with very many sources it is written less often: it costs one part in this of the time
_SHARE: Final = 50
#: seconds between two looks which sources are behind
_FOLLOW: Final = 0.2
#: seconds over which the rate is taken
_SPAN: Final = 10.0
#: the count of all sources, beside those by id
_ALL: Final = ""
_STREAM: Final = "stream/"


class Reporter:
    """Told of a run's state between batches (`LiveRun.report`): logs what is new, and keeps
    `latest`, which other threads read, and the file."""

    def __init__(self, config: str, log: Logger | None = None) -> None:
        self.latest: Status | None = None
        self.log = log or Logger(sys.stderr)
        self._config = config
        self._started = utc_now()
        self._errors = Errors()
        self._turned = time.monotonic()
        self._written = self._followed = self._cost = 0.0
        self._said: set[str] = set()
        #: by rule, how many lost records are worth another line
        self._told: dict[str, int] = {}
        self._state = ""
        self._counts: deque[tuple[float, dict[str, int]]] = deque()
        self._seen = (-1, "")
        self._behind: dict[str, float] = {}
        self._before: dict[str, dict[str, int]] | None = None
        self._found: dict[str, dict[str, int]] = {}
        self._retries = self._retried = self._reordered = 0
        self._session: Session | None = None
        self._problem: str | None = None
        self._kept: dict[str, Any] = {}
        self._asked = 0.0

    @property
    def quiet(self) -> float:
        """Seconds since the main loop turned last."""
        return time.monotonic() - self._turned

    def __call__(self, run: LiveRun) -> None:
        now = self._turned = time.monotonic()
        self._begin(run)
        self._say(run)
        if run.retries != self._retries:
            self._retried += max(0, run.retries - self._retries)
            self._retries = run.retries
        courses = [] if run.session is None else list(run.session.merge.courses.values())
        if now - self._followed >= _FOLLOW:
            self._followed = now
            self._follow(courses, now)
        events = 0 if run.session is None else run.session.totals.events
        seen = (events, run.state)
        pause = _SOON if seen != self._seen else _CALM
        pause = max(pause, _SHARE * self._cost)
        first = bool(courses) and not (self.latest and self.latest.sources)
        if run.state == self._state and not first and now - self._written < pause:
            return
        self._state, self._seen, self._written = run.state, seen, now
        self._counts.append((now, {_ALL: events} | {c.stream.id: _records(c) for c in courses}))
        while len(self._counts) > 2 and now - self._counts[0][0] > _SPAN:
            self._counts.popleft()
        self.latest = self._status(run, courses)
        self._write(run.store.folder)
        self._cost = time.monotonic() - now

    def _begin(self, run: LiveRun) -> None:
        """Remember what this process found: counters begin there; and of sessions before this."""
        session = run.session
        if session is not self._session:
            self._reordered += 0 if self._session is None else self._session.merge.reordered
            self._session = session
        if self._before is not None or session is None:
            return
        self._before = {
            "totals": session.totals.saved(),
            "forgotten": dict(session.detection.windows.forgotten),
        }
        for key, value in session.merge.saved.items():
            if key.startswith(_STREAM):
                counts = {**value["counts"]} | {
                    n: value.get(n, 0) for n in ("late", "future", "past")
                }
                self._found[key.removeprefix(_STREAM)] = counts

    def _follow(self, courses: Sequence[Course], now: float) -> None:
        """Since when each source has been behind."""
        behind = [course.stream.id for course in courses if course.stream.pending]
        self._behind = {name: self._behind.get(name, now) for name in behind}

    def _say(self, run: LiveRun) -> None:
        if run.state != self._state:
            self._changed(run)
        if run.wake is not None and run.wake.note:
            self._once("warning", run.wake.note)
        for path, reason, hint in _problems(run):
            self._once("warning", reason, path=path, hint=hint)
        if run.upkeep.done.error:
            self._once("warning", f"the store cannot be tidied up: {run.upkeep.done.error}")
        if run.naming is not None and run.naming.error:
            self._once("warning", f"processes behind alerts cannot be told: {run.naming.error}")
        problem = None if run.sender is None else run.sender.problem
        if problem is not None and problem != self._problem:
            self.log.say("warning", f"Elasticsearch: {problem}")
            self._errors.add(utc_now(), f"Elasticsearch: {problem}")
        self._problem = problem
        if run.session is None:
            return
        for lost in list(run.session.follower.losses):
            self._once("error", lost.reason, path=lost.path, hint=lost.hint)
        for path, reason in run.session.follower.skipped.items():
            self._once("info", f"not read: {reason}", path=path)
        detection = run.session.detection
        for title, count in detection.forgotten().items():
            if count >= self._told.get(title, 1):  # it grows with every batch
                self._told[title] = 2 * count
                self._once("warning", forgotten_note(title, count))
        flows = detection.flows.forgotten
        if flows >= self._told.get("", 1):
            self._told[""] = 2 * flows
            self._once("warning", forgotten_flows_note(flows))

    def _changed(self, run: LiveRun) -> None:
        match run.state:
            case "waiting" if run.error is not None:
                self._errors.add(utc_now(), _flat(str(run.error)))
                self.log.fail("error", "waiting to try again", run.error, retries=run.retries)
            case "reloaded" if run.reload_error is not None:
                error = _flat(run.reload_error)
                self._errors.add(utc_now(), f"reload failed: {error}")
                self.log.say("error", f"reload failed, the old one stays: {error}")
            case "reloaded":
                self.log.say("info", "reloaded", generation=run.generation)
            case state:
                self.log.say("info", state, store=str(run.store.folder))

    def _once(self, level: str, message: str, **fields: str | None) -> None:
        key = f"{message}\0{fields.get('path')}"
        if key in self._said:
            return
        if len(self._said) > 10_000:
            self._said.clear()
        self._said.add(key)
        if level != "info":
            where = fields.get("path")
            self._errors.add(utc_now(), f"{where}: {message}" if where else message)
        self.log.say(level, message, **fields)

    def _rate(self, name: str) -> float:
        """Of one count, per second, over the last seconds."""
        (begin, first), (end, last) = self._counts[0], self._counts[-1]
        if end <= begin or name not in last:
            return 0.0
        return round(max(0, last[name] - first.get(name, 0)) / (end - begin), 1)

    def _status(self, run: LiveRun, courses: Sequence[Course]) -> Status:
        session = run.session
        latest = None if session is None else session.merge.latest
        error = str(run.error) if run.error is not None and run.state == "waiting" else None
        return Status(
            state=run.state,
            pid=os.getpid(),
            host=socket.gethostname(),
            version=__version__,
            config=self._config,
            started=self._started,
            updated=utc_now(),
            totals={} if session is None else session.totals.saved(),
            sources=[self._source(course) for course in courses],
            log_time=_iso(latest),
            reordered=self._reordered + (0 if session is None else session.merge.reordered),
            rate=self._rate(_ALL),
            detection={} if session is None else session.measures(),
            sinks=[
                {
                    "name": run.store.name,
                    "queue": 0 if session is None else session.commits.waiting,
                    "retries": run.retries,
                    "retried": self._retried,
                    "error": error,
                },
                *([] if run.sender is None else [run.sender.measures()]),
            ],
            problems=[
                {"path": path, "reason": reason, "hint": hint}
                for path, reason, hint in _problems(run)
            ],
            skipped={} if session is None else dict(session.follower.skipped),
            notes=[] if session is None else session.detection.notes(),
            errors=list(self._errors.last),
            generation=run.generation,
            reloads=run.reloads,
            reload_error=run.reload_error,
            before=self._before or {},
            store=self._store(run),
            processes={} if run.naming is None else run.naming.measures(),
        )

    def _store(self, run: LiveRun) -> dict[str, Any]:
        """Asked for now and then only: it waits for a commit that is being made."""
        now = time.monotonic()
        if not self._kept or now - self._asked >= _CALM or run.state == "stopped":
            with suppress(StoreError):  # the session meets it too, and says it
                self._kept, self._asked = measures(run.store, run.upkeep.done), now
        return self._kept

    def _source(self, course: Course) -> SourceStatus:
        stream = course.stream
        path, position, size = stream.place
        behind = self._behind.get(stream.id)
        return SourceStatus(
            id=stream.id,
            path=path,
            dataset=stream.dataset,
            format=stream.format.name,
            live=stream.live,
            position=position,
            size=size,
            late=course.late,
            future=course.future,
            past=course.past,
            lag_bytes=stream.pending,
            lag_seconds=0.0 if behind is None else round(time.monotonic() - behind, 3),
            log_time=_iso(course.latest),
            lines=course.counts["lines"],
            records=course.counts["records"],
            rejects=course.counts["rejects"],
            comments=course.counts["comments"],
            rate=self._rate(stream.id),
            before=self._found.get(stream.id, {}),
        )

    def _write(self, folder: Path) -> None:
        if self.latest is None:
            return
        try:
            write_status(folder, self.latest.document())
        except StoreError as error:
            self._once("warning", error.message, path=error.where)


def _problems(run: LiveRun) -> list[tuple[str, str, str | None]]:
    """What cannot be read at present: where, why, and what may help."""
    files = [] if run.session is None else run.session.follower.problems
    lists = [(one.where or "", one.message, one.hint) for one in run.list_errors()]
    return [(one.path, one.reason, one.hint) for one in files] + lists


def _records(course: Course) -> int:
    return course.counts["records"]


def _flat(text: str) -> str:
    """On one line."""
    return " ".join(text.split())


def _iso(micros: int | None) -> str | None:
    if micros is None:
        return None
    moment = datetime.fromtimestamp(micros / 1_000_000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
