"""Copies between the store and real servers, either way: what comes is what was there."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from copies import SAMPLE, Copying, config_of, fates
from elastic import Elastic
from elastic_events import UNKNOWN, alert, frame, frames, one
from hypothesis import HealthCheck, given, settings
from sending import ids
from sink_contract import delivery

from connwatch.alert import united
from connwatch.query import parse
from connwatch.query.run import matching
from connwatch.sinks.elasticsearch.fitting import changed, fitting, marked, read_object
from connwatch.sinks.embedded import EmbeddedStore, StoreReader

NOW = datetime(2026, 11, 22, tzinfo=UTC)
RULE = (
    "title: Door\nid: 6f1f3a3e-0d1c-4b38-9a3e-0b6b2f9f0a01\nlevel: low\nsuppress: 2m\n"
    "logsource: {category: firewall}\n"
    "detection: {s: {destination.port: 4444}, condition: s}\n"
)


@pytest.fixture
def copying(elasticsearch: Elastic, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Copying:
    return Copying(config_of(tmp_path, elasticsearch), capsys)


def everything(store: Path) -> tuple[pl.DataFrame, pl.DataFrame, list[dict[str, Any]]]:
    """Events, hits and alerts, each in an order of its own."""
    with StoreReader(store) as reader:
        return (
            reader.events().collect().sort("event.id"),
            reader.hits().collect().sort("rule", "event.id"),
            reader.alerts(),
        )


def same(one: Path, other: Path) -> None:
    for here, there in zip(everything(one), everything(other), strict=True):
        assert here.equals(there) if isinstance(here, pl.DataFrame) else here == there


def test_there_and_back_is_the_same_store(copying: Copying, tmp_path: Path) -> None:
    """Events, alerts, and the hits behind them, which no server holds; twice is once; and a replay
    of the log finds that all of it is there."""
    first, second = copying.replayed(tmp_path / "first"), tmp_path / "second"
    events, _, alerts = everything(first)
    for told in (copying.there(first), copying.back(second)):
        assert fates(told, "events") == {"copied": events.height}
        assert fates(told, "alerts") == {"copied": len(alerts)}
        assert (told["refusals"], told["notes"]) == ([], [])
    shown = copying.shown(first)
    assert copying.shown(second) == shown
    assert copying.shown(None) == shown
    same(first, second)
    for told in (copying.there(first), copying.there(second), copying.back(second)):
        assert fates(told, "events") == {"there": events.height}
        assert fates(told, "alerts") == {"there": len(alerts)}
    copying.replayed(second)
    same(first, second)
    assert not list((first / "copies").iterdir())


@pytest.mark.slow
def test_a_span_and_a_query(copying: Copying, elasticsearch: Elastic, tmp_path: Path) -> None:
    """Just the events that a search finds, and alerts that list one of them."""
    store = copying.replayed(tmp_path / "store")
    kql = "destination.port: (22 or 80) and not zeek.connection.state: OTH"
    span = ("--from", "2026-11-21 07:26:26", "--to", "2026-11-21T07:26:31.5Z")
    found = copying.out("search", kql, *span, "--limit", 0, "--format", "ndjson", "--store", store)
    wanted = sorted(json.loads(line)["event"]["id"] for line in found.splitlines())
    copying.there(store, kql, *span)
    assert ids(elasticsearch) == wanted
    listing = []
    for one_alert in everything(store)[2]:
        own = one_alert["connwatch"]
        inside = one_alert["event"]["start"] < "2026-11-21T07:26:31.5" and (
            one_alert["event"]["end"] >= "2026-11-21T07:26:26"
        )
        with StoreReader(store) as reader:
            matched = matching(reader.events(), parse(kql), now=NOW).collect()["event.id"]
        if inside and {event["event.id"] for event in own["evidence"]} & set(matched):
            listing.append(one_alert["event"]["id"])
    assert ids(elasticsearch, "alerts") == sorted(listing) != []
    assert len(listing) < len(everything(store)[2])
    # The other way: of all that is there.
    copying.there(store)
    told = copying.back(tmp_path / "part", kql, *span)
    events, _, alerts = everything(tmp_path / "part")
    assert sorted(events["event.id"]) == wanted
    assert sorted(each["event"]["id"] for each in alerts) == sorted(listing)
    assert told["alerts"]["partial"] == 0


@pytest.mark.slow
def test_what_an_analyst_says_goes_where_nobody_has_said_anything(
    copying: Copying, tmp_path: Path
) -> None:
    store = copying.replayed(tmp_path / "store")
    copying.there(store)
    names = sorted(one["event"]["id"] for one in everything(store)[2])[:4]
    here, there, both = names[:3]
    copying.out("alerts", "ack", here, "--store", store)
    copying.on_server("alerts", "close", there)
    copying.out("alerts", "ack", both, "--store", store)
    copying.on_server("alerts", "close", both)

    def status(place: Path | None) -> list[str]:
        shown = copying.shown(place)[1].splitlines()
        said = {(a := json.loads(line))["event"]["id"]: a["connwatch"]["status"] for line in shown}
        return [said[name] for name in names]

    assert fates(copying.there(store), "alerts")["grown"] == 1
    assert status(None) == ["acknowledged", "closed", "closed", "open"]
    assert fates(copying.back(store), "alerts")["grown"] == 1
    assert status(store) == ["acknowledged", "closed", "acknowledged", "open"]
    for told in (copying.there(store), copying.back(store)):
        assert fates(told, "alerts").keys() == {"there"}


@pytest.mark.slow
def test_alerts_whose_rule_is_not_at_hand_come_with_what_they_list(
    copying: Copying, tmp_path: Path
) -> None:
    """That is said. Neither a replay nor a second copy with the rule counts a hit twice."""
    rule = tmp_path / "door.yml"
    rule.write_text(RULE.replace("4444", "[22, 80, 443, 4444]"))
    first, second = copying.replayed(tmp_path / "first", "--rules", rule), tmp_path / "second"
    copying.there(first)
    many = sum(each["connwatch"]["count"] > 10 for each in everything(first)[2])
    assert many
    told = copying.back(second)
    assert told["alerts"]["partial"] == told["alerts"]["copied"] == len(everything(first)[2])
    assert "only the events that they list" in copying.said
    assert copying.shown(second)[0] == copying.shown(first)[0]
    assert copying.shown(second)[2] == copying.shown(first)[2]
    with StoreReader(second) as reader:
        for each in reader.alerts():
            own = each["connwatch"]
            listed = {event["event.id"] for event in own["evidence"]}
            behind = reader.alert_events(each["event"]["id"]).collect()["event.id"]
            assert set(behind) == listed
            assert own.get("hits_unknown", 0) == own["count"] - len(listed)
    assert fates(copying.back(second), "alerts").keys() == {"there", "partial"}
    third = tmp_path / "third"
    copying.back(third)
    assert "copied" not in fates(copying.back(third, "--rules", rule), "alerts")
    copying.replayed(second, "--rules", rule)
    same(first, second)
    same(first, third)


@pytest.mark.slow
def test_alerts_of_lists_come_back_with_the_lists(copying: Copying, tmp_path: Path) -> None:
    feed = tmp_path / "feed.txt"
    feed.write_text("203.0.113.99\n198.51.100.0/24\n")
    first, second = copying.replayed(tmp_path / "first", "--indicators", feed), tmp_path / "second"
    copying.there(first)
    assert copying.back(second, "--indicators", feed)["alerts"]["partial"] == 0
    same(first, second)
    assert copying.back(tmp_path / "third")["alerts"]["partial"]
    copying.replayed(tmp_path / "third", "--indicators", feed)
    assert everything(tmp_path / "third")[1].equals(everything(first)[1])
    assert copying.shown(tmp_path / "third")[2] == copying.shown(first)[2]


def test_alerts_that_have_grown_are_brought_up_to_date_and_none_is_set_back(
    copying: Copying, tmp_path: Path
) -> None:
    whole = SAMPLE.read_bytes().splitlines(keepends=True)
    log, half, full = tmp_path / "conn.log", tmp_path / "half", tmp_path / "full"
    log.write_bytes(b"".join(whole[: len(whole) // 2]))
    copying.out("replay", log, "--store", half)
    copying.replayed(full)
    copying.there(half)
    assert fates(copying.there(full), "alerts")["grown"]
    assert fates(copying.there(half), "alerts").keys() == {"there"}
    assert copying.shown(None)[2] == copying.shown(full)[2]
    assert fates(copying.back(half), "alerts")["grown"]
    assert copying.shown(half)[2] == copying.shown(full)[2]
    assert everything(half)[1].equals(everything(full)[1])


def test_an_alert_that_became_part_of_another_goes(
    copying: Copying, elasticsearch: Elastic, tmp_path: Path
) -> None:
    """And what was said of it on the server is said of the other."""
    store = copying.replayed(tmp_path / "store")
    copying.there(store)
    old, new = sorted(one["event"]["id"] for one in everything(store)[2])[:2]
    copying.on_server("alerts", "close", old)
    with EmbeddedStore(store) as opened, opened.database.changing():
        opened.database.execute("DELETE FROM alerts WHERE id = ?", (old,))
        opened.database.execute("INSERT INTO aliases VALUES (?, ?)", (old, new))
    assert fates(copying.there(store), "alerts")["grown"] == 1
    assert old not in ids(elasticsearch, "alerts")
    left = [json.loads(line) for line in copying.shown(None)[1].splitlines()]
    assert [a["connwatch"]["status"] for a in left if a["event"]["id"] == new] == ["closed"]


def stored(folder: Path, *rows: dict[str, Any]) -> Path:
    """A store with these events. Their ids differ at once: its keys are the first 96 bits."""
    events = frame(*({**row, "event.id": f"{n + 1:x}" * 32} for n, row in enumerate(rows)))
    with EmbeddedStore(folder) as store:
        store.write(delivery(events))
    return folder


@pytest.mark.slow
def test_values_that_a_server_cannot_take_whole_are_counted(
    copying: Copying, tmp_path: Path
) -> None:
    odd = one(**{"zeek.connection.label": "a" * 40_000, "labels": '{"a":1.50,"b":[null,1e400]}'})
    store = stored(tmp_path / "store", odd, one())
    assert copying.there(store)["events"]["cut"] == 1
    assert copying.back(tmp_path / "back")["events"]["cut"] == 1
    assert "cannot take whole" in copying.said
    (here, there) = (everything(folder)[0] for folder in (store, tmp_path / "back"))
    assert fitting(here).equals(there)
    assert here["labels"].equals(there["labels"])


def test_events_of_the_last_minute_of_time_are_copied(copying: Copying, tmp_path: Path) -> None:
    """There is no later time up to which to look."""
    last = {"@timestamp": datetime.max.replace(tzinfo=UTC), "source.port": 7}
    store = stored(tmp_path / "store", one(**last), one())
    assert fates(copying.there(store, "source.port: 7"), "events") == {"copied": 1}
    assert fates(copying.there(store), "events") == {"copied": 1, "there": 1}
    assert fates(copying.there(store), "events") == {"there": 2}


def test_what_the_server_refuses_is_named(
    copying: Copying, elasticsearch: Elastic, tmp_path: Path
) -> None:
    """It stays in the store, and the same command tries again."""
    store = stored(tmp_path / "store", one(), one(**{"source.port": 7}))
    copying.on_server("elasticsearch", "setup")
    copying.there(store, "source.port: 7")
    indices = f"/{elasticsearch.prefix}-events/_settings"
    elasticsearch.ask("PUT", indices, {"index.default_pipeline": "nowhere"})
    told = copying.there(store, code=1)
    assert told["events"]["refused"] == len(told["refusals"]) == 2
    assert re.search(r"refused: event 1+: .*nowhere", copying.said)
    elasticsearch.ask("PUT", indices, {"index.default_pipeline": None})
    assert fates(copying.there(store), "events") == {"copied": 1, "there": 1}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames())
def test_changed_is_what_cannot_be_had_back(rows: pl.DataFrame) -> None:
    assert changed(rows).sum() == 0 or not fitting(rows).equals(rows)
    assert (marked(fitting(rows)) & ~changed(rows) & ~marked(rows)).sum() == 0


@given(UNKNOWN)
def test_unknown_fields_that_fit_are_not_called_changed(fields: dict[str, Any]) -> None:
    rows = frame(one(**{"connwatch.extra": read_object(fields)}))
    assert changed(rows).to_list() == [False]


def test_two_tellings_of_an_alert_are_united_once() -> None:
    shown = {
        "event.id": "0",
        "connwatch.log_time": "2026",
        "source.ip": "::",
        "destination.ip": "::",
    }
    own = {"evidence": [shown], "values": {"peak": 4}}
    first, second = alert(1, count=3, **own), alert(1, count=5, status="closed", **own)
    second["event"]["end"] = "2026-11-22T12:00:00.000001Z"
    both = united(first, second)
    assert both == second == united(first, both) == united(both, second)
    assert united(second, first)["connwatch"]["status"] == "closed"
    apart = alert(2, count=4, **own)
    apart["event"] |= {"start": "2026-11-19T12:00:00.000001Z"}
    joint = united(second, apart)
    assert (joint["event"]["id"], joint["connwatch"]["count"]) == (apart["event"]["id"], 5)
    assert united(second, joint) == united(apart, joint) == joint
