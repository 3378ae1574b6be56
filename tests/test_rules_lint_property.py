"""What the lint calls impossible, or implied, is so for every record: random conditions, random
records, and the expressions that rules run with."""

from __future__ import annotations

from typing import Any

from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from sigma.rule import SigmaRule

from connwatch.detectors.cases import frame
from connwatch.detectors.sigma.compile import compile_rule
from connwatch.detectors.sigma.evaluate import prepare
from connwatch.detectors.sigma.fields import field_maps
from connwatch.detectors.sigma.lint.formula import Formula, read
from connwatch.detectors.sigma.lint.theory import Theory

(FIELDS,) = (one for one in field_maps() if "conn_state" in one.fields)
TEXTS = ["s", "ss", "ssl", "ssl,http", "http", "HTTP", "tp", "*", "s*l", "?sl", "h*,*", "-ssl"]
ADDRESSES = [
    "10.0.0.1",
    "10.0.1.1",
    "10.1.0.0",
    "192.168.0.1",
    "192.0.2.1",
    "::1",
    "FE80::0001",
    "10.*",
]
NETWORKS = [
    "10.0.0.0/8",
    "10.0.0.0/16",
    "10.0.0.0/31",
    "192.168.0.0/16",
    "::/0",
    "fe80::/10",
    "0.0.0.0/0",
]
PORTS = [0, 1, 22, 80, 443, 1024, 65535]
COMPARISONS = st.one_of(
    st.tuples(st.sampled_from(["destination.port", "source.bytes", "network.bytes"]), st.sampled_from(["", "|gt", "|gte", "|lt", "|lte", "|neq"]), st.sampled_from(PORTS)),
    st.tuples(st.just("destination.port"), st.sampled_from(["", "|startswith", "|re"]), st.sampled_from(["4", "44", "80", "02", "1*"])),
    st.tuples(st.just("event.duration"), st.sampled_from(["", "|gt", "|gte", "|lt"]), st.sampled_from([0, 0.5, 1, 2.5, 3])),
    st.tuples(st.sampled_from(["service", "network.protocol"]), st.sampled_from(["", "|contains", "|startswith", "|endswith", "|cased", "|contains|cased"]), st.sampled_from(TEXTS)),
    st.tuples(st.just("service"), st.sampled_from(["|re", "|re|i"]), st.sampled_from(["^s", "S", "l$", "(ssl|http)", "h$t", "^ssl$", "p,"])),
    st.tuples(st.just("history"), st.sampled_from(["", "|cased", "|startswith", "|startswith|cased", "|contains", "|re"]), st.sampled_from(["Sh", "sh", "S", "ShAd", "d", "^S"])),
    st.tuples(st.sampled_from(["conn_state", "proto", "event.outcome", "event.type", "event.action"]), st.sampled_from(["", "|cased", "|contains", "|re"]), st.sampled_from(["S0", "sf", "REJ", "tcp", "udp", "UDP", "failure", "success", "denied", "connection", "end", "F"])),
    st.tuples(st.just("action"), st.just(""), st.sampled_from(["blocked", "drop", "allow"])),
    st.tuples(st.sampled_from(["source.ip", "destination.ip", "related.ip"]), st.sampled_from(["", "|startswith"]), st.sampled_from(ADDRESSES)),
    st.tuples(st.sampled_from(["source.ip", "destination.ip"]), st.just("|cidr"), st.sampled_from(NETWORKS)),
    st.tuples(st.just("network.type"), st.just(""), st.sampled_from(["ipv4", "ipv6"])),
    st.tuples(st.sampled_from(["service", "destination.port", "source.ip", "local_orig"]), st.just("|exists"), st.booleans()),
    st.tuples(st.sampled_from(["service", "destination.port", "source.bytes"]), st.just(""), st.none()),
    st.tuples(st.just("source.ip"), st.just("|fieldref"), st.just("destination.ip")),
    st.tuples(st.sampled_from(["@timestamp|hour", "@timestamp|minute"]), st.sampled_from(["", "|gt", "|lte"]), st.sampled_from([0, 3, 12, 23])),
)  # fmt: skip
CONDITIONS = st.recursive(
    st.sampled_from(["a", "b", "c", "d"]),
    lambda inner: st.one_of(
        inner.map(lambda x: f"not ({x})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda t: f"({t[0]}) {t[1]} ({t[2]})"
        ),
    ),
    max_leaves=6,
)
EVENTS = st.fixed_dictionaries(
    {
        "@timestamp": st.sampled_from(["2026-11-20T03:00:00Z", "2026-11-20T12:12:00Z", "2026-11-21T23:03:59Z"]),
        "destination.port": st.sampled_from([*PORTS, 4444, None]),
        "source.bytes": st.sampled_from([*PORTS, None]),
        "destination.bytes": st.sampled_from([0, 1, None]),
        "event.duration": st.sampled_from([0, 500_000_000, 1_000_000_000, 2_750_000_000, None]),
        "zeek.connection.service": st.sampled_from(["s", "ssl", "ssl,http", "http,-ssl", "dns", None]),
        "zeek.connection.history": st.sampled_from(["Sh", "sH", "ShAd", "S", "D", "^sd", None]),
        "flow": st.sampled_from(["tcp S0", "tcp SF", "tcp REJ", "udp S0", "udp SF", "icmp OTH", "tcp"]),
        "source.ip": st.sampled_from(["10.0.0.1", "10.0.0.2", "10.255.0.1", "192.0.2.1", "fe80::1"]),
        "destination.ip": st.sampled_from(["10.0.0.1", "192.168.0.1", "::1"]),
        "zeek.connection.local_orig": st.sampled_from([True, False, None]),
    }
)  # fmt: skip


def written(comparisons: list[tuple[str, str, Any]], condition: str) -> SigmaRule:
    named = {
        name: {f"{field}{modifier}": value}
        for name, (field, modifier, value) in zip("abcd", comparisons, strict=True)
    }
    detection = {**named, "condition": condition}
    return SigmaRule.from_dict(
        {"title": "T", "logsource": {"category": "network"}, "detection": detection}
    )


def formula(rule: SigmaRule) -> Formula:
    return read([one.parsed for one in rule.detection.parsed_condition], FIELDS)


@settings(max_examples=examples(300))
@given(
    st.tuples(*[COMPARISONS] * 4),
    st.tuples(*[COMPARISONS] * 4),
    CONDITIONS,
    CONDITIONS,
    st.lists(EVENTS, min_size=1, max_size=40),
)
def test_nothing_is_called_impossible_or_implied_that_is_not(
    first: Any, second: Any, one: str, other: str, events: list[dict[str, Any]]
) -> None:
    for event in events:
        transport, _, state = event.pop("flow").partition(" ")
        event |= {"network.transport": transport, "zeek.connection.state": state or None}
    rules = [written(list(first), one), written(list(first[:2] + second[2:]), other)]
    nodes = [compile_rule(rule, FIELDS) for rule in rules]
    formulas = [formula(rule) for rule in rules]
    theory = Theory(formulas)
    prepared = prepare(frame(events), [node.expr for node in nodes])
    a, b = (prepared.select(found=node.expr)["found"] for node in nodes)
    for condition, matched in zip(formulas, (a, b), strict=True):
        assert theory.satisfiable(condition) or not matched.any()
    if theory.implied(formulas[0], by=formulas[1]):
        assert not (b & ~a).any()
    if theory.implied(formulas[1], by=formulas[0]):
        assert not (a & ~b).any()
