"""Real texts of tcpdump, compared with what tshark says of the same packets. The table of agreement
is printed (`-s`)."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pcap_truth import packets as truth_of
from rich.console import Console
from rich.table import Table

from connwatch.contracts import Block
from connwatch.ingest.tcpdump.text import State, is_tcpdump, reads

#: our column and tshark's, for IP packets
FIELDS = {
    "src": ("ip.src", "ipv6.src"),
    "dst": ("ip.dst", "ipv6.dst"),
    "number": ("ip.proto",),
    "sport": ("tcp.srcport", "udp.srcport"),
    "dport": ("tcp.dstport", "udp.dstport"),
    "size": ("ip.len",),
    "payload": ("tcp.len", "udp.length"),
    "flags": ("tcp.flags",),
    "window": ("tcp.window_size_value",),
    "ip_id": ("ip.id",),
    "icmp_type": ("icmp.type",),
    "icmp_code": ("icmp.code",),
}
LETTERS = {"F": 1, "S": 2, "R": 4, "P": 8, ".": 16, "U": 32, "E": 64, "W": 128, "e": 256}
#: tcpdump's own tests: what cannot be read of them, and why
REJECTED = {
    "olsr-oobr-2.out": 2,  # "[Invalid header: caplen==0]" in place of a time
    "tcp-auth-heapoverflow.out": 2,  # TCP's options end without its length, and are not called cut
}


def content(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def read(path: Path) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Packets, frames and faults of a file, its books balanced."""
    data = content(path)
    packets, frames, faults = [], [], []
    for made, _ in reads(Block(path.name, data, 0, 1, True), State()):
        assert made.lines == made.record_lines + made.faults.height + made.comments
        packets.append(made.packets)
        frames.append(made.frames)
        faults.append(made.faults)
    lines = data.count(b"\n") + (data[-1:] not in (b"\n", b""))
    assert sum(len(part) for part in faults) <= lines
    return pl.concat(packets), pl.concat(frames), pl.concat(faults)


def told(row: dict[str, str], column: str) -> int | str | None:
    """tshark's value of the outer packet in our form."""
    text = next((row[name] for name in FIELDS[column] if row[name]), "").split(",")[0]
    if not text:
        return None
    if column in ("src", "dst"):
        return text
    value = int(text, 0)
    return value - 8 if column == "payload" and row["udp.length"] else value


def ours(row: dict[str, Any], column: str) -> int | str | None:
    value = row[column]
    if column == "flags" and value is not None:
        return 0 if value == "none" else sum(LETTERS[one] for one in value)
    return value


@pytest.mark.parametrize(
    "name",
    [
        "esnet_masscan_tcp_0_1000",
        "esnet_nmap_80_vanilla",
        "esnet_one_way_all_flags",
        "ncsa_445_scan",
        "ncsa_port_scan",
        "slips_arp_scan",
        "slips_cc_2",
        "stopddos_amp_syn_sameport",
    ],
)
def test_packets_agree_with_tshark(data: Path, name: str) -> None:
    folder = data / "attacks" / name
    with (folder / "packets.tshark.tsv").open() as file:
        truth = list(csv.DictReader(file, delimiter="\t"))
    table = Table("file", *FIELDS)
    for path in sorted(folder.glob("tcpdump.*")):
        packets, frames, faults = read(path)
        assert faults.is_empty(), path.name
        outer = packets.filter(pl.col("depth") == 0)
        lines = pl.concat([outer.select("line"), frames.select("line")]).to_series().sort()
        assert len(lines) == len(truth), path.name
        number = {line: index for index, line in enumerate(lines)}
        same: Counter[str] = Counter()
        silent: Counter[str] = Counter()
        for row in outer.to_dicts():
            other = truth[number[row["line"]]]
            for column in FIELDS:
                mine, theirs = ours(row, column), told(other, column)
                if mine == theirs:
                    same[column] += theirs is not None
                elif mine is None:
                    silent[column] += 1
                else:
                    same[column] += 0
                    assert (mine, theirs) == (theirs, theirs), (
                        path.name,
                        row["line"],
                        column,
                        row["raw"],
                    )
        table.add_row(
            path.name,
            *(f"{same[one]}" + (f" ({silent[one]} null)" if silent[one] else "") for one in FIELDS),
        )
    Console(width=200).print(table)


