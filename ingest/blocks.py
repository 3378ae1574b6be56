"""A source as blocks of complete lines, with bounds on everything that a hostile file could grow.

A line longer than `LINE_CAP` is never held in memory: its beginning comes as a block of its own
with `overlong` set, and the rest of it is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from connwatch.contracts import Block
from connwatch.errors import InputError

from .opening import Opened
from .rejects import KEPT

#: bytes: larger blocks take more memory and are read no faster
SIZE: Final = 4 << 20
LINE_CAP: Final = 1 << 20
#: a file may decompress to this many times its size, once it has given BOMB_FROM bytes
RATIO_CAP: Final = 1000
BOMB_FROM: Final = 256 << 20


def blocks(
    source: Opened,
    head: bytes = b"",
    *,
    size: int = SIZE,
    line_cap: int = LINE_CAP,
    bomb_from: int = BOMB_FROM,
) -> Iterator[Block]:
    """The blocks of a source; `head` was read from it before. The last one has `last` set, and may
    be empty.

    Raises InputError when the source is damaged, became shorter or is a decompression bomb, after
    all that could be read was given.
    """
    carry, offset, line = head, 0, 1
    given = len(head)
    failure: InputError | None = None
    while True:
        try:
            data = source.read(size)
            given += len(data)
            _check(source, given, bomb_from)
        except InputError as error:
            data, failure = b"", error
        end = not data
        cut = data.rfind(b"\n") + 1
        if not cut:
            data, carry = carry + data, b""
            cut = len(data) if end else data.rfind(b"\n") + 1
        whole, carry = b"".join((carry, memoryview(data)[:cut])), data[cut:]
        for block in _bounded(source.path, whole, offset, line, end, line_cap):
            line = block.line + block.lines
            yield block
        offset += len(whole)
        if end:
            break
        if len(carry) > line_cap:
            yield Block(source.path, carry[:KEPT], offset, line, False, overlong=True)
            skipped, carry = _skip(source, len(carry), size)
            offset += skipped
            given += skipped
            line += 1
    plain = source.size is not None and not source.compression
    if failure is None and plain and source.taken < (source.size or 0):
        failure = InputError(
            f"became shorter while it was read ({source.taken:,} of {source.size:,} bytes)",
            where=source.path,
            hint="read it again when nothing writes to it",
        )
    if failure is not None:
        raise failure


def _bounded(
    path: str, data: bytes, offset: int, line: int, last: bool, cap: int
) -> Iterator[Block]:
    """`data` with its overlong lines cut out; a chunk without any is one block."""
    start = position = 0
    while True:
        long = overlong(data, position, cap)
        if long is None:
            break
        begin, end = long
        if begin > start:
            yield Block(path, data[start:begin], offset + start, line, False)
            line += data.count(b"\n", start, begin)
        yield Block(path, data[begin : begin + KEPT], offset + begin, line, False, overlong=True)
        line += 1
        start = position = end
    if start < len(data) or last:
        yield Block(path, data[start:] if start else data, offset + start, line, last)


def overlong(data: bytes, position: int, cap: int) -> tuple[int, int] | None:
    """The first line from `position` (a line's begin) that is longer than `cap`: begin and end."""
    while position < len(data):
        # Jump as far as a line may reach, then back to the last newline on the way.
        newline = data.rfind(b"\n", position, position + cap + 1)
        if newline < 0:
            end = data.find(b"\n", position)
            end = len(data) if end < 0 else end + 1
            return (position, end) if end - position > cap else None
        position = newline + 1
    return None


def _skip(source: Opened, held: int, size: int) -> tuple[int, bytes]:
    """Read on to the end of the line: how many bytes that line has in all, and what follows it."""
    passed = held
    while data := source.read(size):
        newline = data.find(b"\n")
        if newline >= 0:
            return passed + newline + 1, data[newline + 1 :]
        passed += len(data)
    return passed, b""


def _check(source: Opened, given: int, bomb_from: int) -> None:
    if source.compression and given > bomb_from and given > RATIO_CAP * source.taken:
        raise InputError(
            f"decompresses to more than {RATIO_CAP} times its size",
            where=source.path,
            hint="decompress it yourself if you trust it",
        )
