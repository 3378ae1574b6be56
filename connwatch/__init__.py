"""Log and alert processor for network connections."""

from __future__ import annotations

import os

__version__ = "0.1.0"

# Every batch wants about the same memory again. Polars' allocator gives it back to the system after
# half a second, and a batch takes as long; it reads this when polars is imported.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:2000")
