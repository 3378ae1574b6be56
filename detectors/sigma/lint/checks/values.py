"""Comparisons that no value of their column fulfils, or that every value does."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Final

import polars as pl
from sigma.types import SigmaRegularExpression

from connwatch.schema import BY_NAME

from ..candidates import evaluated
from ..columns import group_of, listed, range_said
from ..finding import Finding, Severity
from ..formula import (
    Comparison,
    absent,
    any_value,
    both,
    comparisons,
    in_any_case,
    negated,
    no_value,
    number,
    plain,
)
from ..patterns import unmet
from ..subjects import Single, Subjects
from ..theory import Theory
from . import units

#: values that are few enough to be named
_NAMED: Final = 25


def check(subjects: Subjects) -> Iterator[Finding]:
    theory = subjects.theory
    for one in subjects.singles:
        hopeless = not theory.satisfiable(one.condition)
        for comparison in dict.fromkeys(comparisons(one.condition)):
            if comparison.target is None or units.mistaken(comparison):
                continue
            if not theory.satisfiable(comparison):
                yield _never(one, comparison, theory, "error" if hopeless else "warning")
            elif not (any_value(comparison.value) or no_value(comparison.value)):
                lacking = absent(comparison.column)
                other = both(negated(comparison), negated(lacking))
                if not theory.satisfiable(other) and not _constant(comparison.column):
                    yield Finding(
                        one.where(comparison),
                        one.rule.title,
                        "warning",
                        "always",
                        f"{comparison.text} holds for every record that has {comparison.name}",
                        "leave it out, or write |exists: true if that is meant",
                    )


def _never(one: Single, comparison: Comparison, theory: Theory, severity: Severity) -> Finding:
    check, why, advice = _reason(comparison)
    other = in_any_case(comparison, one.fields)
    if other is not None and theory.satisfiable(other):
        check = "case"
        expression = isinstance(comparison.value, SigmaRegularExpression)
        advice = "add the modifier i" if expression else "leave |cased out"
    return Finding(
        one.where(comparison),
        one.rule.title,
        severity,
        check,
        f"{comparison.text} can never be true: {why}",
        advice,
    )


def _reason(comparison: Comparison) -> tuple[str, str, str]:
    """The kind of mistake, why nothing matches, and what to do."""
    column, value = comparison.column, plain(comparison.value)
    called = column if column == comparison.name else f"{column}, which this is here,"
    whole = number(comparison)
    if comparison.target and comparison.target.values is not None:
        known = ", ".join(comparison.target.values)
        return "value", "no record here says that", f"it can be {known}"
    if BY_NAME[column].dtype == pl.Int64():
        if whole is None and value is not None:
            return "value", f"{called} is a number", "compare it with a number"
        said = f"{called} is {range_said(column)}"
        if whole is not None and whole.is_integer():
            return "units", said, "correct the number"
        return "value", said if whole is None else f"{said}, and whole", "correct the value"
    if "#" in comparison.group:
        part = comparison.group.partition("#")[2]
        return "units", f"no time has such a {part}", "correct the number"
    said = unmet(comparison)
    if BY_NAME[column].es == "ip" and value is not None and "/" in value:
        return "value", "a network is compared as if it were an address", "write |cidr"
    frame = listed(group_of(column))
    if frame is not None:
        return _not_listed(comparison, frame)
    return "value", said or "its parts contradict one another", "correct the value"


def _not_listed(comparison: Comparison, frame: pl.DataFrame) -> tuple[str, str, str]:
    """The reason where all values of a column are known."""
    column = comparison.column
    series = evaluated(frame, pl.col(column))
    items = (
        series.explode(empty_as_null=True, keep_nulls=True) if series.dtype == pl.List else series
    )
    names = [str(one) for one in items.unique(maintain_order=True) if one is not None]
    text = plain(comparison.value)
    why = f"{column} never has it"
    near = get_close_matches(text or "", names, n=1)
    if near:
        return "value", why, f"did you mean {near[0]!r}?"
    return "value", why, f"it has {', '.join(names[:_NAMED])}"


def _constant(column: str) -> bool:
    """Whether a column has the same value in all records: rules from elsewhere ask for these."""
    frame = listed(group_of(column))
    return frame is not None and frame.height == 1
