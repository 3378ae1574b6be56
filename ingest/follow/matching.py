"""Whether a file that was not seen before holds a piece that was: a copy, compressed, restored."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from .content import Content, open_content
from .look import first_line
from .piece import Piece
from .trace import OtherContentError

_STEP = 1 << 20


class Holds(enum.Enum):
    """SAME: all that was read of the piece, and perhaps more. PART: its beginning, as far as the
    file goes. OTHER: something else."""

    SAME = enum.auto()
    PART = enum.auto()
    OTHER = enum.auto()


def match(
    content: Content, head: bytes, first: str, pieces: Iterable[Piece]
) -> tuple[Piece, Holds] | None:
    """The piece that the content is of; the one that was read furthest, if it could be several.

    head: the first bytes; first: `look.first_line` of them. After SAME the piece can `take` it.
    """
    # The only record may have no newline: then a piece that was finished knows it, as a whole line.
    firsts = {first, first_line(head + b"\n")} - {""}
    likely = [p for p in pieces if p.look.first in firsts or not p.look.first]
    part: Piece | None = None
    for piece in sorted(likely, key=lambda p: p.offset, reverse=True):
        found = _holds(content, head, piece) if piece.started else _unread(head, piece)
        if found is Holds.SAME:
            return piece, found
        if found is Holds.PART and part is None:
            part = piece
    return (part, Holds.PART) if part is not None else None


def _holds(content: Content, head: bytes, piece: Piece) -> Holds:
    if not piece.trace.fits(head):
        return Holds.OTHER
    try:
        short = not piece.recognise(content)
    except OtherContentError:
        return Holds.OTHER
    if not short:
        return Holds.SAME
    reference = _beginning(piece, len(head))
    if reference is None:
        return Holds.PART if piece.look.first else Holds.OTHER
    return Holds.PART if reference.startswith(head[: len(reference)]) else Holds.OTHER


def _unread(head: bytes, piece: Piece) -> Holds:
    """Of a piece of which nothing was read yet, its file can be compared, if it is there."""
    if piece.lost:
        return Holds.SAME if piece.look.first else Holds.OTHER
    reference = _beginning(piece, len(head))
    if reference is None:
        return Holds.OTHER
    size = min(len(reference), len(head))
    return Holds.PART if reference[:size] == head[:size] else Holds.OTHER


def _beginning(piece: Piece, size: int) -> bytes | None:
    """The first bytes of the piece's own file; None if it cannot be read."""
    try:
        content = piece.content or open_content(piece.path)
    except OSError:
        return None
    if piece.content is not None and piece.content.packed:
        return None
    try:
        if not piece.is_in(content):
            return None
        return content.at(0, size) or None
    except OSError:
        return None
    finally:
        if content is not piece.content:
            content.close()


def counted_lines(content: Content, offset: int) -> int:
    """Newlines before this offset."""
    position = lines = 0
    while position < offset:
        data = content.at(position, min(_STEP, offset - position))
        if not data:
            break
        position += len(data)
        lines += data.count(b"\n")
    return lines


def end_of_lines(content: Content, size: int) -> int:
    """The offset behind the last newline of a plain file of this size."""
    position = size
    while position > 0:
        begin = max(position - _STEP, 0)
        newline = content.at(begin, position - begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        position = begin
    return 0
