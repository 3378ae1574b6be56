"""Rules that cannot be used, or that no source can ever feed."""

from __future__ import annotations

from collections.abc import Iterator

from ..finding import Finding
from ..subjects import Subjects


def check(subjects: Subjects) -> Iterator[Finding]:
    for error in subjects.found.errors:
        yield Finding(
            error.where or "",
            "",
            "error",
            "unusable",
            error.message,
            error.hint or "correct it; the other rules run without this one",
        )
    for one in subjects.found.unfed:
        retired = "retired" in one.reason
        advice = "leave the rule out, or read logs that have this"
        yield Finding(
            one.where,
            one.title,
            "warning",
            "unfed",
            f"can never match here: {one.reason}",
            "docs/rules.md shows correlations" if retired else advice,
        )
