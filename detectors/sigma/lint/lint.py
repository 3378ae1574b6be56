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
    emitted,
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
    emitted.check,
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


def lint(paths: Sequence[Path], filled: frozenset[str] | None = None) -> list[Finding]:
    """What is probably wrong with the rules in these files and folders, by file and line. filled:
    the columns that have a value in the logs at hand; None: do not look at that. RuleError for a
    path that does not exist."""
    return look(gather(paths, filled))


def look(subjects: Subjects) -> list[Finding]:
    """What all checks find, each once."""
    found = dict.fromkeys(finding for check in CHECKS for finding in check(subjects))
    return sorted(found, key=lambda finding: finding.place)
