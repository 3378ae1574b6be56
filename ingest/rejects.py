"""Lines that could not be read, as rows with a number and a reason."""

from __future__ import annotations

from typing import Final

import polars as pl

from connwatch.contracts import REJECT_SCHEMA

#: characters of a rejected line that are kept
KEPT: Final = 65_536
_NONE: Final = pl.DataFrame(schema=REJECT_SCHEMA)


def reject_rows(
    *,
    path: str = "",
    line: pl.Series | list[int] = [],  # noqa: B006  never changed
    offset: pl.Series | list[int] = [],  # noqa: B006
    format_name: str = "",
    field: pl.Series | list[str | None] = [],  # noqa: B006
    reason: pl.Series | list[str] = [],  # noqa: B006
    raw: pl.Series | list[str] = [],  # noqa: B006
) -> pl.DataFrame:
    """A frame of `REJECT_SCHEMA`; without arguments an empty one."""
    if not len(line):
        return _NONE.clone()
    rows = pl.DataFrame(
        {"line": line, "log.offset": offset, "field": field, "reason": reason, "raw": raw},
        schema_overrides={
            name: REJECT_SCHEMA[name] for name in ("line", "log.offset", "field", "reason", "raw")
        },
    )
    return rows.select(
        pl.lit(path).alias("log.file.path"),
        "line",
        "log.offset",
        pl.lit(format_name).alias("format"),
        "field",
        "reason",
        pl.col("raw").str.slice(0, KEPT),
    )


def text(line: bytes) -> str:
    r"""A raw line as text: what is not UTF-8 as \xHH."""
    return line.decode("utf-8", "backslashreplace")
