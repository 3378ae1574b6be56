"""What every text of tcpdump goes through: columns and the exact way, blocks, damage."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import polars as pl
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tcpdump import DATA, MIXED, NAME, SYN, UDP, whole

from connwatch.contracts import Block
from connwatch.ingest.lines import split_lines
from connwatch.ingest.tcpdump import fields, quick, reader
from connwatch.ingest.tcpdump import text as text_module
from connwatch.ingest.tcpdump.clock import Clock
from connwatch.ingest.tcpdump.packet import PACKET
from connwatch.ingest.tcpdump.reader import Read, packets
from connwatch.ingest.tcpdump.text import State, Tcpdump, reads

END4 = st.sampled_from(["10.0.0.1", "192.0.2.255", "10.0.0.256", "1.2.3", "010.1.1.1", "host.lan"])
PORT = st.sampled_from(["1", "80", "65535", "65536", "123456", "http", "", "0x5"])
COUNT = st.one_of(
    st.integers(0, 10**11).map(str), st.sampled_from(["", "-1", "+5", "1:9", "7:", "0000000012"])
)
OPTION = st.sampled_from(
    ["nop,nop,TS val 5 ecr 6", "nop,nop,TS val 5 ecr 6,nop", "mss 1460,nop,wscale 8,sackOK", "nop1,nop,TS val 5 ecr 6", "nop,nop,TS val 5 ecr", "sack 1 {5:6}", "zot", "n2op,nop,TS val 5 ecr 6"]
)  # fmt: skip
BEHIND = st.sampled_from(
    ["", ": HTTP: GET /1 HTTP/1.1", ": HTTP2: x", ": HTTP", ": 5TP: x", " x", ": BGP, x", ": SMTP5"]
)
BODY = st.one_of(
    st.builds(
        lambda flags, cksum, seq, ack, win, options, length, behind: f"Flags [{flags}], {cksum}seq {seq}, ack {ack}, win {win}, options [{options}], length {length}{behind}",
        st.sampled_from(["S", "P.", ".", "none", "S1", "FP.UEWe"]), st.sampled_from(["", "", "cksum 0x4d53 (correct), ", "cksum 0x4d (incorrect -> 0xabcd), ", "cksum 04x5 (correct), ", "cksum 0x4d531 (correct), ", "cksum 0x1 (corr3ect), "]), COUNT, COUNT, COUNT, OPTION, COUNT, BEHIND,
    ),
    st.builds(lambda ack, win, length, behind: f"Flags [.], ack {ack}, win {win}, length {length}{behind}", COUNT, COUNT, COUNT, BEHIND),
    st.builds(lambda seq, win, length: f"Flags [S], seq {seq}, win {win}, length {length}", COUNT, COUNT, COUNT),
    st.builds(lambda told, length: f"{told}UDP, length {length}", st.sampled_from(["", "", "[udp sum ok] ", "[udp sum ok1] ", "[bad udp cksum 0x1 -> 0x2!] "]), COUNT),
    st.builds(lambda number, sign, name, length: f"{number}{sign} A? {name}. ({length})", COUNT, st.sampled_from(["+", "", "*-", "+1", "%"]), st.sampled_from(["a", "a1.b2", "(5)"]), COUNT),
    st.builds(lambda number, length: f"{number} 1/0/0 A 10.0.0.7 ({length})", COUNT, COUNT),
    st.builds(lambda number, seq, length: f"ICMP echo request, id {number}, seq {seq}, length {length}", COUNT, COUNT, COUNT),
)  # fmt: skip
HEAD = "(tos 0x0, ttl 64, id 9, offset 0, flags [DF], proto {} ({}), length {})\n    "
HEADS = [
    HEAD.format(*told)
    for told in (("TCP", 6, 60), ("UDP", 17, 61), ("UDP", 6, 61), ("ICMP", 1, 84), ("TCP", 6, 0))
]
LINK = st.sampled_from(
    [*(f"IP {head}" for head in HEADS), f"IP6 {HEADS[0]}", "IP (tos 0x2,ECT(0), ttl 64, id 9, offset 0, flags [none], proto TCP (6), length 60)\n    ", "IP (tos 0xb8, ttl 6, id 9, offset 1480, flags [none], proto TCP (6), length 60)\n    ", "IP (tos 0x0, ttl 6, id 9, offset 0, flags [+], proto TCP (6), length 60)\n    ", f"00:11:22:33:44:55 > aa:bb:cc:dd:ee:ff, ethertype IPv4 (0x0800), length 60: {HEADS[0]}", "IP ", "IP6 ", "IP5 ", "I1P ", "00:11:22:33:44:55 > aa:bb:cc:dd:ee:ff, ethertype IPv4 (0x0800), length 60: ", "00:11:22:33:44:55 > aa:bb:cc:dd:ee:ff, ethertype IPv6 (0x86dd), length 60: ", "00:11:22:33:44:55 > aa:bb:cc:dd:ee:ff, ethertype IPv4 (0x9999), length 60: ", "00:11:22:33:44:5 > aa:bb:cc:dd:ee:ff1, ethertype IPv4 (0x0800), length 60: "]
)  # fmt: skip
LINE = st.builds(
    lambda link, source, sport, target, dport, body: f"{link}{source}{sport} > {target}{dport}: {body}",
    LINK, END4 | st.just("fe80::1"), PORT.map(lambda port: f".{port}" if port else ""),
    END4 | st.just("2001:DB8::7"), PORT.map(lambda port: f".{port}" if port else ""), BODY,
)  # fmt: skip


def nothing(made: pl.DataFrame, *_: object) -> tuple[pl.DataFrame, pl.Series]:
    """In place of `quick`: no record is of a known form."""
    return pl.DataFrame(schema=PACKET), pl.repeat(False, made.height, eager=True)


def both(lines: list[str]) -> tuple[Read, Read]:
    """What columns and the exact way make of these lines."""
    data = "".join(f"01:02:03.000004 {line}\n" for line in lines).encode()
    frame = split_lines(data, 1, 0).with_columns(text=pl.col("raw"))
    with patch.object(quick, "_FEWEST", 1), patch.object(fields, "_FEWEST", 1):
        fast, _ = packets(frame, Clock(), times=True, data=data)
    with patch.object(reader, "quick", nothing):
        slow, _ = packets(frame, Clock(), times=True, data=data)
    return fast, slow


@settings(max_examples=examples(200))
@given(st.lists(LINE, min_size=1, max_size=20))
def test_columns_say_what_the_exact_way_says(lines: list[str]) -> None:
    fast, slow = both(lines)
    assert fast.packets.equals(slow.packets)
    assert fast.faults.equals(slow.faults)
    assert fast.frames.equals(slow.frames)


@settings(max_examples=examples(200))
@given(
    st.sampled_from(
        [
            SYN,
            DATA,
            UDP,
            "IP 10.0.0.1 > 10.0.0.2: ICMP echo reply, id 5, seq 6, length 64",
            f"IP {HEADS[0]}{DATA[3:]}".replace("seq", "cksum 0x1a (correct), seq"),
            f"IP {HEADS[1]}{UDP[3:]}",
        ]
    ),
    st.integers(0, 190),
    st.text("0123456789 ,:.[]()-+", max_size=2),
    st.integers(0, 2),
)
def test_one_change_anywhere_means_the_same_to_both(
    line: str, place: int, put: str, gone: int
) -> None:
    changed = line[:place] + put + line[place + gone :]
    fast, slow = both([changed, line])
    assert fast.packets.equals(slow.packets)
    assert fast.faults.equals(slow.faults)


NUMBER = st.integers(0, 70_000).map(str)
STAMPS = st.sampled_from(["nop,nop,TS val 5 ecr 6", "mss 1460,sackOK,TS val 5 ecr 0,nop,wscale 7", "nop,nop,sack 1 {5:6}", "mss 1460", "mss 1460,n2op", "md5 shared secret not supplied with -M, can't check - 0a1b"])  # fmt: skip
SOUND = st.one_of(
    st.builds(
        lambda flags, seq, ack, win, options, length, behind: f"Flags [{flags}]{seq}{ack}, win {win}{options}, length {length}{behind}",
        st.sampled_from(["S", "P.", ".", "R"]), st.one_of(st.just(""), NUMBER.map(lambda one: f", seq {one}"), st.tuples(NUMBER, NUMBER).map(lambda two: f", seq {two[0]}:{two[1]}")),
        st.one_of(st.just(""), NUMBER.map(lambda one: f", ack {one}")), NUMBER, st.one_of(st.just(""), STAMPS.map(lambda one: f", options [{one}]")), NUMBER, st.sampled_from(["", "", ": HTTP: GET /1 HTTP/1.1", ": BGP, x"]),
    ),
    NUMBER.map(lambda one: f"UDP, length {one}"),
    st.builds(lambda number, name: f"{number}+ A? {name}. (36)", NUMBER, st.sampled_from(["a", "b7"])),
)  # fmt: skip
#: lines behind a packet's first one
FURTHER = st.sampled_from(
    ["", "", "", "\tHTTP/1.1 200 OK", "\t ** 5 6", "\t", "    7  01:02:03.000004 IP x", "\t0x0000:  4500 0034", "\t0x0000:  4500 0034\n\t0x0010:  4e", "\tHTTP/1.1 200 OK\n\t0x0000:  4500", "\t0x0000:  4500\n\tHTTP/1.1 200 OK", "\t0x00000:  4500", "\t0x000g:  45", "    0x0000:  4500 0034", "4 packets captured", "\x1f    5"]
)  # fmt: skip
TIME = st.sampled_from(["01:02:03.000004", "23:59:59.999999", "00:00:00.000000", "24:00:00.000000", "1:02:03.000004"])  # fmt: skip
RECORD = st.builds(
    lambda time, link, sport, dport, body, further: f"{time} {link}10.0.0.1.{sport} > 10.0.0.2.{dport}: {body}\n{further}{'' if not further else chr(10)}",
    st.one_of(st.just("01:02:03.000004"), TIME), st.sampled_from(["IP ", "IP ", f"IP {HEADS[0]}", f"IP {HEADS[1]}", "IP zot "]), NUMBER, NUMBER, SOUND, FURTHER,
)  # fmt: skip


@settings(max_examples=examples(100))
@given(st.lists(RECORD, min_size=1, max_size=12), st.booleans(), st.booleans(), st.text(max_size=3))
def test_bytes_of_a_block_say_what_its_lines_say(
    records: list[str], last: bool, sound: bool, odd: str
) -> None:
    """Records that begin alike, read from the bytes, beside lines of text, read one by one."""
    text = "".join(records) + odd
    if sound:  # nothing that could make the block another one
        text = "".join(one for one in records if one.startswith("01:"))
    data = text.encode()
    block = Block("eth0-2026-11-21.txt", data, 0, 1, last)
    with patch.object(quick, "_FEWEST", 1), patch.object(fields, "_FEWEST", 1):
        fast = reads(block, State())
    with (
        patch.object(text_module, "look", return_value=None),
        patch.object(reader, "quick", nothing),
    ):
        slow = reads(block, State())
    for (mine, ours), (other, theirs) in zip(fast, slow, strict=True):
        assert ours == theirs
        assert mine.packets.equals(other.packets)
        assert mine.frames.equals(other.frames)
        assert mine.faults.equals(other.faults)
        assert (mine.lines, mine.record_lines, mine.comments) == (
            other.lines,
            other.record_lines,
            other.comments,
        )


@settings(max_examples=examples(100))
@given(st.lists(RECORD, min_size=3, max_size=20), st.integers(0, 19), st.booleans(), st.booleans())
def test_pieces_of_a_block_say_what_all_of_it_says(
    records: list[str], cut: int, alike: bool, last: bool
) -> None:
    if alike:
        records = [one for one in records if one.startswith("01:")] or [records[0]]
    first = f"01:02:03.000000 {SYN}\n" + "".join(records[:cut])
    rest = "".join(records[cut:]).encode()
    (_, state), *_ = reads(Block(NAME, first.encode(), 0, 1, False), State())
    block = Block(NAME, rest, len(first), first.count("\n") + 1, last)
    together = reads(block, state)
    with patch.object(text_module, "_PIECE", 64), patch.object(text_module, "WORKERS", 3):
        apart = reads(block, state)
    assert apart[-1][1] == together[-1][1]
    for name in ("packets", "frames", "faults"):
        whole_, parts = (
            pl.concat([getattr(read, name) for read, _ in made]) for made in (together, apart)
        )
        assert parts.equals(whole_), name
    for name in ("lines", "record_lines", "comments"):
        assert sum(getattr(read, name) for read, _ in apart) == sum(
            getattr(read, name) for read, _ in together
        )


def test_a_large_block_is_read_in_pieces() -> None:
    """What is compared above does happen; and an odd piece is read by itself."""
    text = f"00:00:04.000000 {SYN}\n" * 100
    block = Block(NAME, f"{text}24:61:00.000000 {SYN}\n{text}".encode(), 0, 1, True)
    with patch.object(text_module, "_PIECE", 4_000), patch.object(text_module, "WORKERS", 3):
        assert len(reads(block, State())) == 1, "the clock is not known yet"
        ((_, state),) = reads(replace(block, data=text.encode(), last=False), State())
        block = replace(block, offset=len(text), line=101)
        made = [read for read, _ in reads(block, state)]
    assert [bool(one.faults.height) for one in made] == [False, True, False]
    assert sum(one.packets.height for one in made) == 201


def test_records_that_begin_alike_are_read_from_their_bytes() -> None:
    """The way that is compared above is the one that is taken, with further lines and -v too."""
    text = "".join(
        f"01:02:03.000004 {line}\n"
        for line in (
            SYN,
            DATA,
            f"{DATA}: HTTP: GET / HTTP/1.1\n\tHost: a",
            f"IP {HEADS[1]}{UDP[3:]}\n\t0x0000:  4500",
        )
        * 20
    )
    with (
        patch.object(text_module, "packets", side_effect=AssertionError("read as lines")),
        patch.object(reader, "exact", side_effect=AssertionError("read one by one")),
    ):
        made, _ = whole(text)
    assert made.packets.height == 80
    assert made.record_lines == 140


def test_common_records_are_read_as_columns() -> None:
    """The way that is compared above is the one that is taken."""
    data = "".join(
        f"01:02:03.000004 {line}\n" for line in (SYN, DATA, UDP, f"IP {HEADS[1]}{UDP[3:]}") * 20
    ).encode()
    frame = split_lines(data, 1, 0).with_columns(text=pl.col("raw"))
    with patch.object(reader, "exact", side_effect=AssertionError("read one by one")):
        made, _ = packets(frame, Clock(), times=True, data=data)
    assert made.packets.height == 80


@settings(max_examples=examples(60))
@given(st.lists(st.integers(1, 40), max_size=6), st.booleans())
def test_blocks_make_no_difference(cuts: list[int], untimed: bool) -> None:
    text = MIXED * 3
    if untimed:
        text = "".join(
            line[16:] if line[:1].isdigit() and line[2:3] == ":" else line
            for line in text.splitlines(keepends=True)
        )
    apart, _ = whole(text, cuts=tuple(cuts))
    together, _ = whole(text)
    assert apart.packets.equals(together.packets)
    assert apart.frames.equals(together.frames)
    assert apart.faults.equals(together.faults)
    assert apart.comments == together.comments


@pytest.mark.parametrize("untimed", [False, True])
def test_only_the_last_record_is_held_back(untimed: bool) -> None:
    text = (MIXED + f"00:00:04.000000 {SYN}\n" * 3_000).encode()
    if untimed:
        text = text.replace(b"00:00:04.000000 ", b"").split(b"captured\n")[1]
    ((read, state),) = reads(Block(NAME, text, 0, 1, False), State())
    assert state.held in (f"{SYN}\n".encode(), f"00:00:04.000000 {SYN}\n".encode())
    assert read.lines == text.count(b"\n") - 1


@settings(max_examples=examples(60))
@given(st.integers(0, len(MIXED)), st.integers(0, len(MIXED)), st.binary(max_size=40))
def test_a_text_cut_anywhere_or_damaged_is_read_with_balanced_books(
    start: int, end: int, junk: bytes
) -> None:
    data = MIXED.encode()[start:end] + junk + MIXED.encode()[:start]
    made, _ = Tcpdump().parse(Block(NAME, data, 0, 1, True), State())
    assert made.lines == data.count(b"\n") + (data[-1:] not in (b"\n", b""))
    assert made.lines == made.record_lines + made.rejects.height + made.comments
