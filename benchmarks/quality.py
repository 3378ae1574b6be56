"""How good the bundled rules are, as docs/detection-quality.md says it:

    python -m benchmarks.quality DATA > docs/detection-quality.md

DATA is a folder with the public logs that the page names (their folders are named in `LABELLED` and
`ORDINARY`).
"""

from __future__ import annotations

import gzip
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from connwatch.alert import SEVERITY
from connwatch.detectors.ruleset import load_rules
from connwatch.evaluate.labels import Meaning, by_column, labelled
from connwatch.evaluate.report import duration, percent, with_interval
from connwatch.evaluate.score import Evaluation, evaluate
from connwatch.ingest.files import discover
from connwatch.ingest.formats import formats
from connwatch.pipeline import Options, bundled_rules, replay
from connwatch.sinks.embedded import EmbeddedStore, StoreReader

RULES = load_rules([bundled_rules()])
NAMED = {rule.key: (rule.title, rule.level) for rule in RULES.running}
GUESSING = (
    "Many short sessions with a service that asks for a password",
    "Guessing at a service that is open to the internet",
)
_SSH_DAY = "zeek/rita/rotated_2024-04-19"


@dataclass(frozen=True, slots=True)
class Labelled:
    """A log with labels: what it is, and what is missed and why, in a sentence."""

    name: str
    paths: tuple[str, ...]
    what: str
    said: str


LABELLED = (
    Labelled(
        "A host on the internet for a day (CTU-Normal-40, first day)",
        ("zeek/strato/008-zeek-mixed/data/conn.log.labeled",),
        "Every flow from outside is labelled an attack, 4,201 of them from 1,599 addresses; most "
        "addresses send one or two packets.",
        "What is found are those who ask for fifteen ports or more. A single probe of one port is "
        "labelled an attack and is not worth an alert of its own; nobody is blamed wrongly.",
    ),
    Labelled(
        "A device with a bot (IoT-23, first 2,000 flows)",
        ("zeek/iot23/conn.log.labeled",),
        "A device that tries to reach its command server on port 6667 all day, 1,629 flows.",
        "The sessions with the IRC port are found, the attempts that are not answered are not: one "
        "host that asks one service again and again is what every broken client does, and is left "
        "to rules about behaviour over days.",
    ),
)
ORDINARY = (
    ("a small capture with one bot that looks for peers", ("zeek/zat/conn.log",)),
    (
        "an hour of a proxy and of an office",
        ("zeek/rita/proxy", "zeek/rita/json_with_all_fields"),
    ),
    ("a day of a host on the internet, with those who visit it", (_SSH_DAY,)),
)


@contextmanager
def replayed(paths: Sequence[Path]) -> Iterator[tuple[StoreReader, float]]:
    """A store with these logs, and the hours that they span."""
    with tempfile.TemporaryDirectory() as name:
        with EmbeddedStore(Path(name)) as store:
            replay(discover([str(p) for p in paths], formats()), RULES, store, Options())
        with StoreReader(Path(name)) as reader:
            info = reader.info()
            yield reader, (info["last_event"] - info["first_event"]) / 3.6e9


def scored(paths: Sequence[Path]) -> Evaluation:
    with replayed(paths) as (reader, _):
        events = labelled(reader.events(), by_column(None), Meaning())
        return evaluate(events, reader.hits().collect(), reader.alerts(), "medium", NAMED)


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def section(one: Labelled, data: Path) -> Iterator[str]:
    found = scored([data / path for path in one.paths])
    flows, whole = found.overall.flows, found.overall
    yield f"### {one.name}\n\n{one.what}\n"
    yield row("Of", "Precision", "Recall", "F1", "False-positive rate")
    yield "|---|---|---|---|---|"
    for name, counts in (("flows", flows), ("entities per hour", whole.entities)):
        yield row(
            name, with_interval(counts.precision), with_interval(counts.recall),
            percent(counts.f1.value), with_interval(counts.false_positive_rate),
        )  # fmt: skip
    detection = whole.detection
    yield (
        f"\nAlerts at medium or above: {whole.alerts.true + whole.alerts.false}, "
        f"of them false {whole.alerts.false}. Time to detect: p50 {duration(detection.p50)}, "
        f"p95 {duration(detection.p95)}.\n\n{one.said}\n"
    )


