"""Logs that are written while they are followed: what is in them, who writes and rotates them."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from support import replayed

from connwatch.alert import digest
from connwatch.detectors.ruleset import load_rules
from connwatch.pipeline import bundled_rules
from connwatch.sinks.embedded import StoreReader

FIELDS = [
    "ts",
    "uid",
    "id.orig_h",
    "id.orig_p",
    "id.resp_h",
    "id.resp_p",
    "proto",
    "service",
    "duration",
    "orig_bytes",
    "resp_bytes",
    "conn_state",
    "local_orig",
    "local_resp",
    "missed_bytes",
    "history",
    "orig_pkts",
    "orig_ip_bytes",
    "resp_pkts",
    "resp_ip_bytes",
    "tunnel_parents",
]
TYPES = [
    "time",
    "string",
    "addr",
    "port",
    "addr",
    "port",
    "enum",
    "string",
    "interval",
    "count",
    "count",
    "string",
    "bool",
    "bool",
    "count",
    "string",
    "count",
    "count",
    "count",
    "count",
    "set[string]",
]
BEGIN = 1_795_000_000


def header(opened: str = "2026-11-19-00-00-00") -> bytes:
    """As Zeek begins a file."""
    lines = [
        "#separator \\x09",
        "#set_separator\t,",
        "#empty_field\t(empty)",
        "#unset_field\t-",
        "#path\tconn",
        f"#open\t{opened}",
        "#fields\t" + "\t".join(FIELDS),
        "#types\t" + "\t".join(TYPES),
    ]
    return ("\n".join(lines) + "\n").encode()


def lines(number: int, seed: int = 1, *, start: float = 0.0) -> list[bytes]:
    """Records in the order in which Zeek would write them (by their end), with scans, floods and
    guessing among them that span all of the log."""
    chance = random.Random(seed)
    made = []
    for count in range(number):
        begin = BEGIN + start + count * 1.5 + chance.random()
        kind = count % 10
        if kind < 3:  # a sweep over hosts, and ports
            host = f"10.{seed}.0.66"
            target, port = f"10.9.{count % 7}.{count % 250 + 1}", (445, 3389, 22)[kind]
            made.append(_line(chance, begin, host, target, port, "tcp", 0.0, "S0"))
        elif kind == 3:
            made.append(_line(chance, begin, "192.0.2.9", "10.1.0.5", 22, "tcp", 1.2, "SF"))
        elif kind == 4:
            made.append(
                _line(chance, begin, "10.1.0.7", "10.1.0.8", count % 40_000 + 1, "tcp", 0, "REJ")
            )
        else:
            source = f"10.1.0.{chance.randrange(10, 60)}"
            service = chance.choice([80, 443, 53, 8080])
            length = chance.expovariate(1 / 20)
            target = f"198.51.100.{chance.randrange(1, 200)}"
            made.append(_line(chance, begin, source, target, service, "tcp", length, "SF"))
    return [text for _, text in sorted(made)]


def _line(
    chance: random.Random,
    begin: float,
    source: str,
    target: str,
    port: int,
    proto: str,
    length: float,
    state: str,
) -> tuple[float, bytes]:
    uid = f"C{chance.getrandbits(64):016x}"
    history = {"S0": "S", "REJ": "Sr", "SF": "ShADadFf"}[state]
    answered = state == "SF"
    fields = [
        f"{begin:.6f}", uid, source, str(chance.randrange(1024, 65_000)), target, str(port), proto,
        "-", f"{length:.6f}" if length else "-", "100" if answered else "-",
        "2000" if answered else "-", state, "-", "-", "0", history, "3" if answered else "1",
        "220" if answered else "60", "3" if answered else "0", "2200" if answered else "0",
        "(empty)",
    ]  # fmt: skip
    return begin + length, ("\t".join(fields) + "\n").encode()


class Log:
    """A log that is written and rotated in the way of several tools; `n` counts rotations."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n = 0
        self._file = path.open("ab", buffering=0)
        self.write(header())

    def write(self, data: bytes) -> None:
        self._file.write(data)

    def _next(self, suffix: str = "") -> Path:
        self.n += 1
        return self.path.with_name(f"{self.path.name}.{self.n:03}{suffix}")

    def rename(self, between: Iterable[bytes] = ()) -> None:
        """Move it away, write on for a moment, and begin a new file."""
        self.path.rename(self._next())
        for data in between:
            self.write(data)
        self._file.close()
        self._file = self.path.open("ab", buffering=0)
        self.write(header(f"2026-11-19-{self.n // 60:02}-{self.n % 60:02}-00"))

    def compress(self) -> None:
        """Move it away and compress it."""
        moved = self._next()
        self.path.rename(moved)
        self._file.close()
        self._file = self.path.open("ab", buffering=0)
        self.write(header(f"2026-11-19-{self.n // 60:02}-{self.n % 60:02}-00"))
        packed = moved.with_name(moved.name + ".gz")
        with moved.open("rb") as plain, gzip.open(packed.with_suffix(".tmp"), "wb") as out:
            shutil.copyfileobj(plain, out)
        packed.with_suffix(".tmp").rename(packed)
        moved.unlink()

    def copytruncate(self) -> None:
        """Copy it and begin again in the same file, without a header."""
        shutil.copyfile(self.path, self._next())
        os.truncate(self.path, 0)

    def close(self) -> None:
        self._file.close()


def configuration(
    folder: Path, sources: Sequence[str], more: str = "", *, idle_limit: float = 0.5
) -> Path:
    """A configuration with a store in `folder`."""
    path = folder / "connwatch.yml"
    listed = "".join(f"  - path: {source}\n" for source in sources)
    path.write_text(
        f"store: store\nsettle: 0.2\nidle_limit: {idle_limit}\n{more}sources:\n{listed}"
    )
    return path


def start(*arguments: str, **options: object) -> subprocess.Popen[bytes]:
    """`connwatch` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "connwatch.cli", *arguments],
        env={**os.environ, "POLARS_MAX_THREADS": "2"},
        **options,  # type: ignore[call-overload]
    )


def known(folder: Path) -> list[str]:
    """The streams of which a store has positions."""
    try:
        with closing(sqlite3.connect(f"file:{folder}/catalogue.sqlite?mode=ro", uri=True)) as found:
            rows = found.execute("SELECT key FROM positions WHERE key LIKE 'stream/%'").fetchall()
    except sqlite3.OperationalError:
        return []
    return [row[0] for row in rows]


def running(folder: Path, pid: int) -> bool:
    """Whether a process follows logs into a store."""
    try:
        found = json.loads((folder / "status.json").read_text())
    except (FileNotFoundError, ValueError):
        return False
    return bool(found["pid"] == pid and found["state"] == "running")


def stored(folder: Path) -> tuple[list[str], str]:
    """The ids of all events of a store, sorted, and the digest of its alerts."""
    with StoreReader(folder) as reader:
        ids = reader.events().select("event.id").collect()["event.id"].sort().to_list()
        return ids, digest(reader.alerts())


def replayed_whole(paths: Iterable[Path], folder: Path) -> tuple[list[str], str]:
    """The same of a replay of files."""
    replayed(paths, folder, load_rules([bundled_rules()]))
    return stored(folder)


def wait_for(what: str, until: object, seconds: float = 60.0) -> None:
    """Wait until `until()` is true."""
    limit = time.monotonic() + seconds
    while not until():  # type: ignore[operator]
        assert time.monotonic() < limit, f"not within {seconds} s: {what}"
        time.sleep(0.02)
