"""The items that a rule's windows see, kept from batch to batch as columns of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import polars_hash as plh

from .arrays import Hashes, Positions, stable_order
from .spec import Flags, Window

#: what hashes are multiplied by, where two become one
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)

Values = npt.NDArray[np.uint64] | npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Correlated:
    """What the engine needs of a rule over many records.

    key: of the rule. bases: keys of the rules that feed it, in its order. windows: any of them
    fires. group: names of the fields of its alerts' group; group_by: their columns, by base.
    alerts: whether it has alerts of its own, or only feeds other rules. names: what the rule calls
    its bases. actor: the side that is to blame, source or destination (None: that is not said).
    """

    key: str
    bases: tuple[str, ...]
    windows: tuple[Window, ...]
    group: tuple[str, ...]
    group_by: tuple[tuple[str, ...], ...]
    alerts: bool = True
    names: tuple[str, ...] = ()
    actor: str | None = None

    @property
    def timespan(self) -> int:
        """Of its longest window, µs."""
        return max(window.timespan for window in self.windows)

    @property
    def columns(self) -> frozenset[str]:
        """Every column that it reads."""
        read = {name for window in self.windows for name in window.columns}
        return frozenset(read | {name for per in self.group_by for name in per})


@dataclass(frozen=True, slots=True)
class Held:
    """Items in the order of their records.

    record: number of the record. time: µs. base: position of the base rule. hit: whether it was a
    hit already. alert: hash of the alert's group. By window: group, value (as in `items.Items`),
    and part: whether the item takes part, which it does not where a field has no value.

    Most windows have the alert's group: then both are one array, which is kept once.
    """

    record: Positions
    time: Positions
    base: npt.NDArray[np.uint8]
    hit: Flags
    alert: Hashes
    group: tuple[Hashes, ...]
    value: tuple[Values, ...]
    part: tuple[Flags, ...]

    @classmethod
    def none(cls, rule: Correlated) -> Held:
        """No items of a rule."""
        numbers, hashes = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.uint64)
        flags = np.empty(0, dtype=np.bool_)
        windows = len(rule.windows)
        return cls(
            numbers, numbers, np.empty(0, dtype=np.uint8), flags, hashes,
            (hashes,) * windows, (hashes,) * windows, (flags,) * windows,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.record)

    @property
    def single(self) -> bool:
        """Whether all items are of the first base rule, so that each is another record."""
        return not self.base.any()

    def followed_by(self, later: Held) -> Held:
        """These items and then others."""
        if not len(self):
            return later

        def both(one: npt.NDArray[np.generic], two: npt.NDArray[np.generic]) -> npt.NDArray[Any]:
            return np.concatenate((one, two))

        def each(one: tuple[Any, ...], two: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(both(a, b) for a, b in zip(one, two, strict=True))

        alert = both(self.alert, later.alert)
        groups = (
            alert if one is self.alert and two is later.alert else both(one, two)
            for one, two in zip(self.group, later.group, strict=True)
        )
        return Held(
            both(self.record, later.record),
            both(self.time, later.time),
            both(self.base, later.base),
            both(self.hit, later.hit),
            alert,
            tuple(groups),
            each(self.value, later.value),
            each(self.part, later.part),
        )

    def take(self, rows: Positions | slice) -> Held:
        """Some of the items."""
        alert = self.alert[rows]
        return Held(
            self.record[rows],
            self.time[rows],
            self.base[rows],
            self.hit[rows],
            alert,
            tuple(alert if one is self.alert else one[rows] for one in self.group),
            tuple(one[rows] for one in self.value),
            tuple(one[rows] for one in self.part),
        )

    def sharing(self) -> Held:
        """The same, with what is equal kept once."""
        groups = (self.alert if np.array_equal(one, self.alert) else one for one in self.group)
        return replace(self, group=tuple(groups))

    def mark(self, hits: Positions) -> None:
        """Note that these are hits, and with them the items of the same records and groups."""
        if self.single:
            self.hit[hits] = True
            return
        wanted = np.unique(_pairs(self.record[hits], self.alert[hits]))
        self.hit[np.isin(_pairs(self.record, self.alert), wanted)] = True

    def latest(self, place: int, window: Window) -> Flags:
        """What one window must remember: items that may yet become hits, and as many of the latest
        of each group, of each value the last one, as it counts."""
        part = self.part[place]
        kept = part & ~self.hit
        if window.ceiling is None or np.array_equal(kept, part):
            return part
        at = np.flatnonzero(part)
        if window.measure == "value_count":
            at = at[last_of_each(self.value[place][at])]
        group = self.group[place][at]
        order = stable_order(group)
        group = group[order]
        latest = np.ones(len(order), dtype=np.bool_)
        latest[: -window.ceiling] = group[: -window.ceiling] != group[window.ceiling :]
        kept[at[order[latest]]] = True
        return kept


def last_of_each(values: Values) -> Positions:
    """The positions of the last item with each value, ascending."""
    order = stable_order(values.view(np.uint64))
    ordered = values[order]
    last = np.ones(len(order), dtype=np.bool_)
    last[:-1] = ordered[1:] != ordered[:-1]
    found = np.zeros(len(order), dtype=np.bool_)
    found[order[last]] = True
    return np.flatnonzero(found)


def _pairs(record: Positions, alert: Hashes) -> Hashes:
    """One number for a record and a group."""
    return alert ^ (record.astype(np.uint64) * _ODD)


def hashed(column: pl.Series) -> tuple[Hashes, Flags]:
    """64 bits that tell the values of a column from others, and whether each row has a value."""
    texts = column.cast(pl.String).to_frame("x")
    found = texts.select(plh.col("x").nchash.xxh3_64()).to_series()
    return found.fill_null(0).to_numpy(), column.is_not_null().to_numpy()


def joined(several: Sequence[tuple[Hashes, Flags]]) -> tuple[Hashes, Flags]:
    """The same of the values of several columns together."""
    values, there = several[0]
    for more, also in several[1:]:
        values, there = values * _ODD + more, there & also
    return values, there
