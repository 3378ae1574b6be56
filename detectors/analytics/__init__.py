"""What an `analytic:` block of a rule can count: one file for each type, one line for each here."""

from __future__ import annotations

from typing import Final

from .brute_force import BRUTE_FORCE
from .duration import DURATION
from .flood import FLOOD
from .scan import SCAN
from .spec import Analytic

ANALYTICS: Final[dict[str, Analytic]] = {
    one.type: one for one in (SCAN, FLOOD, BRUTE_FORCE, DURATION)
}
