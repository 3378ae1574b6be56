"""Sending that waits for somebody's help: blocks, rights, certificates. Nothing is refused for it."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from certificates import Authority
from elastic import Elastic
from elastic_servers import PASSWORDS
from fake_server import PRODUCT, Answer
from gate import Forward, gate
from sending import everything, ids, sink
from sink_contract import delivery, events

from connwatch.errors import ServerAccessError, ServerKindError, ServerTrustError
from connwatch.sinks.elasticsearch import (
    ElasticsearchSink,
    Retrying,
    Sent,
    State,
    connect,
    read_settings,
)
from connwatch.sinks.elasticsearch.layout import Layout

pytestmark = pytest.mark.slow

Waits = tuple[Callable[[Elastic, str], Any], Callable[[Elastic, str], Any], str]


def _setting(name: str, value: Any) -> Callable[[Elastic, str], Any]:
    return lambda server, index: server.ask("PUT", f"/{index}/_settings", {name: value})


def _asked(path: str) -> Callable[[Elastic, str], Any]:
    return lambda server, index: server.ask("POST", f"/{index}/{path}")


BLOCKS: dict[str, Waits] = {
    "a disk that is nearly full": (
        _setting("index.blocks.read_only_allow_delete", True),
        _setting("index.blocks.read_only_allow_delete", None),
        "it takes no writes: cluster_block_exception",
    ),
    "a block that somebody set": (
        _setting("index.blocks.write", True),
        _setting("index.blocks.write", None),
        "it takes no writes: cluster_block_exception",
    ),
    "an index that is closed": (_asked("_close"), _asked("_open"), "index_closed_exception"),
}  # fmt: skip


@pytest.mark.parametrize("case", BLOCKS)
def test_an_index_that_takes_no_writes_for_now(elasticsearch: Elastic, case: str) -> None:
    begin, end, told = BLOCKS[case]
    rows = pl.concat([events(range(50)), events(range(50, 100), day=19)])
    index = f"{elasticsearch.prefix}-events-zeek.connection-2026.11.20"
    with sink(elasticsearch) as to:
        first = to.send(events(range(1)))
        assert first.stored == 1
        begin(elasticsearch, index)
        done: list[Sent] = []
        thread = threading.Thread(target=lambda: done.append(to.send(rows)))
        thread.start()
        try:
            seen = _until(lambda: to.state, lambda one: one.failures > 3)
        finally:
            end(elasticsearch, index)
            thread.join(timeout=30)
        assert told in (seen.error or "")
        # The other day's are there already.
        assert seen.waiting == 50
        everything(elasticsearch, done[0], rows)
        assert (done[0].stored, done[0].known) == (99, 1)


def _until(look: Callable[[], State], wanted: Callable[[State], bool]) -> State:
    end = time.monotonic() + 20
    while not wanted(one := look()):
        assert time.monotonic() < end, one
        time.sleep(0.02)
    return one


DENIED = Answer(403, {"error": {"type": "security_exception", "reason": "not you"}}, PRODUCT)


def test_a_user_without_rights_is_told_clearly(elasticsearch: Elastic) -> None:
    rows = events(range(5))
    retrying = Retrying(first=0.01, longest=0.02, attempts=3)
    with gate(elasticsearch.url) as way, sink(elasticsearch, way.url, retrying=retrying) as to:
        way.rule = lambda _number, _lines, _forward: DENIED
        with pytest.raises(ServerAccessError, match=r"not allowed .*not you"):
            to.write(delivery(rows))
        assert len(way.sizes) == 1
        sent = to.send(rows)
        assert isinstance(sent.error, ServerAccessError)
        assert "deploy/elasticsearch/role.json" in str(sent.error)
        assert len(way.sizes) == 4
        assert (sent.refused, sent.fates.to_list()) == ((), ["retry"] * 5)
        assert "not you" in (to.state.error or "")
        way.rule = lambda _number, lines, forward: forward(lines)
        everything(elasticsearch, to.send(rows), rows)


def test_a_user_who_may_only_read(secured: Elastic) -> None:
    settings = read_settings(
        nodes=(secured.url,),
        username="reader",
        ca=secured.ca,
        environment={"CONNWATCH_ES_PASSWORD": PASSWORDS["reader"]},
    )
    with connect(settings) as server:
        to = ElasticsearchSink(
            server, Layout(prefix=secured.prefix), retrying=Retrying(0.01, 0.02, 2)
        )
        try:
            with pytest.raises(ServerAccessError) as told:
                to.write(delivery(events(range(3))))
            sent = to.send(events(range(3)))
        finally:
            to.close()
    assert isinstance(sent.error, ServerAccessError)
    assert sent.refused == ()
    assert "reader" in str(told.value)
    assert PASSWORDS["reader"] not in f"{told.value} {sent}"


def test_what_answers_is_something_else_and_patience_ends(elasticsearch: Elastic) -> None:
    def page(_number: int, _lines: bytes, _forward: Forward) -> Answer:
        return Answer(200, b"<html>log in</html>", {"Content-Type": "text/html"})

    retrying = Retrying(first=0.01, longest=0.02, patience=0.3)
    with gate(elasticsearch.url) as way, sink(elasticsearch, way.url, retrying=retrying) as to:
        way.rule = page
        sent = to.send(events(range(3)))
    assert isinstance(sent.error, ServerKindError)
    assert sent.refused == ()


def test_a_certificate_that_expires_and_is_renewed(elasticsearch: Elastic, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    good = authority.issue("good", "127.0.0.1")
    expired = authority.issue("expired", "127.0.0.1", until=timedelta(days=-1))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*good)
    first, rows = events(range(10)), events(range(200))
    with gate(elasticsearch.url, context) as way:
        settings = read_settings(nodes=(way.url,), ca=authority.ca, environment={})
        with sink(elasticsearch, settings=settings) as to:
            assert to.send(first).stored == 10
            context.load_cert_chain(*expired)
            with pytest.raises(ServerTrustError, match="has expired"):
                to.write(delivery(rows))
            done: list[Sent] = []
            thread = threading.Thread(target=lambda: done.append(to.send(rows)))
            thread.start()
            try:
                seen = _until(lambda: to.state, lambda one: one.failures > 3)
            finally:
                context.load_cert_chain(*good)
                thread.join(timeout=30)
            assert "has expired" in (seen.error or "")
            everything(elasticsearch, done[0], rows)
            # Nothing had been sent: what was known was there before.
            assert (done[0].stored, done[0].known, done[0].unsure) == (190, 10, 0)
    assert len(ids(elasticsearch)) == 200
