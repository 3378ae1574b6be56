"""What the C library does with memory that is free, where it is glibc: numpy's arrays are in it.

A replay wants the same again at once; a process that runs for months gives it back.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any, Final

#: parameters of glibc's mallopt, see malloc.h
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
#: bytes of a block from which on it is one of its own, and given back once it is free: of what runs
#: for months; and the most that glibc takes
_LARGE: Final = 512 << 10
_LARGEST: Final = 32 << 20
#: bytes that may be free at the end of a heap before they are given back
_KEPT: Final = 256 << 20


def keep_much() -> None:
    """Have the C library keep what is free, to be used again: pages that were given back have to
    be asked for and cleared with every block. Nothing where there is no glibc."""
    mallopt = _function("mallopt")
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, _KEPT)


def keep_little() -> None:
    """Have the C library give large blocks back as soon as they are free. By default glibc raises
    the size from which on it does that with every one that it sees, up to 32 MiB, and keeps what
    is below, for each thread apart: what is kept of a batch, between what is not, held a hundred
    megabytes. Nothing where there is no glibc."""
    mallopt = _function("mallopt")
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, _LARGE)
        mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """Give back what is free between blocks that are not."""
    malloc_trim = _function("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


@cache
def _function(name: str) -> Any:
    """A function of the C library; None where it has none."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
