"""What the C library does with free memory, as the program asks it to."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

#: prints how many pages were asked for 50 arrays of 2 MiB, made one after the other
_ASK = """
import resource, sys
import numpy as np
from connwatch import memory
getattr(memory, sys.argv[1])()
np.ones(1 << 18)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    np.ones(1 << 18)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

#: prints how many MiB less there are when 62 MiB between a few arrays that stay were given back
_HOLES = """
import resource
import numpy as np
from connwatch.memory import give_back, keep_little
def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() >> 20
keep_little()
arrays = [np.ones(1 << 14) for _ in range(512)]
arrays = arrays[::32]
before = held()
give_back()
print(before - held())
"""
_GLIBC = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt") or not sys.platform.startswith("linux"),
    reason="no glibc here",
)


def said(program: str, *words: str) -> int:
    """The number that a program prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, *words], check=True, capture_output=True, text=True
    )
    return int(done.stdout)


@_GLIBC
def test_free_memory_is_used_again_or_given_back() -> None:
    # A page may be larger than 4 KiB.
    assert said(_ASK, "keep_little") > 1_000 > 10 * said(_ASK, "keep_much")


@_GLIBC
def test_what_is_free_between_what_is_not_is_given_back() -> None:
    assert said(_HOLES) > 40
