"""`connwatch rules lint`, rules about one record: for each finding a rule that has it, and one much
like it that has it not."""

from __future__ import annotations

from pathlib import Path

import pytest

from connwatch.detectors.sigma.fields import Target
from connwatch.detectors.sigma.lint.checks.units import duration_fault
from connwatch.detectors.sigma.lint.expressions import of_expression, possible
from connwatch.detectors.sigma.lint.finding import Finding
from connwatch.detectors.sigma.lint.lint import lint

HEAD = """title: {title}
id: {id}
description: What was found
level: {level}
tags: [attack.t1046]
falsepositives: [None known]
logsource: {{category: network, service: connection}}
"""


def rule(
    detection: str, *, title: str = "A rule", number: int = 1, level: str = "low", more: str = ""
) -> str:
    """A rule with nothing to be said against but its detection, which begins in line 9."""
    identity = f"00000000-0000-4000-8000-{number:012d}"
    head = HEAD.format(title=title, id=identity, level=level)
    lines = "".join(f"  {line}\n" for line in detection.strip("\n").splitlines())
    return f"{head}detection:\n{lines}{more}"


def found(folder: Path, *documents: str) -> list[Finding]:
    (folder / "rules.yml").write_text("---\n".join(documents), encoding="utf-8")
    return lint([folder / "rules.yml"])


def said(findings: list[Finding]) -> list[str]:
    """Line, severity and check of each finding."""
    return [f"{f.where.rpartition(':')[2]} {f.severity} {f.check}" for f in findings]


SELECTION = "s:\n  {}\ncondition: s"

#: (what, what is said, of which comparison, and of which near one nothing is)
COMPARISONS = [
    ("a port out of range", "10 error units", "destination.port: 70000", "destination.port: 65535"),
    ("a negative port", "10 error units", "destination.port: -1", "destination.port: 0"),
    ("a port below zero", "10 error units", "source.port|lt: 0", "source.port|lt: 1"),
    ("a port above all", "10 error units", "destination.port|gt: 65535", "destination.port|gt: 65534"),
    ("every port", "10 warning always", "destination.port|gte: 0", "destination.port|gte: 1"),
    ("every port, from above", "10 warning always", "destination.port|lt: 70000", "destination.port|lt: 65535"),
    ("text for a port", "10 error value", "destination.port: https", "destination.port: '443'"),
    ("a wildcard on ports that no port fits", "10 error value", "destination.port: '7????'", "destination.port: '6????'"),
    ("an expression on ports that no port fits", "10 error value", "destination.port|re: '^99[0-9]{3}$'", "destination.port|re: '^99[0-9]{2}$'"),
    ("a part of a port", "10 error value", "destination.port: 80.5", "destination.port: 80.0"),
    ("negative bytes", "10 error units", "source.bytes: -5", "source.bytes: 5"),
    ("fewer than no bytes", "10 error units", "source.bytes|lt: -5", "source.bytes|lt: 5"),
    ("bytes that are always there", "10 warning always", "network.bytes|gte: 0", "network.bytes|gt: 0"),
    ("an ICMP type out of range", "10 error units", "zeek.connection.icmp.type: 256", "zeek.connection.icmp.type: 255"),
    ("a VLAN out of range", "10 error units", "vlan: 5000", "vlan: 4000"),
    ("nanoseconds for seconds", "10 error units", "event.duration|gt: 3600000000000", "event.duration|gt: 3600"),
    ("milliseconds for seconds", "10 warning units", "duration|gt: 3600000", "duration|gt: 86400"),
    ("a state that does not exist", "10 error value", "conn_state: S9", "conn_state: S3"),
    ("a wildcard that no state fits", "10 error value", "conn_state: 'X*'", "conn_state: 'R*'"),
    ("an expression that no state fits", "10 error value", "conn_state|re: '^RST[12]'", "conn_state|re: '^RST[OR]'"),
    ("a transport that does not exist", "10 error value", "network.transport: tpc", "network.transport: tcp"),
    ("a direction that does not exist", "10 error value", "network.direction: ingress", "network.direction: inbound"),
    ("an outcome that does not exist", "10 error value", "event.outcome: failed", "event.outcome: failure"),
    ("a type that does not exist", "10 error value", "event.type: connections", "event.type: denied"),
    ("a dataset that does not feed rules", "10 error value", "event.dataset: zeek.dns", "event.dataset: zeek.connection"),
    ("an action that is called nothing here", "10 error value", "action: mirror", "action: blocked"),
    ("a truth that is none", "10 error value", "local_orig: maybe", "local_orig: true"),
    ("transport with case", "10 error case", "network.transport|cased: TCP", "network.transport: TCP"),
    ("part of a transport with case", "10 error case", "network.transport|contains|cased: CP", "network.transport|contains: CP"),
    ("transport as an expression", "10 error case", "proto|re: '^(TCP|UDP)$'", "proto|re|i: '^(TCP|UDP)$'"),
    ("service with case", "10 error case", "service|cased: SSL", "service|cased: ssl"),
    ("service as an expression", "10 error case", "service|re: '^SSL'", "service|re: '^(SSL|ssl)'"),
    ("service as an expression with a class", "10 error case", "service|re: '[A-Z]+'", "service|re: '[A-Za-z]+'"),
    ("state in lower case with case", "10 error case", "conn_state|cased: s0", "conn_state|cased: S0"),
    ("an address in upper case", "10 error case", "source.ip|startswith|cased: 'FE80:'", "source.ip|startswith: 'FE80:'"),
    ("a network as an address", "10 error value", "source.ip: 10.0.0.0/8", "source.ip|cidr: 10.0.0.0/8"),
    ("a name and a number as an address", "10 error value", "destination.ip: 'host::1'", "destination.ip: '::ffff:1.2.3.4'"),
    ("a fraction of nanoseconds", "10 error value", "duration: 0.0000000005", "duration: 0.067"),
    ("a name as an address", "10 error value", "destination.ip: localhost", "destination.ip: '::1'"),
    ("a letter that no history has", "10 error value", "history|contains: Z", "history|contains: R"),
    ("an anchor behind text", "10 error value", "history|re: 'S^h'", "history|re: '^Sh'"),
    ("text behind an anchor", "10 error value", "history|re: 'S$h'", "history|re: 'Sh$'"),
    ("a link address in another form", "10 error value", "source.mac: 'aa:bb:cc:dd:ee:ff'", "source.mac: aa-bb-cc-dd-ee-ff"),
    ("an hour that no day has", "10 error units", "'@timestamp|hour': 24", "'@timestamp|hour': 23"),
    ("a month that no year has", "10 error units", "'@timestamp|month': 13", "'@timestamp|month': 12"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "expected", "wrong", "right"), COMPARISONS, ids=lambda v: str(v)[:40]
)
def test_a_comparison_that_no_value_fulfils_is_named_and_a_near_one_is_not(
    tmp_path: Path, what: str, expected: str, wrong: str, right: str
) -> None:
    line = str(int(expected.split()[0]))
    assert said(found(tmp_path, rule(SELECTION.format(wrong)))) == [
        f"{line} {expected.partition(' ')[2]}"
    ], what
    assert said(found(tmp_path, rule(SELECTION.format(right)))) == [], what


