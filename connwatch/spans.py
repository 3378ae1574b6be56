"""Which alert a hit belongs to: the one of its rule and group in whose span it lies."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl


def placed(spans: pl.DataFrame, hits: pl.DataFrame, more: Sequence[str] = ()) -> pl.LazyFrame:
    """Hits with the columns of the span that they lie in; those in none are left out.

    spans: rule, group, start, end (UTC), and whatever else is wanted of them; those of one rule and
    group do not overlap. hits: `HIT_SCHEMA`, of which rule, group, connwatch.log_time and `more`
    are kept.
    """
    return (
        hits.lazy()
        .select("rule", "group", "connwatch.log_time", *more)
        .sort("connwatch.log_time")
        .join_asof(
            spans.lazy().sort("start"),
            left_on="connwatch.log_time",
            right_on="start",
            by=["rule", "group"],
            check_sortedness=False,  # sorted just above
        )
        .filter(pl.col("connwatch.log_time") <= pl.col("end"))
    )
