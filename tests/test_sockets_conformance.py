"""Real tables of sockets, compared with the answers beside them: /proc/net of the same second, and
what jc makes of the same text. The table of agreement is printed (`-s`)."""

from __future__ import annotations

import ipaddress
import json
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from connwatch.contracts import Block, Parsed
from connwatch.ingest.formats import formats

STATES = {
    1: "established", 2: "syn_sent", 3: "syn_recv", 4: "fin_wait1", 5: "fin_wait2", 6: "time_wait",
    7: "unconnected", 8: "close_wait", 9: "last_ack", 10: "listen", 11: "closing",
}  # fmt: skip
#: where jc reads something else, and why that is not followed: file, field -> how many, reason
EXPLAINED = {
    ("centos-7.7/netstat-l", "state"): (1, "jc keeps a raw socket's 7, which is unconnected"),
    ("centos-7.7/netstat-sudo-aeep", "state"): (
        1,
        "jc keeps a raw socket's 7, which is unconnected",
    ),
    ("centos-7.7/netstat-sudo-lnp", "state"): (
        1,
        "jc keeps a raw socket's 7, which is unconnected",
    ),
}

End = tuple[str, int]
Socket = tuple[str, str, int, str, int, str | None]


def parsed(path: Path) -> Parsed:
    data = path.read_bytes()
    for one in formats():
        if dataset := one.sniff(data[:65536], path.name):
            made, _ = one.parse(Block(path.name, data, 0, 1, True), one.begin(dataset))
            assert made.lines == len(data.splitlines())
            assert made.lines == made.record_lines + made.rejects.height + made.comments
            return made
    raise AssertionError(f"{path} is of no known format")


def kernel(folder: Path) -> Iterator[Socket]:
    """Sockets of /proc/net, read with nothing that is tested here."""
    for name in ("tcp", "tcp6", "udp", "udp6"):
        for line in (folder / f"proc_net_{name}.txt").read_text().splitlines()[1:]:
            words = line.split()
            ends: list[End] = []
            for text in words[1:3]:
                address, port = text.split(":")
                parts = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
                ends.append(
                    (
                        str(ipaddress.ip_address(struct.pack(f"<{len(parts)}I", *parts))),
                        int(port, 16),
                    )
                )
            yield (name.rstrip("6"), *ends[0], *ends[1], STATES[int(words[3], 16)])


def shown(made: Parsed) -> Counter[Socket]:
    """The same of what was read: local and peer, whichever is the source."""
    found: Counter[Socket] = Counter()
    for row in made.events.to_dicts():
        if row["network.transport"] not in ("tcp", "udp"):
            continue
        source = row["source.ip"], row["source.port"]
        destination = row["destination.ip"], row["destination.port"]
        local, peer = (
            (source, destination) if row["socket.role"] == "client" else (destination, source)
        )
        anyone = "::" if ":" in (local[0] or "") else "0.0.0.0"
        found[
            row["network.transport"], *local, peer[0] or anyone, peer[1] or 0, row["socket.state"]
        ] += 1
    return found


def test_every_table_of_a_host_agrees_with_its_kernel(data: Path) -> None:
    folder = data / "sockets" / "linux_live_set_a"
    truth = Counter(kernel(folder))
    table = Table("file", "sockets", "in /proc/net", "beside it")
    for path in sorted(folder.iterdir()):
        made = parsed(path)
        assert made.rejects.is_empty(), path.name
        if path.name.endswith((".plain.txt", ".l.txt")):
            continue  # names of hosts in place of addresses
        found = shown(made)
        known = truth
        if "tan_state" in path.name:  # ss leaves the column out
            known = Counter((*one[:5], None) for one in truth.elements())
        extra = found - known
        table.add_row(
            path.name, str(found.total()), str((found & known).total()), str(extra.total())
        )
        assert not extra, path.name
        if ".tan." in path.name and "busybox" not in path.name:
            assert found == Counter({one: n for one, n in truth.items() if one[0] == "tcp"}), (
                path.name
            )
        if path.name.startswith("proc_net_") and path.stem[9:] in ("tcp", "tcp6", "udp", "udp6"):
            assert found.total() == made.events.height
    Console(width=120).print(table)


