"""What a format holds back, and what is open at the end of a file, when that file goes on elsewhere
while nothing runs."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from conftest import ROOT
from live_process import following, status
from live_support import configuration, replayed_whole, start, stored, wait_for

from connwatch.sinks.embedded import StoreReader

INCIDENT = ROOT / "sample_logs" / "incident"


def packets() -> list[bytes]:
    """Two pieces, at whose cut connections are open."""
    lines = (INCIDENT / "tcpdump.txt").read_bytes().splitlines(keepends=True)
    return [b"".join(lines[:100]), b"".join(lines[100:400])]


def tables() -> list[bytes]:
    """Two pieces of two and one snapshots, of which the last one of a file waits for another."""
    first, second = (path.read_bytes() for path in sorted(INCIDENT.glob("ss-ws-*.txt")))
    times = (b"=== 2026-11-21 07:26:%d ===\n" % seconds for seconds in (30, 43, 55))
    made = [time + table for time, table in zip(times, (first, second, first), strict=True)]
    return [made[0] + made[1], made[2]]


def renamed(log: Path) -> None:
    log.rename(log.with_name(f"{log.name}.1"))


def compressed(log: Path) -> None:
    log.with_name(f"{log.name}.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()


def removed(log: Path) -> None:
    log.unlink()


def truncated(log: Path) -> None:
    os.truncate(log, 0)


@pytest.mark.parametrize(
    ("pieces", "end", "rotated"),
    [
        (packets, signal.SIGKILL, renamed),
        (tables, signal.SIGTERM, removed),
        *(
            pytest.param(*one, marks=pytest.mark.slow)
            for one in (
                (packets, signal.SIGTERM, renamed),
                (packets, signal.SIGTERM, compressed),
                (packets, signal.SIGTERM, removed),
                (packets, signal.SIGKILL, truncated),
                (tables, signal.SIGTERM, renamed),
            )
        ),
    ],
)
def test_what_was_open_is_closed_when_its_file_was_rotated_meanwhile(
    pieces: Callable[[], list[bytes]],
    end: signal.Signals,
    rotated: Callable[[Path], None],
    tmp_path: Path,
) -> None:
    first, second = pieces()
    log, kept, store = tmp_path / "logs" / "log.txt", tmp_path / "kept", tmp_path / "store"
    log.parent.mkdir()
    kept.mkdir()
    log.write_bytes(first)
    shutil.copy2(log, kept / "log.txt.1")
    config = configuration(tmp_path, [str(log)])

    def committed() -> bool:
        sources = status(store).get("sources", ())
        return bool(sources) and all(one["lag_bytes"] == 0 and one["lines"] for one in sources)

    with following(config, store) as process:
        wait_for("the first piece is read", committed)
        process.send_signal(end)
        process.wait(60)
    rotated(log)
    with log.open("ab") as out:
        out.write(second)
    shutil.copy2(log, kept)
    assert start("run", "-c", str(config), "--until-idle", "2").wait(120) == 0
    assert stored(store)[0] == replayed_whole([kept], tmp_path / "replayed")[0]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_every_packet_is_in_one_flow_whatever_happens(seed: int, tmp_path: Path) -> None:
    """Writing, rotations and kills in any order."""
    chance = random.Random(seed)
    lines = (INCIDENT / "tcpdump.txt").read_bytes().splitlines(keepends=True)
    log, written, rotations = tmp_path / "logs" / "dump.txt", 0, 0
    log.parent.mkdir()
    config = configuration(tmp_path, [str(log)], "batch: 500\n", idle_limit=chance.choice([1, 60]))
    process = start("run", "-c", str(config))
    for what in chance.choices(["write", "write", "rotate", "kill"], k=16):
        time.sleep(chance.choice([0, chance.uniform(0, 0.3), chance.uniform(0, 1.5)]))
        if what == "write" or not log.exists():
            more = chance.randint(1, 60)
            with log.open("ab") as out:
                out.write(b"".join(lines[written : written + more]))
            written += more
        elif what == "rotate":
            rotations += 1
            log.rename(log.with_name(f"dump.txt.{rotations:02}"))
        else:
            process.kill()
            process.wait()
            process = start("run", "-c", str(config))
    process.kill()
    process.wait()
    assert start("run", "-c", str(config), "--until-idle", "2").wait(120) == 0
    assert packets_stored(tmp_path / "store") == written
    assert stored(tmp_path / "store")[0] == replayed_whole([log.parent], tmp_path / "replayed")[0]


def packets_stored(folder: Path) -> int:
    with StoreReader(folder) as reader:
        flows = reader.events().filter(pl.col("event.dataset") == "tcpdump.connection")
        return int(
            flows.select(pl.col("source.packets", "destination.packets").sum())
            .collect()
            .to_numpy()
            .sum()
        )


def test_what_was_open_in_a_pipe_is_closed_by_the_next_run(tmp_path: Path) -> None:
    pipe, store = tmp_path / "pipe", tmp_path / "store"
    os.mkfifo(pipe)
    config = configuration(tmp_path, [str(pipe)])
    data = (INCIDENT / "tcpdump.txt").read_bytes()
    lines = data.count(b"\n")

    def read() -> int:
        return sum(one["lines"] for one in status(store).get("sources", ()))

    with following(config, store) as process:
        pipe.write_bytes(data)
        wait_for("the pipe is read", lambda: read() >= lines - 1)
        process.terminate()
        assert process.wait(60) == 0
    # It is looked for longer than nothing comes.
    config.write_text(config.read_text().replace("settle: 0.2", "settle: 2"))
    assert start("run", "-c", str(config), "--until-idle", "1").wait(120) == 0
    whole = tmp_path / "whole.txt"
    whole.write_bytes(data)
    assert stored(store)[0] == replayed_whole([whole], tmp_path / "replayed")[0]
