"""What is asked of a live run from outside: to stop, to read its rules again, to stand still."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from live_process import (
    PATIENCE,
    configured,
    ended,
    following,
    is_as_replayed,
    said,
    state,
    status,
    until_read,
)
from live_support import header, lines, stored, wait_for
from support import replayed

from connwatch.detectors.ruleset import load_rules

SWEEP = """\
title: Many hosts asked
id: 7d1f8f0a-51d5-4a50-8d0e-3f2f6f4c9a01
logsource: {{category: network, service: connection}}
detection:
  unanswered: {{zeek.connection.state: S0}}
  condition: unanswered
analytic:
  type: scan
  any-of:
    - {{addresses: {hosts}, within: 1d}}
level: medium
message: "{{source.ip}} asked {{peak}} hosts"
"""
SINGLE = """\
title: Refused
id: 7d1f8f0a-51d5-4a50-8d0e-3f2f6f4c9a02
logsource: {category: network, service: connection}
detection:
  refused: {zeek.connection.state: REJ}
  condition: refused
level: low
"""


def reload(store: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "connwatch.cli",
            "reload",
            "--store",
            str(store),
            "--timeout",
            "120",
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def write_rules(folder: Path, **rules: str) -> Path:
    """Exactly these rules."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for name, text in rules.items():
        (folder / f"{name}.yml").write_text(text)
    return folder


def with_rules(config: Path, rules: Path) -> None:
    text = config.read_text()
    before, after = text.split("rules:\n")[0], text.split("sources:\n")[1]
    config.write_text(f"{before}rules: [{rules}]\nsources:\n{after}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_commits_and_ends_within_five_seconds(tmp_path: Path, number: int) -> None:
    """While lines come."""
    made = lines(3_000)
    config, store = configured(tmp_path), tmp_path / "store"
    log = tmp_path / "conn.log"
    log.write_bytes(header())
    stop = threading.Event()

    def write() -> None:
        with log.open("ab", buffering=0) as out:
            for begin in range(0, len(made), 10):
                out.write(b"".join(made[begin : begin + 10]))
                stop.wait(0.02)

    writer = threading.Thread(target=write)
    with following(config, store) as process:
        writer.start()
        try:
            until_read(store, 200)
            begun = time.monotonic()
            assert ended(process, number) == 0
            assert time.monotonic() - begun < 5
        finally:
            stop.set()
            writer.join()
    assert status(store)["state"] == "stopped"
    read = status(store)["totals"]["events"]
    assert len(stored(store)[0]) == read
    with following(config, store) as process:
        until_read(store, len(made))
        assert ended(process, number) == 0
    is_as_replayed(store, made, tmp_path)


def test_a_second_ctrl_c_ends_at_once_and_loses_nothing(tmp_path: Path) -> None:
    made = lines(2_000)
    config, store = configured(tmp_path), tmp_path / "store"
    (tmp_path / "conn.log").write_bytes(header() + b"".join(made))
    with following(config, store) as process:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) in (0, 130)
    assert "Traceback" not in said(config)
    with following(config, store) as process:
        until_read(store, len(made))
        assert ended(process) == 0
    is_as_replayed(store, made, tmp_path)


@pytest.mark.slow
def test_a_halt_changes_nothing(tmp_path: Path) -> None:
    """SIGSTOP, lines meanwhile, SIGCONT."""
    made = lines(2_000)
    config, store = configured(tmp_path), tmp_path / "store"
    log = tmp_path / "conn.log"
    log.write_bytes(header() + b"".join(made[:500]))
    with following(config, store) as process, log.open("ab", buffering=0) as out:
        until_read(store, 500)
        for begin in (500, 1_000, 1_500):
            process.send_signal(signal.SIGSTOP)
            out.write(b"".join(made[begin : begin + 250]))
            time.sleep(1)
            out.write(b"".join(made[begin + 250 : begin + 500]))
            process.send_signal(signal.SIGCONT)
            until_read(store, begin + 500)
        assert ended(process) == 0
    is_as_replayed(store, made, tmp_path)


