"""The pieces that are known, and where each of them is now."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final

from connwatch.contracts import Format

from ..families import family, marked, stem
from .content import open_content
from .folders import split_glob
from .look import HEAD, first_line
from .piece import Key, Piece
from .places import Sight
from .stream import BAR, Host, Stream
from .trace import OtherContentError
from .wanted import Problem, Saved, Wanted

#: rounds in which no file of a finished piece is seen, before it is forgotten
_MISSED: Final = 2


class Known:
    """Pieces by where they are.

    owner: piece -> its stream. at: file -> the piece that it is. lost: pieces whose content has
    gone from their file and was not found again yet.
    """

    def __init__(self, host: Host, wanted: Sequence[Wanted], saved: Mapping[str, Saved]) -> None:
        self.host = host
        self.streams: dict[str, Stream] = {}
        self.owner: dict[Piece, Stream] = {}
        self.at: dict[Key, Piece] = {}
        self.lost: list[Piece] = []
        self._wanted = wanted
        self._gone: list[Piece] = []
        #: of an earlier run, not yet found in this one; the newest first
        self._earlier: dict[Key, list[Piece]] = {}
        self._restore(saved)

    def _restore(self, saved: Mapping[str, Saved]) -> None:
        restored: list[tuple[Stream, Piece]] = []
        for record in saved.values():
            try:
                piece = Piece.restored(record)
                stream = self._stream_named(str(record["stream"]), piece.path)
            except (KeyError, TypeError, ValueError):
                continue
            if stream is not None:
                restored.append((stream, piece))
        restored.sort(key=lambda item: item[1].order or 0, reverse=True)
        for stream, piece in restored:
            self.owner[piece] = stream
            stream.note(piece)
            if piece.key is not None:
                self._earlier.setdefault(piece.key, []).append(piece)

    def _stream_named(self, name: str, path: str) -> Stream | None:
        """The stream of a record; None if nothing that is wanted can be of it."""
        if name in self.streams:
            return self.streams[name]
        _, dataset, kind, _, _ = name.rsplit("|", 4)
        for source, wanted in enumerate(self._wanted):
            one = next((f for f in wanted.formats if f.name == kind), None)
            ours = name.startswith(f"{wanted.label}|{dataset}|{kind}|")
            if one is not None and ours and _covers(wanted, path):
                return self._add(name, dataset, one, source)
        return None

    def stream(self, dataset: str, one: Format[Any], source: int, path: str) -> Stream:
        """The stream that a file of this name and kind is of."""
        label = self._wanted[source].label
        name = f"{label}|{dataset}|{one.name}|{_place(path)}"
        return self.streams.get(name) or self._add(name, dataset, one, source)

    def _add(self, name: str, dataset: str, one: Format[Any], source: int) -> Stream:
        stream = Stream(name, dataset, one, source, self.host)
        self.streams[name] = stream
        return stream

    def streams_at(self, source: int, path: str, *, archived: bool) -> list[Stream]:
        """The streams that a file with this name may be of, the last one written first.

        archived: it is in a folder of its own, so that only the stem counts.
        """
        label, place = self._wanted[source].label, _place(path)
        found = [
            stream
            for stream in self.streams.values()
            if stream.id.startswith(f"{label}|")
            and (stream.id.endswith(f"|{place}") or (archived and stream.stem == stem(path)))
        ]
        return sorted(found, key=lambda s: s.newest.mtime if s.newest else 0, reverse=True)

    def logs(self) -> set[tuple[int, str, str]]:
        """(source, folder, stem) of every stream."""
        return {(stream.source, stream.folder, stream.stem) for stream in self.streams.values()}

    def resting(self) -> set[Key]:
        """Files all of which was read, and which need no look in every round."""
        recent = {piece for stream in self.streams.values() for piece in stream.recent}
        return {key for key, piece in self.at.items() if piece.done and piece not in recent}

    def add(self, stream: Stream, piece: Piece) -> None:
        """A piece that was not known before."""
        self.owner[piece] = stream
        stream.pieces.append(piece)
        if piece.key is not None:
            self.at[piece.key] = piece
        if not piece.done:
            stream.enqueue(piece)

    def place(self, sights: Mapping[Key, Sight]) -> list[Sight]:
        """Note where every piece is now; what is left is not known."""
        unknown = [sight for key, sight in sights.items() if not self._placed(key, sight)]
        now = self.host.now()
        for key, piece in list(self.at.items()):
            if key in sights or piece.piped:
                continue
            if piece.content is None and not piece.done and piece.is_hidden():
                continue
            if piece.placed:
                piece.placed, piece.since = False, now
            if piece.content is None:
                self._vanished(piece)
        for pieces in self._earlier.values():
            for piece in pieces:
                stream = self.owner[piece]
                stream.pieces.append(piece)
                self._vanished(piece)
        self._earlier = {}
        self._gone = [piece for piece in self.owner if piece.done and not self.has_file(piece)]
        return unknown

    def _placed(self, key: Key, sight: Sight) -> bool:
        """Whether a piece is known to be this file."""
        piece = self.at.get(key)
        if piece is not None and self._is_still(piece, sight):
            self._moved(piece, sight)
            return True
        if piece is not None:
            self._vanished(piece)
        for earlier in self._earlier.get(key, []):
            if self._is_still(earlier, sight):
                self._earlier[key].remove(earlier)
                stream = self.owner[earlier]
                stream.pieces.append(earlier)
                self.at[key] = earlier
                earlier.since = self.host.now()
                self._moved(earlier, sight)
                if not earlier.done:
                    stream.enqueue(earlier)
                return True
        return False

    def _is_still(self, piece: Piece, sight: Sight) -> bool:
        """Whether the file holds what was read of the piece; the inode may have been used again."""
        spot = sight.spot
        if piece.content is not None:
            return True
        if (piece.size, piece.mtime) == (spot.size, spot.mtime):
            return True
        try:
            content = open_content(spot.path)
        except OSError:
            return True  # cannot be told now; it will be before it is read
        try:
            if not piece.started:
                return piece.begins_with(content.at(0, HEAD))
            if content.packed != piece.packed:
                return False
            back = piece.done and sight.placed and not piece.placed
            if back and first_line(content.at(0, HEAD)) != piece.look.first:
                return False
            return piece.recognise(content) or (content.packed and content.failure is not None)
        except OtherContentError:
            return False
        finally:
            content.close()

    def _moved(self, piece: Piece, sight: Sight) -> None:
        """Note where a piece is, and whether there is anything to read of it."""
        spot, stream = sight.spot, self.owner[piece]
        grown = spot.size != piece.size
        placed = sight.placed and not piece.packed
        if piece.placed and not placed:
            piece.since = self.host.now()
        piece.moved(spot)
        piece.missed = 0
        piece.placed = placed
        if piece.content is not None:
            return
        live = placed and (piece is stream.newest or not marked(spot.path))
        if not piece.started:
            piece.size, piece.mtime = spot.size, spot.mtime
        # What a format holds back is given with the end, which is still to be said.
        ended = piece.done or (piece.whole and not stream.format.holds)
        if ended and not grown and not live:
            if piece is stream.newest and piece not in stream.recent:
                stream.recent.append(piece)
            piece.done = True
            stream.drop(piece)
        elif piece.done:
            piece.done = False
            piece.since = self.host.now()
        if not piece.done:
            stream.enqueue(piece)

    def _vanished(self, piece: Piece) -> None:
        """Its file is not there any more."""
        self.release(piece)
        if not piece.done:
            self._set_lost(piece)

    def lose(self, piece: Piece) -> None:
        """Its file holds something else now."""
        self.release(piece)
        self._set_lost(piece)

    def _set_lost(self, piece: Piece) -> None:
        piece.lose()
        self.owner[piece].drop(piece)
        piece.since = self.host.now()
        self.lost.append(piece)

    def release(self, piece: Piece) -> None:
        """The piece is no more in the file that it was in."""
        if piece.key is not None and self.at.get(piece.key) is piece:
            del self.at[piece.key]
        piece.key = None

    def found(self, piece: Piece, sight: Sight) -> None:
        """The piece was recognised in another file and goes on there."""
        if piece in self.lost:
            self.lost.remove(piece)
        self.at[sight.spot.key] = piece
        piece.placed = sight.placed and not piece.packed
        piece.since = self.host.now()
        piece.missed = 0
        self.owner[piece].enqueue(piece)

    def has_file(self, piece: Piece) -> bool:
        """Whether the piece can be read where it is."""
        return piece.content is not None or (
            piece.key is not None and self.at.get(piece.key) is piece
        )

    def refresh(self) -> None:
        """Look at pieces that were finished lately: they may still grow."""
        for stream in self.streams.values():
            for piece in list(stream.recent):
                if not piece.done or not self.has_file(piece):
                    stream.recent.remove(piece)
                elif piece.grew():
                    piece.done = False
                    piece.since = self.host.now()
                    stream.enqueue(piece)

    def give_up(self) -> list[Problem]:
        """Lost pieces that were not found again: what is known to be missing of them."""
        now, missing = self.host.now(), []
        for piece in list(self.lost):
            if now - piece.since < self.host.settle:
                continue
            self.lost.remove(piece)
            self.owner[piece].give_up(piece)
            self._gone.append(piece)
            if piece.unread:
                missing.append(
                    Problem(
                        piece.path,
                        f"{piece.unread:,} bytes were gone before they could be read",
                        "let rotation keep a copy (create or copytruncate with rotate 1 or more)",
                    )
                )
        return missing

    def forget(self) -> list[str]:
        """Ids of finished pieces whose files are gone; they are not known any more."""
        gone: list[str] = []
        for piece in list(self._gone):
            stream = self.owner[piece]
            if not piece.done or self.has_file(piece) or not stream.has_record_after(piece):
                continue
            piece.missed += 1
            # The last ones tell which unknown files are younger.
            if piece.missed > _MISSED and piece not in (stream.newest, stream.last_rotated):
                self._gone.remove(piece)
                gone.append(stream.piece_id(piece))
                del self.owner[piece]
                stream.pieces.remove(piece)
        return gone


def _place(path: str) -> str:
    """Family and stem as they stand in a stream's id."""
    return "|".join(part.replace("|", BAR) for part in (family(path), stem(path)))


def _covers(wanted: Wanted, path: str) -> bool:
    """Whether a path may be of what is wanted: in or below its folder, or in its archives."""
    for root in (wanted.path, *wanted.archives):
        folder = split_glob(root)[0] if glob.has_magic(root) else root
        above = PurePath(family(str(PurePath(folder, "x"))))
        if above in PurePath(path).parents or PurePath(family(folder)) in PurePath(path).parents:
            return True
    return False
