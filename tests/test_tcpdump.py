"""Packets as tcpdump prints them: forms of time, of lines, of packets, and what is rejected."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support import parse

from connwatch.contracts import Block
from connwatch.ingest.clock import Clock as Told
from connwatch.ingest.formats import formats
from connwatch.ingest.tcpdump.options import options_length
from connwatch.ingest.tcpdump.reader import Read
from connwatch.ingest.tcpdump.text import State, Tcpdump, reads

SYN = "IP 10.0.0.1.4000 > 10.0.0.2.80: Flags [S], seq 7, win 100, options [mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7], length 0"
DATA = "IP 10.0.0.1.4000 > 10.0.0.2.80: Flags [P.], seq 1:11, ack 5, win 100, length 10"
UDP = "IP 10.0.0.1.4000 > 10.0.0.2.5000: UDP, length 33"
MIXED = (
    "listening on eth0\n"
    f"23:59:59.000004 {SYN}\n23:59:59.500000 IP (tos 0x0, ttl 64, id 9, offset 0, flags [DF], proto UDP (17), length 61)\n    {UDP[3:]}\n"
    f"\t0x0000:  4500 003d\nnonsense\n00:00:01.000000 {DATA}\n00:00:02.000000 IP 1.0.0.1.5 > 1.0.0.2.4789: VXLAN, flags [I] (0x08), vni 5\n{UDP}\n"
    "00:00:03.000000 ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28\n4 packets captured\n"
)  # fmt: skip
DAY = 86_400_000_000
NAME = "eth0-2026-11-21.txt"
NOON = 20778 * DAY  # 2026-11-21


def whole(text: str, path: str = NAME, cuts: tuple[int, ...] = ()) -> tuple[Read, State]:
    """What a file is read as, given in blocks cut behind these lines; the parts put together."""
    data = text.encode()
    lines = data.splitlines(keepends=True)
    bounds = sorted({0, len(lines), *(cut for cut in cuts if cut < len(lines))})
    state, parts = State(), []
    for low, high in itertools.pairwise(bounds):
        block = Block(
            path, b"".join(lines[low:high]), sum(map(len, lines[:low])), low + 1, high == len(lines)
        )
        for part, after in reads(block, state):
            parts.append(part)
            state = after
    assert sum(part.lines for part in parts) == len(lines)
    made = Read(
        pl.concat([part.packets for part in parts]),
        pl.concat([part.frames for part in parts]),
        pl.concat([part.faults for part in parts]),
        len(lines),
        sum(part.record_lines for part in parts),
        sum(part.comments for part in parts),
    )
    assert made.lines == made.record_lines + made.faults.height + made.comments
    return made, state


def rows(text: str, path: str = NAME) -> list[dict[str, Any]]:
    """The packets; nothing else may be in the text."""
    made, _ = whole(text, path)
    assert made.faults.is_empty(), made.faults.to_dicts()
    assert made.frames.is_empty(), made.frames.to_dicts()
    return made.packets.to_dicts()


def one(text: str) -> dict[str, Any]:
    (row,) = rows(text)
    return {name: value for name, value in row.items() if value is not None}


TIMES = [
    ("a clock takes its date from the file's name", ["01:02:03.000004 ", "23:00:00.000000 "], [3723000004, 82800000000]),
    ("a clock that goes back by half a day has passed midnight", ["23:59:59.999999 ", "00:00:00.000001 "], [DAY - 1, DAY + 1]),
    ("a packet before midnight that comes late is of the day before", ["00:00:01.000000 ", "23:59:59.000000 "], [1000000, -1000000]),
    ("nanoseconds are cut", ["01:02:03.000004999 "], [3723000004]),
    ("a date is taken as it is", ["2026-11-22 00:00:00.5" + "00000 "], [DAY + 500000]),
    ("seconds since 1970", [f"{NOON // 1000000}.000007 "], [7]),
    ("-ttt: from the packet before, which may be later", [" 00:00:00.000000 ", " 00:00:02.000000 ", "-00:00:01.000000 ", " 00:00:05.000000 "], [0, 2000000, 1000000, 6000000]),
    ("-ttttt: from the first packet", [" 00:00:00.000000 ", " 00:00:02.000000 ", " 00:00:03.000000 "], [0, 2000000, 3000000]),
    ("-ttttt: hours begin again after a day", [" 00:00:00.000000 ", " 23:00:00.000000 ", " 01:00:00.000000 "], [0, 82800000000, DAY + 3600000000]),
    ("-ttttt: a packet out of order", [f" 00:00:0{s}.000000 " for s in (0, 1, 2, 4, 3, 5, 6)], [s * 1000000 for s in (0, 1, 2, 4, 3, 5, 6)]),
    ("-t: no time", ["", ""], [0, 0]),
    ("-# numbers", ["    1  01:02:03.000004 ", "   10  01:02:03.000005 "], [3723000004, 3723000005]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("times", "expected"), [one[1:] for one in TIMES], ids=[one[0] for one in TIMES]
)
def test_every_form_of_time(times: list[str], expected: list[int]) -> None:
    made = rows("".join(f"{time}{SYN}\n" for time in times))
    assert [row["time"] - NOON for row in made] == expected


def test_a_file_without_date_has_the_day_on_which_it_was_written_and_says_so(
    tmp_path: Path,
) -> None:
    path = tmp_path / "capture.txt"
    path.write_text(f"23:00:00.000000 {SYN}\n01:00:00.000000 {SYN}\n")
    os.utime(path, (NOON // 1_000_000 + 7200, NOON // 1_000_000 + 7200))  # 02:00
    made, state = whole(path.read_text(), str(path))
    assert [time - NOON for time in made.packets["time"]] == [-3_600_000_000, 3_600_000_000]
    assert any("written" in note for note in state.notes)


def test_date_and_zone_are_those_that_the_user_tells() -> None:
    told = Told(zone="Europe/Berlin", date=date(2026, 10, 25))
    text = f"01:30:00.000000 {SYN}\n02:30:00.000000 {SYN}\n03:30:00.000000 {SYN}\n1780000000.000000 {SYN}\n"
    ((read, state),) = reads(Block(NAME, text.encode(), 0, 1, True), State(), told)
    # The hour from two to three comes twice on that day: its first one is meant.
    assert read.packets["time"].cast(pl.Datetime("us")).dt.hour().to_list()[:3] == [23, 0, 2]
    assert read.packets["time"][3] == 1_780_000_000_000_000
    assert [note.split(": ")[1] for note in state.notes] == [
        "tells times without a date; the first day is from --date"
    ]
    spring = f"2026-03-29 02:30:00.000000 {SYN}\n2026-03-29 03:00:00.000000 {SYN}\n"
    ((read, _),) = reads(Block(NAME, spring.encode(), 0, 1, True), State(), told)
    assert [told.utc(time) for time in (1774751400000000, 1774753200000000)] == read.packets[
        "time"
    ].to_list()


def test_an_impossible_time_rejects_its_record_only() -> None:
    made, _ = whole(
        f"2026-02-30 01:00:00.000000 {SYN}\n2026-02-28 25:00:00.000000 {SYN}\n2026-02-28 01:00:00.000000 {SYN}\n"
    )
    assert made.packets.height == 1
    assert made.faults["fault"].unique().to_list() == ["tells no time between 1970 and 2100"]


FORMS = [
    ("TCP without -v: IP bytes from all printed parts", f"{SYN}", {"flags": "S", "seq": 7, "size": 60, "payload": 0, "window": 100}),
    ("data", f"{DATA}", {"seq": 1, "end": 11, "ack": 5, "payload": 10, "size": 50}),
    ("an unknown option leaves the size open", SYN.replace("mss 1460", "zot 5"), {"size": None, "payload": 0}),
    ("-q", "IP 10.0.0.1.4000 > 10.0.0.2.80: tcp 10", {"payload": 10, "flags": None, "size": None}),
    ("before 4.0", "IP 10.0.0.1.4000 > 10.0.0.2.www: S 5:5(0) win 9 <mss 1460,nop>", {"dport": 80, "size": 48, "flags": "S", "seq": 5}),
    ("an acknowledgement before 4.0", "IP 10.0.0.1.4000 > 10.0.0.2.80: . ack 5 win 9", {"payload": 0, "size": 40, "ack": 5, "flags": "."}),
    ("names of hosts and services", "IP www.example.com.https > pc-7.lan.4000: Flags [.], ack 5, win 9, length 0", {"src_name": "www.example.com", "sport": 443, "dst_name": "pc-7.lan", "src": None}),
    ("DNS prints its length in parentheses", "IP 10.0.0.1.4000 > 10.0.0.2.53: 77+ A? a (9). (28)", {"payload": 28, "size": 56, "application": "dns"}),
    ("a DNS message that was cut has no length", "IP 10.0.0.1.4000 > 10.0.0.2.53: 77+ A? a.[|domain]", {"payload": None, "size": None}),
    ("NTP", "IP 10.0.0.1.123 > 10.0.0.2.123: NTPv4, Client, length 48", {"payload": 48, "application": "ntp"}),
    ("a decoder without length", "IP 10.0.0.1.161 > 10.0.0.2.161:  C=public GetRequest(28) .1.3", {"payload": None, "number": 17}),
    ("ICMP echo", "IP 10.0.0.1 > 10.0.0.2: ICMP echo request, id 3, seq 4, length 64", {"icmp_type": 8, "icmp_id": 3, "icmp_seq": 4, "size": 84, "payload": 56}),
    ("ICMP unreachable", "IP 10.0.0.1 > 10.0.0.2: ICMP 10.0.0.2 udp port 9 unreachable, length 36", {"icmp_type": 3, "icmp_code": 3, "size": 56}),
    ("ICMPv6 behind extension headers", "IP6 fe80::1 > ff02::16: HBH ICMP6, multicast listener report v2, 1 group record(s), length 28", {"icmp_type": 143, "number": 58, "size": None}),
    ("an address in canonical form", "IP6 2001:DB8:0:0::1.443 > ::ffff:10.0.0.1.80: Flags [.], ack 5, win 9, length 0", {"src": "2001:db8::1", "dst": "10.0.0.1"}),
    ("-e with VLANs", "aa:bb:cc:dd:ee:01 > ff:ff:ff:ff:ff:ff, ethertype 802.1Q-QinQ (0x88a8), length 78: vlan 200, p 0, ethertype 802.1Q (0x8100), vlan 7, p 0, ethertype IPv4 (0x0800), " + UDP[3:], {"vlans": [200, 7], "src_mac": "AA-BB-CC-DD-EE-01", "payload": 33}),
    ("-i any", f"eth0  Out {UDP}", {"interface": "eth0", "way": "Out"}),
    ("-i any -e", "wg0   In  ifindex 3 ethertype IPv4 (0x0800), length 81: " + UDP[3:], {"interface": "wg0", "way": "In", "src": "10.0.0.1"}),
    ("-v", "IP (tos 0x0, ttl 64, id 9, offset 0, flags [DF], proto UDP (17), length 61)\n    " + UDP[3:], {"ip_id": 9, "size": 61, "lines": 2}),
    ("-v of IPv6", "IP6 (hlim 1, next-header UDP (17) payload length: 41) fe80::1.5 > fe80::2.6: [udp sum ok] UDP, length 33", {"size": 81, "payload": 33, "bad": False}),
    ("-v: a decoder without length, by IP's", "IP (tos 0x0, ttl 64, id 9, offset 0, flags [DF], proto UDP (17), length 61)\n    10.0.0.1.161 > 10.0.0.2.161:  { SNMPv2c C=x }", {"payload": 33}),
    ("a wrong checksum", "IP (tos 0x0, ttl 1, id 9, offset 0, flags [DF], proto TCP (6), length 40)\n    10.0.0.1.5 > 10.0.0.2.6: Flags [.], cksum 0x1 (incorrect -> 0x2), ack 1, win 2, length 0", {"bad": True}),
    ("the first fragment", "IP (tos 0x0, ttl 64, id 9, offset 0, flags [+], proto UDP (17), length 1500)\n    10.0.0.1.5 > 10.0.0.2.6: UDP, length 3000", {"fragment": 0, "more": True, "sport": 5}),
    ("a later fragment has no ports", "IP (tos 0x0, ttl 64, id 9, offset 1480, flags [none], proto UDP (17), length 520)\n    10.0.0.1 > 10.0.0.2: ip-proto-17", {"fragment": 1480, "more": False, "sport": None, "number": 17}),
    ("a cut TCP header", "IP 10.0.0.1.5 > 10.0.0.2.6: Flags [S], seq 5, win 9, [|tcp]", {"payload": None, "notes": ["truncated"]}),
    ("SCTP", "IP 10.0.0.1.5 > 10.0.0.2.6: sctp (1) [INIT] [init tag: 5]", {"number": 132, "dport": 6}),
    ("IGMP", "IP 10.0.0.1 > 224.0.0.22: igmp v3 report, 1 group record(s)", {"number": 2, "transport": "igmp"}),
    ("a protocol by its number", "IP 10.0.0.1 > 10.0.0.2: ip-proto-253 20", {"number": 253, "transport": "253"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"), [one[1:] for one in FORMS], ids=[one[0] for one in FORMS]
)
def test_every_form_of_packet(text: str, expected: dict[str, Any]) -> None:
    (row,) = rows(f"01:02:03.000004 {text}\n")
    assert {name: row[name] for name in expected} == expected


INNER = [
    ("IP in IP", "IP 1.0.0.1 > 1.0.0.2: IP 10.0.0.1.5 > 10.0.0.2.6: UDP, length 33", [(4, 81), (17, 61)]),
    ("GRE", "IP 1.0.0.1 > 1.0.0.2: GREv0, length 65: " + UDP, [(47, 85), (17, 61)]),
    ("VXLAN", "IP 1.0.0.1.5 > 1.0.0.2.4789: VXLAN, flags [I] (0x08), vni 5\n" + UDP, [(17, None), (17, 61)]),
    ("ICMP quotes a packet that is none of its own", "IP 1.0.0.1 > 1.0.0.2: ICMP 1.0.0.2 udp port 5 unreachable, length 36\n\tIP (tos 0x0, ttl 64, id 9, offset 0, flags [DF], proto UDP (17), length 61)\n    " + UDP[3:], [(1, 56)]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"), [one[1:] for one in INNER], ids=[one[0] for one in INNER]
)
@pytest.mark.parametrize("time", ["01:02:03.000004 ", ""], ids=["timed", "untimed"])
def test_inner_packets_are_rows_of_their_own(
    text: str, expected: list[tuple[int, int | None]], time: str
) -> None:
    made = rows(f"{time}{text}\n{time}{UDP}\n")
    assert [(row["number"], row["size"]) for row in made[:-1]] == expected
    assert [row["depth"] for row in made] == [*range(len(expected)), 0]


FRAMES = [
    ("ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28", "arp", "10.0.0.1", "10.0.0.2"),
    ("ARP, Reply 10.0.0.2 is-at aa:bb:cc:dd:ee:ff, length 28", "arp", "10.0.0.2", None),
    ("STP 802.1d, Config, Flags [none], bridge-id 8001.aa, length 42", "stp", None, None),
    ("IP  [header length 16 < 20] (invalid)", "ip", None, None),
    ("\n\t0x0000:  4242 0300", "unknown", None, None),
]


@pytest.mark.parametrize(("text", "protocol", "src", "dst"), FRAMES)
def test_what_is_no_flow_is_a_frame(
    text: str, protocol: str, src: str | None, dst: str | None
) -> None:
    made, _ = whole(f"01:02:03.000004 {text}\n")
    (row,) = made.frames.to_dicts()
    assert (row["protocol"], row["src"], row["dst"]) == (protocol, src, dst)
    assert made.packets.is_empty()
    assert made.faults.is_empty()


REJECTS = [
    ("IP 10.0.0.1.4000 > 10.0.0.2.80: Flags [S], seq 7, w", "ends within TCP's header"),
    ("IP 10.0.0.1.4000 > 10.0.", "ends before both addresses are told"),
    ("IP 10.0.0.1.4000 > 10.0.0.2.99999: UDP, length 3", "99999 is not a port (0 to 65535)"),
    ("hello world", "no packet that is known here: 'hello world'"),
]


@pytest.mark.parametrize(("text", "reason"), REJECTS)
def test_what_cannot_be_read_is_a_reject_and_harms_nothing_else(text: str, reason: str) -> None:
    made, _ = whole(f"01:02:03.000004 {SYN}\n01:02:03.000004 {text}\n01:02:03.000004 {SYN}\n")
    assert made.faults["fault"].to_list() == [reason]
    assert made.packets.height == 2


def test_comments_trailers_and_lines_of_others_are_told_apart() -> None:
    made, state = whole(
        "tcpdump: verbose output suppressed, use -v for full protocol decode\n"
        "listening on eth0, link-type EN10MB (Ethernet), snapshot length 262144 bytes\n"
        f"01:02:03.000004 {SYN}\nsomebody typed this\n01:02:03.000005 {DATA}\n^C\n2 packets captured\n"
        "9 packets received by filter\n7 packets dropped by kernel\n"
    )
    assert (made.packets.height, made.comments) == (2, 6)
    assert made.faults["raw"].to_list() == ["somebody typed this"]
    assert any("dropped" in note for note in state.notes)


def test_a_packet_as_text_may_hold_anything_but_a_beginning() -> None:
    dump = "E..<*.@.@....W\n..g...P.o. ....\n\nHTTP/1.1 200 OK\n3 lines\n"
    made, _ = whole(f"01:02:03.000004 {DATA}\n{dump}01:02:03.000005 {DATA}\n{dump}")
    assert made.packets["lines"].to_list() == [6, 6]
    assert made.faults.is_empty()


OPTIONS = [
    ("mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7", 20), ("nop,nop,sack 2 {1:2}{3:4}", 20),
    ("mss 1460", 4), ("nop,nop,TS val 1 ecr 2,nop,nop,sack 1 {1:2}", 24), ("mptcp 12 capable v0 {0x1}", 12),
    ("tfo  cookie 0011223344556677,nop,nop", 12), ("unknown-69 0x1234,eol", 8), ("zot", None),
    ("sack 4 {,sack 4 {", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "size"), OPTIONS)
def test_the_length_of_options(text: str, size: int | None) -> None:
    assert options_length(text) == size


def test_utf_16_and_colours_are_read() -> None:
    plain = parse(Tcpdump(), MIXED.encode(), path=NAME)
    for data in (MIXED.encode("utf-16"), MIXED.replace("IP ", "\x1b[31mIP\x1b[0m ").encode()):
        made = parse(Tcpdump(), data, path=NAME)
        assert made.events["source.ip"].equals(plain.events["source.ip"])
        assert made.rejects.height == plain.rejects.height


def test_what_a_run_remembers_is_json_and_comes_back() -> None:
    form = Tcpdump()
    first, rest = MIXED.encode()[:400], MIXED.encode()[400:]
    cut = first.rfind(b"\n") + 1
    first, rest = first[:cut], first[cut:] + rest
    _, state = form.parse(Block(NAME, first, 0, 1, False), form.begin("tcpdump.packet"))
    assert form.restored(form.saved(state)) == state


OTHERS = [
    "2026-11-21 10:00:00.123456 INFO started\n2026-11-21 10:00:01.123456 IP address changed\n",
    "#separator \\x09\n", "tcp ESTAB 0 0 10.0.0.1:22 10.0.0.2:4000\n", '{"ts": 1}\n', "IP is a protocol\n", "",
]  # fmt: skip


@pytest.mark.parametrize("text", OTHERS)
def test_other_logs_are_not_taken_for_tcpdump(text: str) -> None:
    assert Tcpdump().sniff(text.encode(), "x") is None


@pytest.mark.parametrize("line", [SYN, DATA, UDP, *(form[1].split("\n")[0] for form in FORMS)])
def test_a_text_is_known_by_its_content(line: str) -> None:
    data = f"01:02:03.000004 {line}\n".encode()
    known = [form.name for form in formats() if form.sniff(data, "x")]
    assert known[:1] == ["tcpdump"]


def connwatch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "connwatch.cli", *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_replay_stores_packets_and_says_what_time_it_takes(tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.write_text(MIXED)
    store = ["--store", str(tmp_path / "store")]
    done = connwatch("replay", str(path), *store)
    assert done.returncode == 0, done.stderr
    shown = done.stdout + done.stderr
    assert "without a date; the first day is from the file's name" in " ".join(shown.split())
    assert "1 line" in shown or "rejects" in shown
    found = connwatch("search", "source.ip: 10.0.0.1", *store)
    assert "10.0.0.2" in found.stdout
