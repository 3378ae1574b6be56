"""Entry point of the command: thin, so that Ctrl-C is quiet while the rest is loaded."""

from __future__ import annotations

import os
import sys
from typing import Final

#: commands that run for months
_LIVE: Final = ("run", "tail")
#: options of Polars' allocator (jemalloc), which reads them once, when it is loaded
_ALLOCATOR: Final = "_RJEM_MALLOC_CONF"
#: what is free goes back to the system at once, and few arenas keep anything
_LITTLE: Final = "narenas:2,dirty_decay_ms:0,muzzy_decay_ms:0"


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:2] and sys.argv[1] in _LIVE:
        os.environ.setdefault(_ALLOCATOR, _LITTLE)
    try:
        from connwatch.cli import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
