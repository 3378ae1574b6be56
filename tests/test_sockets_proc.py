"""Lines of /proc/net: numbers that are cut out where they stand are those that words have."""

from __future__ import annotations

import ipaddress
import json
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from support import parse

from connwatch.ingest.sockets.tables import ProcNet

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
#: none that is usual only when it is read as big-endian
ADDRESSES = st.sampled_from(
    ["0100007F", "00000000", "0A00000A", "ffffffff", "0" * 24 + "01000000", "B80D0120" + "0" * 24]
)
NUMBER = st.sampled_from([0, 1, 255, 0x7FFFFFFF, 0xFFFFFFFF])
TIMERS = {1: "on", 2: "keepalive", 3: "timewait", 4: "probe"}


@st.composite
def lines(draw: st.DrawFn) -> str:
    """A line as the kernel writes it, or with other spaces and wider numbers."""
    width = draw(st.sampled_from([8, 32]))
    ends = [
        f"{draw(ADDRESSES.filter(lambda one: len(one) == width))}:{draw(st.integers(0, 65_535)):04X}"
        for _ in range(2)
    ]
    state, timer = draw(st.integers(1, 13)), draw(st.integers(0, 6))
    sent, received, when, again = (draw(NUMBER) for _ in range(4))
    uid, wait = draw(st.sampled_from([0, 33, 65_534, 1_000_650_000])), draw(st.integers(0, 10**9))
    rest = draw(st.sampled_from(["", " 1 0 20 4 30 10 -1", "  2  ffff9d6f", ' "q" \\ é']))
    return (
        f"{draw(st.integers(0, 99_999)):{draw(st.sampled_from([1, 4, 5]))}}: {ends[0]} {ends[1]}"
        f" {state:02{draw(st.sampled_from('xX'))}} {sent:08X}:{received:08x} {timer:02X}:{when:08X}"
        f" {again:08X} {uid:{draw(st.sampled_from([1, 5, 5, 9]))}} {wait % 10 ** draw(st.integers(1, 9)):8}"
        f" {draw(st.sampled_from([0, 7, 10**17]))}{rest}"
    )


def shown(end: str) -> tuple[str, int]:
    address, port = end.split(":")
    parts = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    packed = struct.pack(f"<{len(parts)}I", *parts)
    return str(ipaddress.ip_address(packed)), int(port, 16)


def expected(line: str) -> dict[str, Any]:
    """The same by hand: words, one line at a time."""
    words = line.split(None, 10)
    sent, received = words[4].split(":")
    timer, when = (int(word, 16) for word in words[5].split(":"))
    local, peer = (
        f"[{address}]:{port or '*'}" if ":" in address else f"{address}:{port or '*'}"
        for address, port in map(shown, words[1:3])
    )
    name = TIMERS.get(timer, words[5][:2])
    rest = " ".join(words[10].split(" ")) if len(words) > 10 else None
    return {
        "socket.local": local,
        "socket.peer": peer,
        "socket.send_queue": int(sent, 16),
        "socket.recv_queue": int(received, 16),
        "socket.timer": f"{name},{when / 100}sec,{int(words[6], 16)}" if timer else None,
        "user.id": words[7],
        "socket.inode": int(words[9]) or None,
        "extra": {"sl": words[0][:-1], "timeout": words[8], "rest": rest and _single(rest)},
    }


def _single(text: str) -> str:
    return " ".join(word for word in text.split(" ") if word)


@given(st.lists(lines(), min_size=1, max_size=8))
def test_numbers_of_whole_columns_are_those_of_words(drawn: list[str]) -> None:
    data = (HEADER + "".join(f"{line}\n" for line in drawn)).encode()
    made = parse(ProcNet(), data, path="proc_net_tcp-20261121T0726.txt")
    assert made.rejects.is_empty()
    assert made.events.height == len(drawn)
    for row, line in zip(made.events.to_dicts(), drawn, strict=True):
        told = expected(line)
        assert json.loads(row["connwatch.extra"]) == told.pop("extra")
        assert {name: row[name] for name in told} == told


@given(st.lists(lines(), min_size=1, max_size=6), st.integers(0, 5))
def test_a_line_of_another_width_changes_no_other(drawn: list[str], place: int) -> None:
    """A user with a long number is written beyond its column."""
    line = "   7: 0100007F:0016 0100007F:C000 01 00000000:00000000 00:00000000 00000000 1000650000        0 9 1"
    mixed = [*drawn[:place], line, *drawn[place:]]
    alone, both = (
        parse(
            ProcNet(),
            (HEADER + "".join(f"{one}\n" for one in some)).encode(),
            path="p-20261121T0726.txt",
        )
        for some in (drawn, mixed)
    )
    columns = [
        "socket.local",
        "socket.peer",
        "user.id",
        "socket.inode",
        "socket.timer",
        "connwatch.extra",
    ]
    others = both.events.filter(both.events["user.id"] != "1000650000").select(columns)
    assert others.equals(
        alone.events.filter(alone.events["user.id"] != "1000650000").select(columns)
    )
    assert "1000650000" in both.events["user.id"].to_list()
