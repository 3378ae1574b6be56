"""Waiting for changes: with inotify, by polling, and when inotify has reached its limits."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any, Literal

import pytest
from watchdog.observers.api import BaseObserver

from connwatch.ingest.follow import Wake
from connwatch.ingest.follow import wake as module


def woken(wake: Wake, act: Any, seconds: float = 5.0) -> float:
    """Seconds from the act until it was noticed."""
    while wake.wait(0.2):
        pass
    begin = time.monotonic()
    act()
    assert wake.wait(seconds), "nothing was noticed"
    return time.monotonic() - begin


@pytest.mark.parametrize("mode", ["auto", "inotify", "polling"])
def test_a_change_wakes(tmp_path: Path, mode: Literal["auto", "inotify", "polling"]) -> None:
    log = tmp_path / "conn.log"
    log.write_text("a\n")
    wake = Wake(mode, 0.05)
    wake.watch([str(tmp_path)])
    try:
        time.sleep(0.1)
        with log.open("a") as out:
            print("b", file=out, flush=True)
            taken = woken(wake, lambda: print("c", file=out, flush=True))
        assert taken < (2.0 if mode == "polling" else 0.5)
        woken(wake, lambda: log.rename(tmp_path / "conn.log.1"))
        woken(wake, log.touch)
        woken(wake, log.unlink)
        assert wake.note is None
        assert not wake.wait(0.05)
    finally:
        wake.close()


def test_what_happened_before_wakes_at_once(tmp_path: Path) -> None:
    wake = Wake("inotify")
    wake.watch([str(tmp_path)])
    try:
        (tmp_path / "x").touch()
        time.sleep(0.2)
        begin = time.monotonic()
        assert wake.wait(5)
        assert time.monotonic() - begin < 0.1
    finally:
        wake.close()


def test_what_is_watched_is_replaced(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    wake = Wake("inotify")
    try:
        wake.watch([str(one), str(tmp_path / "missing")])
        wake.watch([str(two)])
        woken(wake, (two / "x").touch)
        while wake.wait(0.2):
            pass
        (one / "x").touch()
        assert not wake.wait(0.2)
        (two / "x").unlink()
        two.rmdir()
        time.sleep(0.1)
        two.mkdir()
        wake.watch([str(two)])
        woken(wake, (two / "y").touch)
    finally:
        wake.close()


def test_without_inotify_it_polls_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def schedule(observer: Any, *arguments: Any, **options: Any) -> Any:
        if type(observer).__name__ != "PollingObserver":
            refuse()
        return schedules(observer, *arguments, **options)

    schedules = BaseObserver.schedule
    monkeypatch.setattr(BaseObserver, "schedule", schedule)
    wake = Wake("auto", 0.05)
    try:
        wake.watch([str(tmp_path)])
        assert wake.note is not None
        assert "fs.inotify.max_user_watches" in wake.note
        woken(wake, (tmp_path / "x").touch)
    finally:
        wake.close()


def test_a_network_file_system_is_polled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_remote", lambda paths: dict.fromkeys(paths, "nfs4"))
    wake = Wake("auto", 0.05)
    try:
        wake.watch([str(tmp_path)])
        assert wake.note is not None
        assert "network file system (nfs4)" in wake.note
        woken(wake, (tmp_path / "x").touch)
    finally:
        wake.close()


def test_many_changes_cost_little(tmp_path: Path) -> None:
    log = tmp_path / "conn.log"
    wake = Wake("inotify")
    wake.watch([str(tmp_path)])
    wakes = 0
    begin, used = time.monotonic(), time.process_time()
    try:
        with log.open("ab", buffering=0) as out:
            while time.monotonic() - begin < 1:
                for _ in range(500):
                    out.write(b"x\n")
                wakes += wake.wait(0.05)
                time.sleep(0.02)
    finally:
        wake.close()
    assert wakes > 5
    assert time.process_time() - used < 0.5


def test_waiting_costs_nothing(tmp_path: Path) -> None:
    wake = Wake("auto")
    wake.watch([str(tmp_path)])
    try:
        used = time.process_time()
        assert not wake.wait(1)
        assert time.process_time() - used < 0.01
    finally:
        wake.close()
