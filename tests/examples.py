"""How many examples a property is asked."""

from __future__ import annotations

import os
from typing import Final

#: per cent of what `make test-all` asks; `make test` asks less of each property
_SHARE: Final = int(os.environ.get("CONNWATCH_EXAMPLES", "100"))
_LEAST: Final = 5


def examples(number: int) -> int:
    """So many by `make test-all`; a share of them where CONNWATCH_EXAMPLES says so."""
    return max(min(number, _LEAST), number * _SHARE // 100)
