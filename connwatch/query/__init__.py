"""KQL: text -> one tree (`parse`) -> a Polars expression (`to_polars`) -> results (`run`)."""

from __future__ import annotations

from .parse import parse
from .run import by, count, histogram, matching, search
from .times import parse_span, parse_time
from .to_polars import compile_query
from .tree import Query, to_kql

__all__ = [
    "Query",
    "by",
    "compile_query",
    "count",
    "histogram",
    "matching",
    "parse",
    "parse_span",
    "parse_time",
    "search",
    "to_kql",
]
