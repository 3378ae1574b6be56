"""The end of a file: its last record's log time and when it was closed."""

from __future__ import annotations

from connwatch.contracts import Block
from connwatch.errors import InputError
from connwatch.schema import DERIVED

from .files import HEAD, Source, Tail
from .opening import Opened


def read_tail(source: Source) -> Tail:
    """The tail of a file; unknown for a pipe and for a file that is damaged before its end.

    A compressed file is decompressed for it as a whole, which is why this is asked only when
    several files of one folder could be pieces of one log.
    """
    if source.stream is not None:
        return Tail(None, None)
    if source.tail is not None:
        return source.tail
    opened = Opened(source.path)
    try:
        head = opened.read(HEAD)
        if not opened.compression and opened.size is not None and opened.size > 2 * HEAD:
            opened.seek(opened.size - HEAD)
        tail = head
        while part := opened.read(16 * HEAD):
            tail = (tail + part)[-HEAD:]
    except InputError:
        return Tail(None, None)
    finally:
        opened.close()
    _, state = source.format.parse(
        Block(source.path, head[: head.rfind(b"\n") + 1], 0, 1, False), source.begin()
    )
    whole = tail[tail.find(b"\n") + 1 :] if len(tail) == HEAD else tail
    parsed, _ = source.format.parse(Block(source.path, whole, 0, 1, True), state)
    closed = source.format.closed(tail)
    if parsed.events.is_empty():
        return Tail(None, closed)
    last = parsed.events.tail(1).select(DERIVED["event.end"].dt.epoch("us")).item()
    return Tail(int(last), closed)
