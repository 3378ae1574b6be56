"""`connwatch rules lint`, rules about many records, rules beside one another, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_rules_lint import found, rule, said

from connwatch.cli import run
from connwatch.detectors.sigma.lint.finding import Finding
from connwatch.detectors.sigma.lint.lint import lint
from connwatch.detectors.windows.engine import CAP
from connwatch.pipeline import bundled_rules


def base(name: str, selection: str, number: int = 1) -> str:
    """A rule that is called `name` and selects so."""
    return rule(
        f"s: {{{selection}}}\ncondition: s",
        title=f"Base {name}",
        number=number,
        more=f"name: {name}\n",
    )


def counting(body: str, *, title: str = "Many", number: int = 99) -> str:
    return (
        f"title: {title}\nid: 00000000-0000-4000-9000-{number:012d}\ndescription: Many of them\n"
        f"level: low\ntags: [attack.t1046]\nfalsepositives: [None known]\ncorrelation: {{{body}}}\n"
    )


def about(findings: list[Finding], title: str = "Many") -> list[str]:
    """Severity and check of what is said of one rule."""
    return [f"{one.severity} {one.check}" for one in findings if one.rule == title]


TCP = base("a", "network.transport: tcp, conn_state: S0")
UDP = base("b", "network.transport: udp", 2)
STATES = base("t", "conn_state: '*', network.transport: tcp", 10)
ANY = base("c", "source.bytes|gt: 5", 3)
PORTS = base("p", "destination.port: [21, 22, 23]", 4)
LONG = base("l", "event.duration|gte: 3600, network.transport: tcp, conn_state: SF", 5)
MIXED = base("m", "network.transport: tcp, conn_state: [S0, REJ]", 6)
SILENT = base("s", "network.transport: tcp, conn_state: [SF, S1]", 7)
SMALL = base("n", "source.bytes|lt: 100, network.transport: tcp, conn_state: S0", 8)
BLOCK = base("k", "source.ip|cidr: 192.0.2.0/30", 9)
COUNT = "type: event_count, rules: [a], group-by: [source.ip], timespan: 10m, condition: {%s}"
VALUES = "type: value_count, rules: [%s], group-by: [source.ip], timespan: 10m, condition: {field: %s, %s}"
TARGETS = VALUES.replace("[source.ip]", "[destination.ip]")
BOTH = "type: %s, rules: [a, b], group-by: [source.ip], timespan: %s"
METRIC = (
    "type: value_%s, rules: [%s], group-by: [source.ip], timespan: 2h, condition: {field: %s, %s}"
)

#: (what, what is said, the rules it counts, a correlation that is wrong, a near one that is not)
CORRELATIONS = [
    ("fewer than one", "error never", TCP, COUNT % "lt: 1", COUNT % "lt: 2"),
    ("none", "error never", TCP, COUNT % "eq: 0", COUNT % "eq: 1"),
    ("a half", "error never", TCP, COUNT % "eq: 1.5", COUNT % "eq: 2"),
    ("at least one", "warning always", TCP, COUNT % "gte: 1", COUNT % "gte: 2"),
    ("more than a window holds", "error never", TCP, COUNT % f"gt: {CAP}", COUNT % f"gt: {CAP - 1}"),
    ("more states than there are", "error never", STATES, VALUES % ("t", "zeek.connection.state", "gt: 13"), VALUES % ("t", "zeek.connection.state", "gt: 12")),
    ("more states than are selected", "error never", SILENT, VALUES % ("s", "zeek.connection.state", "gte: 3"), VALUES % ("s", "zeek.connection.state", "gte: 2")),
    ("more directions than there are", "error never", TCP, VALUES % ("a", "network.direction", "gte: 5"), VALUES % ("a", "network.direction", "gte: 4")),
    ("more ports than there are", "error never", TCP, VALUES % ("a", "destination.port", "gte: 65537"), VALUES % ("a", "destination.port", "gte: 65536")),
    ("more ports than are selected", "error never", PORTS, VALUES % ("p", "destination.port", "gte: 4"), VALUES % ("p", "destination.port", "gte: 3")),
    ("more addresses than are selected", "error never", BLOCK, TARGETS % ("k", "source.ip", "gte: 5"), TARGETS % ("k", "source.ip", "gte: 4")),
    ("values of what makes the group", "error never", TCP, VALUES % ("a", "source.ip", "gte: 2"), VALUES % ("a", "destination.ip", "gte: 2")),
    ("more rules than there are", "error never", TCP + "---\n" + UDP, BOTH % ("temporal", "10m") + ", condition: {gte: 3}", BOTH % ("temporal", "10m") + ", condition: {gte: 2}"),
    ("one rule of two", "warning always", TCP + "---\n" + UDP, BOTH % ("temporal", "10m") + ", condition: {gte: 1}", BOTH % ("temporal", "10m")),
    ("a rule and not the rule", "error never", TCP + "---\n" + UDP, "type: temporal, group-by: [source.ip], timespan: 10m, condition: a and b and not a", "type: temporal, group-by: [source.ip], timespan: 10m, condition: a and not b"),
    ("any rule at all", "warning always", TCP + "---\n" + UDP, "type: temporal, group-by: [source.ip], timespan: 10m, condition: a or b", "type: temporal, group-by: [source.ip], timespan: 10m, condition: a and b"),
    ("a mean above all", "error never", SMALL, METRIC % ("avg", "n", "source.bytes", "gt: 99"), METRIC % ("avg", "n", "source.bytes", "gt: 98")),
    ("a median above all", "error never", SMALL, METRIC % ("median", "n", "source.bytes", "gte: 100"), METRIC % ("median", "n", "source.bytes", "gte: 99")),
    ("a sum below zero", "error never", SMALL, METRIC % ("sum", "n", "source.bytes", "lt: 0"), METRIC % ("sum", "n", "source.bytes", "gt: 100000")),
    ("a mean that is always so", "warning always", LONG, METRIC % ("avg", "l", "event.duration", "gte: 3600"), METRIC % ("avg", "l", "event.duration", "gte: 7200")),
    ("a mean in nanoseconds", "warning units", LONG, METRIC % ("avg", "l", "event.duration", "gte: 7200000000"), METRIC % ("avg", "l", "event.duration", "gte: 7200")),
    ("a percentile that is not said", "warning units", SMALL, METRIC % ("percentile", "n", "source.bytes", "gte: 50"), METRIC % ("percentile", "n", "source.bytes", "gte: 50, percentile: 95")),
    ("a percentile of a sum", "warning units", SMALL, METRIC % ("sum", "n", "source.bytes", "gte: 50, percentile: 95"), METRIC % ("sum", "n", "source.bytes", "gte: 50")),
    ("records longer than the window", "warning delay", LONG, COUNT.replace("[a]", "[l]") % "gte: 5", COUNT.replace("[a]", "[l]").replace("10m", "2h") % "gte: 5"),
    ("attempts refused and unanswered in a second", "warning delay", MIXED, COUNT.replace("[a]", "[m]").replace("10m", "1s") % "gte: 5", COUNT.replace("[a]", "[m]").replace("10m", "10s") % "gte: 5"),
    ("attempts unanswered in a second", "warning delay", MIXED, COUNT.replace("[a]", "[m]").replace("10m", "4s") % "gte: 5", COUNT.replace("[a]", "[m]").replace("10m", "5s") % "gte: 5"),
    ("ended sessions and silent ones", "warning delay", SILENT, COUNT.replace("[a]", "[s]").replace("10m", "1m") % "gte: 5", COUNT.replace("[a]", "[s]") % "gte: 5"),
    ("TCP and UDP in ten seconds", "warning delay", TCP + "---\n" + UDP, BOTH % ("temporal_ordered", "10s"), BOTH % ("temporal_ordered", "2m")),
    ("all protocols in ten seconds", "note delay", ANY, COUNT.replace("[a]", "[c]").replace("10m", "10s") % "gte: 5", COUNT.replace("[a]", "[c]").replace("10m", "10s").replace("source.ip", "network.transport") % "gte: 5"),
    ("a group that may have no value", "note absent", ANY, COUNT.replace("[a]", "[c]").replace("source.ip", "destination.port") % "gte: 5", COUNT.replace("source.ip", "destination.port") % "gte: 5"),
    ("a count of what may have no value", "note absent", TCP, VALUES % ("a", "service", "gte: 2"), VALUES % ("a", "destination.port", "gte: 2")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "expected", "bases", "wrong", "right"), CORRELATIONS, ids=[c[0] for c in CORRELATIONS]
)
def test_a_correlation_that_cannot_be_meant_is_named_and_a_near_one_is_not(
    tmp_path: Path, what: str, expected: str, bases: str, wrong: str, right: str
) -> None:
    assert about(found(tmp_path, bases, counting(wrong))) == [expected], what
    good = found(tmp_path, bases, counting(right))
    assert about(good) == [], what


def test_attempts_of_one_state_may_be_counted_in_a_second(tmp_path: Path) -> None:
    assert found(tmp_path, TCP, counting(COUNT.replace("10m", "1s") % "gte: 5")) == []


def test_a_base_that_can_never_match_is_named_where_it_is_counted(tmp_path: Path) -> None:
    dead = base("a", "conn_state: XX")
    findings = found(tmp_path, dead, counting(COUNT % "gte: 5"))
    assert about(findings) == ["warning never"]
    assert about(findings, "Base a") == ["error value"]


PAIRS = [
    ("the same", "warning same", "s: {destination.port: 80}\ncondition: s"),
    ("the same by another name", "warning same", "s: {id.resp_p: '80'}\ncondition: s"),
    ("the same as a range", "warning same", "s: {destination.port|gt: 79, destination.port|lt: 81}\ncondition: s"),
    ("the same twice negated", "warning same", "s: {destination.port: 80}\nt: {destination.port|exists: true}\ncondition: t and not (t and not s)"),
    ("less", "note inside", "s: {destination.port: 80, proto: tcp}\ncondition: s"),
    ("more", None, "s: {destination.port: [80, 81]}\ncondition: s"),
    ("something else", None, "s: {destination.port: 81}\ncondition: s"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "expected", "detection"), PAIRS, ids=[p[0] for p in PAIRS])
def test_two_rules_that_say_the_same(
    tmp_path: Path, what: str, expected: str | None, detection: str
) -> None:
    first = rule("s: {destination.port: 80}\ncondition: s", title="First")
    findings = found(tmp_path, first, rule(detection, title="Second", number=2))
    assert about(findings, "Second") == ([expected] if expected else []), what
    if what == "more":
        assert about(findings, "First") == ["note inside"]


SAMES = [
    ("in another order", "s: {proto: tcp}\nt: {conn_state: [SF, S0]}\ncondition: s and t", "s: {conn_state: [S0, SF]}\nt: {proto: TCP}\ncondition: t and s"),
    ("text and patterns", "s: {service|contains: ab}\ncondition: s", "s: {service: '*ab*'}\ncondition: s"),
    ("networks", "s: {source.ip|cidr: 10.0.0.0/8}\ncondition: s", "s: {source.ip|cidr: [10.0.0.0/9, 10.128.0.0/9]}\ncondition: s"),
    ("keywords", "s: [one, two]\ncondition: s", "s: [two]\nt: [one]\ncondition: s or t"),
    ("expressions", "s: {history|re: '^Sh'}\ncondition: s", "s: {zeek.connection.history|re: '^Sh'}\ncondition: s"),
    ("fields", "s: {source.ip|fieldref: destination.ip}\ncondition: s", "s: {src_ip|fieldref: dst_ip}\ncondition: s"),
    ("seconds", "s: {event.duration|gte: 60}\ncondition: s", "s: {duration|lt: 60}\nt: {duration|exists: true}\ncondition: t and not s"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "one", "other"), SAMES, ids=[s[0] for s in SAMES])
def test_the_same_is_found_in_other_words(tmp_path: Path, what: str, one: str, other: str) -> None:
    findings = found(tmp_path, rule(one, title="First"), rule(other, title="Second", number=2))
    assert about(findings, "Second") == ["warning same"], what


def test_a_weightier_rule_inside_another_and_rules_that_are_only_counted_are_no_matter(
    tmp_path: Path,
) -> None:
    wide = rule("s: {destination.port: 80}\ncondition: s", title="First")
    narrow = rule(
        "s: {destination.port: 80, proto: tcp}\ncondition: s",
        title="Second",
        number=2,
        level="high",
    )
    assert found(tmp_path, wide, narrow) == []
    silent = base("a", "destination.port: 80", 3)
    findings = found(tmp_path, wide, silent, counting(COUNT % "gte: 3"))
    assert about(findings, "Base a") == ["note same"]


def test_correlations_that_count_the_same(tmp_path: Path) -> None:
    one, more = counting(COUNT % "gte: 3"), counting(COUNT % "gte: 3", title="Again", number=98)
    assert about(found(tmp_path, TCP, one, more), "Again") == ["warning same"]
    other = counting(COUNT % "gte: 4", title="Again", number=98)
    assert about(found(tmp_path, TCP, one, other), "Again") == []


def test_titles_that_are_the_same(tmp_path: Path) -> None:
    one = rule("s: {destination.port: 80}\ncondition: s", title="One title")
    two = rule("s: {destination.port: 81}\ncondition: s", title="one  Title", number=2)
    assert said(found(tmp_path, one, two)) == ["12 warning same"]


def test_a_rule_with_a_name_that_nothing_counts(tmp_path: Path) -> None:
    assert said(found(tmp_path, TCP)) == ["11 note uncounted"]
    assert found(tmp_path, TCP, counting(COUNT % "gte: 3")) == []


UNUSED = [
    (
        "a selection that is not named",
        ["warning unused"],
        "s: {proto: tcp}\nt: {vlan: 1}\ncondition: s",
    ),
    ("a selection that is named", [], "s: {proto: tcp}\nt: {vlan: 1}\ncondition: s and t"),
    ("all of them", [], "s: {proto: tcp}\nt: {vlan: 1}\ncondition: 1 of them"),
    ("some of them", [], "s_a: {proto: tcp}\ns_b: {vlan: 1}\ncondition: 1 of s_*"),
    (
        "a pattern that is another",
        ["warning unused"],
        "s_a: {proto: tcp}\nt_b: {vlan: 1}\ncondition: 1 of s_*",
    ),
]


@pytest.mark.parametrize(("what", "expected", "detection"), UNUSED, ids=[u[0] for u in UNUSED])
def test_selections_that_nothing_uses(
    tmp_path: Path, what: str, expected: list[str], detection: str
) -> None:
    assert about(found(tmp_path, rule(detection)), "A rule") == expected, what


ALIAS = "type: temporal, rules: [a, b], timespan: 10m, group-by: [%s], aliases: {host: {a: source.ip, b: destination.ip}}"


def test_an_alias_that_nothing_uses(tmp_path: Path) -> None:
    assert about(found(tmp_path, TCP, UDP, counting(ALIAS % "source.ip"))) == ["warning unused"]
    assert about(found(tmp_path, TCP, UDP, counting(ALIAS % "host"))) == []
    single = (ALIAS % "host").replace("[host]", "host")
    assert about(found(tmp_path, TCP, UDP, counting(single))) == []


FILTER = "title: F\nlogsource: {category: %s}\nfilter: {rules: %s, s: {destination.port: 80}, condition: not s}\n"
FILTERS = [
    ("a rule that is not here", ["warning filter"], "network", "[b]"),
    ("a rule that is here", [], "network", "[a]"),
    ("any rule", [], "network", "any"),
    ("another log source", ["warning filter"], "dns", "any"),
]


@pytest.mark.parametrize(("what", "expected", "source", "rules"), FILTERS)
def test_a_filter_that_is_for_no_rule(
    tmp_path: Path, what: str, expected: list[str], source: str, rules: str
) -> None:
    findings = found(tmp_path, TCP, counting(COUNT % "gte: 3"), FILTER % (source, rules))
    assert about(findings, "F") == expected, what


def test_what_a_rule_leaves_out(tmp_path: Path) -> None:
    bare = "title: Bare\nlogsource: {category: network}\ndetection: {s: {destination.port: 1}, condition: s}\n"
    (one,) = found(tmp_path, bare)
    assert said([one]) == ["1 note undescribed"]
    assert one.what == "has no id and no level and no description and no tags and no falsepositives"


ABSENT = [
    ("a service that may be lacking", ["10 note absent"], "s: {destination.port: 1}", "message: '{zeek.connection.service}'"),
    ("a service that is asked for", [], "s: {service: '*'}", "message: '{zeek.connection.service}'"),
    ("a port that may be lacking", ["10 note absent"], "s: {conn_state: S0}", "message: '{destination.port}'"),
    ("a port that TCP always has", [], "s: {proto: tcp}", "message: '{destination.port}'"),
    ("what is always there", [], "s: {proto: tcp}", "message: '{source.ip} {count}'"),
    ("a value that one record has not", ["10 warning absent"], "s: {proto: tcp}", "message: '{peak}'"),
    ("a group that may be lacking", ["10 note absent"], "s: {proto: tcp}", "group-by: [source.ip, zeek.connection.service]"),
    ("a group that is asked for", [], "s: {service: ssl}", "group-by: [source.ip, zeek.connection.service]"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "expected", "selection", "more"), ABSENT, ids=[a[0] for a in ABSENT]
)
def test_fields_that_may_have_no_value(
    tmp_path: Path, what: str, expected: list[str], selection: str, more: str
) -> None:
    findings = found(tmp_path, rule(f"{selection}\ncondition: s", more=f"{more}\n"))
    assert [text.replace("11", "10") for text in said(findings)] == expected, what


LOADING = [
    ("a field that nobody emits", "10 warning unfed", "s: {\n  Image: x}\ncondition: s"),
    ("a network with host bits", "8 error unusable", "s: {source.ip|cidr: 10.0.0.1/8}\ncondition: s"),
    ("a modifier that is none", "9 error unusable", "s: {source.ip|starts: 10}\ncondition: s"),
    ("the retired syntax", "10 warning unfed", "s: {source.ip: 10.0.0.1}\ncondition: s | count() > 5"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "expected", "detection"), LOADING, ids=[a[0] for a in LOADING])
def test_rules_that_do_not_run_are_named_too(
    tmp_path: Path, what: str, expected: str, detection: str
) -> None:
    assert said(found(tmp_path, rule(detection))) == [expected], what


def test_a_source_that_nobody_reads(tmp_path: Path) -> None:
    unfed = rule("s: {query: x}\ncondition: s").replace(
        "category: network, service: connection", "category: dns"
    )
    assert said(found(tmp_path, unfed)) == ["7 warning unfed"]


EMITTED = frozenset({"source.ip", "destination.ip", "destination.port", "source.bytes"})
UNEMITTED = [
    ("a field that the rule needs", ["warning unfed"], "s: {vlan: 5, destination.port: 1}\ncondition: s"),
    ("a field that it can do without", ["note unfed"], "s: {vlan: 5}\nt: {destination.port: 1}\ncondition: s or t"),
    ("an exclusion", ["note unfed"], "s: {vlan: 5}\nt: {destination.port: 1}\ncondition: t and not s"),
    ("a field that must be lacking", [], "s: {vlan: null, destination.port: 1}\ncondition: s"),
    ("a field that is there", [], "s: {source.bytes: 5}\ncondition: s"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "expected", "detection"), UNEMITTED, ids=[u[0] for u in UNEMITTED]
)
def test_fields_that_the_logs_never_fill(
    tmp_path: Path, what: str, expected: list[str], detection: str
) -> None:
    (tmp_path / "rules.yml").write_text(rule(detection), encoding="utf-8")
    assert about(lint([tmp_path], EMITTED), "A rule") == expected, what
    assert about(lint([tmp_path]), "A rule") == [], what


def test_a_group_that_the_logs_never_fill(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(
        f"{ANY}---\n{counting(COUNT.replace('[a]', '[c]').replace('source.ip', 'vlan') % 'gte: 5')}",
        encoding="utf-8",
    )
    assert "warning unfed" in about(lint([tmp_path], EMITTED))


def test_the_bundled_rules_have_no_warnings() -> None:
    assert [f for f in lint([bundled_rules()]) if f.severity != "note"] == []


def test_rules_of_sigmahq_are_looked_at(data: Path) -> None:
    findings = lint([data / "rules"])
    assert {one.check for one in findings if one.severity != "note"} <= {"unfed", "value", "case"}


def test_the_command_prints_findings_and_exits_with_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(
        rule("s: {destination.port: 70000}\ncondition: s", title='"Bad \\e[31m"'), encoding="utf-8"
    )
    assert run(["rules", "lint", str(path)]) == 1
    shown = capsys.readouterr().out
    assert f"{path}:9: error: Bad \\x1b[31m: destination.port is 70000 can never be true" in shown
    assert "  hint: " in shown
    assert "1 errors, 0 warnings, 0 notes" in shown
    assert run(["rules", "lint", "--format", "json", str(path)]) == 1
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["where"], one["severity"], one["check"]) == (f"{path}:9", "error", "units")


def test_the_command_reads_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(rule("s: {vlan: 5, destination.port: 1}\ncondition: s"), encoding="utf-8")
    log = tmp_path / "conn.log"
    log.write_text(
        '{"ts":1763600000.0,"id.orig_h":"10.0.0.1","id.orig_p":1,"id.resp_h":"10.0.0.2","id.resp_p":2,"proto":"tcp","_path":"conn"}\n',
        encoding="utf-8",
    )
    assert run(["rules", "lint", "--log", str(log), str(path)]) == 1
    shown = capsys.readouterr().out
    assert "no record of these logs has zeek.connection.vlan, and the rule cannot match" in shown
    assert "has destination.port" not in shown


def test_notes_alone_are_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(TCP, encoding="utf-8")
    assert run(["rules", "lint", str(path)]) == 0
    assert "0 errors, 0 warnings, 1 notes" in capsys.readouterr().out
    assert run(["rules", "lint", "--no-notes", "--format", "json", str(path)]) == 0
    assert json.loads(capsys.readouterr().out) == []
    assert run(["rules", "lint", str(tmp_path / "nowhere")]) == 2
    assert run(["rules", "lint"]) == 0
