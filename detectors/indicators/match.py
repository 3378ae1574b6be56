"""Which events show which indicators: a pure function of the events and the list.

Every indicator that fits is reported, an address and each of the networks around it, so that what
two feeds say of one host is both in the alert. Validity is held against the event's own time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import polars as pl
import polars_iptools as iptools

from .columns import numbers
from .index import Index, Spans
from .table import ENTRY_SCHEMA
from .values import MAPPED

#: One row per event, field and indicator that fit, in this order: row is the event's position in
#: the frame, field the column that showed it, indicator the position in `Indicators.entries`.
FOUND_SCHEMA: Final[dict[str, pl.DataType]] = {
    "row": pl.UInt32(),
    "field": pl.String(),
    "indicator": pl.UInt32(),
}

_TIME: Final = "@timestamp"
_PORT: Final = "destination.port"
#: longest domain name, and labels that it can have
_NAME: Final = 253
_LABELS: Final = 127


@dataclass(frozen=True, slots=True)
class Fields:
    """The columns in which indicators are looked for.

    addresses: of canonical address text; an indicator with a port asks for it in the column of
    the same side (source.ip: source.port). ports: of port numbers. names: of host names, text or
    lists of text; an indicator with a port asks for it in destination.port.
    """

    addresses: tuple[str, ...] = ("source.ip", "destination.ip")
    ports: tuple[str, ...] = (_PORT,)
    names: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.addresses, *self.ports, *self.names)


CONNECTION: Final = Fields()


@dataclass(frozen=True, slots=True)
class Indicators:
    """A list that is ready to be matched. entries: `ENTRY_SCHEMA`. index: over them, built once."""

    entries: pl.DataFrame
    index: Index = field(repr=False)

    @classmethod
    def of(cls, entries: pl.DataFrame) -> Indicators:
        return cls(entries, Index.of(entries))


NOTHING: Final = Indicators.of(pl.DataFrame(schema=ENTRY_SCHEMA))


def match(
    events: pl.DataFrame, indicators: Indicators, fields: Fields = CONNECTION
) -> pl.DataFrame:
    """What fits, as `FOUND_SCHEMA`, by row, then field in the order of `fields`, then indicator.

    events: @timestamp, the columns of `fields`, and the ports beside its addresses. A null, and
    what is no address or name, fits nothing. An IPv4-mapped IPv6 address is the IPv4 address.
    """
    if events.is_empty() or indicators.entries.is_empty():
        return pl.DataFrame(schema=FOUND_SCHEMA)
    index = indicators.index
    found = [
        _narrowed(rows, events, index, port).select(
            "row", field=pl.lit(at, pl.UInt16), indicator="indicator"
        )
        for at, (port, rows) in enumerate(_candidates(events, index, fields))
        if rows.height
    ]
    if not found:
        return pl.DataFrame(schema=FOUND_SCHEMA)
    names = pl.Series(fields.all, dtype=pl.String)
    return (
        pl.concat(found)
        .sort("row", "field", "indicator")
        .with_columns(pl.lit(names).gather(pl.col("field")).alias("field"))
    )


def allowed(events: pl.DataFrame, listed: Indicators, fields: Fields = CONNECTION) -> pl.Series:
    """Boolean by event, never null: whether the allow-list has any of it at the event's time."""
    rows = match(events, listed, fields)["row"].unique()
    every = pl.int_range(events.height, dtype=pl.UInt32, eager=True)
    return every.is_in(rows.implode()).alias("allowed")


def _candidates(
    events: pl.DataFrame, index: Index, fields: Fields
) -> Iterator[tuple[str, pl.DataFrame]]:
    """By field in order: the port column that goes with it, and row and indicator of what fits
    by value alone."""
    for name in fields.addresses:
        yield f"{name.rpartition('.')[0]}.port", _addresses(events[name], index)
    for name in fields.ports:
        yield name, _keys(events[name].cast(pl.Int64), index.ports)
    for name in fields.names:
        yield _PORT, _names(events[name], index.names)


def _narrowed(rows: pl.DataFrame, events: pl.DataFrame, index: Index, port: str) -> pl.DataFrame:
    """Those of the rows whose port was seen too, at a time at which the indicator is valid."""
    at, indicator = rows["row"], rows["indicator"]
    fits = pl.lit(value=True)
    if index.required is not None:
        required = index.required.gather(indicator)
        seen = events[port].cast(pl.Int64).gather(at)
        fits &= pl.lit(required.is_null() | (required == seen).fill_null(value=False))
    if index.valid_from is not None:
        begins = index.valid_from.gather(indicator)
        fits &= pl.lit(begins.is_null() | (begins <= events[_TIME].gather(at)))
    if index.valid_until is not None:
        ends = index.valid_until.gather(indicator)
        fits &= pl.lit(ends.is_null() | (ends > events[_TIME].gather(at)))
    return rows.filter(fits)


