"""Which process stands behind a flow: what sockets near it prove, and what they do not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from connwatch.attribution import FLOWS, SOCKETS, Settings, attribute, best, measured

BEGIN = datetime(2026, 11, 21, 7, 0, 0, 500, tzinfo=UTC)
HOST, PEER = "192.0.2.1", "198.51.100.7"


def at(second: float) -> datetime:
    return BEGIN + timedelta(seconds=second)


def _end(text: str) -> tuple[str, str]:
    """Address and port of ADDRESS:PORT, or ADDRESS|PORT for IPv6."""
    address, _, port = text.rpartition("|" if "|" in text else ":")
    return address, port


def flow(start: float, end: float, source: str = f"{HOST}:5000", to: str = f"{PEER}:443", **more: Any) -> dict[str, Any]:  # fmt: skip
    (s_ip, s_port), (d_ip, d_port) = _end(source), _end(to)
    return {
        "id": f"f{start}{source}{to}{more.get('witness', '')}", "start": at(start), "end": at(end), "transport": "tcp",
        "source_ip": s_ip, "source_port": int(s_port), "destination_ip": d_ip, "destination_port": int(d_port),
        "state": "SF", "history": None, "witness": "zeek", **more,
    }  # fmt: skip


def row(second: float, pid: int | None = 7, local: str = f"{HOST}:5000", peer: str | None = f"{PEER}:443", **more: Any) -> dict[str, Any]:  # fmt: skip
    ip, port = _end(local)
    there = (None, None) if peer is None else _end(peer)
    host = more.get("host", "ws")
    return {
        "id": f"r{second}{local}{peer}{pid}{host}", "host": host, "time": at(second), "snapshot": f"s{second}{host}",
        "transport": "tcp", "role": "client" if peer else "listener", "state": "established" if peer else "listen",
        "local_ip": ip if ip != "*" else None, "local_port": int(port),
        "peer_ip": there[0], "peer_port": None if there[1] is None else int(there[1]),
        "pid": pid, "name": None if pid is None else f"p{pid}",
        "processes": None if pid is None else [f"{pid}/p{pid} fd=3"],
        "uid": "1000", "user": None, "inode": None, "cookie": None, **more,
    }  # fmt: skip


def frames(flows: list[dict[str, Any]], rows: list[dict[str, Any]]) -> tuple[pl.DataFrame, pl.DataFrame]:  # fmt: skip
    return pl.DataFrame(flows, schema=FLOWS), pl.DataFrame(rows, schema=SOCKETS)


def told(flows: list[dict[str, Any]], rows: list[dict[str, Any]], **more: Any) -> list[tuple[str, str, int | None]]:  # fmt: skip
    """Verdict, reason and pid of each flow, in the order given."""
    found = best(attribute(*frames(flows, rows), Settings(**more)))
    by_id = {one["id"]: (one["verdict"], one["reason"], one["pid"]) for one in found.to_dicts()}
    assert len(by_id) == len(flows)
    return [by_id[one["id"]] for one in flows]


UDP = {"transport": "udp", "state": None}
OPEN = {"state": "S1"}
MIDSTREAM = {"state": "OTH"}
SIX = "2001:db8::1"
OTHER_PEER = f"{HOST}:6000", f"{PEER}:80"


@pytest.mark.parametrize(
    ("one", "rows", "expected"),
    [
        pytest.param(flow(10, 20), [row(15)], ("exact", "seen", 7), id="seen during the flow"),
        pytest.param(flow(10, 20), [row(12), row(18)], ("exact", "seen", 7), id="seen twice"),
        pytest.param(flow(10, 20), [row(15, None)], ("none", "no_process", None), id="not permitted to see whose"),
        pytest.param(flow(10, 20), [row(12, inode=3), row(15, None, inode=3)], ("exact", "seen", 7), id="seen whose once"),
        pytest.param(flow(10, 20), [row(12, 7, inode=3), row(15, 8, inode=4)], ("ambiguous", "several", None), id="two sockets in one flow"),
        pytest.param(flow(10, 20), [row(5)], ("reused", "another_socket", None), id="a socket before the first SYN is another one"),
        pytest.param(flow(10, 20), [row(25)], ("reused", "another_socket", None), id="a socket after both have closed is another one"),
        pytest.param(flow(10, 20), [row(25, None, state="time_wait")], ("none", "over", None), id="TIME-WAIT has no process"),
        pytest.param(flow(10, 20), [row(12, cookie="a"), row(21, None, state="time_wait", cookie="a")], ("exact", "seen", 7), id="TIME-WAIT of what was seen"),
        pytest.param(flow(10, 20, **OPEN), [row(25)], ("bounded", "still_open", 7), id="not closed yet when seen"),
        pytest.param(flow(10, 20, **OPEN), [row(2000)], ("none", "no_snapshot", None), id="much later"),
        pytest.param(flow(10, 20, **MIDSTREAM), [row(5)], ("bounded", "already_open", 7), id="open already when seen"),
        pytest.param(flow(10, 20, **MIDSTREAM), [row(5, inode=3), row(25, inode=3)], ("bounded", "around", 7), id="the same before and after"),
        pytest.param(flow(10, 20, **MIDSTREAM), [row(5, inode=3), row(25, inode=4)], ("reused", "another_socket", None), id="another inode after"),
        pytest.param(flow(10, 20, **UDP), [row(5, inode=3, **UDP), row(25, inode=3, **UDP)], ("bounded", "around", 7), id="UDP between two snapshots"),
        pytest.param(flow(10, 20, **UDP), [row(5, **UDP)], ("none", "no_snapshot", None), id="UDP seen before only"),
        pytest.param(flow(10, 20, **UDP), [row(15, peer=None, local="*:5000", role="unconnected", **UDP)], ("exact", "seen", 7), id="UDP bound to any address"),
        pytest.param(flow(10, 20, **UDP), [row(15, 7, peer=None, local="*:5000", role="unconnected", **UDP), row(15, 8, **UDP)], ("exact", "seen", 8), id="UDP with this peer comes first"),
        pytest.param(flow(10, 20, **UDP), [row(15, n, peer=None, local="0.0.0.0:5000", role="unconnected", **UDP) for n in (7, 8)], ("ambiguous", "several", None), id="two processes share a UDP port"),
        pytest.param(flow(10, 20, **UDP), [row(n, peer=None, local="*:5000", role="unconnected", **UDP) for n in (5, 25)], ("bounded", "around", 7), id="two snapshots one after the other show the process"),
        pytest.param(flow(10, 11, **UDP), [row(5, peer=None, local="*:5000", role="unconnected", **UDP), row(15, 9, *OTHER_PEER), row(25, peer=None, local="*:5000", role="unconnected", **UDP)], ("reused", "another_socket", None), id="gone between, and without a number it may be another one"),
        pytest.param(flow(10, 20, **UDP), [row(5, cookie="a", **UDP), row(25, cookie="a", **UDP)], ("bounded", "around", 7), id="the same cookie before and after"),
        pytest.param(flow(10, 20, **UDP), [row(n, cookie=f"{n}", **UDP) for n in (5, 25)], ("reused", "another_socket", None), id="one process, two cookies"),
        pytest.param(flow(10, 20, **UDP), [row(12, None, cookie="a", **UDP), row(15, 8, cookie="a", **UDP), row(18, 9, cookie="b", **UDP)], ("ambiguous", "several", None), id="two cookies in one flow"),
        pytest.param(flow(10, 20, **UDP), [row(5, 7, inode=3, **UDP), row(25, 7, inode=3, **UDP), row(15, 8, peer=None, local=f"{HOST}:5000", role="unconnected", **UDP)], ("bounded", "around", 7), id="a socket with this peer takes it, even if less is known"),
        pytest.param(flow(10, 20, f"{SIX}|5000", f"{SIX}9|53", **UDP), [row(15, 7, f"{SIX}|6000", f"{SIX}9|53"), row(15, 8, peer=None, local="0.0.0.0:5000", role="unconnected", **UDP)], ("none", "not_shown", None), id="IPv6 does not reach 0.0.0.0"),
        pytest.param(flow(10, 20, f"{SIX}|5000", f"{SIX}9|53", **UDP), [row(15, 7, f"{SIX}|6000", f"{SIX}9|53"), row(15, 8, peer=None, local="::|5000", role="unconnected", **UDP)], ("exact", "seen", 8), id="IPv6 reaches ::"),
        pytest.param(flow(10, 20), [row(15, 9, *OTHER_PEER)], ("none", "not_shown", None), id="a snapshot that should show it"),
        pytest.param(flow(10, 20), [row(30, 9, *OTHER_PEER)], ("none", "no_snapshot", None), id="no snapshot in time"),
        pytest.param(flow(10, 20), [row(15, local="192.0.2.77:5000")], ("none", "translated", None), id="another address, the same ports"),
        pytest.param(flow(10, 20), [row(15, local="192.0.2.77:5001")], ("none", "other_host", None), id="other host"),
        pytest.param(flow(10, 20, transport="icmp", source_port=None), [row(15)], ("none", "no_ports", None), id="no ports"),
        pytest.param(flow(10, 20), [row(15, 7), row(15, 8, host="twin")], ("ambiguous", "several_hosts", None), id="two hosts with one address"),
    ],
)  # fmt: skip
def test_what_snapshots_prove(one: dict[str, Any], rows: list[dict[str, Any]], expected: tuple[str, str, int | None]) -> None:  # fmt: skip
    # Whether a host has the address is another question: it was seen to have it a day before.
    hosts = (
        []
        if expected[1] in ("other_host", "translated")
        else [row(-90_000, 99, f"{HOST}:1", f"{PEER}:1")]
    )
    assert told([one], [*rows, *hosts]) == [expected]


def test_the_listener_stands_for_a_connection_that_no_snapshot_shows() -> None:
    asks = flow(10, 10.1, f"{PEER}:40000", f"{HOST}:22")
    for bound in (f"{HOST}:22", "0.0.0.0:22", "*:22"):
        listens = [row(n, local=bound, peer=None, inode=5) for n in (5, 25)]
        other = [row(5, 9, f"{HOST}:6000")]
        assert told([asks], listens + other) == [("bounded", "listener", 7)]
        assert told([{**asks, "state": "REJ"}], listens + other) == [("none", "no_snapshot", None)]
        backwards = flow(10, 10.1, f"{HOST}:22", f"{PEER}:40000")
        assert told([backwards], listens + other) == [("none", "no_snapshot", None)]
        accepted = [row(10, 8, f"{HOST}:22", f"{PEER}:40000", role="server")]
        assert told([asks], listens + accepted) == [("exact", "seen", 8)]
    changed = [row(5, 7, f"{HOST}:22", None, inode=5), row(25, 8, f"{HOST}:22", None, inode=6)]
    assert told([asks], changed) == [("reused", "another_socket", None)]


def test_a_port_used_again_gets_its_own_socket_only() -> None:
    flows = [flow(10, 12), flow(13, 15), flow(16, 18)]
    rows = [row(11, 7, inode=3), row(17, 9, inode=5)]
    assert told(flows, rows) == [("exact", "seen", 7), ("reused", "another_socket", None), ("exact", "seen", 9)]  # fmt: skip


def test_a_moment_that_two_flows_may_have_had_is_neither_ones() -> None:
    rows = [row(12.3)]
    assert told([flow(10, 12.2), flow(12.4, 15)], rows) == [("reused", "same_moment", None)] * 2
    assert told([flow(10, 12.2)], rows) == [("exact", "seen", 7)]
    # A time in whole seconds may be any moment of that second.
    whole = [{**row(12.3), "time": at(12).replace(microsecond=0)}]
    apart = [flow(10, 11.5), flow(12.5, 15)]
    assert told(apart, whole) == [("reused", "another_socket", None), ("exact", "seen", 7)]
    assert told([flow(10, 12.2), flow(12.6, 15)], whole) == [("reused", "same_moment", None)] * 2


def test_witnesses_of_one_connection_have_one_answer() -> None:
    flows = [
        flow(10, 20), flow(10, 15, witness="long"), flow(20.1, 20.2, witness="tcpdump"),
        flow(10.5, 19, f"{PEER}:443", f"{HOST}:5000", witness="turned", state=None),
    ]  # fmt: skip
    assert told(flows, [row(18)]) == [("exact", "seen", 7)] * 4


def test_both_ends_are_told_where_both_hosts_have_snapshots() -> None:
    rows = [row(15), row(15, 8, f"{PEER}:443", f"{HOST}:5000", host="srv", role="server")]
    found = attribute(*frames([flow(10, 20)], rows))
    assert found.select("side", "host", "pid", "basis").rows() == [
        ("source", "ws", 7, "client"), ("destination", "srv", 8, "server"),
    ]  # fmt: skip


def test_all_holders_of_a_socket_are_told() -> None:
    shared = row(15, 7) | {"processes": ["7/sshd fd=4", "9/sshd-session fd=4"]}
    (one,) = best(attribute(*frames([flow(10, 20)], [shared]))).to_dicts()
    assert (one["pid"], one["processes"]) == (7, ["7/sshd", "9/sshd-session"])


def test_clocks_that_are_apart_are_measured_and_set_right() -> None:
    flows = [flow(10 * n, 10 * n + 3, f"{HOST}:{5000 + n}") for n in range(1, 8)]
    rows = [row(10 * n + 1 + 95, n, f"{HOST}:{5000 + n}") for n in range(1, 8)]
    (found,) = measured(*frames(flows, rows))
    assert found.told
    assert found.low <= -95_000_000 <= found.high
    assert found.offset == (found.low + found.high) // 2
    assert (found.fits, found.as_is, found.sockets) == (7, 0, 7)
    assert {one[0] for one in told(flows, rows)} == {"reused"}
    set_right = told(flows, rows, offsets={"ws": found.offset})
    assert set_right == [("exact", "seen", n) for n in range(1, 8)]
    (same,) = measured(*frames(flows, [row(10 * n + 1, n, f"{HOST}:{5000 + n}") for n in range(1, 8)]))  # fmt: skip
    assert (same.offset, same.as_is, same.told) == (0, 7, False)


def test_nothing_comes_of_nothing() -> None:
    assert attribute(*frames([], [])).is_empty()
    assert attribute(*frames([], [row(1)])).is_empty()
    assert measured(*frames([flow(1, 2)], [])) == []
    assert told([flow(1, 2)], []) == [("none", "other_host", None)]


def _moments() -> st.SearchStrategy[float]:
    return st.integers(0, 60).map(lambda n: n / 2)


@st.composite
def _flows(draw: st.DrawFn) -> dict[str, Any]:
    start = draw(_moments())
    ends = draw(st.permutations([f"{HOST}:{draw(st.sampled_from((5000, 22)))}", f"{PEER}:443"]))
    return flow(
        start, start + draw(_moments()) / 4, *ends,
        transport=draw(st.sampled_from(("tcp", "udp"))),
        state=draw(st.sampled_from(("SF", "S1", "OTH", "REJ", None))),
        witness=draw(st.sampled_from(("zeek", "tcpdump"))),
    )  # fmt: skip


@st.composite
def _rows(draw: st.DrawFn) -> dict[str, Any]:
    peer = draw(st.sampled_from((f"{PEER}:443", None)))
    local = f"{draw(st.sampled_from((HOST, '*', '0.0.0.0')) if peer is None else st.just(HOST))}:{draw(st.sampled_from((5000, 22)))}"
    transport = draw(st.sampled_from(("tcp", "udp")))
    more: dict[str, Any] = {} if peer or transport == "tcp" else {"role": "unconnected"}
    return row(
        draw(_moments()), draw(st.sampled_from((None, 1, 2, 3))), local, peer,
        transport=transport, inode=draw(st.sampled_from((None, 0, 10, 11, 12))),
        cookie=draw(st.sampled_from((None, "a", "b"))), host=draw(st.sampled_from(("ws", "twin"))),
        **more,
    )  # fmt: skip


def _unique(drawn: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one | {"id": f"{n}"} for n, one in enumerate(drawn)]


TOLERANCE, REACH = 250_000, 20_000_000
SET = Settings(TOLERANCE, REACH)


@settings(max_examples=examples(100), deadline=None)
@given(st.lists(_flows(), max_size=6).map(_unique), st.lists(_rows(), max_size=12).map(_unique))
def test_no_flow_has_the_process_of_a_socket_that_was_not_there(
    flows: list[dict[str, Any]], rows: list[dict[str, Any]]
) -> None:
    found = attribute(*frames(flows, rows), SET)
    assert found.height == 2 * len(flows)
    by_id, row_by_id = {one["id"]: one for one in flows}, {one["id"]: one for one in rows}
    slack = timedelta(microseconds=TOLERANCE) + timedelta(seconds=1)
    for one in found.to_dicts():
        own = by_id[one["id"]]
        assert (one["pid"] is not None) == (one["verdict"] in ("exact", "bounded"))
        if one["verdict"] == "ambiguous":
            assert one["candidates"]
        if one["pid"] is None:
            continue
        near, far = (own["source_ip"], own["source_port"]), (own["destination_ip"], own["destination_port"])  # fmt: skip
        if one["side"] == "destination":
            near, far = far, near
        told_by = [row_by_id[name] for name in one["rows"]]
        # One connection may have several witnesses; what counts is when it was, by all of them.
        of_ends = [f for f in flows if f["transport"] == own["transport"] and {(f["source_ip"], f["source_port"]), (f["destination_ip"], f["destination_port"])} == {near, far}]  # fmt: skip
        start, end = min(f["start"] for f in of_ends), max(f["end"] for f in of_ends)
        for socket in told_by:
            assert socket["transport"] == own["transport"]
            assert socket["local_port"] == near[1]
            assert socket["local_ip"] in (near[0], None, "0.0.0.0")
            assert (socket["peer_ip"], socket["peer_port"]) in (far, (None, None))
            if one["verdict"] == "exact":
                assert start - slack <= socket["time"] <= end + slack
        seen = {r["pid"] for r in rows if r["local_port"] == near[1] and r["host"] == one["host"]}
        assert one["pid"] in seen
        if one["reason"] == "around":
            assert any(r["time"] < own["start"] for r in told_by)
            assert any(r["time"] > own["end"] for r in told_by)


@settings(max_examples=examples(100), deadline=None)
@given(
    st.lists(_flows(), max_size=6).map(_unique),
    st.lists(_rows(), max_size=12).map(_unique),
    st.randoms(use_true_random=False),
)
def test_no_order_of_what_is_given_makes_a_difference(
    flows: list[dict[str, Any]], rows: list[dict[str, Any]], random: Any
) -> None:
    first = attribute(*frames(flows, rows), SET)
    random.shuffle(flows)
    random.shuffle(rows)
    assert attribute(*frames(flows, rows), SET).equals(first)
    assert measured(*frames(flows, rows)) == measured(*frames(flows[::-1], rows[::-1]))
