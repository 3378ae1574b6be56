"""Log and alert processor for network connections."""

from __future__ import annotations

import os
import sys
from typing import Final

__version__ = "0.1.0"

#: commands that go on for months beside other work
_LASTING: Final = frozenset({"run", "tail"})

# Every batch wants about the same memory again. Polars' allocator has many arenas and gives it back
# to the system after half a second, and a batch of a replay takes as long; of two arenas, what one
# thread frees is what another one takes. What runs for months works on smaller batches, and keeps
# nothing any longer: given back after 50 ms, a run takes a fifth more time in the system, and the
# peak is no lower. It has one arena: of two, which threads share one is chance, and one run in
# three took a fifth more memory. The allocator reads this when polars is imported.
_OPTIONS: Final = (
    "narenas:1,dirty_decay_ms:500,muzzy_decay_ms:0"
    if set(sys.argv[1:2]) & _LASTING
    else "narenas:2,dirty_decay_ms:10000"
)
os.environ.setdefault("_RJEM_MALLOC_CONF", _OPTIONS)
# Nothing here multiplies matrices. numpy starts threads for that, one for each core, which spin for
# a while when it is imported: a quarter of what a short command takes.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
