"""What processes that are measured inherit."""

from __future__ import annotations

import os


def own_environment() -> dict[str, str]:
    """Without what connwatch, imported here, has set for this process."""
    own = ("_RJEM_MALLOC_CONF", "OPENBLAS_NUM_THREADS")
    return {name: value for name, value in os.environ.items() if name not in own}
