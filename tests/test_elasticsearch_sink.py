"""The sink on real servers that are well, and one answer at a time."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from elastic import Elastic
from elastic_events import START, alert, frame, one
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from sink_contract import check_sink, delivery, events

from connwatch.contracts import Refusal
from connwatch.errors import (
    ServerAccessError,
    ServerAwayError,
    ServerError,
    ServerKindError,
    ServerLockedError,
)
from connwatch.schema import empty
from connwatch.sinks.elasticsearch import (
    ElasticsearchSink,
    Retrying,
    Server,
    connect,
    read_settings,
)
from connwatch.sinks.elasticsearch.bodies import Alert
from connwatch.sinks.elasticsearch.bulk import Fate, Outcome, outcome
from connwatch.sinks.elasticsearch.client import Response, all_created
from connwatch.sinks.elasticsearch.layout import Layout
from connwatch.sinks.elasticsearch.pace import Pace
from connwatch.sinks.elasticsearch.setup import setup
from connwatch.sinks.elasticsearch.work import Work

LAYOUT = Layout(replicas=0)


@contextmanager
def made(elasticsearch: Elastic, **more: Any) -> Iterator[ElasticsearchSink]:
    layout = Layout(prefix=elasticsearch.prefix, replicas=0)
    with connect(read_settings(nodes=(elasticsearch.url,), environment={})) as server:
        setup(server, layout)
        sink = ElasticsearchSink(server, layout, **more)
        try:
            yield sink
        finally:
            sink.close()


def count(elasticsearch: Elastic, alias: str = "events") -> int:
    name = f"{elasticsearch.prefix}-{alias}"
    elasticsearch.ask("POST", f"/{name}/_refresh")
    return int(elasticsearch.ask("GET", f"/{name}/_count")["count"])


def test_it_keeps_what_every_sink_promises(elasticsearch: Elastic) -> None:
    check_sink(lambda: made(elasticsearch))
    assert count(elasticsearch) == 5


@pytest.mark.parametrize("gzip", [True, False])
def test_everything_sent_is_there_once(elasticsearch: Elastic, gzip: bool) -> None:
    rows = pl.concat([events(range(1_000)), events(range(1_000, 1_500), day=19)])
    index = f"{elasticsearch.prefix}-alerts-2026.11.20"
    places = [Alert(f"{n:032x}", index, alert(n)) for n in range(3)]
    with made(elasticsearch, limit=20_000, gzip=gzip) as sink:
        sent = sink.send(rows, [*places, Alert("none", index, None)])
        assert (sent.stored, sent.known, sent.updated, sent.removed) == (1_500, 0, 3, 1)
        assert sent.done
        assert sent.refused == ()
        again = sink.send(rows, [replace(places[0], document=None), places[1], places[1]])
        assert (again.stored, again.known, again.updated, again.removed) == (0, 1_500, 1, 1)
        assert (count(elasticsearch), count(elasticsearch, "alerts")) == (1_500, 2)
        state = sink.state
    assert (state.stored, state.known, state.updated, state.waiting) == (1_500, 1_500, 4, 0)
    assert (state.requests, state.in_flight, state.error, state.retried) == (0, 0, None, 0)
    assert state.rate > 0


def test_what_does_not_fit_is_refused_and_the_rest_is_stored(elasticsearch: Elastic) -> None:
    rows = events(range(10)).with_columns(
        pl.when(pl.col("source.port") == 3)
        .then(pl.lit("not an address"))
        .otherwise("source.ip")
        .alias("source.ip")
    )
    bad = alert(2)
    bad["event"]["end"] = "no time"
    with made(elasticsearch) as sink:
        # Somebody made these indices strict.
        for index in ("events-zeek.connection", "alerts"):
            elasticsearch.ask(
                "PUT",
                f"/{elasticsearch.prefix}-{index}-2026.11.20",
                {"settings": {"index.mapping.ignore_malformed": False}},
            )
        receipt = sink.write(delivery(rows, alerts=(alert(1), bad)))
    assert receipt.fates.to_list() == ["stored"] * 3 + ["refused"] + ["stored"] * 6
    assert receipt.done
    event, other = receipt.refused
    assert (event.kind, event.id) == ("event", f"{3:032x}")
    assert "source.ip" in event.reason
    assert "not an IP string literal" in event.reason
    assert (other.kind, other.id) == ("alert", f"{2:032x}")
    assert "event.end" in other.reason
    assert count(elasticsearch) == 9


def answer(status: int, body: Any = None, **headers: str) -> Response:
    told = {"x-elastic-product": "Elasticsearch", **headers}
    return Response(status, told, body, "http://es:9200")


def error(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "reason": "why", **more}


def item(status: int, kind: str, action: str = "create") -> dict[str, Any]:
    return {action: {"status": status, "error": error(kind)}}


ITEMS: dict[str, tuple[dict[str, Any], Fate, type[ServerError] | None]] = {
    "stored": ({"create": {"status": 201}}, Fate.STORED, None),
    "there already": (item(409, "version_conflict_engine_exception"), Fate.KNOWN, None),
    "an alert put": ({"update": {"status": 201}}, Fate.UPDATED, None),
    "an alert grown": ({"update": {"status": 200}}, Fate.UPDATED, None),
    "an alert that somebody changed at once": (
        item(409, "version_conflict_engine_exception", "update"), Fate.RETRY, ServerAwayError,
    ),
    "an alert removed": ({"delete": {"status": 200}}, Fate.REMOVED, None),
    "an alert that was not there": ({"delete": {"status": 404}}, Fate.REMOVED, None),
    "a value that does not fit": (item(400, "document_parsing_exception"), Fate.REFUSED, None),
    "too busy": (item(429, "es_rejected_execution_exception"), Fate.RETRY, ServerAwayError),
    "out of memory": (item(429, "circuit_breaking_exception"), Fate.RETRY, ServerAwayError),
    "no shard": (item(503, "unavailable_shards_exception"), Fate.RETRY, ServerAwayError),
    "a fault": (item(500, "null_pointer_exception"), Fate.RETRY, ServerAwayError),
    "a full disk": (item(429, "cluster_block_exception"), Fate.RETRY, ServerLockedError),
    "a block": (item(403, "cluster_block_exception"), Fate.RETRY, ServerLockedError),
    "no rights": (item(403, "security_exception"), Fate.RETRY, ServerAccessError),
    "no index": (item(404, "index_not_found_exception"), Fate.RETRY, ServerError),
    "an index that is closed": (item(400, "index_closed_exception"), Fate.RETRY, ServerError),
    "no room for shards": (item(400, "validation_exception"), Fate.RETRY, ServerError),
}  # fmt: skip


@pytest.mark.parametrize("case", ITEMS)
def test_fate_of_an_item(case: str) -> None:
    told, fate, trouble = ITEMS[case]
    well = {"create": {"status": 201}}
    found = outcome(answer(200, {"errors": True, "items": [well, told, well]}), 3)
    assert found.fates.tolist() == [Fate.STORED, fate, Fate.STORED]
    assert type(found.trouble) is (type(None) if trouble is None else trouble)
    assert set(found.reasons) == ({1} if fate is Fate.REFUSED else set())
    assert found.busy is (trouble is ServerAwayError)


WHOLE: dict[str, tuple[Response, type[ServerError] | None, dict[str, Any]]] = {
    "too busy": (answer(429, **{"retry-after": "7"}), ServerAwayError, {"busy": True, "after": 7.0}),
    "too busy for days": (answer(429, **{"retry-after": "90000"}), ServerAwayError, {"after": 600.0}),
    "a pause that cannot be read": (answer(503, **{"retry-after": "²"}), ServerAwayError, {"after": 0.0}),
    "a pause until a time gone by": (
        answer(503, **{"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}), ServerAwayError, {"after": 0.0},
    ),
    "a gateway": (answer(502, "<html>"), ServerAwayError, {"busy": True, "unsure": True, "cut": False}),
    "too large": (answer(413, "<html>"), None, {"too_long": True, "divide": "too large for the server (413)"}),
    "nobody known": (answer(401, {"error": error("security_exception")}), ServerAccessError, {}),
    "no rights": (answer(403, {"error": error("security_exception")}), ServerAccessError, {}),
    "a block": (answer(403, {"error": error("cluster_block_exception")}), ServerLockedError, {}),
    "lines that cannot be read": (
        answer(400, {"error": error("x_content_parse_exception")}), None, {"divide": "x_content_parse_exception: why"},
    ),
    "another kind of server": (answer(400, "what?"), ServerError, {}),
    "a redirect": (answer(302), ServerError, {}),
    "a page": (answer(200, "<html>"), ServerKindError, {"cut": True}),
    "nothing": (answer(200, None), ServerKindError, {"cut": True}),
    "half an answer": (answer(200, {"items": [{"create": {"status": 201}}]}), ServerKindError, {"cut": True}),
    "no statuses": (answer(200, {"items": [{}, {}]}), ServerKindError, {"cut": True}),
    "items that are none": (answer(200, {"items": ["create", 201]}), ServerKindError, {"cut": True}),
    "no list of items": (answer(200, {"items": {"create": 201, "status": 201}}), ServerKindError, {"cut": True}),
    "an error that says nothing": (answer(200, {"items": [{"create": {"status": 400}}] * 2}), ServerKindError, {"cut": True}),
}  # fmt: skip


@pytest.mark.parametrize("case", WHOLE)
def test_fate_of_a_request(case: str) -> None:
    told, trouble, more = WHOLE[case]
    found = outcome(told, 2)
    assert found.fates.tolist() == [Fate.RETRY] * 2
    assert found.reasons == {}
    assert type(found.trouble) is (type(None) if trouble is None else trouble)
    assert {name: getattr(found, name) for name in more} == more


def later(count: int, **more: Any) -> Outcome:
    return Outcome(np.zeros(count, np.uint8), {}, ServerAwayError("away"), **more)


def test_pauses_double_and_what_the_server_asks_is_kept_to() -> None:
    pace = Pace(Retrying(first=1.0, longest=8.0), 4, 1_000_000)
    now = 100.0
    for whole in (1, 2, 4, 8, 8):
        pace.learn(later(1), 10, now, now)
        assert whole / 2 <= pace.until - now <= whole
        assert pace.requests == 1
        now = pace.until
    pace.learn(later(1, after=30.0), 10, now, now)
    assert pace.until == now + 30
    pace.learn(Outcome(np.full(1, Fate.STORED, np.uint8), {}), 10, now, now)
    assert pace.failures == 0


def test_another_node_is_asked_at_once() -> None:
    pace = Pace(Retrying(first=1.0), 4, 1_000_000, nodes=3)
    for now in (1.0, 2.0):
        pace.learn(later(1), 10, now, now)
        assert pace.until <= now
    pace.learn(later(1), 10, 3.0, 3.0)
    assert pace.until > 3.0


def test_requests_at_once_grow_slowly_and_are_halved_once_for_each_failure() -> None:
    pace = Pace(Retrying(), 4, 1_000_000)
    well = Outcome(np.full(1, Fate.STORED, np.uint8), {})
    for now in range(20):
        pace.learn(well, 10, float(now), float(now))
    assert pace.requests == 4
    busy = Outcome(
        np.array([Fate.STORED, Fate.RETRY], np.uint8), {}, ServerAwayError("x"), busy=True
    )
    pace.learn(busy, 10, 21.0, 22.0)
    pace.learn(busy, 10, 21.5, 23.0)
    assert pace.requests == 2
    pace.learn(busy, 10, 23.0, 24.0)
    pace.learn(busy, 10, 25.0, 26.0)
    assert pace.requests == 1


@settings(max_examples=examples(40))
@given(st.data())
def test_every_document_has_one_fate_whatever_the_server_says(data: st.DataObject) -> None:
    """Against a server that draws its answers: each document ends once, none twice or never."""
    number = data.draw(st.integers(1, 15))
    puts = [Alert(f"a{n % 3}", "alerts", alert(n)) for n in range(data.draw(st.integers(0, 6)))]
    # Bodies of many events are made in a thread of their own.
    many = data.draw(st.sampled_from([2, 1_000]))
    work = Work(events(range(number)), puts, LAYOUT, many=many)
    limit, now, asked = data.draw(st.integers(1, 40_000)), 0.0, 0
    seen = np.zeros(number + len(puts), np.int64)
    while work.waiting:
        now += 1.0
        asked += 1
        post = work.next(now, limit)
        assert post is not None
        size = len(post.places)
        assert post.data.count(b"\n") == 2 * size
        if asked < 60 and data.draw(st.booleans()):
            work.done(post, Outcome(np.zeros(size, np.uint8), {}, divide="why", too_long=True), now)
            seen[post.places] += size == 1
            continue
        drawn = st.lists(
            st.sampled_from([0, 1, 2, 5] if asked < 60 else [1]), min_size=size, max_size=size
        )
        fates = np.array(data.draw(drawn), np.uint8)
        reasons = {place: "why" for place, fate in enumerate(fates) if fate == Fate.REFUSED}
        work.done(post, Outcome(fates, reasons), now)
        seen[post.places] += fates > 0
    assert work.next(now + 9, limit) is None
    assert seen[:number].tolist() == [1] * number
    assert seen[number:].sum() == len({one.id for one in puts})
    assert work.stored + work.known + len(work.refused) == seen.sum()
    assert "retry" not in work.fates.to_list()
    assert work.later == ()
    wanted = {
        Refusal("event", f"{n:032x}", "why")
        for n, fate in enumerate(work.fates)
        if fate == "refused"
    }
    assert {one for one in work.refused if one.kind == "event"} == wanted


def test_nothing_to_send_is_sent_at_once() -> None:
    with connect_nowhere() as sink:
        assert sink.send().done
        assert sink.send(empty(), stop=threading.Event()).stored == 0


@contextmanager
def connect_nowhere() -> Iterator[ElasticsearchSink]:
    with Server(read_settings(nodes=("http://127.0.0.1:9",), environment={})) as server:
        sink = ElasticsearchSink(server, LAYOUT, retrying=Retrying(first=0.01, longest=0.02))
        try:
            yield sink
        finally:
            sink.close()


def test_a_server_that_is_away_leaves_everything_to_be_sent_later() -> None:
    rows = frame(one(**{"@timestamp": START}), one())
    with connect_nowhere() as sink:
        receipt = sink.write(delivery(rows, alerts=(alert(1),)))
        assert receipt.fates.to_list() == ["retry", "retry"]
        assert receipt.retry_alerts == (f"{1:032x}",)
        stop = threading.Event()
        threading.Timer(0.3, stop.set).start()
        sent = sink.send(rows, stop=stop)
        assert not sent.done
        assert sent.fates.to_list() == ["retry", "retry"]
        assert "the connection is refused" in (sink.state.error or "")
        assert sink.state.failures > 3


@given(
    st.integers(0, 40),
    st.lists(st.tuples(st.integers(0, 1_100), st.binary(max_size=3)), max_size=2),
)
@settings(max_examples=examples(300))
def test_an_answer_that_is_not_read_item_by_item_says_the_same(
    count: int, changes: list[tuple[int, bytes]]
) -> None:
    said = {"errors": False, "items": [{"create": {"status": 201}}] * count}
    data = json.dumps(said, separators=(",", ":")).encode()
    assert count == 0 or all_created(data) == said
    for place, other in changes:
        data = data[:place] + other + data[place + 1 :]
        found = all_created(data)
        assert found is None or found == json.loads(data)
