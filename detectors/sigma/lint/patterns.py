"""What patterns on one text have to do with one another: beginnings, ends, parts, letters."""

from __future__ import annotations

import polars as pl
from sigma.types import SigmaCasedString, SigmaRegularExpression, SpecialChars

from connwatch.schema import BY_NAME, STRINGS

from .columns import LETTERS, holds_lists
from .expressions import of_expression, of_text, possible
from .formula import Comparison, any_value, cased, no_value, number, pieces, plain


def unmet(comparison: Comparison) -> str:
    """What a column's text is made of, where that is why it can never match; else ""."""
    letters = LETTERS.get(comparison.column)
    value = comparison.value
    if letters is None or comparison.target is None or comparison.target.values is not None:
        return ""
    if isinstance(value, SigmaRegularExpression):
        flags = "".join(value.sigma_to_re_flag[flag] for flag in value.flags)
        needs = of_expression(value.to_plain(), flags)
    elif BY_NAME[comparison.column].dtype == pl.Int64() and plain(value) is not None:
        return letters.said if number(comparison) is None else ""
    else:
        strict = isinstance(value, SigmaCasedString)
        text = "".join(part for part in pieces(value) if isinstance(part, str))
        needs = of_text(text, cased=strict)
    return "" if possible(needs, letters.allowed) else letters.said


def exclusive(one: Comparison, other: Comparison) -> bool:
    """Whether no text matches both."""
    if one.column != other.column or not one.column or one.key == other.key:
        return False
    if no_value(one.value) or no_value(other.value):
        return no_value(one.value) != no_value(other.value)
    here, there = _shape(one), _shape(other)
    if here is None or there is None or holds_lists(one.column):
        return False
    begins = here[0].startswith(there[0]) or there[0].startswith(here[0])
    ends = here[1].endswith(there[1]) or there[1].endswith(here[1])
    return not (begins and ends) or (here[3] and there[3] and here[0] != there[0])


def implies(one: Comparison, other: Comparison) -> bool:
    """Whether all that matches the one matches the other."""
    if one.key == other.key:
        return True
    if one.column != other.column or not one.column or no_value(one.value):
        return False
    if any_value(other.value):
        return True
    here, there = _shape(one), _shape(other)
    if here is None or there is None or cased(other.value):
        return False
    sought = pieces(other.value)
    match sought:
        case [str(text), SpecialChars.WILDCARD_MULTI]:
            return here[0].startswith(text.lower())
        case [SpecialChars.WILDCARD_MULTI, str(text)]:
            return here[1].endswith(text.lower())
        case [SpecialChars.WILDCARD_MULTI, str(text), SpecialChars.WILDCARD_MULTI]:
            return any(text.lower() in part for part in here[2])
    return False


def _shape(comparison: Comparison) -> tuple[str, str, list[str], bool] | None:
    """How a text begins and ends, what it holds, and whether it is wholly known; in lower case.
    None for what is no text, and for addresses and numbers, which can be written in several ways.
    """
    parts = pieces(comparison.value)
    if not parts or not all(isinstance(part, str | SpecialChars) for part in parts):
        return None
    if _translated(comparison) or BY_NAME[comparison.column].dtype not in (pl.String(), STRINGS):
        return None
    if BY_NAME[comparison.column].es == "ip" and len(parts) == 1:
        return None
    lowered = [part.lower() if isinstance(part, str) else "" for part in parts]
    return lowered[0], lowered[-1], [part for part in lowered if part], len(parts) == 1


def _translated(comparison: Comparison) -> bool:
    return comparison.target is not None and comparison.target.values is not None
