"""The shipped samples: the two Zeek files are one, agree with the capture, and ORIGIN.md has them all."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import ROOT
from support import ordered, replayed

from connwatch.detectors.ruleset import load_rules
from connwatch.pipeline import bundled_rules

pytestmark = pytest.mark.source

FOLDER = ROOT / "sample_logs"
INCIDENT = FOLDER / "incident"
RECORDS = [json.loads(line) for line in (INCIDENT / "conn.json.log").read_text().splitlines()]

#: bytes of the TCP options that occur, as tcpdump names them
OPTIONS = {"mss": 4, "sackOK": 2, "TS": 10, "nop": 1, "wscale": 3, "eol": 1}
TCP = re.compile(
    r"\S+ \S+ (IP6?) (\S+)\.(\d+) > (\S+)\.(\d+): Flags .*?(?:options \[(.*?)\], )?length (\d+)"
)
UDP = re.compile(r"\S+ \S+ (IP6?) (\S+)\.(\d+) > (\S+)\.(\d+): .*\((\d+)\)$")
ICMP = re.compile(r"\S+ \S+ (IP6?) (\S+) > (\S+): ICMP6?,? (.*?), .*length (\d+)$")
#: what tcpdump calls an ICMP message -> its type and the other that Zeek writes for a port
MESSAGES = {
    ("IP", "echo request"): (8, 0), ("IP", "echo reply"): (0, 8),
    ("IP6", "echo request"): (128, 129), ("IP6", "echo reply"): (129, 128),
    ("IP6", "neighbor solicitation"): (135, 136), ("IP6", "neighbor advertisement"): (136, 135),
}  # fmt: skip

End = tuple[str, int]


def packet(line: str) -> tuple[str, End, End, int, int]:
    """Protocol, sender, receiver, payload bytes and IP bytes of one line of tcpdump."""
    if found := TCP.match(line):
        ip, source, p, destination, q, options, length = found.groups()
        names = re.findall(r"(?:^|,)(\w+)", options or "")
        header = 20 + -(-sum(OPTIONS[name] for name in names) // 4) * 4
        ends = (source, int(p)), (destination, int(q))
        proto, payload = "tcp", int(length)
    elif found := ICMP.match(line):
        ip, source, destination, message, length = found.groups()
        kind, other = MESSAGES[ip, message]
        ends = (source, kind), (destination, other)
        proto, payload, header = "icmp", int(length) - 8, 8
    else:
        found = UDP.match(line)
        assert found, line
        ip, source, p, destination, q, length = found.groups()
        ends = (source, int(p)), (destination, int(q))
        proto, payload, header = "udp", int(length), 8
    return proto, *ends, payload, payload + header + (20 if ip == "IP" else 40)


def test_text_and_json_hold_the_same_records() -> None:
    lines = (INCIDENT / "conn.log").read_text().splitlines()
    header = next(line for line in lines if line.startswith("#fields")).split("\t")[1:]
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    assert len(rows) == len(RECORDS)
    for row, record in zip(rows, RECORDS, strict=True):
        for name, text in zip(header, row, strict=True):
            value = record.get(name)
            if isinstance(value, bool):
                assert text == ("T" if value else "F"), name
            elif isinstance(value, float):
                assert float(text) == value, name
            else:
                assert text == ("-" if value is None else str(value)), name


def test_text_and_json_give_equal_events() -> None:
    text, failed, _ = ordered([INCIDENT / "conn.log"])
    as_json, also_failed, counts = ordered([INCIDENT / "conn.json.log"])
    assert not failed
    assert not also_failed
    assert counts["rejects"] == 0
    own = ["event.id", "log.offset", "event.sequence", "log.file.path"]
    assert text.drop(own).equals(as_json.drop(own))


def test_every_packet_is_counted_in_its_connection() -> None:
    """Packets, payload bytes and IP bytes of each direction of each connection."""
    sums: dict[tuple[str, End, End], Counter[str]] = defaultdict(Counter)
    for line in (INCIDENT / "tcpdump.txt").read_text().splitlines():
        proto, source, destination, payload, size = packet(line)
        sums[proto, source, destination] += Counter(pkts=1, bytes=payload, ip_bytes=size)
    for one in RECORDS:
        orig, resp = (one["id.orig_h"], one["id.orig_p"]), (one["id.resp_h"], one["id.resp_p"])
        for side, ends in (("orig", (orig, resp)), ("resp", (resp, orig))):
            seen = sums.pop((one["proto"], *ends), Counter())
            for count in ("pkts", "ip_bytes", "bytes"):
                if f"{side}_{count}" in one:
                    assert one[f"{side}_{count}"] == seen[count], (one["uid"], side, count)
    assert not sums, "packets of no connection"


def test_records_are_as_zeek_writes_them() -> None:
    uids = [one["uid"] for one in RECORDS]
    assert len(set(uids)) == len(uids)
    assert all(re.fullmatch(r"C[0-9A-Za-z]{17}", uid) for uid in uids)
    ends = [round(one["ts"] + one.get("duration", 0), 6) for one in RECORDS]
    assert ends == sorted(ends)
    assert all(("duration" in one) == ("orig_bytes" in one) for one in RECORDS)


def test_the_socket_tables_show_the_processes() -> None:
    tables = "".join(path.read_text() for path in INCIDENT.glob("ss-*.txt"))
    for pattern in (
        r'ESTAB .*:4444 .*"updater"', r'ESTAB .*:31337 .*"backdoor"', r'ESTAB .*:443 .*"curl"',
        r"SYN-RECV .*:22 .*198\.51\.100\.66",
    ):  # fmt: skip
        assert re.search(pattern, tables), pattern


def test_every_file_has_its_origin() -> None:
    origin = (FOLDER / "ORIGIN.md").read_text(encoding="utf-8")
    for path in INCIDENT.iterdir():
        assert f"incident/{path.name}" in origin
    for path in FOLDER.glob("*.py"):
        assert path.name in origin
    assert "not Zeek's own output" in origin
    assert sum(path.stat().st_size for path in INCIDENT.iterdir()) < 1_500_000


def test_the_incident_is_found(tmp_path: Path) -> None:
    _, alerts = replayed([INCIDENT / "conn.log"], tmp_path / "store", load_rules([bundled_rules()]))
    messages = " ".join(alert["message"] for alert in alerts)
    assert "on the back-door port 31337" in messages
    assert "on the back-door port 4444" in messages
    assert re.search(r"192\.168\.56\.10 sent 25\d{6} bytes to 203\.0\.113\.99", messages)


# -- the tracker ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tracker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("packets_to_conn", FOLDER / "packets_to_conn.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


#: packets as letters, lower case from the responder: S SYN, h SYN-ACK, A ACK, D ten bytes of data,
#: T the same ten once more, W zero window, F FIN, R RST -> history, conn_state, payload bytes
CASES = {
    "ended in the normal way": ("S h A D a d A F f A", "ShADadFf", "SF", (10, 10)),
    "no answer": ("S", "S", "S0", (0, 0)),
    "refused": ("S r", "Sr", "REJ", (0, 0)),
    "half open": ("S h S h", "Sh", "S1", (0, 0)),
    "half-open scan of an open port": ("S h R", "ShR", "RSTO", (0, 0)),
    "given up": ("S R", "SR", "RSTOS0", (0, 0)),
    "aborted by the responder": ("S h A D r", "ShADr", "RSTR", (10, 0)),
    "responder does not close": ("S h A F a", "ShAFa", "S2", (0, 0)),
    "originator does not close": ("S h A f A", "ShAf", "S3", (0, 0)),
    "a FIN probe": ("F", "F", "SH", (0, 0)),
    "a retransmission counts once": ("S h A D T a", "ShADTa", "S1", (10, 0)),
    "the responder speaks first": ("S h A d A", "ShAd", "S1", (0, 10)),
    "a full buffer": ("S h A D w a", "ShADaw", "S1", (10, 0)),
}


@pytest.mark.parametrize(("letters", "history", "state", "payload"), CASES.values(), ids=CASES)
def test_history_and_state(
    tracker: ModuleType, letters: str, history: str, state: str, payload: tuple[int, int]
) -> None:
    flags = {"S": 2, "H": 18, "F": 17, "R": 4}
    ends = (("192.0.2.1", 1000), ("192.0.2.2", 80))
    sent = [0, 0]
    found: list[Any] = []
    for time, letter in enumerate(letters.split()):
        answers, kind = letter.islower(), letter.upper()
        size = 10 if kind in "DT" else 0
        seq = sent[answers] - (10 if kind == "T" else 0)
        sent[answers] = seq + size + (kind in "SHF" and seq == 0)
        source, destination = ends[::-1] if answers else ends
        window = 0 if kind == "W" else 9
        ip = (source, destination, 40 + size, size)
        found.append(tracker.Packet(time, "tcp", *ip, flags.get(kind, 16), seq, window))
    (flow,) = tracker.flows(found)
    assert (flow.history, flow.state) == (history, state)
    assert tuple(side.payload for side in flow.sides) == payload
