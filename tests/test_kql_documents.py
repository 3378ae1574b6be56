"""KQL over nested documents: any path, the types of its values, and a plain evaluation."""

from __future__ import annotations

import fnmatch
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kql_property import written

from connwatch.errors import QueryError
from connwatch.query import parse
from connwatch.query.documents import matching

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ALERT: dict[str, Any] = {
    "@timestamp": "2026-11-20T12:00:00.000000Z",
    "event": {"id": "a1", "start": "2026-11-20T12:00:00.000000Z", "severity": 73},
    "message": "Beacon from 10.1.2.3",
    "rule": {"name": "Beacon", "author": ["one", "two"]},
    "related": {"ip": ["10.1.2.3", "2001:db8::1"]},
    "threat": {"technique": {"id": ["T1571", "T1071.001"]}},
    "connwatch": {
        "level": "high",
        "status": "open",
        "count": 12,
        "group": {"source.ip": "10.1.2.3", "destination.port": 443},
        "values": {
            "score": 0.75,
            "whole": [1, 2.5],
            "sure": True,
            "seen": "2026-11-20T11:00:00Z",
            "parts": [{"name": "jitter", "by": 3}, {"name": "period", "by": 60}],
            "mixed": ["a", 5, False],
            "none": None,
        },
        "evidence": [
            {"source.ip": "10.1.2.3", "destination.port": 80, "@timestamp": "2026-11-20T12:00:00.000000Z"},
            {"source.ip": "2001:db8::9", "destination.port": 443},
        ],
    },
}  # fmt: skip

FOUND = [
    ("connwatch.level: (high or critical) and connwatch.status: open", True),
    ("connwatch.count > 10 and connwatch.count <= 12", True),
    ("event.severity < 73", False),
    ("@timestamp >= 2026-11-20 and @timestamp < 2026-11-21", True),
    ("@timestamp > now-23h", False),
    ("related.ip: 10.0.0.0/8", True),
    ('related.ip: "2001:db8::/32" and not related.ip: 192.0.2.0/24', True),
    ("related.ip > 10.1.2.3", True),
    ("source.ip: *", False),
    ("threat.technique.id: T1071*", True),
    ("threat.technique.id: (T1571 and T1071.001)", True),
    ("rule.author: two", True),
    ("message: beacon", True),
    ("beacon", True),
    ("jitter and not nothing", True),
    # the group and the evidence have the schema's types
    ("connwatch.group.source.ip: 10.0.0.0/8", True),
    ("connwatch.group.destination.port > 79", True),
    ("connwatch.group.destination.port: 443", True),
    ("connwatch.group.destination.port < 79", False),
    ("connwatch.evidence.source.ip: 10.0.0.0/8", True),
    ('connwatch.evidence.source.ip: "2001:db8::/32"', True),
    ("connwatch.evidence.destination.port: (80 and 443)", True),
    ("connwatch.evidence.@timestamp: 2026-11-20", True),
    # any other path, by what stands there
    ("connwatch.values.score >= 0.75", True),
    ("connwatch.values.whole > 2.4", True),
    ("connwatch.values.sure: true", True),
    ('connwatch.values.seen < "2026-11-20T12:00"', True),
    ("connwatch.values.parts.name: per*", True),
    ("connwatch.values.parts.by: 60", True),
    ("connwatch.values.mixed: 5 and connwatch.values.mixed: false", True),
    ("connwatch.values.*: jitter", True),
    ("connwatch.values.*: nothing", False),
    ("*", True),
    ("", True),
]


@pytest.mark.parametrize(("kql", "found"), FOUND)
def test_an_alert_is_found_by_what_it_says(kql: str, found: bool) -> None:
    assert matching([ALERT], parse(kql), now=NOW) == ([ALERT] if found else [])


def test_alerts_come_in_their_order_and_differ_in_their_fields() -> None:
    low = {"event": {"id": "b2"}, "connwatch": {"level": "low", "group": {"destination.port": 22}}}
    both = [ALERT, low, ALERT]
    assert matching(both, parse("connwatch.group.destination.port >= 22"), now=NOW) == both
    assert matching(both, parse("connwatch.values.score: *"), now=NOW) == [ALERT, ALERT]
    assert matching(both, parse("not connwatch.values.score: *"), now=NOW) == [low]


@pytest.mark.parametrize(
    "kql", ["connwatch.group.source.ip: 10.0.0.0/8", "connwatch.evidence.source.port: 5", "*", "x"]
)
def test_a_store_without_alerts_answers_the_same_queries(kql: str) -> None:
    assert matching([], parse(kql), now=NOW) == []


