"""One file's worth of a log: how far it was read, and how it is known again.

A piece is known by what was read of it, not by its path: a hash of its first bytes, and one of the
last bytes before the position. The inode only says where to look first.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Final

from connwatch.contracts import Block

from ..blocks import LINE_CAP, overlong
from ..families import marked
from ..rejects import KEPT
from .content import Content, Packed, Pipe, Plain, open_content
from .look import Look, first_line
from .trace import OtherContentError, Trace
from .wanted import Saved

_STEP: Final = 1 << 20

#: device and inode
Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Spot:
    """A file where it is now."""

    path: str
    key: Key
    size: int
    mtime: int

    @classmethod
    def at(cls, path: str, status: os.stat_result) -> Spot:
        key = status.st_dev, status.st_ino
        return cls(path, key, status.st_size, status.st_mtime_ns)


class Piece:
    """A piece and its position.

    offset, line: of the next byte to read, decompressed. key: None when its file is not known.
    placed: it is where new lines are written. since: when it last grew or moved, by the
    follower's clock. skip: where the header ends, and offset and line to go on from behind it
    (start at the end). skipping: the position is within a line too long to be read. given: lines
    of it were given in this run. lost: its file holds something else now; unread: how much of it
    was known then and not read. missed: rounds in which no file of it was seen.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.key: Key | None = None
        self.size = 0
        self.mtime = 0
        self.offset = 0
        self.line = 1
        self.skip: tuple[int, int, int] | None = None
        self.skipping = False
        self.done = False
        self.order: int | None = None
        self.look = Look()
        self.content: Content | None = None
        self.packed = False
        self._placed = self.resident = False
        self.lost = False
        self.unread = 0
        self.missed = 0
        self.since = 0.0
        self.changed = self.given = False
        self.trace = Trace()
        self._verified = True
        self._searched = 0
        self._before = 0, 0

    @classmethod
    def restored(cls, saved: Saved) -> Piece:
        """From its record; raises KeyError, TypeError or ValueError if that is not sound."""
        piece = cls(str(saved["path"]))
        piece.key = int(saved["dev"]), int(saved["ino"])
        piece.size, piece.mtime = int(saved["size"]), int(saved["mtime"])
        piece.offset, piece.line = int(saved["offset"]), int(saved["line"])
        if saved.get("skip") is not None:
            piece.skip = tuple(saved["skip"])
        piece.skipping = bool(saved["skipping"])
        piece.done = bool(saved["done"])
        piece.order = int(saved["order"])
        piece.look = Look.restored(saved)
        piece.packed = bool(saved["packed"])
        said = saved.get("resident")
        piece.resident = not (piece.packed or marked(piece.path)) if said is None else bool(said)
        piece.trace = Trace.restored(saved)
        piece._verified = not piece.started
        return piece

    def record(self, stream: str) -> dict[str, Any]:
        """What is saved of it."""
        return {
            "stream": stream,
            "path": self.path,
            "dev": self.key[0] if self.key else -1,
            "ino": self.key[1] if self.key else -1,
            "size": self.size,
            "mtime": self.mtime,
            "offset": self.offset,
            "line": self.line,
            "skip": list(self.skip) if self.skip else None,
            "skipping": self.skipping,
            "done": self.done,
            "packed": self.packed,
            "order": self.order,
            "resident": self.resident,
            **self.trace.record(),
            **self.look.record(),
        }

    @property
    def placed(self) -> bool:
        """Whether it is where new lines are written; `resident`: whether it ever was."""
        return self._placed

    @placed.setter
    def placed(self, there: bool) -> None:
        self._placed = there
        self.resident = self.resident or there

    @property
    def whole(self) -> bool:
        """Whether all of it was read when it was looked at last."""
        return self.done or (not self.packed and self.skip is None and self.offset == self.size)

    @property
    def pending(self) -> int:
        """Bytes known to be unread; of a compressed file, bytes on disk."""
        if self.done:
            return 0
        if isinstance(self.content, Packed):
            return max(self.size - self.content.taken, 0)
        return self.size if self.packed else max(self.size - self.offset, 0)

    @property
    def ended(self) -> bool:
        """Whether nothing can follow what was read of it."""
        return self.content is not None and self.content.ended

    def drained(self) -> bool:
        """Whether all of a compressed file was given."""
        content = self.content
        return isinstance(content, Packed) and not content.at(self.offset, 1) and content.ended

    def size_now(self) -> int:
        """Of its file, bytes on disk; as last seen if that cannot be told."""
        try:
            where = self.content.descriptor if self.content is not None else self.path
            return os.stat(where).st_size  # noqa: PTH116  a descriptor, or text
        except OSError:
            return self.size

    def grew(self) -> bool:
        """Whether the file of a closed piece is another size now."""
        try:
            status = os.stat(self.path)  # noqa: PTH116  text
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self.key and status.st_size != self.size

    def is_idle(self) -> bool:
        """Whether it was all read in an earlier run and nothing came since: it is not opened."""
        if self.content is not None or not (self.placed and self.started and self.whole):
            return False
        try:
            status = os.stat(self.path)  # noqa: PTH116  text
        except OSError:
            return False
        spot = Spot.at(self.path, status)
        return (spot.key, spot.size, spot.mtime) == (self.key, self.size, self.mtime)

    def is_hidden(self) -> bool:
        """Whether its file may be there but cannot be looked at."""
        try:
            os.stat(self.path)  # noqa: PTH116  text
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return False

    @property
    def piped(self) -> bool:
        return isinstance(self.content, Pipe)

    @property
    def started(self) -> bool:
        """Whether anything was read of it, so that its content is known again."""
        return self.offset > 0 or self.trace.seen

    def moved(self, spot: Spot) -> None:
        """It is here now."""
        if (spot.path, spot.key) != (self.path, self.key):
            self.changed = True
        self.path, self.key = spot.path, spot.key

    def take(self, content: Content, spot: Spot) -> None:
        """Go on in another file, which was recognised as this piece's."""
        self.close()
        self.moved(spot)
        self.size, self.mtime = spot.size, spot.mtime
        self.content, self.packed = content, content.packed
        self._verified, self._searched = True, 0
        self.done = self.lost = self.placed = False

    def open(self) -> Content:
        """Open the file and see that it is the one; OSError, InputError, OtherContentError."""
        if self.content is not None:
            return self.content
        content = open_content(self.path)
        try:
            status = os.fstat(content.descriptor)
            if (status.st_dev, status.st_ino) != self.key:
                raise FileNotFoundError(2, "moved away while it was opened", self.path)
            if not self._verified and not self.recognise(content):
                raise content.failure or OtherContentError
        except BaseException:
            content.close()
            raise
        self.content = content
        self.packed = content.packed
        self._verified = True
        return content

    def close(self) -> None:
        if self.content is not None:
            self.content.close()
            self.content = None
            self._verified = not self.started

    def is_in(self, content: Content) -> bool:
        """Whether an open file is the one that the piece is in."""
        status = os.fstat(content.descriptor)
        return (status.st_dev, status.st_ino) == self.key

    def begins_with(self, head: bytes) -> bool:
        """Of a piece of which nothing was read: whether its file begins as when it was found."""
        return bool(self.look.first) and first_line(head) == self.look.first

    def recognise(self, content: Content) -> bool:
        """See `Trace.recognise`, up to the position."""
        return self.trace.recognise(content, self.offset)

    def lose(self) -> None:
        """Its file holds something else since it was looked at the time before."""
        if self.content is not None and self._before[1]:
            self.size, self.mtime = self._before
        known = self.started or self.look.first  # else it cannot be told from new files
        plain = not self.packed and known
        self.unread = max(self.size - self.offset, 0) if plain else 0
        self.close()
        self.placed, self.lost = False, True

    def is_intact(self) -> bool:
        """Whether its file, if it is open, still holds what was read last."""
        if not isinstance(self.content, Plain):
            return True
        tail = self.trace.tail
        return self.content.at(self.offset - len(tail), len(tail)) == tail

    def refresh(self, now: float) -> None:
        """See whether it has grown since it was looked at last."""
        if self.content is None or self.piped:
            return
        status = os.fstat(self.content.descriptor)
        if (status.st_size, status.st_mtime_ns) == (self.size, self.mtime):
            return
        if status.st_size != self.size:
            self.since = now
        self._before = self.size, self.mtime
        self.size, self.mtime = status.st_size, status.st_mtime_ns
        if isinstance(self.content, Packed) and self.content.failure is not None:
            self.content.again()
        self._searched = 0

    def read(self, size: int, final: bool) -> Block | None:
        """The next lines; with `final` also a last one without newline.

        Raises OSError, InputError, OtherContentError.
        """
        content = self.open()
        if isinstance(content, Plain) and self._nothing_new(content, final):
            return None
        if self.skip:
            size = max(self.skip[0] - self.offset, 1)
        if self.skipping and not self._skipped(content):
            return None
        data = self._window(content, size)
        cut = data.rfind(b"\n") + 1
        if not cut and len(data) >= min(size, LINE_CAP + 1):
            data = self._window(content, LINE_CAP + 1)
            cut = data.rfind(b"\n") + 1
        if cut:
            return self._whole_lines(data[:cut] if cut < len(data) else data)
        if len(data) > LINE_CAP:
            self.skipping = True
            return self._taken(data, data[:KEPT], overlong=True)
        self._searched = self.offset + len(data)
        if content.failure is not None:
            raise content.failure
        if final and data:
            return self._taken(data, data, last=True)
        return None

    def ending(self) -> Block:
        """The block behind its last lines, without data."""
        self.given = True
        return Block(self.path, b"", self.offset, self.line, last=True)

    def _nothing_new(self, content: Content, final: bool) -> bool:
        if self.size < self.offset:
            raise OtherContentError
        if self.size == self.offset:
            # Rewritten to the same length? Looked at once for each time the file was written.
            if self._searched != -1:
                self._window(content, 0)
                self._searched = -1
            return True
        return self._searched == self.size and not final

    def _window(self, content: Content, size: int) -> bytes:
        """Up to `size` bytes from the position, after seeing that those before it are as read, or
        that it begins as it was found."""
        if not isinstance(content, Plain):
            return content.at(self.offset, size)
        if not self.offset:
            data = content.at(0, max(size, self.trace.found))
            self.trace.see_beginning(data)
            return data[:size]
        behind = len(self.trace.tail)
        data = content.at(self.offset - behind, behind + size)
        if not data.startswith(self.trace.tail):
            raise OtherContentError
        return data[behind:] if behind else data

    def _skipped(self, content: Content) -> bool:
        """Go on to the end of a line too long to be read; whether it was found."""
        while data := self._window(content, _STEP):
            newline = data.find(b"\n") + 1
            part = data[:newline] if newline else data
            self.trace.add(part)
            self.offset += len(part)
            if newline:
                self.skipping = False
                return True
        return False

    def _whole_lines(self, data: bytes) -> Block:
        found = overlong(data, 0, LINE_CAP)
        if found is None:
            return self._taken(data, data)
        begin, end = found
        if begin:
            return self._taken(data[:begin], data[:begin])
        return self._taken(data[:end], data[:KEPT], overlong=True)

    def _taken(
        self, data: bytes, shown: bytes, *, overlong: bool = False, last: bool = False
    ) -> Block:
        """Go on behind `data`, of which `shown` is given away."""
        block = Block(self.path, shown, self.offset, self.line, last, overlong)
        self.given = True
        self._look_at(data + b"\n" if last else data)
        self.trace.add(data)
        self.offset += len(data)
        self.line += 1 if overlong or last else data.count(b"\n")
        self._searched = 0
        if self.skip and self.offset >= self.skip[0]:
            self.jump(self.open())
        return block

    def _look_at(self, data: bytes) -> None:
        """Know the piece by its first record; it may be another one than when it was found."""
        if self.offset and self.look.first:
            return
        first = first_line(data)
        if self.look.first and first and first != self.look.first:
            self.look = Look()
        self.look.first = first

    def jump(self, content: Content) -> None:
        """Go on from where the file ended when it was first seen."""
        if self.skip is None:
            return
        _, offset, line = self.skip
        self.skip = None
        if self.trace.jump(content, offset):  # else it is shorter now: what is there is new
            self.offset, self.line = offset, line
            self._verified = False
            self.changed = True
