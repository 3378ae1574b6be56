"""A disk that fills up, a store that is slow, and one that goes away."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from crash.needs import small_disk
from live_process import (
    PATIENCE,
    configured,
    ended,
    following,
    is_as_replayed,
    memory,
    said,
    state,
    status,
    until_read,
)
from live_support import header, lines, wait_for


def fill(path: Path) -> None:
    """Write until nothing more goes in."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


@pytest.mark.slow
def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    """It says so, holds no more than before, and goes on by itself, and nothing is lost."""
    made = lines(6_000)
    log = tmp_path / "conn.log"
    with small_disk(tmp_path / "disk", "12m") as disk, log.open("ab", buffering=0) as out:
        store = disk / "store"
        config = configured(tmp_path, store=str(store))
        out.write(header() + b"".join(made[:1_000]))
        with following(config, store) as process:
            until_read(store, 1_000)
            before = memory(process)
            fill(disk / "filler")
            out.write(b"".join(made[1_000:3_000]))
            wait_for("it waits", lambda: state(store, process) == "waiting", PATIENCE)
            asked = subprocess.run(
                [sys.executable, "-m", "connwatch.cli", "status", "--store", str(store)],
                capture_output=True,
                text=True,
                check=False,
            )
            assert asked.returncode == 1
            assert "waiting" in asked.stdout
            assert "no space is left" in asked.stdout
            out.write(b"".join(made[3_000:]))
            tries = lambda: status(store)["sinks"][0]["retries"]  # noqa: E731
            wait_for("it has tried again", lambda: tries() >= 3, PATIENCE)
            assert state(store, process) == "waiting"
            assert memory(process) - before < 100 << 20
            (disk / "filler").unlink()
            until_read(store, len(made))
            wait_for("it runs", lambda: state(store, process) == "running", PATIENCE)
            assert status(store)["sinks"][0]["error"] is None
            assert ended(process) == 0
        assert "Traceback" not in said(config)
        is_as_replayed(store, made, tmp_path)


@pytest.mark.parametrize("how", ["moved", "deleted"])
def test_a_store_that_goes_away_ends_it(tmp_path: Path, how: str) -> None:
    """With exit code 3 and what to do; put back, it goes on where it was."""
    made = lines(1_000)
    log, store = tmp_path / "conn.log", tmp_path / "store"
    config = configured(tmp_path)
    log.write_bytes(header() + b"".join(made[:500]))
    with following(config, store) as process:
        until_read(store, 500)
        if how == "moved":
            store.rename(tmp_path / "away")
        else:
            shutil.rmtree(store)
        with log.open("ab") as out:
            out.write(b"".join(made[500:]))
        assert process.wait(PATIENCE) == 3
    assert "the store is gone" in said(config)
    assert "hint: put the folder back" in said(config)
    assert "Traceback" not in said(config)
    assert not store.exists()
    if how == "moved":
        (tmp_path / "away").rename(store)
    with following(config, store) as process:
        until_read(store, 1_000)
        assert ended(process) == 0
    is_as_replayed(store, made, tmp_path)
