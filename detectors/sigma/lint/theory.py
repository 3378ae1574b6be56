"""What can be true together: conditions tried on the values that could tell the difference.

For each group of columns that depend on one another (`columns.group_of`) there is a frame of
candidates: every value where these can be listed (ports, states), else each value that a condition
names, its neighbours, one that nothing names, and none. Comparisons are evaluated on it by the
expressions that rules run with, so that nothing here can mean something else. Where the candidates
cannot stand for all values (patterns on free text), a few simple facts about patterns are used, and
what these do not settle counts as possible: nothing is called impossible that is not.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable, Sequence
from functools import reduce
from operator import or_
from typing import Final

import polars as pl
from sigma.types import SigmaRegularExpression, SpecialChars

from connwatch.schema import BY_NAME, DERIVED, STORED, STRINGS

from ..fields import FieldMap
from ..values import helpers
from .columns import BEHIND, LETTERS, PORTED, bounds, group_of, holds_lists, listed, numeric
from .expressions import of_expression, of_text, possible
from .formula import (
    Comparison,
    Conjunct,
    Formula,
    Literally,
    TooManyError,
    absent,
    alternatives,
    any_value,
    both,
    cased,
    comparisons,
    negated,
    networks,
    no_value,
    number,
    pieces,
    pins,
    plain,
    texts,
)

_ADDRESSES: Final = frozenset({"source.ip", "destination.ip"})
#: a text, and addresses, that no rule names
_OTHER: Final = "\x00another"
_OTHERS: Final = ("192.0.2.173", "2001:db8:ad::ad")


class Theory:
    """What some conditions can be, alone and together."""

    def __init__(self, conditions: Iterable[Formula]) -> None:
        self._named: dict[str, dict[bytes, Comparison]] = {}
        for condition in conditions:
            for one in comparisons(condition):
                self._named.setdefault(one.group, {})[one.key] = one
        self._frames: dict[str, pl.DataFrame | None] = {}
        self._masks: dict[bytes, pl.Series | None] = {}

    def satisfiable(self, condition: Formula) -> bool:
        """Whether a record may fulfil it; True where that is not known."""
        try:
            found = alternatives(condition)
        except TooManyError:
            return True
        return any(self.contradiction(one) is None for one in found)

    def implied(self, condition: Formula, by: Formula) -> bool:
        """Whether every record that fulfils `by` fulfils the condition too; False if unknown."""
        return not self.satisfiable(both(by, negated(condition)))

    def contradiction(self, conjunct: Conjunct) -> list[Literally] | None:
        """Those of the literals that cannot hold together; None when all may."""
        grouped: dict[str, list[Literally]] = {}
        for literal in conjunct:
            grouped.setdefault(literal.group, []).append(literal)
        for group, literals in grouped.items():
            if not self._possible(group, literals):
                return literals
        return None

    def fixed(self, condition: Formula, column: str, fields: FieldMap) -> bool:
        """Whether a column has a value in every record that fulfils the condition."""
        if not self.satisfiable(both(condition, absent(column, fields))):
            return True
        if column not in ("source.port", "destination.port"):
            return False
        rows = self.rows(condition, "network.transport")
        return rows is not None and bool(rows["network.transport"].is_in(PORTED).all())

    def rows(self, condition: Formula, column: str) -> pl.DataFrame | None:
        """The candidates of a column's group with which a record may fulfil the condition; None
        where candidates do not stand for all values."""
        group = group_of(column)
        frame = self._frame(group)
        if frame is None or not (numeric(group) or listed(group) is not None):
            return None
        keep = pl.repeat(False, frame.height, eager=True)
        try:
            found = alternatives(condition)
        except TooManyError:
            return None
        for conjunct in found:
            mine = [literal for literal in conjunct if literal.group == group]
            if self.contradiction(conjunct) is None:
                if not self._complete(group, mine):
                    return None
                keep |= self._holding(frame, mine)
        return frame.filter(keep)

    def at_most(self, condition: Formula, column: str) -> float:
        """How many different values a column can have in records that fulfil the condition;
        infinity where that is not known."""
        rows = self.rows(condition, column)
        if rows is not None and listed(group_of(column)) is not None:
            return float(evaluated(rows, pl.col(column)).drop_nulls().n_unique())
        try:
            found = alternatives(condition)
        except TooManyError:
            return math.inf
        return float(sum(_most(one, column) for one in found if self.contradiction(one) is None))

    def mask(self, comparison: Comparison) -> pl.Series | None:
        """For which candidates of its group it holds; None where there are none."""
        if comparison.key not in self._masks:
            self._masks[comparison.key] = self._evaluated(comparison)
        return self._masks[comparison.key]

    def settled(self, comparison: Comparison) -> bool:
        """Whether the candidates stand for all values, as far as one comparison is concerned."""
        return self._complete(comparison.group, [Literally(comparison.group, (comparison,))])

    # -- one group ------------------------------------------------------------------------------

    def _possible(self, group: str, literals: Sequence[Literally]) -> bool:
        wanted = [
            [one for one in literal.comparisons if not impossible(one)]
            for literal in literals
            if literal.positive
        ]
        excluded = [one for lit in literals if not lit.positive for one in lit.comparisons]
        if not all(wanted):
            return False
        for some in wanted:
            if all(any(_implies(one, other) for other in excluded) for one in some):
                return False
            for others in wanted:
                if all(_exclusive(one, other) for one in some for other in others):
                    return False
        frame = self._frame(group)
        if frame is None or bool(self._holding(frame, literals).any()):
            return True
        return not self._complete(group, literals)

    def _holding(self, frame: pl.DataFrame, literals: Sequence[Literally]) -> pl.Series:
        """The candidates for which all literals hold."""
        found = pl.repeat(True, frame.height, eager=True)
        for literal in literals:
            masks = [self.mask(one) for one in literal.comparisons]
            one = reduce(or_, [mask for mask in masks if mask is not None])
            found = found & (one if literal.positive else ~one)
        return found

    def _complete(self, group: str, literals: Sequence[Literally]) -> bool:
        """Whether the candidates stand for all values."""
        if self._frame(group) is None:
            return False
        if listed(group) is not None:
            return True
        every = [one for literal in literals for one in literal.comparisons]
        if numeric(group):
            return all(number(o) is not None or any_value(o.value) or pins(o) for o in every)
        if any(_pinned(group, literal) for literal in literals):
            return not any(cased(one.value) and not _one_case(one.column) for one in every)
        if any(not _about(group, one) for one in every):
            return False
        with_networks = group in _ADDRESSES
        return all(_definite(o) or (with_networks and networks(o.value)) for o in every)

    def _evaluated(self, comparison: Comparison) -> pl.Series | None:
        frame = self._frame(comparison.group)
        if frame is None:
            return None
        found = evaluated(frame, comparison.expr)
        return found if len(found) == frame.height else found.new_from_index(0, frame.height)

    def _frame(self, group: str) -> pl.DataFrame | None:
        if group not in self._frames:
            found = listed(group)
            named = self._named.get(group, {}).values()
            self._frames[group] = _candidates(group, named) if found is None else found
        return self._frames[group]


def evaluated(frame: pl.DataFrame, expr: pl.Expr) -> pl.Series:
    """An expression over candidates; derived columns that are not among these are computed."""
    missing = set(expr.meta.root_names()) - {*frame.columns}
    made = frame.with_columns(DERIVED[name].alias(name) for name in missing if name in DERIVED)
    lowered = made.with_columns(
        DERIVED[base].alias(base)
        for name in missing
        if (base := name.partition(":")[2]) in DERIVED and base not in made.columns
    )
    return lowered.with_columns(helpers(missing)).select(expr.alias("found"))["found"]


def impossible(comparison: Comparison) -> bool:
    """Whether no text of the column can match, for the letters that it is made of."""
    return bool(unmet(comparison))


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
        strict = type(value).__name__ == "SigmaCasedString"
        text = "".join(part for part in pieces(value) if isinstance(part, str))
        needs = of_text(text, cased=strict)
    return "" if possible(needs, letters.allowed) else letters.said


def _candidates(group: str, named: Iterable[Comparison]) -> pl.DataFrame | None:
    if numeric(group):
        return _numbers(group, named)
    if group in _ADDRESSES:
        found = {*_OTHERS}
        for one in named:
            found.update(t for text in texts(one.value) for t in (text, text.lower()))
            found.update(edge for network in networks(one.value) for edge in _edges(network))
    else:
        found = {"", _OTHER}
        for one in named:
            for text in texts(one.value):
                found.update((text, text.lower(), text.upper(), text.title()))
    name = BEHIND.get(group, group)
    if STORED.get(name) != pl.String():
        return None
    return pl.DataFrame({name: [*sorted(found), None]}, schema={name: pl.String()})


def _numbers(group: str, named: Iterable[Comparison]) -> pl.DataFrame:
    low, high = bounds(group)
    found = {low, low + 1, high - 1, high}
    for one in named:
        value = number(one)
        if value is not None and math.isfinite(value):
            whole = math.floor(value)
            found.update(n for n in (whole - 1, whole, whole + 1, whole + 2) if low <= n <= high)
    return pl.DataFrame({group: [*sorted(found), None]}, schema={group: pl.Int64()})


def _edges(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> Iterable[str]:
    """The addresses at which being in a network changes."""
    first, last = int(network.network_address), int(network.broadcast_address)
    kind = ipaddress.IPv4Address if network.version == 4 else ipaddress.IPv6Address
    for place in (first - 1, first, last, last + 1):
        if 0 <= place < 2**network.max_prefixlen:
            yield str(kind(place))


def _about(group: str, comparison: Comparison) -> bool:
    """Whether it says something of the stored column itself."""
    return comparison.column in (BEHIND.get(group, group), f"{group.rpartition('.')[0]}.address")


def _definite(comparison: Comparison) -> bool:
    """Whether the candidates hold a value for either outcome of it."""
    return pins(comparison) or any_value(comparison.value)


def _pinned(group: str, literal: Literally) -> bool:
    """Whether it leaves the stored column known values only, or none."""
    if literal.positive:
        return all(pins(one) and _about(group, one) for one in literal.comparisons)
    return any(any_value(one.value) and _about(group, one) for one in literal.comparisons)


def _one_case(column: str) -> bool:
    letters = LETTERS.get(column)
    return letters is not None and not (letters.allowed("a") and letters.allowed("A"))


def _most(conjunct: Conjunct, column: str) -> float:
    """How many values a column has at most, by the literals that name them."""
    sizes = [
        sum(_size(one) for one in literal.comparisons)
        for literal in conjunct
        if literal.positive and all(one.column == column for one in literal.comparisons)
    ]
    return min(sizes, default=math.inf)


def _size(comparison: Comparison) -> float:
    if found := networks(comparison.value):
        return float(sum(network.num_addresses for network in found))
    return 1 if pins(comparison) else math.inf


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


def _exclusive(one: Comparison, other: Comparison) -> bool:
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


def _implies(one: Comparison, other: Comparison) -> bool:
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


def _translated(comparison: Comparison) -> bool:
    return comparison.target is not None and comparison.target.values is not None
