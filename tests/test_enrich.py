"""Direction of a flow."""

from __future__ import annotations

import ipaddress

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connwatch.errors import ConfigError
from connwatch.ingest.enrich import PRIVATE, HomeNetworks, enrich
from connwatch.schema import STORED, conform

Flow = tuple[str, str, bool | None, bool | None]


def directions(flows: list[Flow], home: list[str] | None = None) -> list[str]:
    names = (
        "source.ip",
        "destination.ip",
        "zeek.connection.local_orig",
        "zeek.connection.local_resp",
    )
    events = pl.DataFrame(flows, schema={name: STORED[name] for name in names}, orient="row")
    networks = None if home is None else HomeNetworks.parse(home)
    return enrich(conform(events), networks)["network.direction"].to_list()


CASES: list[tuple[str, Flow, list[str] | None, str]] = [
    ("private to public is outbound", ("10.1.2.3", "8.8.8.8", None, None), None, "outbound"),
    ("public to private is inbound", ("8.8.8.8", "192.168.1.1", None, None), None, "inbound"),
    ("private to private is internal", ("10.1.2.3", "172.16.0.9", None, None), None, "internal"),
    ("public to public is external", ("8.8.8.8", "1.1.1.1", None, None), None, "external"),
    ("Zeek's flags come before the ranges", ("8.8.8.8", "1.1.1.1", True, False), None, "outbound"),
    ("one flag alone says nothing", ("8.8.8.8", "1.1.1.1", True, None), None, "external"),
    ("the user's networks come before Zeek's flags", ("8.8.8.8", "1.1.1.1", False, False), ["8.0.0.0/8"], "outbound"),
    ("private is not home once networks are given", ("10.0.0.1", "8.8.8.8", None, None), ["8.0.0.0/8"], "inbound"),
    ("multicast stays with its sender", ("10.0.0.1", "224.0.0.251", True, False), None, "internal"),
    ("multicast from outside is external", ("8.8.8.8", "239.1.1.1", None, None), None, "external"),
    ("broadcast stays with its sender", ("10.0.0.1", "255.255.255.255", None, None), None, "internal"),
    ("unique local IPv6 is home", ("fd00::1", "2001:4860::8888", None, None), None, "outbound"),
    ("IPv6 multicast is internal", ("fe80::1", "ff02::fb", None, None), None, "internal"),
    ("no home network at all is external", ("10.0.0.1", "10.0.0.2", None, None), [], "external"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("flow", "home", "wanted"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_direction(flow: Flow, home: list[str] | None, wanted: str) -> None:
    assert directions([flow], home) == [wanted]


@given(
    st.lists(
        st.tuples(*[st.ip_addresses().map(str)] * 2, st.none(), st.none()), min_size=1, max_size=30
    )
)
def test_the_private_ranges_as_the_standard_library_has_them(flows: list[Flow]) -> None:
    networks = [ipaddress.ip_network(text) for text in PRIVATE]

    def inside(text: str, sender: str) -> bool:
        address = ipaddress.ip_address(text)
        if address.is_multicast or address.is_unspecified or text == "255.255.255.255":
            return text != sender and inside(sender, sender)
        return any(address in network for network in networks if network.version == address.version)

    flows = [flow for flow in flows if not ipaddress.ip_address(flow[0]).is_multicast]
    if not flows:
        return
    names = {(True, True): "internal", (True, False): "outbound", (False, True): "inbound"}
    wanted = [names.get((inside(s, s), inside(d, s)), "external") for s, d, _, _ in flows]
    assert directions(flows) == wanted


def test_a_word_that_is_no_network_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'10\.0\.0\.0/33' is not a network"):
        HomeNetworks.parse(["10.0.0.0/8", "10.0.0.0/33"])
