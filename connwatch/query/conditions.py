"""A value against a column, by the column's Elasticsearch type: one Polars condition each.

Conditions may be null where the column is; only `not` has to care (`to_polars`). A value that the
type cannot hold is a ValueError with what would do instead: the caller knows the place.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Final

import polars as pl

from connwatch.errors import QueryError

from . import addresses
from .times import parse_span
from .tree import Text

INTEGERS: Final = frozenset({"long", "integer", "short", "byte", "unsigned_long"})
FLOATS: Final = frozenset({"double", "float", "half_float", "scaled_float"})
NUMBERS: Final = INTEGERS | FLOATS
TEXTS: Final = frozenset({"text", "match_only_text"})

_NUMBER: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
I64: Final = (-(2**63), 2**63 - 1)
_META: Final = re.compile(r"[\\.+*?()|\[\]{}^$#&~-]")
_WORD: Final = r"\p{L}\p{M}\p{N}_"


class UnfitError(ValueError):
    """The value cannot be one of this type. `hint` says what to write instead."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def equals(es: str, column: pl.Expr, value: Text, now: datetime) -> pl.Expr:
    """True where the column has the value (`value` is not `*` alone)."""
    if es in TEXTS:
        return words(column, value)
    if es in ("keyword", "constant_keyword", "wildcard"):
        return glob(column, value) if value.wild else column == value.parts[0]
    if value.wild:
        raise _no_wildcard(es, value)
    text = value.parts[0].strip()
    if es == "ip":
        return addresses.within(column, network(text))
    if es == "date":
        start, end = parse_span(text, now)
        return (column >= start) & (column < end)
    if es == "boolean":
        return column == boolean(text)
    if es in INTEGERS:
        whole = decimal(text)
        if not I64[0] <= whole <= I64[1] or whole != whole.to_integral_value():
            return pl.lit(False)
        return column == int(whole)
    if es in FLOATS:
        return column == float(decimal(text))
    raise UnfitError(f"a field of type {es} cannot be searched")


def compares(es: str, column: pl.Expr, operator: str, value: Text, now: datetime) -> pl.Expr:
    """True where the column is > >= < <= the value."""
    if value.wild:
        raise UnfitError("a comparison takes one value, not a wildcard")
    text = value.parts[0]
    if es in ("keyword", "constant_keyword", "wildcard"):
        return _ORDER[operator](column, pl.lit(text))
    text = text.strip()
    if es == "ip":
        if "/" in text:
            raise UnfitError("a comparison takes one address, not a network")
        network(text)
        return addresses.compare(column, operator, text)
    if es == "date":
        start, end = parse_span(text, now)
        if operator in (">", "<="):
            return column >= end if operator == ">" else column < end
        return _ORDER[operator](column, pl.lit(start))
    if es in INTEGERS:
        return _compare_integer(column, operator, decimal(text))
    if es in FLOATS:
        return _ORDER[operator](column, pl.lit(float(decimal(text))))
    raise UnfitError(f"a field of type {es} has no order")


_ORDER: Final[dict[str, Callable[[pl.Expr, pl.Expr], pl.Expr]]] = {
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
}


def _compare_integer(column: pl.Expr, operator: str, bound: Decimal) -> pl.Expr:
    if bound > I64[1]:
        return column.is_not_null() if operator in ("<", "<=") else pl.lit(False)
    if bound < I64[0]:
        return column.is_not_null() if operator in (">", ">=") else pl.lit(False)
    if bound == bound.to_integral_value():
        return _ORDER[operator](column, pl.lit(int(bound)))
    if operator in (">", ">="):
        return column >= int(bound.to_integral_value(ROUND_CEILING))
    return column <= int(bound.to_integral_value(ROUND_FLOOR))


def glob(column: pl.Expr, value: Text) -> pl.Expr:
    """True where the whole value fits the pattern; upper and lower case differ."""
    first, *middle, last = value.parts
    if not any(middle):
        found = []
        if first:
            found.append(column.str.starts_with(first))
        if last:
            found.append(column.str.ends_with(last))
        if first and last:
            found.append(column.str.len_bytes() >= len((first + last).encode()))
        return pl.all_horizontal(found) if len(found) > 1 else found[0]
    if not first and not last and len(middle) == 1:
        return column.str.contains(middle[0], literal=True)
    return column.str.contains(f"(?s)^{_pattern(value)}$")


def words(column: pl.Expr, value: Text) -> pl.Expr:
    """True where the value stands in the column as whole words, in any case.

    Unquoted words match when any of them does; a quoted phrase as a whole. A word is a run of
    letters, digits and underscores.
    """
    if value.quoted or value.wild:
        return column.str.contains(_bounded(_pattern(value), value.parts))
    found = [_bounded(_escape(word), (word,)) for word in value.parts[0].split()]
    if not found:
        return column == value.parts[0]
    return column.str.contains("|".join(found))


def _bounded(pattern: str, parts: tuple[str, ...]) -> str:
    before = f"(?:^|[^{_WORD}])" if is_word(parts[0][:1]) else ""
    after = f"(?:$|[^{_WORD}])" if is_word(parts[-1][-1:]) else ""
    return f"(?si){before}{pattern}{after}"


def is_word(char: str) -> bool:
    """Whether a character is part of a word."""
    return char.isalnum() or char == "_"


def _pattern(value: Text) -> str:
    return ".*".join(map(_escape, value.parts))


def _escape(text: str) -> str:
    return _META.sub(r"\\\g<0>", text)


def network(text: str) -> addresses.Network:
    """An address or a network, as a value names it. Raises UnfitError."""
    try:
        return addresses.read_network(text)
    except ValueError:
        hint = 'write 10.1.2.3, 10.0.0.0/8 or "2001:db8::1"'
        if len(text.split()) > 1:
            hint = f"for several, write ({' or '.join(text.split())})"
        raise UnfitError(f"{text!r} is not an address", hint) from None


def boolean(text: str) -> bool:
    """Raises UnfitError for what is neither true nor false."""
    if text not in ("true", "false"):
        raise UnfitError(f"{text!r} is neither true nor false")
    return text == "true"


def decimal(text: str) -> Decimal:
    """Raises UnfitError for what is not a number."""
    if not _NUMBER.fullmatch(text):
        hint = None
        if len(text.split()) > 1:
            hint = f"for several, write ({' or '.join(text.split())})"
        raise UnfitError(f"{text!r} is not a number", hint)
    return Decimal(text)


def _no_wildcard(es: str, value: Text) -> UnfitError:
    kind = {"ip": "an address", "date": "a time", "boolean": "true or false"}.get(es, "a number")
    hint = None
    octets = re.fullmatch(r"((?:\d{1,3}\.){1,3})\*", str(value)) if es == "ip" else None
    if octets:
        known = octets[1].count(".")
        hint = f"write {octets[1]}{'.'.join(['0'] * (4 - known))}/{known * 8}"
    return UnfitError(f"the field holds {kind}; wildcards are for text", hint)


__all__ = ["QueryError", "UnfitError", "compares", "equals", "glob", "words"]
