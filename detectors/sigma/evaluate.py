"""Conditions of many rules over one batch, each comparison made once.

A comparison that reads one column is made on that column's distinct values, of which there are
mostly few: thousands of ports, thirteen states. When it holds for none of them (or for all), it is
a constant, and `and`, `or`, `not` fold constants; so a rule that looks for a port that nobody used
costs next to nothing. What is left are bitmaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from operator import and_, or_
from typing import Final

import polars as pl

from connwatch.schema import BY_NAME, DERIVED, STRINGS

from .tree import Atom, Branch, Node
from .values import LOWER, NUMBER, SIX, helpers

#: numbers that are names: few different ones, compared by equality
_PORTS: Final = ("source.port", "destination.port")

#: what a condition is for a batch: one bit a row, or the same for all rows
Outcome = pl.Series | bool


@dataclass(slots=True)
class _Column:
    """A column's distinct values; the column itself when there are too many of them. Beside it what
    comparisons read of it: lower case, numbers."""

    values: pl.DataFrame
    distinct: bool


class Evaluation:
    """The conditions' outcomes for one batch of events."""

    def __init__(self, events: pl.DataFrame) -> None:
        self._events = events
        self._columns: dict[str, _Column] = {}
        self._codes: dict[str, pl.Series] = {}
        self._known: dict[object, Outcome] = {}

    def outcome(self, node: Node) -> Outcome:
        """Whether each row fulfils the node."""
        if isinstance(node, Atom):
            return self._atom(node)
        if node.kind == "not":
            inner = self.outcome(node.children[0])
            return not inner if isinstance(inner, bool) else ~inner
        if node.kind == "and":
            return _folded(map(self.outcome, node.children), absorbing=False)
        return self._any(node)

    def _any(self, node: Branch) -> Outcome:
        """`or`; many values of one column are one look-up."""
        values: dict[str, list[object]] = {}
        rest: list[Node] = []
        for child in node.children:
            if isinstance(child, Atom) and child.equals is not None and len(child.columns) == 1:
                values.setdefault(child.equals[0], []).append(child.equals[1])
            else:
                rest.append(child)
        looked = (self._among(name, wanted) for name, wanted in values.items())
        return _folded(chain(looked, map(self.outcome, rest)), absorbing=True)

    def _among(self, name: str, wanted: Sequence[object]) -> Outcome:
        key = (name, *wanted)
        if key not in self._known:
            expr = pl.col(name).is_in(wanted).fill_null(value=False)
            self._known[key] = self._single(_base(name), expr)
        return self._known[key]

    def _atom(self, atom: Atom) -> Outcome:
        if atom.equals is not None and len(atom.columns) == 1:
            return self._among(atom.equals[0], [atom.equals[1]])
        key = atom.key
        if key not in self._known:
            roots = {_base(root) for root in atom.expr.meta.root_names()}
            if len(roots) == 1:
                self._known[key] = self._single(roots.pop(), atom.expr)
            else:
                self._known[key] = _constant(_select(prepare(self._events, [atom.expr]), atom.expr))
        return self._known[key]

    def _single(self, name: str, expr: pl.Expr) -> Outcome:
        """A comparison that reads one column."""
        column = self._column(name)
        missing = set(expr.meta.root_names()) - set(column.values.columns)
        column.values = column.values.with_columns(helpers(missing))
        found = _constant(_select(column.values, expr))
        if isinstance(found, bool) or not column.distinct:
            return found
        return found.gather(self._code(name))

    def _column(self, name: str) -> _Column:
        if name not in self._columns:
            expr = DERIVED.get(name, pl.col(name)).alias(name)
            whole = self._events.select(expr)
            dtype = BY_NAME[name].dtype
            if dtype == STRINGS or (dtype.is_numeric() and name not in _PORTS):
                self._columns[name] = _Column(whole, distinct=False)
            else:
                values = whole.unique()
                few = values.height * 4 <= whole.height
                self._columns[name] = _Column(values if few else whole, few)
        return self._columns[name]

    def _code(self, name: str) -> pl.Series:
        if name not in self._codes:
            values = self._columns[name].values.select(name).with_row_index("_code")
            whole = self._events.select(DERIVED.get(name, pl.col(name)).alias(name))
            joined = whole.join(
                values, on=name, how="left", nulls_equal=True, maintain_order="left"
            )
            self._codes[name] = joined["_code"]
        return self._codes[name]


def prepare(events: pl.DataFrame, exprs: Iterable[pl.Expr]) -> pl.DataFrame:
    """`events` with the columns that expressions read beside the stored ones."""
    needed = {root for expr in exprs for root in expr.meta.root_names()}
    derived = sorted(name for name in map(_base, needed) if name in DERIVED)
    made = events.with_columns(DERIVED[name].alias(name) for name in set(derived))
    return made.with_columns(helpers(needed))


def _base(name: str) -> str:
    """The schema's column behind one made for matching."""
    return name.removeprefix(LOWER).removeprefix(NUMBER).removeprefix(SIX)


def _select(frame: pl.DataFrame, expr: pl.Expr) -> pl.Series:
    found = frame.select(expr.alias("found"))["found"]
    # An expression without a column (a value that cannot match) gives one row.
    return found if len(found) == frame.height else pl.repeat(found[0], frame.height, eager=True)


def _constant(found: pl.Series) -> Outcome:
    number = int(found.sum() or 0)
    if number == 0:
        return False
    return True if number == len(found) else found


def _folded(parts: Iterable[Outcome], *, absorbing: bool) -> Outcome:
    """`or` of the parts when True absorbs, `and` when False does; stops at the first that does."""
    rest: list[pl.Series] = []
    for part in parts:
        if isinstance(part, bool):
            if part is absorbing:
                return absorbing
        else:
            rest.append(part)
    if not rest:
        return not absorbing
    return reduce(or_ if absorbing else and_, rest)