#: (what, what is said, the detection that is wrong, a near one that is not)
CONDITIONS = [
    (
        "two values at once", "10 error never",
        "s: {destination.port: 80}\nt: {destination.port: 443}\ncondition: s and t",
        "s: {destination.port: 80}\nt: {destination.port: 443}\ncondition: s or t",
    ),
    (
        "two states at once", "10 error never",
        "s: {conn_state: S0}\nt: {conn_state: SF}\ncondition: s and t",
        "s: {conn_state: [S0, SF]}\nt: {conn_state: SF}\ncondition: s and t",
    ),
    (
        "two services at once", "10 error never",
        "s: {service: ssl}\nt: {service: http}\ncondition: s and t",
        "s: {service|contains: ssl}\nt: {service|contains: http}\ncondition: s and t",
    ),
    (
        "two beginnings at once", "10 error never",
        "s: {service|startswith: ssl}\nt: {service|startswith: http}\ncondition: s and t",
        "s: {service|startswith: ssl}\nt: {service|endswith: http}\ncondition: s and t",
    ),
    (
        "two ends at once", "10 error never",
        "s: {history|endswith: f}\nt: {history|endswith: r}\ncondition: s and t",
        "s: {history|endswith: f}\nt: {history|contains: r}\ncondition: s and t",
    ),
    (
        "a range without a number", "9 error never",
        "s: {source.bytes|gt: 10, source.bytes|lt: 11}\ncondition: s",
        "s: {source.bytes|gt: 10, source.bytes|lt: 12}\ncondition: s",
    ),
    (
        "a range the wrong way round", "10 error never",
        "s: {event.duration|gt: 10}\nt: {event.duration|lt: 5}\ncondition: s and t",
        "s: {event.duration|gt: 5}\nt: {event.duration|lt: 10}\ncondition: s and t",
    ),
    (
        "an expression and a range of ports", "10 error never",
        "s: {destination.port|re: '^70..$'}\nt: {destination.port|gt: 7100}\ncondition: s and t",
        "s: {destination.port|re: '^70..$'}\nt: {destination.port|gt: 7000}\ncondition: s and t",
    ),
    (
        "a thing and not the thing", "9 error never",
        "s: {destination.port: 80}\ncondition: s and not s",
        "s: {destination.port: 80}\nt: {source.port: 80}\ncondition: s and not t",
    ),
    (
        "a keyword and not the keyword", "9 error never",
        "s: [needle]\ncondition: s and not s",
        "s: [needle]\nt: [hay]\ncondition: s and not t",
    ),
    (
        "a part that the exclusion takes away", "10 error never",
        "s: {service|startswith: sslx}\nt: {service|startswith: ssl}\ncondition: s and not t",
        "s: {service|startswith: ssl}\nt: {service|startswith: sslx}\ncondition: s and not t",
    ),
    (
        "a network that the exclusion takes away", "10 error never",
        "s: {source.ip|cidr: 10.1.0.0/16}\nt: {source.ip|cidr: 10.0.0.0/8}\ncondition: s and not t",
        "s: {source.ip|cidr: 10.0.0.0/8}\nt: {source.ip|cidr: 10.1.0.0/16}\ncondition: s and not t",
    ),
    (
        "two networks apart", "10 error never",
        "s: {source.ip|cidr: 10.0.0.0/8}\nt: {source.ip|cidr: 192.168.0.0/16}\ncondition: s and t",
        "s: {source.ip|cidr: 10.0.0.0/8}\nt: {source.ip|cidr: 10.2.0.0/16}\ncondition: s and t",
    ),
    (
        "an address outside the network", "10 error never",
        "s: {destination.ip: 192.0.2.1}\nt: {destination.ip|cidr: 10.0.0.0/8}\ncondition: s and t",
        "s: {destination.ip: 10.0.2.1}\nt: {destination.ip|cidr: 10.0.0.0/8}\ncondition: s and t",
    ),
    (
        "an IPv4 address of IPv6", "9 error never",
        "s: {source.ip: 10.0.0.1, network.type: ipv6}\ncondition: s",
        "s: {source.ip: 'fe80::1', network.type: ipv6}\ncondition: s",
    ),
    (
        "a state that UDP has not", "9 error never",
        "s: {conn_state: REJ, proto: udp}\ncondition: s",
        "s: {conn_state: S0, proto: udp}\ncondition: s",
    ),
    (
        "a state that the outcome contradicts", "9 error never",
        "s: {conn_state: REJ, event.outcome: success}\ncondition: s",
        "s: {conn_state: REJ, event.outcome: failure}\ncondition: s",
    ),
    (
        "a state that is not blocked", "9 error never",
        "s: {conn_state: SF, action: blocked}\ncondition: s",
        "s: {conn_state: REJ, action: blocked}\ncondition: s",
    ),
    (
        "a value and none", "10 error never",
        "s: {service: null}\nt: {service: '*'}\ncondition: s and t",
        "s: {service: null}\nt: {destination.port: '*'}\ncondition: s and t",
    ),
    (
        "two hours at once", "10 error never",
        "s: {'@timestamp|hour': 3}\nt: {'@timestamp|hour': 4}\ncondition: s and t",
        "s: {'@timestamp|hour': 3}\nt: {'@timestamp|minute': 4}\ncondition: s and t",
    ),
    (
        "one side of an or", "10 warning never",
        "s: {destination.port: 80}\nt: {destination.port: 443}\nu: {proto: udp}\ncondition: u or (s and t)",
        "s: {destination.port: 80}\nt: {source.port: 443}\nu: {proto: udp}\ncondition: u or (s and t)",
    ),
    (
        "one value of a list", "9 warning value",
        "s: {conn_state: [S0, S7]}\ncondition: s",
        "s: {conn_state: [S0, S1]}\ncondition: s",
    ),
    (
        "everything", "10 warning always",
        "s: {destination.port: 80}\ncondition: s or not s",
        "s: {destination.port: 80}\ncondition: not s",
    ),
    (
        "all ports in two halves", "11 warning always",
        "s: {destination.port|lt: 1024}\nt: {destination.port|gte: 1024}\ncondition: s or t or not (s or t)",
        "s: {destination.port|lt: 1024}\nt: {destination.port|gt: 1024}\ncondition: s or t",
    ),
    (
        "an exclusion of what is not selected", "10 note exclusion",
        "s: {destination.port: 80}\nt: {destination.port: 443}\ncondition: s and not t",
        "s: {destination.port: [80, 443]}\nt: {destination.port: 443}\ncondition: s and not t",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "expected", "wrong", "right"), CONDITIONS, ids=[one[0] for one in CONDITIONS]
)
def test_a_condition_that_is_never_or_always_true_is_named_and_a_near_one_is_not(
    tmp_path: Path, what: str, expected: str, wrong: str, right: str
) -> None:
    assert said(found(tmp_path, rule(wrong))) == [expected], what
    assert said(found(tmp_path, rule(right))) == [], what


