"""Socket tables beside a plain Python reader of the same text: `python -m benchmarks.sockets`.

Both make typed records with both ends, the process and an id; connwatch's are events of its schema with
roles, direction and Community ID, which the loop leaves out, as it does the addresses of /proc/net.
"""

from __future__ import annotations

import argparse
import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.table import Table

from benchmarks.__main__ import timed
from connwatch.contracts import Block
from connwatch.ingest.enrich import enrich
from connwatch.ingest.formats import FORMATS

#: sockets of one snapshot
_SNAPSHOT = 1_000
_BLOCK = 4 << 20
_SS = re.compile(
    r'(\w+)\s+(\S+)\s+(\d+)\s+(\d+)\s+(\S+):(\S+)\s+(\S+):(\S+)(?:\s+users:\(\("(.*?)",pid=(\d+),fd=(\d+)\)\))?(.*)'
)
_NETSTAT = re.compile(
    r"(\w+)\s+(\d+)\s+(\d+)\s+(\S+):(\S+)\s+(\S+):(\S+)\s+([A-Z_]+)?\s*(?:(\d+)/(\S+))?"
)
_PROC = re.compile(
    r"\s*\d+: (\w+):(\w+) (\w+):(\w+) (\w\w) (\w+):(\w+) \S+ \S+\s+(\d+)\s+\d+ (\d+)"
)

_HEADS = {
    "ss": "Netid State  Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n",
    "netstat": "Active Internet connections (servers and established)\n"
    "Proto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name    \n",
    "proc-net": "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n",
}


def _ss(i: int) -> str:
    return f'tcp   ESTAB      0      0      10.1.{i // 250 % 250}.{i % 250 + 1}:22    192.0.2.{i % 200 + 1}:{1024 + i % 60000} users:(("sshd",pid={i % 30000 + 1},fd=4))\n'


def _info(i: int) -> str:
    return (
        _ss(i)[:-1]
        + f" ino:{i + 1} sk:{i + 1:x} cgroup:/user.slice <->\n\t ts sack cubic wscale:7,7 rto:204 rtt:0.077/0.035 ato:40 "
        "mss:1448 cwnd:10 bytes_sent:2416 bytes_acked:2416 bytes_received:716 segs_out:14 segs_in:27 lastsnd:564 lastrcv:564\n"
    )


def _netstat(i: int) -> str:
    return f"tcp        0      0 {f'10.1.{i // 250 % 250}.{i % 250 + 1}:22':<23} {f'192.0.2.{i % 200 + 1}:{1024 + i % 60000}':<23} ESTABLISHED {f'{i % 30000 + 1}/sshd':<20}\n"


def _proc(i: int) -> str:
    return f"{i:4}: {i % 250:02X}{i // 250 % 250:02X}010A:0016 {i % 200 + 1:02X}0200C0:{1024 + i % 60000:04X} 01 00000000:00000000 02:000AFC61 00000000  1000        0 {i + 1} 1 0 20 4 30 10 -1\n"


TABLES: tuple[tuple[str, str, Callable[[int], str], re.Pattern[str]], ...] = (
    ("ss -tnp", "ss", _ss, _SS),
    ("ss -tnpei", "ss", _info, _SS),
    ("netstat -tnp", "netstat", _netstat, _NETSTAT),
    ("/proc/net/tcp", "proc-net", _proc, _PROC),
)


def table_text(kind: str, row: Callable[[int], str], sockets: int) -> bytes:
    """Snapshots, one a second."""
    parts = []
    for start in range(0, sockets, _SNAPSHOT):
        second = start // _SNAPSHOT
        parts.append(
            f"2026-11-21 {second // 3600 % 24:02}:{second // 60 % 60:02}:{second % 60:02}Z\n{_HEADS[kind]}"
        )
        parts += map(row, range(start, min(start + _SNAPSHOT, sockets)))
    return "".join(parts).encode()


def connwatch(kind: str, data: bytes) -> int:
    """How many events the format makes, in blocks as a replay has them."""
    form = FORMATS[kind]("")
    state = form.begin(f"{kind}.socket")
    made, position, line = 0, 0, 1
    while position < len(data):
        end = data.rfind(b"\n", position, position + _BLOCK) + 1
        block = Block("table", data[position:end], position, line, end == len(data))
        parsed, state = form.parse(block, state)
        made += enrich(parsed.events, None).height
        position, line = end, line + block.lines
    return made


def loop(pattern: re.Pattern[str], data: bytes) -> int:
    """The same by hand: a record for each line that matches."""
    made = []
    for line in _joined(data.decode().splitlines()):
        found = pattern.match(line)
        if found is None:
            continue
        values = list(found.groups())
        for place, text in enumerate(values[:-1]):
            if text and text.isdigit():
                values[place] = int(text)
            elif text and text.count(".") == 3:
                values[place] = str(ipaddress.ip_address(text))
        rest = dict(one.split(":", 1) for one in str(values[-1]).split() if ":" in one)
        made.append((hashlib.blake2b(line.encode(), digest_size=16).hexdigest(), values, rest))
    return len(made)


def _joined(lines: list[str]) -> Iterator[str]:
    held = ""
    for line in lines:
        if line.startswith("\t"):
            held += line
            continue
        if held:
            yield held
        held = line
    yield held


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sockets", type=int, default=300_000)
    options.add_argument("--times", type=int, default=3)
    chosen = options.parse_args()
    table = Table("table", "sockets/s", "Python loop", "times as fast")
    for name, kind, row, pattern in TABLES:
        data = table_text(kind, row, chosen.sockets)
        ours = [timed(lambda: connwatch(kind, data)) for _ in range(chosen.times)]  # noqa: B023  called here
        theirs = [timed(lambda: loop(pattern, data)) for _ in range(chosen.times)]  # noqa: B023
        rates = [chosen.sockets / min(seconds) for seconds in (ours, theirs)]
        table.add_row(name, f"{rates[0]:,.0f}", f"{rates[1]:,.0f}", f"{rates[0] / rates[1]:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
