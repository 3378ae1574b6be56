"""Arrays of hashes and positions: where values change, and their order."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .spec import Flags

Positions = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


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