def test_a_finding_says_where_which_rule_what_and_what_to_do(tmp_path: Path) -> None:
    (one,) = found(tmp_path, rule("s: {conn_state: [S0, SFX]}\ncondition: s"))
    assert one.where == f"{tmp_path}/rules.yml:9"
    assert one.rule == "A rule"
    assert "conn_state is 'SFX' can never be true" in one.what
    assert one.advice == "did you mean 'SF'?"


def test_a_list_over_many_lines_is_reported_at_the_value(tmp_path: Path) -> None:
    wrong = "s:\n  source.port: 70000\n  destination.port:\n    - 80\n    - 70000\ncondition: s"
    assert said(found(tmp_path, rule(wrong))) == ["10 error units", "13 error units"]


def test_a_filter_counts_as_part_of_the_rule(tmp_path: Path) -> None:
    every = "title: F\nlogsource: {category: network, service: connection}\nfilter: {rules: any, s: {destination.port: %s}, condition: not s}\n"
    wrong = found(tmp_path, rule("s: {destination.port: 80}\ncondition: s"), every % 80)
    assert said(wrong) == ["9 error never"]
    assert (
        said(found(tmp_path, rule("s: {destination.port: [80, 81]}\ncondition: s"), every % 80))
        == []
    )


def test_placeholders_are_filled_in(tmp_path: Path) -> None:
    asked = rule("s: {destination.port|expand: '%ports%'}\ncondition: s")
    assert said(found(tmp_path, asked, "placeholders: {ports: ['70000']}\n")) == ["9 error units"]
    assert said(found(tmp_path, asked, "placeholders: {ports: ['443']}\n")) == []


