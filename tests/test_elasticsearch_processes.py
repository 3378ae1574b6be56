"""Processes on a real server: the answers of a store, and what a run that follows logs writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from copies import Copying, config_of
from elastic import Elastic
from elastic_servers import VERSIONS
from live_process import PATIENCE, ended, following
from live_support import wait_for
from test_behind import copying
from test_processes_live import DUMPS, RULES, door, named
from test_zeek_tsv import header, row

from connwatch.cli import run
from connwatch.errors import StoreError

__all__ = ["copying"]
pytestmark = [
    pytest.mark.source,
    pytest.mark.parametrize("elasticsearch", VERSIONS[-1:], indirect=True),
]

INCIDENT = ROOT / "sample_logs" / "incident"
ASKED = [
    ("process", "backdoor"),
    ("process", "BackDoor", "--format", "ndjson"),
    ("process", "4775", "--format", "json"),
    ("process", "sshd", "--from", "2026-11-21 07:26:30", "--to", "2026-11-21 07:26:50"),
    ("process", "curl", "--clock-offset", "measured", "--format", "csv"),
    ("flow", "1:VnLgY0sLB+INfyMtR3DY5q/x9G4=", "--format", "json"),
    ("flow", "Ce4SjbQ9NN7ZAHFbsG"),
    ("reconcile", "--format", "json"),
    ("reconcile", "--from", "2026-11-21 07:26:40", "--clock-offset", "measured"),
    ("sockets", "--format", "ndjson"),
    ("sockets", "socket.state: established", "--changed"),
    ("sockets", "--at", "2026-11-21 07:26:40", "--all", "--format", "csv"),
    ("sockets", "--at", "2020-01-01"),
    ("reconcile", "--from", "2030-01-01", "--format", "json"),
]


@pytest.mark.slow
def test_commands_on_a_server_answer_what_they_answer_on_the_store(
    copying: Copying, tmp_path: Path
) -> None:
    """With times that a server does not index, and an address with a zone, among the events."""
    store = tmp_path / "store"
    shown = (INCIDENT / "ss-ws-20261121T072643Z.txt").read_bytes()
    odd = (tmp_path / "ss-old.txt", tmp_path / "ss-new.txt", tmp_path / "conn.log")
    odd[0].write_bytes(b"0001-01-01 00:00:01\n" + shown)
    odd[1].write_bytes(b"2300-12-31 23:59:59\n" + shown)
    ends = {"id.orig_h": "fe80::1%eth0", "id.resp_h": "fe80::2"}
    odd[2].write_text(header() + row(uid="Czone", **ends))
    logs = (INCIDENT / "conn.log", *DUMPS, *odd)
    copying.out("replay", *logs, "--rules", RULES, "--store", store)
    copying.there(store)
    for words in (*ASKED, ("flow", "Czone")):
        rules = ("--rules", RULES) if words[0] == "flow" else ()
        here = copying.out(*words, *rules, "--store", store)
        said = copying.said
        assert copying.on_server(*words, *rules) == here, words
        assert copying.said == said
    found = json.loads(copying.on_server(*ASKED[5], "--rules", RULES))
    assert found["ends"][1]["name"] == "backdoor"
    assert len(found["alerts"]) >= 2
    for words in (("process", "nobody-has-this-name"), ("flow", "ffffffffffffffffffff")):
        copying.on_server(*words, code=StoreError.exit_code)


@pytest.mark.slow
def test_a_server_gets_the_alerts_of_a_live_run_with_their_processes(
    elasticsearch: Elastic, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    shutil.copy(INCIDENT / "conn.log", logs)
    config = config_of(tmp_path, elasticsearch)
    config.write_text(
        config.read_text().replace(
            "sources: [{path: conn.log}]",
            f"store: store\nsettle: 0.2\nrules: [{RULES}]\n"
            "sources: [{path: logs/conn.log}, {path: logs/ss-*.txt}]",
        )
    )

    def on_server() -> dict[str, Any]:
        """The alert about the back door, as the server has it; empty while it cannot be asked."""
        own = door(tmp_path / "store").get("event", {}).get("id", "none")
        capsys.readouterr()
        code = run(["alerts", f"event.id: {own}", "--format", "json", "-c", str(config)])
        text = capsys.readouterr().out
        return {} if code else next(iter(json.loads(text)), {})

    with following(config, tmp_path / "store") as process:
        wait_for("the alert there", lambda: bool(on_server()), PATIENCE)
        assert not named(on_server())
        for path in DUMPS:
            shutil.copy(path, logs)
        wait_for("its process there", lambda: named(on_server()), PATIENCE)
        wait_for("all of it", lambda: on_server() == door(tmp_path / "store"), PATIENCE)
        assert ended(process) == 0
