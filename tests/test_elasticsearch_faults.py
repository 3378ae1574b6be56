"""Sending through networks, proxies and servers that fail: nothing is lost, nothing is doubled."""

from __future__ import annotations

import threading
import time

import polars as pl
import pytest
from elastic import Elastic
from elastic_events import alert
from fake_server import Answer
from gate import Forward, Rule, gate, rejected
from proxy import Fault, proxy
from sending import everything, ids, sink
from sink_contract import events

from connwatch.sinks.elasticsearch import Sent, State
from connwatch.sinks.elasticsearch.bodies import Alert

pytestmark = pytest.mark.slow

ROWS = 600
#: about forty events
LIMIT = 40_000


FAULTS: dict[str, tuple[Fault, int, float]] = {
    "connections that end in mid-request": ("cut request", 3, 0),
    "connections that end in mid-answer": ("cut answer", 3, 0),
    "answers that never come, as the connection ends": ("reset after", 3, 0),
    "answers that come late": ("delay", 5, 0.2),
    "answers that come byte by byte, for too long": ("drip", 2, 0.2),
    "requests that are swallowed": ("hole", 2, 0),
    "answers that are swallowed": ("deaf", 2, 0),
}


@pytest.mark.parametrize("case", FAULTS)
def test_networks_that_fail(elasticsearch: Elastic, case: str) -> None:
    fault, times, seconds = FAULTS[case]
    rows = events(range(ROWS))
    with (
        proxy(elasticsearch.url) as way,
        sink(elasticsearch, way.url, timeout=1.0, limit=LIMIT) as to,
    ):
        way.set(fault, times, seconds)
        sent = to.send(rows, [Alert("a", f"{elasticsearch.prefix}-alerts-2026.11.20", alert())])
        everything(elasticsearch, sent, rows)
        assert sent.updated == 1
        assert way.times == 0
        if fault != "delay":
            assert to.state.retried > 0
        if fault in ("reset after", "deaf"):
            assert sent.unsure == sent.known > 0


def test_a_server_that_is_away_for_long_and_comes_back(elasticsearch: Elastic) -> None:
    rows = events(range(ROWS))
    held: list[State] = []
    with proxy(elasticsearch.url) as way, sink(elasticsearch, way.url, limit=LIMIT) as to:
        way.refuse()
        done: list[Sent] = []
        thread = threading.Thread(target=lambda: done.append(to.send(rows)))
        thread.start()
        try:
            for _ in range(40):
                held.append(to.state)
                time.sleep(0.05)
        finally:
            way.listen()
            thread.join(timeout=30)
        everything(elasticsearch, done[0], rows)
        assert done[0].stored == ROWS
        assert to.state.error is None
    assert all(one.requests <= 2 and one.in_flight <= 3 * LIMIT for one in held)
    away = held[-1]
    assert (away.waiting, away.at_once) == (ROWS, 1)
    assert away.failures > 5
    assert "the connection is refused" in (away.error or "")


def storm(number: int, lines: bytes, forward: Forward) -> Answer:
    if number <= 6:
        return Answer(429, {"error": {"type": "es_rejected_execution_exception", "reason": "full"}})
    return forward(lines)


def unavailable(number: int, lines: bytes, forward: Forward) -> Answer:
    return (
        Answer(503, b"<html>no server</html>", {"Content-Type": "text/html"})
        if number % 3 == 1
        else forward(lines)
    )


def partly(number: int, lines: bytes, forward: Forward) -> Answer:
    return rejected(lines, forward, lambda place: number < 12 and place % 3 == number % 3)


