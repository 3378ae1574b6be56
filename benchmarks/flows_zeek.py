"""Flows that are put together from tcpdump's text, beside Zeek's of the same packets:
`python -m benchmarks.flows_zeek`.

Reads the pairs in `$CONNWATCH_DATA/tcpdump/zeek_pairs` (or the folder that is given), and prints
per field how many values are equal, not told by the text, or different, and why they differ.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from connwatch.contracts import Block
from connwatch.ingest.formats import FORMATS

#: field of conn.log -> column
FIELDS = {
    "conn_state": "zeek.connection.state",
    "history": "zeek.connection.history",
    "duration": "event.duration",
    "orig_bytes": "zeek.connection.orig_bytes",
    "resp_bytes": "zeek.connection.resp_bytes",
    "missed_bytes": "zeek.connection.missed_bytes",
    "orig_pkts": "source.packets",
    "resp_pkts": "destination.packets",
    "orig_ip_bytes": "source.bytes",
    "resp_ip_bytes": "destination.bytes",
}
#: logs of runs that leave packets out, or that decide by more than packets
_FILTERED = ("dynamic-filter", "read-trace-with-filter", "request-analyzer", "conn-worked")
#: capture -> why Zeek has something else
REASONS = {
    "http__zeek-image-post-1080-8000-x.pcap": "roles turned by Zeek's list of local networks",
    "tcp__http-on-irc-port-missing-syn.pcapng": "roles turned by what HTTP's analyzer read",
    "ntp__misordered-ntp.pcap": "roles turned by what NTP's analyzer read",
    "globus-url-copy.pcap": "Zeek stopped looking at the bulk transfer",
    "ftp__fake-long-commands.pcap": "X: Zeek's analyzer gave up",
    "tcp__retransmit-fast009.pcap": "payload that the capture cut is a gap for Zeek",
    "tcp__retransmit-timeout.pcapng": "Zeek's timers run late when one packet ends many flows",
    "wikipedia.pcap": "Zeek without its scripts knows no ports of services",
    "chksums__localhost-bad-chksum.pcap": "Zeek without its scripts knows no ports of services",
    "tunnels__Teredo.pcap": "Zeek ends flows of DNS after 10 s",
    "tunnels__gtp__gtp1_gn_normal_incl_fragmentation.pcap": "fragments that never became whole",
}
#: capture -> why tcpdump's text does not show all flows
HIDDEN = {
    **dict.fromkeys(("erspanI.pcap", "erspanII.pcap"), "tcpdump does not print what is in ERSPAN"),
    "pbb.pcap": "tcpdump does not print what is in 802.1ah",
    "tunnels__Teredo.pcap": "tcpdump does not print what is in Teredo; flows of DNS end after 10 s",
    "tunnels__teredo_bubble_with_payload.pcap": "tcpdump does not print what is in Teredo",
    "tunnels__ayiya3.pcap": "tcpdump does not print what is in AYIYA",
    "tunnels__gre-aruba-amsdu.pcap": "tcpdump does not print what is in Aruba's GRE",
    **dict.fromkeys(
        (
            "tunnels__gtp__gtp1_gn_normal_incl_fragmentation.pcap",
            "tunnels__gtp__gtp2_different_udp_port.pcap",
            "tunnels__gtp__gtp7_ipv6.pcap",
        ),
        "tcpdump does not print what is in GTP",
    ),
    **dict.fromkeys(
        ("vntag.pcap", "vntag_vlan_sandwich_clean.pcap"), "tcpdump does not read VN-Tag"
    ),
}


@dataclass
class Agreement:
    """By field: how many values are equal, not told, different. flows: how many were compared.
    missing: flows of Zeek's that the text does not show. different: what was found, and why."""

    equal: Counter[str] = field(default_factory=Counter)
    untold: Counter[str] = field(default_factory=Counter)
    unequal: Counter[str] = field(default_factory=Counter)
    flows: int = 0
    missing: list[tuple[str, str]] = field(default_factory=list)
    different: list[tuple[str, str, str, Any, str]] = field(default_factory=list)

    def __iadd__(self, other: Agreement) -> Agreement:
        self.equal += other.equal
        self.untold += other.untold
        self.unequal += other.unequal
        self.flows += other.flows
        self.missing += other.missing
        self.different += other.different
        return self


