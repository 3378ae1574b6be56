"""All checks on all rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from .checks import (
    absent,
    conditions,
    delays,
    described,
    loading,
    same,
    thresholds,
    units,
    unused,
    values,
)
from .finding import Finding
from .subjects import Subjects, gather

#: what is looked for; a new check is one file and one line here
CHECKS: Final[tuple[Callable[[Subjects], Iterable[Finding]], ...]] = (
    loading.check,
    values.check,
    conditions.check,
    units.check,
    thresholds.check,
    delays.check,
    same.check,
    unused.check,
    absent.check,
    described.check,
)


def lint(paths: Sequence[Path]) -> list[Finding]:
    """What is probably wrong with the rules in these files and folders, by file and line.
    RuleError for a path that does not exist."""
    return look(gather(paths))


def look(subjects: Subjects) -> list[Finding]:
    """What all checks find, each once."""
    found = dict.fromkeys(finding for check in CHECKS for finding in check(subjects))
    return sorted(found, key=lambda finding: finding.place)
