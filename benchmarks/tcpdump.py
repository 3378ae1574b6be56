"""Text of tcpdump beside a plain Python reader of it: `python -m benchmarks.tcpdump`.

The loop only captures the fields of lines with one compiled pattern; connwatch's packets have typed
columns, addresses that were checked, times, IP sizes and the books of what could not be read. Both
are measured in turns, by the clock on the wall and in processor time; the best of each counts.
"""

from __future__ import annotations

import argparse
import random
import re
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.table import Table

from connwatch.contracts import Block
from connwatch.ingest.tcpdump.text import State, reads

_BLOCK = 4 << 20
_HEAD = r"\(tos (\S+), ttl (\d+), id (\d+), offset (\d+), flags \[([^\]]*)\], proto (\S+) \((\d+)\), length (\d+)\)\s+"
_BODY = (
    r"(?:(\S+)\.(\d+) > (\S+)\.(\d+): (?:Flags \[([^\]]*)\](?:, cksum (\S+) \((\w+)\))?(?:, seq (\d+)(?::(\d+))?)?"
    r"(?:, ack (\d+))?(?:, win (\d+))?(?:, options \[([^\]]*)\])?, length (\d+)|UDP, length (\d+)|.* \((\d+)\)$)|"
    r"(\S+) > (\S+): ICMP echo (\w+), id (\d+), seq (\d+), length (\d+))"
)


def connections(packets: int) -> Iterator[tuple[int, str, str, str, int]]:
    """Packets: µs, source, destination, body, IP length. Connections of a few or many segments, a
    tenth of them unanswered attempts; a sixth of all packets is DNS, UDP and ICMP."""
    draw = random.Random(7)
    now, made = 1_780_000_000_000_000, 0
    while made < packets:
        client, port = (
            f"10.1.{draw.randrange(8)}.{draw.randrange(1, 255)}",
            draw.randrange(32768, 61000),
        )
        server = f"192.0.2.{draw.randrange(1, 255)}"
        a, b = f"{client}.{port}", f"{server}.443"
        stamp = draw.randrange(1 << 30)
        first = draw.randrange(1 << 32)
        kind = draw.random()
        exchange = [
            (
                a,
                b,
                f"Flags [S], seq {first}, win 64240, options [mss 1460,sackOK,TS val {stamp} ecr 0,nop,wscale 7], length 0",
                60,
            )
        ]
        if kind < 0.2:
            exchange = [
                (
                    f"{client}.{port}",
                    f"{server}.53",
                    f"{draw.randrange(65536)}+ A? host{draw.randrange(40)}.example.com. (36)",
                    64,
                ),
                (
                    f"{server}.53",
                    f"{client}.{port}",
                    f"{draw.randrange(65536)} 1/0/0 A 203.0.113.{draw.randrange(255)} (52)",
                    80,
                ),
            ]
        elif kind < 0.25:
            exchange = [
                (client, server, f"ICMP echo request, id {port}, seq {n}, length 64", 84)
                for n in range(4)
            ]
        elif kind < 0.3:
            exchange = [
                (a, b, f"UDP, length {size}", size + 28)
                for size in draw.choices(range(30, 1200), k=12)
            ]
        elif kind < 0.9:
            exchange.append(
                (
                    b,
                    a,
                    f"Flags [S.], seq {draw.randrange(1 << 32)}, ack {first + 1}, win 65160, options [mss 1460,sackOK,TS val {stamp} ecr {stamp},nop,wscale 7], length 0",
                    60,
                )
            )
            sent = 1
            for _ in range(draw.choice((3, 6, 12, 30, 80))):
                size = draw.choice((0, 0, 517, 1448, 1448, draw.randrange(1, 1448)))
                span = f"seq {sent}:{sent + size}, " if size else ""
                flags = "P." if 0 < size < 1448 else "."
                ends = (b, a) if size else (a, b)
                exchange.append(
                    (
                        *ends,
                        f"Flags [{flags}], {span}ack {sent}, win 501, options [nop,nop,TS val {stamp} ecr {stamp}], length {size}",
                        52 + size,
                    )
                )
                sent += size
        for source, target, body, size in exchange:
            now += draw.randrange(200)
            yield now, source, target, body, size
            made += 1


