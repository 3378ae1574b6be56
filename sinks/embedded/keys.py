"""What the store holds already, told without reading the events.

Identical records have an identical @timestamp. A key is two 64-bit numbers: seconds of the
timestamp and 32 bits of the id, then 64 more bits of the id. Key files are sorted and small (16
bytes an event), and only those whose time it is are read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import polars as pl

from .files import Stored

_SHIFT: Final = 2**32


def keys(ids: pl.Series, times: pl.Series) -> pl.DataFrame:
    """Columns hi, lo (UInt64) of ids (32 hex digits) and their @timestamp."""
    return pl.DataFrame({"id": ids, "time": times}).select(
        hi=_second(pl.col("time")) * _SHIFT + _bits(0, 8),
        lo=_bits(8, 16),
    )


def _second(time: pl.Expr) -> pl.Expr:
    return (time.dt.epoch("us") // 1_000_000).cast(pl.UInt64)


def _bits(offset: int, digits: int) -> pl.Expr:
    return pl.col("id").str.slice(offset, digits).str.to_integer(base=16, dtype=pl.UInt64)


def ordered(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sort("hi", "lo")


@dataclass(slots=True)
class Held:
    """A sorted key frame in use. seen: which rows this run has come across; None: all of them,
    because this run wrote them itself."""

    frame: pl.DataFrame
    low: int
    high: int
    seen: pl.Series | None

    @classmethod
    def of(cls, frame: pl.DataFrame, *, own: bool) -> Held:
        seen = None if own else pl.zeros(frame.height, pl.UInt8, eager=True)
        return cls(frame, int(frame["hi"][0]), int(frame["hi"][-1]), seen)


def positions(held: pl.DataFrame, wanted: pl.DataFrame) -> pl.Series:
    """Row of `held` (sorted) that equals each row of `wanted`; null where none does."""
    his, los = held["hi"], held["lo"]
    at = his.search_sorted(wanted["hi"], "left")
    found = pl.Series([None], dtype=pl.UInt32).new_from_index(0, wanted.height)
    last = held.height - 1
    open_rows = pl.Series([True]).new_from_index(0, wanted.height)
    # Keys that share all of hi lie side by side; in all likelihood there is just one.
    while bool(open_rows.any()):
        here = pl.DataFrame({"at": at}).select(pl.col("at").clip(0, last)).to_series()
        same_hi = (his.gather(here) == wanted["hi"]) & (at <= last) & open_rows
        hit = same_hi & (los.gather(here) == wanted["lo"])
        found = (
            pl.DataFrame({"f": found, "h": hit, "at": here.cast(pl.UInt32)})
            .select(pl.when("h").then("at").otherwise("f"))
            .to_series()
        )
        open_rows = same_hi & ~hit
        at = at + 1
    return found


@dataclass(slots=True)
class Index:
    """The keys of one kind, from the catalogue's files and from what is not yet committed.

    `classify` is asked in the order in which the run meets its records.
    """

    folder: Path
    files: list[Stored]
    _held: dict[str, Held] = field(default_factory=dict)
    _own: list[Held] = field(default_factory=list)

    def add(self, stored: Stored) -> None:
        """A committed file takes the place of the oldest uncommitted keys."""
        self.files.append(stored)
        self._held[stored.name] = Held(pl.DataFrame(), self._own[0].low, self._own[0].high, None)
        self._own.pop(0)

    def classify(self, wanted: pl.DataFrame) -> pl.Series:
        """Of each row of `wanted` (hi, lo): 0 new, 1 known from before this run, 2 repeated in it.

        New and known rows count as met from now on. New ones must be handed to `pending`.
        """
        fate = _repeated(wanted)
        lookups = wanted.with_row_index("row").filter(fate == 0)
        for held, file in self._overlapping(lookups):
            low, high = held.low, held.high
            part = lookups.filter((pl.col("hi") >= low) & (pl.col("hi") <= high))
            if part.is_empty():
                continue
            frame = held.frame if file is None else self._frame(file)
            at = positions(frame, part)
            met = at.is_not_null()
            if not bool(met.any()):
                continue
            rows, at = part["row"].filter(met), at.filter(met)
            if held.seen is None:
                fate = fate.scatter(rows, 2)
                continue
            before = held.seen.gather(at)
            held.seen = held.seen.scatter(at, 1)
            fate = fate.scatter(rows, before + 1)
        return fate

    def pending(self, fresh: pl.DataFrame) -> pl.DataFrame:
        """Remember new rows until they are committed; gives them back sorted, to be written."""
        sorted_rows = ordered(fresh)
        if not sorted_rows.is_empty():
            self._own.append(Held.of(sorted_rows, own=True))
        return sorted_rows

    def _overlapping(self, wanted: pl.DataFrame) -> Iterable[tuple[Held, Stored | None]]:
        if wanted.is_empty():
            return
        low, high = int(wanted["hi"].min()), int(wanted["hi"].max())  # type: ignore[arg-type]
        first, last = low // _SHIFT * 1_000_000, high // _SHIFT * 1_000_000 + 999_999
        for stored in self.files:
            if stored.first <= last and stored.last >= first:
                yield self._hold(stored), stored
        for held in self._own:
            if held.low <= high and held.high >= low:
                yield held, None

    def _hold(self, stored: Stored) -> Held:
        held = self._held.get(stored.name)
        if held is None:
            frame = self._frame(stored)
            held = Held(
                pl.DataFrame(),
                int(frame["hi"][0]),
                int(frame["hi"][-1]),
                pl.zeros(stored.rows, pl.UInt8, eager=True),
            )
            self._held[stored.name] = held
        return held

    def _frame(self, stored: Stored) -> pl.DataFrame:
        return pl.read_ipc(self.folder / stored.name)


def _repeated(wanted: pl.DataFrame) -> pl.Series:
    """2 for each row that stands earlier in the frame already, else 0."""
    if wanted["lo"].n_unique() == wanted.height:
        return pl.zeros(wanted.height, pl.UInt8, eager=True)
    first = wanted.select(pl.struct("hi", "lo").is_first_distinct()).to_series()
    return (~first).cast(pl.UInt8) * 2
