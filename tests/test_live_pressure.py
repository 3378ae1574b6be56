"""A store that is slow, and a clock that steps: in one process, where both can be made."""

from __future__ import annotations

import resource
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from live_process import PATIENCE, RULES, configured, is_as_replayed
from live_support import header, lines, wait_for

from connwatch.cli.config import read_config
from connwatch.detectors.ruleset import load_rules
from connwatch.live.run import LiveRun, Prepared, Signals
from connwatch.pipeline import bundled_rules
from connwatch.sinks.embedded import EmbeddedStore, Run


def live(config: Path, signals: Signals, store: EmbeddedStore, **more: Any) -> LiveRun:
    rules = load_rules([bundled_rules() / one for one in RULES])
    return LiveRun(Prepared(read_config(config), rules, None), store, signals, **more)


def held() -> int:
    """Bytes that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_a_slow_store_slows_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read and not stored stays within a few batches, however much there is to read."""
    made = lines(40_000)
    (tmp_path / "conn.log").write_bytes(header() + b"".join(made))
    config = configured(tmp_path, more="batch: 1000\n")
    monkeypatch.setattr("connwatch.ingest.live.READ", 256 << 10)
    events: dict[str, int] = {"read": 0, "stored": 0, "most": 0}
    memory: list[int] = []
    given, stage = Run.classify, Run.stage

    def classify(self: Run, frame: Any) -> Any:
        events["read"] += frame.height
        events["most"] = max(events["most"], events["read"] - events["stored"])
        return given(self, frame)

    def slow(self: Run, delivery: Any, *values: Any, **options: Any) -> None:
        time.sleep(0.2)
        stage(self, delivery, *values, **options)
        events["stored"] += delivery.events.height
        memory.append(held())

    monkeypatch.setattr(Run, "classify", classify)
    monkeypatch.setattr(Run, "stage", slow)
    with EmbeddedStore(tmp_path / "store") as store:
        live(config, Signals(), store).follow(until_idle=0.5)
    assert events["stored"] == events["read"] == len(made)
    assert events["most"] < 10_000
    assert len(memory) > 10
    assert max(memory) - memory[len(memory) // 4] < 100 << 20
    is_as_replayed(tmp_path / "store", made, tmp_path)


@pytest.mark.parametrize("step", [-86_400.0, 86_400.0 * 400])
def test_no_step_of_the_clock_changes_what_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    made = lines(2_000)
    log, config = tmp_path / "conn.log", configured(tmp_path)
    log.write_bytes(header())
    signals, moved, real = Signals(), [0.0], time.time
    monkeypatch.setattr(time, "time", lambda: real() + moved[0])
    with EmbeddedStore(tmp_path / "store") as store:
        run = live(config, signals, store)
        following = threading.Thread(target=run.follow)
        following.start()
        try:
            for begin, end in ((0, 700), (700, 1_300), (1_300, 2_000)):
                with log.open("ab") as out:
                    out.write(b"".join(made[begin:end]))
                wait_for("it is read", partial(has_read, run, end), PATIENCE)
                moved[0] += step
        finally:
            signals.ask_stop()
            following.join()
    is_as_replayed(tmp_path / "store", made, tmp_path)


def has_read(run: LiveRun, records: int) -> bool:
    return run.session is not None and run.session.totals.events >= records
