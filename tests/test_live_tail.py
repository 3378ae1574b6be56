"""`connwatch tail`: alerts as they come, from a file, a named pipe and standard input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import pytest
from live_process import PATIENCE
from live_support import header, lines, start

from connwatch.pipeline import bundled_rules

SCAN = str(bundled_rules() / "scan")


@contextmanager
def tailing(*arguments: str, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    process = start(
        "tail", "--rules", SCAN, *arguments,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=60)


def printed(process: subprocess.Popen[bytes]) -> Queue[bytes]:
    """Its lines, as they come."""
    found: Queue[bytes] = Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            found.put(line)

    threading.Thread(target=read, daemon=True).start()
    return found


def ends_quietly(process: subprocess.Popen[bytes], code: int) -> None:
    assert process.wait(PATIENCE) == code
    assert process.stderr is not None
    assert process.stderr.read() == b""


def test_alerts_of_a_file_come_while_it_is_written(tmp_path: Path) -> None:
    log = tmp_path / "conn.log"
    made = lines(600)
    log.write_bytes(header())
    with tailing(str(log), "--json") as process:
        found = printed(process)
        with log.open("ab") as out:
            out.write(b"".join(made))
        alert = json.loads(found.get(timeout=PATIENCE))
        assert alert["event"]["kind"] == "alert"
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        ends_quietly(process, 0)


def test_alerts_of_a_named_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with tailing(str(pipe)) as process:
        found = printed(process)
        with pipe.open("wb") as out:
            out.write(header() + b"".join(lines(600)))
            out.flush()
            line = found.get(timeout=PATIENCE).decode()
        assert line.startswith("2026-11-18T")
        process.send_signal(signal.SIGINT)
        ends_quietly(process, 0)


@pytest.mark.parametrize("more", [(), ("--until-idle", "30")])
def test_alerts_of_standard_input_and_its_end(more: tuple[str, ...]) -> None:
    with tailing("-", "--json", *more, stdin=subprocess.PIPE) as process:
        found = printed(process)
        assert process.stdin is not None
        process.stdin.write(header() + b"".join(lines(600)))
        process.stdin.flush()
        assert json.loads(found.get(timeout=PATIENCE))["connwatch"]["count"] > 0
        process.stdin.close()
        process.stdin = None
        ends_quietly(process, 0)


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_reader_that_goes_ends_it(tmp_path: Path, more: tuple[str, ...]) -> None:
    """As `| head -1` does, also when no alert comes after that."""
    log = tmp_path / "conn.log"
    log.write_bytes(header() + b"".join(lines(600)))
    with tailing(str(log), *more) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        process.stdout = None
        ends_quietly(process, 141)
