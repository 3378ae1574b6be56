"""KQL against nested documents, alerts above all: they become a small frame, and the same compiler
does the rest.

A field is any path of the document, through objects, lists and dotted names; all that stands at
one path, in lists too, are the values of that field, as in Elasticsearch. Its type is the alert's
or the schema's (`connwatch.group.source.ip` is an address as `source.ip` is), else what its values
are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC as ZERO
from datetime import datetime
from typing import Any, Final, TypeAlias

import polars as pl

from connwatch.alert import Document
from connwatch.schema import BY_NAME, OBJECTS, STRINGS, UTC

from .fields import Schema
from .to_polars import compile_query
from .tree import Compare, Match, Nested, Query, Text, levels

_KEYWORD: Final = (pl.String(), "keyword")
_KEYWORDS: Final = (STRINGS, "keyword")
_DATE: Final = (UTC, "date")
_LONG: Final = (pl.Int64(), "long")
_IP: Final = (pl.String(), "ip")

#: Fields that every alert may have; a query may name them though no document here has them.
ALERT_FIELDS: Final[dict[str, tuple[pl.DataType, str]]] = {
    "@timestamp": _DATE,
    "event.id": _KEYWORD,
    "event.kind": _KEYWORD,
    "event.category": _KEYWORDS,
    "event.dataset": _KEYWORD,
    "event.start": _DATE,
    "event.end": _DATE,
    "event.severity": _LONG,
    "event.risk_score": (pl.Float64(), "float"),
    "message": (pl.String(), "match_only_text"),
    "rule.id": _KEYWORD,
    "rule.name": _KEYWORD,
    "rule.description": (pl.String(), "match_only_text"),
    "source.ip": _IP,
    "source.port": _LONG,
    "destination.ip": _IP,
    "destination.port": _LONG,
    "related.ip": (STRINGS, "ip"),
    "process.pid": _LONG,
    "process.name": _KEYWORD,
    "user.id": _KEYWORD,
    "user.name": _KEYWORD,
    "host.name": _KEYWORD,
    "threat.framework": _KEYWORD,
    "threat.tactic.id": _KEYWORDS,
    "threat.tactic.name": _KEYWORDS,
    "threat.technique.id": _KEYWORDS,
    "threat.technique.subtechnique.id": _KEYWORDS,
    "connwatch.level": _KEYWORD,
    "connwatch.status": _KEYWORD,
    "connwatch.count": _LONG,
}
#: objects whose keys are names of the schema
_EVENTS: Final = re.compile(r"connwatch\.(?:group|evidence)\.(.+)")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
_I64: Final = range(-(2**63), 2**63)

#: path -> values
Leaves: TypeAlias = dict[str, list[Any]]


def matching(documents: Sequence[Document], query: Query, *, now: datetime) -> list[Document]:
    """The alert documents that match, in their order.

    Raises QueryError as for events: for a field too that neither alerts nor these documents have.
    """
    names = _names(query)
    exact = None if any(name.wild for name in names) else {str(name) for name in names}
    rows = [_leaves(document, exact) for document in documents]
    known = {name: found for name in exact or () if (found := _known(name))}
    schema = {**ALERT_FIELDS, **known, **_types(rows)}
    if exact is not None and not exact <= schema.keys():  # the hint takes all names
        schema |= _types([_leaves(document, None) for document in documents])
    keep = _kept(rows, query, now, schema)
    return [document for document, kept in zip(documents, keep, strict=True) if kept]


def _kept(rows: Sequence[Leaves], query: Query, now: datetime, schema: Schema) -> pl.Series:
    condition = compile_query(query, now=now, schema=schema)
    frame = pl.DataFrame(
        [
            _column(name, schema[name][0], [row.get(name) for row in rows])
            for name in sorted(set(condition.meta.root_names()))
        ]
    )
    keep = frame.select(condition).to_series()
    # A condition on no field has one answer for all.
    return keep if frame.width else keep.new_from_index(0, len(rows))


def _names(query: Query) -> list[Text]:
    """The fields that a query names; a bare value names them all."""
    return [
        Text(("", "")) if node.field is None else node.field
        for level in levels(query.root)
        for node in level
        if isinstance(node, Match | Compare | Nested)
    ]


def _can_be_named(name: str) -> bool:
    """Polars takes * and ^…$ for several columns: there are no fields of these names."""
    return name not in ("", "*") and not (name.startswith("^") and name.endswith("$"))


def _leaves(document: Mapping[str, Any], names: Iterable[str] | None) -> Leaves:
    """The values of a document by path; with `names`, of those paths only."""
    steps = None
    if names is not None:
        paths = [name.split(".") for name in names]
        steps = {".".join(path[:end]) for path in paths for end in range(1, len(path) + 1)}
    found: Leaves = {}
    rest: list[tuple[str, Any]] = [("", document)]
    while rest:
        path, value = rest.pop()
        if isinstance(value, Mapping):
            for key, item in value.items():
                below = f"{path}.{key}" if path else key
                if steps is None or below in steps or "." in key:
                    rest.append((below, item))
        elif isinstance(value, list | tuple):
            rest.extend((path, item) for item in reversed(value))
        elif value is not None:
            found.setdefault(path, []).append(value)
    return found


def _types(rows: Sequence[Leaves]) -> dict[str, tuple[pl.DataType, str]]:
    """The type of each path: a list where a document has several values there."""
    values: Leaves = {}
    several = set()
    for row in rows:
        for name, here in row.items():
            if _can_be_named(name):
                values.setdefault(name, []).extend(here)
            if len(here) > 1:
                several.add(name)
    found = {}
    for name, here in values.items():
        dtype, es = _known(name) or _guessed(here)
        if name in several and not isinstance(dtype, pl.List):
            dtype = pl.List(dtype)
        found[name] = (dtype, es)
    return found


def _known(name: str) -> tuple[pl.DataType, str] | None:
    if name in ALERT_FIELDS:
        return ALERT_FIELDS[name]
    event = _EVENTS.fullmatch(name)
    column = BY_NAME.get(event[1]) if event else None
    if column is None or column.name in OBJECTS:
        return None
    return column.dtype, column.es


def _guessed(values: Sequence[Any]) -> tuple[pl.DataType, str]:
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return pl.Boolean(), "boolean"
    if kinds == {int} and all(value in _I64 for value in values):
        return _LONG
    if kinds <= {int, float}:
        return pl.Float64(), "double"
    if kinds == {str} and all(_TIME.fullmatch(value) for value in values):
        return _DATE
    return _KEYWORD


def _column(name: str, dtype: pl.DataType, rows: Sequence[list[Any] | None]) -> pl.Series:
    """The values of one path, one row a document; null for one that its type cannot hold."""
    if isinstance(dtype, pl.List):
        inner = dtype.inner
        cells = [None if row is None else [_cell(one, inner) for one in row] for row in rows]
    else:
        cells = [None if row is None else _cell(row[0], dtype) for row in rows]
    return pl.Series(name, cells, dtype=dtype, strict=False)


def _cell(value: Any, dtype: Any) -> Any:
    if dtype == pl.String:
        return value if isinstance(value, str) else json.dumps(value)
    if dtype == UTC:
        try:
            time = datetime.fromisoformat(value)
        except (TypeError, ValueError):
            return None
        return time if time.tzinfo else time.replace(tzinfo=ZERO)
    return value
