"""From what a format took out of a file to entries: text gets its meaning, and what cannot be used
its reason. The same for every format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import polars as pl

from connwatch.schema import UTC

from .columns import read_column
from .table import DESCRIPTION, ENTRY_SCHEMA, KEPT, RAW_SCHEMA, REJECT_SCHEMA
from .values import confidence, read_port, read_time

#: what an entry has to be where the list says so -> the kinds that are that
_FITS: Final = {"address": ("address", "network"), "domain": ("domain",), "port": ("port",)}
_PLACES: Final = ("text", "want", "line", "entry", "reason")
_OPTIONAL: Final = [name for name in RAW_SCHEMA if name not in _PLACES]


def resolve(raw: pl.DataFrame, file: str, provider: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The entries (`ENTRY_SCHEMA`) and rejects of a file's `RAW_SCHEMA`, each in its order."""
    stripped = raw.with_columns(
        pl.col("text").fill_null("").str.strip_chars(),
        pl.col(_OPTIONAL).str.strip_chars().replace(["", "-"], None),
    )
    rows = (
        stripped.rename({"port": "port_text", "valid_from": "from", "valid_until": "until"})
        .with_columns(read_column(stripped["text"]))
        .with_columns(
            number=_each(stripped["port"], read_port, ENTRY_SCHEMA["port"]),
            valid_from=_each(stripped["valid_from"], read_time, UTC),
            valid_until=_each(stripped["valid_until"], read_time, UTC),
            confidence=_each(stripped["confidence"], confidence, pl.String()),
            file=pl.lit(file),
        )
        .with_columns(reason=pl.coalesce("reason", "why", _contradiction()))
    )
    rejects = rows.filter(pl.col("reason").is_not_null()).with_columns(
        raw=pl.col("text").str.slice(0, KEPT)
    )
    entries = rows.filter(pl.col("reason").is_null()).with_columns(
        pl.coalesce("port", "number").alias("port"),
        pl.col("provider").fill_null(provider),
        pl.col("description").str.slice(0, DESCRIPTION),
        pl.col("confidence").fill_null("Not Specified"),
    )
    return entries.select(list(ENTRY_SCHEMA)), rejects.select(list(REJECT_SCHEMA))


def _contradiction() -> pl.Expr:
    """What is wrong with an entry whose value can be read; null for nothing."""
    fits = pl.lit(value=True)
    for want, kinds in _FITS.items():
        fits = pl.when(pl.col("want") == want).then(pl.col("kind").is_in(kinds)).otherwise(fits)
    unread = [
        pl.when(pl.col(given).is_not_null() & pl.col(read_as).is_null()).then(
            pl.format("{} {} cannot be read", pl.lit(name), pl.col(given).str.slice(0, KEPT))
        )
        for name, given, read_as in (
            ("port", "port_text", "number"),
            ("valid_from", "from", "valid_from"),
            ("valid_until", "until", "valid_until"),
        )
    ]
    return pl.coalesce(
        pl.when(~fits).then(pl.format("a {}, where the list says {}", "kind", "want")),
        *unread,
        pl.when(pl.col("port") != pl.col("number")).then(pl.lit("two different ports")),
        pl.when(pl.col("valid_until") <= pl.col("valid_from")).then(
            pl.lit("never valid: valid_until is not after valid_from")
        ),
    )


def _each(texts: pl.Series, reader: Callable[[str], object], dtype: pl.DataType) -> pl.Series:
    """What `reader` makes of each text; one at a time, for there are few different ones."""
    unique = texts.drop_nulls().unique()
    made = pl.Series([reader(text) for text in unique], dtype=dtype)
    return texts.replace_strict(unique, made, default=None, return_dtype=dtype)
