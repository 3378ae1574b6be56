"""IP addresses as logs write them, made canonical column by column."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

import polars as pl
import polars_iptools as ip

_MAPPED: Final = "::ffff:"


def canonical(addresses: pl.Series) -> pl.Series:
    """The canonical text of each address; null for null and for what is no address.

    IPv6 in the form of RFC 5952 without a zone; IPv4-mapped addresses as IPv4.
    """
    is_v4 = v4(addresses)
    if bool((is_v4 | addresses.is_null()).all()):
        return addresses
    others = addresses.filter(~is_v4).unique().drop_nulls()
    # One address at a time: there are far fewer different ones than records.
    texts = [_v6(text) for text in others]
    return (
        pl.DataFrame({"a": addresses, "v4": is_v4})
        .select(
            pl.when("v4")
            .then("a")
            .otherwise(
                pl.col("a").replace_strict(others, pl.Series(texts, dtype=pl.String), default=None)
            )
        )
        .to_series()
        .alias(addresses.name)
    )


def v4(addresses: pl.Series) -> pl.Series:
    """Whether each is an IPv4 address, which is canonical as it is; false for null."""
    plain = addresses.to_frame("a").select(ip.ipv4_to_numeric(pl.col("a")).is_not_null())
    return plain.to_series()


def _v6(text: str) -> str | None:
    address, _, _zone = text.partition("%")
    try:
        canonical = socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, address))
    except (OSError, ValueError):  # ValueError: a NUL in the text
        return None
    if "." in canonical:
        parsed = ipaddress.IPv6Address(canonical)
        return str(parsed.ipv4_mapped or parsed)
    return canonical


def numbers(events: pl.DataFrame) -> pl.DataFrame:
    """Both ends' IPv4 addresses as UInt32, in columns of the same names; null for IPv6."""
    return events.select(
        ip.ipv4_to_numeric(pl.col(name)).alias(name) for name in ("source.ip", "destination.ip")
    )
