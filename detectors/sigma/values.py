"""One field and one Sigma value as a Polars expression."""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import polars as pl
import polars_iptools as ip
from sigma.types import (
    CompareOperators,
    Placeholder,
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaExpansion,
    SigmaFieldReference,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaString,
    SigmaTimestampPart,
    SigmaType,
    SpecialChars,
    TimestampPart,
)

from connwatch.errors import RuleError
from connwatch.schema import BY_NAME, STRINGS, UTC

from .fields import FieldMap, Target

#: columns made for matching, beside the events' own: text in lower case, IPv4 addresses as
#: numbers, IPv6 addresses alone
LOWER: Final = "lower:"
NUMBER: Final = "number:"
SIX: Final = "six:"

_MANY, _ONE = SpecialChars.WILDCARD_MULTI, SpecialChars.WILDCARD_SINGLE
_COMPARE: Final = {
    CompareOperators.LT: "<",
    CompareOperators.LTE: "<=",
    CompareOperators.GT: ">",
    CompareOperators.GTE: ">=",
}
_IP: Final = frozenset(name for name, column in BY_NAME.items() if column.es == "ip")
#: columns whose values the parsers write in lower case
_LOWER_ALREADY: Final = _IP | {"network.transport", "network.direction", "event.dataset"}
_FALSE: Final = pl.lit(value=False)
_WHOLE: Final = re.compile(r"[+-]?[0-9]+")
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
#: of a number that no column holds
_DIGITS: Final = 40

Match = Callable[[pl.Expr], pl.Expr]
Test = tuple[str, pl.Expr]  # what is asked, in words, and the expression (null where no value)


def test(target: Target, value: SigmaType, fields: FieldMap) -> Test:
    """The comparison of a column with a value. RuleError (without place) if it cannot be made."""
    column = BY_NAME[target.column]
    translatable = (SigmaString, SigmaBool, SigmaRegularExpression)
    if target.values is not None and isinstance(value, translatable):
        return _translated(target, target.values, value)
    if isinstance(value, SigmaExpansion):
        tests = [test(target, one, fields) for one in value.values]
        return " or ".join(text for text, _ in tests), pl.any_horizontal(e for _, e in tests)
    if isinstance(value, SigmaExists):
        exists = pl.col(column.name).is_not_null()
        return ("exists", exists) if value.exists else ("does not exist", ~exists)
    if isinstance(value, SigmaNull):
        return "has no value", pl.col(column.name).is_null()
    if isinstance(value, SigmaFieldReference):
        return _reference(target, value, fields)
    if isinstance(value, SigmaCompareExpression):
        return _compare(target, value)
    if isinstance(value, SigmaTimestampPart):
        part, name = _part(target, value)
        return f"has {name} {value.number}", part == value.number
    if isinstance(value, SigmaCIDRExpression):
        return f"in {value.cidr}", _cidr(target.column, value.network)
    if isinstance(value, SigmaRegularExpression):
        if target.scale != 1:
            raise _no_text(target)
        words, match = _regex(value)
        return words, _each(target.column, match)
    if isinstance(value, SigmaNumber):
        return f"is {value.number}", _number(target, value.number)
    if isinstance(value, SigmaBool):
        return f"is {str(value.boolean).lower()}", _boolean(target.column, value.boolean)
    if isinstance(value, SigmaString):
        return _string(target, value)
    raise RuleError(f"values of the kind {type(value).__name__} cannot be matched")


def equality(target: Target, value: SigmaType) -> tuple[str, object] | None:
    """Column and value, when `test` of these is nothing but their equality."""
    name, dtype = target.column, BY_NAME[target.column].dtype
    if target.values is not None:
        return None
    if isinstance(value, SigmaNumber) and not isinstance(value, SigmaTimestampPart):
        number = target.own(value.number)
        return (name, number) if dtype == pl.Int64() and isinstance(number, int) else None
    if not isinstance(value, SigmaString) or isinstance(value, SigmaCasedString):
        return None
    if dtype != pl.String() or not all(isinstance(part, str) for part in value.s):
        return None
    text = "".join(map(str, value.s))
    return (name, canonical(text)) if name in _IP else (_lower_name(name), text.lower())


def _translated(
    target: Target,
    values: Mapping[str, tuple[str, ...]],
    value: SigmaString | SigmaBool | SigmaRegularExpression,
) -> Test:
    """A value of a field whose values are called something else here: it is compared with the
    names that rules use, and what matches is looked up."""
    names = pl.Series("name", list(values), dtype=pl.String)
    if isinstance(value, SigmaBool):
        words, match = f"is {str(value.boolean).lower()}", _pattern([str(value.boolean).lower()])
    elif isinstance(value, SigmaRegularExpression):
        words, match = _regex(value)
    else:
        parts = _parts(value)
        words = _words(parts)
        match = _pattern([part.lower() if isinstance(part, str) else part for part in parts])
    said = names.to_frame().filter(match(pl.col("name")))["name"]
    wanted = sorted({one for name in said for one in values[name]})
    if not wanted:
        return f"{words}, which no record here says", _FALSE
    tests = [_each(target.column, _pattern([one])) for one in wanted]
    return f"{words} ({' or '.join(wanted)})", pl.any_horizontal(tests)


