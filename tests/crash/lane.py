"""One run that is killed again and again: its logs, who writes and rotates them, and what it holds.

A lane has a folder of its own, so that several can go on at once.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from live_support import header, lines, running, start, stored, wait_for
from support import replayed

from connwatch.detectors.ruleset import load_rules
from connwatch.pipeline import bundled_rules

#: of the bundled rules those that count over windows, which is what a kill can break
RULES: Final = ("scan", "access", "network/unanswered_connection.yml")
#: rotated files that logrotate keeps, and rotations after which a lane waits until all is read
_KEPT: Final = 40
_ROOM: Final = 15
#: seconds that a state may take on a machine with other work
_PATIENCE: Final = 300.0
_WRITER: Final = Path(__file__).with_name("writer.py")

_CREATE: Final = """
  create
  postrotate
    rm -f {note}.reopened
    kill -HUP $(cat {folder}/pid)
    while ! [ -e {note}.reopened ] && kill -0 $(cat {folder}/pid); do sleep 0.01; done
  endscript
"""
_COPYTRUNCATE: Final = """
  copytruncate
  prerotate
    touch {note}.pause
    while ! [ -e {note}.paused ] && kill -0 $(cat {folder}/pid); do sleep 0.01; done
  endscript
  postrotate
    rm -f {note}.pause
    while [ -e {note}.paused ] && kill -0 $(cat {folder}/pid); do sleep 0.01; done
  endscript
