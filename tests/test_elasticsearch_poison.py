"""A document that a server fails on, and servers that fail on everything."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from elastic import Elastic
from elastic_events import alert
from fake_server import Answer
from gate import Forward, gate, passes
from sending import everything, ids, sink
from sink_contract import delivery, events

from connwatch.config import Elasticsearch
from connwatch.sending import Sender
from connwatch.sinks.elasticsearch import Sent
from connwatch.sinks.elasticsearch.bodies import Alert
from connwatch.sinks.embedded import EmbeddedStore, StoreReader

BAD = f'"_id":"{7:032x}"'.encode()
BROKEN = {"type": "illegal_state_exception", "reason": "cannot digest this"}


def whole(_number: int, lines: bytes, forward: Forward) -> Answer:
    """The request that has it fails."""
    return Answer(500, {"error": BROKEN}) if BAD in lines else forward(lines)


def single(_number: int, lines: bytes, forward: Forward) -> Answer:
    """It fails, and the others of its request do not."""
    split = lines.splitlines(keepends=True)
    parts = [b"".join(split[place : place + 2]) for place in range(0, len(split), 2)]
    kept = [part for part in parts if BAD not in part]
    told = json.loads(forward(b"".join(kept)).body)["items"] if kept else []
    items = iter(told)
    failed = {"create": {"status": 500, "error": BROKEN}}
    return Answer(
        body={"errors": True, "items": [failed if BAD in p else next(items) for p in parts]}
    )


@pytest.mark.slow
@pytest.mark.parametrize("rule", [whole, single])
def test_a_document_that_a_server_fails_on_is_refused_alone(
    elasticsearch: Elastic, rule: Callable[[int, bytes, Forward], Answer]
) -> None:
    rows = events(range(40))
    with gate(elasticsearch.url) as way, sink(elasticsearch, way.url, limit=10_000) as to:
        way.rule = rule
        sent = to.send(rows, [Alert("a", f"{elasticsearch.prefix}-alerts-2026.11.20", alert())])
        asked = len(way.sizes)
    assert sent.done
    assert (sent.stored, sent.known, sent.updated) == (39, 0, 1)
    (refused,) = sent.refused
    assert (refused.kind, refused.id) == ("event", f"{7:032x}")
    assert "on no other: illegal_state_exception: cannot digest this" in refused.reason
    assert len(ids(elasticsearch)) == 39
    # Often alone, each time with one that the server took.
    assert asked > 16


@pytest.mark.slow
def test_an_alert_that_a_server_fails_on_is_refused_alone(elasticsearch: Elastic) -> None:
    index = f"{elasticsearch.prefix}-alerts-2026.11.20"
    puts = [Alert(f"{number:032x}", index, alert(number)) for number in range(5, 9)]
    with gate(elasticsearch.url) as way, sink(elasticsearch, way.url) as to:
        way.rule = whole
        sent = to.send(alerts=puts)
    assert (sent.done, sent.updated) == (True, 3)
    ((kind, name),) = {(one.kind, one.id) for one in sent.refused}
    assert (kind, name) == ("alert", f"{7:032x}")


@pytest.mark.slow
def test_a_server_that_fails_on_everything_is_waited_for(elasticsearch: Elastic) -> None:
    """However long, and also when it has taken something before."""
    rows = events(range(12))

    def rule(number: int, lines: bytes, forward: Forward) -> Answer:
        return Answer(500, {"error": BROKEN}) if number < 60 else forward(lines)

    with gate(elasticsearch.url) as way, sink(elasticsearch, way.url) as to:
        way.rule = rule
        everything(elasticsearch, to.send(rows), rows)
        assert len(way.sizes) > 60
        way.sizes.clear()
        way.rule = lambda n, lines, forward: (
            Answer(500, {"error": BROKEN}) if 1 < n < 40 else forward(lines)
        )
        more = events(range(12, 24))
        sent = to.send(more)
    assert sent.refused == ()
    assert sent.stored + sent.known == 12
    assert len(ids(elasticsearch)) == 24


def test_one_document_is_no_proof_against_itself(elasticsearch: Elastic) -> None:
    """With no other of its index that the server took, it waits, and holds up nobody."""
    rows = events(range(7, 8))
    with gate(elasticsearch.url) as way, sink(elasticsearch, way.url) as to:
        way.rule = whole
        sent = to.send(rows, leave=True)
        assert (sent.refused, sent.fates.to_list()) == ((), ["retry"])
        assert [*sent.stuck] == [f"{elasticsearch.prefix}-events-zeek.connection-2026.11.20"]
        way.rule = passes
        again: Sent = to.send(rows, leave=True)
        assert again.stored + again.known == 1


@pytest.mark.slow
def test_what_a_server_fails_on_for_ever_is_a_dead_letter_of_a_run(
    elasticsearch: Elastic, tmp_path: Path
) -> None:
    with gate(elasticsearch.url) as way:
        way.rule = whole
        section = Elasticsearch(nodes=(way.url,), prefix=elasticsearch.prefix, replicas=0)
        with EmbeddedStore(tmp_path) as store, Sender(store, section) as sender:
            run = store.begin_run()
            for start in (7, 0, 8):  # alone first
                rows = events(range(start, start + 1 if start == 7 else start + 7))
                run.write(delivery(rows), run.classify(rows)[1])
            assert sender.drain()
            assert (sender.counts.stored + sender.counts.known, sender.counts.refused) == (14, 1)
    with StoreReader(tmp_path) as reader:
        (letter,) = reader.dead_letters()
    assert letter.id == f"{7:032x}"
    assert "cannot digest this" in letter.reason
