"""Sigma correlations as rules: which rules they count, who alerts, chains, aliases, and mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_windows_property import batch

from connwatch.cli import run
from connwatch.detectors import fold
from connwatch.detectors.alerts import documents
from connwatch.detectors.ruleset import RuleSet, load_rules, match
from connwatch.detectors.windows.engine import State, correlate

LOGSOURCE = "logsource: {category: network, service: connection}\n"
SSH = (
    f"title: SSH\nname: ssh\n{LOGSOURCE}detection: {{s: {{destination.port: 22}}, condition: s}}\n"
)
WEB = (
    f"title: Web\nname: web\n{LOGSOURCE}detection: {{s: {{destination.port: 80}}, condition: s}}\n"
)
UNFED = (
    "title: DNS\nname: dns\nlogsource: {category: dns}\ndetection: {s: {query: x}, condition: s}\n"
)


def correlation(body: str, *, title: str = "Many", more: str = "") -> str:
    return f"title: {title}\n{more}correlation: {{{body}}}\n"


def load(folder: Path, *documents: str) -> RuleSet:
    (folder / "rules.yml").write_text("---\n".join(documents), encoding="utf-8")
    return load_rules([folder])


def event(time: int, source: str, port: int, **more: Any) -> dict[str, Any]:
    own = {"time": time, "id": time * 1000 + port, "source.ip": source, "destination.port": port}
    return {**own, "destination.ip": "192.0.2.1", **more}


def alerts(rules: RuleSet, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert not rules.errors, rules.errors[0]
    made = batch(events)
    matches = match(rules, made)
    found = correlate(rules.correlated, made, matches, State(), fold.EVIDENCE)
    folded = fold.fold(made, matches, rules.foldings, fold.begin(), found)
    return documents(folded.alerts, rules.by_key)


def titles(found: list[dict[str, Any]]) -> list[str]:
    return sorted(document["rule"]["name"] for document in found)


COUNT = "type: event_count, rules: [ssh], group-by: [source.ip], timespan: 10s, condition: {gte: 3}"
SERIES = [event(t, "10.0.0.1", 22) for t in (0, 4, 8, 30, 31)]


def test_a_base_rule_alerts_only_with_generate(tmp_path: Path) -> None:
    assert titles(alerts(load(tmp_path, SSH, correlation(COUNT)), SERIES)) == ["Many"]
    both = alerts(load(tmp_path, SSH, correlation(f"{COUNT}, generate: true")), SERIES)
    assert titles(both) == ["Many", "SSH"]


def test_a_correlation_that_is_off_keeps_its_base_quiet(tmp_path: Path) -> None:
    rules = load(tmp_path, SSH, correlation(COUNT, more="enabled: false\n"))
    assert not rules.running
    assert [rule.title for rule in rules.disabled] == ["Many"]
    assert alerts(rules, SERIES) == []


def test_a_base_rule_that_is_off_is_counted(tmp_path: Path) -> None:
    rules = load(tmp_path, SSH + "enabled: false\n", correlation(COUNT))
    assert titles(alerts(rules, SERIES)) == ["Many"]


def test_an_alert_says_what_was_counted(tmp_path: Path) -> None:
    body = "type: value_count, rules: [ssh, web], group-by: [source.ip], timespan: 10s, condition: {gte: 2, field: destination.port}"
    series = [event(0, "10.0.0.1", 80), event(2, "10.0.0.1", 22), event(3, "10.0.0.1", 80)]
    (found,) = alerts(load(tmp_path, SSH, WEB, correlation(body)), series)
    assert found["message"] == "Many: source.ip 10.0.0.1: value_count destination.port 2"
    assert found["connwatch"]["count"] == 3
    assert found["connwatch"]["values"] == {
        "measure": "value_count",
        "fields": ["destination.port"],
        "condition": ">= 2",
        "timespan_seconds": 10,
        "fired": "1970-01-01T00:00:02.000000Z",
        "value": 2,
        "peak": 2,
        "counted": ["22", "80"],
    }
    assert found["event"]["start"] == "1970-01-01T00:00:00.000000Z"


def test_messages_are_filled_in(tmp_path: Path) -> None:
    more = "message: '{source.ip} {peak}/{value} of {count}'\n"
    (found,) = alerts(load(tmp_path, SSH, correlation(COUNT, more=more)), SERIES)
    assert found["message"] == "10.0.0.1 3/3 of 3"


def test_correlations_count_correlations(tmp_path: Path) -> None:
    many = correlation(COUNT, more="name: many\n")
    then = correlation(
        "type: temporal_ordered, rules: [many, web], group-by: [source.ip], timespan: 20s",
        title="Then",
    )
    rules = load(tmp_path, then, SSH, WEB, many)
    assert titles(alerts(rules, [*SERIES[:3], event(9, "10.0.0.1", 80)])) == ["Then"]
    assert alerts(rules, [*SERIES[:2], event(9, "10.0.0.1", 80)]) == []
    assert alerts(rules, [event(7, "10.0.0.1", 80), *SERIES[2:3], event(9, "10.0.0.1", 80)]) == []


def test_an_alias_is_another_field_in_each_rule(tmp_path: Path) -> None:
    body = (
        "type: temporal, rules: [ssh, web], group-by: [host], timespan: 10s, "
        "aliases: {host: {ssh: destination.ip, web: source.ip}}"
    )
    rules = load(tmp_path, SSH, WEB, correlation(body))
    series = [event(0, "10.0.0.1", 22), event(3, "192.0.2.1", 80, **{"destination.ip": "9.9.9.9"})]
    (found,) = alerts(rules, series)
    assert found["connwatch"]["group"] == {"host": "192.0.2.1"}
    assert found["connwatch"]["values"]["rules"] == ["ssh", "web"]


def test_seconds_of_a_rule_are_nanoseconds_here(tmp_path: Path) -> None:
    base = (
        "title: Any\nname: any\nlogsource: {product: zeek, service: conn}\n"
        "detection: {s: {id.resp_p: 22}, condition: s}\n"
    )
    body = "type: value_sum, rules: [any], group-by: [id.orig_h], timespan: 1h, condition: {gte: 60, field: duration}"
    rules = load(tmp_path, base, correlation(body))
    long = {"event.duration": 31_000_000_000}
    series = [event(0, "10.0.0.1", 22, **long), event(9, "10.0.0.1", 22, **long)]
    (found,) = alerts(rules, series)
    assert found["connwatch"]["values"]["peak"] == 62_000_000_000
    assert alerts(rules, series[:1]) == []
    short = {"event.duration": 67_000_000}  # which 0.067 times a thousand million is not, as floats
    series = [event(0, "10.0.0.1", 22, **short)]
    rules = load(tmp_path, base, correlation(body.replace("gte: 60", "gte: 0.067")))
    assert len(alerts(rules, series)) == 1


def test_without_group_by_all_records_are_one_group(tmp_path: Path) -> None:
    body = "type: event_count, rules: [ssh], timespan: 1m, condition: {gte: 2}"
    series = [event(0, "10.0.0.1", 22), event(1, "10.0.0.2", 22)]
    (found,) = alerts(load(tmp_path, SSH, correlation(body)), series)
    assert found["connwatch"]["group"] == {}


def test_a_correlation_of_a_rule_that_nothing_feeds_is_listed(tmp_path: Path) -> None:
    body = "type: event_count, rules: [dns], timespan: 1m, condition: {gte: 2}"
    rules = load(tmp_path, UNFED, correlation(body))
    assert not rules.errors
    assert [one.title for one in rules.unfed] == ["DNS", "Many"]
    assert "'dns' cannot run: no source here feeds category dns" in rules.unfed[1].reason


WRONG = [
    ("a rule that is not there", COUNT.replace("[ssh]", "[shs]"), "no rule with the id or name 'shs'", "did you mean 'ssh'?"),
    ("a key that is not there", COUNT.replace("timespan", "timespam"), "unknown key 'timespam'", "did you mean 'timespan'?"),
    ("no span of time", COUNT.replace("10s", "soon"), "'soon' is invalid", "as in 5m"),
    ("no condition", "type: event_count, rules: [ssh], timespan: 1m", "without condition", None),
    ("a type that is not there", COUNT.replace("event_count", "many"), "'many' is no valid", None),
    ("a field that is not there", COUNT.replace("source.ip", "source.pi"), "no record here has the field 'source.pi'", "did you mean 'source.ip'?"),
    ("a field to count records", COUNT.replace("gte: 3", "gte: 3, field: source.ip"), "counts records, not the values", "value_count"),
    ("text that is measured", "type: value_sum, rules: [ssh], timespan: 1m, condition: {gte: 1, field: source.ip}", "holds no numbers", None),
    ("a list as a group", COUNT.replace("source.ip", "related.ip"), "holds several values", None),
    ("a rule twice", COUNT.replace("[ssh]", "[ssh, ssh]"), "names a rule twice", None),
    ("an alias for no rule", COUNT + ", aliases: {h: {web: source.ip}}", "is for 'web', which is not counted here", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "said", "hint"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG]
)
def test_what_is_wrong_is_named(tmp_path: Path, body: str, said: str, hint: str | None) -> None:
    if "aliases" in body:
        body = body.replace("group-by: [source.ip]", "group-by: [h]")
    rules = load(tmp_path, SSH, correlation(body))
    (error,) = rules.errors
    assert said in error.message
    assert hint is None or hint in (error.hint or "")
    assert str(error.where).startswith(str(tmp_path))


def test_a_circle_is_named(tmp_path: Path) -> None:
    body = "type: event_count, rules: [{}], timespan: 1m, condition: {{gte: 2}}"
    rules = load(
        tmp_path,
        correlation(body.format("two"), more="name: one\n", title="One"),
        correlation(body.format("one"), more="name: two\n", title="Two"),
        SSH,
    )
    assert ["circle" in error.message for error in rules.errors] == [True, True]
    assert [rule.title for rule in rules.running] == ["SSH"]


def test_a_quiet_period_is_at_least_the_window(tmp_path: Path) -> None:
    (error,) = load(tmp_path, SSH, correlation(COUNT, more="suppress: 5s\n")).errors
    assert "suppress is shorter than the window" in error.message


def test_what_the_cap_takes_away_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connwatch.detectors.windows.engine.CAP", 2)
    rules = load(tmp_path, SSH, correlation(COUNT))
    made = batch(SERIES[:3])
    found = correlate(rules.correlated, made, match(rules, made), State(), fold.EVIDENCE)
    assert sum(found.state.forgotten.values()) == 1
    assert len(found.state.records) == 2


def test_cases_are_those_of_the_rule_that_alerts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A correlation and its base in one file: the short logs beside it are the correlation's."""
    load(tmp_path, SSH, correlation(COUNT))
    (tmp_path / "rules.events.yml").write_text(
        "hits:\n  - {name: three, events: [{event: {destination.port: 22}, times: 3}]}\n"
        "misses:\n  - {name: two, events: [{event: {destination.port: 22}, times: 2}]}\n",
        encoding="utf-8",
    )
    assert run(["rules", "test", str(tmp_path / "rules.yml")]) == 0
    assert "2 cases, 0 wrong" in capsys.readouterr().out
