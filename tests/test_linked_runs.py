"""Logs that are replayed one after the other into one store count as if they were replayed at once."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import ROOT
from examples import examples
from explaining import out
from hypothesis import given, settings
from hypothesis import strategies as st
from support import replayed
from test_witnesses import ANY, COUNT, SUM, connections, frame, record, rules

from connwatch import earlier
from connwatch.contracts import REJECT_SCHEMA, Delivery
from connwatch.detection import Detection
from connwatch.detectors.ruleset import RuleSet, load_rules
from connwatch.earlier import Earlier
from connwatch.pipeline import bundled_rules
from connwatch.retro import concerned, rematch
from connwatch.sinks.embedded import EmbeddedStore, StoreReader

INCIDENT = ROOT / "sample_logs" / "incident"
ZEEK, JSON, PACKETS = ([INCIDENT / name] for name in ("conn.log", "conn.json.log", "tcpdump.txt"))
SOCKETS = sorted(INCIDENT.glob("ss-*.txt"))

__all__ = ["rules"]


def stored(folder: Path) -> list[dict[str, Any]]:
    with StoreReader(folder) as reader:
        return reader.alerts()


def told(alerts: Iterable[dict[str, Any]]) -> Counter[str]:
    """Rule, group, count and the most that was measured, of each alert."""
    return Counter(
        json.dumps(
            [one["rule"]["name"], own["group"], own["count"], own.get("values", {}).get("peak")]
        )
        for one in alerts
        for own in [one["connwatch"]]
    )


def check_books(folder: Path) -> None:
    """Every alert counts the events behind it, and lists none but these."""
    with StoreReader(folder) as reader:
        for alert in reader.alerts():
            behind = set(reader.alert_events(alert["event"]["id"]).collect()["event.id"])
            assert len(behind) == alert["connwatch"]["count"]
            assert {one["event.id"] for one in alert["connwatch"]["evidence"]} <= behind
        assert reader.verify() == []


@pytest.fixture(scope="module")
def together(rules: RuleSet, tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """What one replay of all logs comes to."""
    folder = tmp_path_factory.mktemp("together") / "store"
    replayed([*ZEEK, *PACKETS, *SOCKETS], folder, rules)
    return told(stored(folder))


@pytest.mark.parametrize(
    "runs",
    [
        (ZEEK, SOCKETS, PACKETS),
        (PACKETS, ZEEK, SOCKETS),
        (SOCKETS, JSON, PACKETS),
        (PACKETS, [*ZEEK, *PACKETS, *SOCKETS]),
        *(
            pytest.param(runs, marks=pytest.mark.slow)
            for runs in (
                (ZEEK, PACKETS, SOCKETS),
                (PACKETS, SOCKETS, ZEEK),
                (SOCKETS, ZEEK, PACKETS),
                (SOCKETS, PACKETS, ZEEK),
                (PACKETS, JSON, SOCKETS),
                (ZEEK, [*PACKETS, *SOCKETS]),
                ([*PACKETS, *SOCKETS], ZEEK),
                (SOCKETS, [*ZEEK, *PACKETS]),
            )
        ),
    ],
    ids=lambda runs: " then ".join("+".join(sorted({p.name[:4] for p in one})) for one in runs),
)
def test_an_incident_is_the_same_in_any_order_of_its_logs(
    runs: Sequence[list[Path]], rules: RuleSet, together: Counter[str], tmp_path: Path
) -> None:
    folder = tmp_path / "store"
    for paths in runs:
        _, alone = replayed(paths, tmp_path / "alone" / paths[0].name, rules)
        outcome, found = replayed(paths, folder, rules)
        # What a replay tells is what it found, whatever the store has.
        assert told(found) == told(alone)
    assert outcome.linked > 0
    assert told(stored(folder)) == together
    check_books(folder)
    before = stored(folder)
    for paths in runs:
        replayed(paths, folder, rules)
    assert stored(folder) == before


def test_ids_that_a_replay_tells_lead_to_the_alerts_that_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONNWATCH_STORE", str(tmp_path / "store"))
    out(capsys, "replay", *ZEEK)
    summary = tmp_path / "summary.json"
    lines = out(capsys, "replay", *PACKETS, "--json", "--summary", summary).splitlines()
    assert json.loads(summary.read_text("utf-8"))["hits_linked"] > 1_000
    assert len(lines) == 12
    for line in lines:
        alert = json.loads(line)
        shown = json.loads(out(capsys, "alerts", "show", alert["event"]["id"], "--format", "json"))
        own = shown["connwatch"]
        assert own["key"] == alert["connwatch"]["key"]
        assert own["count"] == alert["connwatch"]["count"]
        assert {one["event.dataset"] for one in own["witnesses"]} == {"tcpdump.connection"}
        events = out(capsys, "alerts", "events", alert["event"]["id"], "--format", "ndjson")
        assert len(events.splitlines()) == own["count"]
        text = out(capsys, "explain", alert["event"]["id"])
        assert f"witnesses ({len(own['witnesses'])})" in text
    assert "linked " in out(capsys, "replay", *PACKETS)
    assert "linked " not in out(capsys, "replay", *ZEEK)


def test_with_too_many_records_to_look_at_hits_count_and_that_is_said(
    rules: RuleSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(earlier, "MOST", 0)
    replayed(ZEEK, tmp_path / "store", rules)
    outcome, _ = replayed(PACKETS, tmp_path / "store", rules)
    assert outcome.linked == 0
    assert any("could not be linked" in note for note in outcome.notes)
    check_books(tmp_path / "store")


def test_lists_that_are_matched_again_count_no_connection_again(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("203.0.113.0/24\n198.51.100.66\n", encoding="utf-8")
    lists = concerned(load_rules([bundled_rules()]), [tmp_path / "bad.txt"])
    replayed([*ZEEK, *PACKETS], tmp_path / "once", lists)
    for paths in (ZEEK, PACKETS):
        replayed(paths, tmp_path / "store", lists)
    before = told(stored(tmp_path / "store"))
    assert before == told(stored(tmp_path / "once"))
    found = rematch(lists, tmp_path / "store")
    # The first record of a connection is the packets', and its hit was Zeek's.
    assert (found.hits > 0, found.fresh) == (True, 0)
    assert told(stored(tmp_path / "store")) == before
    check_books(tmp_path / "store")


# -- flows that are made up --------------------------------------------------------------------


def run(events: pl.DataFrame, folder: Path, rule_set: RuleSet, cuts: Iterable[int] = ()) -> None:
    """One replay, from where records are in order to where they are written."""
    detection = Detection(rule_set)
    bounds = [0, *sorted(cut for cut in set(cuts) if 0 < cut < events.height), events.height]
    with EmbeddedStore(folder) as store:
        work = store.begin_run()
        before = Earlier(folder, work)
        for low, high in itertools.pairwise(bounds):
            batch = events.slice(low, high - low)
            fate, keys = work.classify(batch)
            found = detection.step(batch)
            delivery = Delivery(
                batch.filter(fate == "new"),
                found.hits,
                tuple(detection.written(found.touched)),
                pl.DataFrame(schema=REJECT_SCHEMA),
            )
            work.write(before.apart(delivery), keys)


def hashed(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Records with ids as a store wants them, and bytes that all witnesses agree on."""
    return [
        {
            **one,
            "event.id": hashlib.md5(one["event.id"].encode(), usedforsecurity=False).hexdigest(),
            "source.bytes": one["source.port"] * 100,
        }
        for one in records
    ]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> RuleSet:
    """A rule about one record, one that counts, and one that adds up."""
    file = tmp_path_factory.mktemp("rules") / "three.yml"
    more = [text.removeprefix(f"{ANY}---\n") for text in (COUNT, SUM)]
    both = "---\n".join([ANY, *more])
    file.write_text(both.replace("timespan: 5h", "timespan: 30h, generate: true"), "utf-8")
    return load_rules([file])