def events(path: Path) -> pl.DataFrame:
    """The flows of a text, as events."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    form = FORMATS["tcpdump"]("")
    parsed, _ = form.parse(Block(path.name, data, 0, 1, True), form.begin("tcpdump.connection"))
    return parsed.events.filter(pl.col("event.dataset") == "tcpdump.connection")


def zeek(path: Path) -> list[dict[str, str]]:
    """The rows of a conn.log, by field."""
    names: list[str] = []
    rows = []
    for line in path.read_text(errors="replace").splitlines():
        if line.startswith("#fields"):
            names = line.split("\t")[1:]
        elif not line.startswith("#"):
            rows.append(dict(zip(names, line.split("\t"), strict=True)))
    return rows if "id.orig_h" in names and "conn_state" in names else []


def compare(name: str, shown: pl.DataFrame, logged: list[dict[str, str]]) -> Agreement:
    """Flows of the same capture; those between the same ends in the order in which they began."""
    made = Agreement()
    waiting = defaultdict(list)
    for row in shown.sort("@timestamp", "log.offset").to_dicts():
        waiting[_both(*_ends(row))].append(row)
    for row in logged:
        ends = (row["id.orig_h"], row["id.orig_p"]), (row["id.resp_h"], row["id.resp_p"])
        same = waiting[row["proto"], *_both_of(ends)]
        if not same:
            made.missing.append((name, f"{row['proto']} {ends}"))
            continue
        made.flows += 1
        mine = same.pop(0)
        told = {"originator": _ends(mine)[1][0]}
        wanted: dict[str, Any] = {"originator": ends[0]}
        for one, column in FIELDS.items():
            if one in row:
                told[one], wanted[one] = mine[column], row[one]
        _judge(made, name, told, wanted, tuple(_ends(mine)))
    return made


def _judge(
    made: Agreement, name: str, told: dict[str, Any], wanted: dict[str, Any], flow: Any
) -> None:
    for one, value in told.items():
        text = value if one == "originator" else _text(one, value)
        if text == wanted[one]:
            made.equal[one] += 1
        elif value is None:
            made.untold[one] += 1
        else:
            made.unequal[one] += 1
            made.different.append((name, one, f"{text} {wanted[one]}", flow, REASONS.get(name, "")))


def _text(one: str, value: Any) -> str:
    if value is None:
        return "-"
    return f"{value / 1e9:.6f}" if one == "duration" else str(value)


End = tuple[str, str]


def _ends(row: dict[str, Any]) -> tuple[str, tuple[End, End]]:
    proto = {"ipv6-icmp": "icmp"}.get(row["network.transport"], row["network.transport"])
    ports: tuple[Any, Any] = row["source.port"], row["destination.port"]
    if proto == "icmp":
        ports = row["zeek.connection.icmp.type"], row["zeek.connection.icmp.code"]
    elif proto not in ("tcp", "udp"):
        proto, ports = "unknown_transport", (0, 0)
    return proto, (
        (row["source.ip"] or "", str(ports[0])),
        (row["destination.ip"] or "", str(ports[1])),
    )


def _both(proto: str, ends: tuple[End, End]) -> tuple[Any, ...]:
    return (proto, *_both_of(ends))


def _both_of(ends: tuple[End, End]) -> tuple[End, ...]:
    return tuple(sorted(ends))


def pairs(
    folder: Path, kind: str | None = None
) -> Iterator[tuple[Path, list[dict[str, str]], bool]]:
    """Capture's folder, Zeek's rows, and whether that run looked at checksums; each answer once.
    kind: plain, or exotic-encap."""
    seen = set()
    for entry in json.loads((folder / "MANIFEST.json").read_text()):
        here = folder / entry["dir"]
        for one in entry["baselines"]:
            checked = not any("-C" in word or "-Cr" in word for word in one["cmds"][0].split())
            if (kind and entry["kind"] != kind) or any(
                word in one["baseline"] for word in _FILTERED
            ):
                continue
            rows = zeek(here / one["baseline"])
            key = here.name, json.dumps([[row.get(name) for name in FIELDS] for row in rows])
            if rows and key not in seen:
                seen.add(key)
                yield here, rows, checked


def text_of(folder: Path, options: str) -> Path | None:
    """The text with these options, plain or compressed."""
    for name in (f"tcpdump.{options}.txt", f"tcpdump.{options}.txt.gz"):
        if (folder / name).exists():
            return folder / name
    return None


def agreement(folder: Path, options: str | None = None, kind: str | None = None) -> Agreement:
    """All pairs, with text of these options; None: -v, which shows wrong checksums, where Zeek
    looked at them, else without."""
    made = Agreement()
    for here, rows, checked in pairs(folder, kind):
        wanted = options or ("nn_v_tttt" if checked else "nn_tttt")
        path = text_of(here, wanted)
        if path is not None:
            made += compare(here.name, events(path), rows)
    return made


def table(made: Agreement) -> str:
    """In Markdown."""
    rows = (
        f"| `{one}` | {made.equal[one]} | {made.untold[one]} | {made.unequal[one]} |"
        for one in ("originator", *FIELDS)
    )
    return "\n".join(["| field | equal | not told | different |", "|---|---:|---:|---:|", *rows])


def differences(made: Agreement) -> Counter[tuple[str, str]]:
    """Values that differ, by capture and why."""
    return Counter((name, why or "not explained") for name, *_, why in made.different)


def hidden(made: Agreement) -> Counter[tuple[str, str]]:
    """Flows of Zeek's that are not there, by capture and why."""
    return Counter((name, HIDDEN.get(name, "not explained")) for name, _ in made.missing)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    data = os.environ.get("CONNWATCH_DATA", "")
    options.add_argument("folder", nargs="?", type=Path, default=Path(data) / "tcpdump/zeek_pairs")
    options.add_argument("--kind", choices=("plain", "exotic-encap"))
    options.add_argument("--options", help="those of the text, such as nn_S_tt")
    options.add_argument("--verbose", action="store_true", help="every value that differs")
    chosen = options.parse_args()
    made = agreement(chosen.folder, chosen.options, chosen.kind)
    print(f"{made.flows} flows compared, {len(made.missing)} of Zeek's not shown\n")
    print(table(made))
    for what, counted in (
        ("values that differ", differences(made)),
        ("flows not shown", hidden(made)),
    ):
        print(f"\n| capture | {what} | why |\n|---|---:|---|")
        for (name, why), count in sorted(counted.items()):
            print(f"| `{name}` | {count} | {why} |")
    if chosen.verbose:
        print(*made.missing, *made.different, sep="\n")


if __name__ == "__main__":
    main()
