"""Answers: matching records, their number, the commonest values, a histogram over time.

All take a LazyFrame of the schema's stored columns (a scan of Parquet, best of all) and read only
the columns they need; `start` (inclusive) and `end` (exclusive) are filtered first, as plain
conditions on @timestamp, so that a scan can leave out whole row groups.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import polars as pl

from connwatch.errors import QueryError
from connwatch.schema import BY_NAME, COLUMNS, STORED

from .to_polars import field_of, predicates
from .tree import Query

MAX_BUCKETS: Final = 100_000

_EVERY: Final = re.compile(r"([1-9]\d{0,5})([smhdwMy])")
_POLARS_UNITS: Final = {"M": "mo"}


def matching(
    events: pl.LazyFrame,
    query: Query,
    *,
    now: datetime,
    start: datetime | None = None,
    end: datetime | None = None,
) -> pl.LazyFrame:
    """The stored columns of the records that match."""
    if start is not None:
        events = events.filter(pl.col("@timestamp") >= start)
    if end is not None:
        events = events.filter(pl.col("@timestamp") < end)
    for predicate in predicates(query, now=now):
        events = events.filter(predicate)
    return events


def search(
    events: pl.LazyFrame,
    query: Query,
    *,
    now: datetime,
    start: datetime | None = None,
    end: datetime | None = None,
    sort: tuple[str, bool] = ("@timestamp", True),
    limit: int | None = 100,
    columns: Sequence[str] | None = None,
) -> pl.DataFrame:
    """The first `limit` matching records in order.

    sort: a field and whether descending; records without the field come last, ties go by
    event.id. limit: None for all. columns: names of schema columns; None for all of them.
    """
    name, descending = sort
    key = field_of(name)
    if key.lists or len(key.values) > 1 or name not in BY_NAME:
        raise QueryError(f"{name} holds several values and cannot be sorted by")
    names = _known(columns)
    needed = {root for name in names for root in _roots(name)} | {"event.id"}
    found = matching(events, query, now=now, start=start, end=end)
    order = key.values[0].alias("_order")
    if limit is not None:
        found = _first(found, order, descending, limit)
    rows = (
        found.select(*(pl.col(name) for name in STORED if name in needed), order)
        .sort("_order", "event.id", descending=[descending, False], nulls_last=True)
        .collect()
    )
    rows = rows if limit is None else rows.head(limit)
    derive = {column.name: column.derive for column in COLUMNS}
    return rows.select(
        pl.col(name) if (expr := derive[name]) is None else expr.alias(name) for name in names
    )


def _first(found: pl.LazyFrame, order: pl.Expr, descending: bool, limit: int) -> pl.LazyFrame:
    """Leave out what certainly comes after the first `limit`: read the sort column alone first."""
    keys = found.select(order).drop_nulls()
    pick = keys.top_k if descending else keys.bottom_k
    bounds = pick(limit, by="_order").collect().to_series()
    if len(bounds) < limit or not limit:
        return found if limit else found.head(0)
    bound = bounds.min() if descending else bounds.max()
    return found.filter(order >= bound if descending else order <= bound)


def _known(columns: Sequence[str] | None) -> list[str]:
    if columns is None:
        return list(BY_NAME)
    for name in columns:
        if name not in BY_NAME:
            field_of(name)  # explains an unknown name
            whole = "labels" if name.startswith("labels.") else "connwatch.extra"
            raise QueryError(f"{name!r} is not a column", hint=f"take {whole} as a whole")
    return list(columns)


def _roots(name: str) -> list[str]:
    derive = BY_NAME[name].derive
    return [name] if derive is None else derive.meta.root_names()


def count(
    events: pl.LazyFrame,
    query: Query,
    *,
    now: datetime,
    start: datetime | None = None,
    end: datetime | None = None,
) -> int:
    """How many records match."""
    found = matching(events, query, now=now, start=start, end=end)
    return int(found.select(pl.len()).collect(engine="streaming").item())


def by(
    events: pl.LazyFrame,
    query: Query,
    field: str,
    limit: int | None = 20,
    *,
    now: datetime,
    start: datetime | None = None,
    end: datetime | None = None,
) -> pl.DataFrame:
    """The commonest values of a field, with the number of matching records that have each.

    Columns value and count; commonest first, ties by value. Records without the field are not
    counted; one with several values counts once for each of them.
    """
    key = field_of(field)
    found = matching(events, query, now=now, start=start, end=end)
    if len(key.values) > 1:
        values = found.select(value=pl.concat_list(key.values).list.unique()).explode("value")
    elif key.lists:
        values = found.select(value=key.values[0].list.unique()).explode("value")
    else:
        values = found.select(value=key.values[0])
    counts = values.drop_nulls().group_by("value").agg(count=pl.len().cast(pl.Int64))
    return commonest(counts.collect(engine="streaming"), limit)


def commonest(counts: pl.DataFrame, limit: int | None) -> pl.DataFrame:
    """The first rows of columns value and count, as `by` orders them."""
    table = counts.sort("count", "value", descending=[True, False])
    return table if limit is None else table.head(limit)


def histogram(
    events: pl.LazyFrame,
    query: Query,
    every: str,
    *,
    now: datetime,
    start: datetime | None = None,
    end: datetime | None = None,
) -> pl.DataFrame:
    """Matching records per span of time: columns time (begin of the bucket) and count.

    every: a number and s, m, h, d, w (from Monday), M or y, as in 15m. Buckets lie on UTC; those
    without records are there, from `start` or the first record to `end` or the last.
    """
    found = matching(events, query, now=now, start=start, end=end)
    return over_time(found.select(time="@timestamp", count=pl.lit(1)), every, start, end)


def over_time(
    counts: pl.LazyFrame, every: str, start: datetime | None, end: datetime | None
) -> pl.DataFrame:
    """Counted times (columns time and count) as the histogram that `histogram` gives."""
    spec = _EVERY.fullmatch(every)
    if spec is None:
        raise QueryError(f"{every!r} is not a span of time", hint="write 30s, 15m, 1h, 1d, 1w, 1M")
    step = spec[1] + _POLARS_UNITS.get(spec[2], spec[2])
    buckets = (
        counts.group_by(pl.col("time").dt.truncate(step))
        .agg(pl.col("count").sum().cast(pl.Int64))
        .sort("time")
        .collect(engine="streaming")
    )
    return _filled(buckets, step, every, start, end)


def _filled(
    counts: pl.DataFrame, step: str, every: str, start: datetime | None, end: datetime | None
) -> pl.DataFrame:
    if counts.is_empty():
        return counts
    edges = pl.DataFrame(
        {"first": [start], "last": [end]},
        schema={"first": pl.Datetime("us", "UTC"), "last": pl.Datetime("us", "UTC")},
    ).select(
        pl.col("first").dt.truncate(step).fill_null(counts["time"].min()),
        (pl.col("last") - pl.duration(microseconds=1))
        .dt.truncate(step)
        .fill_null(counts["time"].max()),
    )
    first, last = edges.row(0)
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "M": 2419200, "y": 31536000}
    span = seconds[every[-1]] * int(every[:-1])
    if (last - first).total_seconds() / span > MAX_BUCKETS:
        raise QueryError(
            f"{every} makes more than {MAX_BUCKETS:,} buckets", hint="take a longer span"
        )
    times = pl.datetime_range(first, last, step, time_unit="us", eager=True).alias("time")
    return (
        times.to_frame()
        .join(counts, on="time", how="left")
        .with_columns(pl.col("count").fill_null(0))
    )
