"""kill -9 at any moment leaves a store that opens, with nothing lost or doubled on the next run."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from sink_contract import delivery, events
from test_store import found

from connwatch.alert import digest
from connwatch.sinks.embedded import EmbeddedStore, StoreReader, maintenance

BATCHES, ROWS = 40, 50
#: a writer that tells each commit on its standard output, as a replay would do it
WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_store_crash import write_all
write_all(Path(sys.argv[1]))
"""


def write_all(folder: Path) -> None:
    state = None
    with EmbeddedStore(folder) as store:
        run = store.begin_run()
        for number in range(BATCHES):
            rows = events(range(number * ROWS, (number + 1) * ROWS))
            fate, keys = run.classify(rows)
            hits, alerts, state = found(rows, 2, state)
            run.write(delivery(rows.filter(fate == "new"), hits=hits, alerts=alerts), keys)
            print(number, flush=True)
            if number == BATCHES // 2:
                maintenance.compact(folder, store.database)


def killed(folder: Path, chance: random.Random) -> int:
    """Start the writer, kill it at a random moment, and say how many commits it told of."""
    tests = str(Path(__file__).parent)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), tests],
        stdout=subprocess.PIPE,
        env={**os.environ, "POLARS_MAX_THREADS": "1"},
    )
    assert writer.stdout is not None
    told = 0
    if writer.stdout.readline():  # it has begun to commit
        told = 1
        time.sleep(chance.uniform(0, 0.4))
    writer.send_signal(signal.SIGKILL)
    rest = writer.stdout.read()
    writer.stdout.close()
    writer.wait()
    return told + rest.count(b"\n")


def check(folder: Path, times: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(times):
        before = len(list(folder.rglob("*.parquet"))) if folder.exists() else 0
        told = killed(folder, chance)
        with StoreReader(folder) as reader:
            assert reader.verify() == []
            stored = (
                reader.events()
                .select(pl.col("event.id").n_unique(), rows=pl.len())
                .collect()
                .row(0)
            )
            assert stored[0] == stored[1], "an event is there twice"
            assert stored[1] % ROWS == 0, "half a commit can be seen"
            assert before or stored[1] >= told * ROWS, "a commit that was told is lost"
    write_all(folder)
    whole = folder.parent / "whole"
    write_all(whole)
    with StoreReader(folder) as one, StoreReader(whole) as other:
        assert one.verify() == []
        assert one.events().select(pl.len()).collect().item() == BATCHES * ROWS
        assert one.info()["hits"] == BATCHES * ROWS
        assert digest(one.alerts()) == digest(other.alerts())
        assert not list(folder.rglob("*.part"))


def test_killed_fifteen_times(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    check(tmp_path / "store", 15, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_killed_a_hundred_times(tmp_path: Path, seed: int) -> None:
    for part in range(5):
        check(tmp_path / str(part) / "store", 3, seed * 100 + part)


def test_a_reader_never_sees_half_a_commit(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
    )
    assert writer.stdout is not None
    writer.stdout.readline()
    last = 0
    while writer.poll() is None:
        with StoreReader(folder) as reader:
            rows = reader.events().select(pl.len()).collect().item()
            alerts = reader.alerts()
        assert rows % ROWS == 0
        assert rows >= last
        assert sum(alert["connwatch"]["count"] for alert in alerts) >= last
        last = rows
    writer.stdout.close()
    assert writer.returncode == 0
