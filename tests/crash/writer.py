"""A program that writes logs as a sensor does, and is told of rotations by logrotate's scripts.

    python writer.py FOLDER NAME...

It takes the lines of FOLDER/NAME.lines and writes them to FOLDER/NAME/conn.log, in step, in pieces
of any size, until SIGTERM; FOLDER/NAME.written then says how many. SIGHUP makes it open its logs
again, as daemons do, and FOLDER/NAME.reopened says that it has. While there is FOLDER/NAME.pause,
it writes nothing to that log, and FOLDER/NAME.paused says so: what is written between the copy and
the truncation of copytruncate is lost by that tool, not by who reads the log.

It imports nothing but the standard library: it is there at once, and stays out of the way.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

_BEGUN = datetime(2026, 11, 19, tzinfo=UTC)
#: lines that a log may be ahead of the others
_STEP = 40


class Log:
    """One log: its lines, the file, and the notes that are exchanged with logrotate's scripts."""

    def __init__(self, folder: Path, name: str, chance: random.Random) -> None:
        self.path = folder / name / "conn.log"
        self.header = (folder / f"{name}.header").read_bytes()
        self.lines = (folder / f"{name}.lines").read_bytes().splitlines(keepends=True)
        self.count = 0
        self.reopen = False
        self._note = folder / name
        self._chance = chance
        self._open()

    def _open(self) -> None:
        self.descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        if os.fstat(self.descriptor).st_size == 0:
            opened = _BEGUN + timedelta(seconds=self.count)
            told = f"{opened:%Y-%m-%d-%H-%M-%S}".encode()
            os.write(self.descriptor, self.header.replace(b"OPENED", told))

    def note(self, what: str) -> Path:
        return self._note.with_name(f"{self._note.name}.{what}")

    def is_held(self) -> bool:
        """Answer the scripts; whether nothing may be written now."""
        if self.reopen:
            self.reopen = False
            os.close(self.descriptor)
            self._open()
            self.note("reopened").touch()
        held = self.note("pause").exists()
        if held:
            self.note("paused").touch()
        else:
            self.note("paused").unlink(missing_ok=True)
        return held

    def write(self, most: int) -> None:
        """Some lines, at most so many, now and then with a pause within one."""
        number = min(most, self._chance.choice([1, 1, 3, 10, 40]))
        data = b"".join(self.lines[self.count : self.count + number])
        cut = self._chance.randrange(len(data) + 1) if self._chance.random() < 0.2 else 0
        for part in (data[:cut], data[cut:]):
            if part and os.write(self.descriptor, part) != len(part):
                raise OSError(f"{self.path}: not written whole")
            if cut and part is not data:
                time.sleep(0.002)
        self.count += number
        self.tell()

    def tell(self) -> None:
        self.note("next").write_text(str(self.count))
        self.note("next").replace(self.note("written"))


def main(folder: Path, names: list[str]) -> None:
    chance = random.Random(" ".join(names))
    logs = [Log(folder, name, chance) for name in names]
    stop = False

    def ended(number: int, frame: FrameType | None) -> None:
        nonlocal stop
        stop = True

    def reopened(number: int, frame: FrameType | None) -> None:
        for log in logs:
            log.reopen = True

    signal.signal(signal.SIGTERM, ended)
    signal.signal(signal.SIGHUP, reopened)
    for log in logs:
        log.tell()
    (folder / "pid.next").write_text(str(os.getpid()))
    (folder / "pid.next").replace(folder / "pid")
    while not stop:
        free = [log for log in logs if not log.is_held()]
        limit = min(log.count for log in logs) + _STEP
        room = [(log, min(limit, len(log.lines)) - log.count) for log in free]
        room = [(log, most) for log, most in room if most > 0]
        if room:
            log, most = chance.choice(room)
            log.write(most)
        time.sleep(chance.choice([0.002, 0.01, 0.01, 0.05]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
