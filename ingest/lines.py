"""Lines of a block as columns: text without line endings, line numbers, byte offsets."""

from __future__ import annotations

import io

import polars as pl

from .rejects import text


def split_lines(data: bytes, line: int, offset: int) -> pl.DataFrame:
    r"""Columns raw (String; what is not UTF-8 as \xHH), line and offset (Int64) of every line.

    line, offset: of the first one. Of a CRLF both go.
    """
    if data.isascii() or _is_utf8(data):
        parts = pl.read_lines(io.BytesIO(data), name="raw").to_series()
        sizes = parts.str.len_bytes().cast(pl.Int64) + 1
        if b"\r" in data:  # the reader takes the CR of a CRLF away
            return _split(data, line, offset)
    else:
        return _split(data, line, offset)
    return _frame(parts, sizes, line, offset)


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _split(data: bytes, line: int, offset: int) -> pl.DataFrame:
    parts = data.split(b"\n")
    if not parts[-1]:
        parts.pop()
    raw = pl.Series("raw", [text(part.removesuffix(b"\r")) for part in parts], dtype=pl.String)
    return _frame(raw, pl.Series([len(part) + 1 for part in parts], dtype=pl.Int64), line, offset)


def _frame(raw: pl.Series, sizes: pl.Series, line: int, offset: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "raw": raw,
            "line": pl.int_range(line, line + len(raw), eager=True),
            "offset": (sizes.cum_sum() - sizes) + offset,
        }
    )
