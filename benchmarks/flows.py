"""Flows from tcpdump's text, beside a Python loop that only captures the fields of its lines:
`python -m benchmarks.flows`.

What the clock on the wall says, and processor time of this process and its threads, the best of
`--times` runs each.
"""

from __future__ import annotations

import argparse
import random
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from connwatch.contracts import Block
from connwatch.detectors.ruleset import RuleSet
from connwatch.ingest.files import discover
from connwatch.ingest.flows.assemble import Assembler, State
from connwatch.ingest.formats import FORMATS, formats
from connwatch.ingest.parsing import each_parsed
from connwatch.ingest.tcpdump.text import State as Text
from connwatch.ingest.tcpdump.text import reads
from connwatch.pipeline import Options, replay
from connwatch.sinks.embedded import EmbeddedStore

_BLOCK = 8 << 20
_FIELDS = re.compile(
    r"(\d+\.\d+) IP6? (\S+)\.(\d+) > (\S+)\.(\d+): (?:Flags \[([^\]]*)\](?:, seq (\d+)(?::(\d+))?)?"
    r"(?:, ack (\d+))?, win (\d+)(?:, options \[([^\]]*)\])?, length (\d+)|UDP, length (\d+)|.*\((\d+)\)$)"
)
_TS = "options [nop,nop,TS val {0} ecr {0}]"


def session(number: int, begin: float, size: int) -> list[tuple[float, str]]:
    """A connection with some payload, and its look-up in DNS."""
    chance = random.Random(number)
    client = f"10.{number % 7}.{number // 250 % 250}.{number % 250 + 1}"
    server = f"198.51.{number % 90}.{number % 240 + 1}"
    port = 1024 + number % 60_000
    there, back = f"{client}.{port} > {server}.443", f"{server}.443 > {client}.{port}"
    first, answer = chance.getrandbits(32), chance.getrandbits(32)
    made = [
        (0.0, f"IP {client}.{port} > 10.0.0.2.53: {number % 65536}+ A? host{number}.example. (33)"),
        (0.01, f"IP 10.0.0.2.53 > {client}.{port}: {number % 65536} 1/0/0 A {server} (49)"),
        (
            0.02,
            f"IP {there}: Flags [S], seq {first}, win 64240, options [mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7], length 0",
        ),
        (
            0.03,
            f"IP {back}: Flags [S.], seq {answer}, ack {(first + 1) % (1 << 32)}, win 65160, options [mss 1460,sackOK,TS val 1 ecr 1,nop,wscale 7], length 0",
        ),
        (0.04, f"IP {there}: Flags [.], ack 1, win 502, {_TS.format(2)}, length 0"),
        (0.05, f"IP {there}: Flags [P.], seq 1:518, ack 1, win 502, {_TS.format(2)}, length 517"),
    ]
    sent = 1
    for turn in range(size):
        when = 0.06 + turn / 100
        made.append(
            (
                when,
                f"IP {back}: Flags [.], seq {sent}:{sent + 1448}, ack 518, win 506, {_TS.format(turn)}, length 1448",
            )
        )
        sent += 1448
        made.append(
            (
                when + 0.005,
                f"IP {there}: Flags [.], ack {sent}, win 501, {_TS.format(turn)}, length 0",
            )
        )
    end = 0.06 + size / 100
    made += [
        (
            end,
            f"IP {there}: Flags [F.], seq 518, ack {sent}, win 501, {_TS.format(9)}, length 0",
        ),
        (
            end + 0.01,
            f"IP {back}: Flags [F.], seq {sent}, ack 519, win 506, {_TS.format(9)}, length 0",
        ),
        (
            end + 0.02,
            f"IP {there}: Flags [.], ack {sent + 1}, win 501, {_TS.format(9)}, length 0",
        ),
    ]
    return [(begin + after, text) for after, text in made]


