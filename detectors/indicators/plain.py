r"""Plain text: one address, network, port or domain name a line.

    # a comment
    203.0.113.7
    198.51.100.0/24 ; SBL1234
    2001:db8::/32
    bad.example       # names beneath it too
    203.0.113.9:4444
    4444

What stands behind # or ; is a comment; behind an entry it is kept as its description. Lines of a
hosts file (`0.0.0.0 bad.example`) name the domain.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from .table import RAW_SCHEMA, ListOptions, shaped

#: what hosts files send unwanted names to
_NOWHERE: Final = r"^(?:0\.0\.0\.0|127\.0\.0\.1|::1?)[ \t]+"


def take(lines: pl.DataFrame, _options: ListOptions) -> pl.DataFrame:
    """The entries of a file as `RAW_SCHEMA`. lines: columns line and text."""
    commented = lines["text"].str.contains("[#;]")
    description = pl.col("text").str.extract("[#;](.*)$").str.strip_chars(" \t#;")
    split = lines.filter(commented).select(
        "line",
        pl.col("text").str.extract("^([^#;]*)"),
        description.replace("", None).alias("description"),
    )
    whole = lines.filter(~commented).with_columns(pl.lit(None, pl.String).alias("description"))
    entries = pl.concat([whole, split]).sort("line") if split.height else whole
    entries = entries.with_columns(pl.col("text").str.strip_chars()).filter(pl.col("text") != "")
    spaced = pl.col("text").str.contains("[ \t]")
    if bool(entries.select(spaced.any()).item()):
        entries = entries.with_columns(pl.col("text").str.replace(_NOWHERE, ""))
    return shaped(entries, RAW_SCHEMA)
