"""Matching with indicators is what a plain loop over the standard library finds."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from indicator_support import (
    FIELDS,
    events,
    found,
    indicators,
)

from connwatch.detectors.indicators import (
    allowed,
)

SIDES = ("source", "destination")


def near(version: int) -> st.SearchStrategy[str]:
    """Addresses of which many are equal or close, at both ends of the numbers too."""
    bits = 32 if version == 4 else 128
    kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    bases = st.sampled_from([0, 2**bits - 16, 0x0A000000, 0xFFFF_0000_0000 % 2**bits])
    return st.builds(lambda base, step: str(kind(base + step)), bases, st.integers(0, 15))


ADDRESSES = st.one_of(near(4), near(6))
MAPPED = ipaddress.ip_network("::ffff:0:0/96")
NETWORKS = st.one_of(
    st.builds(lambda a, n: f"{a}/{n}", near(4), st.one_of(st.integers(1, 32), st.integers(26, 32))),
    st.builds(
        lambda a, n: f"{a}/{n}", near(6), st.one_of(st.integers(1, 128), st.integers(120, 128))
    ),
).filter(lambda text: ipaddress.ip_network(text, strict=False) != MAPPED)  # all of IPv4
NAMES = st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map(
    lambda p: ".".join([*p, "example"])
)
PORTS = st.integers(0, 2)
SECONDS = st.one_of(st.none(), st.integers(0, 4))
VALUES = st.one_of(ADDRESSES, NETWORKS, NAMES, PORTS.map(str))


@st.composite
def listings(draw: st.DrawFn) -> tuple[str, int | None, int | None, int | None]:
    value = draw(VALUES)
    begin = draw(SECONDS)
    end = draw(st.one_of(st.none(), st.integers((begin or 0) + 1, 6)))
    port = None if value.isdigit() else draw(st.one_of(st.none(), PORTS))
    return value, port, begin, end


EVENTS = st.tuples(st.integers(0, 4), ADDRESSES, PORTS, ADDRESSES, PORTS, NAMES)


TWICE = ("", None, None, None)


def plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def shows(value: str, text: str) -> bool:
    """Whether an address lies in an address or network, by the standard library alone."""
    try:
        network = ipaddress.ip_network(value, strict=False)
    except ValueError:
        return False
    if network.version == 6 and network.subnet_of(MAPPED):
        network = ipaddress.ip_network(f"{plain(str(network[0]))}/{network.prefixlen - 96}")
    return plain(text) in network


def loop(
    rows: list[tuple[Any, ...]], listed: list[tuple[Any, ...]]
) -> Iterator[tuple[int, str, int]]:
    for row, (at, *ends, name) in enumerate(rows):
        sides = [(SIDES[0], ends[0], ends[1]), (SIDES[1], ends[2], ends[3])]
        for field in FIELDS.all:
            for number, (value, port, begin, end) in enumerate(listed):
                hit = False
                for side, address, seen in sides:
                    if field == f"{side}.ip":
                        hit = shows(value, address) and port in (None, seen)
                if field == "destination.port":
                    hit = value == str(ends[3])
                if field == FIELDS.names[0]:
                    hit = f".{name}".endswith(f".{value}") and port in (None, ends[3])
                if hit and (begin is None or begin <= at) and (end is None or at < end):
                    yield row, field, number


@given(st.lists(EVENTS, max_size=12), st.lists(listings(), min_size=1, max_size=25))
def test_matching_is_what_a_plain_loop_finds(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[Any, ...]],
    listed: list[tuple[Any, ...]],
) -> None:
    prepared = indicators(tmp_path_factory.getbasetemp(), *listed)
    assert prepared.entries.height == len(listed)
    # The same said twice is reported once; what `shows` compares is the canonical value.
    said = prepared.entries.select("value", "port", "valid_from", "valid_until").rows()
    listed = [one if said.index(said[at]) == at else TWICE for at, one in enumerate(listed)]
    wanted = list(loop(rows, listed))
    assert found(events(*rows), prepared) == wanted
    rows_found = {row for row, _, _ in wanted}
    marks = allowed(events(*rows), prepared, FIELDS).to_list()
    assert marks == [row in rows_found for row in range(len(rows))]
