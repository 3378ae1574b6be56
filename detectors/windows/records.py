"""The records that windows still see, in parts and in little room.

What comes is a part of its own, so that what is there need not be copied with it; small parts are
put together. A large one is packed: texts of columns that repeat few of them are kept once, numbers
in as few bytes as they need, addresses as numbers, ids as bytes instead of digits, and texts that
are all of one size without a place and a size for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import polars_iptools as ip

from ..compact import compact
from .arrays import Positions
from .spec import Flags

#: rows of a part from which on it is packed
_MANY: Final = 1 << 12
#: rows that tell whether a column may repeat its texts; and for one text so many at least
_TRIED: Final = 1 << 10
_REPEATED: Final = 4
#: column of 32 hex digits
_ID: Final = "event.id"
#: how columns of addresses end
_ADDRESS: Final = ".ip"
#: columns that are read with every batch
_READ: Final = ("record", "connwatch.log_time")
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
                found.append(pl.DataFrame([_plain(one) for one in part[rows].iter_columns()]))
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
    """The same rows in one part, made column by column: all at once take twice the room."""
    columns = []
    for name in parts[0].columns:
        whole = pl.concat([_plain(part[name]).to_frame() for part in parts])
        columns.append(compact(whole, whole.height).rechunk().to_series())
    return pl.DataFrame(columns)


def _packed(part: pl.DataFrame) -> pl.DataFrame:
    """In less room, unless it is that already. What texts are kept once with goes with the part,
    since no other shares it."""
    if part.height < _MANY or any(_is_packed(dtype) for dtype in part.dtypes):
        return part
    return pl.DataFrame([_small_column(column) for column in part.iter_columns()])


def _small_column(column: pl.Series) -> pl.Series:
    if column.name in _READ:
        return column
    if column.dtype == pl.Int64:
        return column.shrink_dtype()
    if column.dtype != pl.String:
        return column
    if column.name == _ID:
        return _sized(column, column.str.decode("hex", strict=False))
    if column.head(_TRIED).n_unique() * _REPEATED <= min(column.len(), _TRIED):
        texts = column.n_unique()
        if texts * _REPEATED <= column.len():
            numbers = next((size for most, size in _NUMBERS if texts <= most), pl.UInt32)
            return column.cast(pl.Categorical(pl.Categories.random(physical=numbers)))
    if column.name.endswith(_ADDRESS):
        found = column.to_frame().select(ip.ipv4_to_numeric(pl.all())).to_series()
        return found if found.null_count() == column.null_count() else column
    return _sized(column, column.cast(pl.Binary))


def _sized(column: pl.Series, data: pl.Series) -> pl.Series:
    """Data as bytes one behind the other, if all is of one size; else the column that it is of."""
    first = data.first(ignore_nulls=True)
    if not (isinstance(first, bytes) and first):
        return column
    found = data.bin.reinterpret(dtype=pl.Array(pl.UInt8, len(first)))
    return found if found.null_count() == column.null_count() else column


def _is_packed(dtype: pl.DataType) -> bool:
    return dtype in _NARROW or isinstance(dtype, (pl.Categorical, pl.Array))


def _plain(column: pl.Series) -> pl.Series:
    """As it was before it was packed."""
    dtype = column.dtype
    if isinstance(dtype, pl.Categorical):
        return column.cast(pl.String)
    if dtype == pl.UInt32:
        return column.to_frame().select(ip.numeric_to_ipv4(pl.all())).to_series()
    if isinstance(dtype, pl.Array):
        column = column.cast(pl.List(pl.UInt8)).cast(pl.Binary)
        return column.bin.encode("hex") if column.name == _ID else column.cast(pl.String)
    if dtype == pl.Binary:
        return column.bin.encode("hex")  # an id, as older snapshots have it
    return column.cast(pl.Int64) if dtype in _NARROW else column


#: what numbers, addresses and ids are packed as; no column of an event is that
_NARROW: Final = (pl.Int8, pl.Int16, pl.Int32, pl.UInt32, pl.Binary)
#: texts up to which they are numbered in so few bytes; one number stands for none
_NUMBERS: Final = ((1 << 8) - 2, pl.UInt8), ((1 << 16) - 2, pl.UInt16)
