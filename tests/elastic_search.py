"""The same events in an embedded frame and in a server, and random questions about them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import polars as pl
from elastic_events import START, frame, one
from hypothesis import strategies as st

from connwatch.sinks.elasticsearch import Server
from connwatch.sinks.elasticsearch.bodies import Body

NDJSON = {"content-type": "application/vnd.elasticsearch+x-ndjson; compatible-with=8"}
NOW = START + timedelta(hours=6)

_TEXTS = [
    "SF", "sf", "Foo bar-baz", "a*b", "a?b", "a\\b", "", " ", "foo_bar foo", "naïve", "Straße x",
    "ſocks", "kelvin K", "\u212aelvin", "x\ny", '"q"', "tcp", "80", "foo.bar", "éfoo fooé",
    "192.0.2.7", "line\u2028sep", "and", "\U0001f600 foo",
]  # fmt: skip
_ADDRESSES = [
    "192.0.2.7", "192.0.2.8", "10.1.2.3", "10.200.0.1", "9.255.255.255", "255.255.255.255",
    "0.0.0.1", "2001:db8::1", "2001:db8:0:1::5", "fe80::1", "fe80::1%eth0", "::1", "::", "64:ff9b::1",
]  # fmt: skip
_TIMES = [
    START, START + timedelta(microseconds=1), START + timedelta(microseconds=999_999),
    START + timedelta(hours=1), START + timedelta(days=1, hours=5), START - timedelta(days=40),
    datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
]  # fmt: skip
_NUMBERS = [
    0,
    1,
    53,
    80,
    443,
    65535,
    -1,
    2**31 - 1,
    2**31,
    -(2**31),
    2**53 + 1,
    2**63 - 1,
    -(2**63),
]
_EXTRAS = [
    '{"ja3":"abc","n":1.50,"deep":{"x":"Foo bar","list":["a b",5,true,null]}}',
    '{"ja3":"ABC","ja3s":"abc","x.y":"Z"}',
    '{"n":1e5,"big":123456789012345678901234567890}',
    '{"empty":"","none":null,"list":[]}',
    '{"naïve":"Straße","k":"K"}',
]
_VALUES: dict[str, list[Any]] = {
    "@timestamp": _TIMES,
    "event.duration": [None, 0, 1, 1_500_000_000, 86_400_000_000_000],
    "event.dataset": ["zeek.connection", "odd Name"],
    "event.sequence": _NUMBERS,
    "source.ip": _ADDRESSES,
    "destination.ip": _ADDRESSES,
    "source.port": [None, *_NUMBERS[:-2]],
    "destination.port": [None, 53, 80, 443],
    "source.bytes": [None, *_NUMBERS[:6]],
    "destination.bytes": [None, 0, 80],
    "network.transport": ["tcp", "udp", "icmp"],
    "observer.name": [None, *_TEXTS],
    "labels": [None, '{"site":"HQ","env":"Foo bar"}', '{"site":"80"}'],
    "zeek.session_id": [None, *_TEXTS],
    "zeek.connection.state": [None, "SF", "S0", "REJ", "OTH"],
    "zeek.connection.history": [None, *_TEXTS],
    "zeek.connection.local_orig": [None, True, False],
    "zeek.connection.service": [None, "ssl", "-dns,ssl", "dns,http"],
    "zeek.connection.icmp.type": [None, 0, 8, 2**31, 80],
    "zeek.connection.vlan": [None, 80, -(2**40)],
    "zeek.connection.tunnel_parents": [None, [], ["Foo bar"], ["a*b", "80"], ["", "tcp", "tcp"]],
    "zeek.connection.label": [None, *_TEXTS],
    "connwatch.extra": [None, None, *_EXTRAS],
}


def some_events(seed: int, height: int = 150) -> pl.DataFrame:
    """Events whose values are few, so that questions hit some of them."""
    chance = Random(seed)
    return frame(
        *(
            one(**{name: chance.choice(values) for name, values in _VALUES.items()})
            for _ in range(height)
        )
    )


_TEXT_FIELDS = [
    "observer.name", "zeek.session_id", "zeek.connection.history", "zeek.connection.label",
    "zeek.connection.tunnel_parents", "network.transport", "event.type", "event.outcome",
    "connwatch.extra", "connwatch.extra.ja3", "connwatch.extra.ja*", "connwatch.extra.deep.x",
    "connwatch.extra.deep.list", "connwatch.extra.n", "connwatch.extra.x.y", "labels", "labels.site",
    "connwatch.extra.empty", "event.dataset", "network.vlan.id", "network.protocol", "event.action",
    "zeek.connection.*", "source.address",
]  # fmt: skip
_WHOLE_FIELDS = [
    "source.port", "destination.port", "source.bytes", "event.duration", "event.sequence",
    "zeek.connection.icmp.type", "zeek.connection.vlan", "network.bytes", "*.port",
]  # fmt: skip
_IP_FIELDS = ["source.ip", "destination.ip", "related.ip", "*.ip"]
_TIME_FIELDS = ["@timestamp", "event.start", "event.end"]
_NETWORKS = [
    "10.0.0.0/8", "192.0.2.0/29", "0.0.0.0/0", "::/0", "2001:db8::/32", "::/64", "fe80::/10",
    "::ffff:10.0.0.0/104", "::ffff:10.1.2.3", "128.0.0.0/1",
]  # fmt: skip
_SIGNS = st.sampled_from([">", ">=", "<", "<="])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


_LITERALS = st.sampled_from([*_TEXTS, "abc", "Foo", "HQ", "1.50", "true", "Z", "connection"])
_PATTERNS = st.sampled_from(
    [
        "*",
        "F*",
        "*bar*",
        "*o*a*",
        "*\\*b",
        "a?*",
        "*é*",
        "*80",
        "s*f",
        "*\\\\*",
        "f*o*o*b*a*r*z*z*q*",
    ]
)
_TIME_TEXTS = st.sampled_from(
    ["2026-11-20", "2026", "now-1h", "2026-11-20T12:00:00.000001Z", "1960", "2500", "1970-01-01",
     "2026-11-20T12:00:00"]
)  # fmt: skip
_NUMBER_TEXTS = st.sampled_from(
    ["80", "0", "-1", "1.5", "80.0", "1e30", "-1e30", "2147483647", "2147483648", "2147483647.5",
     "9223372036854775807", "-2147483648.5", "9007199254740993", "53"]
)  # fmt: skip


def _of(names: list[str], values: st.SearchStrategy[str], form: str = "{}: {}") -> Any:
    return st.tuples(st.sampled_from(names), values).map(lambda pair: form.format(*pair))


_ATOMS = st.one_of(
    _of(_TEXT_FIELDS, _LITERALS.map(_quoted)),
    _of(_TEXT_FIELDS, _PATTERNS),
    st.tuples(st.sampled_from(_TEXT_FIELDS), _SIGNS, _LITERALS.map(_quoted)).map(" ".join),
    _of(_WHOLE_FIELDS, _NUMBER_TEXTS),
    st.tuples(st.sampled_from(_WHOLE_FIELDS), _SIGNS, _NUMBER_TEXTS).map(" ".join),
    _of(_IP_FIELDS, st.sampled_from([*_ADDRESSES, *_NETWORKS]).map(_quoted)),
    st.tuples(
        st.sampled_from(_IP_FIELDS), _SIGNS, st.sampled_from(_ADDRESSES).map(_quoted)
    ).map(" ".join),
    _of(_TIME_FIELDS, _TIME_TEXTS.map(_quoted)),
    st.tuples(st.sampled_from(_TIME_FIELDS), _SIGNS, _TIME_TEXTS.map(_quoted)).map(" ".join),
    _of(["zeek.connection.local_orig"], st.sampled_from(["true", "false"])),
    _of([*_TEXT_FIELDS, *_WHOLE_FIELDS, *_IP_FIELDS, *_TIME_FIELDS], st.just("*")),
    st.one_of(
        _LITERALS.map(_quoted),
        st.sampled_from(["foo", "FOO", "80", "socks", "kelvin", "f*bar", "192.0.2.7", "straße",
                         "foo bar", "10.0.0.0/8", "fo", "*"]),
    ),
)  # fmt: skip
QUERIES = st.one_of(
    st.just(""),
    st.recursive(
        _ATOMS,
        lambda inner: st.one_of(
            inner.map("not ({})".format),
            st.tuples(inner, inner).map(lambda pair: f"({pair[0]}) and ({pair[1]})"),
            st.tuples(inner, inner).map(lambda pair: f"({pair[0]}) or ({pair[1]})"),
        ),
        max_leaves=5,
    ),
)
SPANS = st.sampled_from(
    [(None, None), (None, None), (START, None), (None, START + timedelta(hours=1)),
     (START - timedelta(days=50), START + timedelta(days=2)),
     (datetime(1950, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC))]
)  # fmt: skip
SORTS = st.sampled_from(
    ["@timestamp", "source.ip", "source.port", "zeek.connection.label", "event.end",
     "zeek.connection.icmp.type", "zeek.connection.local_orig", "network.bytes", "event.id"]
)  # fmt: skip
FIELDS = st.sampled_from(
    ["source.ip", "related.ip", "destination.port", "event.type", "connwatch.extra",
     "connwatch.extra.ja3", "connwatch.extra.ja*", "labels", "@timestamp", "zeek.connection.label",
     "zeek.connection.local_orig", "zeek.connection.icmp.type", "zeek.connection.tunnel_parents"]
)  # fmt: skip
SPANS_OF_TIME = st.sampled_from(["1h", "7h", "1d", "3d", "1w", "2w", "1M", "3M", "1y"])


def sent(server: Server, bodies: Any) -> None:
    """Every document is taken."""
    for body in bodies:
        assert isinstance(body, Body)
        answer = server.perform("POST", "/_bulk?refresh=true", body.data, headers=NDJSON)
        assert answer.ok, answer
        assert not answer.body["errors"], answer
