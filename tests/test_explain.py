"""`connwatch explain` of an alert, against cases worked out by hand."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from conftest import ROOT
from explaining import (
    DOOR,
    FLOWS,
    SCAN,
    SYN,
    about,
    explained,
    filled,
    flow,
    out,
    the_alert,
)
from support import replayed
from test_zeek_tsv import header

from connwatch.behind import StoreRecords
from connwatch.cli import run
from connwatch.cli.explain_alert import alert_facts, alert_lines
from connwatch.cli.explain_entity import entity_facts, entity_lines
from connwatch.cli.rules import named_rule
from connwatch.cli.timeline import BLOCKS, PLAIN, draw, drawable, over_time
from connwatch.detectors.ruleset import Correlation, RuleSet, load_rules
from connwatch.detectors.windows.entity import Entity
from connwatch.detectors.windows.spec import Threshold
from connwatch.schema import UTC
from connwatch.sinks.embedded import StoreReader


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONNWATCH_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


# -- an alert -----------------------------------------------------------------------------------


def test_an_alert_of_a_window(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = filled(tmp_path, capsys, SYN, SCAN)
    text = out(capsys, "explain", the_alert(capsys)[:8], "--rules", rules)
    assert "group        source.ip 10.0.0.1\n" in text
    assert "different destination.port >= 4 within 35s, for each source.ip\n" in text
    assert "4 when it fired first, at 2023-11-14 22:13:50" in text
    assert "counted      1, 2, 3, 4, 5\n" in text
    # 40 s and 35 s of quiet: the record at 600 s came later
    assert "ended        2023-11-14 22:14:35, 35s of log time after its last event" in text
    assert "events       5, log time 2023-11-14 22:13:20 to 2023-11-14 22:14:00" in text
    assert text.endswith(f"all of them: connwatch alerts events {the_alert(capsys)[:12]}\n")
    assert "changed" not in text
    # values 1 2 3 4 4, one each ten seconds, of which the last two are at the threshold
    bars, marks, axis = text[text.index("       4 |") :].splitlines()[:3]
    assert bars.split("|")[1].split() == ["▂", "▄", "▆", "█", "█"]
    assert [at for at, mark in enumerate(marks) if mark == "^"] == [
        at for at, bar in enumerate(bars) if bar == "█"
    ]
    assert axis.strip().startswith("|22:13:20")
    assert ">= 4 is █, ^ where it held" in text


def test_the_same_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = filled(tmp_path, capsys, SYN, SCAN)
    found = explained(capsys, the_alert(capsys), "--rules", rules)
    assert (found["values"]["value"], found["values"]["peak"]) == (4, 4)
    assert [(p["time"][11:19], p["value"], p["holds"]) for p in found["over_time"]] == [
        ("22:13:20", 1, False),
        ("22:13:30", 2, False),
        ("22:13:40", 3, False),
        ("22:13:50", 4, True),
        ("22:14:00", 4, True),
    ]
    assert (found["opened"][11:19], found["ends"][11:19]) == ("22:13:50", "22:14:35")
    assert found["ended"] is True
    assert "lines" not in found
    assert found["rule"]["found"] is True
    assert found["rule"]["changed"] == []


def test_an_alert_that_may_still_grow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = filled(tmp_path, capsys, SYN, SCAN, flows=FLOWS[:-1])
    assert "open until   2023-11-14 22:14:35" in out(
        capsys, "explain", the_alert(capsys), "--rules", rules
    )


def test_a_rule_that_has_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = filled(tmp_path, capsys, SYN, SCAN)
    rules.write_text(f"{SYN}---\n{SCAN}".replace("gte: 4", "gte: 9").replace("high", "low"))
    found = explained(capsys, the_alert(capsys), "--rules", rules)
    assert found["rule"]["changed"] == [
        "level was high, is low",
        (
            "condition was different destination.port >= 4 within 35s, "
            "is different destination.port >= 9 within 35s"
        ),
    ]
    assert found["values"]["condition"] == ">= 4"


def test_a_base_rule_that_has_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = filled(tmp_path, capsys, SYN, SCAN)
    rules.write_text(f"{SYN}---\n{SCAN}".replace("state: S0", "state: SF"))
    (change,) = explained(capsys, the_alert(capsys), "--rules", rules)["rule"]["changed"]
    assert change == (
        "measured again over the stored events it does not fire (4 at 2023-11-14 22:13:50)"
    )


def test_a_rule_that_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled(tmp_path, capsys, SYN, SCAN)
    text = out(capsys, "explain", the_alert(capsys))
    assert "not among the rules here" in text
    assert "different destination.port >= 4 within 35s\n" in text
    assert "events behind the alert over log time; a column is 1s\n" in text
    assert "events       5, log time" in text


def test_an_alert_of_a_rule_about_one_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = filled(tmp_path, capsys, DOOR)
    text = out(capsys, "explain", the_alert(capsys), "--rules", rules)
    assert re.search(r"true .*\[destination\.port = 31337\]", text)
    assert re.search(r"true .*\[zeek\.connection\.state = SF\]", text)
    assert "2023-11-14 22:13:26  10.0.0.3 port 14291 -> 192.0.2.9 port 31337  tcp SF" in text
    rules.write_text(DOOR.replace("31337", "31338"))
    changed = explained(capsys, the_alert(capsys), "--rules", rules)["rule"]["changed"]
    assert changed == ["its condition does not hold for the first event"]


def test_text_from_a_log_does_nothing_to_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = [flow(n, "10.0.0.1", n + 1, service="\x1b[31mred\u202e") for n in range(4)]
    scan = SCAN.replace("[source.ip]", "[zeek.connection.service]")
    rules = filled(tmp_path, capsys, SYN, scan, flows=hostile)
    alert = the_alert(capsys)
    entity = "zeek.connection.service=\x1b[31mred\u202e"
    shown = [
        out(capsys, "explain", alert, "--rules", rules),
        out(capsys, "explain", alert, "--rules", rules, "--format", "json"),
        about(capsys, rules, "ports", entity),
        about(capsys, rules, "ports", entity, "--format", "json"),
    ]
    for text in shown:
        assert "red" in text
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", text)


def windowed(folder: Path) -> RuleSet:
    """A rule of two windows whose groups are larger than its alerts': 3 ports of one host in 10
    minutes, or 6 ports of all hosts in an hour, by source."""
    path = folder / "rules.yml"
    path.write_text(f"{SYN}---\n{SCAN}", encoding="utf-8")
    loaded = load_rules([path])
    (rule,) = (one for one in loaded.every if isinstance(one, Correlation))
    (window,) = rule.windows.windows
    pair = (("source.ip", "destination.ip"),)
    one = replace(window, timespan=600 * 10**6, condition=Threshold("gte", 3.0), group_by=pair)
    wide = replace(window, timespan=3600 * 10**6, condition=Threshold("gte", 6.0))
    windows = (replace(one, name="one host"), replace(wide, name="all hosts"))
    changed = replace(rule, windows=replace(rule.windows, windows=windows), suppress=3600 * 10**6)
    every = tuple(changed if one is rule else one for one in loaded.every)
    return replace(loaded, every=every)


def test_a_rule_of_several_windows(
    tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """10.0.0.1 asks 192.0.2.1 for ports 1 to 2, 192.0.2.2 for 3 to 5, one each ten seconds, and
    192.0.2.3 for 6: at 40 s the first window fires, at 50 s the second one too."""
    hosts = {1: 1, 2: 1, 3: 2, 4: 2, 5: 2, 6: 3}
    flows = [
        flow(10 * (port - 1), "10.0.0.1", port, **{"id.resp_h": f"192.0.2.{host}"})
        for port, host in hosts.items()
    ]
    flows += [flow(50, "10.0.0.2", port) for port in (1, 2)]
    log = tmp_path / "conn.log"
    log.write_text(header() + "".join(flows), encoding="utf-8")
    rules = windowed(tmp_path)
    _, (alert,) = replayed([log], store, rules)
    with StoreReader(store) as reader:
        records = StoreRecords(reader)
        found = alert_facts(records, reader.alert(alert["event"]["id"]), rules)
        near = entity_facts(
            records, rules, named_rule(rules, "Ports"), Entity("10.0.0.2"), (None, None)
        )
    assert found["rule"]["changed"] == []
    assert found["values"]["window"] == "one host"
    own, other = found["windows"]
    assert [(one["group"]["destination.ip"], one["value"]) for one in own["groups"]] == [
        ("192.0.2.2", 3),
        ("192.0.2.1", 2),
        ("192.0.2.3", 1),
    ]
    assert (own["this"], other["this"]) == (True, False)
    assert [(one["group"], one["value"]) for one in other["groups"]] == [
        ({"source.ip": "10.0.0.1"}, 6)
    ]
    text = "\n".join(alert_lines(found))
    assert "source.ip 10.0.0.1, destination.ip 192.0.2.2: largest: 3 different" in text
    assert "also         different destination.port >= 6 within 1h, for each source.ip" in text
    assert [
        (w["window"], [(one["value"], one["lacking"]) for one in w["groups"]])
        for w in near["windows"]
    ] == [("one host", [(2, "1 more was needed")]), ("all hosts", [(2, "4 more were needed")])]
    assert "condition    all hosts: different destination.port >= 6" in "\n".join(
        entity_lines(near)
    )


def test_an_output_without_blocks() -> None:
    frame = pl.DataFrame({"connwatch.log_time": [0, 1_000_000, 5_000_000], "value": [1, 8, 4]})
    series = over_time(
        frame.with_columns(pl.col("connwatch.log_time").cast(UTC)),
        pl.col("value").max(),
        pl.col("value").max() > 7,
    )
    assert series is not None
    assert not drawable(BLOCKS, "ascii")
    bars = draw(series, "8", 8, PLAIN)[0].split("|")[1]
    assert (bars[0], bars[10], bars[50]) == (PLAIN[0], PLAIN[7], PLAIN[3])
    assert (series.step, len(series.values)) == (100_000, 51)
    assert [place for place, value in enumerate(series.values) if value] == [0, 10, 50]
    assert [place for place, held in enumerate(series.holds) if held] == [10]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "takes the id of an alert, or --rule and --entity"),
        (["aa", "--rule", "ports"], "takes the id of an alert, or --rule and --entity"),
        (["--rule", "ports"], "takes the id of an alert, or --rule and --entity"),
        (["aa", "--from", "-1h"], "--from and --to are for --rule and --entity"),
        (["--rule", "ports", "--entity", "host"], "'host' is not an address"),
        (["--rule", "ports", "--entity", "source.ip=x"], "'x' is not an address"),
        (["--rule", "ports", "--entity", "sorce.ip=10.0.0.1"], "did you mean 'source.ip'?"),
        (["--rule", "ports", "--entity", "destination.port=ssh"], "is a number"),
        (["--rule", "ports", "--entity", "source.ip=10.0.0.1,x"], "'x' is not FIELD=VALUE"),
        (["--rule", "nothing", "--entity", "10.0.0.1"], "no rules are called 'nothing'"),
    ],
)
def test_questions_that_cannot_be_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    rules = filled(tmp_path, capsys, SYN, SCAN)
    capsys.readouterr()
    assert run(["explain", *arguments, "--rules", str(rules)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.source
def test_an_alert_of_a_bundled_analytic_has_not_changed(capsys: pytest.CaptureFixture[str]) -> None:
    """The sample incident's scan, explained by the rule that found it."""
    out(capsys, "replay", str(ROOT / "sample_logs" / "incident" / "conn.log"))
    listed = out(capsys, "alerts", 'rule.name: "Port scan of one host"', "--format", "ndjson")
    text = out(capsys, "explain", json.loads(listed)["event"]["id"])
    assert "condition    ports: different destination.port >= 15 within 1d" in text
    assert "317 at most" in text
    assert "changed" not in text
