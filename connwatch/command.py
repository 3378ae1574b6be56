"""Entry point of the command: thin, so that Ctrl-C is quiet while the rest is loaded."""

from __future__ import annotations

import sys

from connwatch import loading


def main() -> None:
    """Run the command line and exit with its code."""
    loading.begin()
    try:
        from connwatch.cli import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
