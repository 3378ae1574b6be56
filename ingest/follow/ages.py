"""Which piece of a log was written before which."""

from __future__ import annotations

from typing import Final

from ..families import turn
from .look import Look
from .piece import Piece
from .stream import Stream

#: µs by which a younger piece may begin before an older one, as in `streams`
_SLACK: Final = 600_000_000


def is_younger(look: Look, mtime: int, than: Piece) -> bool:
    """Whether a file, written last at mtime (ns), was begun after a piece of the same log."""
    return _younger(look, mtime, than.look, than.mtime)


def _younger(one: Look, mtime: int, than: Look, than_mtime: int) -> bool:
    """Whether a file was begun after another one of the same log.

    mtime: when they were written last, ns. By what the logs say, else by these times; a file whose
    first record is more than `_SLACK` older is not.
    """
    if one.opened is not None and than.opened is not None and one.opened != than.opened:
        return one.opened > than.opened
    ends = one.first_end, than.first_end
    if ends[0] is not None and ends[1] is not None and ends[0] < ends[1] - _SLACK:
        return False
    return mtime >= than_mtime


def was_left_out(look: Look, mtime: int, stream: Stream) -> bool:
    """Whether a file was written between two pieces that were begun one right after the other.

    One that was read and forgotten leaves a gap in their numbers.
    """
    pieces = {piece.order or 0: piece for piece in stream.pieces if piece.started}
    return any(
        order - 1 in pieces
        and is_younger(look, mtime, pieces[order - 1])
        and _younger(after.look, after.mtime, look, mtime)
        for order, after in pieces.items()
    )


def in_order(stream: Stream, first: bool) -> None:
    """Sort the pieces that were not begun, oldest first.

    By what the logs say; else at the first start by their first records, as a replay does. Later
    these only tell pieces apart that lie further from one another than a record may be late; what
    is closer goes by when it was written last, and where new lines are written comes at the end.
    """
    begun = [piece for piece in stream.queue if piece.order is not None]
    rest = [piece for piece in stream.queue if piece.order is None]
    opened = all(piece.look.opened is not None for piece in rest)
    timed = all(piece.look.first_end is not None for piece in rest)
    about = _about([piece.look.first_end or 0 for piece in rest] if timed else [])

    def age(piece: Piece) -> tuple[str, bool, int, int, int, tuple[int, int, str]]:
        end, begun = piece.look.first_end or 0, (piece.look.opened or "") if opened else ""
        if first and timed:
            return begun, False, 0, end, piece.mtime, turn(piece.path)
        return begun, piece.placed, about.get(end, 0), piece.mtime, end, turn(piece.path)

    stream.queue = begun + sorted(rest, key=age)


def _about(ends: list[int]) -> dict[int, int]:
    """Times -> numbers that rise with them; the same one for those that follow closely."""
    numbers: dict[int, int] = {}
    number, before = 0, 0
    for end in sorted(ends):
        number += end - before > _SLACK
        numbers[end] = number
        before = end
    return numbers
