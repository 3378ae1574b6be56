"""The arithmetic of sliding windows, on arrays: what each window holds at each of its items."""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np

from .arrays import Hashes, Positions, stable_order
from .items import Items
from .spec import Flags, Numbers, Presence, Threshold, Window

#: older than every time
_NEVER = np.iinfo(np.int64).min


def measured(window: Window, items: Items) -> Numbers:
    """What the window of each item of the batch holds, counts up to its ceiling; for a condition on
    rules, 1 where it holds, else 0."""
    found = _measured(window, items)
    return found if window.ceiling is None else np.minimum(found, window.ceiling)


def _measured(window: Window, items: Items) -> Numbers:
    if isinstance(window.condition, Presence):
        found = _present(window.condition, window, items)
        if window.measure == "temporal_ordered":
            found &= _ordered(window.condition, window, items)
        return found.astype(np.float64)
    if window.measure == "event_count":
        return (np.arange(1, len(items) + 1) - items.starts).astype(np.float64)
    if window.measure == "value_count":
        return _distinct(items, items.value.view(np.uint64))
    if window.measure == "temporal":
        rules = (items.number * 256 + items.base).view(np.uint64) << np.uint64(24)
        return _distinct(items, rules)
    if window.measure == "temporal_ordered":
        return _longest_order(window, items)
    if window.measure in ("value_sum", "value_avg"):
        starts = items.starts
        total = np.concatenate(([0], np.cumsum(items.value.astype(np.int64))))
        sums = (total[1:] - total[starts]).astype(np.float64)
        if window.measure == "value_sum":
            return sums
        return sums / (np.arange(1, len(items) + 1) - starts)
    return _quantile(items, window.percentile / 100)


def fires(window: Window, items: Items, found: Numbers) -> Flags:
    """Whether the condition holds at the end of each item's record; false before that."""
    if isinstance(window.condition, Threshold):
        return window.condition.holds(found) & items.closes
    return (found > 0) & items.closes


def _distinct(items: Items, values: Hashes) -> Numbers:
    """How many different values each window holds; values of different groups are different.

    A value is there from each of its items until the next one with it, or until the item is too
    old: one is added at the item and taken off there, and the sum so far is the count.
    """
    order = stable_order(values)
    ordered = values[order]
    same = ordered[1:] == ordered[:-1]
    gone = items.ends
    before = order[:-1][same]
    gone[before] = np.minimum(gone[before], order[1:][same])
    taken = np.bincount(gone, minlength=len(items) + 1)[: len(items)]
    return np.cumsum(1 - taken).astype(np.float64)


def _quantile(items: Items, share: float) -> Numbers:
    """A quantile of the numbers of each window, between two of them in proportion."""
    starts = items.starts
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
