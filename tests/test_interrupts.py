"""Ctrl-C ends a command that reads or waits, whatever its threads are at."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

SAMPLES = Path(__file__).resolve().parent.parent / "sample_logs" / "incident"
COMMAND = [sys.executable, "-c", "from connwatch.command import main; main()"]


def interrupted(arguments: list[str], given: bytes, times: int | None) -> int:
    """The exit code of a command that is given so many bytes (None: without end), and then Ctrl-C,
    while its input stays open."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    pipe = process.stdin
    written = threading.Event()

    def write() -> None:
        left = times
        with suppress(BrokenPipeError):
            while left is None or left > 0:
                pipe.write(given)
                pipe.flush()
                left = None if left is None else left - 1
                if left is None:
                    written.set()
        written.set()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    assert written.wait(60)
    time.sleep(2)  # it has begun to read, or to wait; before, Ctrl-C would have nothing to show
    process.send_signal(signal.SIGINT)
    code = process.wait(60)
    writer.join(60)
    with suppress(BrokenPipeError):
        pipe.close()
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        assert b"Traceback" not in process.stderr.read()
    return code


def _cases() -> list[object]:
    """Name of a sample, and how often it comes; the first three by `make test`."""
    quick = [("conn.log", 0), ("tcpdump.txt", 30), ("conn.log", None)]
    every = [(name, times) for name in ("conn.log", "tcpdump.txt") for times in (0, 1, 30, None)]
    slow = [pytest.param(*case, marks=pytest.mark.slow) for case in every if case not in quick]
    return [*quick, *slow]


@pytest.mark.parametrize(("name", "times"), _cases())
def test_a_replay_of_a_pipe_that_stays_open(tmp_path: Path, name: str, times: int | None) -> None:
    given = (SAMPLES / name).read_bytes()
    arguments = ["replay", "-", "--store", str(tmp_path / "store")]
    assert interrupted(arguments, given, times) == 130


def test_a_search_on_a_server_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert interrupted(["search", "*", "--elasticsearch", url], b"", 0) == 130
