"""What a piece remembers of the bytes that were read of it, to know them again."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from .content import Content
from .look import HEAD, digest
from .wanted import Saved

TAIL: Final = 1024
_NOTHING: Final = digest(b"")


class OtherContentError(Exception):
    """The file does not hold what was read of the piece: it was truncated or replaced."""


class Trace:
    """A hash of the first bytes that were read (at most 64 KiB) and one of the last (1 KiB).

    tail: those last bytes themselves; empty until the file was seen in this run.
    """

    def __init__(self) -> None:
        self.tail = b""
        self._head = (0, "")
        #: first bytes that were read when it was saved, though the position is before their end
        self._seen = (0, "")
        self._hasher: hashlib.blake2b | None = None
        self._ending = (0, _NOTHING)
        self._found = (0, "")

    @classmethod
    def restored(cls, saved: Saved) -> Trace:
        trace = cls()
        trace._head = int(saved["head"][0]), str(saved["head"][1])
        trace._ending = int(saved["tail"][0]), str(saved["tail"][1])
        seen = saved.get("seen", saved["head"])
        trace._seen = int(seen[0]), str(seen[1])
        return trace

    def record(self) -> dict[str, Any]:
        seen = max(self._head, self._seen)
        return {"head": list(self._head), "tail": list(self._ending), "seen": list(seen)}

    @property
    def seen(self) -> bool:
        """Whether bytes are known that were read before it was saved."""
        return self._seen[0] > 0

    def add(self, data: bytes) -> None:
        """These bytes were read next."""
        size = self._head[0]
        if size < HEAD:
            more = data[: HEAD - size]
            if self._hasher is None:
                self._hasher = hashlib.blake2b(digest_size=16)
            self._hasher.update(more)
            self._head = size + len(more), self._hasher.hexdigest()
        self.tail = (self.tail + data)[-TAIL:] if len(data) < TAIL else data[-TAIL:]
        self._ending = len(self.tail), digest(self.tail)

    def jump(self, content: Content, offset: int) -> bool:
        """Be as if all before `offset` had been read; False: the content ends before."""
        head = content.at(0, min(offset, HEAD))
        tail = content.at(max(offset - TAIL, 0), min(offset, TAIL))
        if len(head) < min(offset, HEAD) or len(tail) < min(offset, TAIL):
            return False
        self._hasher = hashlib.blake2b(head, digest_size=16)
        self._head = len(head), self._hasher.hexdigest()
        self.tail, self._ending = tail, (len(tail), digest(tail))
        return True

    def fits(self, head: bytes) -> bool:
        """Whether a file with these first bytes may be the one, as far as they reach."""
        size, text = max(self._head, self._seen)
        return len(head) < size or digest(head[:size]) == text

    def recognise(self, content: Content, offset: int) -> bool:
        """Whether the content reaches to `offset` and is what was read up to there.

        False: it ends before. Raises OtherContentError if it is something else.
        """
        known = ((0, self._head), (0, self._seen), (offset - self._ending[0], self._ending))
        found = []
        for start, (size, text) in known:
            data = content.at(start, size)
            if len(data) < size:
                return False
            if size and digest(data) != text:
                raise OtherContentError
            found.append(data)
        head, _, self.tail = found
        self._hasher = hashlib.blake2b(head, digest_size=16)
        return True

    def found_with(self, size: int, text: str) -> None:
        """The file began with so many bytes of this hash when it was found."""
        self._found = size, text

    @property
    def found(self) -> int:
        """How many of its first bytes are known from when it was found."""
        return self._found[0]

    def see_beginning(self, data: bytes) -> None:
        """Raises OtherContentError if what the file begins with is not what it was found with."""
        size, text = self._found
        if size and digest(data[:size]) != text:
            raise OtherContentError
