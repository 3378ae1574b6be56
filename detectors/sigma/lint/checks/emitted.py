"""Fields that are in the schema, but that none of the logs at hand ever fills."""

from __future__ import annotations

from collections.abc import Iterator

from ..finding import Finding
from ..formula import Comparison, comparisons, no_value
from ..subjects import Many, Single, Subjects


def check(subjects: Subjects) -> Iterator[Finding]:
    emitted = subjects.emitted
    if emitted is None:
        return
    for one in subjects.singles:
        yield from _single(one, subjects, emitted)
    for many in subjects.many:
        yield from _many(many, emitted)


def _single(one: Single, subjects: Subjects, emitted: frozenset[str]) -> Iterator[Finding]:
    named: dict[str, Comparison] = {}
    for comparison in comparisons(one.condition):
        if comparison.column and not no_value(comparison.value):
            named.setdefault(comparison.column, comparison)
    for column, comparison in named.items():
        if column in emitted:
            continue
        needed = subjects.theory.fixed(one.condition, column)
        yield Finding(
            one.where(comparison),
            one.rule.title,
            "warning" if needed else "note",
            "unfed",
            f"no record of these logs has {column}"
            + (", and the rule cannot match without it" if needed else ""),
            "switch it on where the logs are written, or leave the rule out"
            if needed
            else "the rest of the condition decides alone",
        )


def _many(many: Many, emitted: frozenset[str]) -> Iterator[Finding]:
    for column in sorted(many.rule.windows.columns - emitted):
        yield Finding(
            many.document.where(column),
            many.rule.title,
            "warning",
            "unfed",
            f"no record of these logs has {column}, and those without it take no part",
            "switch it on where the logs are written, or leave the rule out",
        )