def test_a_condition_of_very_many_alternatives_is_left_alone(tmp_path: Path) -> None:
    detections = "".join(
        f"s{n}: [{{destination.port: {n}, source.port: {n}}}, {{source.bytes: {n}, proto: tcp}}, {{vlan: {n}, proto: udp}}]\n"
        for n in range(1, 12)
    )
    assert said(found(tmp_path, rule(f"{detections}condition: all of s*"))) == []


DURATIONS = [
    ("seconds where nanoseconds are", 1, 3600, True),
    ("nanoseconds", 1, 3_600_000_000_000, False),
    ("a millisecond in nanoseconds", 1, 1_000_000, False),
    ("no length at all", 1, 0, False),
    ("seconds", 1_000_000_000, 3600 * 1_000_000_000, False),
    ("nanoseconds where seconds are", 1_000_000_000, 3_600_000_000_000 * 1_000_000_000, True),
]


@pytest.mark.parametrize(("what", "scale", "value", "wrong"), DURATIONS)
def test_a_duration_in_the_wrong_unit(what: str, scale: int, value: int, wrong: bool) -> None:
    fault = duration_fault(Target("event.duration", scale), value, 31 * 86400 * 10**9)
    assert (fault is not None) is wrong, what
    assert duration_fault(Target("source.bytes"), 3600, 1) is None


EXPRESSIONS = [
    ("abc", "", True), ("ABC", "", False), ("ABC", "i", True), ("(?i)ABC", "", True), ("a|B", "", True),
    ("A|B", "", False), ("A?b", "", True), ("A*", "", True), ("A+", "", False), ("A{0,3}", "", True),
    ("A{2}", "", False), ("[A-C]x", "", False), ("[A-Cx]", "", True), ("[^a]", "", True), ("x(A|b)", "", True),
    ("x(A|B)", "", False), ("x(?:A)?", "", True), ("(?P<n>A)", "", False), (r"\w", "", True), (r"\.", "", True),
    ("a$b", "", False), ("a$b", "m", True), ("a^b", "", False), ("^ab$", "", True), ("(^a|b)", "", True),
    (".^a", "", False), (".?^a", "", True), (r"\x41", "", True), ("(?x)A B", "", True), ("A.", "", False),
    ("a$(b|)", "", True), (r"[\w]A", "", False), ("A+?", "", False), ("(A)*b", "", True), ("", "", True),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "flags", "able"), EXPRESSIONS)
def test_what_an_expression_needs_of_text_in_lower_case(
    pattern: str, flags: str, able: bool
) -> None:
    assert possible(of_expression(pattern, flags), lambda char: char == char.lower()) is able
