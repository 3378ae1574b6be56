"""Arrays in groups: rows of one group stand one behind the other."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

#: no value
NIL: Final = -1


def starts(group: Ints) -> Flags:
    """Which rows are the first of their group."""
    begins = np.ones(len(group), bool)
    np.not_equal(group[1:], group[:-1], out=begins[1:])
    return begins


def lasts(group: Ints) -> Flags:
    """Which rows are the last of their group."""
    ends = np.ones(len(group), bool)
    np.not_equal(group[1:], group[:-1], out=ends[:-1])
    return ends


def previous(which: Flags, group: Ints) -> Ints:
    """For each row, the last row before it in its group that is one of `which`; NIL: none."""
    rows = np.arange(len(which))
    last = np.maximum.accumulate(np.where(which, rows, NIL)) if len(which) else rows
    before = np.empty_like(last)
    before[:1] = NIL
    before[1:] = last[:-1]
    begins = starts(group)
    first: Ints = np.maximum.accumulate(np.where(begins, rows, 0)) if len(which) else rows
    return np.where(before >= first, before, NIL)


def first_of(which: Flags, group: Ints, groups: int) -> Ints:
    """By group, the first of `which`; NIL: none. Groups need not stand together."""
    at = np.flatnonzero(which)[::-1]
    made = np.full(groups, NIL)
    made[group[at]] = at  # written from the last one to the first one, the first one stays
    return made
