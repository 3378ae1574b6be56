"""Commands whose output is a log: run at an interval, under the time of each start; or running on.

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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from typing import IO, Final

from connwatch.errors import InputError

from .content import Pipe

#: bytes that one run may write, and how many are told of what it says of itself
LIMIT: Final = 16 << 20
_SAID: Final = 200
_READ: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Command:
    """words: program and arguments, as they are, for no shell sees them. interval, timeout: s.
    runs_on: it does not end, and is started again after the interval if it does."""

    words: tuple[str, ...]
    interval: float
    timeout: float
    runs_on: bool = False


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
        with suppress(BrokenPipeError):  # nobody reads any more
            if self._command.runs_on:
                self._run_on()
            else:
                self._run_again()
        os.close(self._writer)

    def _run_on(self) -> None:
        """Let it write, and start it again when it ends, which is a gap."""
        while not self._stop.is_set():
            try:
                process = _started(self._command, self._writer)
            except _NotRunError as error:
                self._failed(str(error))
            else:
                self._failed(self._outlived(process))
                self._write(b"\n")  # its last line may not have been whole
            self._stop.wait(self._command.interval)

    def _outlived(self, process: subprocess.Popen[bytes]) -> str:
        """Wait until it ends, or is not wanted any more; how it ended."""
        healed = time.monotonic() + self._command.interval
        said = b""
        with _killed(process), selectors.DefaultSelector() as selector:
            if process.stderr is not None:
                selector.register(process.stderr, selectors.EVENT_READ)
            while process.poll() is None and not self._stop.wait(0.02):
                for key, _ in selector.select(0.1):
                    data = os.read(key.fd, _READ)
                    said = (said + data)[-_SAID:]
                    if not data:
                        selector.unregister(key.fileobj)
                if time.monotonic() > healed:
                    self.problem = None
            if selector.get_map():  # it ended before all was read; what it started may write on
                said = (said + _left(process.stderr))[-_SAID:]
        return _ended(process.wait(), said)

    def _failed(self, problem: str | None) -> None:
        self._gaps += problem is not None
        self.problem = problem and f"{problem} ({self._gaps} runs without a result)"

    def _run_again(self) -> None:
        following = time.monotonic()
        while not self._stop.wait(max(0.0, following - time.monotonic())):
            begun = datetime.now(UTC)
            output, problem = _output(self._command, self._stop)
            if self._stop.is_set():
                break
            # Comments alone would look like the output of a program that nobody knows.
            if problem is None or self._told:
                self._write(_framed(self._command, begun, output, problem))
                self._told = True
            self._failed(problem)
            late = time.monotonic() - following
            following += self._command.interval * max(1, -(-late // self._command.interval))

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


def _left(stream: IO[bytes] | None) -> bytes:
    """What of the end of a pipe can be read without waiting."""
    if stream is None:
        return b""
    os.set_blocking(stream.fileno(), False)
    try:
        return os.read(stream.fileno(), _READ)
    except BlockingIOError:
        return b""


class _NotRunError(Exception):
    """A command that cannot be started, and why."""


def _started(command: Command, output: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603  the configuration says what to run; no shell
            command.words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
        )
    except OSError as error:
        raise _NotRunError(f"cannot be run: {error.strerror or error}") from error
    except ValueError as error:  # a NUL among the words
        raise _NotRunError(f"cannot be run: {error}") from error


@contextmanager
def _killed(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """With the end it ends, and all that it started."""
    with process:
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _ended(code: int, said: bytes) -> str:
    told = said[-_SAID:].decode(errors="replace").strip()
    return f"ended with {code}: {told}" if told else f"ended with {code}"


def _output(command: Command, stop: threading.Event) -> tuple[bytes, str | None]:
    """What one run wrote; or why that is of no use."""
    try:
        process = _started(command, subprocess.PIPE)
    except _NotRunError as error:
        return b"", str(error)
    with _killed(process):
        output, said, problem = _read(process, command.timeout, stop)
    code = process.wait()
    if problem is None and code != 0:
        problem = _ended(code, said)
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
