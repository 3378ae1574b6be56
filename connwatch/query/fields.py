"""What a query may name: columns, patterns of columns, and names inside a flattened column."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final

import polars as pl

from connwatch.schema import COLUMNS, STRINGS

from .tree import Text

#: name -> (Polars type, Elasticsearch type)
Schema = Mapping[str, tuple[pl.DataType, str]]

#: Columns that hold a copy of another, and lists made of two: a condition on the list is the
#: condition on either, which a Parquet scan can push down.
_EITHER: Final[dict[str, tuple[str, ...]]] = {"related.ip": ("source.ip", "destination.ip")}


@dataclass(frozen=True, slots=True)
class Field:
    """A column as a query sees it.

    values: one expression for most columns; several when the column is a list made of others (a
    condition holds when it holds for any). lists: the expressions are lists of values. path: of
    values inside a column of objects, the parts of their name there between wildcards; None: all
    that is in the column.
    """

    name: str
    es: str
    dtype: pl.DataType
    values: tuple[pl.Expr, ...]
    lists: bool = False
    path: tuple[str, ...] | None = None


@cache
def event_fields() -> dict[str, Field]:
    """The fields of events: stored columns, and derived ones as expressions over the stored."""
    found = {}
    for column in COLUMNS:
        name = column.name
        if name in _EITHER:
            values = tuple(pl.col(other) for other in _EITHER[name])
            found[name] = Field(name, column.es, pl.String(), values)
        else:
            expr = pl.col(name) if column.derive is None else column.derive
            found[name] = _field(name, column.dtype, column.es, expr)
    return found


def fields_of(schema: Schema | None) -> Mapping[str, Field]:
    """The fields of a frame with the given columns; of events without one."""
    if schema is None:
        return event_fields()
    return {name: _field(name, dtype, es, pl.col(name)) for name, (dtype, es) in schema.items()}


def _field(name: str, dtype: pl.DataType, es: str, expr: pl.Expr) -> Field:
    if isinstance(dtype, pl.List):
        inner = dtype.inner
        item = inner if isinstance(inner, pl.DataType) else inner()
        return Field(name, es, item, (expr,), lists=True)
    return Field(name, es, dtype, (expr,))


def resolve(fields: Mapping[str, Field], name: Text) -> list[Field]:
    """The fields that `name` means: one, several for a pattern, none if there is no such field."""
    if not name.wild:
        exact = fields.get(name.parts[0])
        if exact is not None:
            return [exact] if exact.es not in _OBJECTS else [_leaves(exact, None)]
    else:
        pattern = re.compile(".*".join(map(re.escape, name.parts)), re.DOTALL)
        found = [
            field if field.es not in _OBJECTS else _leaves(field, None)
            for field in fields.values()
            if pattern.fullmatch(field.name)
        ]
        if found:
            return found
    return _inside(fields, name)


def _inside(fields: Mapping[str, Field], name: Text) -> list[Field]:
    """`connwatch.extra.NAME`, `labels.NAME`: the values of that name in a column of objects."""
    for field in fields.values():
        prefix = field.name + "."
        if field.es in _OBJECTS and name.parts[0].startswith(prefix):
            parts = (name.parts[0].removeprefix(prefix), *name.parts[1:])
            return [_leaves(field, parts)]
    return []


def _leaves(field: Field, parts: tuple[str, ...] | None) -> Field:
    """The values in a flattened column as a list of strings, which is how Elasticsearch sees it."""
    wanted = None
    if parts is not None:
        wanted = re.compile(".*".join(map(re.escape, parts)), re.DOTALL)
    values = field.values[0].map_batches(
        partial(_read_leaves, wanted=wanted), return_dtype=STRINGS, is_elementwise=True
    )
    return Field(field.name, "keyword", pl.String(), (values,), lists=True, path=parts)


def _read_leaves(column: pl.Series, wanted: re.Pattern[str] | None) -> pl.Series:
    # JSON of unknown shape has no vectorised reader; each distinct object is read once.
    known: dict[str | None, list[str] | None] = {None: None}
    found = []
    for text in column:
        if text not in known:
            known[text] = _leaves_of(text, wanted) or None
        found.append(known[text])
    return pl.Series(column.name, found, dtype=STRINGS)


def _leaves_of(text: str, wanted: re.Pattern[str] | None) -> list[str]:
    found: list[str] = []
    try:
        rest: list[tuple[str, Any]] = [("", json.loads(text, parse_int=str, parse_float=str))]
    except ValueError:
        return []
    while rest:
        path, value = rest.pop()
        if isinstance(value, dict):
            rest.extend((f"{path}.{key}" if path else key, item) for key, item in value.items())
        elif isinstance(value, list):
            rest.extend((path, item) for item in value)
        elif value is not None and (wanted is None or wanted.fullmatch(path)):
            found.append(value if isinstance(value, str) else json.dumps(value))
    return found


#: types of columns that hold JSON objects
_OBJECTS: Final = frozenset({"flattened", "object"})


def suggest(fields: Mapping[str, Field], name: str) -> str | None:
    """A hint that names the fields most like `name`."""
    lower = name.lower()
    ends = [known for known in fields if known.endswith("." + lower)]
    names = {known.lower(): known for known in fields}
    near = [names[match] for match in difflib.get_close_matches(lower, names, n=3, cutoff=0.6)]
    usual = [known for known in [_USUAL.get(lower, "")] if known in fields]
    found = list(dict.fromkeys([*usual, *ends[:3], *near]))[:3]
    if not found:
        return "connwatch schema lists the fields"
    return f"did you mean {' or '.join(found)}?"


#: What other tools call the fields that people ask for most.
_USUAL: Final[dict[str, str]] = {
    "ts": "@timestamp",
    "time": "@timestamp",
    "timestamp": "@timestamp",
    "src_ip": "source.ip",
    "srcip": "source.ip",
    "src": "source.ip",
    "src_port": "source.port",
    "srcport": "source.port",
    "dest_ip": "destination.ip",
    "dst_ip": "destination.ip",
    "dstip": "destination.ip",
    "dst": "destination.ip",
    "dest_port": "destination.port",
    "dst_port": "destination.port",
    "dstport": "destination.port",
    "id.orig_h": "source.ip",
    "id.orig_p": "source.port",
    "id.resp_h": "destination.ip",
    "id.resp_p": "destination.port",
    "proto": "network.transport",
    "service": "network.protocol",
    "duration": "event.duration",
    "orig_bytes": "zeek.connection.orig_bytes",
    "resp_bytes": "zeek.connection.resp_bytes",
    "orig_ip_bytes": "source.bytes",
    "resp_ip_bytes": "destination.bytes",
    "conn_state": "zeek.connection.state",
    "history": "zeek.connection.history",
    "uid": "zeek.session_id",
    "community_id": "network.community_id",
}
