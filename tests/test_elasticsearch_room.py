"""Logs of years, clusters that have no room for them, and indices that take nothing for now."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from elastic import Elastic
from elastic_sent import configured, documents, same
from elastic_servers import PASSWORDS
from gate import Forward, gate
from live_support import header
from sending import everything, sink
from sink_contract import delivery, events

from connwatch.cli import run as command
from connwatch.config import Elasticsearch
from connwatch.sending import Sender
from connwatch.sinks.elasticsearch import connect, read_settings
from connwatch.sinks.elasticsearch.bodies import event_bodies
from connwatch.sinks.elasticsearch.layout import Layout
from connwatch.sinks.elasticsearch.room import lacking, room
from connwatch.sinks.embedded import EmbeddedStore, StoreReader

LAYOUT = Layout()


def spread(days: int, each: int) -> pl.DataFrame:
    """Events of many days, in turn: the first of each day, the second of each, …"""
    rows = events(range(days * each))
    base = datetime(2023, 1, 1, tzinfo=UTC)
    times = [base + timedelta(days=n % days, seconds=n) for n in range(days * each)]
    dtype = rows.schema["@timestamp"]
    return rows.with_columns(pl.Series("@timestamp", times, dtype=dtype))


def years(path: Path, days: int) -> None:
    """A log with one connection a day."""
    begin = int(datetime(2023, 1, 1, tzinfo=UTC).timestamp())
    path.write_bytes(
        header()
        + "".join(
            f"{begin + 86_400 * n}.5\tC{n}\t10.0.0.1\t{n + 1024}\t10.0.0.2\t80\ttcp\t-\t0.1\t1\t1\tSF"
            "\t-\t-\t0\tSF\t1\t41\t1\t41\t-\n"
            for n in range(days)
        ).encode()
    )


def indices_of(lines: bytes) -> set[str]:
    return {json.loads(line)["create"]["_index"] for line in lines.splitlines()[::2]}


def test_a_body_goes_to_few_indices() -> None:
    rows = spread(30, 4).sort("@timestamp")
    bodies = [*event_bodies(rows, LAYOUT, indices=8)]
    assert [len(indices_of(one.data)) for one in bodies] == [8, 8, 8, 6]
    assert sum(one.count for one in bodies) == rows.height


def test_a_request_goes_to_few_indices_and_each_event_has_its_fate(elasticsearch: Elastic) -> None:
    """Though events of all days come in turn."""
    rows = spread(12, 5)
    asked: list[set[str]] = []

    def rule(_number: int, lines: bytes, forward: Forward) -> object:
        asked.append(indices_of(lines))
        return forward(lines)

    with gate(elasticsearch.url) as way, sink(elasticsearch, way.url, indices=3) as to:
        way.rule = rule  # type: ignore[assignment]
        assert to.send(rows[::2]).stored == 30
        asked.clear()
        sent = to.send(rows)
        everything(elasticsearch, sent, rows)
    assert sent.fates.to_list() == ["known", "stored"] * 30
    assert [len(one) for one in asked] == [3] * 4
    assert len(set.union(*asked)) == 12


@contextmanager
def most_shards(server: Elastic, more: int) -> Iterator[None]:
    """The cluster may have so many more shards than it has now."""
    name = "cluster.max_shards_per_node"
    there = server.ask("GET", "/_cluster/health?expand_wildcards=open")
    number = there["active_shards"] + there["unassigned_shards"] + more
    server.ask("PUT", "/_cluster/settings", {"persistent": {name: max(1, number)}})
    try:
        yield
    finally:
        server.ask("PUT", "/_cluster/settings", {"persistent": {name: None}})


@pytest.mark.slow
def test_a_log_of_years_that_has_no_room_is_told_and_goes_by_months(
    elasticsearch: Elastic, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is lost, and nothing is a dead letter: a replay as the hint says sends all of it."""
    log, store = tmp_path / "conn.log", tmp_path / "store"
    years(log, 400)
    arguments = ["replay", str(log), "--store", str(store), "-c"]
    with most_shards(elasticsearch, 80):
        assert command([*arguments, str(configured(tmp_path, elasticsearch))]) == 3
        told = capsys.readouterr().err
        assert "there is no room for" in told
        assert "routing: month" in told
        assert len(documents(elasticsearch, "events")) < 80
        with StoreReader(store) as reader:
            assert reader.events().collect().height == 400
            assert reader.dead_letters() == []
    # However much of that room was taken before, and far from enough for a day each.
    months = replace(elasticsearch, prefix=f"{elasticsearch.prefix}-months")
    with most_shards(elasticsearch, 160):
        assert command([*arguments, str(configured(tmp_path, months, "  routing: month\n"))]) == 0
    assert same(months, store) == 400
    assert len(elasticsearch.ask("GET", f"/{months.prefix}-events-*")) == 14


