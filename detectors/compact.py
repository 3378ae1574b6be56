"""Texts of some rows without those of the many that they were taken from."""

from __future__ import annotations

from typing import Final

import polars as pl

#: rows from which on it matters what else stays in memory
_MANY: Final = 5_000


def compact(frame: pl.DataFrame, of: int) -> pl.DataFrame:
    """The same rows, for what is kept longer than the batch that they come from. of: its rows.

    Rows that are taken from a frame share its texts: one of them keeps all the others in memory.
    Texts that are put together anew stand by themselves.
    """
    if of < _MANY:
        return frame
    return frame.with_columns(pl.col(pl.String) + pl.lit(""), pl.col(pl.Binary) + pl.lit(b""))


def compact_lists(lists: pl.Series) -> pl.Series:
    """The same lists of structs, none of them empty or null, as `compact` makes them."""
    rows = pl.DataFrame({"of": pl.int_range(lists.len(), eager=True), "one": lists}).explode("one")
    rows = rows.with_columns(compact(rows["one"].struct.unnest(), _MANY).to_struct("one"))
    return rows.group_by("of", maintain_order=True).agg("one")["one"].rename(lists.name)
