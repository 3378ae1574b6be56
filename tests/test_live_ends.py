"""A run with --until-idle ends as a replay does: what would go on is taken as whole, and closed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from conftest import ROOT
from live_process import following, status
from live_support import configuration, replayed_whole, start, stored, wait_for

INCIDENT = ROOT / "sample_logs" / "incident"


def test_the_end_of_a_run_is_that_of_a_replay(tmp_path: Path) -> None:
    """Packets, tables of sockets and Zeek logs, whose alerts have parts of each."""
    folder = tmp_path / "logs"
    shutil.copytree(INCIDENT, folder)
    config = configuration(tmp_path, [str(folder)])
    for _ in range(2):  # a second run has nothing to add
        process = start("run", "-c", str(config), "--until-idle", "2", stderr=subprocess.PIPE)
        _, said = process.communicate(timeout=180)
        assert process.returncode == 0, said
        ids, alerts = stored(tmp_path / "store")
        whole, wanted = replayed_whole([folder], tmp_path / "replayed")
        assert sorted(ids) == sorted(whole)
        assert alerts == wanted


def test_flows_of_a_dump_that_is_rotated_are_those_of_a_replay_of_its_pieces(
    tmp_path: Path,
) -> None:
    """Flows end with the file, as in a replay, and are told then."""
    lines = (INCIDENT / "tcpdump.txt").read_bytes().splitlines(keepends=True)
    log, cut = tmp_path / "logs" / "dump.txt", len(lines) // 2
    log.parent.mkdir()
    log.write_bytes(b"".join(lines[:cut]))
    config = configuration(tmp_path, [str(log)])
    store = tmp_path / "store"

    def read() -> int:
        return sum(one["lines"] for one in status(store).get("sources", ()))

    with following(config, store) as process:
        wait_for("the first piece is read", lambda: read() >= cut - 1)
        log.rename(log.with_name("dump.txt.1"))
        log.write_bytes(b"".join(lines[cut:]))
        wait_for("the second piece is read", lambda: read() >= len(lines) - 1)
        process.terminate()
        assert process.wait(60) == 0
    assert start("run", "-c", str(config), "--until-idle", "1").wait(120) == 0
    ids, alerts = stored(store)
    whole, wanted = replayed_whole([log.parent], tmp_path / "replayed")
    assert sorted(ids) == sorted(whole)
    assert alerts == wanted


def test_tail_tells_of_the_last_table_before_it_ends(tmp_path: Path) -> None:
    log = tmp_path / "ss.txt"
    shutil.copy2(next(INCIDENT.glob("ss-srv-*.txt")), log)
    process = start(
        "tail", str(log), "--json", "--until-idle", "1", cwd=tmp_path, stdout=subprocess.PIPE
    )
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert any("31337" in json.loads(line)["message"] for line in out.splitlines())
