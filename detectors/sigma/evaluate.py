"""Conditions of many rules over one batch, each comparison made once.

A comparison that reads one column is made on that column's distinct values, of which there are
mostly few: thousands of ports, thirteen states; all comparisons of such a column at once. When one
holds for none of the values (or for all), it is a constant, and `and`, `or`, `not` fold constants;
so a rule that looks for a port that nobody used costs next to nothing. What is left are bitmaps.

Of a batch of few rows, as live ones are, all comparisons are made at once: there a query costs more
than what it computes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import and_, or_
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from connwatch.schema import BY_NAME, DERIVED, STRINGS

from .tree import Atom, Branch, Node
from .values import LOWER, NUMBER, SIX, helpers

#: numbers that are names: few different ones, compared by equality
_PORTS: Final = ("source.port", "destination.port")

#: rows that tell whether it is worth while to look for distinct values
_SAMPLE: Final = 4_000

#: what a condition is for a batch: one bit a row, or the same for all rows
Outcome = pl.Series | bool


@dataclass(slots=True)
class _Column:
    """A column's distinct values; the column itself when there are too many of them. Beside it what
    comparisons read of it: lower case, numbers. codes: which of the values a row has, where that
    came with finding them."""

    values: pl.DataFrame
    distinct: bool
    codes: NDArray[np.intp] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Test:
    """One comparison, made ready. column: the only one it reads (None: several, or none). key: what
    it is known by, the same in all rules that make it."""

    column: str | None
    key: object
    expr: pl.Expr


@dataclass(frozen=True, slots=True, eq=False)
class Junction:
    """and, or, not over other conditions."""

    kind: str
    parts: tuple[Condition, ...]


Condition = Test | Junction


@dataclass(frozen=True, slots=True)
class _Together:
    """Tests that are made at once, as columns; made: what they read beside the stored columns, the
    second kind from the first."""

    tests: tuple[Test, ...]
    exprs: list[pl.Expr]
    made: tuple[list[pl.Expr], list[pl.Expr]]

    def outcomes(self, events: pl.DataFrame) -> dict[object, Outcome]:
        for made in self.made:
            events = events.with_columns_seq(made) if made else events
        # Of few rows, sharing the work between threads costs more than the work.
        return _outcomes(events.select_seq(self.exprs), self.tests) if self.tests else {}


@dataclass(frozen=True, slots=True)
class Plan:
    """Conditions made ready once, for every batch. conditions: in the order of the nodes. tests: by
    the column that they read, and what they are known by."""

    conditions: tuple[Condition, ...]
    tests: Mapping[str, Mapping[object, Test]]
    _together: dict[tuple[int, ...], _Together] = field(default_factory=dict, compare=False)

    def together(self, asked: Sequence[int]) -> _Together:
        """What the conditions at these places compare."""
        places = tuple(asked)
        if places not in self._together:
            tests = tuple(_tests(self.conditions[place] for place in places))
            made = _made(test.expr for test in tests)
            self._together[places] = _Together(tests, _columns(tests), made)
        return self._together[places]


def plan(nodes: Iterable[Node]) -> Plan:
    """The conditions of rules, with what they have in common known."""
    conditions = tuple(_ready(node) for node in nodes)
    tests: dict[str, dict[object, Test]] = {}
    for test in _tests(conditions):
        if test.column is not None:
            tests.setdefault(test.column, {})[test.key] = test
    return Plan(conditions, tests)


def _tests(conditions: Iterable[Condition]) -> Iterable[Test]:
    """Every different test in conditions."""
    tests: dict[object, Test] = {}
    waiting = list(conditions)
    while waiting:
        one = waiting.pop()
        if isinstance(one, Junction):
            waiting.extend(one.parts)
        else:
            tests[one.key] = one
    return tests.values()


class Evaluation:
    """The conditions' outcomes for one batch of events. asked: places in the plan of those that
    `outcome` may be asked for."""

    def __init__(self, events: pl.DataFrame, plan: Plan, asked: Sequence[int]) -> None:
        self._events = events
        self._plan = plan
        self._columns: dict[str, _Column] = {}
        self._codes: dict[str, NDArray[np.intp]] = {}
        #: by the tests' keys: over the values of its column, and over the rows
        self._found: dict[object, Outcome] = {}
        few = events.height <= _SAMPLE
        self._known = plan.together(asked).outcomes(events) if few else {}

    def outcome(self, condition: Condition) -> Outcome:
        """Whether each row fulfils a condition of the plan."""
        if isinstance(condition, Test):
            if condition.key not in self._known:
                self._known[condition.key] = self._test(condition)
            return self._known[condition.key]
        if condition.kind == "not":
            inner = self.outcome(condition.parts[0])
            return not inner if isinstance(inner, bool) else ~inner
        return _folded(map(self.outcome, condition.parts), absorbing=condition.kind == "or")

    def _test(self, test: Test) -> Outcome:
        if test.column is None:
            return _selected(prepare(self._events, [test.expr]), [test])[test.key]
        column = self._column(test.column)
        if test.key not in self._found:
            # Where the values are few, all that is asked of them anywhere is asked now.
            tests = [*self._plan.tests[test.column].values()] if column.distinct else [test]
            roots = {root for one in tests for root in one.expr.meta.root_names()}
            column.values = column.values.with_columns(helpers(roots - {*column.values.columns}))
            self._found |= _selected(column.values, tests)
        found = self._found[test.key]
        if isinstance(found, bool) or not column.distinct:
            return found
        return _of_rows(found, self._code(test.column))

    def _column(self, name: str) -> _Column:
        if name not in self._columns:
            expr = DERIVED.get(name, pl.col(name)).alias(name)
            whole = self._events.select(expr)
            dtype = BY_NAME[name].dtype
            if dtype == STRINGS or (dtype.is_numeric() and name not in _PORTS):
                self._columns[name] = _Column(whole, distinct=False)
            else:
                self._columns[name] = _distinct(whole.to_series())
        return self._columns[name]

    def _code(self, name: str) -> NDArray[np.intp]:
        if name not in self._codes and (known := self._columns[name].codes) is not None:
            self._codes[name] = known
        if name not in self._codes:
            values = self._columns[name].values.select(name).with_row_index("_code")
            whole = self._events.select(DERIVED.get(name, pl.col(name)).alias(name))
            joined = whole.join(
                values, on=name, how="left", nulls_equal=True, maintain_order="left"
            )
            self._codes[name] = joined["_code"].to_numpy().astype(np.intp)
        return self._codes[name]


def prepare(events: pl.DataFrame, exprs: Iterable[pl.Expr]) -> pl.DataFrame:
    """`events` with the columns that expressions read beside the stored ones."""
    derived, helping = _made(exprs)
    return events.with_columns(derived).with_columns(helping)


def _made(exprs: Iterable[pl.Expr]) -> tuple[list[pl.Expr], list[pl.Expr]]:
    """What expressions read beside the stored columns: derived ones, and what is made of both."""
    needed = {root for expr in exprs for root in expr.meta.root_names()}
    derived = sorted({name for name in map(_base, needed) if name in DERIVED})
    return [DERIVED[name].alias(name) for name in derived], helpers(needed)


def _base(name: str) -> str:
    """The schema's column behind one made for matching."""
    return name.removeprefix(LOWER).removeprefix(NUMBER).removeprefix(SIX)


