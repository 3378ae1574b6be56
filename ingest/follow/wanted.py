"""What the configuration wants followed, and what a follower gives of it."""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from connwatch.contracts import Block, Format
from connwatch.errors import InputError

from ..opening import STDIN
from .commands import Command

#: what is saved of a piece: small, JSON values only
Saved: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One source of the configuration.

    path: a file, folder, glob or named pipe (absolute), or "-" for standard input. formats: asked
    in this order; forced: the user has named the format, so its only member reads every file.
    from_end: files that are there at the very first start are read from their end. archives: more
    folders and globs where rotated pieces are sought. exclude: globs of paths that are left out.
    label: tells streams of two sources apart that look alike (the sensor). command: what is run
    instead of reading a file; path is its name then.
    """

    path: str
    formats: tuple[Format[Any], ...]
    forced: bool = False
    from_end: bool = False
    archives: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    label: str = ""
    command: Command | None = None

    @property
    def piped(self) -> bool:
        """Whether it is no place in the file system."""
        return self.command is not None or self.path == STDIN

    def reads_otherwise(self, other: Wanted) -> bool:
        """Whether it makes other records of a file than another source does."""
        own, others = ([one.name for one in it.formats] for it in (self, other))
        return self.label != other.label or own != others


@dataclass(frozen=True, slots=True)
class Lines:
    """What was read next of one stream.

    block: whole lines; path, offset and line are those in this piece, decompressed. piece: id of
    the piece they are from, the key of its saved record. before, after: that record as it is
    without and with these lines; a follower begun with `before` gives the same lines again.
    modified: when the file was written last, Unix seconds.
    """

    block: Block
    piece: str
    before: Saved
    after: Saved
    modified: float


@dataclass(frozen=True, slots=True)
class Problem:
    """What cannot be read at present: path, reason, and what may help (None: nothing to say)."""

    path: str
    reason: str
    hint: str | None = None

    @classmethod
    def absent(cls, path: str) -> Problem:
        """Nothing is there that a name, a pattern or a folder stands for."""
        if glob.has_magic(path):
            return cls(path, "matches no file", "files are read when they appear")
        if os.path.isdir(path):  # noqa: PTH112  never raises
            return cls(path, "is a folder without files", "they are read when they appear")
        return cls(path, "does not exist", "it is read when it appears")

    @classmethod
    def of(cls, path: str, error: OSError | InputError) -> Problem:
        """What an error says of a path."""
        if isinstance(error, InputError):
            return cls(path, error.message, error.hint)
        hint = None
        if isinstance(error, PermissionError):
            hint = "give the account that connwatch runs as the right to read it"
        elif error.errno in (errno.EMFILE, errno.ENFILE):
            hint = "raise the limit on open files (ulimit -n, LimitNOFILE=)"
        return cls(path, error.strerror or str(error), hint)
