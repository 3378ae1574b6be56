"""Files that are no known piece where they are: copies, pieces that moved, new ones, no logs."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from connwatch.contracts import Format

from ..describe import describe
from ..families import family, numbered, stem
from ..opening import may_be_compressed
from .ages import in_order, is_younger, was_left_out
from .content import open_content
from .known import Known
from .look import HEAD, Look, digest, first_line, looked, sniffed
from .matching import Holds, counted_lines, end_of_lines, match
from .piece import Key, Piece
from .places import Sight
from .stream import Stream
from .unknown import Left, Newcomer
from .wanted import Problem, Wanted


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
        self._missed = False
        self._left: dict[Key, Left] = {}
        #: streams that have pieces more than before the look
        self._changed: set[Stream] = set()
        #: what first bytes told, in the round before and in this one: finding out costs a while
        self._looks: dict[Key, tuple[str, Look]] = {}
        self._seen: dict[Key, tuple[str, Look]] = {}
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
                if left.live and left.has_changed(shrunk=True):
                    return True
            elif (not left.settled and now - left.since >= settle) or left.has_changed():
                return True
        return False

    def sort_out(self, unknown: Sequence[Sight], rests: Callable[[], bool], late: bool) -> bool:
        """Take what continues a known piece, and what is new; leave the rest.

        rests: whether every name is still where it was when these were seen. If that is not so, or
        a file was truncated meanwhile, the content of a new one may have gone elsewhere; then none
        is taken as new and this is False, unless it is late.
        """
        before, self._left, self.failed = self._left, {}, {}
        self._looks, self._seen = self._seen, {}
        self._missed = False
        self._changed = set()
        fresh: list[Newcomer] = []
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
                    fresh.append(self._kept(newcomer))
                elif not self._is_taken(newcomer):
                    newcomer.content.close()
        fresh += self._adopted(unknown, {_log(one.sight) for one in fresh})
        certain = not self._missed and all(one.holds() for one in fresh) and (not fresh or rests())
        if certain or late:
            self._take(fresh)
        else:
            for one in fresh:
                one.shed()
        for stream in self._changed:
            in_order(stream, self._first)
        self.skipped = {
            left.spot.path: left.reason for left in self._left.values() if left.reason is not None
        }
        return certain

    def _adopted(self, unknown: Sequence[Sight], logs: set[tuple[int, str, str]]) -> list[Newcomer]:
        """Named files without a header, of logs with other new pieces, which tell what they are."""
        found = []
        for sight in unknown if logs else ():
            left = self._left.get(sight.spot.key)
            if left is None or left.reason is None or _log(sight) not in logs:
                continue
            it = self._opened(sight, left)
            if it is not None and it.head and it.kind is None:
                del self._left[sight.spot.key]
                found.append(it)
            elif it is not None:
                it.content.close()
        return found

    def _take(self, fresh: list[Newcomer]) -> None:
        """Make new files pieces, but for copies of one another."""
        fresh.sort(key=lambda one: (one.kind is None, *one.turn()))
        taken: dict[str, list[tuple[Newcomer, Piece]]] = {}  # by first record, and all
        for one in fresh:
            alike = taken.get(one.first, ())
            copied = next((piece for it, piece in alike if one.is_copy_of(it)), None)
            if copied is None or self._is_from_end(one.sight):
                piece = self._register(one)
                self._changed.add(self._known.owner[piece])
                for first in {one.first, ""}:
                    taken.setdefault(first, []).append((one, piece))
            else:
                one.shed()
                self._leave(one.sight, one.since, settled=one.settled, copy_of=copied)

    def _kept(self, it: Newcomer) -> Newcomer:
        """What is needed of a file that is new; the file itself and its bytes mostly are not."""
        if it.kind is not None and it.tells_itself and not self._is_from_end(it.sight):
            self._look(it, *it.kind, b"")
            it.shed()
        return it

    def end_round(self) -> None:
        """All that is there was sorted out."""
        self._first = self._opening = False

    def _stays(self, left: Left, sight: Sight) -> bool:
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
        self._left[sight.spot.key] = Left(
            sight.spot,
            since,
            settled,
            closed,
            never,
            sight.placed,
            copy_of,
            reason if sight.named else None,
        )

    def _opened(self, sight: Sight, left: Left | None) -> Newcomer | None:
        """Open a file and read its beginning; None if that is not possible now."""
        key, now = sight.spot.key, self._known.host.now()
        try:
            content = open_content(sight.spot.path)
        except OSError as error:
            self._missed = self._missed or isinstance(error, FileNotFoundError)
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
            self._missed = True
            return None
        same = left is not None and left.spot.size == sight.spot.size == status.st_size
        since = left.since if left is not None and same else now
        settled = now - since >= self._known.host.settle
        made = Newcomer(sight, content, head, since, settled, first=first_line(head))
        if head and (content.packed or not may_be_compressed(head)):
            made.kind = sniffed(head, sight.spot.path, self._wanted[sight.source])
        return made

    def _is_new(self, it: Newcomer) -> bool:
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

    def _not_begun(self, it: Newcomer) -> None:
        """Nothing can be read of it yet."""
        failure, sight = it.content.failure, it.sight
        if failure is not None and it.settled and sight.named:
            self.failed[sight.spot.path] = Problem.of(sight.spot.path, failure)
        known = self._known.streams_at(sight.source, sight.spot.path, archived=False)
        reason = None if known or failure is not None else "empty"
        self._leave(sight, it.since, settled=it.settled, reason=reason)

    def _streams(self, it: Newcomer) -> list[Stream]:
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

    def _continues(self, it: Newcomer, piece: Piece, holds: Holds) -> bool:
        """Whether it is known by its content, so that it is no piece of its own."""
        sight = it.sight
        elsewhere = self._known.has_file(piece)
        if elsewhere and not piece.look.first and not it.may_be_copy(piece):
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
            self._changed.add(self._known.owner[piece])
            return True
        if it.settled and sight.named and (sight.placed or not elsewhere):
            return False
        copy_of = piece if elsewhere else None
        self._leave(sight, it.since, settled=it.settled, copy_of=copy_of)
        return True

    def _is_taken(self, it: Newcomer) -> bool:
        """Whether a known piece goes on in it."""
        piece = self._known.at.get(it.sight.spot.key)
        return piece is not None and piece.content is it.content

    def _is_younger(self, it: Newcomer, streams: Sequence[Stream]) -> bool:
        """Whether a file that is not named was written after the last piece that is known."""
        sight = it.sight
        if len(streams) == 1 or (streams and family(sight.spot.path) == streams[0].folder):
            reference = streams[0].last_rotated
            if reference is None:
                return True
            stream = streams[0]
            look = self._look(it, stream.format, stream.dataset, stream.header)
            mtime = sight.spot.mtime
            if is_younger(look, mtime, reference) or was_left_out(look, mtime, stream):
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

    def _look(self, it: Newcomer, one: Format[Any], dataset: str, header: bytes) -> Look:
        """Its age. header: of the last piece that had one, which holds for those without."""
        if it.look is None:
            header = b"" if it.tells_itself else header
            text = digest(header) + it.text
            known = self._looks.get(it.sight.spot.key)
            if known is None or known[0] != text:
                found = looked(header + it.head, one, dataset, it.sight.spot.path)
                if header:
                    found.opened = None  # that is when the last piece with a header was begun
                known = text, found
            self._seen[it.sight.spot.key] = known
            it.look = known[1]
        return replace(it.look)

    def _register(self, it: Newcomer) -> Piece:
        """Make it a piece of its stream."""
        sight = it.sight
        spot = sight.spot
        streams = self._streams(it)
        if streams or it.kind is None:
            stream = streams[0]
        else:
            stream = self._known.stream(it.kind[1], it.kind[0], sight.source, spot.path)
        stream.header = it.header or stream.header
        piece = Piece(spot.path)
        piece.key, piece.size, piece.mtime = spot.key, spot.size, spot.mtime
        piece.look = self._look(it, stream.format, stream.dataset, stream.header)
        piece.look.first = it.first
        piece.trace.found_with(it.size, it.text)
        piece.packed = it.content.packed
        piece.placed = sight.placed and not piece.packed
        piece.since = self._known.host.now()
        if self._is_from_end(sight):
            self._from_end(it, stream, piece)
        it.shed()
        self._known.add(stream, piece)
        return piece

    def _is_from_end(self, sight: Sight) -> bool:
        """Whether what is there now is not wanted."""
        return self._first and self._wanted[sight.source].from_end

    def _from_end(self, it: Newcomer, stream: Stream, piece: Piece) -> None:
        """Read nothing of what is there now but the header, without which nothing is understood."""
        stream.begin(piece)
        piece.changed = True
        if piece.packed or numbered(piece.path):
            piece.done = True
            return
        end = end_of_lines(it.content, piece.size)
        piece.skip = len(it.header), end, 1 + counted_lines(it.content, end)
        if not piece.skip[0]:
            piece.jump(it.content)


def _log(sight: Sight) -> tuple[int, str, str]:
    """What the pieces of one log have in common."""
    return sight.source, family(sight.spot.path), stem(sight.spot.path)
