"""Following logs, measured: `python -m benchmarks.live [--rows N] [--seconds N] [--only NAME]`.

    latency   from a line written to its alert visible to another process, at 1,000 lines/s
    pace      at 50,000 lines/s, whether what is unread grows, or memory
    backlog   the rate of `run` over a log that is there, against that of `replay`, in turn
    memory    its peak over a log of ten times the rows with 200 rotations
    idle      its share of a core when nothing is written
    start     seconds with 10,000 files that are read already

Every part runs `connwatch run` in a process of its own, with the bundled rules.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.environment import own_environment
from benchmarks.traffic import HEADER, START, write_tsv
from connwatch.detectors.ruleset import load_rules

#: a rule with an alert for each address, to be met by one line in a hundred
_RULE: Final = """title: Marked
id: 6f1f3a3e-0d1c-4b38-9a3e-0b6b2f9f0a01
logsource: {category: network_connection}
detection: {s: {dst_port: 4444}, condition: s}
level: low
"""
_LINE: Final = (
    "{ts:.6f}\tC{n}\t10.1.{a}.{b}\t{n5}\t151.101.1.{c}\t{port}\ttcp\t-\t0.1\t10\t10\tSF\t-\t-\t0\t"
    "ShADadFf\t3\t200\t3\t200\t(empty)\n"
)
_RESULT = list[tuple[str, str]]


def _line(number: int, at: float, *, marked: bool) -> str:
    return _LINE.format(
        ts=at, n=number, n5=1024 + number % 60_000, a=number // 250 % 250, b=number % 250 + 1,
        c=number % 250 + 1, port=4444 if marked else 443,
    )  # fmt: skip


class Followed:
    """`connwatch run` over one log in a folder; used as a context manager."""

    def __init__(self, folder: Path, *, path: str = "conn.log", rules: str = "bundled, rule.yml"):
        self.folder, self.store, self.log = folder, folder / "store", folder / "conn.log"
        (folder / "rule.yml").write_text(_RULE)
        self.config = folder / "c.yml"
        self.config.write_text(
            f"store: store\nrules: [{rules}]\nlog: {{level: warning}}\nsources: [{{path: {path}}}]\n"
        )

    def command(self, *more: str) -> list[str]:
        return [sys.executable, "-m", "connwatch.cli", "run", "-c", str(self.config), *more]

    def start(self) -> None:
        self.process = subprocess.Popen(self.command(), env=own_environment())

    def __enter__(self) -> Followed:
        self.start()
        until(lambda: self.status().get("state") == "running")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def status(self) -> dict[str, object]:
        try:
            found: dict[str, object] = json.loads((self.store / "status.json").read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return found if found["pid"] == self.process.pid else {}

    def read(self) -> int:
        """Bytes of the log that are committed as read."""
        with closing(
            sqlite3.connect(f"file:{self.store}/catalogue.sqlite?mode=ro", uri=True)
        ) as db:
            rows = db.execute("SELECT value FROM positions WHERE key LIKE 'piece/%'").fetchall()
        return sum(int(json.loads(row[0])["at"]["offset"]) for row in rows)


def until(reached: Callable[[], bool], limit: float = 600.0) -> None:
    end = time.monotonic() + limit
    while not reached():
        if time.monotonic() > end:
            raise SystemExit("not reached in time")
        time.sleep(0.02)


def paced(log: Path, rate: int, seconds: float, wrote: dict[str, float]) -> None:
    """Write lines at a rate; `wrote`: when each marked address was written."""
    number, begun = 0, time.monotonic()
    with log.open("a", buffering=1 << 16) as out:
        while (passed := time.monotonic() - begun) < seconds:
            due = int(passed * rate)
            for n in range(number, due):
                marked = rate <= 1_000 and n % 100 == 0
                out.write(_line(n, START + passed, marked=marked))
                if marked:
                    wrote[f"10.1.{n // 250 % 250}.{n % 250 + 1}"] = time.monotonic()
            number = due
            out.flush()
            time.sleep(0.001 if rate <= 1_000 else 0.01)


def latency(seconds: float) -> _RESULT:
    """With one rule, and with all bundled ones beside it."""
    found = []
    for rules, what in (("rule.yml", "one rule"), ("bundled, rule.yml", "all rules")):
        took = _latency(seconds, rules)
        cuts = statistics.quantiles(took, n=100)
        found += [(f"{what}: alerts", f"{len(took)}")]
        found += [(f"{what}: p{p}", f"{cuts[p - 1] * 1000:.0f} ms") for p in (50, 99)]
    return found


def _latency(seconds: float, rules: str) -> list[float]:
    """Seconds from writing each marked line to seeing its alert."""
    with tempfile.TemporaryDirectory() as folder, Followed(Path(folder), rules=rules) as run:
        (marking,) = load_rules([run.folder / "rule.yml"]).rules
        run.log.write_text(HEADER)
        wrote: dict[str, float] = {}
        seen: dict[str, float] = {}
        writer = threading.Thread(target=paced, args=(run.log, 1_000, seconds, wrote))
        time.sleep(2)
        writer.start()
        with closing(
            sqlite3.connect(f"file:{run.store}/catalogue.sqlite?mode=ro", uri=True)
        ) as store:
            last = 0
            while writer.is_alive() or len(seen) < len(wrote):
                rows = store.execute(
                    "SELECT rowid, rule, grp FROM alerts WHERE rowid > ? ORDER BY rowid", (last,)
                ).fetchall()
                now = time.monotonic()
                for rowid, rule, group in rows:
                    last = rowid
                    if rule != marking.key:
                        continue
                    seen.setdefault(json.loads(group)["source.ip"], now)
                time.sleep(0.002)
        return sorted(seen[address] - at for address, at in wrote.items())


def pace(seconds: float) -> _RESULT:
    """What is unread, and the memory of the run, second by second; shown is each tenth's mean."""
    with tempfile.TemporaryDirectory() as folder, Followed(Path(folder)) as run:
        run.log.write_text(HEADER)
        writer = threading.Thread(target=paced, args=(run.log, 50_000, seconds, {}))
        writer.start()
        lags, rooms = [], []
        while writer.is_alive():
            time.sleep(1)
            lags.append((run.log.stat().st_size - run.read()) / 1e6)
            rooms.append(_megabytes(run.process.pid, "VmRSS"))
        size = run.log.stat().st_size
        begun = time.monotonic()
        until(lambda: run.read() >= size)
        behind = time.monotonic() - begun
        half, tenth = len(lags) // 2, max(1, len(lags) // 10)
        found = []
        for start in range(0, len(lags), tenth):
            unread = statistics.mean(lags[start : start + tenth])
            room = statistics.mean(rooms[start : start + tenth])
            found.append((f"from {start} s on: unread, memory", f"{unread:.2f} MB, {room:.0f} MB"))
        return [
            *found,
            ("unread, first half (mean)", f"{statistics.mean(lags[:half]):.2f} MB"),
            ("unread, second half (mean)", f"{statistics.mean(lags[half:]):.2f} MB"),
            ("peak memory", f"{_peak(run.process.pid):.0f} MB"),
            ("written", f"{size / 1e6:.0f} MB"),
            ("behind at the end", f"{behind:.2f} s"),
        ]


