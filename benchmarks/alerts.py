"""What alerts cost: `python -m benchmarks.alerts --rows N`.

Ten of a hundred rules fire for each of 250 hosts all the time, so that 2,500 alerts grow in every
batch; the same replay without them, and a bare `polars.read_csv`, stand beside it. As in the other
benchmarks nothing is asserted, each figure is the best of `--times` runs, and these are run in turn.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.__main__ import bare, replayed, timed
from benchmarks.rules import write_rules
from benchmarks.traffic import write_tsv
from connwatch.sinks.embedded import StoreReader

#: whom every tenth rule is about: nobody in the traffic, and everybody
SOURCES = {"none": ("192.0.2.1",), "many": ()}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--times", type=int, default=3)
    chosen = options.parse_args()
    table = Table("what", "seconds", "alerts", "of the bare reader", "of the replay without alerts")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "conn.log"
        write_tsv(log, chosen.rows)
        rules = {kind: write_rules(folder / kind, few) for kind, few in SOURCES.items()}
        bares: list[float] = []
        seconds: dict[str, list[float]] = {kind: [] for kind in rules}
        alerts = dict.fromkeys(rules, 0)
        for attempt in range(chosen.times):
            bares.append(timed(lambda: bare(log)))
            for kind, paths in rules.items():
                store = folder / f"{kind}{attempt}"
                seconds[kind].append(replayed(log, paths, store)[0])
                with StoreReader(store) as reader:
                    alerts[kind] = reader.info()["alerts"]
    best = {kind: min(runs) for kind, runs in seconds.items()}
    table.add_row("bare polars.read_csv", f"{min(bares):.2f}", "", "1.00", "")
    for kind, took in best.items():
        table.add_row(
            f"replay, {kind}",
            f"{took:.2f}",
            f"{alerts[kind]:,}",
            f"{min(bares) / took:.2f}",
            f"{best['none'] / took:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
