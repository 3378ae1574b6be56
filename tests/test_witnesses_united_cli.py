"""Rules that several logs meet together, as a user runs them: replays, a live run, explanations."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import ROOT
from explaining import explained, out
from live_support import configuration, known, start, wait_for
from support import replayed

from connwatch.behind import ServerRecords
from connwatch.cli.explain_alert import alert_facts
from connwatch.detectors.ruleset import load_rules
from connwatch.sinks.embedded import StoreReader

INCIDENT = ROOT / "sample_logs" / "incident"
ZEEK, PACKETS = INCIDENT / "conn.log", INCIDENT / "tcpdump.txt"
SOCKETS = sorted(INCIDENT.glob("ss-*.txt"))
#: only Zeek tells the service, only the tables the process
RULE = """title: Web by curl
name: web_by_curl
id: 7d3a3b9c-58a5-4a2f-9d0b-0f3f5f3a6c01
level: high
logsource: {category: network, service: connection}
detection:
  web: {zeek.connection.service: [ssl, http], destination.port: [80, 443, 8443]}
  program: {process.name: curl}
  condition: web and program
"""
#: of which no log is needed that Zeek wrote
STATE = RULE.replace("zeek.connection.service: [ssl, http]", "zeek.connection.state: SF")


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONNWATCH_STORE", str(tmp_path / "store"))
    (tmp_path / "rules.yml").write_text(RULE, encoding="utf-8")
    return tmp_path / "rules.yml"


def the_alert(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    (found,) = json.loads(out(capsys, "alerts", "--format", "json"))
    return dict(found)


def test_an_incident_that_no_log_tells_alone(
    rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out(capsys, "replay", ZEEK, PACKETS, *SOCKETS, "--rules", rules)
    own = the_alert(capsys)["connwatch"]
    assert (own["count"], len(own["evidence"])) == (1, 1)
    assert own["evidence"][0]["destination.port"] == 443
    told = {one["event.dataset"] for one in own["witnesses"]}
    assert {"ss.connection", "tcpdump.connection"} <= told
    shown = {one.get("process.name") for one in own["witnesses"]}
    assert "curl" in shown
    said = out(capsys, "alerts", "--digest")
    out(capsys, "replay", *SOCKETS, PACKETS, ZEEK, "--rules", rules)
    assert out(capsys, "alerts", "--digest") == said


def test_explain_names_who_says_what(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out(capsys, "replay", ZEEK, *SOCKETS, "--rules", rules)
    number = the_alert(capsys)["event"]["id"]
    text = out(capsys, "explain", number, "--rules", rules)
    assert "the condition, with the values of records of its connection:\n" in text
    assert "changed" not in text
    service = next(line for line in text.splitlines() if "zeek.connection.service is" in line)
    assert service.startswith("  true ")
    lines = ZEEK.read_text(encoding="utf-8").splitlines()
    (line,) = (
        number for number, one in enumerate(lines, 1) if "\t56536\t203.0.113.99\t443\t" in one
    )
    assert service.endswith(f"[zeek.connection.service = ssl]  zeek.connection ({ZEEK}:{line})")
    assert "true         process.name is 'curl'   [process.name = curl]  ss.connection (" in text
    parts = explained(capsys, number, "--rules", rules)["parts"]
    by = {name: part["by"] for part in parts for name in part["values"]}
    assert by["zeek.connection.service"]["event.dataset"] == "zeek.connection"
    assert by["process.name"]["log.file.path"] in map(str, SOCKETS)


def test_without_zeek_two_other_logs_will_do(
    rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out(capsys, "replay", PACKETS, *SOCKETS, "--rules", rules)
    assert out(capsys, "alerts", "--format", "json").strip() == "[]"
    rules.write_text(STATE, encoding="utf-8")
    out(capsys, "replay", PACKETS, *SOCKETS, "--rules", rules)
    own = the_alert(capsys)["connwatch"]
    assert own["count"] == 1
    assert "ss.connection" in {one["event.dataset"] for one in own["witnesses"]}


def test_replays_one_after_the_other_do_not_meet_a_rule_together(
    rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As docs/alerts.md says: a replay runs its rules over the records given to it."""
    for paths in ([ZEEK], [PACKETS], SOCKETS):
        out(capsys, "replay", *paths, "--rules", rules)
    assert out(capsys, "alerts", "--format", "json").strip() == "[]"
    out(capsys, "replay", ZEEK, PACKETS, *SOCKETS, "--rules", rules)
    assert the_alert(capsys)["connwatch"]["count"] == 1


