"""Conditions on addresses kept as canonical text: one address, a network, a range.

Order is Elasticsearch's: IPv4 addresses sort where their IPv4-mapped IPv6 addresses do.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
    summarize_address_range,
)
from typing import Final, TypeAlias

import polars as pl
import polars_iptools as iptools

Network: TypeAlias = IPv4Network | IPv6Network

_MAPPED: Final = 0xFFFF_0000_0000  # ::ffff:0.0.0.0
_V4_LAST: Final = 0xFFFF_FFFF
_V6_LAST: Final = (1 << 128) - 1


def read_network(text: str) -> Network:
    """An address or a network in CIDR notation (host bits may be set). Raises ValueError."""
    if "/" in text:
        return ip_network(text, strict=False)
    return ip_network(_plain(text))


def _plain(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address
    return address


def within(address: pl.Expr, network: Network) -> pl.Expr:
    """True where the address is in the network."""
    if network.num_addresses == 1:
        return address == str(network.network_address)
    if isinstance(network, IPv4Network) and network.prefixlen and network.prefixlen % 8 == 0:
        octets = str(network.network_address).split(".")[: network.prefixlen // 8]
        return address.str.starts_with(".".join(octets) + ".")
    return _any_of(address, [network])


def compare(address: pl.Expr, operator: str, text: str) -> pl.Expr:
    """True where the address is > >= < <= the one in `text`. Raises ValueError."""
    bound = _plain(text)
    number = int(bound) + (_MAPPED if isinstance(bound, IPv4Address) else 0)
    low, high = {
        ">": (number + 1, _V6_LAST),
        ">=": (number, _V6_LAST),
        "<": (0, number - 1),
        "<=": (0, number),
    }[operator]
    return _any_of(address, _networks(low, high))


def _networks(low: int, high: int) -> list[Network]:
    found: list[Network] = []
    low4, high4 = max(low - _MAPPED, 0), min(high - _MAPPED, _V4_LAST)
    if low4 <= high4:
        found.extend(summarize_address_range(IPv4Address(low4), IPv4Address(high4)))
    if low <= high:
        found.extend(summarize_address_range(IPv6Address(low), IPv6Address(high)))
    return found


def _any_of(address: pl.Expr, networks: Iterable[Network]) -> pl.Expr:
    v4 = [network for network in networks if isinstance(network, IPv4Network)]
    v6 = [network for network in networks if isinstance(network, IPv6Network)]
    is_v6 = address.str.contains(":", literal=True)
    found = pl.lit(False)
    if any(network.prefixlen == 0 for network in v4):
        found = found | ~is_v6
    elif v4:
        found = found | address.str.contains(f"^(?:{'|'.join(map(_pattern, v4))})")
    if any(network.prefixlen == 0 for network in v6):
        found = found | is_v6
    elif v6:
        found = found | address.map_batches(
            partial(_within_v6, networks=[str(network) for network in v6]),
            return_dtype=pl.Boolean,
            is_elementwise=True,
        )
    return pl.when(address.is_not_null()).then(found)


def _within_v6(address: pl.Series, networks: list[str]) -> pl.Series:
    # Eager, because the plugin's list of networks does not go through the streaming engine.
    column = pl.col("address")
    is_v6 = column.str.contains(":", literal=True)
    number = pl.when(is_v6).then(column.str.split("%").list.first())  # %zone is not in the number
    found = iptools.is_in(number, networks).fill_null(False)
    return address.alias("address").to_frame().select(found.alias("within")).to_series()


def _pattern(network: IPv4Network) -> str:
    """Regular expression over the dotted text of the network's addresses."""
    first = network.network_address.packed
    last = network.broadcast_address.packed
    pattern = ""
    for index, (low, high) in enumerate(zip(first, last, strict=True)):
        end = r"\." if index < 3 else "$"
        if (low, high) == (0, 255):
            return pattern
        numbers = "|".join(map(str, range(low, high + 1)))
        pattern += f"(?:{numbers}){end}"
    return pattern
