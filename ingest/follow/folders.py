"""Folders as they are now: a listing is taken again only when its folder has changed."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Final

#: seconds for which a listing is not trusted after its folder changed, because time stamps are
#: coarse; and after which it is taken anew whatever the time stamp says
_COARSE: Final = 0.05
_TRUSTED: Final = 60.0
_DEPTH: Final = 32


@dataclass(slots=True)
class _Listing:
    """names: name -> (inode as the folder tells, whether it is a folder)."""

    stamp: tuple[int, int, int]
    since: float
    taken: float
    names: dict[str, tuple[int, bool]]

    def is_good(self, now: float) -> bool:
        """Whether it still holds if the folder's time stamp is the same."""
        return self.taken - self.since > _COARSE and now - self.taken < _TRUSTED


@dataclass(slots=True)
class Folders:
    """Listings of folders, each looked at once in a round.

    changed: whether any listing is another one than in the round before. failed: folder ->
    error, of those that exist and cannot be listed.
    """

    clock: Callable[[], float]
    changed: bool = True
    failed: dict[str, OSError] = field(default_factory=dict)
    _known: dict[str, _Listing] = field(default_factory=dict)
    _round: set[str] = field(default_factory=set)
    _before: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """Begin a round."""
        for gone in self._before - self._round:
            self._known.pop(gone, None)
        self._before = self._round
        self._round = set()
        self.changed = False
        self.failed = {}

    def names(self, folder: str) -> Mapping[str, tuple[int, bool]]:
        """The folder's entries; none if it does not exist."""
        known = self._known.get(folder)
        if folder in self._round:
            return known.names if known else {}
        self._round.add(folder)
        try:
            status = os.stat(folder or ".")  # noqa: PTH116  many calls, text
            stamp = (status.st_dev, status.st_ino, status.st_mtime_ns)
            now = self.clock()
            if known and known.stamp == stamp and known.is_good(now):
                return known.names
            names = _listed(folder)
        except OSError as error:
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                self.failed[folder] = error
            self.changed = self.changed or known is not None
            self._known.pop(folder, None)
            return {}
        since = known.since if known and known.stamp == stamp else now
        self.changed = self.changed or known is None or known.names != names
        self._known[folder] = _Listing(stamp, since, now, names)
        return names

    def taken(self, folder: str) -> float:
        """When the listing that holds now was taken; it is the same as long as this is."""
        self.names(folder)
        known = self._known.get(folder)
        return known.taken if known else -1.0

    @property
    def looked_at(self) -> frozenset[str]:
        """The folders of this round that exist."""
        return frozenset(self._round & self._known.keys())

    def is_folder(self, path: str) -> bool:
        if path in self._known and path in self._round:
            return True
        return Path(path).is_dir()

    def files(self, wanted: str, exclude: tuple[str, ...] = ()) -> Iterator[str]:
        """The paths that a file, folder or glob names now, folders with all that is in them."""
        for path in self._matches(wanted):
            if self.is_folder(path):
                yield from (p for p in self._walk(path, 0, set()) if not excluded(p, exclude))
            elif not excluded(path, exclude):
                yield path

    def _matches(self, wanted: str) -> Iterator[str]:
        if not glob.has_magic(wanted) or os.path.lexists(wanted):
            if os.path.lexists(wanted):
                yield wanted
            return
        base, parts = split_glob(wanted)
        yield from self._descend(base, parts, 0)

    def _descend(self, folder: str, parts: tuple[str, ...], depth: int) -> Iterator[str]:
        part, rest = parts[0], parts[1:]
        if part == "**":
            if rest:
                yield from self._descend(folder, rest, depth)
            for name, (_, is_folder) in sorted(self.names(folder).items()):
                if is_folder and depth < _DEPTH and not name.startswith("."):
                    yield from self._descend(join(folder, name), parts, depth + 1)
                elif not rest and not name.startswith("."):
                    yield join(folder, name)
            return
        matches = re.compile(fnmatch.translate(part)).match
        for name, (_, is_folder) in sorted(self.names(folder).items()):
            if not matches(name) or (name.startswith(".") and not part.startswith(".")):
                continue
            path = join(folder, name)
            if not rest:
                yield path
            elif is_folder:
                yield from self._descend(path, rest, depth + 1)

    def _walk(self, folder: str, depth: int, above: set[tuple[int, int]]) -> Iterator[str]:
        names = self.names(folder)
        listing = self._known.get(folder)
        if listing is None or listing.stamp[:2] in above or depth > _DEPTH:
            return
        inside = above | {listing.stamp[:2]}
        for name, (_, is_folder) in sorted(names.items()):
            path = join(folder, name)
            if is_folder:
                yield from self._walk(path, depth + 1, inside)
            else:
                yield path


def join(folder: str, name: str) -> str:
    """The path of a name in a folder."""
    return f"{folder}{name}" if folder.endswith("/") or not folder else f"{folder}/{name}"


def split_glob(wanted: str) -> tuple[str, tuple[str, ...]]:
    """The folder before the first part with a wildcard, and the parts from there on."""
    parts = PurePath(wanted).parts
    first = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts) - 1)
    return str(PurePath(*parts[:first])), parts[first:]


def excluded(path: str, exclude: tuple[str, ...]) -> bool:
    """Whether a glob of `exclude` matches the path, or its name if the glob has no slash."""
    return bool(exclude) and any(
        fnmatch.fnmatchcase(path if "/" in one else PurePath(path).name, one) for one in exclude
    )


def _listed(folder: str) -> dict[str, tuple[int, bool]]:
    with os.scandir(folder or ".") as entries:
        return {entry.name: (entry.inode(), _is_folder(entry)) for entry in entries}


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