class Server:
    """A server that answers with all events there are: more than was asked for is left out."""

    def __init__(self, events: pl.DataFrame) -> None:
        self._events = events

    def search(self, _query: object, *, columns: list[str], **_: object) -> pl.DataFrame:
        return self._events.select(columns)


def test_what_is_behind_an_alert_is_found_again_where_hits_are_not_kept(
    rules: Path, tmp_path: Path
) -> None:
    _, (document,) = replayed([ZEEK, *SOCKETS], tmp_path / "store", load_rules([rules]))
    with StoreReader(tmp_path / "store") as reader:
        events = reader.events().collect()
    records = ServerRecords(Server(events), load_rules([rules]))  # type: ignore[arg-type]
    found = records.found(document)
    assert (found.doubt, found.gone) == (None, 0)
    assert found.events["event.id"].to_list() == [
        one["event.id"] for one in document["connwatch"]["evidence"]
    ]
    facts = alert_facts(records, document, load_rules([rules]))
    assert facts["rule"]["changed"] == []
    assert sum("by" in part for part in facts["parts"]) > 1


def test_cases_of_a_rule_may_be_witnesses(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ends = "source.port: 40000, destination.port: 443, network.community_id: '1:x'"
    web = f"{{event: {{{ends}, zeek.connection.service: ssl}}}}"
    program = f"{{event: {{{ends}, event.dataset: ss.connection, process.name: curl}}}}"
    other = program.replace("1:x", "1:y")
    rules.with_name("rules.events.yml").write_text(
        f"hits:\n- {{name: both, events: [{web}, {program}]}}\n"
        f"- {{name: the table first, events: [{program}, {web}]}}\n"
        f"misses:\n- {{name: another connection, events: [{web}, {other}]}}\n"
        f"- {{name: one, events: [{program}]}}\n",
        encoding="utf-8",
    )
    assert out(capsys, "rules", "test", rules).startswith("4 cases, 0 wrong")


@pytest.mark.parametrize("first", ["zeek", pytest.param("tables", marks=pytest.mark.slow)])
def test_a_live_run_that_is_killed_between_two_witnesses(
    first: str, rules: Path, tmp_path: Path
) -> None:
    for name in ("zeek", "tables"):
        (tmp_path / name).mkdir()
    config = configuration(tmp_path, ["zeek/*", "tables/*"], "rules: [rules.yml]\n")
    write(tmp_path / first)
    process = start("run", "-c", str(config))
    try:
        wait_for("the first is stored", lambda: known_events(tmp_path / "store") > 0)
    finally:
        process.kill()
        process.wait(30)
    assert alerts(tmp_path / "store") == []
    write(tmp_path / ("tables" if first == "zeek" else "zeek"))
    for _ in range(2):  # and a start with nothing to do
        assert start("run", "-c", str(config), "--until-idle", "1").wait(120) == 0
    (found,) = alerts(tmp_path / "store")
    assert found["connwatch"]["count"] == 1
    # What came first in the run, not in log time, is the one difference to a replay.
    _, (expected,) = replayed([ZEEK, SOCKETS[-1]], tmp_path / "replayed", load_rules([rules]))
    assert expected["connwatch"]["group"] == found["connwatch"]["group"]


def write(folder: Path) -> None:
    """The logs of a source; a packed table is read whole, as nothing more can come."""
    if folder.name == "zeek":
        (folder / ZEEK.name).write_bytes(ZEEK.read_bytes())
    else:
        table = gzip.compress(SOCKETS[-1].read_bytes())
        (folder / f"{SOCKETS[-1].name}.gz").write_bytes(table)


def alerts(store: Path) -> list[dict[str, Any]]:
    with StoreReader(store) as reader:
        return reader.alerts()


def known_events(store: Path) -> int:
    if not known(store):
        return 0
    with StoreReader(store) as reader:
        return int(reader.events().select(pl.len()).collect().item())
