"""The shipped samples: the two Zeek files are one, agree with the capture, and ORIGIN.md has them all."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from conftest import ROOT
from support import ordered, replayed

from connwatch.detectors.ruleset import load_rules
from connwatch.pipeline import bundled_rules

FOLDER = ROOT / "sample_logs"
INCIDENT = FOLDER / "incident"


def test_text_and_json_hold_the_same_connections() -> None:
    text, failed, _ = ordered([INCIDENT / "conn.log"])
    as_json, also_failed, counts = ordered([INCIDENT / "conn.json.log"])
    assert not failed
    assert not also_failed
    assert counts["rejects"] == 0
    own = ["event.id", "log.offset", "event.sequence", "log.file.path"]
    assert text.drop(own).equals(as_json.drop(own))


def test_packets_and_connections_agree() -> None:
    records = [json.loads(line) for line in (INCIDENT / "conn.json.log").read_text().splitlines()]
    lines = (INCIDENT / "tcpdump.txt").read_text().splitlines()
    ours = re.compile(r"^\S+ \S+ IP6? (\S+)\.(\d+) > (\S+)\.(\d+): (?!ICMP)")
    packets = sum(
        bool(ours.match(line))
        for line in lines
        if "ICMP" not in line and "hop-by-hop" not in line.lower()
    )
    counted = sum(r["orig_pkts"] + r["resp_pkts"] for r in records if r["proto"] != "icmp")
    assert packets == counted
    echoes = sum("ICMP echo" in line for line in lines)
    assert echoes == sum(r["orig_pkts"] + r["resp_pkts"] for r in records if r["proto"] == "icmp")


def test_every_file_has_its_origin() -> None:
    origin = (FOLDER / "ORIGIN.md").read_text(encoding="utf-8")
    for path in INCIDENT.iterdir():
        assert f"incident/{path.name}" in origin
    assert "not Zeek's own output" in origin
    assert sum(path.stat().st_size for path in INCIDENT.iterdir()) < 1_500_000


def test_the_incident_is_found(tmp_path: Path) -> None:
    _, alerts = replayed([INCIDENT / "conn.log"], tmp_path / "store", load_rules([bundled_rules()]))
    messages = " ".join(alert["message"] for alert in alerts)
    assert "on the back-door port 31337" in messages
    assert "on the back-door port 4444" in messages
    assert re.search(r"192\.168\.56\.10 sent 25\d{6} bytes to 203\.0\.113\.99", messages)


pytestmark = pytest.mark.source
