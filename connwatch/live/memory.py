"""Memory of a process that runs for months: what is free goes back to the system."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

#: parameters of glibc's mallopt, see malloc.h
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
#: bytes of a block from which on it is one of its own, and given back once it is free
_LARGE: Final = 1 << 20


def give_back() -> None:
    """Have the C library give large blocks back as soon as they are free. By default glibc raises
    the size from which on it does that with every one that it sees, up to 32 MiB, and keeps what
    is below. Nothing where there is no glibc."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, _LARGE)