#: pairs of a capture and its texts that `make test` reads, one of each kind of packet and link
_QUICK = (
    "ftp__ipv6",
    "mixed-vlan-mpls",
    "pppoe",
    "tunnels__gre-pptp",
    "q-in-q",
    "ntp__misordered-ntp",
)
#: fields of the outer packet that the bytes tell
TRUE = [*FIELDS]


@pytest.mark.parametrize(
    "chosen", [_QUICK, pytest.param((), marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_packets_agree_with_the_bytes_of_their_captures(
    data: Path, chosen: tuple[str, ...]
) -> None:
    same: dict[str, Counter[str]] = {}
    for folder in sorted((data / "tcpdump" / "zeek_pairs").iterdir()):
        capture = folder / "trace.pcap"
        if not capture.exists() or (chosen and not folder.name.startswith(chosen)):
            continue
        truth = truth_of(capture)
        for path in sorted(folder.glob("tcpdump.*")):
            assert is_tcpdump(content(path)[:65536]), path
            packets, frames, faults = read(path)
            assert faults.is_empty(), path
            if truth is None:
                continue
            outer = packets.filter(pl.col("depth") == 0)
            lines = sorted([*outer["line"], *frames["line"]])
            assert len(lines) == len(truth), path
            number = {line: index for index, line in enumerate(lines)}
            counts = same.setdefault(path.name.removesuffix(".gz"), Counter())
            for row in outer.to_dicts():
                known = truth[number[row["line"]]]
                for column in TRUE if known else ():
                    mine, theirs = ours(row, column), (known or {}).get(column)
                    assert mine in (theirs, None), (path, column, mine, theirs, row["raw"])
                    counts[column] += mine is not None
                    counts[f"{column} null"] += mine is None and theirs is not None
    table = Table("text", *TRUE)
    for name, counts in sorted(same.items()):
        told = (f"{counts[one]} ({counts[f'{one} null']} null)" for one in TRUE)
        table.add_row(name, *(one.replace(" (0 null)", "") for one in told))
    Console(width=240).print(table)
    assert sum(counts["src"] for counts in same.values()) > (600 if chosen else 14_000)
    # Only where the text does not say it: IP's identification without -v, flags and sizes with -q.
    for name, counts in same.items():
        assert not any(counts[f"{one} null"] for one in ("src", "dst", "number", "sport", "dport"))
        if "_q_" not in name:
            assert not counts["flags null"] + counts["window null"], name
        if "_v" in name:
            assert not counts["size null"] + counts["ip_id null"], name


def test_every_text_of_tcpdumps_own_tests_is_read(data: Path) -> None:
    """Every printer, damaged packets, old forms: rejects only where they are known."""
    files = sorted((data / "tcpdump" / "tcpdump_tests").glob("*.out"))
    for path in files:
        if not content(path):
            continue
        assert is_tcpdump(content(path)[:65536]), path.name
        _, _, faults = read(path)
        assert faults.height == REJECTED.get(path.name, 0), (path.name, faults.to_dicts()[:2])
    assert len(files) > 300


@pytest.mark.parametrize("folder", ["any_interface", "legacy"])
def test_old_versions_and_the_any_interface_are_read(data: Path, folder: str) -> None:
    for path in sorted((data / "tcpdump" / folder).glob("*.txt")):
        if path.name == "README.txt":
            continue
        packets, frames, faults = read(path)
        assert faults.is_empty(), path.name
        if "sll2" in path.name:
            assert packets["interface"].to_list() == ["ifb0"] * packets.height
        if "_e_" in path.name or "sll2" in path.name:
            assert packets["way"].is_in(["In", "Out", "B", "M", "P"]).all(), path.name
        if folder == "any_interface":
            truth = truth_of(
                path.with_suffix("")
                .with_suffix(".pcap")
                .with_name(".".join(path.name.split(".")[:2]) + ".pcap")
            )
            assert truth is not None
            assert packets.filter(pl.col("depth") == 0).height + frames.height == len(truth)
