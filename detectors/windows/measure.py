"""The arithmetic of sliding windows, on arrays: what each window holds at each of its items.

Items stand in one array, group by group, each group in the order of its records. The window of an
item at time t is what its group has from after t - W up to the item itself: items that come later
with the same time do not belong to it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .spec import Flags, Numbers, Presence, Threshold, Window

Positions = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
#: older than every time
_NEVER = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Items:
    """What one window is about, group after group.

    group: of each item. time: µs. record: number of the record, growing within a group; a record
    that matches several base rules has an item for each. base: position of the base rule. value:
    hash of the group and of the values that are counted, or the number that is measured. times: the
    different times, ascending; rank: of each item's time among them.
    """

    group: Hashes
    time: Positions
    record: Positions
    base: npt.NDArray[np.uint8]
    value: npt.NDArray[np.uint64] | npt.NDArray[np.int64]
    times: Positions
    rank: Positions

    def __len__(self) -> int:
        return len(self.group)

    @cached_property
    def begins(self) -> Flags:
        """Whether an item is the first of its group."""
        return changes(self.group)

    @cached_property
    def number(self) -> Positions:
        """Of each item's group, from 0."""
        return np.cumsum(self.begins) - 1

    @cached_property
    def closes(self) -> Flags:
        """Whether an item is the last of its record."""
        found = np.ones(len(self), dtype=np.bool_)
        found[:-1] = (self.record[1:] != self.record[:-1]) | self.begins[1:]
        return found

    @cached_property
    def _place(self) -> Positions:
        """Each item's group and time as one ascending number."""
        return self.number * (len(self.times) + 1) + self.rank

    def _first_after(self, moments: Positions) -> Positions:
        """For each item, the first position of its group whose time is after a moment (one of each
        different time); the group's end where there is none."""
        after = np.searchsorted(self.times, moments, side="right")[self.rank]
        return np.searchsorted(self._place, self._place - self.rank + after)

    def starts(self, timespan: int) -> Positions:
        """The position where each item's window begins."""
        return self._first_after(self.times - timespan)

    def ends(self, timespan: int) -> Positions:
        """The position of the first item that does not see an item any more for its age."""
        return self._first_after(self.times + (timespan - 1))


def changes(values: npt.NDArray[Any]) -> Flags:
    """Whether each value is another than the one before."""
    found = np.ones(len(values), dtype=np.bool_)
    found[1:] = values[1:] != values[:-1]
    return found


def stable_order(values: Hashes) -> Positions:
    """The positions of hashes in ascending order, equal ones in the order that they have.

    Numbers sort several times faster than positions do by their numbers; so the upper bits of each
    hash are sorted with its position in the lower ones, and hashes that differ only there, of which
    there are hardly ever any, are sorted in the slow way.
    """
    bits = np.uint64(len(values).bit_length())
    low = (np.uint64(1) << bits) - np.uint64(1)
    keys = (values & ~low) | np.arange(len(values), dtype=np.uint64)
    keys.sort()
    order = (keys & low).astype(np.int64)
    ordered = values[order]
    upper = ordered >> bits
    if np.any((upper[1:] == upper[:-1]) & (ordered[1:] != ordered[:-1])):
        return np.argsort(values, kind="stable")
    return order


def ranked(times: Positions) -> tuple[Positions, Positions]:
    """The different times of an ascending array, and the rank of each of its times among them."""
    fresh = changes(times)
    return times[fresh], np.cumsum(fresh) - 1


def measured(window: Window, items: Items) -> Numbers:
    """What the window of each item holds, counts up to its ceiling; for a condition on rules, 1
    where it holds, else 0."""
    found = _measured(window, items)
    return found if window.ceiling is None else np.minimum(found, window.ceiling)


def _measured(window: Window, items: Items) -> Numbers:
    if isinstance(window.condition, Presence):
        found = _present(window.condition, window, items)
        if window.measure == "temporal_ordered":
            found &= _ordered(window.condition, window, items)
        return found.astype(np.float64)
    if window.measure == "event_count":
        return (np.arange(1, len(items) + 1) - items.starts(window.timespan)).astype(np.float64)
    if window.measure == "value_count":
        return _distinct(items, items.value.view(np.uint64), window.timespan)
    if window.measure == "temporal":
        rules = (items.number * 256 + items.base).view(np.uint64) << np.uint64(24)
        return _distinct(items, rules, window.timespan)
    if window.measure == "temporal_ordered":
        return _longest_order(window, items)
    if window.measure in ("value_sum", "value_avg"):
        starts = items.starts(window.timespan)
        total = np.concatenate(([0], np.cumsum(items.value.astype(np.int64))))
        sums = (total[1:] - total[starts]).astype(np.float64)
        if window.measure == "value_sum":
            return sums
        return sums / (np.arange(1, len(items) + 1) - starts)
    return _quantile(items, window.timespan, window.percentile / 100)