def _each(name: str, match: Match) -> pl.Expr:
    """A comparison with a column as text; of a list column, with any item."""
    if BY_NAME[name].dtype == STRINGS:
        return pl.col(name).list.eval(match(pl.element())).list.any()
    return match(_text(name))


def _text(name: str) -> pl.Expr:
    """A column as text."""
    dtype = BY_NAME[name].dtype
    if dtype == pl.String():
        return pl.col(name)
    if dtype == UTC:
        return pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    return pl.col(name).cast(pl.String)


def _lowered(name: str) -> pl.Expr:
    """A column as text in lower case; of text columns the one made once for all rules."""
    if BY_NAME[name].dtype == pl.String():
        return pl.col(_lower_name(name))
    return _text(name).str.to_lowercase()


def _lower_name(name: str) -> str:
    return name if name in _LOWER_ALREADY else LOWER + name


def _string(target: Target, value: SigmaString) -> Test:
    name = target.column
    dtype = BY_NAME[name].dtype
    parts = _parts(value)
    cased = isinstance(value, SigmaCasedString)
    words = _words(parts)
    if parts == [_MANY]:
        return words, pl.col(name).is_not_null()
    plain = len(parts) <= 1 and not any(isinstance(part, SpecialChars) for part in parts)
    if plain:
        text = str(parts[0]) if parts else ""
        if dtype == pl.Int64():
            return words, _number(target, _as_number(text))
        if dtype == pl.Boolean():
            return words, _boolean(name, {"true": True, "false": False}.get(text.lower()))
        if name in _IP:
            text = canonical(text)
            parts = [text]
    elif target.scale != 1:
        raise _no_text(target)
    if not cased:
        parts = [part.lower() if isinstance(part, str) else part for part in parts]
    match = _pattern(parts)
    item = pl.element() if cased else pl.element().str.to_lowercase()
    if dtype == STRINGS:
        return words, pl.col(name).list.eval(match(item)).list.any()
    if plain and name in _IP:
        return words, pl.col(name) == text
    return words, match(_text(name) if cased else _lowered(name))


def _parts(value: SigmaString) -> list[object]:
    """Texts and wildcards; RuleError as `_be_filled` says."""
    parts: list[object] = [part for part in value.s if part != ""]
    _be_filled(parts)
    return parts


def _be_filled(parts: Iterable[object]) -> None:
    """RuleError for a placeholder that is still one."""
    for part in parts:
        if isinstance(part, Placeholder):
            raise RuleError(
                f"the placeholder %{part.name}% has no values",
                hint="define it in a YAML document `placeholders: {name: [values]}` in the rules",
            )


def _no_text(target: Target) -> RuleError:
    return RuleError(
        f"{target.column} is kept as a number in another unit and is no text here",
        hint="compare it by size: gt, gte, lt, lte",
    )


def _words(parts: Sequence[object]) -> str:
    shown = "".join(
        {_MANY: "*", _ONE: "?"}[part] if isinstance(part, SpecialChars) else str(part)
        for part in parts
    )
    return f"is {shown!r}"


def _pattern(parts: Sequence[object]) -> Match:
    """How text is compared with a Sigma string: by equality, prefix, suffix, part, else regex."""
    match parts:
        case []:
            return lambda c: c == ""
        case [str(text)]:
            return lambda c: c == text
        case [str(text), SpecialChars.WILDCARD_MULTI]:
            return lambda c: c.str.starts_with(text)
        case [SpecialChars.WILDCARD_MULTI, str(text)]:
            return lambda c: c.str.ends_with(text)
        case [SpecialChars.WILDCARD_MULTI, str(text), SpecialChars.WILDCARD_MULTI]:
            return lambda c: c.str.contains(text, literal=True)
    wild = {_MANY: ".*", _ONE: "."}
    regex = "".join(
        wild[part] if isinstance(part, SpecialChars) else re.escape(str(part)) for part in parts
    )
    return lambda c: c.str.contains(f"(?s)^{regex}$")


def _as_number(text: str) -> float | int | None:
    if _WHOLE.fullmatch(text):
        return int(text) if len(text) < _DIGITS else math.inf
    return float(text) if _DECIMAL.fullmatch(text) else None


