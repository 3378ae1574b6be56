"""Sigma rules: every modifier, every form of condition, Sigma's meaning of case and of no value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connwatch.detectors.cases import frame
from connwatch.detectors.ruleset import RuleSet, load_rules, match
from connwatch.detectors.sigma.explain import explain
from connwatch.errors import RuleError

HEAD = """title: {title}
logsource: {{category: network, service: connection}}
"""


def write(
    folder: Path, detection: str, *, title: str = "A rule", more: str = "", name: str = "rule.yml"
) -> Path:
    lines = "\n".join(f"  {line}" for line in detection.strip("\n").splitlines())
    path = folder / name
    path.write_text(
        HEAD.format(title=title) + more + "detection:\n" + lines + "\n", encoding="utf-8"
    )
    return path


def load(folder: Path, detection: str, **options: Any) -> RuleSet:
    return load_rules([write(folder, detection, **options)])


EVENTS: dict[str, dict[str, Any]] = {
    "web": {"destination.port": 443, "zeek.connection.service": "ssl", "zeek.connection.state": "SF", "event.duration": 10_000_000_000, "source.ip": "10.0.0.5", "destination.ip": "93.184.216.34", "source.bytes": 500},
    "shell": {"destination.port": 31337, "zeek.connection.state": "S1", "source.ip": "192.168.1.9", "destination.ip": "203.0.113.4", "zeek.connection.history": "ShADad"},
    "ping": {"network.transport": "icmp", "source.ip": "10.0.0.5", "destination.ip": "10.0.0.5", "zeek.connection.icmp.type": 8},
    "six": {"destination.port": 80, "zeek.connection.service": "HTTP,-ssl", "source.ip": "2001:db8::1", "destination.ip": "2001:db8::2", "zeek.connection.state": "REJ", "connwatch.extra": '{"note":"Needle in hay"}'},
}  # fmt: skip

MATCHES: list[tuple[str, str, str]] = [
    ("a number", "s: {destination.port: 443}\ncondition: s", "web"),
    ("a number as text", "s: {destination.port: '443'}\ncondition: s", "web"),
    ("text that is no number on a number", "s: {destination.port: abc}\ncondition: s", ""),
    ("a wildcard on a number", "s: {destination.port: '3133?'}\ncondition: s", "shell"),
    ("a list is any of it", "s: {destination.port: [80, 443]}\ncondition: s", "web six"),
    ("a mapping is all of it", "s: {destination.port: 443, zeek.connection.state: SF}\ncondition: s", "web"),
    ("a list of mappings is any of them", "s: [{destination.port: 80}, {zeek.connection.state: S1}]\ncondition: s", "shell six"),
    ("upper and lower case are one", "s: {zeek.connection.service: SSL}\ncondition: s", "web"),
    ("cased tells them apart", "s: {zeek.connection.service|cased: SSL}\ncondition: s", ""),
    ("cased contains", "s: {zeek.connection.service|contains|cased: HTTP}\ncondition: s", "six"),
    ("contains", "s: {zeek.connection.history|contains: ad}\ncondition: s", "shell"),
    ("startswith", "s: {zeek.connection.service|startswith: http}\ncondition: s", "six"),
    ("endswith", "s: {zeek.connection.service|endswith: ssl}\ncondition: s", "web six"),
    ("all", "s: {zeek.connection.service|contains|all: [http, ssl]}\ncondition: s", "six"),
    ("wildcards inside", "s: {zeek.connection.service: 'h*,?ssl'}\ncondition: s", "six"),
    ("an escaped wildcard is itself", "s: {zeek.connection.service: 'h\\*'}\ncondition: s", ""),
    ("a star is any value", "s: {zeek.connection.service: '*'}\ncondition: s", "web six"),
    ("null is no value", "s: {zeek.connection.service: null}\ncondition: s", "shell ping"),
    ("exists", "s: {zeek.connection.service|exists: true}\ncondition: s", "web six"),
    ("does not exist", "s: {zeek.connection.service|exists: false}\ncondition: s", "shell ping"),
    ("cidr", "s: {source.ip|cidr: 10.0.0.0/8}\ncondition: s", "web ping"),
    ("cidr of IPv6", "s: {source.ip|cidr: '2001:db8::/32'}\ncondition: s", "six"),
    ("cidr on a list of addresses", "s: {related.ip|cidr: 203.0.113.0/24}\ncondition: s", "shell"),
    ("an address in another form", "s: {source.ip: '2001:0DB8::0001'}\ncondition: s", "six"),
    ("gt", "s: {destination.port|gt: 443}\ncondition: s", "shell"),
    ("gte", "s: {destination.port|gte: 443}\ncondition: s", "web shell"),
    ("lt", "s: {destination.port|lt: 443}\ncondition: s", "six"),
    ("lte", "s: {destination.port|lte: 443}\ncondition: s", "web six"),
    ("seconds in Sigma are nanoseconds here", "s: {event.duration|gte: 10}\ncondition: s", "web"),
    ("fractions of seconds", "s: {duration|gt: 9.999}\ncondition: s", "web"),
    ("neq", "s: {destination.port|neq: 443}\ncondition: s", "shell ping six"),
    ("re", "s: {zeek.connection.history|re: '^Sh.*d$'}\ncondition: s", "shell"),
    ("re has case", "s: {zeek.connection.history|re: '^sh'}\ncondition: s", ""),
    ("re|i has none", "s: {zeek.connection.history|re|i: '^sh'}\ncondition: s", "shell"),
    ("re with escapes and stars", "s: {destination.ip|re: '^93\\.\\d+\\.2\\d*\\.34$'}\ncondition: s", "web"),
    ("re|s and re|m", "s: {zeek.connection.history|re|s|m: 'A.*$'}\ncondition: s", "shell"),
    ("re on a number", "s: {destination.port|re: '^3133'}\ncondition: s", "shell"),
    ("fieldref", "s: {source.ip|fieldref: destination.ip}\ncondition: s", "ping"),
    ("fieldref startswith", "s: {zeek.connection.service|fieldref|startswith: zeek.connection.service}\ncondition: s", "web six"),
    ("windash", "s: {zeek.connection.service|windash|contains: ',/ssl'}\ncondition: s", "six"),
    ("base64", "s: {zeek.connection.service|base64: x}\ncondition: s", ""),
    ("base64offset", "s: {zeek.connection.service|base64offset|contains: foobar}\ncondition: s", ""),
    ("utf16 and wide", "s: {zeek.connection.service|wide|base64offset|contains: foobar}\nt: {zeek.connection.service|utf16|base64: x}\ncondition: s or t", ""),
    ("hour", "s: {'@timestamp|hour': 12}\ncondition: s", "web shell ping six"),
    ("day, month, year", "s: {'@timestamp|day': 20, '@timestamp|month': 11, '@timestamp|year': 2026}\ncondition: s", "web shell ping six"),
    ("minute and week", "s: {'@timestamp|minute': 1}\nt: {'@timestamp|week': 47}\ncondition: s or t", "web shell ping six"),
    ("a list column", "s: {event.type: denied}\ncondition: s", "six"),
    ("other products' field names", "s: {DestinationPort: 443, src_ip: 10.0.0.5, id.resp_h: 93.184.216.34}\ncondition: s", "web"),
    ("other products' values", "s: {action: blocked}\ncondition: s", "six"),
    ("a keyword", "k: [needle]\ncondition: k", "six"),
    ("keywords with all", "k:\n  '|all': [needle, hay]\ncondition: k", "six"),
    ("keywords are any", "k: [ShADad, needle]\ncondition: k", "shell six"),
    ("and", "a: {source.ip: 10.0.0.5}\nb: {destination.port: 443}\ncondition: a and b", "web"),
    ("or", "a: {destination.port: 80}\nb: {destination.port: 443}\ncondition: a or b", "web six"),
    ("not", "a: {destination.port: 443}\ncondition: not a", "shell ping six"),
    ("not of a missing field is true", "a: {zeek.connection.service: ssl}\ncondition: not a", "shell ping six"),
    ("parentheses", "a: {destination.port: 80}\nb: {destination.port: 443}\nc: {zeek.connection.state: SF}\ncondition: (a or b) and not c", "six"),
    ("1 of pattern", "sel_a: {destination.port: 80}\nsel_b: {destination.port: 443}\nx: {destination.port: 1}\ncondition: 1 of sel_*", "web six"),
    ("all of pattern", "sel_a: {source.ip: 10.0.0.5}\nsel_b: {destination.port: 443}\ncondition: all of sel_*", "web"),
    ("1 of them", "a: {destination.port: 80}\nb: {destination.port: 443}\ncondition: 1 of them", "web six"),
    ("all of them", "a: {source.ip: 10.0.0.5}\nb: {destination.port: 443}\ncondition: all of them", "web"),
    ("not 1 of", "sel_a: {destination.port: 80}\nsel_b: {destination.port: 443}\ncondition: not 1 of sel_*", "shell ping"),
    ("several conditions are any", "a: {destination.port: 80}\nb: {destination.port: 443}\ncondition: [a, b]", "web six"),
    ("an empty text", "s: {zeek.connection.service: ''}\ncondition: s", ""),
    ("a bool", "s: {zeek.connection.local_orig: true}\ncondition: s", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("detection", "wanted"), [m[1:] for m in MATCHES], ids=[m[0] for m in MATCHES]
)
def test_match(tmp_path: Path, detection: str, wanted: str) -> None:
    rules = load(tmp_path, detection)
    assert not rules.errors, rules.errors[0]
    assert not rules.unfed, rules.unfed[0]
    rows = match(rules, frame(list(EVENTS.values())))["row"].to_list()
    names = list(EVENTS)
    assert [names[row] for row in rows] == wanted.split()


ERRORS: list[tuple[str, str, str, str, str | None]] = [
    ("unknown modifier", "s: {destination.port|contain: 4}\ncondition: s", "", "rule.yml:4", "did you mean 'contains'?"),
    ("unknown detection", "selection: {destination.port: 4}\ncondition: selektion", "", "rule.yml:5", "did you mean 'selection'?"),
    ("broken condition", "s: {destination.port: 4}\ncondition: s and (", "", "rule.yml:5", None),
    ("look-around", "s: {zeek.connection.history|re: '(?=a)b'}\ncondition: s", "", "rule.yml", "linear time"),
    ("bad network", "s: {source.ip|cidr: 10.0.0.0/99}\ncondition: s", "", "rule.yml:4", None),
    ("bad period", "s: {destination.port: 4}\ncondition: s", "suppress: soon\n", "rule.yml:3", "30m"),
    ("misspelt key", "s: {destination.port: 4}\ncondition: s", "supress: 1h\n", "rule.yml:3", "did you mean 'suppress'?"),
    ("unknown group", "s: {destination.port: 4}\ncondition: s", "group-by: [source.ipp]\n", "rule.yml:3", "did you mean 'source.ip'?"),
    ("bad level", "s: {destination.port: 4}\ncondition: s", "level: bad\n", "rule.yml:3", None),
    ("enabled is no bool", "s: {destination.port: 4}\ncondition: s", "enabled: maybe\n", "rule.yml:3", None),
    ("a placeholder without values", "s: {source.ip|expand: '%hosts%'}\ncondition: s", "", "rule.yml", "placeholders"),
    ("an expression with a placeholder without values", "s: {uid|re|expand: '^%some%$'}\ncondition: s", "", "rule.yml", "placeholders"),
    ("a duration as text", "s: {duration|contains: '5'}\ncondition: s", "", "rule.yml", "gte"),
    ("a duration as an expression", "s: {duration|re: '^5$'}\ncondition: s", "", "rule.yml", "gte"),
    ("a hour of a port", "s: {destination.port|hour: 4}\ncondition: s", "", "rule.yml", "@timestamp"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("detection", "more", "where", "hint"), [e[1:] for e in ERRORS], ids=[e[0] for e in ERRORS]
)
def test_what_is_wrong_is_named_with_its_line_and_the_others_run(
    tmp_path: Path, detection: str, more: str, where: str, hint: str | None
) -> None:
    write(tmp_path, "s: {destination.port: 443}\ncondition: s", title="Good", name="good.yml")
    write(tmp_path, detection, more=more)
    rules = load_rules([tmp_path])
    assert [rule.title for rule in rules.rules] == ["Good"]
    (error,) = rules.errors
    assert where in (error.where or "")
    assert hint is None or hint in (error.hint or ""), error


def test_what_is_no_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("title: [\nx: }", encoding="utf-8")
    (tmp_path / "b.yml").write_bytes(b"\xff\xfe")
    (tmp_path / "c.yml").write_text("- just\n- a list\n", encoding="utf-8")
    (tmp_path / "d.yml").write_text("a: &a [x]\nb: *nowhere\n", encoding="utf-8")
    rules = load_rules([tmp_path])
    assert not rules.rules
    assert [Path((error.where or "").split(":")[0]).name for error in rules.errors] == [
        "a.yml",
        "b.yml",
        "d.yml",
        "c.yml",
    ]


def test_a_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuleError, match="no such rule file or folder"):
        load_rules([tmp_path / "none"])


UNFED: list[tuple[str, str, str]] = [
    ("another log source", "title: x\nlogsource: {category: dns}\ndetection: {s: {query: a}, condition: s}\n", "no source here feeds category dns"),
    ("a field nobody emits", "title: x\nlogsource: {category: firewall}\ndetection: {s: {dst_prt: 4}, condition: s}\n", "no record here has the field 'dst_prt' (did you mean dst_port?)"),
    ("the retired pipe", "title: x\nlogsource: {category: firewall}\ndetection: {s: {dst_port: 4}, condition: 's | count() > 5'}\n", "its condition has the retired | syntax; write it as a correlation"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), [u[1:] for u in UNFED], ids=[u[0] for u in UNFED])
def test_a_rule_that_cannot_be_fed_is_listed(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "rule.yml").write_text(text, encoding="utf-8")
    rules = load_rules([tmp_path])
    assert not rules.errors
    assert [one.reason for one in rules.unfed] == [reason]


def test_placeholders_are_filled_in(tmp_path: Path) -> None:
    (tmp_path / "values.yml").write_text(
        "placeholders: {servers: [93.184.216.34, 203.0.113.4]}\n", encoding="utf-8"
    )
    write(tmp_path, "s: {destination.ip|expand: '%servers%'}\ncondition: s")
    rules = load_rules([tmp_path])
    assert not rules.errors
    assert match(rules, frame(list(EVENTS.values())))["row"].to_list() == [0, 1]


def test_placeholders_in_expressions_are_filled_in(tmp_path: Path) -> None:
    (tmp_path / "values.yml").write_text("placeholders: {nets: ['93', '203']}\n", encoding="utf-8")
    path = write(tmp_path, "s: {destination.ip|re|expand: '^%nets%[.]'}\ncondition: s")
    rules = load_rules([tmp_path])
    assert not rules.errors, rules.errors[0]
    assert match(rules, frame(list(EVENTS.values())))["row"].to_list() == [0, 1]
    path.write_text(path.read_text().replace("%nets%", "%nets%%none%"))
    assert len(load_rules([tmp_path]).errors) == 1


def test_filters_apply_to_the_rules_they_name(tmp_path: Path) -> None:
    identity = "5a0f1c2e-93a2-4b16-9d1c-0a1b2c3d4e5f"
    write(tmp_path, "s: {destination.port: [443, 31337]}\ncondition: s", more=f"id: {identity}\n")
    (tmp_path / "filter.yml").write_text(
        "title: Not the web\nlogsource: {category: network, service: connection}\n"
        f"filter:\n  rules: [{identity}]\n  f: {{destination.port: 443}}\n  condition: not f\n",
        encoding="utf-8",
    )
    rules = load_rules([tmp_path])
    assert not rules.errors, rules.errors[0]
    assert match(rules, frame(list(EVENTS.values())))["row"].to_list() == [1]


def test_several_documents_in_one_file_and_the_same_id_twice(tmp_path: Path) -> None:
    one = write(
        tmp_path, "s: {destination.port: 1}\ncondition: s", title="One", name="a.yml"
    ).read_text(encoding="utf-8")
    (tmp_path / "a.yml").write_text(
        f"{one}---\n{one.replace('One', 'Two')}---\n{one}", encoding="utf-8"
    )
    rules = load_rules([tmp_path])
    assert {rule.title for rule in rules.rules} == {"One", "Two"}
    assert "has the id of the rule at" in str(rules.errors[0])


def test_own_keys(tmp_path: Path) -> None:
    (rule,) = load(
        tmp_path,
        "s: {destination.port: 1}\ncondition: s",
        more="suppress: 30m\ngroup-by: [dst_port]\nmessage: '{source.ip}'\nenabled: false\n",
    ).disabled
    assert (rule.suppress, rule.group_by, rule.message) == (
        1_800_000_000,
        ("destination.port",),
        "{source.ip}",
    )


def test_a_rule_applies_to_its_datasets_only(tmp_path: Path) -> None:
    rules = load(tmp_path, "s: {destination.port: 443}\ncondition: s")
    events = frame(
        [
            {**EVENTS["web"], "event.dataset": name}
            for name in ("zeek.connection", "other.log", "zeek.conn_long")
        ]
    )
    assert match(rules, events)["row"].to_list() == [0, 2]


def test_the_parts_of_a_condition_are_explained(tmp_path: Path) -> None:
    (rule,) = load(
        tmp_path,
        "a: {destination.port: 31337}\nb: {zeek.connection.service: ssl}\ncondition: a and not b",
    ).rules
    parts = explain(rule, frame([EVENTS["shell"]]))
    assert [(part.depth, part.outcome) for part in parts] == [
        (0, True),
        (1, True),
        (1, True),
        (2, None),
    ]
    assert parts[1].values == {"destination.port": 31337}


def test_every_network_rule_of_sigmahq_loads(data: Path) -> None:
    rules = load_rules([data / "rules"])
    assert not rules.errors
    assert len(rules.rules) + len(rules.disabled) + len(rules.unfed) == len(
        list((data / "rules").rglob("*.yml"))
    )
    assert match(rules, frame(list(EVENTS.values()))).height >= 0
    titles = {rule.title for rule in rules.rules}
    assert "Cleartext Protocol Usage" in titles
    assert "Equation Group C2 Communication" in titles
