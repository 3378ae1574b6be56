"""Threat indicators at size: `python -m benchmarks.indicators [--rows N]`.

A list of 1 M addresses and 100 k networks is read and indexed, and the batches of a made-up log are
matched against it; what that costs is set against a replay of the same log without any rules, which
is the hardest measure there is, run in turn. Whole replays with a rule that has the list are run in
turn with them too: with a list that few records are on, since alerts cost what they cost, whichever
rule gives them.
"""

from __future__ import annotations

import argparse
import csv
import random
import tempfile
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

import polars as pl
from rich.console import Console
from rich.table import Table

from benchmarks.__main__ import replayed, timed
from benchmarks.traffic import write_tsv
from connwatch.detectors.indicators import Fields, Indicators, allowed, match, read_list
from connwatch.ingest.files import discover
from connwatch.ingest.formats import formats
from connwatch.ingest.merge import merged
from connwatch.ingest.streams import streams

ADDRESSES: Final = 1_000_000
NETWORKS: Final = 100_000
#: first octets of the addresses outside in the log; of a list that fits life, one entry in this many
#: stays there
_TRAFFIC: Final = range(23, 113)
_STAYING: Final = 500
_RULE: Final = """title: Listed
logsource: {category: network, service: connection}
analytic: {type: indicators, lists: [list.txt]}
"""
#: 2001::/16, of which the addresses of IPv6 are drawn
_SIX: Final = 0x2001 << 112


def entries(*, six: bool = False, names: bool = False) -> list[str]:
    """The list: addresses and networks of 16 to 30 (IPv6: 32 to 64) bits, always the same."""
    draw = random.Random(7)
    if names:
        return [
            f"host{draw.randrange(10**9)}.zone{draw.randrange(10**5)}.example"
            for _ in range(ADDRESSES)
        ]
    if six:
        texts = [
            str(IPv6Address(_SIX + draw.getrandbits(112))) for _ in range(ADDRESSES + NETWORKS)
        ]
        lengths = (32, 64)
    else:
        texts = [str(IPv4Address(draw.getrandbits(32))) for _ in range(ADDRESSES + NETWORKS)]
        lengths = (16, 30)
    networks = [f"{text}/{draw.randint(*lengths)}" for text in texts[ADDRESSES:]]
    return texts[:ADDRESSES] + networks


def write_table(path: Path, texts: list[str]) -> Path:
    """The same with more to say of each, in quotes."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(["indicator", "valid_from", "valid_until", "description", "confidence"])
        for number, text in enumerate(texts):
            start = f"2023-11-{number % 28 + 1:02}T00:00:00Z"
            writer.writerow([text, start, "2024-01-01T00:00:00Z", f"seen {number}", number % 101])
    return path


def write_lines(path: Path, texts: list[str]) -> Path:
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


def beside(texts: list[str]) -> list[str]:
    """The list with nearly all of what lies among the log's addresses put elsewhere."""
    moved = []
    for number, text in enumerate(texts):
        first, rest = text.split(".", 1)
        away = int(first) in _TRAFFIC and number % _STAYING
        moved.append(f"{int(first) + 100}.{rest}" if away else text)
    return moved


def write_rule(folder: Path) -> Path:
    """A folder with a rule and its list."""
    folder.mkdir()
    (folder / "rule.yml").write_text(_RULE, encoding="utf-8")
    write_lines(folder / "list.txt", beside(entries()))
    return folder


def batches(log: Path) -> list[pl.DataFrame]:
    """The events of a log as a replay hands them to detectors."""
    made, _ = streams(discover([str(log)], formats()).sources)
    return list(merged(made, lambda *_: None, lambda *_: None))


def scattered(events: pl.DataFrame) -> pl.DataFrame:
    """The events with another destination each: nothing to gain from repetition."""
    number = pl.int_range(pl.len(), dtype=pl.UInt64).hash(3) % 2**32
    octets = [(number // 256**place % 256).cast(pl.String) for place in range(4)]
    return events.with_columns(pl.concat_str(octets, separator=".").alias("destination.ip"))


def loading(folder: Path, table: Table) -> Indicators:
    """Seconds to read and index each kind of list; gives the plain one."""
    files = {
        "load 1.1 M IPv4, plain text": write_lines(folder / "four", entries()),
        "load 1.1 M IPv4, quoted CSV with validity": write_table(folder / "table", entries()),
        "load 1.1 M IPv6, plain text": write_lines(folder / "six", entries(six=True)),
        "load 1 M names": write_lines(folder / "names", entries(names=True)),
    }
    made: list[Indicators] = []
    for what, path in files.items():
        seconds = timed(lambda path=path: made.append(Indicators.of(read_list(path).entries)))
        table.add_row(what, f"{seconds:.2f} s", "", "5 s")
    return made[0]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--times", type=int, default=3)
    chosen = options.parse_args()
    table = Table("what", "seconds", "of a replay", "asked for")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        listed = loading(folder, table)
        log, rules = folder / "conn.log", folder / "rules"
        rules.mkdir()
        write_tsv(log, chosen.rows)
        events = batches(log)
        whole = pl.concat(events)
        works: dict[str, Callable[[], object]] = {
            f"match {chosen.rows:,} events, {len(events)} batches": lambda: [
                match(e, listed) for e in events
            ],
            "all destinations different": partial(match, scattered(whole), listed),
            "allow-list": partial(allowed, whole, listed, Fields(addresses=("source.ip",))),
        }
        replays, costs = [], {what: float("inf") for what in works}
        with_list, ruled = [], write_rule(folder / "ruled")
        for attempt in range(chosen.times):
            replays.append(replayed(log, rules, folder / f"store{attempt}")[0])
            with_list.append(replayed(log, ruled, folder / f"ruled{attempt}")[0])
            for what, work in works.items():
                costs[what] = min(costs[what], timed(work))
    table.add_row(
        f"replay of {chosen.rows:,} events, no rules", f"{min(replays):.2f} s", "1.00", ""
    )
    table.add_row(
        "the same with a rule that has the list",
        f"{min(with_list):.2f} s",
        f"{min(with_list) / min(replays):.2f}",
        "1.20",
    )
    for what, seconds in costs.items():
        table.add_row(what, f"{seconds:.2f} s", f"{seconds / min(replays):.2f}", "0.20")
    Console().print(table)


if __name__ == "__main__":
    main()
