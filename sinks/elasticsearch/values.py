"""Columns of events as JSON values, in pieces from which documents are put together.

Reading and writing memory is most of what this costs, so a text that many rows have stands once,
and a row has its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from connwatch.schema import OBJECTS, STRINGS, UTC

_US: Final = 1_000_000
_DAY: Final = 86_400
_THOUSAND: Final = 1_000
#: numbers below are texts that are looked up, not made: ports, and most packets
_LOW: Final = 65_536
#: rows for each of a few texts, so that it pays to put what stands beside it into each of them
_MANY: Final = 256


@dataclass(frozen=True, slots=True)
class Few:
    """One of a few texts for each row. place: which."""

    texts: pl.Series
    place: pl.Series

    @property
    def grows(self) -> bool:
        """Whether text beside it is rather put into each of the texts."""
        return len(self.texts) * _MANY <= len(self.place)

    def with_(self, before: str = "", after: str = "") -> Few:
        # Texts that grow are not many.
        texts = [f"{before}{text}{after}" for text in self.texts.to_list()]
        return Few(pl.Series(texts, dtype=pl.String), self.place)


#: text as it is, or one for each row
Piece: TypeAlias = "str | pl.Series | Few"


def of_column(column: pl.Series, clean: bool) -> list[Piece]:
    """The pieces of one column's values, of which some are not null."""
    null = column.null_count() > 0
    if column.dtype == UTC:
        return _null(_text(column), '"') if null else ['"', *_times(column), '"']
    if column.name in OBJECTS:
        return _null(column, "")
    if column.dtype == pl.String:
        if clean:
            return _null(column, '"') if null else ['"', column, '"']
        return _null(_json(column), "")
    if column.dtype == STRINGS:
        return _null(_json(column), "")
    if column.dtype == pl.Int64:
        return _numbers(column)
    return _null(column.cast(pl.String), "")


def members(both: pl.DataFrame, clean: bool) -> pl.Series:
    """Two columns of texts as JSON lists, without nulls."""
    texts = both.select(
        pl.concat_str(pl.lit('"'), name, pl.lit('"')).alias(name)
        if clean
        else _json(both[name]).alias(name)
        for name in both.columns
    )
    inside = pl.concat_str(pl.all(), separator=",", ignore_nulls=True)
    return texts.select(pl.concat_str(pl.lit("["), inside.fill_null(""), pl.lit("]"))).to_series()


def _null(text: pl.Series, quote: str) -> list[Piece]:
    if quote and text.null_count():
        whole = pl.concat_str(pl.lit(quote), pl.col("text"), pl.lit(quote))
        text = text.alias("text").to_frame().select(whole).to_series()
    return [text.fill_null("null")]


def _text(times: pl.Series) -> pl.Series:
    return times.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")


@cache
def _digits(count: int, least: int = 1) -> pl.Series:
    """Numbers below `count`, each with this many digits at least."""
    return pl.int_range(count, eager=True).cast(pl.String).str.zfill(least)


@cache
def _seconds() -> pl.Series:
    """Each second of a day."""
    two, second = _digits(60, 2), pl.int_range(_DAY, eager=True)
    parts = (two.gather(one) for one in (second // 3600, second // 60 % 60, second % 60))
    text = pl.format("T{}:{}:{}.", *map(pl.lit, parts))
    return pl.select(text).to_series()


def _numbers(column: pl.Series) -> list[Piece]:
    """Whole numbers; most columns have small ones, whose texts are looked up."""
    low, high = column.min(), column.max()
    if not (isinstance(low, int) and isinstance(high, int) and low >= 0 and high < _LOW):
        return _null(column.cast(pl.String), "") if column.null_count() else [column]
    texts = _digits(_LOW).head(high + 1)
    if column.null_count():
        texts, column = pl.concat([texts, pl.Series(["null"])]), column.fill_null(high + 1)
    return [Few(texts, column.cast(pl.UInt32))]


def _times(times: pl.Series) -> list[Piece]:
    """Times as ISO 8601, by parts of which there are few."""
    micros = times.to_physical().to_numpy()
    seconds = micros // _US
    rest = micros - seconds * _US
    thousands = rest // _THOUSAND
    days = seconds // _DAY
    one = days.min() == days.max()
    dates = pl.Series(days[:1] if one else days, dtype=pl.Int32).cast(pl.Date)
    texts = dates.dt.strftime("%Y-%m-%d")
    within = seconds - days * _DAY
    first, last = int(within.min()), int(within.max())
    three = _digits(_THOUSAND, 3)
    return [
        texts[0] if one else texts,
        Few(_seconds()[first : last + 1], _places(within - first)),
        Few(three, _places(thousands)),
        Few(three, _places(rest - thousands * _THOUSAND)),
        "Z",
    ]


def _places(numbers: npt.NDArray[np.int64]) -> pl.Series:
    return pl.Series(numbers.astype(np.uint32))


def _json(column: pl.Series) -> pl.Series:
    """Texts, or lists of texts, as JSON text; null where they are null."""
    whole = pl.struct(pl.col("a")).struct.json_encode().str.head(-1).str.slice(5)
    return (
        column.alias("a")
        .to_frame()
        .select(pl.when(pl.col("a").is_not_null()).then(whole))
        .to_series()
    )
