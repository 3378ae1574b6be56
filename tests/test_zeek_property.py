"""The fast and the exact readers are one meaning, and blocks make no difference."""

from __future__ import annotations

import ipaddress
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from support import from_json, tsv
from test_zeek_tsv import FIELDS, GOOD, header

from connwatch.ingest import zeek_json, zeek_tsv

_NUMBER = st.one_of(
    st.integers(0, 2**32).map(str),
    st.sampled_from(
        ["-", "", "-5", "+5", " 5", "5 ", "007", "1e3", "5.0", "9" * 19, "9" * 20, "x", "65536"]
    ),
)
_FLOAT = st.one_of(
    st.floats(0, 2e9, allow_nan=False).map(lambda x: f"{x:.6f}"),
    st.sampled_from(["-", "", "nan", "inf", "-1.0", "1e9", "1_0", ".5", "5.", "1e400", "XXX"]),
)
_TEXT = st.one_of(
    st.sampled_from(
        [
            "-",
            "",
            "(empty)",
            "http",
            "ssl,http",
            "S\\x09h",
            "\\\\",
            "a b",
            "#x",
            "é",
            "\\xff",
            "'\"",
        ]
    ),
    st.text("abcXYZ0-_", max_size=6),
)
_ADDRESS = st.one_of(
    st.ip_addresses().map(str),
    st.sampled_from(
        ["-", "", "10.0.0.1", "::ffff:10.0.0.1", "fe80::1%en0", "10.0.0.256", "01.2.3.4", "x"]
    ),
)
_BOOL = st.sampled_from(["T", "F", "-", "", "true"])
_VALUES: dict[str, st.SearchStrategy[str]] = {
    "ts": _FLOAT, "duration": _FLOAT, "id.orig_h": _ADDRESS, "id.resp_h": _ADDRESS,
    "local_orig": _BOOL, "local_resp": _BOOL,
    "uid": _TEXT, "service": _TEXT, "history": _TEXT, "conn_state": _TEXT, "tunnel_parents": _TEXT,
    "proto": st.sampled_from(["tcp", "udp", "icmp", "TCP", "unknown_transport", "-"]),
}  # fmt: skip


@st.composite
def _rows(draw: st.DrawFn) -> str:
    """A mostly good record with a few odd fields, rarely of another length."""
    odd = draw(st.lists(st.sampled_from(FIELDS), max_size=2, unique=True))
    values = {**GOOD, **{name: draw(_VALUES.get(name, _NUMBER)) for name in odd}}
    text = "\t".join(values[name] for name in FIELDS)
    return draw(
        st.sampled_from([text] * 12 + [text + "\tx", text[:-10], "", "# comment", text + "\r"])
    )


@settings(max_examples=examples(80))
@given(st.lists(_rows(), max_size=8), st.lists(st.integers(1, 20), max_size=3))
def test_text_the_paths_and_the_blocks_agree(rows: list[str], cuts: list[int]) -> None:
    data = (header() + "".join(line + "\n" for line in rows)).encode()
    whole = tsv(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zeek_tsv, "fast", lambda *_: None)
        slow = tsv(data)
    assert whole.events.equals(slow.events)
    assert whole.rejects.equals(slow.rejects)
    # Alone, each record has its best chance of the fast path.
    alone = tsv(data, range(100))
    for other in (alone, tsv(data, cuts)):
        assert whole.events.equals(other.events)
        assert whole.rejects.equals(other.rejects)
        assert (whole.lines, whole.comments) == (other.lines, other.comments)
    assert (
        whole.lines
        == data.count(b"\n")
        == whole.record_lines + whole.rejects.height + whole.comments
    )


def _plainly(line: str) -> dict[str, Any] | None:
    """One clean record by the standard library; None when it would not be one."""
    values = dict(zip(FIELDS, line.split("\t"), strict=True))
    start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
        microseconds=round(float(values["ts"]) * 1e6)
    )
    return {
        "@timestamp": start,
        "source.ip": str(ipaddress.ip_address(values["id.orig_h"])),
        "destination.port": int(values["id.resp_p"]),
        "source.bytes": None if values["orig_ip_bytes"] == "-" else int(values["orig_ip_bytes"]),
        "event.duration": round(float(values["duration"]) * 1e6) * 1000,
        "zeek.connection.service": None if values["service"] == "-" else values["service"],
    }


