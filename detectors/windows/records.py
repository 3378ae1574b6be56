"""The records that windows still see, in parts and in little room.

What comes is a part of its own, so that what is there need not be copied with it; small parts are
put together. A large one keeps texts of columns that repeat few of them once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from ..compact import compact
from .arrays import Positions
from .spec import Flags

#: columns that repeat few texts
_FEW: Final = (
    "log.file.path",
    "network.transport",
    "zeek.connection.service",
    "zeek.connection.state",
)
#: rows of a part from which on such texts are kept once
_MANY: Final = 1 << 12
#: rows that a part has at most when it is put together of others
_MOST: Final = 1 << 16
#: parts from which on neighbours are put together whatever their size
_PARTS: Final = 64
#: rows that no window sees any more leave their part once they are one in so many
_SHARE: Final = 8


@dataclass(frozen=True, slots=True)
class Records:
    """Kept columns of records, ascending by their number (`record`); `connwatch.log_time` is one
    of them."""

    parts: tuple[pl.DataFrame, ...] = ()

    def __len__(self) -> int:
        return sum(part.height for part in self.parts)

    @property
    def numbers(self) -> Positions:
        """Those of all."""
        return self._integers("record")

    @property
    def times(self) -> Positions:
        """Their log times, µs."""
        return self._integers("connwatch.log_time")

    def _integers(self, name: str) -> Positions:
        columns = [part[name].to_physical().to_numpy() for part in self.parts]
        return np.concatenate(columns) if columns else np.empty(0, dtype=np.int64)

    def taken(self, wanted: Flags) -> list[pl.DataFrame]:
        """Some of them, in their order."""
        found, start = [], 0
        for part in self.parts:
            rows = np.flatnonzero(wanted[start : start + part.height])
            if len(rows):
                found.append(_plain(part[rows]))
            start += part.height
        return found

    def without(self, seen: Flags) -> Records:
        """Those that are seen; others stay while they are few."""
        parts, start = [], 0
        for part in self.parts:
            here = seen[start : start + part.height]
            start += part.height
            left = int(np.count_nonzero(here))
            if (part.height - left) * _SHARE <= part.height:
                parts.append(part)
            elif left:
                parts.append(compact(part.filter(pl.Series(here)), part.height))
        return Records(tuple(parts))

    def followed_by(self, new: pl.DataFrame, of: int) -> Records:
        """These and then others; of: rows of the frame that they are taken from."""
        parts = [*self.parts, compact(new, of)] if new.height else list(self.parts)
        while len(parts) > 1 and _small(parts[-2], 2 * parts[-1].height, parts[-1]):
            parts[-2:] = [_together(parts[-2:])]
        if len(parts) > _PARTS:
            parts = _fewer(parts)
        # What windows of seconds see goes with the next batch: packing the last is not worth while.
        return Records((*map(_packed, parts[:-1]), *parts[-1:]))


def _small(part: pl.DataFrame, most: int, following: pl.DataFrame) -> bool:
    """Whether a part is to be put together with the one that follows it."""
    return part.height <= most and part.height + following.height <= _MOST


def _fewer(parts: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """The same rows in parts of which no two neighbours could be one."""
    runs: list[list[pl.DataFrame]] = []
    for part in parts:
        if runs and sum(one.height for one in runs[-1]) + part.height <= _MOST:
            runs[-1].append(part)
        else:
            runs.append([part])
    return [run[0] if len(run) == 1 else _together(run) for run in runs]


def _together(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    whole = pl.concat([_plain(part) for part in parts])
    return compact(whole, whole.height).rechunk()


def _packed(part: pl.DataFrame) -> pl.DataFrame:
    """With texts that repeat kept once; they go with the part, since no other shares them."""
    few = [name for name in _FEW if part.schema.get(name) == pl.String]
    if part.height < _MANY or not few:
        return part
    once = pl.Categorical(pl.Categories.random())
    return part.with_columns(pl.col(few).cast(once))


def _plain(part: pl.DataFrame) -> pl.DataFrame:
    return part.with_columns(pl.col(pl.Categorical).cast(pl.String))
