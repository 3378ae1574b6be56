"""Memory of a process that runs for months: what is free goes back to the system."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any, Final

#: parameters of glibc's mallopt, see malloc.h
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
#: bytes of a block from which on it is one of its own, and given back once it is free
_LARGE: Final = 1024 << 10


def keep_little() -> None:
    """Have the C library give large blocks back as soon as they are free. By default glibc raises
    the size from which on it does that with every one that it sees, up to 32 MiB, and keeps what
    is below. Nothing where there is no glibc."""
    mallopt = _function("mallopt")
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, _LARGE)


def give_back() -> None:
    """Give back what is free between blocks that are not."""
    malloc_trim = _function("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


@cache
def _function(name: str) -> Any:
    """A function of the C library; None where it has none."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
