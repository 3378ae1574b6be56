"""What every table of sockets goes through: both readers, blocks, damage, parts."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from support import parse
from test_sockets import ESTAB, HEADER, LISTEN, read
from test_sockets_netstat import GERMAN, NET_TOOLS, NETSTAT, PROC, PROC_ROW

from connwatch.contracts import Block
from connwatch.ingest.sockets import netstat, ss, tables
from connwatch.ingest.sockets.tables import Netstat, ProcNet, Ss

ADDRESSES = st.sampled_from(
    [
        "192.0.2.1",
        "0.0.0.0",
        "[::]",
        "[2001:db8::7]",
        "*",
        "[::ffff:192.0.2.9]",
        "127.0.0.53%lo",
        "host.example",
        "999.1.1.1",
        "[fe80::1]%eth0",
    ]
)
PORTS = st.sampled_from(["22", "*", "https", "0", "65535", "65536", "nonsense"])
TAIL_TEXTS = st.sampled_from(
    [
        "",
        ' users:(("sshd",pid=8,fd=4))',
        ' users:(("s d",pid=8,fd=4))',
        " ino:5 sk:1",
        ' users:(("a",pid=1',
        " words",
    ]
)
SS_LINE = st.builds(
    lambda kind, state, a, p, b, q, tail: f"{kind}   {state} 0      7   {a}:{p}    {b}:{q}{tail}",
    st.sampled_from(["tcp", "udp"]), st.sampled_from(["LISTEN", "ESTAB", "UNCONN", "ODD"]),
    ADDRESSES, PORTS, ADDRESSES, PORTS, TAIL_TEXTS,
)  # fmt: skip
NETSTAT_LINE = st.builds(
    lambda kind, state, a, p, b, q, tail: f"{kind}   0      7   {a.strip('[]')}:{p}    {b.strip('[]')}:{q} {state}{tail}",
    st.sampled_from(["tcp", "udp", "tcp6"]), st.sampled_from(["LISTEN", "ESTABLISHED", "", "ODD"]),
    ADDRESSES | st.just("2001:db8:aaaa:bbbb:1"), PORTS, ADDRESSES, PORTS, st.sampled_from(["", " -", " 8/sshd", " 8/s d", " 123456/a-very-long-nam", " x"]),
)  # fmt: skip


@settings(max_examples=30)
@given(st.lists(SS_LINE, max_size=12), st.lists(NETSTAT_LINE, max_size=12))
def test_both_readers_say_the_same(of_ss: list[str], of_netstat: list[str]) -> None:
    for one, head, lines, module, name in (
        (Ss(), HEADER, of_ss, ss, "_plain"),
        (Netstat(), NET_TOOLS.replace("User       Inode      ", ""), of_netstat, netstat, "_QUICK"),
    ):
        text = head + "".join(f"{line}\n" for line in lines)
        quick = read(text, one)
        never = (lambda *_: None) if module is ss else "^never$"
        with patch.object(module, name, never):
            slow = read(text, one)
        assert quick.events.equals(slow.events)
        assert quick.rejects.equals(slow.rejects)


WHOLE = b"Sat Nov 21 07:26:35 UTC 2026\n".join(
    [
        b"",
        (HEADER + LISTEN + ESTAB + "\t cubic rtt:1/2\n").encode(),
        GERMAN.encode(),
        (PROC + PROC_ROW.format("0100007F:0016", "0A00000A:C000")).encode(),
        NET_TOOLS.encode() + NETSTAT[0][0].encode(),
    ]
)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 40), max_size=6), st.sampled_from(["utf-8", "utf-16-le"]))
def test_blocks_make_no_difference(cuts: list[int], encoding: str) -> None:
    data = WHOLE.decode().encode(encoding)
    whole = parse(Ss(), data, path="ss-20261121T0726.txt")
    parts = parse(Ss(), data, cuts, path="ss-20261121T0726.txt")
    assert whole.events.equals(parts.events)
    assert whole.rejects.equals(parts.rejects)
    assert (whole.lines, whole.record_lines, whole.comments) == (
        parts.lines,
        parts.record_lines,
        parts.comments,
    )


@settings(max_examples=20)
@given(st.integers(0, len(WHOLE)), st.integers(0, len(WHOLE)), st.binary(max_size=40))
def test_a_file_cut_anywhere_or_damaged_is_read_with_balanced_books(
    start: int, end: int, junk: bytes
) -> None:
    data = WHOLE[start:end] + junk + WHOLE[:start]
    for one in (Ss(), Netstat(), ProcNet()):
        made = read(data, one)
        assert made.lines == data.count(b"\n") + (data[-1:] not in (b"\n", b""))
        one.sniff(data, "x")


def test_a_long_snapshot_is_read_in_parts_that_blocks_do_not_change() -> None:
    lines = [f"tcp ESTAB 0 0 192.0.2.1:{port} 192.0.2.2:443\n" for port in range(2000, 2400)]
    data = (HEADER + "".join(lines)).encode()
    with patch.object(tables, "PART", 5_000):
        whole = parse(Ss(), data, path="ss-20261121T0726.txt")
        parts = parse(Ss(), data, [7, 100, 101, 300], path="ss-20261121T0726.txt")
    assert whole.events.height == len(lines)
    assert whole.events["socket.snapshot.id"].n_unique() == len(data) // 5_000 + 1
    assert whole.events.equals(parts.events)


def test_what_a_run_remembers_is_json_and_comes_back() -> None:
    one = Ss()
    data = (HEADER + LISTEN).encode()
    made, state = one.parse(Block("ss.txt", data, 0, 1, False), one.begin("ss.socket"))
    assert made.events.is_empty()
    again = one.restored(one.saved(state))
    assert again == state
    rest, _ = one.parse(Block("ss.txt", ESTAB.encode(), len(data), 3, True), again)
    assert rest.events.height == 2


def test_a_line_too_long_between_two_parts_loses_nothing() -> None:
    one = Ss()
    data = (HEADER + LISTEN).encode()
    first, state = one.parse(
        Block("ss-20261121T0726.txt", data, 0, 1, False), one.begin("ss.socket")
    )
    last, _ = one.parse(
        Block("ss-20261121T0726.txt", ESTAB.encode(), len(data) + 2_000_000, 4, True), state
    )
    assert first.events.height + last.events.height == 2
    assert last.events["event.sequence"].to_list() == [2, 4]
