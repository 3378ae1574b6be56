"""The items of one window, group by group: what the arithmetic of windows works on.

Items stand in one array, group by group, each group in the order of its records. The window of an
item at time t is what its group has from after t - W up to the item itself: items that come later
with the same time do not belong to it.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from .arrays import Hashes, Positions, changes, stable_order
from .held import Held, Values
from .spec import Flags


class Items:
    """What one window is about, group after group.

    at: the position of each item in `held`. begins: whether it is the first of its group. fresh:
    whether it is of this batch; only for these, and for what they see, it is known what windows
    hold.
    """

    def __init__(self, held: Held, place: int, at: Positions, since: Positions) -> None:
        """at: positions in `held` of whole groups of the window at `place`, ascending. since: of
        each item of this batch, which are the last ones, the number of the first record that its
        window may see."""
        group = held.group[place][at]
        order = stable_order(group)
        self.at: Positions = at[order]
        self._held, self._place, self._since = held, place, since
        self._group = group[order]
        self.begins = changes(self._group)
        self._old = len(held) - len(since)
        self.fresh: Flags = self.at >= self._old

    def __len__(self) -> int:
        return len(self.at)

    @property
    def group(self) -> Hashes:
        """The hash of each item's group."""
        return self._group

    @cached_property
    def time(self) -> Positions:
        """µs."""
        return self._held.time[self.at]

    @cached_property
    def record(self) -> Positions:
        """The number of the record, growing within a group; a record that matches several base
        rules has an item for each."""
        return self._held.record[self.at]

    @cached_property
    def base(self) -> npt.NDArray[np.uint8]:
        """The position of the base rule."""
        return self._held.base[self.at]

    @cached_property
    def value(self) -> Values:
        """Hash of the group and of the values that are counted, or the number that is measured."""
        return self._held.value[self._place][self.at]

    @cached_property
    def number(self) -> Positions:
        """Of each item's group, from 0."""
        return np.cumsum(self.begins) - 1

    @cached_property
    def closes(self) -> Flags:
        """Whether an item is the last of its record."""
        found = np.ones(len(self), dtype=np.bool_)
        if self._held.single:
            return found
        found[:-1] = (self.record[1:] != self.record[:-1]) | self.begins[1:]
        return found

    @cached_property
    def starts(self) -> Positions:
        """The position where each item's window begins; for items of batches before, where their
        group does."""
        first = int(self._held.record[0])
        # Each item's group and record as one ascending number.
        group = self.number * (int(self._held.record[-1]) - first + 1)
        found: Positions = np.flatnonzero(self.begins)[self.number]
        fresh = self.fresh
        wanted = group[fresh] + np.maximum(self._since[self.at[fresh] - self._old] - first, 0)
        found[fresh] = np.searchsorted(group + (self.record - first), wanted)
        return found

    @property
    def ends(self) -> Positions:
        """The position of the first item of the batch that does not see an item any more for its
        age; where there is none, the end of its group."""
        count = np.bincount(self.starts, minlength=len(self))
        found: Positions = np.cumsum(count)
        return found