def canonical(text: str) -> str:
    """An address as events have it; other text stays."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def _number(target: Target, number: float | None) -> pl.Expr:
    if number is None:
        return _FALSE
    dtype = BY_NAME[target.column].dtype
    if dtype == pl.Int64():
        whole = target.own(number)
        return pl.col(target.column) == whole if isinstance(whole, int) else _FALSE
    if dtype == pl.Boolean():
        return _boolean(target.column, {0: False, 1: True}.get(int(number)))
    return _each(target.column, lambda c: c == str(number))


def _boolean(name: str, value: bool | None) -> pl.Expr:
    if value is None:
        return _FALSE
    if BY_NAME[name].dtype == pl.Boolean():
        return pl.col(name) == value
    return _each(name, lambda c: c.str.to_lowercase() == str(value).lower())


def _compare(target: Target, value: SigmaCompareExpression) -> Test:
    sign = _COMPARE.get(value.op)
    if sign is None:
        raise RuleError(f"the comparison {value.op.name} cannot be made")
    number = value.number.number
    if isinstance(value.number, SigmaTimestampPart):
        column, name = _part(target, value.number)
        words = f"has {name} {sign} {number}"
    elif BY_NAME[target.column].dtype == pl.Int64():
        column, words = pl.col(target.column), f"{sign} {number}"
        number = target.own(number)
    elif BY_NAME[target.column].dtype == pl.String():
        column, words = _text(target.column).cast(pl.Float64, strict=False), f"{sign} {number}"
    else:
        raise RuleError(f"{target.column} is no number and cannot be compared by size")
    results = {"<": column < number, "<=": column <= number, ">": column > number}
    return words, results.get(sign, column >= number)


def _part(target: Target, value: SigmaTimestampPart) -> tuple[pl.Expr, str]:
    if BY_NAME[target.column].dtype != UTC:
        raise RuleError(
            f"{target.column} is no time", hint="take @timestamp, event.start or event.end"
        )
    time = pl.col(target.column).dt
    part = value.timestamp_part
    parts = {
        TimestampPart.MINUTE: time.minute(),
        TimestampPart.HOUR: time.hour(),
        TimestampPart.DAY: time.day(),
        TimestampPart.WEEK: time.week(),
        TimestampPart.MONTH: time.month(),
        TimestampPart.YEAR: time.year(),
    }
    return parts[part], part.name.lower()


def _cidr(name: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> pl.Expr:
    # Nothing is found in a network of all addresses: it is asked as its halves.
    parts = network.subnets() if network.prefixlen == 0 else [network]
    networks = pl.Series([str(part) for part in parts])
    if BY_NAME[name].dtype == STRINGS:
        return pl.col(name).list.eval(ip.is_in(pl.element(), networks)).list.any()
    if isinstance(network, ipaddress.IPv4Network) and name in _IP:
        first, last = int(network.network_address), int(network.broadcast_address)
        return pl.col(NUMBER + name).is_between(first, last)
    if name in _IP:
        inside6: pl.Expr = ip.is_in(pl.col(SIX + name), networks)
        return inside6
    inside: pl.Expr = ip.is_in(_text(name), networks)
    return inside


def _regex(value: SigmaRegularExpression) -> tuple[str, Match]:
    _be_filled(value.regexp.s)
    flags = "".join(sorted(value.sigma_to_re_flag[flag] for flag in value.flags))
    pattern = value.to_plain()
    pattern = f"(?{flags}){pattern}" if flags else pattern
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as error:
        reason = str(error).strip().splitlines()[-1].removeprefix("error: ")
        raise RuleError(
            f"the regular expression {pattern!r} cannot be used: {reason}",
            hint="expressions run in linear time: without look-around and back-references",
        ) from None
    return f"matches /{pattern}/", lambda c: c.str.contains(pattern)


def _reference(target: Target, value: SigmaFieldReference, fields: FieldMap) -> Test:
    other = fields.known(value.field)
    left, right = BY_NAME[target.column].dtype, BY_NAME[other.column].dtype
    if STRINGS in (left, right):
        raise RuleError(f"{value.field} holds several values and cannot be referred to")
    if value.starts_with or value.ends_with:
        here, there = _lowered(target.column), _lowered(other.column)
        if value.starts_with and value.ends_with:
            return f"contains {other.column}", here.str.contains(there, literal=True)
        if value.starts_with:
            return f"starts with {other.column}", here.str.starts_with(there)
        return f"ends with {other.column}", here.str.ends_with(there)
    if left == right and left != pl.String():
        return f"is {other.column}", pl.col(target.column) == pl.col(other.column)
    return f"is {other.column}", _lowered(target.column) == _lowered(other.column)


def helpers(roots: set[str]) -> list[pl.Expr]:
    """The columns made for matching among the names that expressions read."""
    made: list[pl.Expr] = []
    for name in sorted(roots):
        if name.startswith(LOWER):
            column = pl.col(name.removeprefix(LOWER))
            made.append(column.str.to_lowercase().alias(name))
        elif name.startswith(NUMBER):
            made.append(ip.ipv4_to_numeric(pl.col(name.removeprefix(NUMBER))).alias(name))
        elif name.startswith(SIX):
            column = pl.col(name.removeprefix(SIX))
            made.append(pl.when(column.str.contains(":", literal=True)).then(column).alias(name))
    return made
