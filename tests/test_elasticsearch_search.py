"""Search on a server says what search on the embedded store says."""

from __future__ import annotations

import os
from collections.abc import Iterator

import polars as pl
import pytest
from elastic import Elastic
from elastic_search import (
    FIELDS,
    NOW,
    QUERIES,
    SORTS,
    SPANS,
    SPANS_OF_TIME,
    sent,
    some_events,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connwatch.query import parse, run
from connwatch.sinks.elasticsearch import connect, read_settings
from connwatch.sinks.elasticsearch.bodies import event_bodies
from connwatch.sinks.elasticsearch.layout import Layout
from connwatch.sinks.elasticsearch.reader import ServerReader
from connwatch.sinks.elasticsearch.setup import setup

FUZZ = bool(os.environ.get("CONNWATCH_FUZZ"))
MANY = settings(
    max_examples=2_000 if FUZZ else 60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
EVENTS = {seed: some_events(seed) for seed in (range(5) if FUZZ else range(1))}


@pytest.fixture(params=EVENTS)
def both(
    request: pytest.FixtureRequest, elasticsearch: Elastic
) -> Iterator[tuple[pl.LazyFrame, ServerReader]]:
    """The events here, and the same on a server."""
    events = EVENTS[request.param]
    server = connect(read_settings(nodes=(elasticsearch.url,), environment={}))
    layout = Layout(prefix=elasticsearch.prefix, routing="month", replicas=0)
    with ServerReader(server, layout) as reader:
        setup(server, layout)
        sent(server, event_bodies(events, layout))
        yield events.lazy(), reader


@MANY
@given(QUERIES, SPANS, SORTS, st.booleans(), st.sampled_from([None, 0, 1, 7, 100]), FIELDS, SPANS_OF_TIME)  # fmt: skip
def test_every_question_has_the_same_answer(
    both, kql, span, sort, descending, limit, field, every
) -> None:  # type: ignore[no-untyped-def]
    events, reader = both
    query = parse(kql)
    when = {"now": NOW, "start": span[0], "end": span[1]}
    assert reader.count(query, **when) == run.count(events, query, **when)
    order = {"sort": (sort, descending), "limit": limit}
    wanted = run.search(events, query, **when, **order)
    found = reader.search(query, **when, **order)
    assert found["event.id"].to_list() == wanted["event.id"].to_list()
    assert found.equals(wanted)
    assert reader.by(query, field, limit, **when).equals(
        run.by(events, query, field, limit, **when)
    )
    assert reader.histogram(query, every, **when).equals(
        run.histogram(events, query, every, **when)
    )
