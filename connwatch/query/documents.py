"""KQL against alert documents: they become a small frame, and the same compiler does the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import polars as pl

from connwatch.alert import Document
from connwatch.schema import STRINGS, UTC

from .fields import Schema
from .to_polars import compile_query
from .tree import Query

_KEYWORD: Final = (pl.String(), "keyword")
_KEYWORDS: Final = (STRINGS, "keyword")
_DATE: Final = (UTC, "date")
_LONG: Final = (pl.Int64(), "long")
_IP: Final = (pl.String(), "ip")

#: What alerts can be searched by. `connwatch.group.*` are the values that an alert is about.
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
    "threat.framework": _KEYWORD,
    "threat.tactic.id": _KEYWORDS,
    "threat.tactic.name": _KEYWORDS,
    "threat.technique.id": _KEYWORDS,
    "threat.technique.subtechnique.id": _KEYWORDS,
    "connwatch.level": _KEYWORD,
    "connwatch.status": _KEYWORD,
    "connwatch.count": _LONG,
}
_GROUP: Final = "connwatch.group"


def matching(documents: Sequence[Document], query: Query, *, now: datetime) -> list[Document]:
    """The alert documents that match, in their order. Raises QueryError as for events."""
    if not documents:
        compile_query(query, now=now, schema=ALERT_FIELDS)
        return []
    schema = _with_groups(documents)
    frame = pl.DataFrame(
        {
            name: pl.Series([_value(document, name, dtype) for document in documents], dtype=dtype)
            for name, (dtype, _) in schema.items()
        }
    )
    keep = frame.select(compile_query(query, now=now, schema=schema).alias("keep"))["keep"]
    return [document for document, kept in zip(documents, keep, strict=True) if kept]


def _with_groups(documents: Sequence[Mapping[str, Any]]) -> Schema:
    names = {name for document in documents for name in document["connwatch"]["group"]}
    groups = {f"{_GROUP}.{name}": _KEYWORD for name in sorted(names)}
    return {**ALERT_FIELDS, **groups}


def _value(document: Mapping[str, Any], name: str, dtype: pl.DataType) -> Any:
    if name.startswith(_GROUP):
        value = document["connwatch"]["group"].get(name.removeprefix(f"{_GROUP}."))
        return None if value is None else str(value)
    here: Any = document
    for step in name.split("."):
        here = here.get(step) if isinstance(here, Mapping) else None
    if here is None:
        return None
    return datetime.fromisoformat(here) if dtype == UTC else here
