"""Which files are there now: those that are named, and those that may be pieces of their logs."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Final

from ..families import family, is_rotation_folder, numbered, rotated, stem
from ..opening import STDIN
from .folders import Folders, excluded, join, split_glob
from .piece import Key, Spot
from .wanted import Wanted

_DEPTH: Final = 2


@dataclass(frozen=True, slots=True)
class Sight:
    """A file that was seen.

    source: index of the `Wanted` it is sought for. named: its path is what that names. placed:
    named, and nothing in the name says that it was rotated away. pipe: a named pipe.
    """

    spot: Spot
    source: int
    named: bool
    placed: bool = False
    pipe: bool = False


@dataclass(slots=True)
class Places:
    """Looks at what is wanted.

    resting: files that need no look of their own while their names stay as they are.
    missing: named files that do not exist. failed: path -> error, of what cannot be looked at.
    doubled: path -> reason, of files that are read as another source says.
    """

    wanted: Sequence[Wanted]
    clock: Callable[[], float]
    resting: set[Key] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    failed: dict[str, OSError] = field(default_factory=dict)
    doubled: dict[str, str] = field(default_factory=dict)
    folders: Folders = field(init=False)
    _spots: dict[str, tuple[float, Spot]] = field(default_factory=dict)
    _used: dict[str, tuple[float, Spot]] = field(default_factory=dict)
    _hot: dict[str, Spot | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folders = Folders(self.clock)

    def unchanged(self) -> bool:
        """Whether no name was added, taken away or given to another file since `look`."""
        folders = self.folders.looked_at
        self.folders.begin()
        for folder in folders:
            self.folders.names(folder)
        if self.folders.changed or self.folders.failed:
            return False
        return all(
            _key(_status(path)) == (s and s.key)
            for path, s in self._hot.items()
            if s is None or s.key not in self.resting
        )

    def watched(self) -> list[str]:
        """Folders to watch: those of named files, of wildcards, and where missing ones may come."""
        watched: set[str] = set()
        for wanted in self.wanted:
            if wanted.path == STDIN:
                watched.add(STDIN)
            if wanted.piped:
                continue
            place = PurePath(wanted.path)
            if glob.has_magic(wanted.path):
                place = PurePath(split_glob(wanted.path)[0])
            elif not self.folders.is_folder(wanted.path):
                place = place.parent
            while not Path(place).is_dir() and place != place.parent:
                place = place.parent
            watched.add(str(place))
        watched.update(_folder(path) for path, spot in self._hot.items() if spot is not None)
        return sorted(watched)

    def look(
        self, stems: Iterable[tuple[int, str, str]], thorough: bool
    ) -> tuple[dict[Key, Sight], dict[Key, Sight]]:
        """Files that are named, and files of the same logs that are not, by identity.

        stems: (source, folder, stem) of logs known already. thorough: look at resting files too.
        """
        self.folders.begin()
        self.missing, self.failed, self.doubled = [], {}, {}
        hot: dict[str, Spot | None] = {}
        named: dict[Key, Sight] = {}
        logs = set(stems)
        for source, wanted in enumerate(self.wanted):
            if wanted.piped:
                continue
            empty = True
            for path in self.folders.files(wanted.path, wanted.exclude):
                empty = False
                spot, pipe = self._spot(path, thorough)
                if spot is None:
                    continue
                if spot.key not in self.resting:
                    hot[path] = spot
                placed = not numbered(path)
                before = named.get(spot.key)
                if before is None or (placed and not before.placed and before.source == source):
                    named[spot.key] = Sight(spot, source, True, placed, pipe)
                elif self.wanted[before.source].reads_otherwise(wanted):
                    self.doubled[path] = f"read as the source that names {before.spot.path} says"
                logs.add((source, _folder(path), stem(path)))
            if empty:
                self.missing.append(wanted.path)
                hot[wanted.path] = None
                if not glob.has_magic(wanted.path):
                    logs.add((source, str(PurePath(wanted.path).parent), stem(wanted.path)))
        self._hot = hot
        siblings = self._siblings(logs, named, thorough)
        self._spots, self._used = self._used, {}
        self.failed.update(self.folders.failed)
        return named, siblings

    def _siblings(
        self, logs: set[tuple[int, str, str]], named: dict[Key, Sight], thorough: bool
    ) -> dict[Key, Sight]:
        """Files of these logs in their families' folders and in the archives."""
        found: dict[Key, Sight] = {}
        by_folder: dict[tuple[int, str], set[str]] = {}
        for source, folder, name in logs:
            for place in {folder, family(join(folder, name))}:
                by_folder.setdefault((source, place), set()).add(name)
        paths: list[tuple[int, str]] = []
        for (source, folder), names in by_folder.items():
            paths.extend((source, path) for path in self._rotated(folder, names, 0))
        for source, wanted in enumerate(self.wanted):
            names = {name for number, _, name in logs if number == source}
            for archive in wanted.archives:
                paths.extend((source, p) for p in self.folders.files(archive) if stem(p) in names)
        for source, path in paths:
            if path in self._used or excluded(path, self.wanted[source].exclude):
                continue
            spot, pipe = self._spot(path, thorough)
            if spot is not None and not pipe and spot.key not in named and spot.key not in found:
                found[spot.key] = Sight(spot, source, False)
        return found

    def _rotated(self, folder: str, names: set[str], depth: int) -> Iterator[str]:
        for name, (_, is_folder) in self.folders.names(folder).items():
            if is_folder:
                if depth < _DEPTH and is_rotation_folder(name):
                    yield from self._rotated(join(folder, name), names, depth + 1)
                continue
            path = join(folder, name)
            if path not in self._used and stem(name) in names and rotated(path):
                yield path

    def _spot(self, path: str, thorough: bool) -> tuple[Spot | None, bool]:
        """Where a path leads now, and whether that is a pipe; None: nowhere."""
        # The name of a file that was deleted may have been given to a new one with its inode; that
        # changes the folder, so a file is looked at again when its folder's listing was.
        taken = self.folders.taken(_folder(path))
        known = self._spots.get(path)
        if known and not thorough and known[0] == taken and known[1].key in self.resting:
            self._used[path] = known
            return known[1], False
        status = _status(path)
        if isinstance(status, OSError):
            if not isinstance(status, FileNotFoundError | NotADirectoryError):
                self.failed[path] = status
            return None, False
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISFIFO(status.st_mode):
            return None, False
        spot = Spot.at(path, status)
        self._used[path] = taken, spot
        return spot, stat.S_ISFIFO(status.st_mode)


def _folder(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _status(path: str) -> os.stat_result | OSError:
    try:
        return os.stat(path)  # noqa: PTH116  many calls, text
    except OSError as error:
        return error


def _key(status: os.stat_result | OSError) -> Key | None:
    return None if isinstance(status, OSError) else (status.st_dev, status.st_ino)
