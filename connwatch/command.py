"""Entry point of the command: thin, so that Ctrl-C is quiet while the rest is loaded."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Final

from connwatch import loading

_INTERRUPTED: Final = 130


def main() -> None:
    """Run the command line and exit with its code."""
    loading.begin()
    try:
        from connwatch.cli import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        # A thread may still wait for a pipe that is silent; everything else is closed.
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
