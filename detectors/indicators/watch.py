"""Lists on disk that may change while they are used.

Nothing is watched by itself: who uses the lists asks `reload_if_changed` when it suits, between
two batches. A list that cannot be read any more stays as it was, and the error is kept to be shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from connwatch.errors import ConnwatchError

from .lists import IndicatorList, Stamp, read_list, stamp_of
from .match import Indicators
from .table import ENTRY_SCHEMA, REJECT_SCHEMA, ListOptions


class Lists:
    """The indicators of some files, read again on demand.

    indicators: of what was given, then of all files, in their order. given: lists that do not
    stand in a file of their own, such as those written into a rule. errors: of files that could not
    be read, or read again; empty once they can. Raises what `read_list` raises when it is made: a
    run does not begin with half its lists.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        options: ListOptions | None = None,
        given: Sequence[IndicatorList] = (),
    ) -> None:
        self._options = options
        self._given = tuple(given)
        self._lists: dict[Path, IndicatorList] = {path: read_list(path, options) for path in paths}
        self._stamps: dict[Path, Stamp | None] = {
            path: read.stamp for path, read in self._lists.items()
        }
        self._errors: dict[Path, ConnwatchError] = {}
        self.indicators = self._joined()

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(self._lists)

    @property
    def lists(self) -> tuple[IndicatorList, ...]:
        return (*self._given, *self._lists.values())

    @property
    def errors(self) -> tuple[ConnwatchError, ...]:
        return tuple(self._errors.values())

    @property
    def rejects(self) -> pl.DataFrame:
        """What could not be used in any of the files, `REJECT_SCHEMA`."""
        frames = [read.rejects for read in self.lists]
        return pl.concat(frames) if frames else pl.DataFrame(schema=REJECT_SCHEMA)

    def reload_if_changed(self) -> bool:
        """Read again the files whose time, size or inode changed; True when `indicators` is new."""
        changed = False
        for path in self._lists:
            stamp = _stamp(path)
            if stamp == self._stamps[path]:
                continue
            self._stamps[path] = stamp
            try:
                read = read_list(path, self._options)
            except ConnwatchError as error:
                self._errors[path] = error
                continue
            self._errors.pop(path, None)
            self._lists[path], self._stamps[path] = read, read.stamp
            changed = True
        if changed:
            self.indicators = self._joined()
        return changed

    def _joined(self) -> Indicators:
        frames = [read.entries for read in self.lists]
        entries = pl.concat(frames) if frames else pl.DataFrame(schema=ENTRY_SCHEMA)
        return Indicators.of(entries)


def _stamp(path: Path) -> Stamp | None:
    """None for a file that is not there."""
    try:
        return stamp_of(path.stat())
    except OSError:
        return None
