"""One log as it is written, read through all its rotations."""

from __future__ import annotations

from typing import Any

from connwatch.contracts import Format

from .wanted import Lines


class Stream:
    """The pieces of one log, in the order in which they were written.

    id: `label|dataset|format|folder family|stem`, the same after a restart. source: index of its
    `Wanted`.
    """

    id: str
    dataset: str
    format: Format[Any]
    source: int

    def read(self, size: int) -> Lines | None:
        """The next whole lines, about `size` bytes at most; None: nothing is there now.

        Never raises for what a file holds or for a file that is gone; that is a `Problem`.
        """
        raise NotImplementedError

    @property
    def pending(self) -> int:
        """Bytes known to be unread; of compressed pieces their size on disk."""
        raise NotImplementedError

    @property
    def path(self) -> str:
        """Where the piece in hand is."""
        raise NotImplementedError

    @property
    def live(self) -> bool:
        """Whether more may come: a plain file at its named place or still settling, a pipe."""
        raise NotImplementedError
