"""Commands that are run at an interval: their output is a log, under the time of each start.

A run that fails, takes too long or says too much is a gap: of it there is a comment alone, since
half a table would look like sockets that are gone.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Final

from connwatch.errors import InputError

from .content import Pipe

#: bytes that one run may write, and how many are told of what it says of itself
LIMIT: Final = 16 << 20
_SAID: Final = 200
_READ: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Command:
    """words: program and arguments, as they are, for no shell sees them. interval, timeout: s."""

    words: tuple[str, ...]
    interval: float
    timeout: float


class CommandOutput(Pipe):
    """What a command writes, run after run. problem: why the last run was none, and how many were
    none so far; None: it was one."""

    def __init__(self, command: Command) -> None:
        self.failure: InputError | None = None
        self.ended = False
        self.problem: str | None = None
        self._command = command
        self._gaps = 0
        self._told = False
        self._own = True
        self._base = 0
        self._held = b""
        self.descriptor, self._writer = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.descriptor, False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="command", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, and the command with it, should it be running."""
        self._stop.set()
        os.close(self.descriptor)
        self._thread.join()

    def _run(self) -> None:
        following = time.monotonic()
        with suppress(BrokenPipeError):  # nobody reads any more
            while not self._stop.wait(max(0.0, following - time.monotonic())):
                begun = datetime.now(UTC)
                output, problem = _output(self._command, self._stop)
                if self._stop.is_set():
                    break
                # Comments alone would look like the output of a program that nobody knows.
                if problem is None or self._told:
                    self._write(_framed(self._command, begun, output, problem))
                    self._told = True
                self._gaps += problem is not None
                self.problem = problem and f"{problem} ({self._gaps} runs without a result)"
                late = time.monotonic() - following
                following += self._command.interval * max(1, -(-late // self._command.interval))
        os.close(self._writer)

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._writer, data) :]


def _framed(command: Command, begun: datetime, output: bytes, problem: str | None) -> bytes:
    """A snapshot between two lines such as `watch` writes, which tell host and time; the second one
    says that it is whole."""
    time = f"{begun:%Y-%m-%dT%H:%M:%S.%fZ}"
    if problem is not None:
        said = " ".join(problem.split())
        return f"# {time}: {said}\n".encode(errors="replace")
    program, host = (
        re.sub(r"[^A-Za-z0-9.-]", "_", name)
        for name in (PurePath(command.words[0]).name, socket.gethostname())
    )
    line = f"Every {command.interval:.1f}s: {program} {host}: {time}\n".encode()
    return line + output + (b"" if output.endswith(b"\n") else b"\n") + line


def _output(command: Command, stop: threading.Event) -> tuple[bytes, str | None]:
    """What one run wrote; or why that is of no use."""
    try:
        process = subprocess.Popen(  # noqa: S603  the configuration says what to run; no shell
            command.words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
        )
    except OSError as error:
        return b"", f"cannot be run: {error.strerror or error}"
    except ValueError as error:  # a NUL among the words
        return b"", f"cannot be run: {error}"
    with process:
        try:
            output, said, problem = _read(process, command.timeout, stop)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    if problem is None and code != 0:
        told = said[-_SAID:].decode(errors="replace").strip()
        problem = f"ended with {code}: {told}" if told else f"ended with {code}"
    if problem is None and not output.strip():
        problem = "wrote nothing"
    return output, problem


def _read(
    process: subprocess.Popen[bytes], timeout: float, stop: threading.Event
) -> tuple[bytes, bytes, str | None]:
    """What a process writes until it ends, what it says of itself, and why it is of no use."""
    limit = time.monotonic() + timeout
    parts: dict[int, list[bytes]] = {}
    size = 0
    with selectors.DefaultSelector() as selector:
        streams = [one for one in (process.stdout, process.stderr) if one is not None]
        for one in streams:
            selector.register(one, selectors.EVENT_READ)
            parts[one.fileno()] = []
        output, said = parts.values()
        while selector.get_map():
            if time.monotonic() > limit:
                return b"", b"", f"took longer than {timeout:g} s"
            if stop.is_set():
                return b"", b"", "stopped"
            for key, _ in selector.select(0.1):
                data = os.read(key.fd, _READ)
                size += len(data)
                parts[key.fd].append(data)
                if size > LIMIT:
                    return b"", b"", f"wrote more than {LIMIT >> 20} MiB"
                if not data:
                    selector.unregister(key.fileobj)
    try:
        process.wait(max(0.1, limit - time.monotonic()))
    except subprocess.TimeoutExpired:
        return b"", b"", f"took longer than {timeout:g} s"
    return b"".join(output), b"".join(said), None
