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


def markdown() -> str:
    """The types as the page on analytics lists them."""
    return "\n".join(_section(one) for one in ANALYTICS.values())


def _section(one: Analytic) -> str:
    rows = [
        f"| `{name}` | {count.meaning} | {', '.join(f'`{column}`' for column in count.group)} |"
        for name, count in one.counts.items()
    ]
    by = ", ".join(f"`{name}`" for name in one.by)
    head = "| Threshold | What is counted | Counted by |\n|---|---|---|\n"
    said = f"{one.meaning} Alerts are by {by} unless the rule says otherwise."
    return f"### {one.type}\n\n{said}\n\n{head}" + "\n".join(rows) + "\n"