@settings(max_examples=examples(25), deadline=None)
@given(made=connections(), data=st.data())
def test_every_connection_counts_once_however_its_records_are_split_into_runs(
    made: tuple[list[dict[str, Any]], int],
    data: st.DataObject,
    three: RuleSet,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    records, number = made
    every = hashed(records)
    folder = tmp_path_factory.mktemp("store")
    run(frame(every), folder / "single", three)
    whose = data.draw(st.lists(st.integers(0, 2), min_size=len(every), max_size=len(every)))
    runs = [
        frame(part)
        for n in range(3)
        if (part := [r for r, w in zip(every, whose, strict=True) if w == n])
    ]
    for events in data.draw(st.permutations(runs)):
        # What a run that was killed left is completed by the next.
        run(events.head(data.draw(st.integers(0, 4))), folder / "several", three)
        run(events, folder / "several", three, data.draw(st.sets(st.integers(1, 20), max_size=3)))
    assert [one["connwatch"]["count"] for one in stored(folder / "single")] == [number] * 3
    counts = [one["connwatch"]["count"] for one in stored(folder / "several")]
    assert counts == [number] * 3
    check_books(folder / "several")
    before = stored(folder / "several")
    for events in runs:
        run(events, folder / "several", three)
    assert stored(folder / "several") == before


def test_a_record_of_the_same_log_is_another_connection(three: RuleSet, tmp_path: Path) -> None:
    for begin in (0.0, 2.1):
        one = record("zeek.connection", begin, begin + 2)
        run(frame(hashed([one])), tmp_path / "store", three)
    assert [one["connwatch"]["count"] for one in stored(tmp_path / "store")] == [2, 2, 2]


@pytest.mark.parametrize("cuts", [(), (1,)])
def test_the_end_of_a_connection_adds_to_a_sum_if_a_run_has_both(
    cuts: tuple[int, ...], three: RuleSet, tmp_path: Path
) -> None:
    report = record("zeek.conn_long", 0, 600, **{"source.bytes": 600})
    end = record("zeek.connection", 0, 5_000, **{"source.bytes": 5_000})
    events = [
        one | {"event.id": digit * 32} for digit, one in zip("12", (report, end), strict=True)
    ]
    run(frame(events), tmp_path / "once", three, cuts)
    for records in (events[:1], events):
        run(frame(records), tmp_path / "store", three, cuts)
    assert told(stored(tmp_path / "store")) == told(stored(tmp_path / "once"))
    found = {one["rule"]["name"]: one["connwatch"] for one in stored(tmp_path / "store")}
    assert (found["Sum"]["count"], found["Sum"]["values"]["peak"]) == (2, 5_000)
    assert found["Count"]["count"] == found["Any"]["count"] == 1


def test_what_an_alert_counted_by_two_runs_lists_is_what_counts(
    three: RuleSet, tmp_path: Path
) -> None:
    """Two runs that tell of different connections, and of some that are the same."""
    zeek = [record("zeek.connection", n, n + 1, port=n + 1) for n in range(0, 20, 2)]
    packets = [record("tcpdump.connection", n, n + 1, port=n + 1) for n in range(0, 20, 3)]
    for records in (zeek, packets):
        run(frame(hashed(records)), tmp_path / "store", three, [2, 4])
    different = len({one["source.port"] for one in (*zeek, *packets)})
    assert [one["connwatch"]["count"] for one in stored(tmp_path / "store")] == [different] * 3
    check_books(tmp_path / "store")
