"""Follows what is wanted: finds files, knows them again, and gives their streams."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from .stream import Stream
from .wanted import Problem, Saved, Wanted


class Follower:
    """The streams of all wanted sources.

    saved: piece id -> its last committed record. first: there was no earlier run, so only what is
    named is read, and `from_end` holds. settle: seconds without anything new after which a piece
    that was moved away counts as ended. clock: monotonic seconds, asked for settling only.

    streams: by id; `scan` adds to it. problems: what cannot be read at present; gone when it
    heals. skipped: path -> reason, of files that are no log that can be read. forgotten: ids of
    pieces whose files are gone, whose records may be deleted.
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
        self.skipped: dict[str, str] = {}
        self.forgotten: list[str] = []
        raise NotImplementedError

    def scan(self) -> None:
        """Look at folders and names again: new files, moved ones, vanished ones."""
        raise NotImplementedError

    def watched(self) -> list[str]:
        """Folders and files to put under watch."""
        raise NotImplementedError

    def close(self) -> None:
        """Close every file."""
        raise NotImplementedError
