"""What alerts cost: `python -m benchmarks.alerts --rows N`.

Ten of a hundred rules fire for each of 250 hosts all the time, so that 2,500 alerts grow in every
batch; the same replay without them, and a bare `polars.read_csv`, stand beside it. As in the other
benchmarks nothing is asserted, each figure is the best of `--times` runs, and these are run in turn.
Processor time, of all threads and with the start of the program, is quieter than time on the clock.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.__main__ import bare, replayed, timed
from benchmarks.rules import write_rules
from benchmarks.traffic import write_tsv
from connwatch.sinks.embedded import StoreReader

#: whom every tenth rule is about: nobody in the traffic, and everybody
SOURCES: dict[str, tuple[str, ...]] = {"no alerts": ("192.0.2.1",), "many alerts": ()}


def processor() -> float:
    """Seconds that all processes started from here have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--times", type=int, default=3)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "conn.log"
        write_tsv(log, chosen.rows)
        rules = {kind: write_rules(folder / kind, few) for kind, few in SOURCES.items()}
        bares: list[float] = []
        clock: dict[str, list[float]] = {kind: [] for kind in rules}
        cores: dict[str, list[float]] = {kind: [] for kind in rules}
        alerts: dict[str, int] = {}
        for attempt in range(chosen.times):
            bares.append(timed(lambda: bare(log)))
            for kind, paths in rules.items():
                store, before = folder / f"{kind} {attempt}", processor()
                clock[kind].append(replayed(log, paths, store)[0])
                cores[kind].append(processor() - before)
                with StoreReader(store) as reader:
                    alerts[kind] = reader.info()["alerts"]
    table = Table("replay with", "alerts", "of read_csv", "of no alerts", "of its processor time")
    none = "no alerts"
    for kind in rules:
        table.add_row(
            kind,
            f"{alerts[kind]:,}",
            f"{min(bares) / min(clock[kind]):.2f}",
            f"{min(clock[none]) / min(clock[kind]):.2f}",
            f"{min(cores[kind]) / min(cores[none]):.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
