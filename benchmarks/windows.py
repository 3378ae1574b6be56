"""Five correlations over one million events, against a plain loop that does the same; and a replay
with all bundled rules against one with those about single records: `python -m benchmarks.windows`.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from benchmarks.__main__ import replayed
from benchmarks.traffic import write_tsv
from connwatch.detectors import fold
from connwatch.detectors.ruleset import RuleSet, load_rules, match
from connwatch.detectors.windows.engine import State, correlate
from connwatch.ingest.files import discover
from connwatch.ingest.formats import formats
from connwatch.ingest.merge import merged
from connwatch.ingest.streams import streams
from connwatch.pipeline import bundled_rules

_BATCH = 100_000

#: measure, field, group, seconds, threshold; the last two fire all the time for the busiest ports,
#: two thirds of the records, the others do not
FIVE: tuple[tuple[str, str | None, str, int, int], ...] = (
    ("value_count", "destination.ip", "source.ip", 60, 200),
    ("value_count", "destination.port", "source.ip", 300, 60),
    ("event_count", None, "source.ip", 60, 500),
    ("event_count", None, "destination.port", 60, 2000),
    ("value_count", "source.ip", "destination.port", 60, 240),
)
_BASE = """title: Any
name: any
logsource: {category: network, service: connection}
detection: {s: {event.dataset: '*'}, condition: s}
"""


def write_rules(folder: Path) -> Path:
    """The five as Sigma."""
    folder.mkdir()
    parts = [_BASE]
    for number, (measure, name, group, seconds, threshold) in enumerate(FIVE):
        field = f", field: {name}" if name else ""
        parts.append(
            f"title: Five {number}\ncorrelation: {{type: {measure}, rules: [any], group-by: [{group}], "
            f"timespan: {seconds}s, condition: {{gte: {threshold}{field}}}}}\n"
        )
    (folder / "five.yml").write_text("---\n".join(parts), encoding="utf-8")
    return folder


def read(log: Path) -> list[pl.DataFrame]:
    def watch(*_: object) -> None:
        pass

    def failed(_source: object, error: Exception) -> None:
        raise error

    whole = pl.concat(merged(streams(discover([str(log)], formats()).sources)[0], watch, failed))
    return [whole[start : start + _BATCH] for start in range(0, whole.height, _BATCH)]


def counted(rules: RuleSet, batches: list[pl.DataFrame]) -> int:
    """Records that are hits of the five."""
    state, hits = State(), 0
    for events in batches:
        found = correlate(rules.correlated, events, match(rules, events), state, fold.EVIDENCE)
        state, hits = found.state, hits + found.sightings.height
    return hits


def looped(batches: list[pl.DataFrame]) -> int:
    """How often the five fire, record by record: queues of what windows hold, and counters."""
    fired = 0
    columns = ("source.ip", "destination.ip", "destination.port")
    held: list[dict[Any, deque[tuple[int, Any]]]] = [defaultdict(deque) for _ in FIVE]
    values: list[dict[Any, Counter[Any]]] = [defaultdict(Counter) for _ in FIVE]
    for events in batches:
        times = events["connwatch.log_time"].dt.epoch("us").to_list()
        for now, row in zip(times, events.select(columns).iter_rows(named=True), strict=True):
            for place, (measure, name, by, seconds, threshold) in enumerate(FIVE):
                group = row[by]
                value = row[name] if name else None
                if group is None or (name and value is None):
                    continue
                queue, inside = held[place][group], values[place][group]
                queue.append((now, value))
                inside[value] += 1
                while queue[0][0] <= now - seconds * 1_000_000:
                    _, old = queue.popleft()
                    inside[old] -= 1
                    if not inside[old]:
                        del inside[old]
                fired += (len(inside) if measure == "value_count" else len(queue)) >= threshold
    return fired


def peak() -> float:
    """Of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--times", type=int, default=3)
    chosen = options.parse_args()
    table = Table("what", "events/s", "ratio", "asked for")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "conn.log"
        write_tsv(log, chosen.rows)
        batches = read(log)
        rules = load_rules([write_rules(folder / "five")])
        before = peak()
        fifth = batches[: max(1, len(batches) // 5)]
        counted(rules, fifth)
        part = peak()
        ours = min(timed(lambda: counted(rules, batches)) for _ in range(chosen.times))
        whole = peak()
        loop = timed(lambda: looped(fifth))
        slow = sum(one.height for one in fifth) / loop
        rate = chosen.rows / ours
        table.add_row("five correlations", f"{rate:,.0f}", "", "400,000")
        grown = f"+{part - before:,.0f} MB", f"+{whole - part:,.0f} MB for the rest", "flat"
        table.add_row("memory beside a fifth of the events", *grown)
        table.add_row("plain Python loop", f"{slow:,.0f}", f"{rate / slow:.1f} times slower", "")
        alone = folder / "single"
        alone.mkdir()
        for path in sorted((bundled_rules() / "network").glob("*.yml")):
            if "analytic:" not in path.read_text(encoding="utf-8"):
                (alone / path.name).write_bytes(path.read_bytes())
        pairs = [
            (
                replayed(log, alone, folder / f"alone{attempt}")[0],
                replayed(log, bundled_rules(), folder / f"all{attempt}")[0],
            )
            for attempt in range(chosen.times)
        ]
        single, every = (min(column) for column in zip(*pairs, strict=True))
        table.add_row(
            "replay, rules about single records", f"{chosen.rows / single:,.0f}", "1.00", ""
        )
        table.add_row(
            "replay, all rules", f"{chosen.rows / every:,.0f}", f"{single / every:.2f}", "0.5"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
