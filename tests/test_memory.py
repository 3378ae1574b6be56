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


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="no glibc here")
def test_free_memory_is_used_again_or_given_back() -> None:
    def asked(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", _ASK, how], check=True, capture_output=True, text=True
        )
        return int(done.stdout)

    # A page may be larger than 4 KiB.
    assert asked("keep_little") > 1_000 > 10 * asked("keep_much")
