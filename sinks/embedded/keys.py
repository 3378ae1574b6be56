"""What the store holds already, told without reading the events.

Identical records have an identical @timestamp. A key is two 64-bit numbers: seconds of the
timestamp and 32 bits of the id, then 64 more bits of the id. Key files are sorted and small (16
bytes an event), and only those whose time it is are read. Looking up is numpy's: the keys of a
commit of fifty events are found in microseconds, where a frame would take milliseconds.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import polars_hash as plh
from numpy.typing import NDArray

from .files import Stored

_SHIFT: Final = 2**32
#: keys of files that an index keeps mapped into memory, at most: 16 bytes each
_MAPPED: Final = 4_000_000

Numbers = NDArray[np.uint64]


def keys(ids: pl.Series, times: pl.Series) -> pl.DataFrame:
    """Columns hi, lo (UInt64) of ids (32 hex digits) and their @timestamp."""
    digits = ids.str.join("").item()
    halves = np.frombuffer(bytes.fromhex(digits), ">u8").reshape(-1, 2).astype(np.uint64)
    first, second = halves[:, 0], halves[:, 1]
    seconds = (times.to_physical().to_numpy() // 1_000_000).astype(np.uint64)
    return pl.DataFrame(
        {
            "hi": seconds * _SHIFT + first // _SHIFT,
            "lo": first % _SHIFT * _SHIFT + second // _SHIFT,
        }
    )


def hit_keys(hits: pl.DataFrame) -> pl.DataFrame:
    """Columns hi, lo of hits (`HIT_SCHEMA`)."""
    both = hits.select(
        id=plh.concat_str("rule", "event.id", separator="\x00")
        .nchash.xxh3_128(return_binary=True, byte_order="big")
        .bin.encode("hex"),
        time="@timestamp",
    )
    return keys(both["id"], both["time"])


def ordered(frame: pl.DataFrame) -> pl.DataFrame:
    """As key files are: by hi. Those that share it, hardly ever two, are in any order."""
    return frame[np.argsort(frame["hi"].to_numpy())]


class Keys:
    """Keys in the order of hi."""

    __slots__ = ("hi", "lo")

    def __init__(self, hi: Numbers, lo: Numbers) -> None:
        self.hi, self.lo = hi, lo

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Keys:
        return cls(frame["hi"].to_numpy(), frame["lo"].to_numpy())

    def find(self, hi: Numbers, lo: Numbers) -> NDArray[np.intp]:
        """The row of each key; -1 where there is none."""
        found = np.full(len(hi), -1, dtype=np.intp)
        at = np.searchsorted(self.hi, hi, "left")
        todo = np.flatnonzero(at < len(self.hi))
        # Keys that share all of hi lie side by side; in all likelihood there is just one.
        while len(todo):
            here = at[todo]
            same = self.hi[here] == hi[todo]
            hit = same & (self.lo[here] == lo[todo])
            found[todo[hit]] = here[hit]
            todo = todo[same & ~hit]
            at[todo] += 1
            todo = todo[at[todo] < len(self.hi)]
        return found

    def at(self, rows: NDArray[np.bool_]) -> Keys:
        return Keys(self.hi[rows], self.lo[rows])


@dataclass(slots=True)
class Held:
    """Sorted keys in use. low, high: bounds of hi. own: this run wrote them itself, so it has met
    all of them; else seen says which (None: none)."""

    low: int
    high: int
    own: bool = False
    seen: NDArray[np.uint8] | None = None
    keys: Keys | None = None

    @classmethod
    def of(cls, keys: Keys, *, own: bool, seen: NDArray[np.uint8] | None = None) -> Held:
        return cls(int(keys.hi[0]), int(keys.hi[-1]), own, seen, keys)

    def fate(self, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        """Of each row: 1 known from before this run, 2 met in it."""
        if self.own:
            return np.full(len(rows), 2, dtype=np.uint8)
        if self.seen is None:
            return np.ones(len(rows), dtype=np.uint8)
        return self.seen[rows] + np.uint8(1)

    def met(self, rows: NDArray[np.intp], size: int) -> NDArray[np.uint8]:
        """The same; from now on they are met."""
        fate = self.fate(rows)
        if not self.own:
            if self.seen is None:
                self.seen = np.zeros(size, dtype=np.uint8)
            self.seen[rows] = 1
        return fate

    def seen_keys(self, keys: Keys) -> Keys:
        """Those of its keys that this run has met."""
        if self.own:
            return keys
        seen = np.zeros(len(keys.hi), np.bool_) if self.seen is None else self.seen.astype(np.bool_)
        return keys.at(seen)


@dataclass(slots=True)
class Index:
    """The keys of one kind, from the catalogue's files and from what is not in one yet.

    `classify` is asked in the order in which the run meets its records. _recent: keys that are
    committed as small parts; they stay in memory until `tidy` has put them into a file.
    """

    folder: Path
    _held: dict[str, Held] = field(default_factory=dict)
    _pending: list[Held] = field(default_factory=list)
    _recent: Held | None = None
    _mapped: OrderedDict[str, Keys] = field(default_factory=OrderedDict)

    @classmethod
    def begin(cls, folder: Path, files: Sequence[Stored], recent: pl.DataFrame) -> Index:
        """What the store has; recent: hi, lo of its small parts."""
        found = cls(folder, {stored.name: _span(stored) for stored in files})
        if recent.height:
            found._recent = Held.of(Keys.of(ordered(recent)), own=False)
        return found

    def __bool__(self) -> bool:
        """Whether there are any that are committed."""
        return bool(self._held) or self._recent is not None

    def committed(self, stored: Stored | None) -> None:
        """The oldest pending keys are in a file now, or in a small part (None)."""
        held = self._pending.pop(0)
        if stored is not None:
            self._held[stored.name] = Held(held.low, held.high, own=True)
        elif self._recent is None:
            self._recent = held
        else:
            self._recent = _joined(self._recent, held)

    def exchanged(self, old: Sequence[Stored], new: Sequence[Stored]) -> None:
        """New files have what is left of the keys of old ones; or, where there are no old ones, of
        recent keys. What the run has met of them it has still met."""
        before = [(self._held.pop(one.name), one.name) for one in old if one.name in self._held]
        recent = None if old else self._recent
        for stored in new:
            held = _span(stored)
            if recent is not None:
                self._carry_over(recent, recent.keys, held, stored.name)
                self._forget_recent(self._keys(stored.name))
            elif len(before) == len(old) and all(one.own for one, _ in before):
                held.own = True
            else:
                for one, name in before:
                    if one.own or one.seen is not None:
                        self._carry_over(one, self._keys(name), held, stored.name)
            self._held[stored.name] = held
        for gone in old:
            self._mapped.pop(gone.name, None)

    def _carry_over(self, old: Held, its: Keys | None, new: Held, name: str) -> None:
        """What is met of old keys is met in the file that has them now."""
        assert its is not None  # noqa: S101  recent keys are in memory
        keys, met = self._keys(name), old.seen_keys(its)
        rows = keys.find(met.hi, met.lo)
        new.met(rows[rows >= 0], len(keys.hi))

    def _forget_recent(self, keys: Keys) -> None:
        if self._recent is None or self._recent.keys is None:
            return
        left = keys.find(self._recent.keys.hi, self._recent.keys.lo) < 0
        seen = self._recent.seen
        self._recent = (
            Held.of(
                self._recent.keys.at(left),
                own=self._recent.own,
                seen=None if seen is None else seen[left],
            )
            if left.any()
            else None
        )

    def classify(self, wanted: pl.DataFrame) -> tuple[pl.Series, pl.DataFrame]:
        """Of each row of `wanted` (hi, lo): 0 new, 1 known from before this run, 2 repeated in it.

        New and known rows count as met from now on. Also the new ones as key files have them, to be
        written; they are remembered until they are `committed`.
        """
        every = Keys.of(wanted)
        order = np.argsort(every.hi)  # found faster side by side
        fate = _repeated(wanted, order)
        rows = order[fate[order] == 0]
        hi, lo = every.hi[rows], every.lo[rows]
        for held, keys, there, at in self._places(hi, lo):
            fate[rows[there]] = held.met(at, len(keys.hi))
        new = fate[rows] == 0
        fresh = Keys(hi, lo) if new.all() else Keys(hi[new], lo[new])
        if len(fresh.hi):
            self._pending.append(Held.of(fresh, own=True))
        return pl.Series(fate), pl.DataFrame({"hi": fresh.hi, "lo": fresh.lo})

    def look(self, wanted: pl.DataFrame) -> pl.Series:
        """Of each row of `wanted` (hi, lo): 0 not there, 1 known from before this run, 2 met in it.
        It counts as met no more than before."""
        every = Keys.of(wanted)
        order = np.argsort(every.hi)
        fate = np.zeros(len(order), dtype=np.uint8)
        for held, _, there, at in self._places(every.hi[order], every.lo[order]):
            fate[order[there]] = np.maximum(fate[order[there]], held.fate(at))
        return pl.Series(fate)

    def _places(
        self, hi: Numbers, lo: Numbers
    ) -> Iterator[tuple[Held, Keys, NDArray[np.intp], NDArray[np.intp]]]:
        """Where keys, ascending by hi, are: what holds some of them, which they are, and where they
        are in that."""
        if not len(hi):
            return
        for held, keys in self._overlapping(int(hi[0]), int(hi[-1])):
            low, high = np.searchsorted(hi, np.array([held.low, held.high + 1], np.uint64))
            at = keys.find(hi[low:high], lo[low:high])
            met = at >= 0
            if met.any():
                yield held, keys, low + np.flatnonzero(met), at[met]

    def _overlapping(self, low: int, high: int) -> Iterator[tuple[Held, Keys]]:
        for name, held in self._held.items():
            if held.low <= high and held.high >= low:
                yield held, self._keys(name)
        recent = [] if self._recent is None else [self._recent]
        for held in (*self._pending, *recent):
            if held.low <= high and held.high >= low:
                assert held.keys is not None  # noqa: S101  they are in memory
                yield held, held.keys

    def _keys(self, name: str) -> Keys:
        """The keys of a file, mapped into memory as long as there are not too many of them."""
        found = self._mapped.pop(name, None)
        if found is None:
            found = Keys.of(pl.read_ipc(self.folder / name))
        self._mapped[name] = found
        while len(self._mapped) > 1 and sum(len(k.hi) for k in self._mapped.values()) > _MAPPED:
            self._mapped.popitem(last=False)
        return found


def _span(stored: Stored) -> Held:
    """A file's keys before anybody has looked at them."""
    low, high = stored.first // 1_000_000 * _SHIFT, stored.last // 1_000_000 * _SHIFT + _SHIFT - 1
    return Held(low, high)


