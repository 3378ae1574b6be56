"""Which events a query finds: one row per query, and the events that must match."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from connwatch.errors import QueryError
from connwatch.query import compile_query, parse
from connwatch.schema import STORED

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def event(name: str, hour: int, **values: Any) -> dict[str, Any]:
    time = datetime(2026, 11, 20, hour, tzinfo=UTC)
    row = {
        "@timestamp": time,
        "connwatch.log_time": time,
        "event.id": name,
        "event.dataset": "zeek.connection",
        "source.ip": "10.0.0.1",
        "destination.ip": "192.0.2.1",
        "network.transport": "tcp",
        **{key.replace("__", "."): value for key, value in values.items()},
    }
    return {column: row.get(column) for column in STORED}


EVENTS = pl.DataFrame(
    [
        event("web", 1, destination__port=443, source__bytes=1000, zeek__connection__state="SF"),
        event("dns", 2, destination__port=53, network__transport="udp", source__bytes=70),
        event(
            "v6", 3, source__ip="2001:db8::1", destination__ip="2001:db8::2", destination__port=22
        ),
        event("ping", 4, source__ip="172.16.5.4", network__transport="icmp"),
        event(
            "odd",
            23,
            source__ip="10.255.0.9",
            destination__port=4444,
            zeek__connection__local_orig=True,
            zeek__connection__history='Sh a"d\\f*',
            zeek__connection__tunnel_parents=["CabcD", "Cxyz"],
            connwatch__extra='{"ja3":"abc","tags":["a b",5],"http":{"ok":true,"n":1.50},"x.y":"Z"}',
        ),
    ],
    schema=STORED,
)
ALL = "web dns v6 ping odd"

CASES = [
    # everything, fields, lists of values
    ("", ALL),
    ("  \n ", ALL),
    ("*", ALL),
    ("*: *", ALL),
    ("network.transport: tcp", "web v6 odd"),
    ('"network.transport": "tcp"', "web v6 odd"),
    ("network.transport: TCP", ""),
    ("network.transport: (udp or icmp)", "dns ping"),
    ("network.transport: (udp and icmp)", ""),
    ("network.transport: (not tcp)", "dns ping"),
    ("network.transport: (not (tcp or udp))", "ping"),
    ("destination.port: (80 or 443) and network.transport: tcp", "web"),
    # precedence: not before and before or
    ("event.id: web or event.id: dns and event.id: v6", "web"),
    ("(event.id: web or event.id: dns) and event.id: v6", ""),
    ("not event.id: web and event.id: dns", "dns"),
    ("not (event.id: web and event.id: dns)", ALL),
    ("event.id: (web or dns and v6)", "web"),
    ("NOT event.id: web AND network.transport: tcp OR event.id: ping", "v6 ping odd"),
    ("not not event.id: web", "web"),
    # a field that is not there: never true, so `not` is
    ("zeek.connection.state: SF", "web"),
    ("not zeek.connection.state: SF", "dns v6 ping odd"),
    ("zeek.connection.state: *", "web"),
    ("not destination.port: *", "ping"),
    ("not destination.port > 100", "dns v6 ping"),
    ("not destination.port: (22 or 53)", "web ping odd"),
    # numbers
    ("destination.port: 443", "web"),
    ('destination.port: "443"', "web"),
    ("destination.port: 443.0", "web"),
    ("destination.port: 443.5", ""),
    ("destination.port >= 53 and destination.port < 443", "dns"),
    ("destination.port > 442.5", "web odd"),
    ("destination.port <= 53.9", "dns v6"),
    ("destination.port < 99999999999999999999999", "web dns v6 odd"),
    ("destination.port > -1e30", "web dns v6 odd"),
    ("destination.port > 1e30", ""),
    ("network.bytes >= 1e3", "web"),
    # booleans
    ("zeek.connection.local_orig: true", "odd"),
    ("not zeek.connection.local_orig: false", ALL),
    # addresses
    ("source.ip: 10.0.0.1", "web dns"),
    ("source.ip: 10.0.0.0/8", "web dns odd"),
    ('source.ip: "10.0.0.0/8"', "web dns odd"),
    ("source.ip: 10.9.9.9/8", "web dns odd"),
    ("source.ip: 172.16.0.0/12", "ping"),
    ("source.ip: 10.128.0.0/9", "odd"),
    ("source.ip: 0.0.0.0/0", "web dns ping odd"),
    ('source.ip: "::/0"', "v6"),
    ('source.ip: "2001:db8::/32"', "v6"),
    ('source.ip: "2001:0DB8:0:0::1"', "v6"),
    ('source.ip: "::ffff:10.0.0.1"', "web dns"),
    ("source.ip > 10.0.0.1 and source.ip <= 172.16.5.4", "ping odd"),
    ("source.ip >= 10.0.0.2", "v6 ping odd"),
    ('source.ip < "2001:db8::1"', "web dns ping odd"),
    ("related.ip: 192.0.2.0/24", "web dns ping odd"),
    ("not related.ip: 192.0.2.1", "v6"),
    ("related.ip: (10.255.0.9 and 192.0.2.1)", "odd"),
    # wildcards in values
    ("event.id: *", ALL),
    ("event.id: d*", "dns"),
    ("event.id: *s", "dns"),
    ("event.id: *n*", "dns ping"),
    ("event.id: p*g", "ping"),
    ("event.id: p*n*g", "ping"),
    ("event.id: ping*ping", ""),
    ("event.id: D*", ""),
    ('event.id: "d*"', ""),
    # wildcards in names
    ("source.*: 10.255.0.9", "odd"),
    ("*.ip: 10.255.0.9", "odd"),
    ("*.port: 53", "dns"),
    ("*: 53", "dns"),
    ("source.*: *", ALL),
    ("zeek.connection.*: *", "web odd"),
    # escapes
    (r"zeek.connection.history: Sh a\"d\\f\*", "odd"),
    (r'zeek.connection.history: "Sh a\"d\\f*"', "odd"),
    (r"zeek.connection.history: \u0053h a\"*", "odd"),
    (r"zeek.connection.history: *\*", "odd"),
    # lists: any item
    ("event.type: end", "web"),
    ("event.type: (start and end)", "web"),
    ("event.category: network", ALL),
    ("zeek.connection.tunnel_parents: Cxyz", "odd"),
    ("zeek.connection.tunnel_parents: *abc*", "odd"),
    ("zeek.connection.tunnel_parents: *", "odd"),
    ("zeek.connection.tunnel_parents > D", ""),
    # derived columns
    ("network.type: ipv6", "v6"),
    ("event.outcome: success", "web"),
    ("source.address: 172.*", "ping"),
    # letters in order
    ("event.id >= v6", "web v6"),
    # fields beyond the schema
    ("connwatch.extra.ja3: abc", "odd"),
    ("connwatch.extra.ja3: ABC", ""),
    ("connwatch.extra.tags: a b", "odd"),
    ("connwatch.extra.tags: 5", "odd"),
    ("connwatch.extra.http.ok: true", "odd"),
    ("connwatch.extra.http.n: 1.50", "odd"),
    ("connwatch.extra.x.y: Z", "odd"),
    ("connwatch.extra.x*: Z", "odd"),
    ("connwatch.extra: Z", "odd"),
    ("connwatch.extra: *", "odd"),
    ("connwatch.extra.nothing: *", ""),
    ("not connwatch.extra.ja3: abc", "web dns v6 ping"),
    # bare words: whole words in any text, in any case; numbers; addresses
    ("UDP", "dns"),
    ("ud", ""),
    ("ud*", "dns"),
    ("zeek", ALL),
    ('"zeek.connection"', ALL),
    ("udp icmp", "dns ping"),
    ('"udp icmp"', ""),
    ("4444", "odd"),
    ("10.255.0.9", "odd"),
    ("172.16.0.0/12", "ping"),
    ("not 192.0.2.1", "v6"),
    ("abc and not web", "odd"),
    # times
    ('@timestamp >= "2026-11-20 03:00"', "v6 ping odd"),
    ("@timestamp: 2026-11-20", ALL),
    ('@timestamp: "2026-11-20T02:00"', "dns"),
    ('@timestamp > "2026-11-20 03:00"', "ping odd"),
    ('@timestamp <= "2026-11-20 03:00"', "web dns v6"),
    ('@timestamp < "2026-11-20 03:00"', "web dns"),
    ("@timestamp > 2026-11-20", ""),
    ("@timestamp <= 2026-11-20", ALL),
    ("@timestamp >= now-24h", "odd"),
    ("@timestamp >= now-1d/d", ALL),
    ('@timestamp < "20 Nov 2026 02:00 +01:00"', ""),
    ("event.end >= now-13h", "odd"),
]


@pytest.mark.parametrize(("query", "found"), CASES)
def test_query_finds(query: str, found: str) -> None:
    condition = compile_query(parse(query), now=NOW)
    assert EVENTS.filter(condition)["event.id"].to_list() == found.split()
    assert EVENTS.lazy().filter(condition).collect()["event.id"].to_list() == found.split()
    assert EVENTS.select(condition).to_series().null_count() == 0


UNFIT = [
    ("src_ip: 1", 1, "no field 'src_ip'", "source.ip"),
    ("port: 1", 1, "no field 'port'", "source.port or destination.port"),
    ("event.id: x and sorce.ip: 1.2.3.4", 17, "no field 'sorce.ip'", "source.ip"),
    ("nonsense.*: 1", 1, "no field matches 'nonsense.*'", ""),
    ("qqqq: 1", 1, "no field", "connwatch schema"),
    ("source.ip: hello", 12, "not an address", "10.0.0.0/8"),
    ("source.ip: 10.1.*", 12, "wildcards are for text", "10.1.0.0/16"),
    ("source.ip: 10.0.0.1 10.0.0.2", 12, "not an address", "(10.0.0.1 or 10.0.0.2)"),
    ("source.ip > 10.0.0.0/8", 13, "not a network", ""),
    ("destination.port: http", 19, "not a number", ""),
    ("destination.port: 4*", 19, "wildcards are for text", ""),
    ("destination.port: 80 443", 19, "not a number", "(80 or 443)"),
    ("destination.port > *", 20, "not a wildcard", ""),
    ("destination.port: 1_000", 19, "not a number", ""),
    ("destination.port: ٣", 19, "not a number", ""),
    ("zeek.connection.local_orig: yes", 29, "neither true nor false", ""),
    ("zeek.connection.local_orig > true", 30, "no order", ""),
    ("@timestamp: soon", 13, "not a time", "now-15m"),
    ("source: { ip: 1.2.3.4 }", 1, "not a nested field", "without braces"),
]


@pytest.mark.parametrize(("query", "character", "message", "hint"), UNFIT)
def test_value_or_name_that_does_not_fit(
    query: str, character: int, message: str, hint: str
) -> None:
    with pytest.raises(QueryError) as raised:
        compile_query(parse(query), now=NOW)
    error = raised.value
    assert error.where == f"query, character {character}"
    assert message in error.message
    assert hint in (error.hint or "")
    assert error.message.endswith(f"\n    {query}\n    {' ' * (character - 1)}^")


def test_another_schema_for_other_documents() -> None:
    frame = pl.DataFrame(
        {
            "message": ["SSH scan from 10.0.0.1", "Beacon to 192.0.2.9"],
            "event.severity": [47, 73],
            "connwatch.group": ['{"source.ip":"10.0.0.1"}', None],
            "threat.technique.id": [["T1046"], ["T1071", "T1571"]],
            "event.risk_score": [0.5, 0.75],
        }
    )
    schema = {
        "message": (pl.String(), "match_only_text"),
        "event.severity": (pl.Int64(), "long"),
        "connwatch.group": (pl.String(), "flattened"),
        "threat.technique.id": (pl.List(pl.String()), "keyword"),
        "event.risk_score": (pl.Float64(), "float"),
    }
    for query, rows in [
        ("message: scan", [0]),
        ("message: ssh beacon", [0, 1]),
        ('message: "scan from"', [0]),
        ("beacon", [1]),
        ("event.severity > 50", [1]),
        ("connwatch.group.source.ip: 10.0.0.1", [0]),
        ("threat.technique.id: T15*", [1]),
        ("event.risk_score: 0.75", [1]),
        ("event.risk_score >= 0.5", [0, 1]),
    ]:
        condition = compile_query(parse(query), now=NOW, schema=schema)
        found = frame.with_row_index().filter(condition)["index"].to_list()
        assert found == rows, query
    with pytest.raises(QueryError, match=r"no field 'source.ip'"):
        compile_query(parse("source.ip: 1.2.3.4"), now=NOW, schema=schema)


def test_a_long_list_of_alternatives_does_not_become_a_deep_expression() -> None:
    values = " or ".join(str(port) for port in range(3000))
    found = EVENTS.filter(compile_query(parse(f"destination.port: ({values})"), now=NOW))
    assert found["event.id"].to_list() == ["web", "dns", "v6"]
