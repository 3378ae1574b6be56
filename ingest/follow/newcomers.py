"""Files that are no known piece where they are: copies, pieces that moved, new ones, no logs."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from connwatch.contracts import Format

from ..describe import describe
from ..families import family, numbered, turn
from ..opening import may_be_compressed
from .content import Content, open_content
from .known import Known
from .look import HEAD, Look, first_line, header_size, looked, sniffed, younger
from .matching import Holds, counted_lines, end_of_lines, match
from .piece import Key, Piece, Spot
from .places import Sight
from .stream import Stream
from .wanted import Problem, Wanted

#: µs by which a younger piece may begin before an older one, as in `streams`
_SLACK: Final = 600_000_000

Kind = tuple[Format[Any], str]


@dataclass(slots=True)
class _Left:
    """A file that is left alone at present.

    since: when it changed last. settled: looked at again after it did not change for a while.
    closed: left for good, unless it changes. never: even then, unless it is truncated. live: it is
    where new lines are written. copy_of: the piece it is a copy of. reason: said to the user.
    """

    spot: Spot
    since: float
    settled: bool
    closed: bool = False
    never: bool = False
    live: bool = False
    copy_of: Piece | None = None
    reason: str | None = None


@dataclass(slots=True)
class _Newcomer:
    """A file that is being looked at. settled: it did not change for a while."""

    sight: Sight
    content: Content
    head: bytes
    since: float
    settled: bool
    kind: Kind | None = None
    first: str = ""


class Newcomers:
    """Sorts out files that are not known.

    skipped: path -> reason, of named files that are no log that can be read. failed: path ->
    problem, of named files that cannot be read at present.
    """

    def __init__(self, known: Known, wanted: Sequence[Wanted], first: bool) -> None:
        self.skipped: dict[str, str] = {}
        self.failed: dict[str, Problem] = {}
        self._known = known
        self._wanted = wanted
        self._first = first
        self._opening = True  # the first round of this run
        #: whether a file was moved away between the look and its opening
        self.missed = False
        self._left: dict[Key, _Left] = {}
        #: named once and not readable then; read even if it is found as a rotated file
        self._owed: set[Key] = set()

    def resting(self) -> set[Key]:
        """Files that need no look in every round."""
        return {
            key
            for key, left in self._left.items()
            if (left.closed or (left.never and not left.live)) and left.copy_of is None
        }

    def restless(self) -> bool:
        """Whether a file that was left alone may be read now."""
        if self.failed or self._known.lost:
            return True
        now, settle = self._known.host.now(), self._known.host.settle
        for left in self._left.values():
            if left.closed:
                continue
            if left.never:
                if left.live and _changed(left.spot, shrunk=True):
                    return True
            elif (not left.settled and now - left.since >= settle) or _changed(left.spot):
                return True
        return False

    def sort_out(self, unknown: Sequence[Sight]) -> None:
        """Take what continues a known piece, and what is new; leave the rest."""
        before, self._left, self.failed = self._left, {}, {}
        self.missed = False
        fresh: list[_Newcomer] = []
        for sight in unknown:
            if sight.pipe:
                continue  # `Pipes` reads it
            left = before.get(sight.spot.key)
            if left is not None and self._stays(left, sight):
                self._left[sight.spot.key] = left
            elif self._is_older_than_all(sight):
                self._leave(sight, self._known.host.now(), closed=True)
            elif (newcomer := self._opened(sight, left)) is not None:
                if self._is_new(newcomer):
                    fresh.append(newcomer)
                elif not self._is_taken(newcomer):
                    newcomer.content.close()
        for stream in {self._register(newcomer) for newcomer in fresh}:
            _in_order(stream, self._first)
        self.skipped = {
            left.spot.path: left.reason for left in self._left.values() if left.reason is not None
        }

    def end_round(self) -> None:
        """All that is there was sorted out."""
        self._first = self._opening = False

    def _stays(self, left: _Left, sight: Sight) -> bool:
        """Whether nothing has changed about a file that was left alone."""
        same = left.spot.path == sight.spot.path
        if left.never and same and sight.spot.size >= left.spot.size:
            return True
        if left.copy_of is not None and not self._known.has_file(left.copy_of):
            return False
        if (left.spot.size, left.spot.mtime) != (sight.spot.size, sight.spot.mtime):
            return False
        now = self._known.host.now()
        return left.closed or left.settled or now - left.since < self._known.host.settle

    def _is_older_than_all(self, sight: Sight) -> bool:
        """Whether a file was rotated before anything of its log was ever read."""
        if not self._opening or sight.named:
            return False
        streams = self._known.streams_at(sight.source, sight.spot.path, archived=True)
        return self._first or not any(stream.newest for stream in streams)

    def _leave(
        self,
        sight: Sight,
        since: float,
        *,
        settled: bool = False,
        closed: bool = False,
        never: bool = False,
        copy_of: Piece | None = None,
        reason: str | None = None,
    ) -> None:
        self._left[sight.spot.key] = _Left(
            sight.spot,
            since,
            settled,
            closed,
            never,
            sight.placed,
            copy_of,
            reason if sight.named else None,
        )

    def _opened(self, sight: Sight, left: _Left | None) -> _Newcomer | None:
        """Open a file and read its beginning; None if that is not possible now."""
        key, now = sight.spot.key, self._known.host.now()
        try:
            content = open_content(sight.spot.path)
        except OSError as error:
            self.missed = self.missed or isinstance(error, FileNotFoundError)
            owed = sight.named or key in self._owed
            if owed and not isinstance(error, FileNotFoundError):
                self._owed.add(key)
                self.failed[sight.spot.path] = Problem.of(sight.spot.path, error)
            return None
        try:
            head = content.at(0, HEAD)
            status = os.fstat(content.descriptor)
        except OSError as error:
            content.close()
            self.failed[sight.spot.path] = Problem.of(sight.spot.path, error)
            return None
        if (status.st_dev, status.st_ino) != key:
            content.close()
            self.missed = True
            return None
        same = left is not None and left.spot.size == sight.spot.size == status.st_size
        since = left.since if left is not None and same else now
        settled = now - since >= self._known.host.settle
        made = _Newcomer(sight, content, head, since, settled, first=first_line(head))
        if head and (content.packed or not may_be_compressed(head)):
            made.kind = sniffed(head, sight.spot.path, self._wanted[sight.source])
        return made

    def _is_new(self, it: _Newcomer) -> bool:
        """Whether it is to be read as a piece of its own; if not, it is taken or left."""
        sight, content = it.sight, it.content
        if not it.head or (not content.packed and may_be_compressed(it.head)):
            self._not_begun(it)
            return False
        streams = self._streams(it)
        for stream in streams:
            found = match(content, it.head, it.first, stream.pieces)
            if found is not None and self._continues(it, *found):
                return False
        if it.kind is None and not streams:
            never = len(it.head) == HEAD
            reason = describe(it.head)
            self._leave(sight, it.since, settled=it.settled, never=never, reason=reason)
            return False
        if sight.named or sight.spot.key in self._owed:
            return True
        return self._is_younger(it, streams)

    def _not_begun(self, it: _Newcomer) -> None:
        """Nothing can be read of it yet."""
        failure, sight = it.content.failure, it.sight
        if failure is not None and it.settled and sight.named:
            self.failed[sight.spot.path] = Problem.of(sight.spot.path, failure)
        known = self._known.streams_at(sight.source, sight.spot.path, archived=False)
        reason = None if known or failure is not None else "empty"
        self._leave(sight, it.since, settled=it.settled, reason=reason)

    def _streams(self, it: _Newcomer) -> list[Stream]:
        """The known streams that it may be of."""
        sight = it.sight
        path = sight.spot.path
        found = self._known.streams_at(sight.source, path, archived=False)
        if not found and not sight.named:
            found = self._known.streams_at(sight.source, path, archived=True)
        if it.kind is None:
            return found
        one, dataset = it.kind
        return [s for s in found if s.dataset == dataset and s.format.name == one.name]

    def _continues(self, it: _Newcomer, piece: Piece, holds: Holds) -> bool:
        """Whether it is known by its content, so that it is no piece of its own."""
        sight = it.sight
        elsewhere = self._known.has_file(piece)
        if elsewhere and not piece.look.first and not _may_be_copy(it, piece):
            return False
        if holds is Holds.SAME:
            come_back = sight.placed and not piece.placed and piece.offset >= piece.size
            come_back = come_back and bool(piece.look.first)
            if elsewhere and not come_back:
                self._leave(sight, it.since, settled=it.settled, copy_of=piece)
                return True
            if elsewhere:
                self._known.release(piece)
            piece.take(it.content, sight.spot)
            self._known.found(piece, sight)
            return True
        if it.settled and sight.named and (sight.placed or not elsewhere):
            return False
        copy_of = piece if elsewhere else None
        self._leave(sight, it.since, settled=it.settled, copy_of=copy_of)
        return True

    def _is_taken(self, it: _Newcomer) -> bool:
        """Whether a known piece goes on in it."""
        piece = self._known.at.get(it.sight.spot.key)
        return piece is not None and piece.content is it.content

    def _is_younger(self, it: _Newcomer, streams: Sequence[Stream]) -> bool:
        """Whether a file that is not named was written after the last piece that is known."""
        sight = it.sight
        if len(streams) == 1 or (streams and family(sight.spot.path) == streams[0].folder):
            reference = streams[0].last_rotated
            if reference is None:
                return True
            look = self._look(it, streams[0])
            if younger(look, sight.spot.mtime, reference.look, reference.mtime, _SLACK):
                return True
        elif not streams and it.kind is not None and not self._is_archived(sight):
            return True
        self._leave(sight, it.since, settled=it.settled, closed=it.settled)
        return False

    def _is_archived(self, sight: Sight) -> bool:
        """Whether it is in a folder that was given for archives only."""
        return any(
            fnmatch.fnmatch(sight.spot.path, archive.rstrip("/") + "*")
            for archive in self._wanted[sight.source].archives
        )

    def _look(self, it: _Newcomer, stream: Stream) -> Look:
        """Its age; without a header of its own, the last one still holds."""
        if header_size(it.head) or not stream.header:
            return looked(it.head, stream.format, stream.dataset, it.sight.spot.path)
        head = stream.header + it.head
        found = looked(head, stream.format, stream.dataset, it.sight.spot.path)
        found.opened = None  # that is when the last piece with a header was begun
        return found

    def _register(self, it: _Newcomer) -> Stream:
        """Make it a piece of its stream."""
        sight = it.sight
        spot = sight.spot
        streams = self._streams(it)
        if streams or it.kind is None:
            stream = streams[0]
        else:
            stream = self._known.stream(it.kind[1], it.kind[0], sight.source, spot.path)
        if size := header_size(it.head):
            stream.header = it.head[:size]
        piece = Piece(spot.path)
        piece.key, piece.size, piece.mtime = spot.key, spot.size, spot.mtime
        piece.look = self._look(it, stream)
        piece.look.first = it.first
        piece.trace.found_with(it.head)
        piece.packed = it.content.packed
        piece.placed = sight.placed and not piece.packed
        piece.since = self._known.host.now()
        if self._first and self._wanted[sight.source].from_end:
            self._from_end(it, stream, piece)
        it.content.close()
        self._known.add(stream, piece)
        return stream

    def _from_end(self, it: _Newcomer, stream: Stream, piece: Piece) -> None:
        """Read nothing of what is there now but the header, without which nothing is understood."""
        stream.begin(piece)
        piece.changed = True
        if piece.packed or numbered(piece.path):
            piece.done = True
            return
        end = end_of_lines(it.content, piece.size)
        piece.skip = header_size(it.head), end, 1 + counted_lines(it.content, end)
        if not piece.skip[0]:
            piece.jump(it.content)


def _may_be_copy(it: _Newcomer, piece: Piece) -> bool:
    """Whether a file that begins with the same header is a copy of a piece that has no more yet.

    It is if it is no longer than the piece's own file, unless that was truncated meanwhile.
    """
    return len(it.head) <= piece.size_now() or not piece.is_intact()


def _changed(spot: Spot, shrunk: bool = False) -> bool:
    """Whether a file is another one than it was, or changed; shrunk: only if it became shorter."""
    try:
        status = os.stat(spot.path)  # noqa: PTH116  text
    except OSError:
        return True
    now = Spot.at(spot.path, status)
    return now.key != spot.key or now.size < spot.size if shrunk else now != spot


def _in_order(stream: Stream, first: bool) -> None:
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