def _joined(one: Held, other: Held) -> Held:
    """Two sets of keys in memory as one."""
    assert one.keys is not None  # noqa: S101  they are in memory
    assert other.keys is not None  # noqa: S101
    hi = np.concatenate([one.keys.hi, other.keys.hi])
    lo = np.concatenate([one.keys.lo, other.keys.lo])
    order = np.lexsort((lo, hi))
    own = one.own and other.own
    seen = None
    if not own:
        seen = np.concatenate([_seen(one), _seen(other)])[order]
    return Held.of(Keys(hi[order], lo[order]), own=own, seen=seen)


def _seen(held: Held) -> NDArray[np.uint8]:
    assert held.keys is not None  # noqa: S101  they are in memory
    if held.seen is not None:
        return held.seen
    return np.full(len(held.keys.hi), int(held.own), dtype=np.uint8)


def _repeated(wanted: pl.DataFrame, order: NDArray[np.intp]) -> NDArray[np.uint8]:
    """2 for each row that stands earlier in the frame already, else 0. order: rows by hi."""
    hi = wanted["hi"].to_numpy()[order]
    if not (hi[1:] == hi[:-1]).any():
        return np.zeros(wanted.height, dtype=np.uint8)
    first = wanted.select(pl.struct("hi", "lo").is_first_distinct()).to_series().to_numpy()
    return np.where(first, np.uint8(0), np.uint8(2))
