"""The bytes that tcpdump shows of packets: exact, told apart from headers, and never of others."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from pcap_truth import frames as frames_of
from pcap_truth import packets as truth_of
from support import parse
from test_tcpdump import NAME, whole

from connwatch.contracts import Block
from connwatch.ingest.tcpdump.dumps import dumps
from connwatch.ingest.tcpdump.formats import TcpdumpPackets
from connwatch.ingest.tcpdump.payload import KEPT, PAYLOAD, payloads
from connwatch.ingest.tcpdump.text import State, reads

#: bytes of the link header in front of IP, of `-xx`
LINK = 14
SHORT = {name.rpartition(".")[2]: name for name in PAYLOAD}


def carried(text: str) -> list[dict[str, Any]]:
    """What the packets of a text carry, by short names."""
    packets = whole(text)[0].packets
    return (
        payloads(packets).select(pl.col(name).alias(key) for key, name in SHORT.items()).to_dicts()
    )


def dump(data: bytes, *, text: bool = False) -> list[str]:
    """As tcpdump prints it, from its documentation: a letter for each byte that is printed and no
    blank."""
    lines = []
    for place in range(0, len(data), 16):
        part = data[place : place + 16]
        shown = "".join(f" {part[at : at + 2].hex()}" for at in range(0, len(part), 2))
        letters = "".join(chr(one) if 0x20 < one < 0x7F else "." for one in part)
        lines.append(
            f"\t0x{place:04x}: {shown:40}  {letters}" if text else f"\t0x{place:04x}: {shown}"
        )
    return lines


def tcp(payload: bytes, options: bytes = b"") -> bytes:
    """An IPv4 packet from 10.0.0.1.4000 to 10.0.0.2.80, checksums left out."""
    header = struct.pack(">HHIIBBHHH", 4000, 80, 7, 5, (20 + len(options)) << 2, 0x18, 100, 0, 0)
    size = 40 + len(options) + len(payload)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, size, 9, 0, 64, 6, 0, b"\x0a\0\0\1", b"\x0a\0\0\2")
    return ip + header + options + payload


def line(size: int) -> str:
    return f"01:02:03.000004 IP 10.0.0.1.4000 > 10.0.0.2.80: Flags [P.], seq 7, ack 5, win 100, length {size}"


def record(payload: bytes, *, link: bytes = b"", text: bool = False) -> list[str]:
    return [line(len(payload)), *dump(link + tcp(payload), text=text)]


def one(lines: list[str]) -> dict[str, Any]:
    (found,) = carried("\n".join(lines) + "\n")
    return found


@settings(max_examples=examples(100))
@given(
    st.lists(
        st.tuples(st.binary(max_size=200), st.binary(min_size=14, max_size=22), st.booleans()),
        min_size=1,
        max_size=8,
    ),
    st.booleans(),
)
def test_any_payload_is_what_was_printed(
    made: list[tuple[bytes, bytes, bool]], linked: bool
) -> None:
    lines = [
        shown
        for payload, link, text in made
        for shown in record(payload, link=b"\xff" + link if linked else b"", text=text)
    ]
    found = carried("\n".join(lines) + "\n")
    assert [bytes.fromhex(row["hex"]) for row in found] == [payload for payload, _, _ in made]
    for row, (payload, _, _) in zip(found, made, strict=True):
        assert row["bytes"] == len(payload)
        assert row["flaws"] is None
        shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in payload)
        assert row["text"] == shown


def capture(path: Path, payloads_: list[bytes]) -> None:
    """A capture file of Ethernet frames."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1))
        for payload in payloads_:
            frame = b"\x02\0\0\0\0\1\x02\0\0\0\0\2\x08\0" + tcp(payload, b"\1\1\1\1")
            file.write(struct.pack("<IIII", 1_700_000_000, 0, len(frame), len(frame)) + frame)


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="no tcpdump here")
@settings(max_examples=examples(10), deadline=None)
@given(st.lists(st.binary(max_size=3_000), min_size=1, max_size=20))
def test_a_real_tcpdump_is_read_to_the_byte(
    tmp_path_factory: pytest.TempPathFactory, made: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("capture") / "a.pcap"
    capture(path, made)
    for option in ("-x", "-X", "-xx", "-XX"):
        command = ["tcpdump", "-nn", "-tt", option, "-r", str(path)]
        shown = subprocess.run(command, capture_output=True, check=True).stdout.decode()
        found = carried(shown)
        assert [row["hex"] for row in found] == [payload[:KEPT].hex() for payload in made], option
        assert [row["bytes"] for row in found] == [len(payload) for payload in made]
        limit = [["limit"] if len(payload) > KEPT else None for payload in made]
        assert [row["flaws"] for row in found] == limit


def content(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()


#: what tcpdump itself shows from behind the beginning of the IP header: PPP without its address
_SHIFTED = "ppp__quic-interop-retry.pcap"


def pairs(data: Path, options: str) -> Iterator[tuple[Path, pl.DataFrame, list[bytes], list[Any]]]:
    """Texts with their packets, and the frames and the truth of each."""
    for path in sorted((data / "tcpdump" / "zeek_pairs").glob(f"*/tcpdump.*_{options}*")):
        source = path.parent / "trace.pcap"
        truth = truth_of(source) if source.exists() else None
        if truth is None:
            continue
        read = [made for made, _ in reads(Block(NAME, content(path).encode(), 0, 1, True), State())]
        packets = pl.concat([made.packets for made in read]).filter(pl.col("depth") == 0)
        lines = sorted([*packets["line"], *(at for made in read for at in made.frames["line"])])
        number = {at: nth for nth, at in enumerate(lines)}
        frames = frames_of(source)
        rows = [number[at] for at in packets["line"]]
        yield path, packets, [frames[row] for row in rows], [truth[row] for row in rows]


def test_bytes_are_those_of_the_captures(data: Path) -> None:
    same: Counter[str] = Counter()
    for path, packets, frames, truth in pairs(data, "[xX]"):
        shown = dumps(packets["raw"])
        assert not shown.damaged.any()
        told = payloads(packets).rename({name: key for key, name in SHORT.items()}).to_dicts()
        for row, (frame, known, found) in enumerate(zip(frames, truth, told, strict=True)):
            begin, size = int(shown.start[row]), int(shown.size[row])
            bytes_ = shown.data[begin : begin + size].tobytes()
            assert bytes_ == frame if "_XX_" in path.name else frame.endswith(bytes_), path
            same["dumps"] += 1
            if path.parent.name == _SHIFTED:
                continue
            assert found["hex"] is not None, path
            if known and "carried" in known:
                assert found["hex"] == known["carried"][:KEPT].hex(), (path, row)
                assert found["bytes"] == known["payload"], (path, row)
                same["payloads"] += 1
    print(dict(same))
    assert same["dumps"] > 2_500
    assert same["payloads"] > 2_000


def test_text_is_that_of_the_captures_but_for_carriage_returns(data: Path) -> None:
    same: Counter[str] = Counter()
    for path, packets, _, truth in pairs(data, "A"):
        told = payloads(packets)[SHORT["text"]]
        for known, text in zip(truth, told, strict=True):
            if known and "carried" in known and text is not None:
                left = re.sub(rb"\r(?=\n|\Z)", b"", known["carried"])
                expected = "".join(chr(one) if 0x20 <= one < 0x7F else "." for one in left)
                assert text.rstrip(".") == expected[:KEPT].rstrip("."), path
                same["texts"] += 1
    print(dict(same))
    assert same["texts"] > 700


GET = b"GET /etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    ("change", "left", "flaws"),
    [
        (lambda lines: [*lines[:4], *lines[5:]], 8, ["damaged"]),
        (lambda lines: [lines[0], *lines[2:]], None, ["damaged"]),
        (lambda lines: [*lines[:4], lines[4].replace("0x0030", "0x0050"), *lines[5:]], 8, ["damaged"]),
        (lambda lines: [*lines[:4], lines[4][:20], *lines[5:]], 12, ["damaged"]),
        (lambda lines: [*lines[:4], lines[4][:13] + "zz" + lines[4][15:], *lines[5:]], 9, ["damaged"]),
        (lambda lines: lines[:4], 8, ["captured"]),
        (lambda lines: lines[:3], 0, ["captured"]),
        (lambda lines: [*lines[:-1], lines[-1][:-1]], 36, ["damaged"]),
    ],
    ids=[
        "a line is missing",
        "the first line is missing",
        "a place that does not follow",
        "a line that is cut",
        "a letter that is no digit",
        "the snap length",
        "a header that is cut",
        "half a byte at the end",
    ],
)  # fmt: skip
def test_what_is_right_of_a_wrong_dump_is_kept(
    change: Any, left: int | None, flaws: list[str]
) -> None:
    found = one(change(record(GET)))
    assert found["flaws"] == flaws
    assert found["hex"] == (None if left is None else GET[:left].hex())
    assert found["bytes"] == (None if left is None else len(GET))


def test_bytes_of_others_are_not_a_packets() -> None:
    """What a decoder shows of its own (-vv), in front of the packet's dump or without one."""
    own = ["\t  a decoder's words", *dump(b"\x45\0 not a packet")]
    head, *rest = record(GET)
    assert one([head, *own])["flaws"] == ["other"]
    assert one([head, *own])["hex"] is None
    assert one([head, *own, *rest])["hex"] == GET.hex()


def six(extensions: bytes, kind: int, payload: bytes) -> bytes:
    """An IPv6 UDP datagram from fe80::1 to fe80::2 behind extension headers; kind: of the first."""
    udp = struct.pack(">HHHH", 4000, 5000, 8 + len(payload), 0)
    ends = b"".join(b"\xfe\x80" + bytes(13) + bytes([last]) for last in (1, 2))
    size = len(extensions) + len(udp) + len(payload)
    return struct.pack(">IHBB", 0x6000_0000, size, kind, 64) + ends + extensions + udp + payload


@pytest.mark.parametrize("shown", [100, 61, 56, 48, 40])
def test_extension_headers_are_no_payload(shown: int) -> None:
    extensions = bytes([60, 0, *range(6)]) + bytes([17, 0, *range(6)])  # hop by hop, options
    head = "01:02:03.000004 IP6 fe80::1.4000 > fe80::2.5000: UDP, length 30"
    found = one([head, *dump(six(extensions, 0, b"v" * 30)[:shown])])
    assert found["hex"] == "76" * max(min(shown - 64, 30), 0)
    assert found["bytes"] == 30
    assert found["flaws"] == (None if shown == 100 else ["captured"])


def test_padding_is_no_payload_and_names_are_no_hindrance() -> None:
    head, *_ = record(b"abc")
    padded = dump(bytes(14) + tcp(b"abc") + bytes(9))
    assert one([head, *padded])["hex"] == b"abc".hex()
    named = head.replace("10.0.0.1", "a.lan").replace("10.0.0.2.80", "b.lan.http")
    assert one([named, *padded])["hex"] == b"abc".hex()


def test_text_alone_is_not_exact_and_says_so() -> None:
    letters = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in tcp(b""))
    shown = GET.decode().replace("\r", "")
    found = one([line(len(GET)), letters + shown])
    assert found["hex"] is None
    assert found["flaws"] == ["text"]
    assert found["bytes"] == len(GET)
    assert found["text"].rstrip(".") == "GET /etc/passwd HTTP/1.1.Host: a"
    link = [line(len(GET)), "..E......" + letters + "\n" + "E" + letters[1:] + shown]
    assert one(link)["text"] is None
    assert one([line(len(GET)), letters.replace("E", "F") + shown])["text"] is not None
    cut = letters + shown[:-2] + "\u00e9"
    assert one([line(len(GET)), cut])["text"].startswith("GET /etc")
    other = letters[:-1] + "x" + shown
    assert one([line(len(GET)).replace("10.0.0.2", "10.0.120.2"), other])["text"] is None