def half(number: int, lines: bytes, forward: Forward) -> Answer:
    told = forward(lines)
    return (
        Answer(told.status, told.body[: len(told.body) // 2], told.headers)
        if number % 2 and number < 9
        else told
    )


def too_large(_number: int, lines: bytes, forward: Forward) -> Answer:
    if len(lines) > 5_000:
        return Answer(
            413, b"<html>413 Request Entity Too Large</html>", {"Content-Type": "text/html"}
        )
    return forward(lines)


def fault(number: int, lines: bytes, forward: Forward) -> Answer:
    told = forward(lines)
    return (
        Answer(500, {"error": {"type": "exception", "reason": "x"}})
        if number in (2, 3, 5)
        else told
    )


RULES: dict[str, Rule] = {
    "a storm of 429": storm,
    "503 from a proxy, again and again": unavailable,
    "a third of the documents too many for now": partly,
    "half answers": half,
    "requests that are too large": too_large,
    "a fault after the documents were taken": fault,
}


@pytest.mark.parametrize("case", RULES)
def test_servers_that_fail(elasticsearch: Elastic, case: str) -> None:
    rows = events(range(ROWS))
    with gate(elasticsearch.url) as way, sink(elasticsearch, way.url, limit=LIMIT) as to:
        way.rule = RULES[case]
        sent = to.send(rows)
        everything(elasticsearch, sent, rows)
        if case == "requests that are too large":
            assert to.state.limit <= 5_000
            assert sum(size > 5_000 for size in way.sizes) < 10
        if case in ("half answers", "a fault after the documents were taken"):
            assert sent.unsure == sent.known > 0
        else:
            assert sent.stored == ROWS
        assert way.most <= 4


def test_retry_after_is_kept_to(elasticsearch: Elastic) -> None:
    rows, times = events(range(3)), []

    def rule(number: int, lines: bytes, forward: Forward) -> Answer:
        times.append(time.monotonic())
        return Answer(429, {}, {"Retry-After": "1"}) if number == 1 else forward(lines)

    with gate(elasticsearch.url) as way, sink(elasticsearch, way.url) as to:
        way.rule = rule
        everything(elasticsearch, to.send(rows), rows)
    assert times[1] - times[0] >= 1.0


def test_only_what_failed_is_sent_again(elasticsearch: Elastic) -> None:
    rows, asked = events(range(9)), []

    def rule(number: int, lines: bytes, forward: Forward) -> Answer:
        asked.append(lines.count(b"\n") // 2)
        return rejected(lines, forward, lambda place: number == 1 and place in (2, 5))

    with gate(elasticsearch.url) as way, sink(elasticsearch, way.url) as to:
        way.rule = rule
        sent = to.send(rows)
        everything(elasticsearch, sent, rows)
        assert (sent.stored, sent.known, to.state.retried) == (9, 0, 2)
    assert asked == [9, 2]


def test_one_document_that_is_too_large_is_refused_by_its_id(elasticsearch: Elastic) -> None:
    rows = events(range(20)).with_columns(
        pl.when(pl.col("source.port") == 7)
        .then(pl.lit('{"a":"' + "x" * 5_000 + '"}'))
        .alias("connwatch.extra")
    )
    with gate(elasticsearch.url) as way, sink(elasticsearch, way.url) as to:
        way.rule = too_large
        sent = to.send(rows)
    assert [one.id for one in sent.refused] == [f"{7:032x}"]
    assert "too large for the server (413)" in sent.refused[0].reason
    assert (sent.stored, sent.done) == (19, True)
    assert sent.fates.to_list()[7] == "refused"
    assert len(ids(elasticsearch)) == 19


def test_what_is_not_final_when_it_is_stopped_is_said(elasticsearch: Elastic) -> None:
    rows = events(range(ROWS))
    stop = threading.Event()

    def rule(number: int, lines: bytes, forward: Forward) -> Answer:
        if number > 4:
            stop.set()
            return Answer(503, {})
        return forward(lines)

    with gate(elasticsearch.url) as way, sink(elasticsearch, way.url, limit=LIMIT) as to:
        way.rule = rule
        sent = to.send(
            rows, [Alert("a", f"{elasticsearch.prefix}-alerts-2026.11.20", alert())], stop
        )
        assert not sent.done
        assert 0 < sent.stored < ROWS
        assert [one.id for one in sent.later] == ["a"]
        left = rows.filter(sent.fates == "retry")
        assert left.height == ROWS - sent.stored
        way.rule = lambda _number, lines, forward: forward(lines)
        assert to.send(left).stored == left.height
    assert ids(elasticsearch) == sorted(rows["event.id"])


def test_held_bytes_are_bounded_whatever_the_server_does(elasticsearch: Elastic) -> None:
    """Bytes under way, looked at whenever the server is asked."""
    rows, held = events(range(3_000)), []

    def rule(number: int, lines: bytes, forward: Forward) -> Answer:
        held.append(to.state.in_flight)
        return (
            Answer(503, {})
            if number % 5 == 0
            else rejected(lines, forward, lambda place: place % 50 == number % 50)
        )

    with (
        gate(elasticsearch.url) as way,
        sink(elasticsearch, way.url, limit=LIMIT, requests=3) as to,
    ):
        way.rule = rule
        everything(elasticsearch, to.send(rows), rows)
    assert max(held) <= 3 * LIMIT