def _clock(now: int) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(now // 1_000_000)) + f".{now % 1_000_000:06}"


def _plain(now: int, source: str, target: str, body: str, size: int) -> str:
    return f"{_clock(now)} IP {source} > {target}: {body}\n"


def _dated(now: int, source: str, target: str, body: str, size: int) -> str:
    return f"{time.strftime('%Y-%m-%d', time.gmtime(now // 1_000_000))} {_plain(now, source, target, body, size)}"


def _linked(now: int, source: str, target: str, body: str, size: int) -> str:
    return f"{now // 1_000_000}.{now % 1_000_000:06} 44:f4:77:0f:ea:49 > 4c:72:b9:7c:b5:b7, ethertype IPv4 (0x0800), length {size + 14}: {source} > {target}: {body}\n"


def _wordy(now: int, source: str, target: str, body: str, size: int) -> str:
    name, number = (
        ("TCP", 6)
        if body.startswith("Flags")
        else ("ICMP", 1)
        if body.startswith("ICMP")
        else ("UDP", 17)
    )
    checked = body.replace("], ", "], cksum 0x4d53 (correct), ", 1) if number == 6 else body
    return f"{_clock(now)} IP (tos 0x0, ttl 64, id {now % 65536}, offset 0, flags [DF], proto {name} ({number}), length {size})\n    {source} > {target}: {checked}\n"


FORMS: tuple[tuple[str, Callable[[int, str, str, str, int], str], re.Pattern[str]], ...] = (
    ("tcpdump -nn", _plain, re.compile(rf"(\S+) IP {_BODY}")),
    ("tcpdump -nn -tttt", _dated, re.compile(rf"(\S+ \S+) IP {_BODY}")),
    (
        "tcpdump -nn -e -tt",
        _linked,
        re.compile(rf"(\S+) (\S+) > (\S+), ethertype (\S+) \((\S+)\), length (\d+): {_BODY}"),
    ),
    ("tcpdump -nn -v", _wordy, re.compile(rf"(\S+) IP {_HEAD}{_BODY}")),
)


def packets_of(data: bytes) -> int:
    """How many packets are read, in blocks as a replay has them."""
    state, made, position, line = State(), 0, 0, 1
    while position < len(data):
        end = data.rfind(b"\n", position, position + _BLOCK) + 1
        block = Block(
            "capture-2026-05-28.txt", data[position:end], position, line, end == len(data)
        )
        for read, after in reads(block, state):
            made, state = made + read.packets.height, after
        position, line = end, line + block.lines
    return made


def loop(pattern: re.Pattern[str], data: bytes) -> int:
    """How many records the pattern captures the fields of."""
    found = []
    for record in data.decode().replace("\n    ", " ").splitlines():
        match = pattern.match(record)
        if match is not None:
            found.append(match.groups())
    return len(found)


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """On the wall, and of processors."""
    begun, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begun, time.process_time() - used


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--packets", type=int, default=300_000)
    options.add_argument("--times", type=int, default=3)
    chosen = options.parse_args()
    table = Table("text", "packets/s", "Python loop", "times as fast", "in processor time")
    for name, form, pattern in FORMS:
        made = [form(*packet) for packet in connections(chosen.packets)]
        data = "".join(made).encode()
        if not packets_of(data) == loop(pattern, data) == len(made):
            raise SystemExit(
                f"{name}: {packets_of(data)} packets, {loop(pattern, data)} matches of {len(made)}"
            )
        ours, theirs = [], []
        for _ in range(chosen.times):
            ours.append(seconds(lambda: packets_of(data)))  # noqa: B023  called here
            theirs.append(seconds(lambda: loop(pattern, data)))  # noqa: B023
        (wall, processor), (loop_wall, loop_processor) = (
            [min(times) for times in zip(*both, strict=True)] for both in (ours, theirs)
        )
        table.add_row(
            name,
            f"{len(made) / wall:,.0f}",
            f"{len(made) / loop_wall:,.0f}",
            f"{loop_wall / wall:.1f}",
            f"{loop_processor / processor:.1f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