@settings(max_examples=examples(100))
@given(
    st.lists(
        st.one_of(
            st.sampled_from(record(GET)),
            st.text(st.sampled_from("\t 0x:12fE.\u00e9"), max_size=60),
            st.builds(
                "\t0x{}:  {}".format, st.text("0f", max_size=8), st.text("4f x", max_size=50)
            ),
        ),
        max_size=12,
    )
)
def test_any_lines_are_read_and_nothing_is_made_up(lines: list[str]) -> None:
    head, *rest = record(GET)
    for found in carried("\n".join([head, *lines, *rest]) + "\n"):
        assert found["hex"] is None or GET.hex().startswith(found["hex"])
    for found in carried("\n".join([head, *lines]) + "\n"):
        if found["hex"]:
            assert found["flaws"] or found["hex"] == GET.hex()


def test_records_of_one_line_and_inner_packets_have_none() -> None:
    assert one([line(9)]) == {"hex": None, "text": None, "bytes": None, "flaws": None}
    text = (
        "01:02:03.000004 IP 1.0.0.1.5 > 1.0.0.2.4789: VXLAN, flags [I] (0x08), vni 5\n"
        "IP 10.0.0.1.4000 > 10.0.0.2.5000: UDP, length 33\n"
    )
    assert [row["bytes"] for row in carried(text)] == [None, None]


