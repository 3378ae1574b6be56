"""`connwatch sockets`, as a person and a script use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from test_commands import out
from test_sockets import HEADER

pytestmark = pytest.mark.source

INCIDENT = ROOT / "sample_logs" / "incident"
TABLES = sorted(map(str, INCIDENT.glob("ss-*.txt")))


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONNWATCH_STORE", str(tmp_path / "store"))


def rows(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for line in out(capsys, "sockets", *arguments, "--format", "ndjson").splitlines()
    ]


def changes(found: list[dict[str, Any]]) -> dict[str, Any]:
    """What changed, by both ends."""
    return {
        f"{one['socket']['local']} {one['socket'].get('peer')}": one["socket"].get("change")
        for one in found
    }


def test_the_latest_snapshot_of_each_host_says_what_changed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out(capsys, "replay", *TABLES)
    text = out(capsys, "sockets")
    assert "ss-srv: 2026-11-21 07:26:46 UTC" in text
    assert "ss-ws: 2026-11-21 07:26:43 UTC" in text
    found = rows(capsys, "destination.ip: 192.168.56.20 and destination.port: (22 or 31337)")
    srv = changes([one for one in found if "ss-srv" in one["log"]["file"]["path"]])
    assert srv == {
        "192.168.56.20:22 0.0.0.0:*": None,
        "192.168.56.20:31337 0.0.0.0:*": None,
        "192.168.56.20:22 192.168.56.10:55280": None,
        "192.168.56.20:22 198.51.100.66:55813": "opened",
        "192.168.56.20:31337 198.51.100.66:44635": "closed",
    }
    closed = [one for one in found if one["socket"].get("change") == "closed"]
    assert [one["socket"]["closed_before"] for one in closed] == ["2026-11-21T07:26:46.000000Z"]
    assert [one["process"]["name"] for one in closed] == ["backdoor"]


def test_an_earlier_snapshot_is_shown_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    out(capsys, "replay", *TABLES)
    found = rows(capsys, "--at", "2026-11-21 07:26:40", "destination.port: 31337")
    assert changes(found) == {
        "192.168.56.20:31337 0.0.0.0:*": "first",
        "192.168.56.20:31337 198.51.100.66:44635": "first",
    }
    assert rows(capsys, "--at", "2026-11-21") == []


def test_only_what_changed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Also: a snapshot of UDP alone does not close what is TCP; unix sockets are shown on demand."""
    tcp = "tcp ESTAB 0 0 192.0.2.1:22 198.51.100.7:{}\n"
    udp = "udp UNCONN 0 0 192.0.2.1:53 0.0.0.0:*\n"
    unix = "u_str ESTAB 0 0 /run/x 12 * 13\n"
    path = tmp_path / "ss.txt"
    path.write_text(
        f"2026-11-21 07:00:00Z\n{HEADER}{tcp.format(1001)}{udp}{unix}"
        f"2026-11-21 07:00:10Z\n{HEADER}{tcp.format(1001)}{tcp.format(1002)}{udp}{unix}"
        f"2026-11-21 07:00:20Z\n{HEADER}{udp}"
    )
    out(capsys, "replay", str(path))
    assert changes(rows(capsys)) == {
        "192.0.2.1:22 198.51.100.7:1001": None,
        "192.0.2.1:22 198.51.100.7:1002": "opened",
        "192.0.2.1:53 0.0.0.0:*": None,
    }
    assert list(changes(rows(capsys, "--changed"))) == ["192.0.2.1:22 198.51.100.7:1002"]
    assert len(rows(capsys, "--all")) == 4
