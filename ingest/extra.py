"""Fields that the schema does not know, kept as the text of one JSON object per record."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl


def member(value: pl.Expr, name: str) -> pl.Expr:
    """`"name":value` as JSON text, null where the value is null."""
    text = pl.struct(value.alias(name)).struct.json_encode().str.head(-1).str.slice(1)
    return pl.when(value.is_not_null()).then(text)


def whole(members: Sequence[pl.Expr]) -> pl.Expr:
    """One JSON object of the members that are set; null where none is. members: at least one."""
    body = pl.concat_str(members, separator=",", ignore_nulls=True)
    return pl.when(body != "").then(pl.concat_str(pl.lit("{"), body, pl.lit("}")))


def as_json(frame: pl.DataFrame, members: Sequence[pl.Expr]) -> pl.Series | None:
    """The same per row of `frame`; None when there is no member at all."""
    return frame.select(whole(members).alias("extra")).to_series() if members else None
