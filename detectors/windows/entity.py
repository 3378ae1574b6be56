"""Whom a question about windows is about: an address, or the values of fields.

A group *concerns* an entity when one of its records does. For an address those are the records that
have it in a field of the group that holds addresses; where the group has no such field, the records
that have it as originator or responder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_
from typing import Final, TypeAlias

import polars as pl

from connwatch.schema import BY_NAME, DERIVED

from .held import Correlated

#: columns with the values of them that a record has together, None for no value; any of these
Alternatives: TypeAlias = tuple[tuple[tuple[str, str | None], ...], ...]

SIDES: Final = ("source.ip", "destination.ip")
_ADDRESSES: Final = frozenset({*SIDES, "source.address", "destination.address"})


@dataclass(frozen=True, slots=True)
class Entity:
    """address: canonical text, or None. values: by field what it has, as text (None: no value); a
    field is a name of the rule's group or a column of the schema."""

    address: str | None = None
    values: tuple[tuple[str, str | None], ...] = ()

    def among(self, columns: Sequence[str]) -> tuple[tuple[str, str | None], ...]:
        """Columns and values, one of which (an address) a record of a group by `columns` has."""
        named = [name for name in columns if name in _ADDRESSES]
        return tuple((name, self.address) for name in named or SIDES)

    def columns(self, rule: Correlated, place: int, base: int) -> tuple[str, ...]:
        """What is looked at in the records of one base, for one window."""
        return tuple(name for name, _ in self._wanted(rule, place, base))

    def concerned(self, rule: Correlated, place: int, base: int) -> pl.Expr:
        """Whether a record of one base concerns the entity, over columns by their names."""
        return self._holds(self._wanted(rule, place, base), pl.col)

    def alternatives_by(self, group: Sequence[str]) -> Alternatives:
        """What stored records that concern the entity have, for alerts grouped by these columns."""
        return self._alternatives(self.values if self.address is None else self.among(group))

    def alternatives(self, rules: Iterable[Correlated]) -> Alternatives | None:
        """What all records of all groups that concern the entity have; None where only a look at
        all records tells which groups do."""
        rules = list(rules)
        found: dict[tuple[tuple[str, str | None], ...], None] = {}
        columns = set()
        for rule in rules:
            for place, window in enumerate(rule.windows):
                for base, group in enumerate(window.group_by):
                    wanted = self._wanted(rule, place, base)
                    names = frozenset(name for name, _ in wanted)
                    if not names <= set(group):
                        return None
                    columns.add(names)
                    found.update(dict.fromkeys(self._alternatives(wanted)))
        # What a rule counts of another one may stand in groups of others.
        if not found or (len(rules) > 1 and len(columns) > 1):
            return None
        return tuple(found)

    def narrowed(self, rules: Iterable[Correlated]) -> pl.Expr | None:
        """A condition on stored records that keeps all records of all groups that concern the
        entity; None where only a look at all records tells which groups do."""
        found = self.alternatives(rules)
        return None if found is None else condition(found)

    def _alternatives(self, wanted: Sequence[tuple[str, str | None]]) -> Alternatives:
        return (tuple(wanted),) if self.address is None else tuple((one,) for one in wanted)

    def _wanted(
        self, rule: Correlated, place: int, base: int
    ) -> tuple[tuple[str, str | None], ...]:
        if self.address is not None:
            return self.among(rule.windows[place].group_by[base])
        columns = dict(zip(rule.group, rule.group_by[base], strict=True))
        return tuple((columns.get(name, name), value) for name, value in self.values)

    def _holds(
        self, wanted: Sequence[tuple[str, str | None]], column: Callable[[str], pl.Expr]
    ) -> pl.Expr:
        each = [_has(column(name), BY_NAME[name].dtype, value) for name, value in wanted]
        if not each:
            return pl.lit(value=True)
        return reduce(or_ if self.address is not None else and_, each)


def condition(alternatives: Alternatives) -> pl.Expr:
    """Whether a stored record has one of these."""
    return reduce(
        or_,
        (
            reduce(
                and_,
                (_has(stored(name), BY_NAME[name].dtype, value) for name, value in one),
                pl.lit(value=True),
            )
            for one in alternatives
        ),
        pl.lit(value=False),
    )


def stored(name: str) -> pl.Expr:
    """A column of the schema, of a frame that has the stored ones."""
    return DERIVED.get(name, pl.col(name))


def _has(column: pl.Expr, dtype: pl.DataType, value: str | None) -> pl.Expr:
    if value is None:
        return column.is_null()
    if dtype == pl.Int64() and value.lstrip("-").isdecimal():
        return (column == pl.lit(int(value))).fill_null(value=False)
    text = column if dtype == pl.String() else column.cast(pl.String)
    return (text == value).fill_null(value=False)
