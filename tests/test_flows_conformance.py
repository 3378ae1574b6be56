"""Flows of real captures' text, beside Zeek's logs and tshark's tables of the same packets."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import ROOT
from support import parse

from connwatch.ingest.formats import FORMATS

PAGE = ROOT / "docs" / "formats" / "flows.md"
ATTACKS = (
    "esnet_masscan_tcp_0_1000", "esnet_nmap_80_vanilla", "esnet_one_way_all_flags", "ncsa_445_scan",
    "ncsa_port_scan", "slips_arp_scan", "slips_cc_2", "stopddos_amp_syn_sameport",
)  # fmt: skip
End = tuple[str, int]


@pytest.mark.source
def test_the_page_shows_how_far_flows_agree_with_zeek_and_why_not(data: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "benchmarks.flows_zeek", str(data / "tcpdump" / "zeek_pairs")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "not explained" not in made
    assert made in PAGE.read_text(encoding="utf-8"), "run python -m benchmarks.flows_zeek"


def sent(path: Path) -> Counter[tuple[str, End, End, str]]:
    """Packets and IP bytes that one end sent to another, by tshark."""
    found: Counter[tuple[str, End, End, str]] = Counter()
    with path.open(newline="") as text:
        for row in csv.DictReader(text, delimiter="\t"):
            for proto in ("tcp", "udp"):
                if row[f"{proto}.srcport"] and row["ip.src"] and "," not in row["ip.src"]:
                    ends = (
                        (row["ip.src"], int(row[f"{proto}.srcport"])),
                        (row["ip.dst"], int(row[f"{proto}.dstport"])),
                    )
                    found[proto, *ends, "packets"] += 1
                    found[proto, *ends, "bytes"] += int(row["ip.len"])
    return found


def shown(events: pl.DataFrame) -> Counter[tuple[str, End, End, str]]:
    """The same of the flows."""
    found: Counter[tuple[str, End, End, str]] = Counter()
    flows = events.filter(
        pl.col("event.dataset") == "tcpdump.connection",
        pl.col("network.transport").is_in(["tcp", "udp"]),
        ~pl.col("source.ip").str.contains(":"),
    )
    for row in flows.to_dicts():
        source: Any = (row["source.ip"], row["source.port"])
        target: Any = (row["destination.ip"], row["destination.port"])
        for name, ends in (("source", (source, target)), ("destination", (target, source))):
            for what in ("packets", "bytes"):
                found[row["network.transport"], *ends, what] += row[f"{name}.{what}"] or 0
    return found


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_packet_and_no_byte_is_lost_between_text_and_flows(data: Path, attack: str) -> None:
    folder = data / "attacks" / attack
    text = parse(
        FORMATS["tcpdump"](""), (folder / "tcpdump.nn_tttt.txt").read_bytes(), path="dump.txt"
    )
    assert text.lines == text.record_lines + text.rejects.height + text.comments
    assert +shown(text.events) == +sent(folder / "packets.tshark.tsv")
