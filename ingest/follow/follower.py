"""Follows what is wanted: finds files, knows them again, and gives their streams."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from connwatch.errors import InputError

from ..opening import STDIN
from .known import Known
from .newcomers import Newcomers
from .piece import Piece
from .pipes import Pipes
from .places import Places
from .stream import Stream
from .wanted import Problem, Saved, Wanted

#: rounds after which also files are looked at that were read and left alone since
_THOROUGH: Final = 64
#: seconds for which looks are taken until names stay as they are for the time of one; it is less
#: where they never do
_PATIENCE: Final = 2.0
_LEAST: Final = 0.02
_PAUSE: Final = 0.005


class Follower:
    """The streams of all wanted sources.

    saved: piece id -> its last committed record. first: there was no earlier run, so only what is
    named is read, and `from_end` holds. settle: seconds without anything new after which a piece
    that was moved away counts as ended. clock: monotonic seconds, asked for settling only.

    streams: by id; `scan` adds to it. problems: what cannot be read at present; gone when it
    heals. losses: what is known to have been lost (truncated before it was read). skipped: path ->
    reason, of files that are no log that can be read. forgotten: ids of pieces whose files are
    gone, whose records may be deleted.
    """

    def __init__(
        self,
        wanted: Sequence[Wanted],
        saved: Mapping[str, Saved],
        *,
        first: bool,
        settle: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.streams: dict[str, Stream] = {}
        self.problems: list[Problem] = []
        self.losses: list[Problem] = []
        self.skipped: dict[str, str] = {}
        self.forgotten: list[str] = []
        self.settle = settle
        self._wanted = tuple(wanted)
        self._clock = clock
        self._first = first
        self._round = 0
        self._patience = _PATIENCE
        self._places = Places(self._wanted, clock)
        self._failed: dict[Piece, Problem] = {}
        self._known = Known(self, self._wanted, saved)
        self.streams = self._known.streams
        self._newcomers = Newcomers(self._known, self._wanted, first)
        self._pipes = Pipes(self._known, self._wanted)

    def now(self) -> float:
        return self._clock()

    def scan(self) -> None:
        """Look at folders and names again: new files, moved ones, vanished ones."""
        self._round += 1
        self._pipes.look()
        thorough = self._round % _THOROUGH == 1
        if thorough or self._newcomers.restless() or not self._places.unchanged():
            self._look(thorough)
        else:
            self._known.refresh()
        self.losses += self._known.give_up()
        self.forgotten += self._known.forget()
        self._tell()

    def _look(self, thorough: bool) -> None:
        """Look at every name and sort out what is where."""
        self._rest()
        limit = time.monotonic() + self._patience
        while True:
            named, siblings = self._places.look(self._known.logs(), thorough)
            # A file that is renamed meanwhile may be missed, and younger ones would be read first.
            rests, late = self._places.unchanged(), time.monotonic() > limit
            if rests or late:
                unknown = self._known.place({**siblings, **named})
                rests = self._newcomers.sort_out(unknown, self._places.unchanged, late)
            if rests or late:
                break
            time.sleep(_PAUSE)
        patience = self._patience / 2 if late else 2 * self._patience
        self._patience = min(max(patience, _LEAST), _PATIENCE)
        self._newcomers.end_round()
        self._rest()

    def _rest(self) -> None:
        """Say which files need no look in every round."""
        self._places.resting = self._known.resting() | self._newcomers.resting()

    def _tell(self) -> None:
        """What cannot be read at present."""
        places, newcomers = self._places, self._newcomers
        self._failed = {p: why for p, why in self._failed.items() if self._known.has_file(p)}
        self.skipped = {**newcomers.skipped, **self._pipes.skipped, **places.doubled}
        self.problems = [
            *self._failed.values(),
            *newcomers.failed.values(),
            *self._pipes.failed.values(),
            *(Problem.of(path, error) for path, error in places.failed.items()),
            *map(Problem.absent, places.missing),
        ]

    @property
    def over(self) -> bool:
        """Whether nothing can come any more: there is standard input alone, and it has ended."""
        alone = all(one.path == STDIN for one in self._wanted)
        return alone and self._round > 0 and self._pipes.stdin_ended

    @property
    def seeks(self) -> bool:
        """Whether the content of a piece has gone from its file, and is still looked for."""
        return bool(self._known.lost)

    def watched(self) -> list[str]:
        """Folders and files to put under watch."""
        watched = self._places.watched()
        return [path for path in watched if path != STDIN or not self._pipes.stdin_ended]

    def updates(self, committed: Mapping[str, Saved]) -> dict[str, Saved]:
        """Records that changed without lines (moved, compressed, finished), once each.

        committed: piece id -> the record as it is saved now. Only those are given whose position is
        the committed one, or that have none committed; the others come when theirs is.
        """
        found: dict[str, Saved] = {}
        for piece, stream in self._known.owner.items():
            if not piece.changed or piece.order is None or piece.piped:
                continue
            before = committed.get(stream.piece_id(piece))
            if piece.given if before is None else before["offset"] != piece.offset:
                continue
            found[stream.piece_id(piece)] = piece.record(stream.id)
            piece.changed = False
        return found

    def close(self) -> None:
        """Close every file."""
        for piece in self._known.owner:
            piece.close()
        self._pipes.close()

    def displaced(self, stream: Stream, piece: Piece) -> None:
        """See `stream.Host`."""
        self._known.lose(piece)
        self._look(False)
        self._tell()

    def found_again(self, piece: Piece) -> bool:
        """See `stream.Host`."""
        before = piece.path
        self._look(False)
        self._tell()
        return piece.lost or piece.done or piece.path != before

    def failed(self, piece: Piece, error: OSError | InputError) -> None:
        """See `stream.Host`."""
        self._failed[piece] = Problem.of(piece.path, error)
        self._tell()

    def healed(self, piece: Piece) -> None:
        """See `stream.Host`."""
        if self._failed.pop(piece, None):
            self._tell()
