"""`connwatch elasticsearch check`: what it finds, says and exits with."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from conftest import ROOT
from elastic import Elastic, free_port
from fake_server import Answer, elasticsearch, fake_server

from connwatch.cli import run
from connwatch.sinks.elasticsearch import Finding, Server, check, read_settings, role
from connwatch.sinks.elasticsearch.privileges import CLUSTER, INDICES

HEALTHY = Answer(body={"status": "green", "number_of_data_nodes": 1})
STATS = "/_nodes/_local/stats/os"
BLOCKS = "/connwatch-events-*,connwatch-alerts-*/_settings"


def found_in(answers: dict[str, Answer]) -> dict[str, Finding]:
    with fake_server({**elasticsearch(), **healthy(), **answers}) as fake:
        settings = read_settings(nodes=[fake.url], environment={})
        return {one.check: one for one in check(settings, "connwatch")}


def healthy(ahead: float = 0.0) -> dict[str, Answer]:
    stamp = int((time.time() + ahead) * 1000)
    return {
        "/_cluster/health": HEALTHY,
        "/_cluster/settings": Answer(),
        BLOCKS: Answer(),
        STATS: Answer(body={"nodes": {"n": {"timestamp": stamp}}}),
    }


def test_a_server_that_has_everything() -> None:
    found = found_in(
        {
            "/_ilm/policy/connwatch-is-asking": Answer(404),
            "/_data_stream/connwatch-is-asking*": Answer(body={"data_streams": []}),
            "/_query": Answer(body={"columns": []}),
        }
    )
    assert found["offers"] == Finding(
        "offers", "ok", "has index lifecycle (ILM), data streams, ES|QL"
    )
    assert {one.state for one in found.values()} == {"ok", "warning"}
    assert found["user"].state == "warning"


def blocked(**blocks: str) -> dict[str, dict[str, dict[str, dict[str, str]]]]:
    return {"settings": {"index": {"blocks": blocks}}}


FOUND: dict[str, tuple[dict[str, Answer], str, str, str]] = {
    "a clock that is right": ({}, "clock", "ok", "within 0."),
    "no clock": ({STATS: Answer()}, "clock", "note", "does not tell its time"),
    "a clock that is a secret": ({STATS: Answer(403)}, "clock", "failed", "not allowed (403)"),
    "red": (
        {"/_cluster/health": Answer(body={"status": "red", "number_of_data_nodes": 2})},
        "health", "warning", "red, 2 nodes with data",
    ),
    "no data nodes": (
        {"/_cluster/health": Answer(body={"status": "green", "number_of_data_nodes": 0})},
        "health", "failed", "0 nodes with data",
    ),
    "a locked cluster": (
        {"/_cluster/settings": Answer(body={"transient": {"cluster": {"blocks": {"read_only_allow_delete": "true"}}}})},
        "writable", "failed", "the cluster takes no writes: cluster.blocks.read_only_allow_delete",
    ),
    "a full disk": (
        {BLOCKS: Answer(body={"i": blocked(read_only_allow_delete="true"), "j": blocked(read="true")})},
        "writable", "failed", "the server's disk is nearly full: no writes to i",
    ),
    "old indices that are closed to writes": (
        {BLOCKS: Answer(body={name: blocked(write="true") for name in "edcba"})},
        "writable", "warning", "no writes to a, b, c and 2 more",
    ),
    "a block that is no lock": (
        {BLOCKS: Answer(body={"i": blocked(write="false")})}, "writable", "ok", "takes writes",
    ),
    "a key": (
        {"/_security/_authenticate": Answer(body={"username": "ann", "authentication_type": "api_key", "roles": []})},
        "user", "ok", "ann (api_key; roles: none)",
    ),
    "an answer that is broken": (
        {"/_security/_authenticate": Answer(500, {"error": "oh"})},
        "user", "failed", "GET /_security/_authenticate failed (500): oh",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_what_is_found(name: str) -> None:
    answers, what, state, message = FOUND[name]
    found = found_in(answers)[what]
    assert found.state == state
    assert message in found.message


@pytest.mark.parametrize(
    ("ahead", "state", "side"),
    [(90, "warning", "ahead of"), (-3600, "warning", "behind"), (0, "ok", "within")],
)
def test_clocks_that_differ(ahead: float, state: str, side: str) -> None:
    clock = found_in(healthy(ahead))["clock"]
    assert clock.state == state
    assert side in clock.message


def test_templates_are_looked_at_by_who_knows_them() -> None:
    def probe(server: Server) -> list[Finding]:
        return [Finding("templates", "note", f"of {server.version_text}")]

    with fake_server(elasticsearch() | healthy()) as fake:
        settings = read_settings(nodes=[fake.url], environment={})
        assert check(settings, "connwatch", [probe])[-1].message == "of 9.5.0"


@pytest.mark.source
def test_the_role_of_deploy_is_what_is_checked() -> None:
    text = (ROOT / "deploy" / "elasticsearch" / "role.json").read_text(encoding="utf-8")
    assert json.loads(text) == role("connwatch")


def told(
    capsys: pytest.CaptureFixture[str], config: Path, *more: str, code: int
) -> list[dict[str, str]]:
    capsys.readouterr()
    assert run(["elasticsearch", "check", "-c", str(config), "--json", *more]) == code
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is (code == 0)
    return list(answer["findings"])


def configured(folder: Path, server: Elastic, text: str = "") -> Path:
    file = folder / "c.yml"
    ca = f"  ca: {server.ca}\n" if server.ca else ""
    file.write_text(
        "store: s\nsources: [{path: a}]\n"
        f"elasticsearch:\n  nodes: ['{server.url}']\n  prefix: {server.prefix}\n{ca}{text}"
    )
    return file


def test_real_servers_without_security(
    elasticsearch: Elastic, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(tmp_path, elasticsearch)
    states = {one["check"]: one for one in told(capsys, config, code=0)}
    assert states["version"]["message"] == f"Elasticsearch {elasticsearch.version}"
    assert states["user"]["state"] == "warning"
    assert {one["state"] for one in states.values()} <= {"ok", "note", "warning"}
    assert run(["elasticsearch", "check", "--elasticsearch", elasticsearch.url]) == 0
    text = capsys.readouterr().out
    assert "privileges  everybody may do everything: security is off" in text
    assert text.endswith("ok\n")
    index = f"{elasticsearch.prefix}-events-x"
    elasticsearch.ask("PUT", f"/{index}")
    elasticsearch.ask("PUT", f"/{index}/_settings", {"index.blocks.read_only_allow_delete": True})
    states = {one["check"]: one for one in told(capsys, config, code=1)}
    assert states["writable"]["message"].endswith(f"no writes to {index}")


def test_real_servers_and_users(
    secured: Elastic,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    password = tmp_path / "password"
    config = configured(tmp_path, secured, f"  password_file: {password}\n")
    outcome = {}
    for user, code in (("connwatch", 0), ("reader", 1), ("nobody", 1)):
        password.write_text(secured.users[user])
        password.chmod(0o600)
        monkeypatch.setenv("CONNWATCH_ES_USERNAME", user)
        outcome[user] = told(capsys, config, code=code)
        assert secured.users[user] not in str(outcome[user])
    states = {one["check"]: one for one in outcome["connwatch"]}
    assert {one["state"] for one in states.values()} <= {"ok", "note"}
    assert states["connection"]["message"].endswith("answers, TLS")
    assert states["user"]["message"] == "connwatch (realm; roles: connwatch)"
    lacking = [one for one in outcome["reader"] if one["check"] == "privileges"]
    assert len(lacking) == len(CLUSTER) - 1 + sum(len(one) - 1 for one in INDICES.values())
    assert all("role.json" in one["hint"] for one in lacking)
    assert [one["check"] for one in outcome["nobody"]] == ["connection"]


def test_no_server(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["elasticsearch", "check"]) == 2
    assert "--elasticsearch https://host:9200" in capsys.readouterr().err
    config = tmp_path / "c.yml"
    config.write_text("store: s\nsources: [{path: a}]\n")
    assert run(["elasticsearch", "check", "-c", str(config)]) == 2
    url = f"http://127.0.0.1:{free_port()}"
    (only,) = told(capsys, config, "--elasticsearch", url, code=1)
    assert only["message"] == f"{url}: the connection is refused"
