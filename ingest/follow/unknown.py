"""Files that are no known piece: one that is being looked at, one that is left alone."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from connwatch.contracts import Format

from ..families import family, stem
from .content import Content, open_content
from .look import Look, digest, header_size
from .piece import Piece, Spot
from .places import Sight

Kind = tuple[Format[Any], str]


@dataclass(slots=True)
class Left:
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

    def has_changed(self, *, shrunk: bool = False) -> bool:
        """Whether the file is another one now, or changed; shrunk: only if it became shorter."""
        try:
            status = os.stat(self.spot.path)  # noqa: PTH116  text
        except OSError:
            return True
        now, spot = Spot.at(self.spot.path, status), self.spot
        return now.key != spot.key or now.size < spot.size if shrunk else now != spot


@dataclass(slots=True)
class Newcomer:
    """A file that is being looked at.

    head: its first bytes; empty once it was `shed`. header: those that are lines of a header. size,
    text: how many first bytes were read, and a hash of them. settled: it did not change lately.
    """

    sight: Sight
    content: Content
    head: bytes
    since: float
    settled: bool
    kind: Kind | None = None
    first: str = ""
    look: Look | None = None
    header: bytes = field(init=False)
    size: int = field(init=False)
    text: str = field(init=False)

    def __post_init__(self) -> None:
        self.header = self.head[: header_size(self.head)]
        self.size, self.text = len(self.head), digest(self.head)

    @property
    def tells_itself(self) -> bool:
        """Whether its lines can be read without the header of another piece."""
        return bool(self.header) or self.head.startswith(b"{")

    def shed(self) -> None:
        """Close the file and drop its bytes: there may be very many of these at once."""
        if self.head:
            self.content.close()
            self.head = b""

    def holds(self) -> bool:
        """Whether its path still leads to it, and it begins as it did when it was opened."""
        return self._begins(self.sight, packed=self.content.packed)

    def _begins(self, sight: Sight, *, packed: bool = False, missing: bool = False) -> bool:
        """Whether the file of a sight begins with the bytes that were read of this. missing: what
        holds when it is not there any more."""
        try:
            content = open_content(sight.spot.path)
        except OSError:
            return missing
        try:
            status = os.fstat(content.descriptor)
            if (status.st_dev, status.st_ino) != sight.spot.key:
                return missing
            return packed or digest(content.at(0, self.size)) == self.text
        except OSError:
            return False
        finally:
            content.close()

    def turn(self) -> tuple[bool, bool, int]:
        """Sorts copies behind what they are copied from."""
        placed = self.sight.placed
        return not placed, self.content.packed, 0 if placed else -self.size

    def is_copy_of(self, other: Newcomer) -> bool:
        """Whether all that is seen of it is in the other one too: a copy that is being made."""
        ours, theirs = self.sight, other.sight
        if ours.placed or ours.source != theirs.source:
            return False
        mine, its = ours.spot.path, theirs.spot.path
        same_log = (family(mine), stem(mine)) == (family(its), stem(its))
        return same_log and self._begins(theirs, missing=True)

    def may_be_copy(self, piece: Piece) -> bool:
        """Whether it is a copy, if it begins with the same header as a piece that has no more yet.

        It is if it is no longer than the piece's own file, unless that was truncated meanwhile.
        """
        return self.size <= piece.size_now() or not piece.is_intact()
