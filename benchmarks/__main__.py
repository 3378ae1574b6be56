"""Ratios against baselines in the same run: `make bench`, or `python -m benchmarks --rows N`.

Machines are noisy, so nothing here is an assertion; every figure is the best of `--times` runs, and
what is compared is run in turn.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table

from benchmarks.environment import own_environment
from benchmarks.loop import loop
from benchmarks.rules import RULES, write_rules
from benchmarks.traffic import write_json, write_tsv

#: what is searched for
ADDRESS = "source.ip: 192.168.1.7 or destination.ip: 192.168.1.7"
#: replays in a process of its own and prints seconds and peak memory (MB)
_REPLAY = """
import resource, sys, time
from pathlib import Path
from connwatch.detectors.ruleset import load_rules
from connwatch.ingest.files import discover
from connwatch.ingest.formats import formats
from connwatch.pipeline import Options, replay
from connwatch.sinks.embedded import EmbeddedStore
rules = load_rules([Path(sys.argv[2])])
with EmbeddedStore(Path(sys.argv[3])) as store:
    begun = time.perf_counter()
    outcome = replay(discover([sys.argv[1]], formats()), rules, store, Options())
    seconds = time.perf_counter() - begun
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, sum(outcome.alerts.values()))
"""


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def replayed(log: Path, rules: Path, store: Path) -> tuple[float, float]:
    """Seconds and peak memory in MB of a replay."""
    command = [sys.executable, "-c", _REPLAY, str(log), str(rules), str(store)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=own_environment()
    )
    seconds, memory, _ = done.stdout.split()
    return float(seconds), float(memory)


def bare(log: Path) -> None:
    pl.read_csv(
        log,
        separator="\t",
        has_header=False,
        comment_prefix="#",
        quote_char=None,
        null_values=["-"],
    )


def zat(log: Path) -> float | None:
    """Seconds that zat takes to read the log; None when it is not installed."""
    code = (
        "import sys, time\nfrom zat.zeek_log_reader import ZeekLogReader\nbegun = time.perf_counter()\n"
        "for row in ZeekLogReader(sys.argv[1]).readrows(): pass\nprint(time.perf_counter() - begun)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(log)], check=False, capture_output=True, text=True
    )
    return float(done.stdout.split()[-1]) if done.returncode == 0 else None


def throughput(folder: Path, rows: int, times: int, table: Table) -> None:
    log, small = folder / "conn.log", folder / "small.log"
    write_tsv(log, rows)
    write_tsv(small, rows // 10)
    rules = write_rules(folder / "rules")
    first: list[float] = []
    again: list[float] = []
    bares: list[float] = []
    for attempt in range(times):
        bares.append(timed(lambda: bare(log)))
        store = folder / f"store{attempt}"
        first.append(replayed(log, rules, store)[0])
        again.append(replayed(log, rules, store)[0])
    rate = rows / min(first)
    table.add_row("bare polars.read_csv", f"{rows / min(bares):,.0f}", "1.00", "")
    table.add_row(
        f"connwatch replay, {RULES} rules", f"{rate:,.0f}", f"{min(bares) / min(first):.2f}", "0.25"
    )
    table.add_row(
        "the same again",
        f"{rows / min(again):,.0f}",
        f"{min(first) / min(again):.2f} of the first",
        "1",
    )
    looped = timed(lambda: loop(small)) * 10
    table.add_row(
        "plain Python loop",
        f"{rows / looped:,.0f}",
        f"{looped / min(first):.1f} times slower",
        "20",
    )
    slow = zat(small)
    if slow is not None:
        table.add_row(
            "zat, reading alone",
            f"{rows / slow / 10:,.0f}",
            f"{slow * 10 / min(first):.1f} times slower",
            "1.5",
        )
    as_json = folder / "conn.json.log"
    write_json(as_json, rows)
    seconds, _ = replayed(as_json, rules, folder / "json")
    table.add_row(
        "JSON", f"{rows / seconds:,.0f}", f"{min(first) / seconds:.2f} of the text", "0.5"
    )


def growth(folder: Path, rows: int, large: int, table: Table) -> None:
    """Memory and time per row with `large` rows instead of `rows`, and a search in the large store."""
    rules = write_rules(folder / "rules")
    figures = []
    for number in (rows, large):
        log = folder / f"grow{number}.log"
        write_tsv(log, number)
        figures.append(replayed(log, rules, folder / f"grow{number}"))
        log.unlink()
    (small, small_memory), (big, big_memory) = figures
    table.add_row(
        "peak memory",
        f"{small_memory:,.0f} MB",
        f"{big_memory / small_memory:.2f} at {large:,} rows",
        "1.2",
    )
    per_row = (big / large) / (small / rows)
    table.add_row(
        "time per row", f"{small / rows * 1e6:.2f} µs", f"{per_row:.2f} at {large:,} rows", "1.1"
    )
    search(folder / f"grow{large}", large, table)


def search(store: Path, rows: int, table: Table) -> None:
    """An address and a day in a store, the best of several."""
    from datetime import UTC, datetime, timedelta

    from connwatch.query import parse
    from connwatch.query import search as find
    from connwatch.sinks.embedded import StoreReader

    query = parse(ADDRESS)
    with StoreReader(store) as reader:
        last = datetime.fromtimestamp(reader.info()["last_event"] / 1e6, UTC)
        span = {"start": last - timedelta(hours=24), "end": last + timedelta(seconds=1)}
        best = min(
            timed(lambda: find(reader.events(**span), query, now=last, limit=100, **span))
            for _ in range(5)
        )
    table.add_row(f"search by address and day in {rows:,}", f"{best * 1000:,.0f} ms", "", "150 ms")
    times = [
        f"{name}={when.isoformat()}" for name, when in (("--from", span["start"]), ("--to", last))
    ]
    whole = command("-m", "connwatch.cli", "search", f"--store={store}", *times, ADDRESS)
    least = command("-c", "import polars")
    table.add_row(
        "the same as a command",
        f"{whole * 1000:,.0f} ms",
        f"{whole / least:.1f} times 'import polars'",
        "",
    )


def command(*arguments: str) -> float:
    """Seconds of a Python process with these arguments, the best of several."""
    line, env = [sys.executable, *arguments], own_environment()
    run = partial(subprocess.run, line, check=True, capture_output=True, env=env)
    return min(timed(run) for _ in range(5))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--large", type=int, default=10_000_000, help="0 to leave the growth out")
    options.add_argument("--times", type=int, default=3)
    chosen = options.parse_args()
    table = Table("what", "rows/s", "ratio", "asked for")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        throughput(folder, chosen.rows, chosen.times, table)
        if chosen.large:
            growth(folder, chosen.rows, chosen.large, table)
    Console().print(table)


if __name__ == "__main__":
    main()
