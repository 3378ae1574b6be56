"""What can be true together: conditions tried on the values that could tell the difference.

For each group of columns that depend on one another (`columns.group_of`) there is a frame of
candidates: every value where these can be listed (ports, states), else each value that a condition
names, its neighbours, one that nothing names, and none. Comparisons are evaluated on it by the
expressions that rules run with, so that nothing here can mean something else. Where the candidates
cannot stand for all values (patterns on free text), a few simple facts about patterns are used, and
what these do not settle counts as possible: nothing is called impossible that is not.

A set of candidates is an integer with a bit for each: what is asked of it is asked very often.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import or_

import numpy as np
import polars as pl

from .candidates import ADDRESSES, candidates, evaluated
from .columns import BEHIND, LETTERS, PORTED, group_of, listed, numeric
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
    number,
    pins,
)
from .patterns import exclusive, implies, unmet


class Theory:
    """What some conditions can be, alone and together."""

    def __init__(self, conditions: Iterable[Formula]) -> None:
        self._named: dict[str, dict[bytes, Comparison]] = {}
        for condition in conditions:
            for one in comparisons(condition):
                self._named.setdefault(one.group, {})[one.key] = one
        self._frames: dict[str, pl.DataFrame | None] = {}
        self._masks: dict[bytes, int] = {}
        self._impossible: dict[bytes, bool] = {}
        self._satisfiable: dict[Formula, bool] = {}
        self._projected: dict[Formula, Mapping[str, int]] = {}

    def satisfiable(self, condition: Formula) -> bool:
        """Whether a record may fulfil it; True where that is not known."""
        if condition not in self._satisfiable:
            found = _alternatives(condition)
            self._satisfiable[condition] = found is None or any(
                self.contradiction(one) is None for one in found
            )
        return self._satisfiable[condition]

    def implied(self, condition: Formula, by: Formula) -> bool:
        """Whether every record that fulfils `by` fulfils the condition too; False if unknown."""
        here, there = self._projections(by), self._projections(condition)
        if any(here.get(group, self._all(group)) & ~mask for group, mask in there.items()):
            return False  # a value that the one allows and the other does not
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

    def fixed(self, condition: Formula, column: str) -> bool:
        """Whether a column has a value in every record that fulfils the condition."""
        if not self.satisfiable(both(condition, absent(column))):
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
        found = _alternatives(condition)
        if frame is None or found is None or not (numeric(group) or listed(group) is not None):
            return None
        keep = 0
        for conjunct in found:
            mine = [literal for literal in conjunct if literal.group == group]
            if self.contradiction(conjunct) is None:
                if not self._complete(group, mine):
                    return None
                keep |= self._holding(group, mine)
        return frame.filter(_flags(keep, frame.height))

    def at_most(self, condition: Formula, column: str) -> float:
        """How many different values a column can have in records that fulfil the condition;
        infinity where that is not known."""
        rows = self.rows(condition, column)
        if rows is not None and listed(group_of(column)) is not None:
            return float(evaluated(rows, pl.col(column)).drop_nulls().n_unique())
        found = _alternatives(condition)
        if found is None:
            return math.inf
        return float(sum(_most(one, column) for one in found if self.contradiction(one) is None))

    # -- one group ------------------------------------------------------------------------------

    def _possible(self, group: str, literals: Sequence[Literally]) -> bool:
        wanted = [
            [one for one in literal.comparisons if not self._hopeless(one)]
            for literal in literals
            if literal.positive
        ]
        if not all(wanted):
            return False
        if self._frame(group) is not None:
            if self._holding(group, literals):
                return True
            if self._complete(group, literals):
                return False
        excluded = [one for lit in literals if not lit.positive for one in lit.comparisons]
        for place, some in enumerate(wanted):
            if all(any(implies(one, other) for other in excluded) for one in some):
                return False
            for others in wanted[:place]:
                if all(exclusive(one, other) for one in some for other in others):
                    return False
        return True

    def _hopeless(self, comparison: Comparison) -> bool:
        """Whether no text of the column can match, for the letters that it is made of."""
        if comparison.key not in self._impossible:
            self._impossible[comparison.key] = bool(unmet(comparison))
        return self._impossible[comparison.key]

    def _holding(self, group: str, literals: Sequence[Literally]) -> int:
        """The candidates for which all literals hold."""
        found = self._all(group)
        for literal in literals:
            one = reduce(or_, map(self._mask, literal.comparisons))
            found &= one if literal.positive else ~one
        return found

    def _projections(self, condition: Formula) -> Mapping[str, int]:
        """The candidates of each group with which a record may fulfil the condition; of groups
        that are not there, all."""
        if condition not in self._projected:
            found = [c for c in _alternatives(condition) or () if self.contradiction(c) is None]
            groups = {literal.group for conjunct in found for literal in conjunct}
            self._projected[condition] = {
                group: reduce(
                    or_,
                    (
                        self._holding(group, [one for one in conjunct if one.group == group])
                        for conjunct in found
                    ),
                )
                for group in groups
                if self._frame(group) is not None
            }
        return self._projected[condition]

    def _all(self, group: str) -> int:
        frame = self._frame(group)
        return 0 if frame is None else (1 << frame.height) - 1

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
        with_networks = group in ADDRESSES
        return all(_definite(o) or (with_networks and networks(o.value)) for o in every)

    def _mask(self, comparison: Comparison) -> int:
        """For which candidates of its group it holds."""
        if comparison.key not in self._masks:
            frame = self._frame(comparison.group)
            if frame is None:
                return 0
            found = evaluated(frame, comparison.expr)
            alike = found if len(found) == frame.height else found.new_from_index(0, frame.height)
            packed = np.packbits(alike.to_numpy(), bitorder="little").tobytes()
            self._masks[comparison.key] = int.from_bytes(packed, "little")
        return self._masks[comparison.key]

    def _frame(self, group: str) -> pl.DataFrame | None:
        if group not in self._frames:
            found = listed(group)
            named = self._named.get(group, {}).values()
            self._frames[group] = candidates(group, named) if found is None else found
        return self._frames[group]


def _alternatives(condition: Formula) -> list[Conjunct] | None:
    try:
        return alternatives(condition)
    except TooManyError:
        return None


def _flags(bits: int, number: int) -> pl.Series:
    """A set of candidates as a column."""
    packed = np.frombuffer(bits.to_bytes((number + 7) // 8, "little"), dtype=np.uint8)
    return pl.Series(np.unpackbits(packed, count=number, bitorder="little").astype(np.bool_))


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