def _ready(node: Node) -> Condition:
    if isinstance(node, Branch):
        parts = _alternatives(node) if node.kind == "or" else map(_ready, node.children)
        return Junction(node.kind, tuple(parts))
    if (value := _value(node)) is not None:
        return _looked(value[0], [value[1]])
    roots = {_base(root) for root in node.expr.meta.root_names()}
    return Test(roots.pop() if len(roots) == 1 else None, node.key, node.expr)


def _alternatives(node: Branch) -> list[Condition]:
    """The parts of an `or`; many values of one column are one look-up."""
    values: dict[str, list[object]] = {}
    rest: list[Condition] = []
    for child in node.children:
        if isinstance(child, Atom) and (value := _value(child)) is not None:
            values.setdefault(value[0], []).append(value[1])
        else:
            rest.append(_ready(child))
    return [*(_looked(name, wanted) for name, wanted in values.items()), *rest]


def _value(atom: Atom) -> tuple[str, object] | None:
    """Column and value of a comparison that is nothing but their equality."""
    return atom.equals if len(atom.columns) == 1 else None


def _looked(name: str, wanted: Sequence[object]) -> Test:
    return Test(_base(name), (name, *wanted), pl.col(name).is_in(wanted).fill_null(value=False))


def _distinct(whole: pl.Series) -> _Column:
    """A column's distinct values, where they are a quarter of it or less."""
    if whole.head(_SAMPLE).n_unique() * 2 > _SAMPLE:
        return _Column(whole.to_frame(), distinct=False)
    if whole.dtype == pl.String:
        return _distinct_texts(whole)
    values = whole.unique()
    few = len(values) * 4 <= len(whole)
    return _Column((values if few else whole).to_frame(), few)


def _distinct_texts(whole: pl.Series) -> _Column:
    """The same of text, where values and codes together take less than values and then a join."""
    found = pl.Categories.random()  # its own: of the common ones none is ever forgotten
    coded = whole.cast(pl.Categorical(found))  # without it `found` has nothing any more
    values = found.to_series().alias(whole.name)
    codes = coded.to_physical()
    if codes.has_nulls():
        codes = codes.fill_null(len(values))
        values = values.extend_constant(None, 1)
    if len(values) * 4 > len(whole):
        return _Column(whole.to_frame(), distinct=False)
    return _Column(values.to_frame(), distinct=True, codes=codes.to_numpy().astype(np.intp))


def _of_rows(found: pl.Series, code: NDArray[np.intp]) -> pl.Series:
    """What holds of each row. found: of each distinct value; code: which of these a row has."""
    if found.has_nulls():
        return found.gather(pl.Series(code))
    return pl.Series(found.to_numpy()[code])  # three times as fast as `gather`


def _selected(frame: pl.DataFrame, tests: Sequence[Test]) -> dict[object, Outcome]:
    # An expression without a column (a value that cannot match) has one row, said of all.
    return _outcomes(frame.select(_columns(tests)), tests)


def _columns(tests: Sequence[Test]) -> list[pl.Expr]:
    return [test.expr.alias(str(place)) for place, test in enumerate(tests)]


def _outcomes(found: pl.DataFrame, tests: Sequence[Test]) -> dict[object, Outcome]:
    columns = found.get_columns()
    return {test.key: _constant(column) for test, column in zip(tests, columns, strict=True)}


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