def attempt(number: int, begin: float) -> list[tuple[float, str]]:
    """A port that is closed."""
    there, back = (
        f"10.9.9.9.{40_000 + number % 20_000} > 192.0.2.7.{number % 65_000 + 1}",
        f"192.0.2.7.{number % 65_000 + 1} > 10.9.9.9.{40_000 + number % 20_000}",
    )
    seq = number * 7919 % (1 << 32)
    return [
        (begin, f"IP {there}: Flags [S], seq {seq}, win 1024, options [mss 1460], length 0"),
        (
            begin + 0.001,
            f"IP {back}: Flags [R.], seq 0, ack {seq + 1}, win 0, length 0",
        ),
    ]


def written(lines: int, kind: str) -> bytes:
    """Text of `tcpdump -nn -tt` in the order of time; kind: sessions, or scan."""
    made: list[tuple[float, str]] = []
    number = 0
    while len(made) < lines:
        begin = 1_795_000_000 + number / 1000
        made += attempt(number, begin) if kind == "scan" else session(number, begin, number % 9 * 2)
        number += 1
    made.sort(key=lambda one: one[0])
    return "".join(f"{when:.6f} {text}\n" for when, text in made[:lines]).encode()


def blocks(data: bytes) -> list[Block]:
    made, position, line = [], 0, 1
    while position < len(data):
        end = data.rfind(b"\n", position, position + _BLOCK) + 1
        made.append(Block("dump.txt", data[position:end], position, line, end == len(data)))
        position, line = end, line + made[-1].lines
    return made


def loop(data: bytes) -> int:
    """What a script does first: the fields of each line, nothing made of them."""
    matches = map(_FIELDS.match, data.decode().splitlines())
    return len([found.groups() for found in matches if found is not None])


def read(data: bytes) -> int:
    state, packets = Text(), 0
    for block in blocks(data):
        for made, after in reads(block, state):
            packets += made.packets.height
            state = after
    return packets


def assembled(data: bytes) -> Callable[[], int]:
    """The assembly alone, of packets that are read already."""
    state, parts = Text(), []
    for block in blocks(data):
        for made, after in reads(block, state):
            parts.append(made.packets)
            state = after

    def work() -> int:
        flows, kept, assembler = 0, State(), Assembler()
        for part in parts:
            done, kept = assembler.assemble(part, kept)
            flows += done.height
        return flows + assembler.finish(kept).height

    return work


def parsed(data: bytes) -> int:
    form = FORMATS["tcpdump"]("")
    every = each_parsed(form, iter(blocks(data)), form.begin(""))
    return sum(made.events.height for made in every)


def stored(data: bytes) -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dump.txt"
        path.write_bytes(data)
        with EmbeddedStore(Path(folder) / "store") as store:
            outcome = replay(discover([str(path)], formats()), RuleSet(()), store, Options())
        return int(outcome.summary()["events"])


def seconds(work: Callable[[], object], times: int) -> tuple[float, float]:
    """On the wall, and of processors; the least of so many runs."""
    wall, processor = [], []
    for _ in range(times):
        begun, used = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - begun)
        processor.append(time.process_time() - used)
    return min(wall), min(processor)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--lines", type=int, default=500_000)
    options.add_argument("--times", type=int, default=3)
    chosen = options.parse_args()
    table = Table("text", "work", "lines/s", "times the loop", "in processor time")
    for kind in ("sessions", "scan"):
        data = written(chosen.lines, kind)
        base = seconds(lambda: loop(data), chosen.times)  # noqa: B023  called here
        works: dict[str, Callable[[], int]] = {
            "Python loop": lambda: loop(data),  # noqa: B023
            "packets": lambda: read(data),  # noqa: B023
            "flows of packets, alone": assembled(data),
            "flows as events": lambda: parsed(data),  # noqa: B023
            "flows stored": lambda: stored(data),  # noqa: B023
        }
        for name, work in works.items():
            took = base if name == "Python loop" else seconds(work, chosen.times)
            table.add_row(
                kind,
                name,
                f"{chosen.lines / took[0]:,.0f}",
                *(f"{ours / theirs:.2f}" for ours, theirs in zip(base, took, strict=True)),
            )
    Console().print(table)


if __name__ == "__main__":
    main()
