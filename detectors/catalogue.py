"""The table of rules in `rules/README.md`, made from the rules themselves."""

from __future__ import annotations

from collections.abc import Iterable

from connwatch.alert import SEVERITY
from connwatch.schema import BY_NAME

from .ruleset import Described

_NEVER = BY_NAME["event.id"].null

_HEAD = """# The bundled rules

This page is made from the rules by `connwatch rules table`. A rule says in its description why its
thresholds are what they are, and has the events that it hits and misses beside it
(`NAME.events.yml`; `connwatch rules test` runs them). Levels are Sigma's. A rule that is off fires
too often to be on for everybody; its file says why. *Reads* names those of a rule's fields that a
record may lack.

| Rule | Level | On | ATT&CK | What it finds | Reads |
|---|---|---|---|---|---|
"""


def markdown(rules: Iterable[Described]) -> str:
    """The page, weightiest rules first."""
    ordered = sorted(rules, key=lambda rule: (-SEVERITY.get(rule.level, 0), rule.title))
    return _HEAD + "".join(_row(rule) for rule in ordered)


def _row(rule: Described) -> str:
    techniques = " ".join(
        tag.removeprefix("attack.").upper() for tag in rule.tags if tag.startswith("attack.t")
    )
    first = " ".join((rule.description or "").split()).split(". ")[0].rstrip(".").split(": ")[0]
    state = "on" if rule.enabled else "off"
    reads = ", ".join(f"`{name}`" for name in sorted(rule.needs) if BY_NAME[name].null != _NEVER)
    cells = (rule.title, rule.level, state, techniques, f"{first}.", reads or "-")
    return f"| {' | '.join(cells)} |\n"
