"""Community IDs against the published vectors, Zeek's own output, and a plain implementation."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import re
import struct
from pathlib import Path

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from connwatch.ingest.addresses import numbers
from connwatch.ingest.community_id import community_ids
from connwatch.schema import STORED

_VECTOR = re.compile(
    r"orig_h=(?P<s>[^,]+), orig_p=(?P<p>\d+)/\w+, resp_h=(?P<d>[^,]+), resp_p=(?P<q>\d+)/\w+, "
    r"proto=(?P<proto>\d+)"
)
NAMES = {
    name: dtype
    for name, dtype in STORED.items()
    if "port" in name or "icmp" in name or ".ip" in name or name == "network.iana_number"
}
_ID = re.compile(r"1:[A-Za-z0-9+/]{27}=")


def frame(flows: list[tuple[str, int, str, int, int]]) -> pl.DataFrame:
    """(source, port or ICMP type, destination, port or ICMP code, protocol) as events."""
    icmp = [proto in (1, 58) for *_, proto in flows]
    return pl.DataFrame(
        {
            "source.ip": [flow[0] for flow in flows],
            "source.port": [None if i else f[1] for f, i in zip(flows, icmp, strict=True)],
            "destination.ip": [flow[2] for flow in flows],
            "destination.port": [None if i else f[3] for f, i in zip(flows, icmp, strict=True)],
            "zeek.connection.icmp.type": [
                f[1] if i else None for f, i in zip(flows, icmp, strict=True)
            ],
            "zeek.connection.icmp.code": [
                f[3] if i else None for f, i in zip(flows, icmp, strict=True)
            ],
            "network.iana_number": [str(flow[4]) for flow in flows],
        },
        schema_overrides=NAMES,
    )


def ids(events: pl.DataFrame) -> pl.Series:
    return community_ids(events, numbers(events))


def test_the_published_vectors_and_zeeks_own_output(data: Path) -> None:
    flows, wanted = [], []
    for path in sorted((data / "community_id").glob("*.out")):
        for line in path.read_text().splitlines():
            found, number = _VECTOR.search(line), _ID.search(line)
            if found is None or number is None or "seed=1" in line:
                continue
            # Zeek's test hands ICMPv6 over as protocol 1; a conn.log of it has IPv6 addresses.
            proto = 58 if found["proto"] == "1" and ":" in found["s"] else int(found["proto"])
            flows.append((found["s"], int(found["p"]), found["d"], int(found["q"]), proto))
            wanted.append(number.group())
    assert len(wanted) >= 7
    assert ids(frame(flows)).to_list() == wanted


def test_what_suricata_logged_for_real_traffic(data: Path) -> None:
    protocols = {"TCP": 6, "UDP": 17}
    flows, wanted = [], []
    for path in sorted(data.glob("*/**/eve*.json")):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            number = record.get("community_id")
            if number is not None and record["proto"] in protocols:
                ends = (record[name] for name in ("src_ip", "src_port", "dest_ip", "dest_port"))
                flows.append((*ends, protocols[record["proto"]]))
                wanted.append(number)
    assert len(wanted) > 500
    assert ids(frame(flows)).to_list() == wanted


_ADDRESS = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
_FLOW = st.tuples(
    st.sampled_from(["10.0.0.1", "10.0.0.2", "::1"]) | _ADDRESS,
    st.integers(0, 255) | st.integers(0, 65535),
    st.sampled_from(["10.0.0.1", "10.0.0.2", "::1"]) | _ADDRESS,
    st.integers(0, 255) | st.integers(0, 65535),
    st.sampled_from([1, 2, 6, 17, 47, 58, 132]),
)
_PAIRS4 = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17, 9: 10, 10: 9}
_PAIRS6 = {
    128: 129,
    130: 131,
    133: 134,
    135: 136,
    139: 140,
    144: 145,
    129: 128,
    131: 130,
    134: 133,
    136: 135,
    140: 139,
    145: 144,
}


def plainly(source: str, p: int, destination: str, q: int, proto: int) -> str:
    """The specification word by word, one flow at a time."""
    s, d = (ipaddress.ip_address(text).packed for text in (source, destination))
    one_way = False
    if proto in (1, 58):
        pairs = _PAIRS4 if proto == 1 else _PAIRS6
        one_way, q = p not in pairs, pairs.get(p, q)
    if proto not in (1, 6, 17, 58, 132):
        p = q = 0
    if not one_way and (s.hex(), p) > (d.hex(), q):
        s, d, p, q = d, s, q, p
    text = b"\0\0" + s + d + struct.pack("!BB", proto, 0)
    if proto in (1, 6, 17, 58, 132):
        text += struct.pack("!HH", p, q)
    return "1:" + base64.b64encode(hashlib.sha1(text, usedforsecurity=False).digest()).decode()


@given(st.lists(_FLOW, min_size=1, max_size=20))
def test_every_flow_has_the_id_that_the_specification_gives(
    flows: list[tuple[str, int, str, int, int]],
) -> None:
    # Both ends of a flow have addresses of one version.
    flows = [flow for flow in flows if (":" in flow[0]) == (":" in flow[2])]
    assert ids(frame(flows)).to_list() == [plainly(*flow) for flow in flows]


def test_both_directions_of_a_flow_have_one_id() -> None:
    there, back = ("10.0.0.1", 4000, "10.0.0.2", 80, 6), ("10.0.0.2", 80, "10.0.0.1", 4000, 6)
    assert ids(frame([there, back])).n_unique() == 1


def test_a_protocol_without_a_number_has_no_id() -> None:
    unknown = frame([("10.0.0.1", 1, "10.0.0.2", 2, 6)]).with_columns(
        pl.lit(None, pl.String).alias("network.iana_number")
    )
    assert ids(unknown).to_list() == [None]
