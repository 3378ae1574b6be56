"""What is told of a live run: `status.json` beside the store, and log lines on standard error."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

from connwatch import __version__
from connwatch.errors import StoreError
from connwatch.ingest.course import Course
from connwatch.render import safe, to_json

from .progress import Errors, SourceStatus, Status
from .run import LiveRun

#: beside the catalogue; another process reads it
NAME: Final = "status.json"
#: seconds between two writes, while something happens and while nothing does
_SOON: Final = 1.0
_CALM: Final = 5.0
#: seconds over which the rate is taken
_SPAN: Final = 10.0
_LEVELS: Final = ("debug", "info", "warning", "error")


class Logger:
    """Lines for people or programs (JSON) on a stream; times in UTC."""

    def __init__(self, stream: TextIO, form: str = "text", level: str = "info") -> None:
        self._stream, self._form = stream, form
        self._least = _LEVELS.index(level)
        self._guard = threading.Lock()

    def say(self, level: str, message: str, **fields: str | int | float | None) -> None:
        """One line; fields say more in JSON and follow the message in text."""
        if _LEVELS.index(level) < self._least:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        given = {name: value for name, value in fields.items() if value is not None}
        if self._form == "json":
            line = to_json({"@timestamp": now, "log.level": level, "message": message, **given})
        else:
            more = "".join(f" {name}={value}" for name, value in given.items())
            line = safe(f"{now} {level:<7} {message}{more}")
        with self._guard:
            self._stream.write(line + "\n")
            self._stream.flush()


class Reporter:
    """Told of a run's state between batches (`LiveRun.report`): logs what is new, and keeps
    `latest`, which other threads read, and the file."""

    def __init__(self, config: str, log: Logger | None = None) -> None:
        self.latest: Status | None = None
        self.log = log or Logger(sys.stderr)
        self._config = config
        self._started = _now()
        self._errors = Errors()
        self._written = 0.0
        self._said: set[str] = set()
        self._state = ""
        self._counts: deque[tuple[float, int]] = deque()
        self._seen = (-1, "")

    def __call__(self, run: LiveRun) -> None:
        self._say(run)
        now = time.monotonic()
        events = 0 if run.session is None else run.session.totals.events
        seen = (events, run.state)
        pause = _SOON if seen != self._seen else _CALM
        if run.state == self._state and now - self._written < pause:
            return
        self._state, self._seen, self._written = run.state, seen, now
        self.latest = self._status(run, self._rate(now, events))
        self._write(run.store.folder)

    def _say(self, run: LiveRun) -> None:
        if run.state != self._state:
            self._changed(run)
        if run.wake is not None and run.wake.note:
            self._once("warning", run.wake.note)
        if run.session is None:
            return
        problems = {one.path: one for one in run.session.follower.problems}
        for path, problem in problems.items():
            self._once("warning", problem.reason, path=path, hint=problem.hint)
        for path, reason in run.session.follower.skipped.items():
            self._once("info", f"not read: {reason}", path=path)
        for note in run.session.detection.forgotten():
            self._once("warning", note)

    def _changed(self, run: LiveRun) -> None:
        match run.state:
            case "waiting" if run.error is not None:
                self._errors.add(_now(), str(run.error))
                self.log.say("error", f"waiting to try again: {run.error}", retries=run.retries)
            case "reloaded" if run.reload_error is not None:
                self._errors.add(_now(), run.reload_error)
                self.log.say("error", f"reload failed, the old one stays: {run.reload_error}")
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
            self._errors.add(_now(), f"{where}: {message}" if where else message)
        self.log.say(level, message, **fields)

    def _rate(self, now: float, events: int) -> float:
        self._counts.append((now, events))
        while len(self._counts) > 2 and now - self._counts[0][0] > _SPAN:
            self._counts.popleft()
        (begin, before), span = self._counts[0], now - self._counts[0][0]
        del begin
        return round((events - before) / span, 1) if span > 0 else 0.0

    def _status(self, run: LiveRun, rate: float) -> Status:
        session = run.session
        courses = [] if session is None else list(session.merge.courses.values())
        latest = None if session is None else session.merge.latest
        error = None if run.error is None else str(run.error)
        return Status(
            state=run.state,
            pid=os.getpid(),
            version=__version__,
            config=self._config,
            started=self._started,
            updated=_now(),
            totals={} if session is None else session.totals.saved(),
            sources=[_source(course) for course in courses],
            log_time=_iso(latest),
            reordered=0 if session is None else session.merge.reordered,
            rate=rate,
            detection={} if session is None else session.measures(),
            sinks=[
                {
                    "name": run.store.name,
                    "queue": 0 if session is None else session.queued,
                    "retries": run.retries,
                    "error": error,
                }
            ],
            problems=(
                []
                if session is None
                else [
                    {"path": one.path, "reason": one.reason, "hint": one.hint}
                    for one in session.follower.problems
                ]
            ),
            skipped={} if session is None else dict(session.follower.skipped),
            notes=[] if session is None else session.detection.notes(),
            errors=list(self._errors.last),
            generation=run.generation,
            reloads=run.reloads,
            reload_error=run.reload_error,
        )

    def _write(self, folder: Path) -> None:
        """Put the status where another process finds it; a disk without room is not the end."""
        if self.latest is None:
            return
        place = folder / NAME
        temporary = place.with_suffix(".part")
        try:
            temporary.write_text(json.dumps(self.latest.document()), encoding="utf-8")
            temporary.replace(place)
        except OSError as error:
            self._once("warning", f"status cannot be written: {error.strerror}", path=str(place))


def read_status(folder: Path) -> dict[str, object]:
    """What the live run of a store wrote last. StoreError when there is none."""
    try:
        found = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(
            "nothing has followed logs into this store",
            where=str(folder),
            hint="start `connwatch run -c FILE`, or name its store with --store",
        ) from None
    except (OSError, ValueError) as error:
        raise StoreError(f"the status cannot be read: {error}", where=str(folder / NAME)) from error
    if not isinstance(found, dict):
        raise StoreError("the status is not one", where=str(folder / NAME))
    return found


def _source(course: Course) -> SourceStatus:
    stream = course.stream
    lag = stream.pending
    return SourceStatus(
        id=stream.id,
        path=stream.path,
        dataset=stream.dataset,
        format=stream.format.name,
        live=stream.live,
        late=course.late,
        future=course.future,
        lag_bytes=lag,
        lag_seconds=round(max(0.0, time.time() - course.modified), 3) if lag else 0.0,
        log_time=_iso(course.latest),
        lines=course.counts["lines"],
        records=course.counts["records"],
        rejects=course.counts["rejects"],
        comments=course.counts["comments"],
    )


def _iso(micros: int | None) -> str | None:
    if micros is None:
        return None
    moment = datetime.fromtimestamp(micros / 1_000_000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