@pytest.mark.slow
def test_a_log_folder_that_vanishes_is_read_on_when_it_is_back(tmp_path: Path) -> None:
    made = lines(900)
    config, store = configured(tmp_path, ["logs/conn.log"]), tmp_path / "store"
    folder = tmp_path / "logs"
    folder.mkdir()
    log = folder / "conn.log"
    log.write_bytes(header() + b"".join(made[:300]))
    with following(config, store) as process:
        until_read(store, 300)
        folder.rename(tmp_path / "away")
        wait_for("it says so", lambda: status(store)["problems"] != [], PATIENCE)
        (tmp_path / "away").rename(folder)
        with log.open("ab") as out:
            out.write(b"".join(made[300:600]))
        until_read(store, 600)
        log.unlink()
        folder.rmdir()
        wait_for("it says so", lambda: status(store)["problems"] != [], PATIENCE)
        folder.mkdir()
        log.write_bytes(header("2026-11-19-01-00-00") + b"".join(made[600:]))
        until_read(store, 900)
        wait_for("all is well", lambda: status(store)["problems"] == [], PATIENCE)
        assert ended(process) == 0
    is_as_replayed(store, made, tmp_path)


@pytest.mark.slow
def test_rules_are_exchanged_between_two_batches(tmp_path: Path) -> None:
    """A scan that is half done at the reload still fires, as it does in a replay; a rule that is
    added or changed fires from then on, one that is gone no more; a broken one changes nothing."""
    made = lines(1_200)
    config, store = configured(tmp_path), tmp_path / "store"
    sweep, rules = SWEEP.format(hosts=60), tmp_path / "rules"
    other = SWEEP.replace("4c9a01", "4c9a03").replace("Many hosts", "Other hosts")
    never, changed = other.format(hosts=50_000), other.format(hosts=40)
    with_rules(config, write_rules(rules, sweep=sweep, other=never))
    log = tmp_path / "conn.log"
    log.write_bytes(header() + b"".join(made[:100]))
    with following(config, store) as process, log.open("ab", buffering=0) as out:
        until_read(store, 100)
        write_rules(rules, sweep=sweep, single=SINGLE, other=changed)
        done = reload(store)
        assert done.returncode == 0, done.stderr
        assert "generation 2" in done.stderr
        out.write(b"".join(made[100:600]))
        until_read(store, 600)

        broken = SINGLE.replace("REJ}", "[}")
        write_rules(rules, sweep=sweep, single=broken, other=changed)
        done = reload(store)
        assert done.returncode == 2
        assert "single.yml" in done.stderr
        kept = config.read_text()
        config.write_text(kept + "nonsense: 1\n")
        done = reload(store)
        assert done.returncode == 2
        assert "nonsense" in done.stderr
        config.write_text(kept)
        assert state(store, process) == "running"
        out.write(b"".join(made[600:800]))
        until_read(store, 800)

        write_rules(rules, sweep=sweep)
        done = reload(store)
        assert done.returncode == 0, done.stderr
        out.write(b"".join(made[800:]))
        until_read(store, len(made))
        assert ended(process) == 0
    assert "Traceback" not in said(config)

    whole = tmp_path / "whole" / "conn.log"
    whole.parent.mkdir()
    whole.write_bytes(header() + b"".join(made))
    _, wanted = replayed([whole], tmp_path / "replayed", load_rules([rules]))
    found = {one["rule"]["name"]: one for one in alerts_of(store)}
    assert len(wanted) == 1
    assert found["Many hosts asked"]["event"]["id"] == wanted[0]["event"]["id"]
    assert "Other hosts asked" in found
    refused = [line for line in made[100:800] if b"\tREJ\t" in line]
    assert found["Refused"]["connwatch"]["count"] == len(refused)


def alerts_of(store: Path) -> list[dict[str, object]]:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "connwatch.cli",
            "alerts",
            "--store",
            str(store),
            "--format",
            "ndjson",
        ],
        capture_output=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_reloads_under_load_lose_nothing(tmp_path: Path) -> None:
    made = lines(6_000)
    config, store = configured(tmp_path), tmp_path / "store"
    log = tmp_path / "conn.log"
    log.write_bytes(header())

    def write() -> None:
        with log.open("ab", buffering=0) as out:
            for begin in range(0, len(made), 20):
                out.write(b"".join(made[begin : begin + 20]))
                time.sleep(0.01)

    writer = threading.Thread(target=write)
    with following(config, store) as process:
        writer.start()
        try:
            while writer.is_alive():
                process.send_signal(signal.SIGHUP)
                time.sleep(0.3)
        finally:
            writer.join()
        until_read(store, len(made))
        assert status(store)["reloads"] > 0
        assert status(store)["reload_error"] is None
        assert ended(process) == 0
    is_as_replayed(store, made, tmp_path)