"""
#: ways of rotation that one log can have
WAYS: Final[Mapping[str, str]] = {
    "create": _CREATE,
    "create-compress": _CREATE + "  compress\n",
    "create-compress-delayed": _CREATE + "  compress\n  delaycompress\n",
    "copytruncate": _COPYTRUNCATE,
    "copytruncate-compress": _COPYTRUNCATE + "  compress\n",
    "copytruncate-compress-delayed": _COPYTRUNCATE + "  compress\n  delaycompress\n",
}


def logrotate() -> str | None:
    """The program; None: it is not installed."""
    return shutil.which("logrotate", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


@dataclass
class Result:
    """What came of a lane."""

    kills: int
    early: int
    written: int
    rotations: int
    lost: int
    doubled: int
    alerts_equal: bool
    counted: int

    @property
    def is_whole(self) -> bool:
        exact = self.lost == self.doubled == 0 and self.counted == self.written
        return exact and self.alerts_equal


@dataclass
class Lane:
    """ways: of each log, by name; see `WAYS`. number: lines that there are at the most."""

    folder: Path
    ways: Mapping[str, str]
    seed: int
    number: int
    batch: int = 100_000
    kills: int = 0
    early: int = 0
    rotations: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _room: dict[str, int] = field(default_factory=dict)
    _failed: list[str] = field(default_factory=list)
    _begin: float = 3.0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.store = self.folder / "store"
        self.folder.mkdir(parents=True)
        for count, (name, way) in enumerate(self.ways.items()):
            (self.folder / name).mkdir()
            made = lines(self.number, self.seed * 10 + count, start=100.0 * count)
            (self.folder / f"{name}.lines").write_bytes(b"".join(made))
            (self.folder / f"{name}.header").write_bytes(header("OPENED"))
            self._rotated(name, way)
        self.config = self._configuration("connwatch.yml", 600.0)
        self.last = self._configuration("last.yml", 0.5)

    def _rotated(self, name: str, way: str) -> None:
        said = WAYS[way].format(note=self.folder / name, folder=self.folder)
        text = f"{self.folder}/{name}/conn.log {{\n  rotate {_KEPT}\n{said}}}\n"
        path = self.folder / f"{name}.logrotate"
        path.write_text(text)
        path.chmod(0o644)

    def _configuration(self, name: str, idle_limit: float) -> Path:
        """Streams wait for one another as long as both are written: the order is that of log
        time, whoever is slow."""
        rules = "".join(f"  - {bundled_rules() / rule}\n" for rule in RULES)
        sources = "".join(f"  - path: {one}/conn.log\n" for one in self.ways)
        path = self.folder / name
        path.write_text(
            f"store: store\nsettle: 0.2\nidle_limit: {idle_limit}\nbatch: {self.batch}\n"
            f"rules:\n{rules}sources:\n{sources}"
        )
        return path

    def run(self, kills: int, seconds: float = math.inf) -> Result:
        """Kill it so many times, or as often as the time allows; then let it come to an end, and
        compare."""
        limit = time.monotonic() + seconds
        with self._writing() as writer:
            rotating = threading.Thread(target=self._rotate)
            rotating.start()
            try:
                while self.kills < kills and time.monotonic() < limit:
                    assert self.written() < self.number * len(self.ways), "no more lines"
                    self._kill()
                    self._catch_up(always=not self._room)
            finally:
                self._stop.set()
                rotating.join()
            assert writer.poll() is None, "the writer ended by itself"
        assert not self._failed, self._failed
        process = self._started(self.last, "--until-idle", "1.5")
        assert process.wait(_PATIENCE) == 0
        return self._compared()

    @contextmanager
    def _writing(self) -> Iterator[subprocess.Popen[bytes]]:
        writer = subprocess.Popen([sys.executable, str(_WRITER), str(self.folder), *self.ways])
        try:
            wait_for("the writer writes", (self.folder / "pid").exists, _PATIENCE)
            yield writer
        finally:
            writer.terminate()
            writer.wait(60)

    def _started(self, config: Path, *more: str) -> subprocess.Popen[bytes]:
        with (self.folder / "said").open("ab") as said:
            return start("run", "-c", str(config), *more, stderr=said)

    def _kill(self) -> None:
        begun = time.monotonic()
        process = self._started(self.config)
        try:
            if self.chance.random() < 0.25:
                time.sleep(self.chance.uniform(0.0, self._begin))
                self.early += not running(self.store, process.pid)
            else:
                self._until_running(process)
                self._begin = time.monotonic() - begun
                time.sleep(self.chance.uniform(0.0, 0.5))
        finally:
            code = process.poll()
            process.kill()
            process.wait(60)
        self._note("killed")
        assert code is None, f"it ended by itself with {code}: {self.said()}"
        self.kills += 1

    def _until_running(self, process: subprocess.Popen[bytes]) -> None:
        def settled() -> bool:
            return running(self.store, process.pid) or process.poll() is not None

        wait_for("it runs", settled, _PATIENCE)

    def _catch_up(self, *, always: bool) -> None:
        """Let it read all that is there now and then: logrotate deletes the oldest pieces."""
        if not always and all(self._room.get(name, _ROOM) > 0 for name in self.ways):
            return
        process = self._started(self.config)
        try:
            wanted = self.written()
            read = partial(self._has_read, wanted, process)
            wait_for("it has read what is there", read, _PATIENCE)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(60)
        self._note("read all, killed")
        self.kills += 1
        self._room = dict.fromkeys(self.ways, _ROOM)
        totals = self.totals()
        assert totals["events"] == totals["stored"], f"read again: {totals}"
        assert totals["late"] == totals["duplicates"] == totals["rejects"] == 0, totals

    def _has_read(self, wanted: int, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, self.said()
        return self.counted() >= wanted

    def _rotate(self) -> None:
        chance = random.Random(self.seed)
        while not self._stop.wait(chance.uniform(0.2, 1.2)):
            name = chance.choice(list(self.ways))
            if self._room.get(name, 0) <= 0:
                continue
            self._room[name] -= 1
            command = [str(logrotate()), "-f", "-s", f"{name}.state", f"{name}.logrotate"]
            done = subprocess.run(
                command,
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=_PATIENCE,
                check=False,
            )
            if done.returncode != 0:
                self._failed.append(done.stderr)
                return
            self.rotations += 1
            self._note(f"rotated {name}")

    def _note(self, what: str) -> None:
        """What happened when, to be read when something is wrong."""
        with (self.folder / "said").open("a") as said:
            said.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {what}\n")

    def written(self) -> int:
        """Lines of all logs."""
        return sum(self._written(name) for name in self.ways)

    def _written(self, name: str) -> int:
        return int((self.folder / f"{name}.written").read_text())

    def counted(self) -> int:
        """Records that are committed, by the run's own count."""
        return self.totals().get("events", 0)

    def totals(self) -> dict[str, int]:
        """What is committed, by the run's own count."""
        found = f"file:{self.store}/catalogue.sqlite?mode=ro"
        try:
            with closing(sqlite3.connect(found, uri=True)) as database:
                row = database.execute(
                    "SELECT value FROM positions WHERE key = 'totals'"
                ).fetchone()
        except sqlite3.OperationalError:
            return {}
        return {} if row is None else dict(json.loads(row[0]))

    def said(self) -> str:
        """What it wrote to standard error."""
        return (self.folder / "said").read_text()[-4_000:]

    def _compared(self) -> Result:
        """Against a replay of the same lines, each log in one file."""
        paths = []
        for name in self.ways:
            path = self.folder / "whole" / name / "conn.log"
            path.parent.mkdir(parents=True)
            made = (self.folder / f"{name}.lines").read_bytes().splitlines(keepends=True)
            path.write_bytes(header() + b"".join(made[: self._written(name)]))
            paths.append(path)
        replayed(
            paths, self.folder / "replayed", load_rules([bundled_rules() / one for one in RULES])
        )
        wanted, wanted_alerts = stored(self.folder / "replayed")
        found, alerts = stored(self.store)
        return Result(
            self.kills,
            self.early,
            self.written(),
            self.rotations,
            len(set(wanted) - set(found)),
            len(found) - len(set(found)),
            alerts == wanted_alerts,
            self.counted(),
        )
