"""Search on a server says what search on the embedded store says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest
from elastic import Elastic
from elastic_events import START, frame, one
from elastic_search import FIELDS, NOW, QUERIES, SORTS, SPANS, SPANS_OF_TIME, sent, some_events
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connwatch.errors import ConnwatchError, QueryError, ServerError
from connwatch.query import parse, run
from connwatch.sinks.elasticsearch import connect, read_settings
from connwatch.sinks.elasticsearch.bodies import event_bodies
from connwatch.sinks.elasticsearch.layout import Layout
from connwatch.sinks.elasticsearch.reader import ServerReader
from connwatch.sinks.elasticsearch.setup import setup

FUZZ = bool(os.environ.get("CONNWATCH_FUZZ"))
MANY = settings(
    max_examples=1_000 if FUZZ else 25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
EVENTS = {seed: some_events(seed) for seed in (range(5) if FUZZ else range(1))}

#: an order of search, a limit, a field, a span of time
ASKED = st.tuples(
    SORTS, st.booleans(), st.sampled_from([None, 0, 1, 7, 100]), FIELDS, SPANS_OF_TIME
)


@pytest.fixture
def reader(elasticsearch: Elastic) -> Iterator[ServerReader]:
    """Of a server that has the templates, and no index."""
    server = connect(read_settings(nodes=(elasticsearch.url,), environment={}))
    layout = Layout(prefix=elasticsearch.prefix, routing="month", replicas=0)
    with ServerReader(server, layout) as opened:
        setup(server, layout)
        yield opened


def indexed(reader: ServerReader, events: pl.DataFrame) -> pl.DataFrame:
    sent(reader.server, event_bodies(events, reader.layout))
    return events


@pytest.fixture(params=EVENTS)
def both(request: pytest.FixtureRequest, reader: ServerReader) -> tuple[pl.LazyFrame, ServerReader]:
    """The events here, and the same on a server."""
    return indexed(reader, EVENTS[request.param]).lazy(), reader


def answer(question: Any, *args: Any, **more: Any) -> Any:
    """What a question is answered with, or why it is not."""
    try:
        return question(*args, **more)
    except QueryError as error:
        return str(error)


@MANY
@given(kql=QUERIES, span=SPANS, asked=ASKED, kind=st.integers(0, 3))
def test_every_question_has_the_same_answer(
    both: tuple[pl.LazyFrame, ServerReader], kql: str, span: Any, asked: Any, kind: int
) -> None:
    events, reader = both
    sort, descending, limit, field, every = asked
    query, when = parse(kql), {"now": NOW, "start": span[0], "end": span[1]}
    if kind == 0:
        wanted = answer(run.count, events, query, **when)
        assert answer(reader.count, query, **when) == wanted
        return
    if kind == 1:
        more = {"sort": (sort, descending), "limit": limit, **when}
        wanted, found = (
            answer(run.search, events, query, **more),
            answer(reader.search, query, **more),
        )
    elif kind == 2:
        wanted = answer(run.by, events, query, field, limit, **when)
        found = answer(reader.by, query, field, limit, **when)
    else:
        wanted = answer(run.histogram, events, query, every, **when)
        found = answer(reader.histogram, query, every, **when)
    assert isinstance(found, pl.DataFrame) == isinstance(wanted, pl.DataFrame)
    assert found.equals(wanted) if isinstance(found, pl.DataFrame) else found == wanted


def test_where_nothing_is_indexed_nothing_is_found(reader: ServerReader) -> None:
    query = parse("source.port: 80 or foo")
    assert reader.count(query, now=NOW) == 0
    assert reader.search(query, now=NOW).is_empty()
    assert reader.by(query, "source.ip", now=NOW).is_empty()
    assert reader.histogram(query, "1h", now=NOW).is_empty()
    assert reader.alerts() == []


def test_many_pages_are_one_answer(reader: ServerReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connwatch.sinks.elasticsearch.snapshot._PAGE", 7)
    monkeypatch.setattr("connwatch.sinks.elasticsearch.snapshot._BUCKETS", 3)
    events = indexed(reader, EVENTS[0]).lazy()
    for kql in ("", "connwatch.extra.ja*: abc"):
        query = parse(kql)
        for name in ("@timestamp", "source.port", "source.ip"):
            more: Any = {"sort": (name, False), "limit": None, "now": NOW}
            assert reader.search(query, **more).equals(run.search(events, query, **more))
        for name in ("related.ip", "zeek.connection.label", "destination.port"):
            assert reader.by(query, name, None, now=NOW).equals(
                run.by(events, query, name, None, now=NOW)
            )


QUESTIONS = [
    "source.port: (" + " or ".join(map(str, range(3_000))) + ")",
    "not zeek.connection.label: (" + " or ".join(f"x{n}*" for n in range(1_500)) + ")",
    "zeek.connection.label: " + "*a" * 200,
    "zeek.connection.label: " + "a" * 5_000 + "*",
    "f" * 2_000,
    '"foo ' + "bar " * 300 + '"',
]


@pytest.mark.parametrize("number", range(len(QUESTIONS)))
def test_what_asks_too_much_of_a_server_is_answered_too(number: int, reader: ServerReader) -> None:
    events = indexed(
        reader,
        frame(
            one(**{"source.port": 80, "zeek.connection.label": "a" * 6_000}),
            one(**{"zeek.connection.label": "foo " + "bar " * 300, "source.port": 9_000}),
            one(**{"zeek.connection.label": "f" * 2_000, "source.port": None}),
        ),
    ).lazy()
    query = parse(QUESTIONS[number])
    assert reader.count(query, now=NOW) == run.count(events, query, now=NOW)


def nested_to(depth: int) -> str:
    text = "source.port: 80"
    for level in range(depth):
        text = f"not ({text} {('and', 'or')[level % 2]} source.port: {level})"
    return text


def test_a_deep_query_is_answered_too(reader: ServerReader) -> None:
    events = indexed(reader, frame(one(**{"source.port": 80}), one(), one(**{"source.port": 3})))
    query = parse(nested_to(30))
    assert reader.count(query, now=NOW) == run.count(events.lazy(), query, now=NOW)


REFUSED = {
    "a field that is not there": ("source.prt: 80", "did you mean source.port"),
    "an unfit value": ("source.port: http", "is not a number"),
    "braces": ("source: { port: 80 }", "not a nested field"),
    "a value longer than any that is indexed": (
        f"zeek.connection.label: {'a' * 40_000}", "holds 32,766 bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_searched_is_said(case: str, reader: ServerReader) -> None:
    kql, said = REFUSED[case]
    for question in (
        lambda: reader.count(parse(kql), now=NOW),
        lambda: reader.search(parse(kql), now=NOW),
        lambda: reader.by(parse(kql), "source.ip", now=NOW),
    ):
        with pytest.raises(QueryError) as raised:
            question()
        assert said in str(raised.value)


def test_fields_that_cannot_be_sorted_by_are_said(reader: ServerReader) -> None:
    for name in ("related.ip", "labels", "event.type", "nope"):
        with pytest.raises(QueryError):
            reader.search(parse(""), now=NOW, sort=(name, True))


def test_a_part_of_the_answer_is_an_error(reader: ServerReader) -> None:
    """An index whose only shard has nowhere to be."""
    indexed(reader, frame(one()))
    name = f"{reader.layout.events}-zeek.connection-2026.10"
    settings = {"index.routing.allocation.include._name": "nobody"}
    made = reader.server.perform(
        "PUT", f"/{name}?wait_for_active_shards=0&timeout=1s", {"settings": settings}
    )
    assert made.ok
    with pytest.raises(ServerError):
        reader.count(parse(""), now=NOW)


def test_no_snapshot_is_left_open(reader: ServerReader, elasticsearch: Elastic) -> None:
    def opened() -> int:
        told = elasticsearch.ask("GET", "/_nodes/stats/indices/search")
        return sum(one["indices"]["search"]["open_contexts"] for one in told["nodes"].values())

    indexed(reader, frame(one(), one(**{"@timestamp": START})))
    before = opened()
    reader.search(parse("foo"), now=NOW)
    reader.by(parse(""), "related.ip", now=NOW)
    with pytest.raises(ConnwatchError):
        reader.alert("ab")
    assert opened() == before
