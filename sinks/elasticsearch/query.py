"""KQL to query DSL, with the meaning that a query has on the embedded store.

Most conditions a server decides as we do. Of some it knows too little: case and words beyond ASCII,
names of unknown fields by pattern, values that do not fit a field's type and are in a document
without being indexed. For these there are two queries, what matches for sure and what may match;
the documents between them are few, and `connwatch.query` decides on them here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from connwatch.errors import QueryError
from connwatch.query.conditions import UnfitError
from connwatch.query.fields import Field, event_fields, resolve, suggest
from connwatch.query.parse import pointed
from connwatch.query.tree import And, Compare, Everything, Match, Nested, Node, Not, Or, Query, Text
from connwatch.schema import BY_NAME

from . import conditions
from .dsl import NONE, OPEN, Bounds, Dsl, all_of, any_of, both, clauses, either, negated, none_of

#: types whose fields may leave a value out of the index
_ODD: Final = frozenset({"ip", "date", "integer"})
#: a server takes 30 levels, and 1,024 conditions at least
_LEVELS: Final = 20
_CLAUSES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What to ask a server. certain: documents that match; doubtful: those that may match too,
    None where there are none."""

    certain: Dsl
    doubtful: Dsl | None


def compile_events(
    query: Query,
    *,
    now: datetime,
    start: datetime | None = None,
    end: datetime | None = None,
    also: tuple[str, ...] = (),
    known: bool = True,
) -> Asked:
    """A query on events, from `start` (inclusive) to `end` (exclusive).

    now: what relative times in the query refer to. also: fields that results are sorted or grouped
    by. known: False where nothing is to be left to the server but leaving out what cannot match.
    Raises QueryError as `connwatch.query.compile_query` does.
    """
    compiler = _Compiler(query.source, event_fields(), now, set(also))
    found = compiler.node(query.root, 0)
    if start is not None or end is not None:
        compiler.used.add("@timestamp")
        found = both([Bounds.exactly(conditions.span("@timestamp", start, end)), found])
    different = found.certain != found.possible
    if clauses(found.certain) + different * clauses(found.possible) > _CLAUSES:
        found = OPEN
    if not known:
        found = Bounds(NONE, found.possible)
    between = []
    if found.certain != found.possible:
        between.append(all_of([found.possible, none_of(found.certain)]))
    odd = sorted(name for name in compiler.used if name in BY_NAME and BY_NAME[name].es in _ODD)
    if not odd:
        return Asked(found.certain, any_of(between) if between else None)
    ignored = {"terms": {"_ignored": odd}}
    return Asked(all_of([found.certain, none_of(ignored)]), any_of([*between, ignored]))


@dataclass(frozen=True, slots=True)
class _Compiler:
    source: str
    fields: Mapping[str, Field]
    now: datetime
    used: set[str]

    def node(self, node: Node, level: int) -> Bounds:
        if level > _LEVELS:
            return OPEN
        match node:
            case Everything():
                return both(())
            case And(queries):
                return both(self.node(one, level + 1) for one in queries)
            case Or(queries):
                return either(self.node(one, level + 1) for one in queries)
            case Not(query):
                return negated(self.node(query, level + 1))
            case Match(None, value):
                return self.anywhere(value)
            case Match(name, value) if name is not None:
                if value.any:
                    return both(()) if name.any else self.exists(name)
                return self.any_field(
                    name, value, lambda field: conditions.equals(field, value, self.now)
                )
            case Compare(name, operator, value):
                return self.any_field(
                    name, value, lambda field: conditions.compares(field, operator, value, self.now)
                )
            case Nested(name):
                raise pointed(
                    self.source,
                    name.at,
                    f"{str(name)!r} is not a nested field: there are none here",
                    "write the conditions without braces, joined with and",
                )
        raise AssertionError(node)

    def named(self, name: Text) -> list[Field]:
        found = resolve(self.fields, name)
        if not found:
            what = "no field matches" if name.wild else "there is no field"
            hint = suggest(self.fields, str(name))
            raise pointed(self.source, name.at, f"{what} {str(name)!r}", hint)
        self.used.update(field.name for field in found)
        return found

    def exists(self, name: Text) -> Bounds:
        return either(conditions.there(field) for field in self.named(name))

    def any_field(self, name: Text, value: Text, condition: Callable[[Field], Bounds]) -> Bounds:
        """Any of the fields; those of a pattern that cannot hold the value are passed over."""
        found, unfit = [], None
        for field in self.named(name):
            try:
                found.append(condition(field))
            except (UnfitError, QueryError) as error:
                why = error.message if isinstance(error, QueryError) else str(error)
                unfit = unfit or pointed(self.source, value.at, f"{field.name}: {why}", error.hint)
        if unfit is not None and not found:
            raise unfit
        return either(found)

    def anywhere(self, value: Text) -> Bounds:
        if value.any:
            return both(())
        found = []
        for name in self.fields:
            (field,) = resolve(self.fields, Text((name,)))
            try:
                found.append(conditions.anywhere(field, value, self.now))
            except UnfitError:
                continue
            self.used.add(name)
        return either(found)
