"""Bulk bodies: what they say, that they say all of it, and that a server can read them."""

from __future__ import annotations

import gzip
import json
from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest
from elastic_events import START, alert, frame, frames, one
from examples import examples
from hypothesis import given, settings

from connwatch.render import nested
from connwatch.schema import COLUMNS, STORED, empty, expand
from connwatch.sinks.elasticsearch.bodies import Alert, alert_bodies, event_bodies
from connwatch.sinks.elasticsearch.columns import COPIES, PAIRS
from connwatch.sinks.elasticsearch.documents import documents, from_documents, tree
from connwatch.sinks.elasticsearch.fitting import LONGEST, MARK, cut, loads, tame
from connwatch.sinks.elasticsearch.layout import Layout

LAYOUT = Layout()


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        cleaned = {k: without_nulls(v) for k, v in value.items() if v is not None}
        return {k: v for k, v in cleaned.items() if v != {}}
    return value


def known(document: dict[str, Any]) -> dict[str, Any]:
    """Without what is not the schema's: nulls there stay."""
    own = {**document, "connwatch": {**document["connwatch"]}}
    own["connwatch"].pop("extra", None)
    own.pop("labels", None)
    return own


@given(frames())
@settings(max_examples=examples(40))
def test_documents_are_the_events_nested_and_give_them_back(events: pl.DataFrame) -> None:
    texts = documents(events).to_list()
    assert from_documents(map(loads, texts)).equals(events)
    for text, row in zip(texts, expand(events).iter_rows(named=True), strict=True):
        assert "\n" not in text
        assert without_nulls(known(json.loads(text))) == without_nulls(known(nested(row)))


@pytest.mark.parametrize("days", [0, 3])
def test_documents_of_many_events_are_each_event(days: int) -> None:
    """What many have in common is written once: small numbers, seconds, whole columns."""
    numbers = [0, 9, 65_535, 65_536, -1, None, 2**63 - 1, 10**6]
    step = timedelta(days=days, microseconds=1_000_999)
    events = frame(
        *(
            one(
                **{
                    "@timestamp": START + number * step,
                    "source.ip": f"192.0.2.{number % 3}" if days else None,
                    "destination.ip": None if number % 7 else "2001:db8::1",
                    "source.port": number % 5,
                    "source.packets": numbers[number % 3],
                    "destination.packets": numbers[number % 3 + 3],
                    "source.bytes": numbers[number % len(numbers)],
                    "destination.bytes": None if number % 2 else number % 11,
                    "zeek.connection.history": "Dd",
                }
            )
            for number in range(3_000)
        )
    )
    texts = documents(events)
    assert from_documents(map(loads, texts)).equals(events)
    for text, row in zip(texts, expand(events).iter_rows(named=True), strict=True):
        assert without_nulls(json.loads(text)) == without_nulls(nested(row))


@given(frames())
@settings(max_examples=examples(40))
def test_each_event_is_two_lines_whatever_it_says(events: pl.DataFrame) -> None:
    bodies = list(event_bodies(events, LAYOUT, limit=1_000))
    lines = b"".join(body.data for body in bodies).split(b"\n")
    assert lines.pop() == b""
    assert len(lines) == 2 * events.height
    indices = LAYOUT.event_indices(events)
    for action, row, index in zip(lines[::2], events["event.id"], indices, strict=True):
        assert json.loads(action) == {"create": {"_index": index, "_id": row}}
    assert [json.loads(line)["event"]["id"] for line in lines[1::2]] == events["event.id"].to_list()


def test_no_name_is_both_a_value_and_an_object() -> None:
    tree(column.name for column in COLUMNS)
    with pytest.raises(ValueError, match="both"):
        tree(["a", "a.b"])


def test_bodies_are_bounded_and_know_their_rows() -> None:
    events = frame(*(one() for _ in range(100)))
    bodies = list(event_bodies(events, LAYOUT, limit=10_000))
    assert len(bodies) > 5
    assert [body.first for body in bodies][1:] == [body.first + body.count for body in bodies][:-1]
    assert sum(body.count for body in bodies) == 100
    assert all(body.size == len(body.data) <= 10_000 for body in bodies)
    packed = list(event_bodies(events, LAYOUT, limit=10_000, gzip=True))
    assert [gzip.decompress(body.data) for body in packed] == [body.data for body in bodies]
    alone = list(event_bodies(events, LAYOUT, limit=1))
    assert [body.count for body in alone] == [1] * 100
    assert list(event_bodies(empty(), LAYOUT)) == []


def test_events_of_several_days_and_datasets_go_to_their_own_indices() -> None:
    events = frame(
        one(),
        one(**{"@timestamp": START + timedelta(days=1)}),
        one(**{"event.dataset": "Zeek Conn/x"}),
        one(),
    )
    names = LAYOUT.event_indices(events).to_list()
    assert names[0] == names[3] == "connwatch-events-zeek.connection-2026.11.20"
    assert names[1] == "connwatch-events-zeek.connection-2026.11.21"
    assert names[2].startswith("connwatch-events-zeek_conn_x--")
    lines = next(event_bodies(events, LAYOUT)).data.splitlines()[::2]
    assert [json.loads(line)["create"]["_index"] for line in lines] == names