@pytest.mark.parametrize(
    ("kql", "character", "hint"),
    [
        ("rul.name: x", 1, "rule.name"),
        ("a: b and conwatch.level: x", 1, ""),
        ("connwatch.values.scor: 1", 1, "connwatch.values.score"),
        ("connwatch.count: many", 18, ""),
        ("connwatch.group.source.ip: 10.*", 28, "10.0.0.0/8"),
    ],
)
def test_a_mistake_points_at_its_character(kql: str, character: int, hint: str) -> None:
    with pytest.raises(QueryError) as raised:
        matching([ALERT], parse(kql), now=NOW)
    assert raised.value.where == f"query, character {character}"
    assert hint in (raised.value.hint or "")


def test_names_that_mean_several_columns_elsewhere_do_no_harm() -> None:
    odd = {"*": 1, "^.*$": {"x": 2}, "^a$": 3, "": 4, "a": {"": 5}}
    assert matching([odd], parse("5"), now=NOW)
    assert matching([odd], parse("a.: 5"), now=NOW)
    assert not matching([odd], parse("nothing"), now=NOW)
    for kql in (r"\*: 1", "^a$: 3"):
        with pytest.raises(QueryError, match="there is no field"):
            matching([odd], parse(kql), now=NOW)


# -- against a plain evaluation ---------------------------------------------------------------

_IPS = ["10.0.0.1", "10.9.9.9", "192.0.2.1", "2001:db8::1"]
_DOCUMENT = st.fixed_dictionaries(
    {
        "related": st.fixed_dictionaries({"ip": st.lists(st.sampled_from(_IPS), max_size=3)}),
        "connwatch": st.fixed_dictionaries(
            {
                "level": st.sampled_from(["low", "high"]),
                "count": st.integers(0, 5),
                "values": st.fixed_dictionaries(
                    {}, optional={"score": st.sampled_from([0.5, 1.5]), "tags": st.lists(st.sampled_from(["ab", "b"]), max_size=2)}
                ),
            }
        ),
    }
)  # fmt: skip
_CONDITION = st.sampled_from(
    [
        ("related.ip", ":", "10.0.0.0/8"),
        ("related.ip", ":", "192.0.2.1"),
        ("connwatch.level", ":", "h*"),
        ("connwatch.level", ":", "*"),
        ("connwatch.count", ":", "3"),
        ("connwatch.count", ">", "2"),
        ("connwatch.values.score", "<=", "1"),
        ("connwatch.values.score", ":", "*"),
        ("connwatch.values.tags", ":", "*b"),
        ("connwatch.values.tags", ":", "ab"),
    ]
)
_QUERY = st.recursive(
    _CONDITION,
    lambda inner: st.one_of(
        inner.map(lambda x: ("not", x)), st.tuples(st.sampled_from(["and", "or"]), inner, inner)
    ),
    max_leaves=4,
)


def _plainly(query: Any, document: dict[str, Any]) -> bool:
    if query[0] == "not":
        return not _plainly(query[1], document)
    if query[0] in ("and", "or"):
        both = [_plainly(part, document) for part in query[1:]]
        return all(both) if query[0] == "and" else any(both)
    name, sign, wanted = query
    here: Any = document
    for step in name.split("."):
        here = here.get(step) if isinstance(here, dict) else None
    values = here if isinstance(here, list) else [] if here is None else [here]
    return any(_holds(name, sign, wanted, value) for value in values)


def _holds(name: str, sign: str, wanted: str, value: Any) -> bool:
    if wanted == "*":
        return True
    if name == "related.ip":
        return ip_address(value) in ip_network(wanted)
    if isinstance(value, str):
        return fnmatch.fnmatchcase(value, wanted)
    number = float(wanted)
    return bool({":": value == number, ">": value > number, "<=": value <= number}[sign])


@settings(max_examples=examples(150))
@given(_QUERY, st.lists(_DOCUMENT, min_size=1, max_size=4))
def test_a_query_means_what_a_plain_loop_says(query: Any, documents: list[Any]) -> None:
    parsed = parse(written(query))
    wanted = [document for document in documents if _plainly(query, document)]
    # A list needs one document that has the field.
    full: dict[str, Any] = {"connwatch": {"values": {"score": 9.0, "tags": ["none"]}}}
    found = matching([*documents, full], parsed, now=NOW)
    assert [d for d in found if d is not full] == wanted
