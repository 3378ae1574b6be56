"""The first and the last events of an alert that goes on."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import polars as pl

from connwatch.alert import KEPT

#: what the evidence is in the order of; no two hits of an alert share both
ORDER: Final = ("connwatch.log_time", "event.id")


def of_both(joined: pl.DataFrame, end: Literal["head", "tail"]) -> pl.Series:
    """The first or the last events of each session together with those of the alert it continues.

    Mostly one of the two has them all: enough first ones were there before, or enough last ones
    came.
    """
    joins = joined["joins"]
    rows = joined.select_seq(pl.col(end).alias("event"), open=f"open_{end}").filter(joins)
    if rows.is_empty():
        return joined[end]
    rows = rows.with_row_index()
    time = ORDER[0]
    whole = "open" if end == "head" else "event"
    settled = rows.select_seq(
        (pl.col("open").list.last().struct.field(time))
        < (pl.col("event").list.first().struct.field(time)),
        full=pl.col(whole).list.len() == KEPT,
    ).select(pl.all_horizontal(pl.all()).alias("settled"))["settled"]
    others = rows.filter(~settled)
    both = rows.filter(settled)[whole].rename("event")
    if others.height:
        both = pl.concat([both, _merged(others, end)])
    # Those that are settled, the others, those that continue nothing; and then each in its place.
    goes_on, done = joins.to_numpy(), settled.to_numpy()
    kind = np.full(joined.height, 2, dtype=np.int8)
    kind[goes_on] = np.where(done, 0, 1)
    order = np.argsort(kind, kind="stable")
    if others.is_empty() and goes_on.all():
        return both
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return pl.concat([both, joined[end].filter(~joins).rename("event")]).gather(place)


def _merged(rows: pl.DataFrame, end: Literal["head", "tail"]) -> pl.Series:
    """The first or the last of two lists of events together, in each row.

    Flat and sorted once: lists of structs are slow to put together and to sort.
    """
    each = pl.concat(
        [rows.select_seq("index", event="open"), rows.select_seq("index", "event")]
    ).explode("event")
    order = [pl.col("event").struct.field(name) for name in ORDER]
    kept = pl.col("event").head(KEPT) if end == "head" else pl.col("event").tail(KEPT)
    return each.sort("index", *order).group_by("index", maintain_order=True).agg(kept)["event"]