def fires(window: Window, items: Items, found: Numbers) -> Flags:
    """Whether the condition holds at the end of each item's record; false before that."""
    if isinstance(window.condition, Threshold):
        return window.condition.holds(found) & items.closes
    return (found > 0) & items.closes


def _distinct(items: Items, values: Hashes, timespan: int) -> Numbers:
    """How many different values each window holds; values of different groups are different.

    A value is there from each of its items until the next one with it, or until the item is too
    old: one is added at the item and taken off there, and the sum so far is the count.
    """
    order = stable_order(values)
    ordered = values[order]
    same = ordered[1:] == ordered[:-1]
    gone = items.ends(timespan)
    before = order[:-1][same]
    gone[before] = np.minimum(gone[before], order[1:][same])
    taken = np.bincount(gone, minlength=len(items) + 1)[: len(items)]
    return np.cumsum(1 - taken).astype(np.float64)


def _quantile(items: Items, timespan: int, share: float) -> Numbers:
    """A quantile of the numbers of each window, between two of them in proportion."""
    starts = items.starts(timespan)
    values: list[int] = items.value.astype(np.int64).tolist()
    found = np.empty(len(items))
    inside: list[int] = []
    begin = 0
    # A sorted list that items enter and leave: row by row, as nothing sorted can be shared.
    for position, (start, value) in enumerate(zip(starts.tolist(), values, strict=True)):
        for old in values[begin:start]:
            del inside[bisect_left(inside, old)]
        begin = start
        insort(inside, value)
        place = (len(inside) - 1) * share
        below = int(place)
        above = min(below + 1, len(inside) - 1)
        found[position] = inside[below] + (inside[above] - inside[below]) * (place - below)
    return found


def _running(items: Items, times: Positions) -> Positions:
    """The latest of `times` that each group has had so far."""
    # Groups one after the other: what a group has is above all that those before it have.
    distinct, ranks = np.unique(times, return_inverse=True)
    height = len(distinct)
    top = np.maximum.accumulate(items.number * height + ranks)
    found: Positions = distinct[top - items.number * height]
    return found


def _before_record(items: Items, times: Positions) -> Positions:
    """What stood in `times` at the end of the record before an item's, in its group."""
    opens = np.ones(len(items), dtype=np.bool_)
    opens[1:] = items.closes[:-1]
    first = np.maximum.accumulate(np.where(opens, np.arange(len(items)), 0))
    return np.where(items.begins[first], _NEVER, times[first - 1])


def _inside(times: Positions, window: Window, items: Items) -> Flags:
    """Whether each item's window reaches back to a time."""
    found: Flags = (times != _NEVER) & (times > items.time - window.timespan)
    return found


def _seen(items: Items, base: int) -> Positions:
    """The time of the latest item of a base rule, up to each item."""
    return _running(items, np.where(items.base == base, items.time, _NEVER))


def _present(condition: Presence, window: Window, items: Items) -> Flags:
    """Whether the window of each item has the rules that it must have."""
    if condition.kind == "rule":
        seen = _seen(items, condition.base)
        return _inside(seen, window, items)
    parts = [_present(part, window, items) for part in condition.parts]
    if condition.kind == "not":
        return ~parts[0]
    join = np.logical_and if condition.kind == "and" else np.logical_or
    found: Flags = join.reduce(parts)
    return found


def _ordered(condition: Presence, window: Window, items: Items) -> Flags:
    """Whether the window has the rules of a condition one after the other, as they are named."""
    latest = _chain(condition, None, items)
    if latest is None:
        return np.ones(len(items), dtype=np.bool_)
    return _inside(latest, window, items)


def _chain(condition: Presence, before: Positions | None, items: Items) -> Positions | None:
    """Of the chains that a condition completes, the latest beginning up to each item; None: it asks
    for no rule to come. before: the same of what must come first."""
    if condition.kind == "rule":
        begun = items.time if before is None else _before_record(items, before)
        return _running(items, np.where(items.base == condition.base, begun, _NEVER))
    if condition.kind == "not":
        return before
    if condition.kind == "and":
        for part in condition.parts:
            before = _chain(part, before, items)
        return before
    ends = [_chain(part, before, items) for part in condition.parts]
    known = [end for end in ends if end is not None]
    if len(known) < len(ends):
        return before
    found: Positions = np.maximum.reduce(known)
    return found


def _longest_order(window: Window, items: Items) -> Numbers:
    """How many different rules each window has, one after the other in the order of the rule."""
    bases = len(window.group_by)
    best = np.zeros(len(items))
    #: by the rule that a chain ends with: the latest beginning of chains of the present length
    chains = [_chain(Presence("rule", base=base), None, items) for base in range(bases)]
    for length in range(1, bases + 1):
        for latest in chains:
            if latest is None:
                continue
            best[_inside(latest, window, items)] = length
        grown: list[Positions | None] = []
        for base in range(bases):
            shorter = [chain for chain in chains[:base] if chain is not None]
            before = np.maximum.reduce(shorter) if shorter else None
            grown.append(
                None if before is None else _chain(Presence("rule", base=base), before, items)
            )
        chains = grown
    return best
