"""A rule's condition for the lint: comparisons that still know their field and value, and `and`,
`or`, `not` over them; and that condition as alternatives of things that must hold together."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any, Final, Literal

import polars as pl
from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
)
from sigma.types import (
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaExpansion,
    SigmaFieldReference,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaRegularExpressionFlag,
    SigmaString,
    SigmaTimestampPart,
    SigmaType,
    SpecialChars,
)

from connwatch.schema import BY_NAME

from ..fields import FieldMap, Target
from ..values import test
from .columns import group_of, holds_lists

#: alternatives of one condition that are looked at; of more, nothing is said
MOST: Final = 4096


class TooManyError(Exception):
    """A condition has more alternatives than are looked at."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """One comparison. name: of the field, as the rule has it. target: what that is here. A keyword
    has no name and no target. group: what decides it (`columns.group_of`; a group of its own where
    several columns do). expr: Boolean, never null. key: of comparisons that are the same."""

    name: str
    target: Target | None
    value: SigmaType
    text: str
    group: str
    expr: pl.Expr
    key: bytes

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Comparison) and self.key == other.key

    @property
    def column(self) -> str:
        """The column that it reads; "" where these are several."""
        return self.target.column if self.target else ""


@dataclass(frozen=True, slots=True)
class Junction:
    """and, or, not over others."""

    kind: Literal["and", "or", "not"]
    parts: tuple[Formula, ...]


Formula = Comparison | Junction


@dataclass(frozen=True, slots=True)
class Literally:
    """One of several comparisons of one group holds, or (positive is false) none of them does."""

    group: str
    comparisons: tuple[Comparison, ...]
    positive: bool = True


Conjunct = tuple[Literally, ...]


def both(*parts: Formula) -> Formula:
    return Junction("and", parts)


def negated(part: Formula) -> Formula:
    return Junction("not", (part,))


def comparisons(formula: Formula) -> Iterator[Comparison]:
    """All of them, from left to right."""
    if isinstance(formula, Comparison):
        yield formula
    else:
        for part in formula.parts:
            yield from comparisons(part)


def read(conditions: Sequence[Any], fields: FieldMap) -> Formula:
    """pySigma's parsed conditions, of which one must hold. What the compiler refuses is raised."""
    parts = tuple(_formula(one, fields) for one in conditions)
    return parts[0] if len(parts) == 1 else Junction("or", parts)


def _formula(condition: Any, fields: FieldMap) -> Formula:
    kinds: dict[type, Literal["and", "or", "not"]] = {
        ConditionAND: "and",
        ConditionOR: "or",
        ConditionNOT: "not",
    }
    kind = kinds.get(type(condition))
    if kind is not None:
        parts = tuple(_formula(one, fields) for one in condition.args if one is not None)
        return parts[0] if len(parts) == 1 and kind != "not" else Junction(kind, parts)
    if isinstance(condition, ConditionFieldEqualsValueExpression):
        return compared(condition.field, fields.known(condition.field), condition.value, fields)
    words = str(condition.value)
    return Comparison(
        "", None, condition.value, f"anywhere {words}", f"keyword {words}", _FALSE, words.encode()
    )


_FALSE: Final = pl.lit(value=False)


def compared(name: str, target: Target, value: SigmaType, fields: FieldMap) -> Comparison:
    """One comparison of a field with a value."""
    words, expr = test(target, value, fields)
    words = words.removesuffix(", which no record here says")
    whole = expr.fill_null(value=False)
    key = whole.meta.serialize()
    group = group_of(target.column)
    if isinstance(value, SigmaFieldReference):
        group = f"{target.column} {words}"
    elif part := _part(value):
        group = f"{group}#{part}"
    return Comparison(name, target, value, f"{name} {words}", group, whole, key)


@cache
def absent(column: str) -> Comparison:
    """That a column has no value."""
    expr = pl.col(column).is_null()
    key = expr.meta.serialize()
    group = group_of(column)
    return Comparison(
        column, Target(column), SigmaNull(), f"{column} has no value", group, expr, key
    )


def in_any_case(comparison: Comparison, fields: FieldMap) -> Comparison | None:
    """The same comparison without regard to case; None where it has none, or has no case."""
    value, target = comparison.value, comparison.target
    if target is None:
        return None
    if isinstance(value, SigmaCasedString):
        other = SigmaString("")
        other.s = value.s
        return compared(comparison.name, target, other, fields)
    if isinstance(value, SigmaRegularExpression) and cased(value):
        again = SigmaRegularExpression(value.to_plain(), set(value.flags))
        again.add_flag(SigmaRegularExpressionFlag.IGNORECASE)
        return compared(comparison.name, target, again, fields)
    return None


def _part(value: SigmaType) -> str:
    number = value.number if isinstance(value, SigmaCompareExpression) else value
    return number.timestamp_part.name.lower() if isinstance(number, SigmaTimestampPart) else ""


