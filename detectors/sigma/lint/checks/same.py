"""Rules that say the same, or of which one says what another says already."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from connwatch.alert import SEVERITY

from ....windows.held import Correlated
from ..finding import Finding
from ..formula import comparisons
from ..subjects import Single, Subjects

#: pairs of rules that are compared in full; of more, nothing more is said
_MOST: Final = 200_000


def check(subjects: Subjects) -> Iterator[Finding]:
    yield from _titles(subjects)
    twins: dict[str, str] = {}
    yield from _singles(subjects, twins)
    seen: dict[object, str] = {}
    for many in subjects.many:
        if "correlation" not in many.document.content:
            continue
        said = _counted(many.rule.windows, twins)
        if said in seen:
            yield Finding(
                many.document.where(section="correlation"),
                many.rule.title,
                "warning",
                "same",
                f"counts the same as the rule at {seen[said]}",
                "leave one of them out",
            )
        seen.setdefault(said, many.document.where())


def _titles(subjects: Subjects) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for document, rule in subjects.rules:
        title = " ".join(rule.title.casefold().split())
        if title in seen:
            yield Finding(
                document.where(section="title"),
                rule.title,
                "warning",
                "same",
                f"has the title of the rule at {seen[title]}",
                "give each rule a title of its own: alerts are known by it",
            )
        seen.setdefault(title, document.where())


def _singles(subjects: Subjects, twins: dict[str, str]) -> Iterator[Finding]:
    """twins: filled with rules that say what an earlier one says, by key."""
    theory = subjects.theory
    rules = [one for one in subjects.singles if one.key == one.rule.key and not one.listed]
    hopeless = {one.key for one in rules if not theory.satisfiable(one.condition)}
    rules = [one for one in rules if one.key not in hopeless]
    reads = {one.key: frozenset(c.group for c in comparisons(one.condition)) for one in rules}
    pairs = 0
    for place, one in enumerate(rules):
        for other in rules[:place]:
            pairs += 1
            if pairs > _MOST or one.rule.datasets != other.rule.datasets:
                continue
            narrow = reads[other.key] <= reads[one.key] and theory.implied(
                other.condition, by=one.condition
            )
            wide = reads[one.key] <= reads[other.key] and theory.implied(
                one.condition, by=other.condition
            )
            if narrow and wide:
                twins.setdefault(one.key, twins.get(other.key, other.key))
                yield _same(one, other, subjects)
                break
            if narrow:
                yield from _inside(one, other, subjects)
            elif wide:
                yield from _inside(other, one, subjects)


def _same(one: Single, other: Single, subjects: Subjects) -> Finding:
    alerting = subjects.found.alerting
    both_alert = one.key in alerting and other.key in alerting
    return Finding(
        one.document.where(section="detection"),
        one.rule.title,
        "warning" if both_alert else "note",
        "same",
        f"matches what {other.rule.title!r} matches ({other.document.where()})",
        "leave one of them out, or let correlations count the one",
    )


def _inside(narrow: Single, wide: Single, subjects: Subjects) -> Iterator[Finding]:
    """A weightier rule inside a lighter one is a sensible thing to have."""
    alerting = subjects.found.alerting
    if not {narrow.key, wide.key} <= alerting:
        return
    if SEVERITY.get(narrow.rule.level, 0) > SEVERITY.get(wide.rule.level, 0):
        return
    yield Finding(
        narrow.document.where(section="detection"),
        narrow.rule.title,
        "note",
        "inside",
        f"all that it matches is matched by {wide.rule.title!r} too ({wide.document.where()}), "
        f"whose level is {wide.rule.level}",
        "leave it out, raise its level, or exclude it there",
    )


def _counted(windows: Correlated, twins: dict[str, str]) -> object:
    """What a correlation counts, the same for rules that count the same."""
    bases = tuple(twins.get(key, key) for key in windows.bases)
    plain = tuple(
        (w.measure, w.timespan, w.condition, w.percentile, w.name) for w in windows.windows
    )
    per_base = tuple(
        (base, windows.group_by[place], tuple(w.fields[place] for w in windows.windows))
        for place, base in enumerate(bases)
    )
    ordered = any(w.measure == "temporal_ordered" or _names(w.condition) for w in windows.windows)
    return (plain, per_base if ordered else tuple(sorted(per_base)))


def _names(condition: object) -> bool:
    """Whether it speaks of single rules, by their place."""
    return hasattr(condition, "parts")
