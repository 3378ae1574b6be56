"""The bytes of a piece, by offset in the decompressed content: plain, compressed, or a pipe."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import Final, Protocol

from connwatch.errors import InputError

from ..blocks import BOMB_FROM, RATIO_CAP
from ..opening import STDIN, Opened, compression

_STEP: Final = 1 << 20


class Content(Protocol):
    """at: up to `size` bytes from `offset`; fewer mean that there are no more at present.

    ended: nothing can follow. failure: why it cannot be read any further as it is now.
    descriptor: of the open file. packed: compressed.
    """

    descriptor: int
    ended: bool
    failure: InputError | None
    packed: bool

    def at(self, offset: int, size: int) -> bytes: ...

    def close(self) -> None: ...


class Plain:
    """A plain file; every read asks the file itself."""

    packed = False

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.ended = False
        self.failure: InputError | None = None

    def at(self, offset: int, size: int) -> bytes:
        data = os.pread(self.descriptor, size, offset)
        if not data or len(data) == size:
            return data
        parts = [data]
        left, offset = size - len(data), offset + len(data)
        while left and (data := os.pread(self.descriptor, left, offset)):
            parts.append(data)
            left -= len(data)
            offset += len(data)
        return b"".join(parts)

    def close(self) -> None:
        os.close(self.descriptor)


class Packed:
    """A compressed file, unpacked in order; going back begins again.

    Where the file ends early `failure` says so: it may still be written. `again` tries anew.
    """

    packed = True

    def __init__(self, descriptor: int, path: str) -> None:
        self.descriptor = descriptor
        self._path = path
        self._opened: Opened | None = None
        self.again()

    def again(self) -> None:
        self._close()
        self.ended = False
        self.failure: InputError | None = None
        self._base = 0
        self._held = b""

    @property
    def taken(self) -> int:
        """Bytes read from disk."""
        return self._opened.taken if self._opened is not None else 0

    def at(self, offset: int, size: int) -> bytes:
        if offset < self._base:
            self.again()
        while offset > self._base + len(self._held):
            self._base += len(self._held)
            self._held = self._read(_STEP)
            if not self._held:
                return b""
        if offset > self._base:
            self._held = self._held[offset - self._base :]
            self._base = offset
        while len(self._held) < size and (part := self._read(size - len(self._held))):
            self._held += part
        return self._held[:size]

    def _read(self, size: int) -> bytes:
        if self.ended or self.failure is not None:
            return b""
        try:
            if self._opened is None:
                self._opened = Opened(self._path, self.descriptor)
            data = self._opened.read(size)
        except InputError as error:
            self.failure = error
            return b""
        given = self._base + len(self._held) + len(data)
        if given > BOMB_FROM and given > RATIO_CAP * self._opened.taken:
            self.failure = InputError(
                f"decompresses to more than {RATIO_CAP} times its size",
                where=self._path,
                hint="decompress it yourself if you trust it",
            )
            return b""
        self.ended = not data
        return data

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def close(self) -> None:
        self._close()
        os.close(self.descriptor)


class Pipe:
    """Standard input or a named pipe: what has come and was not taken yet is held."""

    packed = False

    def __init__(self, path: str) -> None:
        self.failure: InputError | None = None
        self.ended = False
        self._own = path != STDIN
        # Open for writing too: so a named pipe does not end when its writers go.
        mode = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
        self.descriptor = os.open(path, mode) if self._own else _stdin()
        self._base = 0
        self._held = b""

    def at(self, offset: int, size: int) -> bytes:
        if offset > self._base:
            self._held = self._held[offset - self._base :]
            self._base = offset
        while len(self._held) < size and not self.ended and self._ready():
            try:
                part = os.read(self.descriptor, size - len(self._held))
            except BlockingIOError:
                break
            self.ended = not part
            self._held += part
        return self._held[:size]

    def _ready(self) -> bool:
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        if self._own:
            os.close(self.descriptor)


def _stdin() -> int:
    try:
        return sys.stdin.fileno()
    except (AttributeError, ValueError, io.UnsupportedOperation) as error:
        raise OSError("there is no standard input") from error


def open_content(path: str) -> Plain | Packed:
    """Open a regular file; OSError as the system gives it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        start = os.pread(descriptor, 8, 0)
    except OSError:
        os.close(descriptor)
        raise
    return Packed(descriptor, path) if compression(start) else Plain(descriptor)