def backlog(rows: int) -> _RESULT:
    best = {"run": 1e9, "replay": 1e9}
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "source.log"
        write_tsv(log, rows)
        for turn in range(3):
            folder = Path(name) / f"run{turn}"
            folder.mkdir()
            os.link(log, folder / "conn.log")
            run = Followed(folder, rules="bundled")
            begun = time.monotonic()
            run.start()
            until(lambda run=run: run.store.exists() and _done(run, log))  # type: ignore[misc]
            best["run"] = min(best["run"], time.monotonic() - begun)
            run.process.terminate()
            run.process.wait()
            begun = time.monotonic()
            subprocess.run(
                [sys.executable, "-m", "connwatch.cli", "replay", str(log), "--store", str(folder / "s2")],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            best["replay"] = min(best["replay"], time.monotonic() - begun)
    return [
        ("rows", f"{rows:,}"),
        ("replay", f"{best['replay']:.2f} s"),
        ("run", f"{best['run']:.2f} s"),
        ("rate of run to replay", f"{best['replay'] / best['run']:.2f}"),
    ]


def _done(run: Followed, log: Path) -> bool:
    try:
        return run.read() >= log.stat().st_size
    except sqlite3.OperationalError:
        return False


def memory(rows: int) -> _RESULT:
    """With one rule, which keeps nothing, and with all bundled ones, whose windows see much of this
    traffic."""
    pieces = 200
    found = [("rows", f"{rows:,}"), ("rotations", str(pieces))]
    for rules, what in (("rule.yml", "one rule"), ("bundled", "all rules")):
        found.append((f"{what}: peak memory", f"{_memory(rows, pieces, rules):.0f} MB"))
    return found


def _memory(rows: int, pieces: int, rules: str) -> float:
    """Peak of a run while a log is written and rotated, MB."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source"
        write_tsv(source, rows)
        data = source.read_bytes().split(b"\n", HEADER.count("\n"))[-1]
        source.unlink()
        run = Followed(folder, path="logs/conn.log", rules=rules)
        (folder / "logs").mkdir()
        log = folder / "logs" / "conn.log"
        log.write_text(HEADER)
        size = len(data) // pieces
        place = 0
        with run:
            time.sleep(1)
            for number in range(pieces):
                end = data.find(b"\n", min(len(data) - 1, place + size)) + 1 or len(data)
                with log.open("ab") as out:
                    out.write(data[place:end])
                place = end
                log.rename(log.with_name(f"conn.log.{number:03}"))
                log.write_text(HEADER)
            until(lambda: _records(run) >= rows, 1_200)
            return _peak(run.process.pid)


def _records(run: Followed) -> int:
    totals = run.status().get("totals")
    return int(totals.get("events", 0)) if isinstance(totals, dict) else 0


def _peak(pid: int) -> float:
    return _megabytes(pid, "VmHWM")


def _megabytes(pid: int, name: str) -> float:
    """A size among what the system says of a process; 0 when it does not."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return 0.0


def idle(seconds: float) -> _RESULT:
    with tempfile.TemporaryDirectory() as folder, Followed(Path(folder)) as run:
        run.log.write_text(HEADER + _line(1, START, marked=True))
        time.sleep(5)
        before, begun = _cpu(run.process.pid), time.monotonic()
        time.sleep(seconds)
        share = (_cpu(run.process.pid) - before) / (time.monotonic() - begun)
        return [("share of a core", f"{100 * share:.2f} %")]


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(files: int) -> _RESULT:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "logs").mkdir()
        for n in range(files):
            day = folder / "logs" / f"2026-{n // 720 + 1:02}-{n // 24 % 30 + 1:02}"
            day.mkdir(exist_ok=True)
            path = day / f"conn.{n % 24:02}:00:00-{(n + 1) % 24:02}:00:00.log"
            path.write_text(HEADER + _line(n, START + n * 3600.0, marked=False))
        run = Followed(folder, path="logs", rules="bundled")
        subprocess.run(run.command("--until-idle", "1"), check=True)
        begun = time.monotonic()
        bare = time.monotonic()
        subprocess.run([sys.executable, "-m", "connwatch.cli", "version"], check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        bare = time.monotonic() - bare
        begun = time.monotonic()
        run.start()
        until(lambda: run.status().get("state") == "running" and bool(run.status().get("sources")))
        took = time.monotonic() - begun
        run.process.terminate()
        run.process.wait()
    return [
        ("files", f"{files:,}"),
        ("until it runs", f"{took:.2f} s"),
        ("of which importing, as `version` does", f"{bare:.2f} s"),
    ]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument(
        "--seconds", type=float, default=30.0, help="of latency and idle; pace takes ten times that"
    )
    parts: dict[str, Callable[[argparse.Namespace], _RESULT]] = {
        "latency": lambda o: latency(o.seconds),
        "pace": lambda o: pace(10 * o.seconds),
        "backlog": lambda o: backlog(o.rows),
        "memory": lambda o: memory(10 * o.rows),
        "idle": lambda o: idle(o.seconds),
        "start": lambda o: start(10_000),
    }
    options.add_argument("--only", choices=parts, action="append")
    chosen = options.parse_args()
    table = Table("part", "figure", "measured", box=None)
    for name, part in parts.items():
        if chosen.only and name not in chosen.only:
            continue
        for figure, measured in part(chosen):
            table.add_row(name, figure, measured)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
