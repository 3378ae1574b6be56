"""Zeek's JSON logs."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from support import from_json

from connwatch.contracts import Block
from connwatch.ingest import zeek_json
from connwatch.ingest.zeek_json import ZeekJson

GOOD: dict[str, Any] = {
    "ts": 1575413096.052279, "uid": "CH5", "id.orig_h": "10.18.20.97", "id.orig_p": 49187,
    "id.resp_h": "10.18.20.8", "id.resp_p": 88, "proto": "tcp", "service": "krb_tcp",
    "duration": 0.0012309551239013672, "orig_bytes": 242, "resp_bytes": 283, "conn_state": "RSTR",
    "missed_bytes": 0, "history": "ShADdFar", "orig_pkts": 5, "orig_ip_bytes": 454,
    "resp_pkts": 4, "resp_ip_bytes": 455, "tunnel_parents": ["C1", "C2"], "local_orig": True,
}  # fmt: skip
NESTED = {
    **{name: value for name, value in GOOD.items() if not name.startswith("id.")},
    "id": {"orig_h": "10.18.20.97", "orig_p": 49187, "resp_h": "10.18.20.8", "resp_p": 88},
}
MOVING = ["event.id", "log.offset", "event.sequence"]


def lines(*records: Any) -> bytes:
    return "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records).encode()


def test_a_record_as_the_schema_has_it() -> None:
    (event,) = from_json(lines(GOOD)).events.to_dicts()
    assert event["@timestamp"].isoformat() == "2019-12-03T22:44:56.052279+00:00"
    assert event["event.duration"] == 1_231_000
    assert event["zeek.connection.tunnel_parents"] == ["C1", "C2"]
    assert event["zeek.connection.local_orig"] is True
    assert (event["source.ip"], event["destination.port"]) == ("10.18.20.97", 88)


SAME: list[tuple[str, Any]] = [
    ("nested keys", NESTED),
    ("milliseconds", {**GOOD, "ts": 1575413096052.279}),
    ("ISO 8601", {**GOOD, "ts": "2019-12-03T22:44:56.052279Z"}),
    ("ISO 8601 with a zone", {**GOOD, "ts": "2019-12-03T23:44:56.052279+01:00"}),
    ("its log named", {**GOOD, "_path": "conn"}),
    ("unset keys as null", {**GOOD, "vlan": None, "label": None}),
    ("blanks", " " + json.dumps(GOOD, indent=None, separators=(" , ", " : "))),
    ("a byte order mark", "\ufeff" + json.dumps(GOOD)),
    ("escaped text", json.dumps(GOOD).replace("krb_tcp", "krb\\u005ftcp")),
    ("a whole number as float", {**GOOD, "orig_pkts": 5.0}),
]


@pytest.mark.parametrize("record", [s[1] for s in SAME], ids=[s[0] for s in SAME])
def test_variant_reads_as_the_plain_record(record: Any) -> None:
    parsed = from_json(lines(record))
    assert parsed.rejects.is_empty(), parsed.rejects.to_dicts()
    assert parsed.events.drop(MOVING).equals(from_json(lines(GOOD)).events.drop(MOVING))


WRONG: list[tuple[str, Any, str | None, str]] = [
    ("port out of range", {**GOOD, "id.resp_p": 99999}, "id.resp_p", "99999 is not a port (0 to 65535)"),
    ("negative bytes", {**GOOD, "orig_bytes": -5}, "orig_bytes", "-5 is negative"),
    ("text for a number", {**GOOD, "orig_bytes": "5"}, "orig_bytes", '"5" is not a whole number'),
    ("a fraction of a packet", {**GOOD, "orig_pkts": 1.5}, "orig_pkts", "1.5 is not a whole number"),
    ("a number for text", {**GOOD, "history": 5}, "history", "5 is not text"),
    ("a bool for a number", {**GOOD, "orig_bytes": True}, "orig_bytes", "true is not a whole number"),
    ("a number for a bool", {**GOOD, "local_orig": 1}, "local_orig", "1 is not true or false"),
    ("not an address", {**GOOD, "id.orig_h": "host"}, "id.orig_h", "'host' is not an IP address"),
    ("no protocol", {k: v for k, v in GOOD.items() if k != "proto"}, "proto", "is not set"),
    ("not a date", {**GOOD, "ts": "yesterday"}, "ts", '"yesterday" is not a time'),
    ("a list", [1, 2], None, "is JSON, but not an object"),
    ("another log", {**GOOD, "_path": "dns"}, "_path", "a record of Zeek's dns log, not a connection"),
    ("a key twice", '{"ts": 1, "ts": 2}', "ts", "is in the record twice"),
    ("NaN", json.dumps(GOOD).replace("283", "NaN"), None, "holds NaN, which is no number"),
    ("cut off", json.dumps(GOOD)[:50], None, "is not JSON: "),
    ("a NUL", json.dumps(GOOD) + "\x00", None, "holds a NUL byte"),
    ("a million brackets", '{"a":' + "[" * 100_000, None, "is nested too deeply"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("record", "field", "reason"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG]
)
def test_a_bad_record_is_a_reject_of_its_own(record: Any, field: str | None, reason: str) -> None:
    data = lines(GOOD, record, {**GOOD, "uid": "C3"})
    parsed = from_json(data)
    assert parsed.events["zeek.session_id"].to_list() == ["CH5", "C3"]
    (reject,) = parsed.rejects.to_dicts()
    assert reject["field"] == field
    assert reject["reason"].startswith(reason)
    assert reject["line"] == 2
    assert reject["log.offset"] == len(lines(GOOD))


def test_fields_that_the_schema_does_not_know_are_kept() -> None:
    record = {**GOOD, "_system_name": "s", "n": 5, "x": 1.5, "deep": {"a": [1]}, "none": None}
    parsed = from_json(lines(record))
    (extra,) = parsed.events["connwatch.extra"]
    assert json.loads(extra) == {"_system_name": "s", "n": 5, "x": 1.5, "deep": {"a": [1]}}
    assert parsed.unknown_fields == {"_system_name", "n", "x", "deep"}


def test_records_of_several_logs_in_one_file_keep_their_kind() -> None:
    data = lines({**GOOD, "_path": "conn"}, {**GOOD, "uid": "C2", "_path": "conn_long"})
    assert from_json(data).events["event.dataset"].to_list() == [
        "zeek.connection",
        "zeek.conn_long",
    ]


@pytest.mark.parametrize(
    ("data", "path", "dataset"),
    [
        (lines(GOOD), "conn.log", "zeek.connection"),
        (lines(GOOD), "a/open_conn.09:00:00.log", "zeek.open_conn"),
        (lines({**GOOD, "_path": "conn_long"}), "conn.log", "zeek.conn_long"),
        (lines({**GOOD, "_path": "dns"}), "conn.log", None),
        (lines({"ts": 1.0, "uid": "C", "id.orig_h": "10.0.0.1", "query": "x"}), "conn.log", None),
        (b"[1]\n", "conn.log", None),
        (b"{}\n", "conn.log", None),
    ],
)
def test_content_tells_the_dataset(data: bytes, path: str, dataset: str | None) -> None:
    assert ZeekJson().sniff(data, path) == dataset


@pytest.mark.parametrize("record", [{}, {"odd": 1}, {"id": {}}, {"ts": None}])
def test_a_file_of_records_without_any_known_field_is_all_rejects(record: Any) -> None:
    form = ZeekJson()
    block = Block("conn.log", lines(record, record), 0, 1, last=True)
    parsed, _ = form.parse(block, form.begin("zeek.connection"))
    assert parsed.events.is_empty()
    assert parsed.rejects["line"].to_list() == [1, 2]


def test_no_line_is_lost_in_the_count() -> None:
    parsed = from_json(lines(GOOD, "", "nonsense", GOOD))
    assert (parsed.lines, parsed.record_lines, parsed.rejects.height, parsed.comments) == (
        4,
        2,
        1,
        1,
    )


def test_events_have_the_schemas_columns() -> None:
    from connwatch.schema import STORED

    assert from_json(lines(GOOD)).events.schema == pl.Schema(STORED)


#: what a key may be set to, of types that the readers tell apart
VALUES: list[Any] = [1, 1.0, 1.5, True, "1", "true", None, ["a"], {"a": 1}, 10**19]


@pytest.mark.parametrize("key", ["ts", "duration", "orig_pkts", "service", "_path", "unknown"])
def test_a_record_means_the_same_whatever_came_before(key: str) -> None:
    # The separators of Zeek: the fast reader reads what it can, with the types of the block before.
    blocks = [
        Block(
            "conn.log", json.dumps({**GOOD, key: one}, separators=(",", ":")).encode(), 0, 1, True
        )
        for one in VALUES
    ]
    form = ZeekJson()
    fresh = form.begin("zeek.connection")
    for before in blocks:
        _, state = form.parse(before, fresh)
        for block in blocks:
            (alone, _), (after, _) = form.parse(block, fresh), form.parse(block, state)
            assert after.events.equals(alone.events)
            assert after.rejects.equals(alone.rejects)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64])
def test_the_fast_reader_counts_across_its_steps(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"".join(
        json.dumps({**GOOD, "tunnel_parents": ["Ca", "Cb"]}, separators=(",", ":")).encode() + b"\n"
        for _ in range(3)
    )
    form = ZeekJson()
    monkeypatch.setattr(zeek_json, "_STEP", step)
    monkeypatch.setattr(zeek_json, "exact", lambda *_: pytest.fail("the fast reader gave up"))
    parsed, _ = form.parse(Block("conn.log", data, 0, 1, True), form.begin("zeek.connection"))
    assert parsed.events.height == 3
