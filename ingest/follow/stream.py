"""One log as it is written, read through all its rotations."""

from __future__ import annotations

import math
from bisect import insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from connwatch.contracts import Block, Format
from connwatch.errors import InputError

from ..families import marked
from .piece import Piece
from .trace import OtherContentError
from .wanted import Lines, Saved

#: finished pieces that are looked at in every round, for they may still grow
_RECENT: Final = 3
#: stands for | in the folder and stem of an id
BAR: Final = "%7C"


class Host(Protocol):
    """What a stream asks of the follower."""

    settle: float

    def now(self) -> float: ...

    def displaced(self, stream: Stream, piece: Piece) -> None:
        """The piece's file holds something else now: look where its content went."""

    def found_again(self, piece: Piece) -> bool:
        """Look where the file went; False: the piece is still said to be where it is not."""

    def failed(self, piece: Piece, error: OSError | InputError) -> None: ...

    def healed(self, piece: Piece) -> None: ...


@dataclass(frozen=True, slots=True)
class _Taken:
    block: Block
    before: Saved


class Stream:
    """The pieces of one log, in the order in which they were written.

    id: `label|dataset|format|folder family|stem`, the same after a restart. source: index of its
    `Wanted`.

    queue: pieces to read one after another, the first one being read. beside: pieces that hold
    nothing up: finished ones that grew, and those that stay in place while a younger one is
    written. newest: the last piece that was begun. pieces: all that are known. recent: those
    finished last. folder, stem: of their names (`families`). header: the last one seen, which
    holds for pieces without one.
    """

    def __init__(self, name: str, dataset: str, one: Format[Any], source: int, host: Host) -> None:
        self.id = name
        self.dataset = dataset
        self.format = one
        self.source = source
        self.folder, self.stem = (p.replace(BAR, "|") for p in name.rsplit("|", 2)[1:])
        self.header = b""
        self.pieces: list[Piece] = []
        self.recent: deque[Piece] = deque(maxlen=_RECENT)
        self.queue: list[Piece] = []
        self.beside: list[Piece] = []
        self.newest: Piece | None = None
        self._given_up: list[Piece] = []  # whose end is still to be said
        self._reached = 0  # the last piece, by number, of which something was read and kept
        self._host = host

    def read(self, size: int, *, on: bool = False) -> Lines | None:
        """The next whole lines, about `size` bytes at most; None: nothing is there now.

        on: those behind what was just read; what holds nothing up is not looked at again.
        Never raises for what a file holds or for a file that is gone; that is a `Problem`.
        """
        while self._given_up:
            if (piece := self._given_up.pop()).lost:  # else it has been found again
                return self._end_of(piece)
        for _ in range(len(self.queue) + len(self.beside) + 8):
            first = self.queue[:1]
            for piece in first if on else (*self.beside, *first):
                if piece.lost or piece.done:
                    continue
                if (taken := self._from(piece, size)) is not None:
                    after = piece.record(self.id)
                    number = self.piece_id(piece)
                    modified = piece.mtime / 1e9
                    return Lines(taken.block, number, taken.before, after, modified)
            if self.queue[:1] == first and not self._goes_on():
                break
        return None

    def endings(self) -> Iterator[Lines]:
        """Blocks without data behind what was read of the pieces in hand, as at their ends."""
        for piece in (*self.beside, *self.queue[:1]):
            if piece.started and not (piece.lost or piece.done or piece.packed or piece.skipping):
                at = piece.record(self.id)
                yield Lines(piece.ending(), self.piece_id(piece), at, at, piece.mtime / 1e9)

    @property
    def pending(self) -> int:
        """Bytes known to be unread; of compressed pieces their size on disk."""
        return sum(piece.pending for piece in (*self.beside, *self.queue))

    @property
    def more(self) -> bool:
        """Whether something is known to be unread."""
        return any(piece.pending for piece in (*self.queue, *self.beside))

    @property
    def behind(self) -> bool:
        """Whether pieces wait to be read after the first one."""
        return len(self.queue) > 1

    @property
    def place(self) -> tuple[str, int, int]:
        """Where the piece in hand is, how many bytes of it were read, and how many it has: bytes on
        disk, when it is compressed."""
        piece = next(iter(self.queue or self.beside), self.newest)
        if piece is None:
            return "", 0, 0
        return piece.path, piece.size - piece.pending, piece.size

    @property
    def in_hand(self) -> Iterator[str]:
        """The pieces that may be read on."""
        return map(self.piece_id, {*self.queue, *self.beside, *self.recent})

    @property
    def live(self) -> bool:
        """Whether more may come: of a plain file at its named place or still settling, of a pipe,
        or of the next piece of a log that was at its place and has just been rotated away."""
        if self.newest is not None and self.newest.resident:
            return True
        return any(not piece.packed and not piece.done for piece in (*self.queue, *self.beside))

    @property
    def last_rotated(self) -> Piece | None:
        """The last piece that was read of and is not where new lines are written; else of all."""
        read = [p for p in self.pieces if p.order is not None and p.started]
        rotated = [p for p in read if not p.placed] or read
        return max(rotated, key=lambda p: p.order or 0, default=None)

    def piece_id(self, piece: Piece) -> str:
        return f"{self.id}#{piece.order}"

    def begin(self, piece: Piece) -> None:
        """Number a piece that is about to be read."""
        if piece.order is None:
            piece.order = 1 + (self.newest.order or 0) if self.newest else 1
        if self.newest is not None and self.newest.resident:
            piece.resident = True  # the log was at its place, wherever this piece was found
        self.note(piece)

    def note(self, piece: Piece) -> None:
        """Remember the piece that was begun last, and the last one of which something was read.
        What was read ahead before a restart, and not given on, is read again: it does not count.
        """
        if piece.offset:
            self._reached = max(self._reached, piece.order or 0)
        if self.newest is None or (piece.order or 0) > (self.newest.order or 0):
            self.newest = piece

    def enqueue(self, piece: Piece) -> None:
        """Read it in its turn, those that were begun in their order; one does not wait if something
        of a later one was read."""
        if piece in self.queue or piece in self.beside:
            return
        if piece.order is not None and piece.order < self._reached:
            self.beside.append(piece)
        else:
            insort(self.queue, piece, key=_turn)

    def _is_late(self, piece: Piece) -> bool:
        """Whether a later piece was begun already."""
        return self.newest is not None and (self.newest.order or 0) > (piece.order or 0)

    def has_record_after(self, piece: Piece) -> bool:
        """Whether lines of a later piece were read, so that the stream is known by that one too."""
        return any((o.order or 0) > (piece.order or 0) and o.started for o in self.pieces)

    def drop(self, piece: Piece) -> None:
        """Read no more of it."""
        for pieces in (self.queue, self.beside):
            if piece in pieces:
                pieces.remove(piece)

    def _from(self, piece: Piece, size: int) -> _Taken | None:
        """The next lines of one piece; finishes it when they are all read."""
        if piece.is_idle():
            return None
        self.begin(piece)
        now = self._host.now()
        final = False
        try:
            piece.open()
            piece.refresh(now)
            final = self._is_final(piece, now)
            before = piece.record(self.id)
            block = piece.read(size, final)
            if block is None and piece.ended and not final:
                final = True
                block = piece.read(size, final)
        except OtherContentError:
            self._host.displaced(self, piece)
            return None
        except FileNotFoundError as error:
            if not self._host.found_again(piece):
                self._not_readable(piece, error, now)
            return None
        except (OSError, InputError) as error:
            self._not_readable(piece, error, now)
            return None
        self.note(piece)
        self._host.healed(piece)
        holds = self.format.holds
        if block is None and holds and (final or piece.drained()):
            block = piece.ending()
        # The record of the last lines says that they are the last: then a restart need not look.
        whole = block is None or block.last or (piece.packed and not holds)
        if whole and (final or piece.drained()):
            self.finish(piece)
        return _Taken(block, before) if block is not None else None

    def _not_readable(self, piece: Piece, error: OSError | InputError, now: float) -> None:
        """Wait for a file that is being compressed; say it of others, and go on without them."""
        if isinstance(error, InputError) and now - piece.since < self._host.settle:
            return
        self._host.failed(piece, error)
        if isinstance(error, InputError):
            self.finish(piece)
        elif piece in self.queue and len(self.queue) > 1:
            self.queue.remove(piece)
            self.beside.append(piece)

    def _is_final(self, piece: Piece, now: float) -> bool:
        """Whether nothing more is written to it, so that its last line is whole as it is."""
        younger = self._has_younger(piece)
        if piece.placed and not (younger and marked(piece.path)):
            return False
        if piece.packed or piece.piped:
            return False
        settled = now - piece.since >= self._host.settle
        return settled or (younger and not piece.placed)

    def _has_younger(self, piece: Piece) -> bool:
        """Whether lines were written to a later piece."""
        if self._is_late(piece):
            return True
        return any(other.size > 0 for other in self.queue if other is not piece)

    def _goes_on(self) -> bool:
        """Whether the next piece may be read, the first one being read as far as it is there."""
        if len(self.queue) < 2 or not self.queue[0].placed:
            return False
        # It stays where it is while a younger one is written: watched, but not waited for.
        self.beside.append(self.queue.pop(0))
        return True

    def give_up(self, piece: Piece) -> None:
        """What is left of it is gone; what was read and held back is whole as it is."""
        if self.format.holds and piece.started:
            self._given_up.append(piece)
        else:
            piece.done, piece.changed = True, True

    def _end_of(self, piece: Piece) -> Lines:
        """The block behind the last lines that were read of a piece which is given up."""
        before = piece.record(self.id)
        piece.done, piece.changed = True, True
        after = piece.record(self.id)
        return Lines(piece.ending(), self.piece_id(piece), before, after, piece.mtime / 1e9)

    def finish(self, piece: Piece) -> None:
        """All of it is read."""
        piece.close()
        piece.done = True
        piece.changed = True
        self.drop(piece)
        if piece not in self.recent:
            self.recent.append(piece)


def _turn(piece: Piece) -> float:
    """What the queue is in the order of: those that were not begun come last."""
    return math.inf if piece.order is None else piece.order