def guesses(data: Path) -> Iterator[str]:
    """Sessions of SSH that Zeek's ssh.log has, and how many of them alerts list."""
    uids: dict[str, list[str]] = {}
    for path in sorted((data / _SSH_DAY).glob("ssh.*.log.gz")):
        names: list[str] = []
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                fields = line.rstrip("\n").split("\t")
                if fields[0] == "#fields":
                    names = fields[1:]
                elif not line.startswith("#"):
                    record = dict(zip(names, fields, strict=True))
                    if record["auth_success"] != "T":
                        uids.setdefault(record["id.orig_h"], []).append(record["uid"])
    with replayed([data / _SSH_DAY]) as (reader, _):
        listed: set[str] = set()
        for alert in reader.alerts():
            if alert["rule"]["name"] in GUESSING:
                ids = reader.alert_events(alert["event"]["id"]).select("zeek.session_id").collect()
                listed.update(ids["zeek.session_id"].drop_nulls())
    yield row("Sessions a source at least", "Sources", "Sessions", "Listed by an alert")
    yield "|---|---|---|---|"
    for least in (1, 20, 30, 60):
        chosen = [sessions for sessions in uids.values() if len(sessions) >= least]
        total = sum(map(len, chosen))
        hits = sum(one in listed for sessions in chosen for one in sessions)
        yield row(least, len(chosen), f"{total:,}", percent(hits / total))


def quiet(data: Path) -> Iterator[str]:
    yield row("Logs", "Hours", "Events", *SEVERITY)
    yield "|---" * (3 + len(SEVERITY)) + "|"
    for name, paths in ORDINARY:
        levels: Counter[str] = Counter()
        hours, events = 0.0, 0
        for path in paths:
            with replayed([data / path]) as (reader, span):
                levels.update(alert["connwatch"]["level"] for alert in reader.alerts())
                events += reader.events().select(pl.len()).collect().item()
                hours += span
        rates = (f"{levels[level] / hours:.2f}" if levels[level] else "-" for level in SEVERITY)
        yield row(name, f"{hours:.1f}", f"{events:,}", *rates)


def page(data: Path) -> Iterator[str]:
    yield """# How good the bundled rules are

Made by `python -m benchmarks.quality DATA` from public labelled logs; [evaluate](evaluate.md) says how
it is counted, and does the same for your own. A flow counts as found when an alert at medium or above
lists it. Intervals are 95 %.

## Labelled logs
"""
    for one in LABELLED:
        yield from section(one, data)
    yield """## Guessing of passwords

A day of a server on the internet; Zeek's `ssh.log` knows which sessions were logins that failed or
whose outcome it could not tell. The two rules see connections only. What they miss are sources that
come a few times: fewer than ten sessions in half an hour.
"""
    yield from guesses(data)
    yield """
## Scans that others found

The port scan and the address scan on port 445 that Zeek's own scan detection reports in two captures,
a scan of a thousand ports with masscan, and a vertical scan with nmap are found with the same sources
and targets, and three connections to one port are not (`tests/test_analytics.py`). The smallest, ten
ports in a millisecond, is found by a rule at low.

## Alerts an hour on ordinary logs
"""
    yield from quiet(data)
    yield """
The bot in the first looks for its peers on one port of 140 hosts. Who visits the host in the last are
scanners and guessers, each an alert of its own; nothing else at medium comes more than a few times.
"""


if __name__ == "__main__":
    print("\n".join(page(Path(sys.argv[1]))))
