"""Replays and live runs that send to real servers: what is there equals what the store has."""

from __future__ import annotations

import json
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from elastic import Elastic
from elastic_sent import configured, documents, followed, same
from fake_server import Answer, fake_server
from live_support import BEGIN, header, lines
from sink_contract import delivery, events

from connwatch import sending
from connwatch.cli import run as command
from connwatch.config import Elasticsearch
from connwatch.sending import Sender
from connwatch.sinks.embedded import EmbeddedStore, StoreReader
from connwatch.sinks.embedded.outbox import Outbox

SAMPLE = Path(__file__).resolve().parent.parent / "sample_logs" / "incident" / "conn.log"


def test_a_replay_twice_and_from_another_store_leaves_what_one_leaves(
    elasticsearch: Elastic, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(configured(tmp_path, elasticsearch))
    summaries = []
    for store in ("store", "store", "other"):
        summary = tmp_path / "summary.json"
        arguments = ["--store", str(tmp_path / store), "-c", config, "--summary", str(summary)]
        assert command(["replay", str(SAMPLE), *arguments]) == 0
        number = same(elasticsearch, tmp_path / store)
        summaries.append(json.loads(summary.read_text())["elasticsearch"])
    assert number > 300
    assert [one["stored"] for one in summaries] == [number, 0, 0]
    assert [one["known"] for one in summaries] == [0, number, number]
    assert all(one["refused"] == one["waiting"] == 0 for one in summaries)
    assert f"sent     0 new, {number:,} there before" in capsys.readouterr().out


@pytest.mark.parametrize("left", ["done", "sent"])
def test_what_has_left_the_outbox_is_counted(
    elasticsearch: Elastic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    """However long it takes the sender to go on: who waits for the outbox asks right afterwards."""
    leave = getattr(Outbox, left)

    def slowly(*given: Any) -> Any:
        found = leave(*given)
        time.sleep(0.5)
        return found

    monkeypatch.setattr(Outbox, left, slowly)
    config, summary = str(configured(tmp_path, elasticsearch)), tmp_path / "summary.json"
    arguments = ["--store", str(tmp_path / "store"), "-c", config, "--summary", str(summary)]
    assert command(["replay", str(SAMPLE), *arguments]) == 0
    number = same(elasticsearch, tmp_path / "store")
    counts = json.loads(summary.read_text())["elasticsearch"]
    assert (counts["stored"], counts["refused"], counts["waiting"]) == (number, 0, 0)
    assert counts["alerts"] == len(documents(elasticsearch, "alerts"))


def test_a_store_that_knew_nothing_of_a_server_is_sent_by_a_replay(
    elasticsearch: Elastic, tmp_path: Path
) -> None:
    config = str(configured(tmp_path, elasticsearch))
    assert command(["replay", str(SAMPLE), "--store", str(tmp_path / "store")]) == 0
    assert documents(elasticsearch, "events") == {}
    arguments = ["--store", str(tmp_path / "store"), "-c", config]
    assert command(["replay", str(SAMPLE), *arguments]) == 0
    same(elasticsearch, tmp_path / "store")


@pytest.mark.slow
def test_logs_that_are_replayed_one_after_the_other_are_the_same_alerts_there(
    elasticsearch: Elastic, tmp_path: Path
) -> None:
    arguments = ["--store", str(tmp_path / "store"), "-c", str(configured(tmp_path, elasticsearch))]
    for log in (SAMPLE, SAMPLE.with_name("tcpdump.txt"), *SAMPLE.parent.glob("ss-srv-*.txt")):
        assert command(["replay", str(log), *arguments]) == 0
        same(elasticsearch, tmp_path / "store")
    assert len(documents(elasticsearch, "alerts")) == 13


@pytest.mark.slow
def test_what_an_analyst_says_is_kept_wherever_he_says_it(
    elasticsearch: Elastic, tmp_path: Path
) -> None:
    """On the server: it stays as the alert grows. In the store: the next run sends it."""
    config = str(configured(tmp_path, elasticsearch))
    log, store = tmp_path / "conn.log", tmp_path / "store"
    whole = SAMPLE.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(whole[: len(whole) // 2]))
    arguments = ["--store", str(store), "-c", config]
    assert command(["replay", str(log), *arguments]) == 0
    before = documents(elasticsearch, "alerts")
    there, here = sorted(before)[:2]
    say(elasticsearch, there, "acknowledged")
    with EmbeddedStore(store) as opened:
        opened.set_alert_status(here, "closed")
    log.write_bytes(b"".join(whole))
    assert command(["replay", str(log), *arguments]) == 0
    after = documents(elasticsearch, "alerts")
    assert after[there]["connwatch"]["status"] == "acknowledged"
    assert after[here]["connwatch"]["status"] == "closed"
    assert after != before


@pytest.mark.slow
def test_processes_that_snapshots_tell_later_are_told_to_the_server(
    elasticsearch: Elastic, tmp_path: Path
) -> None:
    config = str(configured(tmp_path, elasticsearch))
    arguments = ["--store", str(tmp_path / "store"), "-c", config]
    assert command(["replay", str(SAMPLE), *arguments]) == 0
    before = documents(elasticsearch, "alerts")
    assert not any("process" in one for one in before.values())
    dumps = sorted(map(str, SAMPLE.parent.glob("ss-*.txt")))
    assert command(["replay", *dumps, *arguments]) == 0
    same(elasticsearch, tmp_path / "store")
    after = documents(elasticsearch, "alerts")
    assert before.keys() <= after.keys()
    named = [
        name for name, one in after.items() if one.get("process", {}).get("name") == "backdoor"
    ]
    assert named
    query = {"query": {"bool": {"filter": [
        {"term": {"process.name": "backdoor"}},
        {"term": {"connwatch.processes.verdict": "exact"}},
        {"term": {"host.name": "ss-srv"}},
    ]}}}  # fmt: skip
    index = f"/{elasticsearch.prefix}-alerts/_search"
    found = elasticsearch.ask("POST", index, query)["hits"]["hits"]
    assert {one["_id"] for one in found} == set(named)


@pytest.mark.slow
def test_alerts_that_become_one_are_one_there(elasticsearch: Elastic, tmp_path: Path) -> None:
    """The middle of a log comes last: alerts on both sides of it are joined, and what was said of
    the one that goes is said of the one that stays."""
    config = str(configured(tmp_path, elasticsearch))
    rule = tmp_path / "rule.yml"
    rule.write_text(
        "title: R\nid: 6f1f3a3e-0d1c-4b38-9a3e-0b6b2f9f0a01\nlogsource: {category: firewall}\n"
        "detection: {s: {network.transport: tcp}, condition: s}\nlevel: low\nsuppress: 2m\n"
    )
    made = [
        f"{BEGIN + 60 * n}.0\tC{n}\t10.0.0.1\t{n + 1024}\t10.0.0.2\t80\ttcp\t-\t0.1\t1\t1\tSF\t-\t-"
        "\t0\tSF\t1\t41\t1\t41\t-\n"
        for n in range(120)
    ]
    arguments = ["--store", str(tmp_path / "store"), "-c", config, "--rules", str(rule)]
    numbers = []
    for number, part in enumerate((made[:40], made[80:], made[40:80])):
        log = tmp_path / f"{number}.log"
        log.write_bytes(header() + "".join(part).encode())
        assert command(["replay", str(log), *arguments]) == 0
        found = documents(elasticsearch, "alerts")
        numbers.append(len(found))
        if number == 1:
            later = max(found.values(), key=lambda one: str(one["event"]["start"]))
            say(elasticsearch, later["event"]["id"], "closed")
    assert numbers == [1, 2, 1]
    same(elasticsearch, tmp_path / "store")
    (one,) = found.values()
    assert (one["connwatch"]["count"], one["event"]["id"]) == (120, next(iter(found)))
    # It was said while the last replay sent what it had: the next run tells the server.
    assert command(["replay", str(log), *arguments]) == 0
    (one,) = documents(elasticsearch, "alerts").values()
    assert one["connwatch"]["status"] == "closed"


def say(server: Elastic, alert: str, status: str) -> None:
    """As an analyst does in Kibana."""
    name = f"{server.prefix}-alerts"
    (hit,) = server.ask("GET", f"/{name}/_search?q=_id:{alert}")["hits"]["hits"]
    word = {"doc": {"connwatch": {"status": status}}}
    server.ask("POST", f"/{hit['_index']}/_update/{alert}", word)


@pytest.mark.slow
def test_a_live_run_is_killed_while_it_sends(elasticsearch: Elastic, tmp_path: Path) -> None:
    config = configured(tmp_path, elasticsearch)
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "conn.log"
    log.write_bytes(header())
    made = lines(6_000)
    chance = random.Random(2)
    for part in range(3):
        with followed(config), log.open("ab") as out:
            for start in range(part * 2_000, (part + 1) * 2_000, 200):
                out.write(b"".join(made[start : start + 200]))
                out.flush()
                time.sleep(chance.random() / 4)
    with followed(config, "--until-idle", "2") as last:
        _, said = last.communicate(timeout=120)
        assert last.returncode == 0, said
    assert same(elasticsearch, tmp_path / "store") == 6_000
    with EmbeddedStore(tmp_path / "store") as store:
        outbox = store.open_outbox(1)
        assert (outbox.rows, outbox.alerts, outbox.pending(1)) == (0, 0, [])
    assert not list((tmp_path / "store" / "outbox").iterdir())


def test_a_replay_begins_nothing_without_a_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--store", str(tmp_path / "store"), "--elasticsearch", "http://127.0.0.1:9"]
    assert command(["replay", str(SAMPLE), *arguments]) == 3
    assert "127.0.0.1:9" in capsys.readouterr().err
    with StoreReader(tmp_path / "store") as reader:
        assert reader.events().collect().is_empty()


def test_a_run_that_may_not_send_more_waits(tmp_path: Path) -> None:
    """And what it committed is there when somebody else sends it, each event once."""
    away = Elasticsearch(nodes=("http://127.0.0.1:9",), backlog=300)
    committed: list[int] = []
    with EmbeddedStore(tmp_path / "store") as store:
        with Sender(store, away) as sender:
            run = store.begin_run()

            def commits() -> None:
                for start in range(0, 1_000, 100):
                    rows = events(range(start, start + 100))
                    _, keys = run.classify(rows)
                    run.write(delivery(rows), keys)
                    committed.append(start)

            thread = threading.Thread(target=commits)
            thread.start()
            deadline = time.monotonic() + 20
            while len(committed) < 3 and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.5)
            assert len(committed) == 3  # the fourth waits, though it is in the store
            assert sender.waiting[0] == 400
            while sender.problem is None and time.monotonic() < deadline:
                time.sleep(0.01)
            assert "127.0.0.1:9" in str(sender.problem)
            run.hurry()
            thread.join(20)
            assert len(committed) == 10
        outbox = store.open_outbox(10_000)
        parts = outbox.pending(10_000)
        ids = [one for part in parts for one in part.events(store.folder)["event.id"]]
    assert len(ids) == len(set(ids)) == 1_000


@pytest.mark.slow
def test_what_a_server_refuses_for_good_is_a_dead_letter(
    elasticsearch: Elastic, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And can be sent again when somebody has mended the server."""
    config = str(configured(tmp_path, elasticsearch))
    log, store = tmp_path / "conn.log", tmp_path / "store"
    whole = SAMPLE.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(whole[: len(whole) // 2]))
    arguments = ["--store", str(store), "-c", config]
    assert command(["replay", str(log), *arguments]) == 0
    first = set(documents(elasticsearch, "events"))
    indices = f"/{elasticsearch.prefix}-events/_settings"
    elasticsearch.ask("PUT", indices, {"index.default_pipeline": "nowhere"})
    log.write_bytes(b"".join(whole))
    assert command(["replay", str(log), *arguments]) == 0
    with StoreReader(store) as reader:
        every = set(reader.events().select("event.id").collect()["event.id"])
        kept = reader.dead_letters()
    assert {(one.sink, one.kind) for one in kept} == {("elasticsearch", "event")}
    assert {one.id for one in kept} == every > first
    assert "nowhere" in kept[0].reason
    assert f"{len(kept):,} refused" in capsys.readouterr().out
    elasticsearch.ask("PUT", indices, {"index.default_pipeline": None})
    assert command(["dead-letters", "retry", "--all", *arguments]) == 0
    assert same(elasticsearch, store) == len(every)
    with StoreReader(store) as reader:
        assert reader.dead_letters() == []


@pytest.mark.slow
def test_sending_leaves_what_an_administrator_has_set_up(
    elasticsearch: Elastic, tmp_path: Path
) -> None:
    """Another configuration sends to the same indices, and knows nothing of shards and replicas."""
    config = str(configured(tmp_path, elasticsearch, "  shards: 2\n"))
    assert command(["elasticsearch", "setup", "-c", config]) == 0
    path = f"/_component_template/{elasticsearch.prefix}-*"
    before = elasticsearch.ask("GET", path)
    other = str(configured(tmp_path, elasticsearch, "  shards: 5\n"))
    arguments = ["--store", str(tmp_path / "store"), "-c", other]
    assert command(["replay", str(SAMPLE), *arguments]) == 0
    assert elasticsearch.ask("GET", path) == before
    (index,) = elasticsearch.ask("GET", f"/{elasticsearch.prefix}-events/_settings").values()
    assert index["settings"]["index"]["number_of_shards"] == "2"


def test_a_replay_does_not_wait_for_a_server_that_wants_nothing_of_it(tmp_path: Path) -> None:
    """It goes on into the store, and what was to be sent stays there."""
    told: list[str] = []
    with fake_server({"*": Answer(401, {"error": "who are you?"})}) as fake:
        section = Elasticsearch(nodes=(fake.url,), backlog=10)
        with (
            EmbeddedStore(tmp_path / "store") as store,
            Sender(store, section, told=told.append, for_ever=False) as sender,
        ):
            run = store.begin_run()
            for start in range(0, 1_000, 100):
                rows = events(range(start, start + 100))
                run.write(delivery(rows), run.classify(rows)[1])
            assert not sender.drain()
            assert sender.waiting == (1_000, 0)
    assert "401" in told[0]


def test_what_is_known_of_places_goes_with_the_alerts(tmp_path: Path) -> None:
    places = "SELECT id FROM outbox_places ORDER BY id"
    with EmbeddedStore(tmp_path / "store") as store, store.database.changing():
        database = store.database
        database.execute("INSERT INTO alerts VALUES ('there', 'r', 'g', 0, 0, '{}')")
        database.execute("INSERT INTO outbox_alerts VALUES ('to be removed', 1, 0)")
        rows = [("there", "i"), ("to be removed", "i"), ("gone", "i")]
        database.executemany("INSERT INTO outbox_places VALUES (?, ?)", rows)
    with EmbeddedStore(tmp_path / "store") as store:
        assert store.database.execute(places).fetchall() == [("there",), ("to be removed",)]


def test_a_fault_of_the_program_does_not_let_anybody_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sending, "connect", broken)
    section = Elasticsearch(nodes=("http://127.0.0.1:9",))
    with EmbeddedStore(tmp_path / "store") as store, Sender(store, section) as sender:
        rows = events(range(3))
        run = store.begin_run()
        run.write(delivery(rows), run.classify(rows)[1])
        with pytest.raises(ZeroDivisionError):
            sender.drain()


@pytest.mark.slow
def test_indices_that_are_too_old_go_while_a_run_sends(
    elasticsearch: Elastic, tmp_path: Path
) -> None:
    """Where the server does not see to it by itself, as these do not."""
    config = str(configured(tmp_path, elasticsearch))
    old = f"{elasticsearch.prefix}-events-zeek.connection-2020.01.01"
    assert command(["elasticsearch", "setup", "-c", config]) == 0
    elasticsearch.ask("PUT", f"/{old}", {"settings": {"number_of_replicas": 0}})
    arguments = ["--store", str(tmp_path / "store"), "-c"]
    assert command(["replay", str(SAMPLE), *arguments, config]) == 0
    assert elasticsearch.asked("GET", f"/{old}")[0] == 200
    keeping = str(configured(tmp_path, elasticsearch, "  keep_events: 400d\n"))
    assert command(["replay", str(SAMPLE), *arguments, keeping]) == 0
    assert elasticsearch.asked("GET", f"/{old}")[0] == 404
    assert documents(elasticsearch, "events")


def test_a_server_that_is_something_else_is_told_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with fake_server({"*": Answer(200, b"<html></html>", {})}) as fake:
        arguments = ["--store", str(tmp_path / "store"), "--elasticsearch", fake.url]
        assert command(["replay", str(SAMPLE), *arguments]) == 3
    assert "Elasticsearch" in capsys.readouterr().err