def _addresses(column: pl.Series, index: Index) -> pl.DataFrame:
    """Row and indicator of the addresses that an address or network holds."""
    frame = column.alias("text").to_frame()
    v4 = frame.select(number=iptools.ipv4_to_numeric(pl.col("text"))).to_series()
    parts = [_held(v4, index.v4)]
    if v4.null_count() > column.null_count():
        others = frame.filter(v4.is_null()).unique().drop_nulls().to_series()
        known = pl.DataFrame({"text": others, "number": numbers(others)})
        four = pl.col("number") - pl.lit(MAPPED << 32, pl.UInt128)
        mapped = pl.col("number").is_between(
            pl.lit(MAPPED << 32, pl.UInt128), pl.lit((MAPPED << 32) + 0xFFFF_FFFF, pl.UInt128)
        )
        for own, spans in (
            (known.filter(~mapped), index.v6),
            (known.filter(mapped).with_columns(four.cast(pl.UInt32)), index.v4),
        ):
            parts.append(_rows(frame, _held_texts(own, spans), "text"))
    return pl.concat(parts)


def _held_texts(known: pl.DataFrame, spans: Spans) -> pl.DataFrame:
    """text and indicator, of different texts that stand for these numbers."""
    found = spans.holding(known["number"].unique())
    return known.join(found, on="number").select("text", "indicator")


def _held(numbers: pl.Series, spans: Spans) -> pl.DataFrame:
    frame = numbers.alias("number").to_frame()
    found = spans.holding(frame["number"].unique().drop_nulls())
    return _rows(frame, found, "number")


def _rows(frame: pl.DataFrame, found: pl.DataFrame, key: str) -> pl.DataFrame:
    """Row and indicator, from what was found for different values of the column."""
    if found.is_empty():
        return pl.DataFrame(schema={"row": pl.UInt32, "indicator": pl.UInt32})
    return frame.with_row_index("row").join(found, on=key).select("row", "indicator")


def _keys(column: pl.Series, keys: pl.DataFrame) -> pl.DataFrame:
    """Row and indicator of the values that are a key."""
    frame = column.alias("key").to_frame()
    if keys.is_empty():
        return _rows(frame, keys, "key")
    return _rows(frame, _looked_up(frame["key"].unique().drop_nulls(), keys), "key")


def _looked_up(values: pl.Series, keys: pl.DataFrame) -> pl.DataFrame:
    """key and indicator of those of the values that are a key, by binary search."""
    at = keys["key"].search_sorted(values).clip(0, keys.height - 1)
    near = pl.DataFrame({"value": values, "key": keys["key"].gather(at), "at": at})
    hit = near.filter(pl.col("value") == pl.col("key"))
    return hit.select(
        "key", pl.lit(keys["indicator"].gather(hit["at"])).alias("indicator")
    ).explode("indicator")


def _names(column: pl.Series, keys: pl.DataFrame) -> pl.DataFrame:
    """Row and indicator of the names that are a listed domain or stand beneath one."""
    frame = column.alias("key").to_frame().with_row_index("row")
    if isinstance(column.dtype, pl.List):
        frame = frame.explode("key")
    if keys.is_empty():
        return _rows(frame.select("key"), keys, "key")
    unique = frame.select("key").unique().drop_nulls()
    name = pl.col("key").str.strip_suffix(".").str.to_lowercase()
    step = unique.select("key", name=name).filter(
        (pl.col("name").str.len_bytes() <= _NAME) & (pl.col("name") != "")
    )
    found: list[pl.DataFrame] = []
    for _ in range(_LABELS):
        if step.is_empty():
            break
        hits = _looked_up(step["name"].unique(), keys).rename({"key": "name"})
        found.append(step.join(hits, on="name").select("key", "indicator"))
        parent = pl.col("name").str.splitn(".", 2).struct.field("field_1")
        step = step.select("key", name=parent).drop_nulls()
    hit = (
        pl.concat(found)
        if found
        else pl.DataFrame(schema={"key": pl.String, "indicator": pl.UInt32})
    )
    return frame.join(hit, on="key").select("row", "indicator").unique()
