"""What a check says: where, of which rule, what is wrong, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["error", "warning", "note"]

#: the gravest first
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. where: file:line. rule: its title ("" where there is none). check:
    what found it, one word. advice: what to do."""

    where: str
    rule: str
    severity: Severity
    check: str
    what: str
    advice: str

    @property
    def place(self) -> tuple[str, int, int]:
        """Sorts findings by file and line, the gravest of a line first."""
        file, _, line = self.where.rpartition(":")
        numbered = line.isdecimal()
        return (
            file if numbered else self.where,
            int(line) if numbered else 0,
            SEVERITIES.index(self.severity),
        )