@settings(max_examples=examples(60))
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2_000_000_000_000_000), st.ip_addresses(v=4), st.integers(0, 65535),
            st.integers(0, 2**40) | st.none(), st.integers(0, 10**12), st.sampled_from(["-", "dns", "ssl,http"]),
        ),
        min_size=1, max_size=20,
    )
)  # fmt: skip
def test_clean_records_read_as_the_standard_library_reads_them(
    flows: list[tuple[Any, ...]],
) -> None:
    rows = []
    for micros, address, port, size, length, service in flows:
        values = {
            **GOOD,
            "ts": f"{micros // 10**6}.{micros % 10**6:06d}",
            "id.orig_h": str(address),
            "id.resp_p": str(port),
            "orig_ip_bytes": "-" if size is None else str(size),
            "duration": f"{length // 10**6}.{length % 10**6:06d}",
            "service": service,
        }
        rows.append("\t".join(values[name] for name in FIELDS))
    parsed = tsv((header() + "\n".join(rows) + "\n").encode())
    wanted = [_plainly(row) for row in rows]
    assert parsed.events.select(list(wanted[0] or {})).to_dicts() == wanted


_JSON_VALUES = st.one_of(
    st.integers(-10, 2**40), st.floats(allow_nan=False, allow_infinity=False, width=32), st.text(max_size=5),
    st.booleans(), st.none(), st.lists(st.text(max_size=3), max_size=2),
    st.sampled_from(["10.0.0.1", "tcp", 1700000000.5, 1700000000500, "2023-11-14T22:13:20.5Z", 80]),
)  # fmt: skip


@st.composite
def _records(draw: st.DrawFn) -> str:
    record: dict[str, Any] = {
        "ts": 1700000000.123456, "uid": "C1", "id.orig_h": "10.0.0.1", "id.orig_p": 1, "id.resp_h": "10.0.0.2",
        "id.resp_p": 80, "proto": "tcp", "conn_state": "SF", "duration": 1.5, "orig_pkts": 5,
    }  # fmt: skip
    names = st.sampled_from([*record, "service", "local_orig", "tunnel_parents", "own", "_path"])
    for name in draw(st.lists(names, max_size=2)):
        record[name] = draw(_JSON_VALUES)
    text = json.dumps(record, ensure_ascii=draw(st.booleans()))
    return draw(
        st.sampled_from([text] * 10 + [text[:-3], text + "}", "", text.replace('": ', '" :')])
    )


@settings(max_examples=examples(80))
@given(st.lists(_records(), min_size=1, max_size=8), st.lists(st.integers(1, 8), max_size=3))
def test_json_the_paths_and_the_blocks_agree(records: list[str], cuts: list[int]) -> None:
    first = json.dumps(
        {
            "ts": 1.0,
            "id.orig_h": "10.0.0.1",
            "id.resp_h": "10.0.0.2",
            "proto": "tcp",
            "conn_state": "S0",
        }
    )
    data = "".join(line + "\n" for line in [first, *records]).encode("utf-8", "surrogatepass")
    whole = from_json(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zeek_json, "fast", lambda *_: None)
        slow = from_json(data)
    for other in (slow, from_json(data, cuts), from_json(data, range(100))):
        assert whole.events.drop("connwatch.extra").equals(other.events.drop("connwatch.extra"))
        assert _extras(whole.events) == _extras(other.events)
        assert whole.rejects.equals(other.rejects)
    assert (
        whole.lines
        == data.count(b"\n")
        == whole.record_lines + whole.rejects.height + whole.comments
    )


def _extras(events: Any) -> list[Any]:
    return [None if text is None else json.loads(text) for text in events["connwatch.extra"]]
