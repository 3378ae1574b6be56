"""Live runs to look at: a recorded status, what the reporter reads of a run, and a real one."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from conftest import ROOT

from connwatch.cli.follow import current
from connwatch.detectors.witnesses.flows import Flows
from connwatch.live.progress import SourceStatus, Status, Totals
from connwatch.live.run import LiveRun
from connwatch.live.upkeep import Done

SOURCE = SourceStatus(
    id="dmz|zeek.conn|zeek|/var/log/zeek/current|conn",
    path="/var/log/zeek/current/conn.log",
    dataset="zeek.conn",
    format="zeek",
    live=True,
    position=200_000,
    size=204_096,
    lines=1_208,
    records=1_200,
    rejects=3,
    comments=5,
    late=2,
    future=1,
    past=6,
    lag_bytes=4_096,
    lag_seconds=2.5,
    log_time="2026-11-20T10:00:00.000Z",
    rate=80.0,
    before={
        "lines": 208,
        "records": 200,
        "rejects": 1,
        "comments": 5,
        "late": 0,
        "future": 1,
        "past": 0,
    },
)

STATUS = Status(
    state="running",
    pid=4711,
    host="sensor",
    version="0.1.0",
    config="/etc/connwatch.yml",
    started="2026-11-20T09:00:00.000Z",
    updated="2026-11-20T10:00:01.000Z",
    totals=Totals(
        events=1_190, stored=1_180, duplicates=10, rejects=3, alerts=7, commits=42
    ).saved(),
    sources=[SOURCE],
    log_time="2026-11-20T10:00:00.000Z",
    reordered=4,
    rate=80.0,
    detection={
        "open_alerts": 5,
        "window_items": 900,
        "items_by_rule": {"scan": 900},
        "forgotten": {"scan": 12},
        "snapshot_seconds": 0.25,
    },
    sinks=[{"name": "embedded", "queue": 1, "retries": 0, "retried": 3, "error": None}],
    problems=[],
    skipped={},
    notes=[],
    errors=[],
    generation=1,
    reloads=0,
    reload_error=None,
    before={"totals": {"events": 190, "alerts": 2}, "forgotten": {"scan": 2}},
    store={
        "files": 12,
        "small_parts": 3,
        "bytes": 4_000_000,
        "steps": 6,
        "removed_days": 1,
        "removed_alerts": 0,
        "retained": "2026-11-20T09:00:00Z",
        "fits": True,
        "error": None,
    },
)


NOTHING: Mapping[str, str] = {}


def status(**changes: Any) -> Status:
    """`STATUS` with changes."""
    return dataclasses.replace(STATUS, **changes)


def source(**changes: Any) -> SourceStatus:
    return dataclasses.replace(SOURCE, **changes)


class EmptyStore:
    """What the reporter asks a store."""

    name = "embedded"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def parts(self) -> dict[str, int]:
        return {"files": 0, "small_parts": 0, "bytes": 0}


def fake_run(folder: Path, state: str = "running", **more: Any) -> LiveRun:
    """A run without a session."""
    given = {
        "state": state,
        "session": None,
        "wake": None,
        "error": None,
        "retries": 0,
        "generation": 1,
        "reloads": 0,
        "reload_error": None,
        "store": EmptyStore(folder),
        "upkeep": SimpleNamespace(done=Done()),
        "naming": None,
        "sender": None,
        "list_errors": list,
        **more,
    }
    return SimpleNamespace(**given)  # type: ignore[return-value]


def fake_session(**more: Any) -> Any:
    """A session of a run that has read nothing."""
    merge = SimpleNamespace(courses={}, saved={}, latest=None, reordered=0)
    windows = SimpleNamespace(forgotten={})
    given = {
        "merge": merge,
        "totals": Totals(),
        "detection": SimpleNamespace(windows=windows, flows=Flows(), notes=list, forgotten=dict),
        "follower": SimpleNamespace(problems=[], skipped={}, losses=[]),
        "measures": dict,
        "commits": SimpleNamespace(waiting=0),
        **more,
    }
    return SimpleNamespace(**given)


class Live:
    """A real `connwatch run` of one log, in a folder of its own."""

    def __init__(self, folder: Path, config: str = "", environment: Mapping[str, str] = NOTHING):
        self.folder, self.store = folder, folder / "store"
        self.log, self.config = folder / "conn.log", folder / "connwatch.yml"
        shutil.copy(ROOT / "sample_logs" / "incident" / "conn.log", self.log)
        self.config.write_text(f"store: store\nsources: [{{path: conn.log}}]\n{config}")
        self.said = folder / "said"
        command = [sys.executable, "-m", "connwatch.cli", "run", "-c", str(self.config)]
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                command, stderr=said, env={**os.environ, **environment}, start_new_session=True
            )

    def status(self) -> dict[str, Any]:
        return current(self.store)

    def until(
        self, wanted: Callable[[dict[str, Any]], bool], seconds: float = 60
    ) -> dict[str, Any]:
        """The first status that is as wanted."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            assert self.process.poll() is None, self.said.read_text()
            if (self.store / "status.json").exists() and wanted(found := self.status()):
                return found
            time.sleep(0.05)
        raise AssertionError(self.said.read_text())

    def until_read(self) -> dict[str, Any]:
        return self.until(lambda found: found["totals"].get("events") == 394)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def live(folder: Path, config: str = "", **environment: str) -> Iterator[Live]:
    """One that does not outlive its test."""
    one = Live(folder, config, environment)
    try:
        yield one
    finally:
        one.end(signal.SIGKILL)
