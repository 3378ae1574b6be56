"""A query to one Polars condition over the stored columns.

`compile_query` gives one expression, true where a record matches and else false. `predicates` gives
the same as a list to be filtered one after the other, so that a Parquet scan can push each one
down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from operator import and_, or_

import polars as pl

from connwatch.errors import QueryError

from . import conditions
from .conditions import UnfitError
from .fields import Field, Schema, fields_of, resolve, suggest
from .parse import pointed
from .tree import And, Compare, Everything, Match, Nested, Node, Not, Or, Query, Text


def compile_query(query: Query, *, now: datetime, schema: Schema | None = None) -> pl.Expr:
    """True where a record matches.

    now: what relative times in the query refer to. schema: the columns of the frame, name ->
    (Polars type, Elasticsearch type); events' stored columns, and derived ones computed from
    them, when left out. Raises QueryError for unknown fields and values that do not fit.
    """
    return _joined(and_, predicates(query, now=now, schema=schema)).fill_null(False)


def predicates(query: Query, *, now: datetime, schema: Schema | None = None) -> list[pl.Expr]:
    """Conditions that must all hold; null counts as false."""
    compiler = _Compiler(query.source, fields_of(schema), now)
    root = query.root
    parts = root.queries if isinstance(root, And) else (root,)
    return [compiler.node(part) for part in parts if not isinstance(part, Everything)]


def field_of(source: str, schema: Schema | None = None) -> Field:
    """The one field of that name, for sorting and grouping. Raises QueryError."""
    fields = fields_of(schema)
    found = resolve(fields, Text((source,)))
    if not found:
        raise QueryError(f"there is no field {source!r}", hint=suggest(fields, source))
    return found[0]


@dataclass(frozen=True, slots=True)
class _Compiler:
    source: str
    fields: Mapping[str, Field]
    now: datetime

    def node(self, node: Node) -> pl.Expr:
        match node:
            case Everything():
                return pl.lit(True)
            case And(queries):
                return _joined(and_, map(self.node, queries))
            case Or(queries):
                return _joined(or_, map(self.node, queries))
            case Not(query):
                return ~self.node(query).fill_null(False)
            case Match():
                return self.match(node.field, node.value)
            case Compare(name, operator, value):
                return self.fields_match(
                    name, value, lambda field: self.ordered(field, operator, value)
                )
            case Nested(name):
                raise pointed(
                    self.source,
                    name.at,
                    f"{str(name)!r} is not a nested field: there are none here",
                    "write the conditions without braces, joined with and",
                )

    def match(self, name: Text | None, value: Text) -> pl.Expr:
        if name is None:
            return self.anywhere(value)
        if value.any:
            return pl.lit(True) if name.any else self.exists(name)
        return self.fields_match(name, value, lambda field: self.equal(field, value))

    def named(self, name: Text) -> list[Field]:
        found = resolve(self.fields, name)
        if not found:
            what = "no field matches" if name.wild else "there is no field"
            hint = suggest(self.fields, str(name))
            raise pointed(self.source, name.at, f"{what} {str(name)!r}", hint)
        return found

    def fields_match(
        self, name: Text, value: Text, condition: Callable[[Field], pl.Expr]
    ) -> pl.Expr:
        """Any of the fields; those of a pattern that cannot hold the value are passed over."""
        found, unfit = [], None
        fields = self.named(name)
        for field in fields:
            try:
                found.append(condition(field))
            except UnfitError as error:
                unfit = unfit or pointed(
                    self.source, value.at, f"{field.name}: {error}", error.hint
                )
            except QueryError as error:  # a time that cannot be read
                unfit = unfit or pointed(
                    self.source, value.at, f"{field.name}: {error.message}", error.hint
                )
        if unfit is not None and not found:
            raise unfit
        return _joined(or_, found)

    def exists(self, name: Text) -> pl.Expr:
        return _joined(
            or_,
            [
                value.list.len() > 0 if field.lists else value.is_not_null()
                for field in self.named(name)
                for value in field.values
            ],
        )

    def equal(self, field: Field, value: Text) -> pl.Expr:
        return _each(field, lambda item: conditions.equals(field.es, item, value, self.now))

    def ordered(self, field: Field, operator: str, value: Text) -> pl.Expr:
        return _each(
            field, lambda item: conditions.compares(field.es, item, operator, value, self.now)
        )

    def anywhere(self, value: Text) -> pl.Expr:
        """A bare value: in any text as whole words, equal to any number, in any address field."""
        if value.any:
            return pl.lit(True)
        found = []
        for name in self.fields:
            (field,) = resolve(self.fields, Text((name,)))
            if field.es in _WORDS:
                found.append(_each(field, lambda item: conditions.words(item, value)))
            if field.es in _VALUES:
                try:
                    found.append(self.equal(field, value))
                except UnfitError:
                    continue
        return _joined(or_, found)


#: types in whose values a bare value is looked for as words, and as a whole
_WORDS = frozenset({"keyword", "constant_keyword", "wildcard", *conditions.TEXTS})
_VALUES = frozenset({"ip", *conditions.NUMBERS})


def _each(field: Field, condition: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    """The condition on a single value, or on any item of a list."""
    if field.lists:
        return _joined(
            or_, [value.list.eval(condition(pl.element())).list.any() for value in field.values]
        )
    return _joined(or_, [condition(value) for value in field.values])


def _joined(operator: Callable[[pl.Expr, pl.Expr], pl.Expr], parts: Iterable[pl.Expr]) -> pl.Expr:
    """All parts joined as a balanced tree: a long list must not become a deep expression."""
    level = list(parts)
    if not level:
        return pl.lit(operator is and_)
    while len(level) > 1:
        level = [reduce(operator, level[at : at + 2]) for at in range(0, len(level), 2)]
    return level[0]