def waits(look: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not look():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextmanager
def sending(server: Elastic, folder: Path) -> Iterator[tuple[EmbeddedStore, Sender]]:
    section = Elasticsearch(nodes=(server.url,), prefix=server.prefix, replicas=0)
    with EmbeddedStore(folder) as store, Sender(store, section) as sender:
        yield store, sender


def put(store: EmbeddedStore, rows: pl.DataFrame) -> None:
    run = store.begin_run()
    run.write(delivery(rows), run.classify(rows)[1])


@pytest.mark.slow
def test_no_room_that_is_noticed_only_by_the_server_is_waited_for(
    elasticsearch: Elastic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when somebody else takes the room in between: what fits goes on, the rest comes later."""
    monkeypatch.setattr("connwatch.sending.lacking", lambda *_: None)
    with sending(elasticsearch, tmp_path / "store") as (store, sender):
        with most_shards(elasticsearch, 2):
            put(store, spread(6, 3))
            waits(lambda: sender.waiting[0] == 12)
            waits(lambda: "maximum normal shards" in (sender.problem or ""))
            assert sender.counts.refused == 0
            assert len(documents(elasticsearch, "events")) == 6
        waits(lambda: not any(sender.waiting))
        assert sender.problem is None
        assert sender.counts.stored == 18
    assert len(documents(elasticsearch, "events")) == 18


@pytest.mark.slow
def test_an_index_with_a_block_does_not_hold_up_the_others(
    elasticsearch: Elastic, tmp_path: Path
) -> None:
    """Nor does what comes for it later; when the block is lifted all of it is there, once."""
    index = f"{elasticsearch.prefix}-events-zeek.connection-2026.11.19"
    block = "index.blocks.write"
    with sending(elasticsearch, tmp_path / "store") as (store, sender):
        put(store, events(range(5_000, 5_005), day=19))
        waits(lambda: not any(sender.waiting))
        elasticsearch.ask("PUT", f"/{index}/_settings", {block: True})
        for start in range(0, 300, 100):
            old = events(range(1_000 + start, 1_050 + start), day=19)
            put(store, pl.concat([old, events(range(start, start + 100))]))
        waits(lambda: sender.waiting[0] == 150)
        assert "takes no writes" in (sender.problem or "")
        put(store, events(range(300, 400)))
        waits(lambda: sender.counts.stored == 405)
        assert sender.waiting[0] == 150
    # A restart knows nothing of it, and finds out.
    with sending(elasticsearch, tmp_path / "store") as (store, sender):
        put(store, events(range(400, 410)))
        waits(lambda: sender.waiting[0] == 150 and sender.problem is not None)
        elasticsearch.ask("PUT", f"/{index}/_settings", {block: None})
        waits(lambda: not any(sender.waiting))
        assert (sender.counts.stored, sender.counts.known) == (160, 0)
    assert same(elasticsearch, tmp_path / "store") == 565


def test_the_least_privileges_are_enough_to_see_what_room_there_is(secured: Elastic) -> None:
    settings = read_settings(
        nodes=(secured.url,),
        username="connwatch",
        ca=secured.ca,
        environment={"CONNWATCH_ES_PASSWORD": PASSWORDS["connwatch"]},
    )
    layout = Layout(prefix=f"test-{secrets.token_hex(4)}", shards=2, replicas=1)
    with connect(settings) as server, most_shards(secured, 11):
        found = room(server)
        assert found is not None
        assert found.left == 11
        names = {f"{layout.prefix}-events-x-2026.11.0{day}" for day in (1, 2)}
        assert lacking(server, layout, names) is None
        error = lacking(server, layout, {*names, f"{layout.prefix}-events-x-2026.11.03"})
        assert "3 new indices" in str(error)
        assert "they take 12 shards" in str(error)