def _jc(record: dict[str, Any]) -> dict[str, Any]:
    """A record of jc in our words, as far as it says something."""
    told: dict[str, Any] = {}
    names = {
        "recv_q": "socket.recv_queue", "send_q": "socket.send_queue", "pid": "process.pid",
        "user": "user.name", "program_name": "process.name",
    }  # fmt: skip
    for name, column in names.items():
        if record.get(name) is not None:
            told[column] = record[name]
    if "opts" in record:
        users = record["opts"].get("process_id", {})
        told["process.pid"] = int(next(iter(users))) if users else None
        told["user.id"] = record["opts"].get("uid_number")
        told["socket.cookie"] = record["opts"].get("cookie")
    local = record.get("local_address")
    if local and record.get("local_port") and record.get("path") is None:
        told["local"] = (local, str(record["local_port"]))
    if record.get("state"):
        told["state"] = record["state"]
    return told


def _ours(row: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """The same values of an event, in the form that they have there."""
    made: dict[str, Any] = {}
    for name in told:
        if name == "local":
            text = row["socket.local"]
            address, port = told[name]
            whole = any(
                f"{address}{scope}{mark}{port}" == text
                for mark in ":. "
                for scope in ("", f"%{row['socket.interface']}")
            )
            made[name] = told[name] if whole or text == f"[{address}]:{port}" else text
        elif name == "state":
            word = told[name].lower().replace("-", "_")
            same = {
                "estab": "established",
                "listening": "listen",
                "unconn": "unconnected",
                "connected": "established",
            }
            made[name] = (
                told[name] if row["socket.state"] == same.get(word, word) else row["socket.state"]
            )
        else:
            made[name] = row[name]
    return made


JC = [
    "centos-7.7/netstat-l", "centos-7.7/netstat-p", "centos-7.7/netstat-sudo-aeep",
    "centos-7.7/netstat-sudo-lnp", "centos-7.7/netstat", "centos-7.7/ss-sudo-a",
    "ubuntu-18.04/ss-sudo-tulpen", "freebsd12/netstat-Aa", "freebsd12/netstat-AanP",
    "freebsd12/netstat-an", "generic/netstat-old", "osx-10.14.6/netstat-An", "osx-10.14.6/netstat",
    "windows/windows-10/netstat-an", "windows/windows-10/netstat-aon",
]  # fmt: skip


def test_every_table_agrees_with_jc(data: Path) -> None:
    table = Table("file", "ours", "jc's", "rejected", "fields that differ")
    for name in JC:
        made = parsed(data / "sockets" / "jc" / f"{name}.out")
        records = json.loads((data / "sockets" / "jc" / f"{name}.json").read_text())
        records = [one for one in records if one.get("kind") != "Registered kernel control module"]
        rows = made.events.to_dicts()
        differ: Counter[str] = Counter()
        assert len(rows) + made.rejects.height == len(records), name
        lost = {line - 1 for line in made.rejects["line"]}
        kept = [
            one
            for number, one in enumerate(records)
            if not lost or number < len(records) - len(lost)
        ]
        for row, record in zip(rows, kept, strict=True):
            told = _jc(record)
            ours = _ours(row, told)
            for key, value in told.items():
                if ours[key] != value:
                    differ[key] += 1
                    print(name, row["event.sequence"], key, ours[key], value)
        table.add_row(
            name, str(len(rows)), str(len(records)), str(made.rejects.height), str(dict(differ))
        )
        for key, number in differ.items():
            assert EXPLAINED.get((name, key), (0, ""))[0] == number, (name, key, number)
    Console(width=120).print(table)