def test_blocks_cut_anywhere_tell_the_same() -> None:
    text = "\n".join([*record(GET), *record(b"x" * 100, text=True), line(9)]) + "\n"
    once = parse(TcpdumpPackets(), text.encode(), path=NAME).events
    for cut in range(1, text.count("\n")):
        again = parse(TcpdumpPackets(), text.encode(), (cut,), NAME).events
        assert again.select(*PAYLOAD).equals(once.select(*PAYLOAD)), cut


RULE = """
title: The list of accounts is asked for
id: 6f5e8b8e-6c0e-4a53-93c5-0c8a7a8ed0aa
status: test
description: A request for the list of accounts.
level: high
logsource: {product: tcpdump, service: packet}
detection:
  asked: {connwatch.payload.text|contains: '/etc/passwd'}
  condition: asked
"""


def run(*words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "connwatch.cli", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def test_payloads_are_stored_searched_and_matched(tmp_path: Path) -> None:
    log, store, rule = tmp_path / NAME, str(tmp_path / "store"), tmp_path / "rule.yml"
    log.write_text("\n".join([*record(GET), *record(b"other"), line(9)]) + "\n")
    rule.write_text(RULE)
    run("replay", str(log), "--format", "tcpdump-packets", "--store", store, "--rules", str(rule))
    found = run(
        "search", "connwatch.payload.text: *passwd*", "--store", store, "--format", "ndjson"
    )
    (event,) = [json.loads(row) for row in found.splitlines()]
    assert event["connwatch"]["payload"]["hex"] == GET.hex()
    alerts = run("alerts", "list", "--store", store)
    assert "The list of accounts" in alerts
