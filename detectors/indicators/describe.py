"""What is in a list, in numbers."""

from __future__ import annotations

from typing import Any

import polars as pl

from connwatch.alert import iso

from .index import SAME
from .lists import IndicatorList


def describe(read: IndicatorList) -> dict[str, Any]:
    """path, format, entries, kinds (number by kind), duplicates (entries that say what another one
    of the same provider says), limited (entries that are not valid at all times), valid_from and
    valid_until (the widest span of these; None: open), providers, rejected."""
    entries = read.entries
    kinds = entries["kind"].value_counts(sort=True, name="count")
    limited = entries.filter(
        pl.col("valid_from").is_not_null() | pl.col("valid_until").is_not_null()
    )
    return {
        "path": read.path,
        "format": read.format,
        "entries": entries.height,
        "kinds": dict(kinds.iter_rows()),
        "duplicates": entries.height - entries.select(SAME).unique().height,
        "limited": limited.height,
        "valid_from": _bound(limited["valid_from"], limited["valid_from"].min()),
        "valid_until": _bound(limited["valid_until"], limited["valid_until"].max()),
        "providers": entries["provider"].unique().sort().to_list(),
        "rejected": read.rejects.height,
    }


def _bound(column: pl.Series, bound: Any) -> str | None:
    return None if bound is None or column.null_count() else iso(bound)
