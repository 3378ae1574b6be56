"""Log and alert processor for network connections."""

from __future__ import annotations

import os
import sys
from typing import Final

__version__ = "0.1.0"

#: commands that go on for months beside other work
_LASTING: Final = frozenset({"run", "tail"})

# Every batch wants about the same memory again. Polars' allocator gives it back to the system after
# half a second, and a batch takes as long; where that matters less than room, it is given back at
# once. The allocator reads this when polars is imported.
_DECAY: Final = 0 if set(sys.argv[1:2]) & _LASTING else 2_000
os.environ.setdefault("_RJEM_MALLOC_CONF", f"dirty_decay_ms:{_DECAY}")
