"""Bytes of a socket table as lines: UTF-16 decoded, colours of the terminal taken away."""

from __future__ import annotations

import codecs
from typing import Final

import polars as pl

from ..lines import split_lines

#: escape sequences: colours and cursor moves, titles, character sets
ESCAPES: Final = (
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[()*+][0-9A-Za-z]|[=>78cDEHMNOZ])"
)
_LITTLE: Final = "utf-16-le"
_BIG: Final = "utf-16-be"
BOM: Final = codecs.BOM_UTF8


def encoding_of(head: bytes) -> str:
    """The encoding of a file that begins so: UTF-16 by its byte order mark or its zeros."""
    if head.startswith(codecs.BOM_UTF16_LE):
        return _LITTLE
    if head.startswith(codecs.BOM_UTF16_BE):
        return _BIG
    start = head[:64]
    if len(start) >= 8 and start[1::2].count(0) > len(start) // 3 and not start[::2].count(0):
        return _LITTLE
    if len(start) >= 8 and start[::2].count(0) > len(start) // 3 and not start[1::2].count(0):
        return _BIG
    return "utf-8"


def whole_lines(data: bytes, encoding: str) -> int:
    """How many of these bytes are lines that are whole, in an encoding with two bytes a character:
    blocks end behind the byte of a newline, which may be half of the character."""
    newline = "\n".encode(encoding)
    end = len(data)
    while (end := data.rfind(newline, 0, end)) >= 0:
        if end % 2 == 0:
            return end + 2
        end += 1
    return 0


def lines_of(data: bytes, line: int, offset: int, encoding: str) -> pl.DataFrame:
    """Columns raw, line, offset as `split_lines` gives them, and text: raw without escapes and
    without white space at its end, tabs kept.

    data: whole lines, or the end of a file.
    """
    frame = shown_lines(data, line, offset, encoding)
    return frame.with_columns(pl.col("text").str.strip_chars_end())


def shown_lines(data: bytes, line: int, offset: int, encoding: str) -> pl.DataFrame:
    """The same with white space at the end of lines."""
    if encoding == "utf-8":
        frame = split_lines(data, line, offset)
        if offset == 0 and data.startswith(BOM):
            first = pl.col("raw").str.strip_prefix("\ufeff")
            frame = frame.with_columns(
                pl.when(pl.col("offset") == 0).then(first).otherwise("raw").alias("raw")
            )
    else:
        frame = _wide(data, line, offset, encoding)
    text = pl.col("raw")
    if b"\x1b" in data:
        text = text.str.replace_all(ESCAPES, "").str.replace_all("\x1b", "", literal=True)
    return frame.with_columns(text.alias("text"))


def _wide(data: bytes, line: int, offset: int, encoding: str) -> pl.DataFrame:
    parts = data.decode(encoding, "replace").split("\n")
    if not parts[-1]:
        parts.pop()
    sizes = [len(part.encode(encoding, "surrogatepass")) + 2 for part in parts]
    raw = [part.removesuffix("\r").removeprefix("\ufeff") for part in parts]
    starts = pl.Series(sizes, dtype=pl.Int64)
    return pl.DataFrame(
        {
            "raw": pl.Series(raw, dtype=pl.String),
            "line": pl.int_range(line, line + len(raw), eager=True),
            "offset": starts.cum_sum() - starts + offset,
        }
    )


def head_text(head: bytes) -> str:
    """The beginning of a file as text, for a first look."""
    encoding = encoding_of(head)
    return head.decode(encoding, "replace").removeprefix("\ufeff")
