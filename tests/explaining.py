"""Rules, flows and calls that the tests of `connwatch explain` share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_zeek_tsv import header, row

from connwatch.cli import run

DAY = 1_700_000_000  # 2023-11-14 22:13:20
LOGSOURCE = "logsource: {category: network, service: connection}\n"
SYN = (
    f"title: No answer\nname: syn\nid: 0b5dfc6c-1111-4a55-9a43-cf7b5a0a1d00\n{LOGSOURCE}"
    "detection: {s: {zeek.connection.state: S0}, condition: s}\n"
)
SCAN = (
    "title: Ports\nname: ports\nlevel: high\ncorrelation: {type: value_count, rules: [syn], "
    "group-by: [source.ip], timespan: 35s, condition: {gte: 4, field: destination.port}}\n"
)
DOOR = (
    f"title: Door\nname: door\nlevel: high\n{LOGSOURCE}detection: {{s: {{destination.port: 31337}}, "
    "t: {zeek.connection.state: SF}, condition: s and t}\n"
)


def flow(second: int, source: str, port: int, **more: str) -> str:
    values = {
        "ts": f"{DAY + second}.0",
        "uid": f"C{second}{source}{port}",
        "id.orig_h": source,
        "id.resp_h": "192.0.2.9",
        "id.resp_p": str(port),
        "conn_state": "S0",
        "duration": "-",
    }
    return row(**{**values, **more})


FLOWS = [
    *(flow(10 * n, "10.0.0.1", n + 1) for n in range(5)),
    *(flow(10 * n, "10.0.0.2", n + 1) for n in range(3)),
    flow(25, "10.0.0.2", 3),
    flow(26, "10.0.0.2", 0, proto="icmp", **{"id.orig_p": "8"}),
    flow(5, "10.0.0.3", 80, conn_state="SF"),
    flow(6, "10.0.0.3", 31337, conn_state="SF"),
    flow(7, "10.0.0.3", 22, **{"id.resp_h": "192.0.2.8"}),
    flow(600, "10.0.0.9", 80, conn_state="SF"),
]


def out(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    capsys.readouterr()
    assert run([str(one) for one in arguments]) == code, capsys.readouterr()
    return capsys.readouterr().out


def filled(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    *documents: str,
    flows: list[str] | None = None,
) -> Path:
    """The rules, after a replay with them."""
    rules = folder / "rules.yml"
    rules.write_text("---\n".join(documents), encoding="utf-8")
    log = folder / "conn.log"
    ordered = sorted(FLOWS if flows is None else flows, key=lambda line: float(line.split("\t")[0]))
    log.write_text(header() + "".join(ordered), encoding="utf-8")
    out(capsys, "replay", log, "--rules", rules)
    return rules


def the_alert(capsys: pytest.CaptureFixture[str]) -> str:
    (one,) = json.loads(out(capsys, "alerts", "--format", "json"))
    found: str = one["event"]["id"]
    return found


def explained(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out(capsys, "explain", *arguments, "--format", "json"))
    return found


def about(
    capsys: pytest.CaptureFixture[str], rules: Path, rule: str, entity: str, *more: object
) -> str:
    return out(capsys, "explain", "--rules", rules, "--rule", rule, "--entity", entity, *more)
