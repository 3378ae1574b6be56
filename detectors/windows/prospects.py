"""Which groups are worth a closer look: bounds that cost less than what they save.

Groups are told apart by some bits of their hash. Groups that share them are looked at together, so
what is said of them is too much rather than too little, and never that one cannot fire that can.
"""

from __future__ import annotations

from math import ceil, floor
from typing import Final

import numpy as np

from .arrays import Positions, changes, stable_order
from .held import Held
from .spec import Threshold, Window

#: bits by which groups are told apart, at the most
_BITS: Final = 14
#: parts of a window, and of the time in all, in which items are counted
_PARTS: Final = 4
_SPANS: Final = 64
#: a number from which on it is worth while to look whether it can be reached
WORTH: Final = 4


def prospects(window: Window, held: Held, place: int, old: int) -> Positions:
    """The positions of items in groups that may fire in the window at `place` and have an item of
    this batch; these begin at position `old`."""
    part, group = held.part[place], held.group[place]
    fresh = part[old:]
    if not fresh.any():
        return np.empty(0, dtype=np.int64)
    bits = min(_BITS, len(group).bit_length() + 2)
    slot = (group >> np.uint64(64 - bits)).astype(np.int64)
    worth = np.zeros(1 << bits, dtype=np.bool_)
    worth[slot[old:][fresh]] = True
    least = _least(window)
    if least < WORTH:
        return np.flatnonzero(part & worth[slot])
    at = np.flatnonzero(part)
    worth &= _most(held.time[at], slot[at], len(worth), window.timespan) >= least
    at = at[worth[slot[at]]]
    if window.measure == "value_count" and len(at):
        order = stable_order(held.value[place][at].view(np.uint64))
        different = at[order[changes(held.value[place][at[order]])]]
        worth &= np.bincount(slot[different], minlength=len(worth)) >= least
        at = at[worth[slot[at]]]
    return at


def _least(window: Window) -> int:
    """How many items a window must have to fire, as far as that is known."""
    condition = window.condition
    if window.ceiling is None or not isinstance(condition, Threshold):
        return 0
    number = condition.number
    return ceil(number) if condition.operator == "gte" else floor(number) + 1


def _most(time: Positions, slot: Positions, slots: int, timespan: int) -> Positions:
    """By slot a number of items that no window of this length has more of."""
    span = int(time[-1]) - int(time[0])
    width = max(timespan // _PARTS, span // _SPANS, 1)
    # So many parts a window can touch, wherever it begins.
    touched = (timespan - 2) // width + 2
    number = (time - time[0]) // width
    counts = np.bincount(number * slots + slot, minlength=(span // width + 1) * slots)
    total = np.cumsum(counts.reshape(-1, slots), axis=0)
    total[touched:] -= total[:-touched].copy()
    found: Positions = total.max(axis=0)
    return found