def alternatives(formula: Formula, *, positive: bool = True) -> list[Conjunct]:
    """The condition as alternatives (its disjunctive normal form), in which an `or` of comparisons
    of one group stays together. TooManyError for more than `MOST`."""
    if isinstance(formula, Comparison):
        return [(Literally(formula.group, (formula,), positive),)]
    if formula.kind == "not":
        return alternatives(formula.parts[0], positive=not positive)
    if (formula.kind == "or") is positive:
        return _any(formula.parts, positive)
    return _all(formula.parts, positive)


def _any(parts: Sequence[Formula], positive: bool) -> list[Conjunct]:
    grouped: dict[str, list[Comparison]] = {}
    found: list[Conjunct] = []
    for part in parts:
        if isinstance(part, Comparison) and positive:
            grouped.setdefault(part.group, []).append(part)
        else:
            found.extend(alternatives(part, positive=positive))
    found.extend((Literally(group, tuple(some)),) for group, some in grouped.items())
    if len(found) > MOST:
        raise TooManyError
    return found


def _all(parts: Sequence[Formula], positive: bool) -> list[Conjunct]:
    grouped: dict[str, list[Comparison]] = {}
    factors: list[list[Conjunct]] = []
    number = 1
    for part in parts:
        if isinstance(part, Comparison) and not positive:
            grouped.setdefault(part.group, []).append(part)
        else:
            factors.append(alternatives(part, positive=positive))
            number *= len(factors[-1])
            if number > MOST:
                raise TooManyError
    fixed = tuple(Literally(group, tuple(some), False) for group, some in grouped.items())
    return [
        fixed + tuple(one for conjunct in chosen for one in conjunct)
        for chosen in product(*factors)
    ]


# -- what values are about ------------------------------------------------------------------------


def pieces(value: SigmaType) -> list[object]:
    """Texts and wildcards of a text value."""
    return [part for part in value.s if part != ""] if isinstance(value, SigmaString) else []


def plain(value: SigmaType) -> str | None:
    """The text of a text value without wildcards."""
    parts = pieces(value)
    if not isinstance(value, SigmaString) or not all(isinstance(part, str) for part in parts):
        return None
    return "".join(map(str, parts))


def any_value(value: SigmaType) -> bool:
    """Whether it asks for nothing but a value."""
    if isinstance(value, SigmaExists):
        return bool(value.exists)
    return pieces(value) == [SpecialChars.WILDCARD_MULTI]


def no_value(value: SigmaType) -> bool:
    """Whether it asks for there being none."""
    return isinstance(value, SigmaNull) or (isinstance(value, SigmaExists) and not value.exists)


def number(comparison: Comparison) -> float | None:
    """The number that a comparison is with, in the unit of the column."""
    value = comparison.value
    if isinstance(value, SigmaCompareExpression):
        value = value.number
    if isinstance(value, SigmaTimestampPart) or comparison.target is None:
        return None
    if isinstance(value, SigmaNumber):
        return float(comparison.target.own(value.number))
    text = plain(value)
    if text is None or BY_NAME[comparison.column].dtype != pl.Int64():
        return None
    try:
        return float(comparison.target.own(float(text)))
    except ValueError:
        return None


def pins(comparison: Comparison) -> bool:
    """Whether it leaves its column only values that are known: those it names, or none."""
    value = comparison.value
    if comparison.target is None or holds_lists(comparison.column):
        return False
    if isinstance(value, SigmaExpansion):
        return all(plain(one) is not None for one in value.values)
    return no_value(value) or plain(value) is not None or isinstance(value, SigmaNumber)


def texts(value: SigmaType) -> list[str]:
    """The texts that a value names, wildcards filled with nothing and with something."""
    if isinstance(value, SigmaExpansion):
        return [text for one in value.values for text in texts(one)]
    if not isinstance(value, SigmaString):
        return []
    parts = pieces(value)
    if not all(isinstance(part, str | SpecialChars) for part in parts):
        return []
    filled = [
        "".join(part if isinstance(part, str) else gap for part in parts) for gap in ("", "x")
    ]
    return list(dict.fromkeys(filled))


def networks(value: SigmaType) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The networks that a value names: of an address the network that is nothing else."""
    if isinstance(value, SigmaCIDRExpression):
        return [value.network]
    text = plain(value)
    if text is None:
        return []
    try:
        return [ipaddress.ip_network(text)]
    except ValueError:
        return []


def cased(value: SigmaType) -> bool:
    """Whether large and small letters matter in a part of a text that it looks for."""
    if isinstance(value, SigmaRegularExpression):
        return "i" not in {value.sigma_to_re_flag[flag] for flag in value.flags}
    return isinstance(value, SigmaCasedString) and plain(value) is None
