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
    bits = min(_BITS, len(held).bit_length() + 2)
    slots = 1 << bits
    slot = (held.group[place] >> np.uint64(64 - bits)).astype(np.int64)
    part = held.part[place]
    if not part.all():
        slot[~part] = slots  # one more, which is not worth it
    worth = np.zeros(slots + 1, dtype=np.bool_)
    worth[slot[old:]] = True
    worth[slots] = False
    least = _least(window)
    if least >= WORTH:
        worth &= np.bincount(slot, minlength=slots + 1) >= least
        at = np.flatnonzero(worth[slot])
        if len(at):
            several = np.flatnonzero(worth)
            place_of = np.cumsum(worth) - 1
            most = _most(held.time[at], place_of[slot[at]], len(several), window.timespan)
            worth[several[most < least]] = False
        if window.measure == "value_count" and worth.any():
            at = np.flatnonzero(worth[slot])
            value = held.value[place][at].view(np.uint64)
            order = stable_order(value)
            different = at[order[changes(value[order])]]
            worth &= np.bincount(slot[different], minlength=slots + 1) >= least
    return np.flatnonzero(worth[slot])


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
    total = counts.reshape(-1, slots)
    np.cumsum(total, axis=0, out=total)
    begun: Positions = total[:touched][-1]
    later = total[touched:] - total[:-touched]
    found: Positions = np.maximum(begun, later.max(axis=0, initial=0))
    return found
