"""Dead letters: what a sink refuses for good is kept, told of, sent again or dropped."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from sink_contract import delivery, events
from test_retention import out
from test_store import found
from test_tidy import first_version, ids

from connwatch.contracts import Delivery, Receipt, Refusal
from connwatch.sinks.embedded import EmbeddedStore, StoreReader
from connwatch.sinks.embedded.dead_letters import (
    DeadLetter,
    Retried,
    add,
    event,
    kept,
    letters,
    remove,
    retry,
)

SINCE = datetime(2026, 11, 20, 12, tzinfo=UTC)


@dataclass
class Choosy:
    """A sink that refuses, or wants later, events and alerts by their id."""

    refuses: dict[str, str] = field(default_factory=dict)
    later: set[str] = field(default_factory=set)
    name: str = "choosy"

    def write(self, delivery: Delivery) -> Receipt:
        fates = [
            "refused" if one in self.refuses else "retry" if one in self.later else "stored"
            for one in delivery.events["event.id"]
        ]
        refused = [
            Refusal("event", one, self.refuses[one])
            for one, fate in zip(delivery.events["event.id"], fates, strict=True)
            if fate == "refused"
        ]
        alerts = [alert["event"]["id"] for alert in delivery.alerts]
        refused += [
            Refusal("alert", one, self.refuses[one]) for one in alerts if one in self.refuses
        ]
        waiting = tuple(one for one in alerts if one in self.later)
        return Receipt(pl.Series(fates, dtype=pl.String), waiting, tuple(refused))

    def close(self) -> None:
        pass


def name(number: int) -> str:
    return f"{number:032x}"


def test_what_a_receipt_refuses_becomes_letters_and_comes_back_as_it_was(tmp_path: Path) -> None:
    rows = events([1, 2, 3])
    hits, (alert,), _ = found(rows, 5)
    sink = Choosy({name(2): "mapper_parsing_exception", alert["event"]["id"]: "too long"})
    given = delivery(rows, hits=hits, alerts=(alert,))
    with EmbeddedStore(tmp_path) as store:
        add(store, letters(sink.name, SINCE, given, sink.write(given)))
        one, other = kept(store.database)
        assert (one.kind, one.id, one.reason) == ("event", name(2), "mapper_parsing_exception")
        assert (other.kind, other.id, other.reason) == ("alert", alert["event"]["id"], "too long")
        assert event(one.document).equals(rows[1:2])
        assert json.loads(other.document) == alert
        assert retry(store, {sink.name: sink}) == Retried(0, 2, 0, ())
        sink.refuses = {name(2): "another reason"}
        sink.later = {alert["event"]["id"]}
        assert retry(store, {sink.name: sink}) == Retried(0, 1, 1, ())
        assert [one.reason for one in kept(store.database)] == ["another reason", "too long"]
        sink.refuses, sink.later = {}, set()
        assert retry(store, {}) == Retried(0, 0, 2, (sink.name,))
        assert retry(store, {sink.name: sink}) == Retried(2, 0, 0, ())
        assert kept(store.database) == []


def line(number: int, **changed: object) -> str:
    document = json.loads(events([number]).write_ndjson())
    return json.dumps({**document, **changed})


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("half {", "is not JSON"),
        ("[1]", "not an object"),
        (line(1, nonsense=1), "no column 'nonsense'"),
        (line(1, **{"event.id": None}), "there is no event.id"),
        (line(1, **{"@timestamp": 7}), "there is no @timestamp"),
        (line(1, **{"source.port": "many"}), "of another type"),
    ],
)
def test_an_event_that_does_not_conform_stays_with_the_reason(
    tmp_path: Path, document: str, reason: str
) -> None:
    with EmbeddedStore(tmp_path) as store:
        good = DeadLetter(None, "embedded", 0.0, "?", "event", line(2))
        add(store, [DeadLetter(None, "embedded", 0.0, "?", "event", document), good])
        assert retry(store, {store.name: store}) == Retried(1, 1, 0, ())
        (left,) = kept(store.database)
        assert reason in left.reason
    assert ids(tmp_path) == [2]


def test_the_embedded_store_takes_an_alert_back_that_it_does_not_have(tmp_path: Path) -> None:
    _, (alert,), _ = found(events([1, 2]), 5)
    with EmbeddedStore(tmp_path) as store:
        letter = DeadLetter(None, "embedded", 0.0, "?", "alert", json.dumps(alert))
        for _ in range(2):
            add(store, [letter])
            assert retry(store, {store.name: store}).delivered == 1
        add(store, [DeadLetter(None, "embedded", 0.0, "?", "alert", "{}")])
        assert retry(store, {store.name: store}).refused == 1
        with StoreReader(tmp_path) as reader:
            assert reader.alerts() == [alert]


def test_letters_are_numbered_once_for_ever(tmp_path: Path) -> None:
    letter = DeadLetter(None, "embedded", 0.0, "?", "event", line(1))
    with EmbeddedStore(tmp_path) as store:
        add(store, [letter, letter])
        assert remove(store, [2, 9]) == 1
        assert remove(store, None) == 1
        add(store, [letter])
        assert [one.number for one in kept(store.database)] == [3]


def test_a_store_of_version_1_has_none(tmp_path: Path) -> None:
    first_version(tmp_path)
    with StoreReader(tmp_path) as reader:
        assert reader.dead_letters() == []


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ("--store", str(tmp_path))
    with EmbeddedStore(tmp_path) as store:
        add(
            store,
            [
                DeadLetter(None, "embedded", SINCE.timestamp(), "full", "event", line(1)),
                DeadLetter(None, "embedded", SINCE.timestamp(), "\x1b[31mred", "event", "{}"),
                DeadLetter(None, "elsewhere", SINCE.timestamp(), "no", "event", line(2)),
            ],
        )
    told, said = out(capsys, "dead-letters", "list", *place)
    assert "\x1b" not in told
    assert "2026-11-20T12:00:00+00:00" in told
    assert "3 dead letters" in said
    told, _ = out(capsys, "dead-letters", "list", "--json", *place)
    assert [json.loads(one)["id"] for one in told.splitlines()] == [1, 2, 3]
    for wrong in ((), ("1", "--all"), ("9",)):
        for what in ("retry", "drop"):
            out(capsys, "dead-letters", what, *wrong, *place, code=2)
    told, _ = out(capsys, "dead-letters", "retry", "1", *place)
    assert "1 delivered" in told
    assert ids(tmp_path) == [1]
    told, said = out(capsys, "dead-letters", "retry", "--all", *place, code=1)
    assert "0 delivered, 1 refused again" in told
    assert "there is no sink 'elsewhere' here" in said
    assert "1 dead letters" in out(capsys, "dead-letters", "drop", "2", *place)[0]
    assert "1 dead letters" in out(capsys, "dead-letters", "drop", "--all", *place)[0]
