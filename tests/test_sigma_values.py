"""Sigma values that are encoded, translated or parts of a time: each finds what it must."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connwatch.detectors.cases import frame
from connwatch.detectors.ruleset import load_rules, match


def encoded(text: str, encoding: str = "utf-8", before: bytes = b"") -> str:
    return base64.b64encode(before + text.encode(encoding)).decode()


EVENTS: dict[str, dict[str, Any]] = {
    "plain": {"zeek.connection.service": encoded("foobar")},
    "shifted": {"zeek.connection.service": encoded("foobar", before=b"xy")},
    "wide": {"zeek.connection.service": encoded("foobar", "utf-16-le")},
    "big": {"zeek.connection.service": encoded("foobar", "utf-16-be")},
    "bom": {"zeek.connection.service": encoded("foobar", "utf-16-le", b"\xff\xfe")},
    "late": {"@timestamp": datetime(2027, 1, 3, 23, 59, tzinfo=UTC)},
    "refused": {"zeek.connection.state": "REJ"},
    "marks": {"zeek.connection.service": "a b#c-d&e~f*g\\h"},
    "long": {"event.duration": 67_000_000},
    "short": {"event.duration": 66_999_999},
    "six": {"destination.ip": "2001:db8::1"},
    "four": {"destination.ip": "1.2.3.4"},
    "tunnel": {"zeek.connection.tunnel_parents": ["CAbc", "CDef"]},
    "port": {"destination.port": 80},
}
SERVICE = "zeek.connection.service"

FOUND: list[tuple[str, str, str]] = [
    ("base64", f"{{{SERVICE}|base64: foobar}}", "plain"),
    ("base64offset", f"{{{SERVICE}|base64offset|contains: foobar}}", "plain shifted"),
    ("wide", f"{{{SERVICE}|wide|base64: foobar}}", "wide"),
    ("utf16le is wide", f"{{{SERVICE}|utf16le|base64: foobar}}", "wide"),
    ("utf16be", f"{{{SERVICE}|utf16be|base64: foobar}}", "big"),
    ("utf16 has a byte order mark", f"{{{SERVICE}|utf16|base64: foobar}}", "bom"),
    ("minute", "{'@timestamp|minute': 59}", "late"),
    ("hour", "{'@timestamp|hour': 23}", "late"),
    ("hour and more", "{'@timestamp|hour|gte': 13}", "late"),
    ("day", "{'@timestamp|day': 3}", "late"),
    ("week", "{'@timestamp|week': 53}", "late"),
    ("month", "{'@timestamp|month': 1}", "late"),
    ("year", "{'@timestamp|year': 2027}", "late"),
    ("a translated value", "{action: Blocked}", "refused"),
    ("a part of a translated value", "{action|contains: lock}", "refused"),
    ("a translated value with a wildcard", "{action: 'den*'}", "refused"),
    ("an expression on translated values", "{action|re: '^(drop|deny)$'}", "refused"),
    ("a value nothing is translated from", "{action: sung}", ""),
    ("a fraction of a second", "{duration: 0.067}", "long"),
    ("a fraction of a second as text", "{duration: '0.067'}", "long"),
    ("from a fraction on", "{duration|gte: 0.067}", "long"),
    ("above a fraction", "{duration|gt: 0.067}", ""),
    ("below a fraction", "{duration|lt: 0.067}", "short"),
    ("numbers that no column holds", "{duration: [0.067, 86400000000000, 1.0e+300]}", "long"),
    ("less than a number that no column holds", "{duration|lt: 1.0e+300}", "long short"),
    ("a port of more than 64 bits", "{destination.port: [80, 18446744073709551616]}", "port"),
    ("a port of many digits", f"{{destination.port: '{'9' * 5000}'}}", ""),
    ("digits", "{destination.port: '80'}", "port"),
    ("what Python takes for digits", "{destination.port: ['8_0', '80 ', '\u0668\u0660']}", ""),
    ("all addresses of IPv6", "{destination.ip|cidr: '::/0'}", "six"),
    ("all addresses of IPv4", "{destination.ip|cidr: 0.0.0.0/0, destination.ip|endswith: 2.3.4}", "four"),
    ("an address in another form", "{destination.ip: '2001:db8:0::1'}", "six"),
    ("among several an address in another form", "{related.ip: '2001:db8:0::1'}", "six"),
    ("among several a mapped address", "{related.ip: '::ffff:1.2.3.4'}", "four"),
    ("among several all addresses of IPv6", "{related.ip|cidr: '::/0'}", "six"),
    ("among several all addresses of IPv4", "{related.ip|cidr: 0.0.0.0/0, destination.ip|endswith: 2.3.4}", "four"),
    ("a keyword among several texts", "[cdef]", "tunnel"),
    ("marks that mean something in expressions", f"{{{SERVICE}: 'a b#?-d&e~f\\*g*h'}}", "marks"),
]  # fmt: skip


@pytest.mark.parametrize(("item", "wanted"), [f[1:] for f in FOUND], ids=[f[0] for f in FOUND])
def test_a_value_finds_what_it_means(tmp_path: Path, item: str, wanted: str) -> None:
    path = tmp_path / "rule.yml"
    path.write_text(
        f"title: T\nlogsource: {{category: firewall}}\ndetection:\n  s: {item}\n  condition: s\n",
        encoding="utf-8",
    )
    rules = load_rules([path])
    assert not rules.errors, rules.errors[0]
    names = list(EVENTS)
    rows = match(rules, frame(list(EVENTS.values())))["row"]
    assert [names[row] for row in rows] == wanted.split()


def test_the_order_of_rule_files_does_not_matter(tmp_path: Path) -> None:
    for number, (_, item, _) in enumerate(FOUND):
        (tmp_path / f"{number}.yml").write_text(
            f"title: T{number}\nlogsource: {{category: firewall}}\n"
            f"detection:\n  s: {item}\n  condition: s\n",
            encoding="utf-8",
        )
    paths = sorted(tmp_path.iterdir())
    events = frame(list(EVENTS.values()))
    there = match(load_rules(paths), events)
    back = match(load_rules(paths[::-1]), events)
    assert there.equals(back)
    assert there.height == sum(len(wanted.split()) for _, _, wanted in FOUND)
