"""`values.read` of a whole column, with the same meaning.

Most entries are plain addresses, networks and ASCII names, which are read by expressions; what is
left is read one text at a time.
"""

from __future__ import annotations

import socket
from typing import Final

import polars as pl
import polars_iptools as iptools

from .table import ENTRY_SCHEMA, shaped
from .values import NAME, read

_VALUE: Final = {
    name: ENTRY_SCHEMA[name] for name in ("kind", "value", "version", "first", "last", "port")
}
_LENGTH: Final = "^(?:[1-9]|[12][0-9]|3[0-2])$"
_SIX: Final = "^[0-9A-Fa-f:]*:[0-9A-Fa-f:]*(?:/(?:[1-9]|[1-9][0-9]|1[01][0-9]|12[0-8]))?$"
#: addresses in an IPv6 network, by its length from 1
_SIZES: Final = pl.Series([0, *(1 << (128 - bits) for bits in range(1, 129))], dtype=pl.UInt128)


def read_column(texts: pl.Series) -> pl.DataFrame:
    """`read` of every text: kind, value, version, first, last, port, and why (null where read)."""
    frame = texts.alias("text").to_frame().with_row_index("i")
    numbered = frame.with_columns(first=iptools.ipv4_to_numeric(pl.col("text")))
    plain = numbered.filter(pl.col("first").is_not_null())
    rest = numbered.filter(pl.col("first").is_null()).select("i", "text")
    networks = _networks(rest)
    six = _six(rest)
    names = rest.filter(
        pl.col("text").str.contains(f"^{NAME}$") & (pl.col("text").str.len_bytes() <= 253)
    )
    others = rest.join(
        pl.concat([networks["i"], six["i"], names["i"]]).to_frame(), on="i", how="anti"
    )
    parts = [
        plain.select(
            "i",
            pl.lit("address").alias("kind"),
            pl.col("text").alias("value"),
            pl.lit(4).alias("version"),
            "first",
            pl.col("first").alias("last"),
        ),
        networks,
        six,
        names.select(
            "i", pl.lit("domain").alias("kind"), pl.col("text").str.to_lowercase().alias("value")
        ),
        _others(others),
    ]
    schema = {"i": pl.UInt32(), **_VALUE, "why": pl.String()}
    return pl.concat(shaped(part, schema) for part in parts).sort("i").drop("i")


def _networks(texts: pl.DataFrame) -> pl.DataFrame:
    """The IPv4 networks in CIDR notation among them; bits of the host part are dropped."""
    halves = pl.col("text").str.split_exact("/", 1).struct
    base = iptools.ipv4_to_numeric(pl.col("address"))
    size = pl.lit(2, pl.UInt64).pow(32 - pl.col("length").cast(pl.UInt32))
    return (
        texts.filter(pl.col("text").str.contains("/", literal=True))
        .select("i", address=halves.field("field_0"), length=halves.field("field_1"))
        .filter(pl.col("length").str.contains(_LENGTH))
        .with_columns(base=base.cast(pl.UInt64))
        .filter(pl.col("base").is_not_null())
        .with_columns(first=pl.col("base") - pl.col("base") % size, size=size)
        .with_columns(address=iptools.numeric_to_ipv4(pl.col("first").cast(pl.UInt32)))
        .select(
            "i",
            *_kind_and_value(pl.col("size") == 1),
            pl.lit(4).alias("version"),
            "first",
            (pl.col("first") + pl.col("size") - 1).alias("last"),
        )
    )


def _six(texts: pl.DataFrame) -> pl.DataFrame:
    """The IPv6 addresses and networks among them that have neither a zone, IPv4 in them, nor bits
    in the host part."""
    halves = pl.col("text").str.split_exact("/", 1).struct
    found = (
        texts.filter(pl.col("text").str.contains(_SIX))
        .select("i", address=halves.field("field_0"), length=halves.field("field_1"))
        .with_columns(pl.col("length").cast(pl.UInt8).fill_null(128))
    )
    packed = [_packed(text) for text in found["address"]]
    return (
        found.with_columns(
            first=_unsigned(packed),
            address=pl.Series([_written(one) for one in packed], dtype=pl.String),
            size=_SIZES.gather(found["length"]),
        )
        .filter(pl.col("address").is_not_null() & (pl.col("first") % pl.col("size") == 0))
        .select(
            "i",
            *_kind_and_value(pl.col("length") == 128),
            pl.lit(6).alias("version"),
            "first",
            (pl.col("first") + (pl.col("size") - 1)).alias("last"),
        )
    )


def _kind_and_value(single: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """From the columns address and length."""
    return (
        pl.when(single).then(pl.lit("address")).otherwise(pl.lit("network")).alias("kind"),
        pl.when(single)
        .then("address")
        .otherwise(pl.format("{}/{}", "address", "length"))
        .alias("value"),
    )


def numbers(texts: pl.Series) -> pl.Series:
    """IPv6 addresses as UInt128, without their zone; null for what is none."""
    return _unsigned([_packed(text.partition("%")[0]) for text in texts])


def _packed(text: str) -> bytes | None:
    try:
        return socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):  # ValueError: a NUL in the text
        return None


def _written(packed: bytes | None) -> str | None:
    """In the form of RFC 5952; null for those that end in IPv4, for which `read` knows more."""
    text = None if packed is None else socket.inet_ntop(socket.AF_INET6, packed)
    return None if text is None or "." in text else text


def _unsigned(packed: list[bytes | None]) -> pl.Series:
    binary = pl.Series("b", packed, dtype=pl.Binary).to_frame()
    high, low = (
        pl.col("b").bin.slice(at, 8).bin.reinterpret(dtype=pl.UInt64, endianness="big")
        for at in (0, 8)
    )
    return binary.select(
        high.cast(pl.UInt128) * pl.lit(1 << 64, pl.UInt128) + low.cast(pl.UInt128)
    ).to_series()


def _others(texts: pl.DataFrame) -> pl.DataFrame:
    """All else, one text at a time: IPv6, ports, addresses with a port, and what is none."""
    found = [read(text) for text in texts["text"]]
    nothing = (None,) * len(_VALUE)
    rows = [(*nothing, one) if isinstance(one, str) else (*one, None) for one in found]
    columns = zip(*rows, strict=True) if rows else [()] * (len(_VALUE) + 1)
    schema = {**_VALUE, "why": pl.String()}
    return pl.DataFrame(
        [texts["i"]]
        + [
            pl.Series(name, list(column), dtype=dtype)
            for (name, dtype), column in zip(schema.items(), columns, strict=True)
        ]
    )