def test_an_over_long_value_is_cut_with_a_mark_and_fits() -> None:
    text = "é" * LONGEST
    events = frame(
        one(**{"zeek.connection.history": text, "zeek.connection.tunnel_parents": ["a", text]}),
        one(**{"zeek.connection.service": text}),
    )
    first, second = map(json.loads, documents(events))
    for found in (
        first["zeek"]["connection"]["history"],
        first["zeek"]["connection"]["tunnel_parents"][1],
        second["zeek"]["connection"]["service"],
    ):
        assert LONGEST - 4 < len(found.encode()) <= LONGEST
        assert found == text[: len(found) - len(MARK)] + MARK
    assert cut("a" * LONGEST) == "a" * LONGEST


TAMED: dict[str, tuple[str, dict[str, Any]]] = {
    "a null character in a name": (r'{"a\u0000b":1}', {"a\ufffdb": 1}),
    "a name that would come twice": (r'{"a\u0000":1,"a\ufffd":2}', {"a\ufffd": 1, "a\ufffd 2": 2}),
    "the same name twice": ('{"a":1,\n"a":2}', {"a": [1, 2]}),
    "a long name": ('{"%s":1}' % ("k" * 2_000), {"k" * (1_000 - len(MARK.encode())) + MARK: 1}),
    "a long number": ('{"a":%s}' % ("9" * 1_001), {"a": "9" * 1_001}),
    "not an object": ("[1]", {"unreadable": "[1]"}),
    "not JSON": ("{a", {"unreadable": "{a"}),
    "levels without end": ("[" * 100_000, {"unreadable": "[" * 100_000}),
    "line ends between members": ('{"a":\n1}', {"a": 1}),
}


@pytest.mark.parametrize("case", TAMED)
def test_unknown_fields_are_made_to_fit(case: str) -> None:
    text, wanted = TAMED[case]
    assert json.loads(tame(text)) == wanted


def test_too_many_levels_become_text() -> None:
    text = '{"a":' * 30 + "1" + "}" * 30
    found = json.loads(tame(text))
    for _ in range(18):
        found = found["a"]
    assert found == '{"a":' * 12 + "1" + "}" * 12


def test_numbers_of_unknown_fields_keep_their_text() -> None:
    text = '{"a":1.00,"b":[123456789012345678901234567890,1e5],"c":-0}'
    events = frame(one(**{"connwatch.extra": text}))
    assert from_documents(map(loads, documents(events)))["connwatch.extra"].to_list() == [text]


def test_an_alert_is_created_whole_and_updated_without_its_status() -> None:
    document = alert()
    place = Alert("a1", LAYOUT.alert_index(document), document)
    gone = Alert("a0", "connwatch-alerts-2026.11.19", None)
    (body,) = alert_bodies([place, gone])
    action, source, removal = map(json.loads, body.data.splitlines())
    assert action["update"]["_index"] == "connwatch-alerts-2026.11.20"
    assert source["upsert"] == document
    assert "status" not in source["doc"]["connwatch"]
    assert source["doc"]["source"] == {"ip": "192.0.2.7", "port": None}
    assert removal == {"delete": {"_index": "connwatch-alerts-2026.11.19", "_id": "a0"}}
    (said,) = alert_bodies([Alert("a1", place.index, document, status=True)])
    assert json.loads(said.data.splitlines()[1])["doc"]["connwatch"]["status"] == "open"


def test_a_flow_that_ends_after_the_last_year_is_written() -> None:
    last = START.replace(year=9999, month=12, day=31, hour=23, minute=59, second=59)
    events = frame(*(one(**{"@timestamp": last}) for _ in range(3)))
    for text in documents(events):
        assert json.loads(text)["event"]["end"].endswith("10000-01-01T00:00:00.500000Z")


def test_a_frame_without_few_valued_columns_is_written_too() -> None:
    least = {"@timestamp": START, "connwatch.log_time": START, "event.id": "a"}
    (text,) = documents(frame({name: least.get(name) for name in STORED}))
    assert json.loads(text)["event"]["id"] == "a"
    assert json.loads(text)["@timestamp"] == "2026-11-20T12:00:00.000000Z"
    assert date.fromisoformat(json.loads(text)["@timestamp"][:10]) == START.date()


def test_columns_that_copy_others_are_not_computed() -> None:
    copies = {
        "event.start": ("@timestamp",),
        "source.address": ("source.ip", "source.domain"),
        "destination.address": ("destination.ip", "destination.domain"),
    }
    assert copies == COPIES
    assert PAIRS == {"related.ip": ("source.ip", "destination.ip")}


def test_what_few_columns_say_is_each_events_own_however_many_there_are() -> None:
    """Also when more of them come than are kept, long ones among them, and the same again."""
    texts = [f"rule {number}" + "-" * (5_000 if number % 9 == 0 else 0) for number in range(1_200)]
    rows = [
        one(**{"observer.name": text, "zeek.connection.local_orig": bool(place % 2)})
        for place, text in enumerate([*texts, *texts[:20], *texts[:20]])
    ]
    for height in (40, len(rows)):
        events = frame(*rows[-height:])
        said = [json.loads(text) for text in documents(events)]
        assert [text["observer"]["name"] for text in said] == events["observer.name"].to_list()
        ours = [text["zeek"]["connection"]["local_orig"] for text in said]
        assert ours == events["zeek.connection.local_orig"].to_list()
