"""The real logrotate, in each of its ways, while a writer writes and while nothing reads."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
from follow_support import Reader, header, row, rows, write

LOGROTATE = shutil.which("logrotate", path="/usr/sbin:/usr/bin:/sbin:/bin")

pytestmark = pytest.mark.skipif(
    LOGROTATE is None, reason="NO LOGROTATE: rotation is not tested with the real tool; install it"
)

WAYS = {
    "create": "create",
    "nocreate": "nocreate",
    "copytruncate": "copytruncate",
    "compress": "create\n  compress",
    "delaycompress": "create\n  compress\n  delaycompress",
    "copytruncate, compress": "copytruncate\n  compress",
    "zstd": "create\n  compress\n  compresscmd /usr/bin/zstd\n  compressext .zst\n  compressoptions -q --rm",
    "xz": "create\n  compress\n  compresscmd /usr/bin/xz\n  compressext .xz",
    "dateext": "create\n  dateext\n  dateformat -%Y%m%d-%s\n  compress",
    "olddir": "create\n  olddir old\n  createolddir 755",
}


class Rotation:
    def __init__(self, folder: Path, log: Path, way: str) -> None:
        self.state = folder / "state"
        self.config = folder / "logrotate.conf"
        self.config.write_text(f"su root root\n{log} {{\n  rotate 1000\n  missingok\n  {way}\n}}\n")
        self.config.chmod(0o644)

    def __call__(self) -> None:
        assert LOGROTATE is not None
        done = subprocess.run(
            [LOGROTATE, "--force", "--state", str(self.state), str(self.config)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.fixture(params=sorted(WAYS))
def way(request: pytest.FixtureRequest) -> str:
    command = {"zstd": "zstd", "xz": "xz"}.get(str(request.param), "gzip")
    if shutil.which(command) is None:
        pytest.skip(f"no {command}")
    return str(request.param)


def setup(tmp_path: Path, way: str) -> tuple[Path, Rotation, Reader]:
    folder = tmp_path / "logs"
    log = write(folder / "conn.log", header() + rows(0, 50))
    folder.chmod(0o755)
    reader = Reader(log, archives=(str(folder / "old"),))
    return log, Rotation(tmp_path, log, WAYS[way]), reader


def hour(number: int, way: str) -> str:
    """What begins the next file: a copied one has no header of its own."""
    return "" if "copytruncate" in way else header(f"2026-11-20-{number:02}-00-00")


def test_while_it_is_followed(tmp_path: Path, way: str) -> None:
    log, rotate, reader = setup(tmp_path, way)
    reader.take()
    for number in range(4):
        if number % 2:
            reader.take()
        start = 50 + 20 * number
        write(log, rows(start, start + 10))
        rotate()
        if way == "dateext":
            time.sleep(1.1)
        write(log, hour(11 + number, way) + rows(start + 10, start + 20))
        if number != 2:
            reader.take()
    reader.settled()
    assert reader.numbers() == list(range(130))
    reader.restart()
    assert reader.settled() == []


def test_while_nothing_reads(tmp_path: Path, way: str) -> None:
    log, rotate, reader = setup(tmp_path, way)
    reader.take(size=300, limit=2)
    for number in range(3):
        write(log, rows(50 + 10 * number, 60 + 10 * number))
        rotate()
        if way == "dateext":
            time.sleep(1.1)
        write(log, hour(11 + number, way))
    reader.restart()
    write(log, rows(80, 90))
    reader.settled()
    assert reader.numbers() == list(range(90))
    reader.restart()
    assert reader.settled() == []


@pytest.mark.parametrize("way", ["create", "delaycompress", "copytruncate, compress"])
def test_a_writer_that_never_pauses(tmp_path: Path, way: str) -> None:
    """Copytruncate loses what is written between its copy and its truncate: so the writer waits."""
    log, rotate, reader = setup(tmp_path, way)
    rotating, total = threading.Lock(), 6000
    reopen = threading.Event()

    def writes() -> None:
        out = log.open("a", buffering=1)
        for number in range(50, total):
            with rotating:
                if reopen.is_set():
                    out.close()
                    out = log.open("a", buffering=1)
                    out.write(hour(11, way))
                    reopen.clear()
                text = row(number)
                out.write(text[: number % 30])
                out.flush()
                out.write(text[number % 30 :])
            if number % 200 == 0:
                time.sleep(0.01)
        out.close()

    writer = threading.Thread(target=writes)
    writer.start()
    rotations = 0
    while writer.is_alive():
        reader.take(size=5000, limit=20)
        if rotations < 8:
            if "copytruncate" in way:
                with rotating:
                    rotate()
            elif not reopen.is_set():
                rotate()
                reopen.set()
            rotations += 1
        if rotations == 4:
            reader.restart()
    writer.join()
    reader.settled()
    assert sorted(reader.numbers()) == list(range(total))
