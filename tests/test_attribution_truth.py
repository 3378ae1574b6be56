"""Processes with known flows in network namespaces, ports used again on purpose, snapshots by `ss`:
how often is the process that is named the right one, and for how many flows is one named?"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest
from support import replayed
from test_zeek_tsv import header, row

from connwatch.attribution import attribute, best
from connwatch.attribution.places import StorePlace
from connwatch.attribution.stored import flows_within, sockets_within
from connwatch.detectors.ruleset import load_rules
from connwatch.sinks.embedded import StoreReader

WORKER = Path(__file__).with_name("flow_worker.py")
CLIENT, SERVER = "10.77.0.1", "10.77.0.2"
PORTS: Final = (80, 443, 5353)
#: seconds that a second of the run stands for, in the flows and in the snapshots
SCALE: Final = 5
CALLERS: Final = 6


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def two_hosts() -> Iterator[tuple[str, str]]:
    """Two network namespaces with a cable between them."""
    if os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("ss"):
        pytest.skip("NOT TESTED: network namespaces need root, ip and ss")
    names = (f"cw-a{os.getpid()}", f"cw-b{os.getpid()}")
    try:
        for name in names:
            try:
                _ip("netns", "add", name)
            except subprocess.CalledProcessError as error:
                pytest.skip(f"NOT TESTED: no network namespaces here: {error.stderr!r}")
        _ip("link", "add", "cw0", "netns", names[0], "type", "veth", "peer", "name", "cw0", "netns", names[1])  # fmt: skip
        for name, address in zip(names, (CLIENT, SERVER), strict=True):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "cw0")
            _ip("-n", name, "link", "set", "cw0", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def _within(name: str, *words: str) -> subprocess.Popen[str]:
    command = ["ip", "netns", "exec", name, sys.executable, str(WORKER), *words]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def jobs_of(seconds: float, dice: random.Random) -> list[list[dict[str, Any]]]:
    """What each caller does: short and long flows, and ports that callers take turns at."""
    each: list[list[dict[str, Any]]] = [[] for _ in range(CALLERS)]
    for _ in range(int(30 * seconds)):
        lasts = min(dice.expovariate(SCALE / 4), seconds)
        job = {
            "at": dice.uniform(0.2, seconds - 0.2), "for": lasts, "port": 0, "from": CLIENT,
            "kind": dice.choice(("tcp", "tcp", "tcp-reset", "udp", "udp-any")),
            "to": (SERVER, dice.choice(PORTS)),
        }  # fmt: skip
        dice.choice(each).append(job)
    for port in range(20_000, 20_006):
        at, kind = 0.3, "tcp-reset" if port % 2 else "udp"
        while at < seconds:
            lasts = dice.choice((0.02, 0.1, 0.5, 1.5))
            job = {"at": at, "for": lasts, "port": port, "from": CLIENT, "kind": kind, "to": (SERVER, PORTS[0])}  # fmt: skip
            dice.choice(each).append(job)
            at += lasts + dice.choice((0.005, 0.05, 0.5, 1.0))
    return each


def snapshots(name: str, stop: threading.Event, every: float) -> list[tuple[float, str]]:
    taken = []
    while not stop.is_set():
        at = time.time()
        done = subprocess.run(["ip", "netns", "exec", name, "ss", "-tunaeipO"], check=True, capture_output=True, text=True)  # fmt: skip
        taken.append((at, done.stdout))
        stop.wait(max(0.0, at + every - time.time()))
    return taken


def recorded(seconds: float) -> tuple[list[dict[str, Any]], dict[str, list[tuple[float, str]]]]:
    """The flows as they were, with the pids of both ends, and the snapshots of both hosts."""
    shots: dict[str, list[tuple[float, str]]] = {}
    stop = threading.Event()
    with two_hosts() as names:
        server = _within(names[1], "serve", SERVER, *map(str, PORTS))
        callers = [_within(names[0], "call") for _ in range(CALLERS)]
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            base = time.time() + 0.5
            watchers = [
                threading.Thread(
                    target=lambda host, name: shots.update(
                        {host: snapshots(name, stop, 1 / SCALE)}
                    ),
                    args=pair,
                )
                for pair in zip(("a", "b"), names, strict=True)
            ]
            for watcher in watchers:
                watcher.start()
            for caller, jobs in zip(callers, jobs_of(seconds, random.Random(7)), strict=True):
                assert caller.stdin is not None
                caller.stdin.write(json.dumps({"jobs": jobs, "base": base}))
                caller.stdin.close()
                caller.stdin = None
            done = [(caller.pid, caller.communicate(timeout=60 + seconds)[0]) for caller in callers]
        finally:
            stop.set()
            for one in (*callers, server):
                one.kill()
                one.wait()
                for pipe in (one.stdin, one.stdout):
                    if pipe is not None:
                        pipe.close()
        for watcher in watchers:
            watcher.join()
    flows = [
        {**json.loads(line), "pid": pid, "server": server.pid}
        for pid, text in done
        for line in text.splitlines()
    ]
    return flows, shots


def written(
    folder: Path,
    flows: list[dict[str, Any]],
    shots: dict[str, list[tuple[float, str]]],
    every: float,
) -> list[Path]:
    """A conn.log of the flows, and a file of snapshots for each host: as many as would be taken in
    this interval. Times are stretched by `SCALE`."""
    zero = min(flow["begun"] for flow in flows)

    def stretched(moment: float) -> str:
        return f"{1_795_246_000.0005 + (moment - zero) * SCALE:.6f}"

    lines = [
        row(
            ts=stretched(flow["begun"]), uid=f"C{number}",
            duration=f"{(flow['ended'] - flow['begun']) * SCALE:.6f}",
            proto=flow["kind"][:3], service="-", history="-",
            conn_state="RSTO" if flow["kind"] == "tcp-reset" else "SF",
            **{"id.orig_h": CLIENT, "id.orig_p": str(flow["local"]), "id.resp_h": SERVER, "id.resp_p": str(flow["to"][1])},
        )
        for number, flow in enumerate(flows)
    ]  # fmt: skip
    lines.sort(key=lambda line: float(line.split("\t")[0]) + float(line.split("\t")[8]))
    (folder / "conn.log").write_text(header() + "".join(lines))
    for host, taken in shots.items():
        kept, due = [], 0.0
        for moment, text in taken:
            if (moment - zero) * SCALE >= due:
                kept.append(f"{stretched(moment)}\n{text}")
                due = (moment - zero) * SCALE + every - 0.5 / SCALE
        (folder / f"ss-{host}.txt").write_text("".join(kept))
    return [folder / "conn.log", *sorted(folder.glob("ss-*.txt"))]


def answers(folder: Path) -> pl.DataFrame:
    """Verdicts of both sides, with the uid of the flow."""
    with StoreReader(folder) as reader:
        flows, sockets = (
            flows_within(StorePlace(reader), None, None),
            sockets_within(StorePlace(reader), None, None),
        )
        uids = reader.events().select("zeek.session_id", id="event.id").collect()
    assert best(attribute(flows, sockets)).height == flows.height
    return attribute(flows, sockets).join(uids, on="id")


@pytest.mark.source
@pytest.mark.parametrize(
    ("seconds", "intervals"),
    [
        pytest.param(4, (1, 10), id="20 s"),
        pytest.param(36, (1, 10, 60), id="three minutes", marks=pytest.mark.slow),
    ],
)
def test_the_process_that_is_named_is_the_right_one(
    seconds: float,
    intervals: tuple[int, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    flows, shots = recorded(seconds)
    truth = pl.DataFrame(
        [
            {
                "zeek.session_id": f"C{number}",
                "side": side,
                "true": flow[name],
                "kind": flow["kind"],
            }
            for number, flow in enumerate(flows)
            for side, name in (("source", "pid"), ("destination", "server"))
        ]
    )
    lines = []
    for every in intervals:
        folder = tmp_path / str(every)
        folder.mkdir()
        paths = written(folder, flows, shots, every)
        replayed(paths, folder / "store", load_rules([]))
        told = answers(folder / "store").join(truth, on=["zeek.session_id", "side"])
        assert told.height == truth.height
        right = pl.col("pid") == pl.col("true")
        for side in ("source", "destination"):
            by = told.filter(pl.col("side") == side)
            counts = dict(by.group_by("verdict").len().iter_rows())
            shares = {name: counts.get(name, 0) / by.height for name in ("exact", "bounded", "ambiguous", "reused", "none")}  # fmt: skip
            precise = {
                name: by.filter(pl.col("verdict") == name).select(right.mean()).item()
                for name in ("exact", "bounded")
            }
            lines.append(
                f"every {every:>2} s  {side:<11}  {by.height} flows  "
                + "  ".join(f"{name} {share:.1%}" for name, share in shares.items())
                + "  right: "
                + "  ".join(f"{n} {'-' if p is None else f'{p:.2%}'}" for n, p in precise.items())
            )
            for name, precision in precise.items():
                if precision is not None:
                    wrong = by.filter(pl.col("verdict") == name, ~right)
                    assert precision >= 0.99, (every, side, name, wrong.to_dicts()[:3])
        if every == 1:
            assert told.filter((pl.col("verdict") == "exact") & (pl.col("side") == "source")).height >= 0.3 * len(flows)  # fmt: skip
            assert told.filter(pl.col("verdict") == "reused").height > 0
    with capsys.disabled():
        print("", *lines, sep="\n")
