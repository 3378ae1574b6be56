"""`connwatch process`, `flow`, `reconcile`, and the processes of alerts, on the sample incident."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import ROOT
from explaining import out
from test_zeek_tsv import header, row

from connwatch.attribution import attribute
from connwatch.attribution.places import StorePlace
from connwatch.attribution.questions import ports_of
from connwatch.attribution.stored import flows_within, sockets_at, sockets_within, span
from connwatch.cli import run
from connwatch.sinks.embedded import StoreReader

pytestmark = pytest.mark.source

INCIDENT = ROOT / "sample_logs" / "incident"
BACKDOOR_FLOW = "1:VnLgY0sLB+INfyMtR3DY5q/x9G4="


@pytest.fixture(scope="module")
def replayed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of the incident, with the dumps."""
    folder = tmp_path_factory.mktemp("incident") / "store"
    paths = ("conn.log", *sorted(path.name for path in INCIDENT.glob("ss-*.txt")))
    assert run(["replay", *(str(INCIDENT / path) for path in paths), "--store", str(folder)]) == 0
    return folder


@pytest.fixture
def incident(replayed_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(replayed_once, tmp_path / "store")
    monkeypatch.setenv("CONNWATCH_STORE", str(tmp_path / "store"))
    return tmp_path


def as_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    return json.loads(out(capsys, *arguments, "--format", "json"))


def alert_of(capsys: pytest.CaptureFixture[str], port: int) -> str:
    found = as_json(capsys, "alerts", f'rule.name: "Session to a known back-door port" and connwatch.group.destination.port: {port}')  # fmt: skip
    (one,) = found
    return str(one["event"]["id"])


def test_the_connections_of_a_process(incident: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = out(capsys, "process", "updater")
    assert "updater (pid 4775) on ss-ws" in text
    assert "198.51.100.66:4444" in text
    assert "the socket was seen alive during the flow" in text
    by_number = as_json(capsys, "process", 4768)
    assert [(one["verdict"], one["basis"], one["destination_port"]) for one in by_number] == [
        ("exact", "server", 22), ("bounded", "listener", 22), ("bounded", "listener", 22),
    ]  # fmt: skip
    assert {one["name"] for one in by_number} == {"sshd"}
    assert "waits at tcp 22" in out(capsys, "process", "SSHD")
    assert as_json(capsys, "process", "sshd", "--from", "2026-11-22") == []
    lines = out(capsys, "process", "curl", "--format", "csv").splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("id,start,end,transport")
    assert len(out(capsys, "process", "curl", "--format", "ndjson").splitlines()) == 1
    assert run(["process", "nobody"]) == 3
    assert "no socket table in the store shows this process" in capsys.readouterr().err


def test_a_flow_with_its_process_witnesses_and_alerts(
    incident: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out(capsys, "replay", INCIDENT / "conn.json.log", "--sensor", "second")
    found = as_json(capsys, "flow", BACKDOOR_FLOW)
    source, destination = found["ends"]
    assert (source["side"], source["reason"]) == ("source", "other_host")
    assert (destination["verdict"], destination["name"], destination["pid"], destination["host"]) == ("exact", "backdoor", 4767, "ss-srv")  # fmt: skip
    who = [
        (one["event"]["dataset"], one.get("observer", {}).get("name")) for one in found["witnesses"]
    ]
    assert [one for one in who if one[0] == "zeek.connection"] == [
        ("zeek.connection", None), ("zeek.connection", "second"),
    ]  # fmt: skip
    assert ("ss.connection", None) in who
    alerts = {one["event"]["id"] for one in found["alerts"]}
    assert alert_of(capsys, 31337) in alerts
    uid = found["flow"]["zeek"]["session_id"]
    assert as_json(capsys, "flow", uid)["ends"] == found["ends"]
    assert as_json(capsys, "flow", found["flow"]["event"]["id"][:12])["ends"] == found["ends"]
    text = out(capsys, "flow", uid)
    assert "destination  backdoor (pid 4767) on ss-srv: exact" in text
    assert f"witnesses    {len(who)}" in text
    assert run(["flow", "zzz"]) == 3
    assert "no flow has an id that begins with 'zzz'" in capsys.readouterr().err
    assert run(["flow", ""]) == 3
    assert run(["flow", "c"]) == 3
    assert "--from and --to pick by time" in capsys.readouterr().err


def test_an_alert_names_the_process(incident: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alert = alert_of(capsys, 31337)
    shown = as_json(capsys, "alerts", "show", alert)
    assert shown["process"] == {"pid": 4767, "name": "backdoor"}
    assert shown["host"] == {"name": "ss-srv"}
    (row,) = [one for one in shown["connwatch"]["processes"] if one["reason"] == "row"]
    assert (row["verdict"], row["side"], row["events"]) == ("exact", "destination", 1)
    assert "backdoor (pid 4767) on ss-srv: 1 of 2 events, exact" in out(capsys, "alerts", "show", alert)  # fmt: skip
    assert "backdoor (pid 4767) on ss-srv: 1 of 2 events, exact" in out(capsys, "explain", alert)
    explained = as_json(capsys, "explain", alert)
    assert explained["processes"] == shown["connwatch"]["processes"]


def test_snapshots_that_come_late_add_to_alerts_already_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    for name, port in (("door", 31337), ("call", 4444)):
        (rules / f"{name}.yml").write_text(
            f"title: {name}\nname: {name}\nlevel: high\nlogsource: {{product: zeek, service: conn}}\n"
            f"detection: {{s: {{destination.port: {port}, zeek.connection.state: SF}}, condition: s}}\n"
        )
    for store in ("late", "at once"):
        monkeypatch.setenv("CONNWATCH_STORE", str(tmp_path / store))
        dumps = sorted(INCIDENT.glob("ss-*.txt"))
        first = [INCIDENT / "conn.log", *(dumps if store == "at once" else [])]
        out(capsys, "replay", *first, "--rules", rules)
        if store == "late":
            before = as_json(capsys, "alerts")
            assert not any("process" in one or "processes" in one["connwatch"] for one in before)
            digest = out(capsys, "alerts", "--digest")
            out(capsys, "alerts", "ack", before[0]["event"]["id"])
            out(capsys, "replay", *dumps, "--rules", rules)
            after = as_json(capsys, "alerts")
            assert out(capsys, "alerts", "--digest") == digest
            assert [one["connwatch"]["status"] for one in after] == ["acknowledged", "open"]
        else:
            at_once = as_json(capsys, "alerts")
    told = [
        [(one["process"], one["connwatch"]["processes"]) for one in found]
        for found in (after, at_once)
    ]
    assert told[0] == told[1]
    assert {one["process"]["name"] for one in after} == {"backdoor", "updater"}
    (door,) = as_json(capsys, "alerts", "process.name: backdoor and host.name: ss-srv")
    assert door["rule"]["name"] == "door"
    shown = as_json(capsys, "alerts", "show", door["event"]["id"])
    assert shown == door


def test_a_scan_is_not_the_matter_of_the_one_program_that_answered(
    incident: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (scan,) = as_json(capsys, "alerts", 'rule.name: "Port scan of one host"')
    assert "process" not in scan
    assert {one.get("name") for one in scan["connwatch"]["processes"]} == {None, "sshd"}


def test_clocks_that_are_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same snapshots, by a clock that is an hour behind."""
    monkeypatch.setenv("CONNWATCH_STORE", str(tmp_path / "store"))
    for path in INCIDENT.glob("ss-*.txt"):
        (tmp_path / path.name.replace("T07", "T06")).write_bytes(path.read_bytes())
    out(capsys, "replay", INCIDENT / "conn.log", tmp_path)
    assert run(["reconcile"]) == 0
    said = capsys.readouterr()
    assert "the clock of ss-ws seems to be off: +3600.000 s" in said.err
    assert "--clock-offset measured sets it right" in said.err
    assert as_json(capsys, "process", "updater") == []
    for offset in (["measured"], ["3600"], ["ss-ws=3600"]):
        more = [word for one in offset for word in ("--clock-offset", one)]
        (one,) = as_json(capsys, "process", "updater", *more)
        assert one["verdict"] == "exact"
    assert as_json(capsys, "process", "updater", "--clock-offset", "ss-srv=3600") == []
    for wrong in ("soon", "ws=measured", "nan", "1e30"):
        assert run(["process", "updater", "--clock-offset", wrong]) == 2
        assert "is no number of seconds" in capsys.readouterr().err


def test_what_only_one_side_knows(
    incident: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert as_json(capsys, "reconcile") == []
    hidden = INCIDENT / "ss-ws-20261121T072643Z.txt"
    lines = [line for line in hidden.read_text().splitlines(keepends=True) if "56536" not in line]
    extra = 'tcp ESTAB 0 0 192.168.56.10:40999 198.51.100.99:9001 users:(("tunnel",pid=4999,fd=3)) ino:99 sk:99\n'  # fmt: skip
    home = (
        'tcp ESTAB 0 0 127.0.0.1:40998 127.0.0.1:9001 users:(("db",pid=4998,fd=3)) ino:98 sk:98\n'
    )
    (tmp_path / "ss-ws-20261121T072650Z.txt").write_text("".join(lines) + extra + home)
    out(capsys, "replay", tmp_path / "ss-ws-20261121T072650Z.txt")
    (found,) = as_json(capsys, "reconcile")
    assert (found["kind"], found["name"], found["peer_ip"], found["open"]) == ("socket_without_flow", "tunnel", "198.51.100.99", True)  # fmt: skip
    assert "tunnel (pid 4999)" in out(capsys, "reconcile")
    # A snapshot of the time of the upload, without its socket.
    (tmp_path / "ss-ws-20261121T072648Z.txt").write_text("".join(lines))
    out(capsys, "replay", tmp_path / "ss-ws-20261121T072648Z.txt")
    kinds = [(one["kind"], one.get("source_port")) for one in as_json(capsys, "reconcile")]
    assert kinds == [("socket_without_flow", None)]  # it was shown by another snapshot
    assert "flows without a socket, though snapshots cover them: 0" in out(capsys, "reconcile")
    assert as_json(capsys, "reconcile", "--from", "2026-11-22") == []


def test_a_flow_whose_socket_no_snapshot_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONNWATCH_STORE", str(tmp_path / "store"))
    for path in INCIDENT.glob("ss-ws-*.txt"):
        lines = path.read_text().splitlines(keepends=True)
        kept = "".join(lines[:-2]) if "T072643Z" in path.name else path.read_text()
        (tmp_path / path.name).write_text(kept)
    out(capsys, "replay", INCIDENT / "conn.log", tmp_path)
    (found,) = as_json(capsys, "reconcile")
    assert (found["kind"], found["destination_ip"], found["host"], found["side"]) == ("flow_without_socket", "203.0.113.99", "ss-ws", "source")  # fmt: skip
    assert "ss-ws (source)" in out(capsys, "reconcile")
    assert out(capsys, "reconcile", "--format", "csv").count("\n") == 2
    assert len(out(capsys, "reconcile", "--format", "ndjson").splitlines()) == 1


def test_the_sockets_that_are_read_for_some_flows_tell_of_them_what_all_do(incident: Path) -> None:
    with StoreReader(incident / "store") as reader:
        flows = flows_within(StorePlace(reader), None, None)
        everything = sockets_within(StorePlace(reader), None, None)
        for port in (22, 80, 443, 4444, 31337, 8000):
            some = flows.filter(pl.col("destination_port") == port)
            few = sockets_at(StorePlace(reader), *span(some), ports_of(some))
            assert few.height < everything.height
            assert attribute(some, few).equals(attribute(some, everything))


def test_times_at_the_ends_of_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONNWATCH_STORE", str(tmp_path / "store"))
    times = ("0.000001", "253402300799.999999", "1795246003.000000", "-62135596800.0", "9e18")
    lines = [row(ts=ts, uid=f"C{n}", duration="9e9") for n, ts in enumerate(times)]
    (tmp_path / "conn.log").write_text(header() + "".join(lines))
    shown = (INCIDENT / "ss-ws-20261121T072643Z.txt").read_bytes()
    (tmp_path / "ss-ws-20261121T072643Z.txt").write_bytes(shown)
    (tmp_path / "ss-old.txt").write_bytes(b"0001-01-01 00:00:01\n" + shown)
    (tmp_path / "ss-new.txt").write_bytes(b"9999-12-31 23:59:59\n" + shown)
    out(capsys, "replay", tmp_path)
    for one in as_json(capsys, "alerts"):
        out(capsys, "alerts", "show", one["event"]["id"])
    for uid in json.loads(
        out(capsys, "search", "event.module: zeek", "--by", "zeek.session_id", "--format", "json")
    ):
        assert len(as_json(capsys, "flow", uid["zeek.session_id"])["ends"]) == 2
    out(capsys, "process", "curl", "--clock-offset", "measured")
    out(capsys, "process", "curl", "--clock-offset", "3e9")
    out(capsys, "reconcile", "--clock-offset", "-3e9")
    out(capsys, "reconcile")
