"""Events and alerts for the tests of what is sent to Elasticsearch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import strategies as st

from connwatch.schema import OBJECTS, STORED, STRINGS, conform
from connwatch.schema import UTC as TIME

START = datetime(2026, 11, 20, 12, tzinfo=UTC)

#: text that goes wrong where it can
HOSTILE = st.one_of(
    st.sampled_from(
        [
            '"',
            "\\",
            "\x00",
            "\n",
            "\r\n{}",
            "\u2028\u2029",
            "\x7f\x85",
            '"}}\n{"delete":{"_index":"x","_id":"y"}}\n',
            "\ufeff",
            "\U0001f600",
            "\\ud800",
            "",
            "null",
            " ",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
#: names of unknown fields that a server takes as they are
_NAMES = HOSTILE.map(lambda name: name.replace("\x00", "0"))
_VALUES = st.recursive(
    st.one_of(
        HOSTILE,
        st.booleans(),
        st.none(),
        st.integers(),
        st.integers(10**40, 10**45),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_NAMES, inner, max_size=3)
    ),
    max_leaves=6,
)
UNKNOWN = st.dictionaries(_NAMES, _VALUES, min_size=1, max_size=3)


def one(**values: Any) -> dict[str, Any]:
    """An event's stored columns: `values` (names with _ for . where they are keywords), or such."""
    return {
        "@timestamp": START,
        "event.duration": 1_500_000_000,
        "connwatch.log_time": START + timedelta(seconds=2),
        "event.id": "0" * 32,
        "event.dataset": "zeek.connection",
        "event.sequence": 9,
        "log.file.path": "conn.log",
        "log.offset": 461,
        "source.ip": "192.0.2.7",
        "source.port": 39342,
        "source.bytes": 162,
        "source.packets": 1,
        "destination.ip": "198.51.100.9",
        "destination.port": 53,
        "destination.bytes": 324,
        "destination.packets": 2,
        "network.transport": "udp",
        "network.iana_number": "17",
        "network.direction": "outbound",
        "network.community_id": "1:YmxhqrkDhtgT708p/UjcFV4C9mk=",
        "zeek.session_id": "C11419842122227548259",
        "zeek.connection.state": "SF",
        "zeek.connection.history": "Dd",
        "zeek.connection.local_orig": True,
        "zeek.connection.local_resp": False,
        "zeek.connection.service": "dns",
        **values,
    }


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    """Rows of stored columns as a frame of the schema; ids are numbers where none is given."""
    numbered = [
        {**row, "event.id": f"{number:032x}"} if row.get("event.id") == "0" * 32 else row
        for number, row in enumerate(rows)
    ]
    columns = {
        name: pl.Series(name, [row.get(name) for row in numbered], dtype=dtype)
        for name, dtype in STORED.items()
    }
    return conform(pl.DataFrame(columns))


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    """A few events with anything in them that the schema allows."""
    from connwatch.sinks.elasticsearch.fitting import read_object

    kinds: dict[Any, st.SearchStrategy[Any]] = {
        pl.Int64(): st.integers(-(2**63), 2**63 - 1),
        pl.Boolean(): st.booleans(),
        TIME: st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
        STRINGS: st.lists(HOSTILE, max_size=3),
        pl.String(): HOSTILE,
    }
    never = {"@timestamp", "connwatch.log_time", "event.id", "event.dataset", "source.ip"}
    never |= {"destination.ip"}
    rows = []
    for number in range(draw(st.integers(1, 5))):
        row: dict[str, Any] = {"event.id": f"{number:032x}"}
        for name, dtype in STORED.items():
            values = UNKNOWN.map(read_object) if name in OBJECTS else kinds[dtype]
            if name == "event.duration":
                values = st.integers(0, 2**62)
            if name != "event.id":
                row[name] = draw(values if name in never else st.none() | values)
        rows.append(row)
    return frame(*rows)


def alert(number: int = 1, **own: Any) -> dict[str, Any]:
    """An alert's document. own: of its part `connwatch`."""
    return {
        "@timestamp": "2026-11-20T12:00:00.000001Z",
        "event": {
            "id": f"{number:032x}",
            "kind": "alert",
            "start": "2026-11-20T12:00:00.000001Z",
            "end": "2026-11-21T12:00:00.000001Z",
            "severity": 47,
            "risk_score": 47.0,
        },
        "message": "Port scan of one host: 192.0.2.7",
        "rule": {"id": "r1", "name": "Port scan of one host", "ruleset": "connwatch"},
        "connwatch": {
            "level": "medium",
            "status": "open",
            "count": 3,
            "group": {"source.ip": "192.0.2.7"},
            "evidence": [
                {"event.id": "00", "@timestamp": "2026-11-20T11:00:00.000001Z", "source.port": 7}
            ],
            "values": {"measure": "value_count", "value": 3, "peak": 4.5, "counted": ["22"]},
            "key": {
                "rule": "r1",
                "group": '{"source.ip":"192.0.2.7"}',
                "suppress_us": 3_600_000_000,
            },
            **own,
        },
        "source": {"ip": "192.0.2.7"},
        "related": {"ip": ["192.0.2.7", "198.51.100.9"]},
    }
