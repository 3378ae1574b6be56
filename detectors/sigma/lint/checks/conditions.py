"""Conditions that can never be true, that always are, and exclusions that exclude nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..finding import Finding, Severity
from ..formula import (
    Comparison,
    Formula,
    Junction,
    Literally,
    TooManyError,
    alternatives,
    both,
    comparisons,
    negated,
)
from ..subjects import Single, Subjects
from ..theory import Theory


def check(subjects: Subjects) -> Iterator[Finding]:
    theory = subjects.theory
    for one in subjects.singles:
        hopeless = not theory.satisfiable(one.condition)
        yield from _Looking(one, theory, "error" if hopeless else "warning").dead(one.condition)
        if hopeless:
            continue
        if not theory.satisfiable(negated(one.condition)):
            if one.listed:
                continue
            yield Finding(
                one.document.where("condition", section="detection"),
                one.rule.title,
                "warning",
                "always",
                "the condition holds for every record",
                "say what is looked for; an exclusion alone needs a selection beside it",
            )
        else:
            yield from _exclusions(one, theory, one.condition)


class _Looking:
    """The search for parts of one condition that contradict themselves."""

    def __init__(self, one: Single, theory: Theory, severity: Severity) -> None:
        self._one = one
        self._theory = theory
        self._severity: Severity = severity

    def dead(self, part: Formula) -> Iterator[Finding]:
        """The smallest parts that can never be true, comparisons (see `values`) left out."""
        if isinstance(part, Comparison):
            return
        if part.kind == "not":
            yield from self.dead(part.parts[0])
            if not self._theory.satisfiable(part):
                yield self._finding(part)
            return
        children = [child for child in part.parts if not self._theory.satisfiable(child)]
        if not children and not self._theory.satisfiable(part):
            yield self._finding(part)
        for child in children or part.parts:
            yield from self.dead(child)

    def _finding(self, part: Junction) -> Finding:
        try:
            found = [self._theory.contradiction(one) or [] for one in alternatives(part)]
        except TooManyError:
            found = []
        literals = min(found, key=_length, default=[])
        named = [one for literal in literals for one in literal.comparisons]
        places = named or list(comparisons(part))
        said = " and ".join(dict.fromkeys(map(_words, literals)))
        more = f" (and so on, {len(found)} ways)" if len(found) > 1 else ""
        return Finding(
            self._one.where(places[-1]),
            self._one.rule.title,
            self._severity,
            "never",
            f"can never be true: {said}{more}" if said else "this part can never be true",
            "values of one field of which any may hold are a list; correct what was meant",
        )


def _length(literals: Sequence[Literally]) -> int:
    return sum(len(literal.comparisons) for literal in literals) or 1_000_000


def _words(literal: Literally) -> str:
    texts = [one.text for one in literal.comparisons]
    shown = " or ".join(texts[:4]) + (f" or {len(texts) - 4} more" if len(texts) > 4 else "")
    return shown if literal.positive else f"not ({shown})"


def _exclusions(one: Single, theory: Theory, part: Formula) -> Iterator[Finding]:
    """What a `not` takes away from a selection that does not have it."""
    if isinstance(part, Comparison):
        return
    for child in part.parts:
        yield from _exclusions(one, theory, child)
    if part.kind != "and":
        return
    excluded = [c.parts[0] for c in part.parts if isinstance(c, Junction) and c.kind == "not"]
    rest = [c for c in part.parts if not (isinstance(c, Junction) and c.kind == "not")]
    if not rest or not theory.satisfiable(both(*rest)):
        return
    for inner in excluded:
        if theory.satisfiable(inner) and not theory.satisfiable(both(*rest, inner)):
            named = list(comparisons(inner))
            shown = " … ".join(one.text for one in named[:3])
            yield Finding(
                one.where(named[0]),
                one.rule.title,
                "note",
                "exclusion",
                f"takes nothing away: what is selected is never {shown}",
                "leave the exclusion out, or correct it",
            )
