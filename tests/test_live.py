"""Following logs gives what replaying them later gives, whatever happens in between."""

from __future__ import annotations

import random
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from conftest import ROOT
from live_support import (
    Log,
    configuration,
    header,
    known,
    lines,
    replayed_whole,
    running,
    start,
    stored,
    wait_for,
)

NUMBER = 1_200


def whole(folder: Path, made: dict[str, list[bytes]]) -> tuple[list[str], str]:
    """What a replay of the same lines, each log in one file, comes to."""
    paths = []
    for name, data in made.items():
        path = folder / "whole" / name / "conn.log"
        path.parent.mkdir(parents=True)
        path.write_bytes(header() + b"".join(data))
        paths.append(path)
    return replayed_whole(paths, folder / "replayed")


def write(log: Log, data: list[bytes], chance: random.Random, stop: threading.Event) -> None:
    """Write lines in pieces of any size, with rotations of every kind in between."""
    rotations = [log.rename, log.compress, log.copytruncate]
    rest = b"".join(data)
    place = 0
    while place < len(rest) and not stop.is_set():
        size = chance.choice([30, 200, 3_000, 20_000])
        part = rest[place : place + size]
        place += len(part)
        log.write(part)
        if chance.random() < 0.08:
            end = rest.find(b"\n", place) + 1 or len(rest)
            log.write(rest[place:end])  # tools rotate between lines, as far as they can
            place = end
            time.sleep(chance.uniform(0.05, 0.3))
            chance.choice(rotations)()
        time.sleep(chance.choice([0, 0.01, 0.1]))
    log.close()


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_followed_with_rotations_and_kills_is_replayed(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    made = {"a": lines(NUMBER, seed), "b": lines(NUMBER // 3, seed + 50, start=100)}
    (tmp_path / "logs").mkdir()
    logs = {}
    for name in made:
        (tmp_path / "logs" / name).mkdir()
        logs[name] = Log(tmp_path / "logs" / name / "conn.log")
    config = configuration(
        tmp_path,
        [f"logs/{name}/conn.log" for name in made],
        f"batch: {chance.choice([1, 37, 100_000])}\nidle_limit: 30\n".replace(
            "idle_limit: 30\n", ""
        ),
    )
    config.write_text(config.read_text().replace("idle_limit: 0.5", "idle_limit: 20"))
    stop = threading.Event()
    writers = [
        threading.Thread(target=write, args=(logs[name], made[name], random.Random(seed), stop))
        for name in made
    ]
    first = start("run", "-c", str(config))  # what was rotated away before is not asked for
    wait_for("both logs are known", lambda: len(known(tmp_path / "store")) == len(made))
    first.kill()
    first.wait(30)
    for writer in writers:
        writer.start()
    try:
        for _ in range(3):
            process = start("run", "-c", str(config))
            wait_for("it runs", partial(running, tmp_path / "store", process.pid))
            time.sleep(chance.uniform(0.0, 3.0))
            process.send_signal(chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            process.wait(30)
    finally:
        for writer in writers:
            writer.join(120)
        stop.set()
    process = start("run", "-c", str(config), "--until-idle", "1.5")
    assert process.wait(120) == 0
    config = configuration(tmp_path, [f"logs/{name}/conn.log" for name in made])
    process = start("run", "-c", str(config), "--until-idle", "1.5")
    assert process.wait(120) == 0
    ids, alerts = stored(tmp_path / "store")
    wanted_ids, wanted_alerts = whole(tmp_path, made)
    assert len(wanted_ids) == sum(len(data) for data in made.values())
    assert set(ids) == set(wanted_ids)
    assert len(ids) == len(wanted_ids)
    assert alerts == wanted_alerts
    assert replayed_whole([tmp_path / "logs"], tmp_path / "pieces") == (wanted_ids, wanted_alerts)


def test_a_start_at_the_end_is_remembered_before_anything_came(tmp_path: Path) -> None:
    """A log without a header gives no lines at such a start; its position is saved all the same."""
    log = tmp_path / "conn.log"
    record = (ROOT / "sample_logs/incident/conn.json.log").read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(record[:50]))
    config = tmp_path / "c.yml"
    config.write_text("store: store\nrules: []\nsources: [{path: conn.log, start: end}]\n")
    for more in (b"", b"".join(record[50:60])):
        with log.open("ab") as out:
            out.write(more)
        assert start("run", "-c", str(config), "--until-idle", "1").wait(120) == 0
    ids, _ = stored(tmp_path / "store")
    assert len(ids) == 10
