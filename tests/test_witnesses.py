"""One connection that several logs tell of counts once, whoever tells of it, in whatever order."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import ROOT
from examples import examples
from explaining import out
from hypothesis import given, settings
from hypothesis import strategies as st
from live_support import configuration, start
from support import replayed

from connwatch.detection import Detection
from connwatch.detectors.ruleset import RuleSet, load_rules
from connwatch.detectors.witnesses.counting import TOLERANCE, Counting
from connwatch.detectors.witnesses.flows import Flows
from connwatch.pipeline import bundled_rules
from connwatch.retro import concerned, rematch
from connwatch.schema import STORED, conform
from connwatch.sinks.embedded import StoreReader

INCIDENT = ROOT / "sample_logs" / "incident"
EVERY = [INCIDENT / "conn.log", INCIDENT / "tcpdump.txt", *sorted(INCIDENT.glob("ss-*.txt"))]
BEGIN = datetime(2026, 11, 21, 7, 0, tzinfo=UTC)
SECOND = 1_000_000
#: who tells of the connections that are made up
WHO = (("zeek.connection", None), ("zeek.connection", "second"), ("tcpdump.connection", None))


def told(alerts: Sequence[dict[str, Any]]) -> Counter[str]:
    """Alerts of rules about connections: rule, group, count, and the most that was measured."""
    return Counter(
        json.dumps(
            [one["rule"]["name"], own["group"], own["count"], own.get("values", {}).get("peak")]
        )
        for one in alerts
        for own in [one["connwatch"]]
        if "Listener" not in one["rule"]["name"]
    )


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return load_rules([bundled_rules()])


def test_an_incident_is_the_same_by_one_log_and_by_all(rules: RuleSet, tmp_path: Path) -> None:
    _, alone = replayed(EVERY[:1], tmp_path / "alone", rules)
    outcome, together = replayed(EVERY, tmp_path / "all", rules)
    assert told(together) == told(alone)
    assert len(told(alone)) == 12
    for paths in (EVERY[::-1], EVERY[2:] + EVERY[:2]):
        again, _ = replayed(paths, tmp_path / f"again-{paths[0].name}-{len(paths)}", rules)
        assert again.digest == outcome.digest


def test_two_logs_count_as_each_of_them(rules: RuleSet, tmp_path: Path) -> None:
    _, zeek = replayed(EVERY[:1], tmp_path / "zeek", rules)
    _, packets = replayed(EVERY[1:2], tmp_path / "packets", rules)
    _, both = replayed(EVERY[:2], tmp_path / "both", rules)
    assert told(zeek) == told(packets) == told(both)


@pytest.mark.slow
def test_what_is_followed_counts_as_what_is_replayed(rules: RuleSet, tmp_path: Path) -> None:
    config = configuration(tmp_path, [str(path) for path in EVERY], idle_limit=3)
    with start("run", "-c", str(config), "--until-idle", "1") as process:
        assert process.wait(120) == 0
    with StoreReader(tmp_path / "store") as reader:
        followed = reader.alerts()
    # Ids may differ: of a dump that may go on, the last flows wait for more.
    assert told(followed) == told(replayed(EVERY, tmp_path / "replayed", rules)[1])


def test_alerts_list_who_else_tells_of_their_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONNWATCH_STORE", str(tmp_path / "store"))
    out(capsys, "replay", *EVERY)
    digest = out(capsys, "alerts", "--digest")
    (alert,) = json.loads(
        out(
            capsys,
            "alerts",
            "connwatch.group.destination.port: 31337 and rule.name: Session*",
            "--format",
            "json",
        )
    )
    own = alert["connwatch"]
    listed = {one["event.id"] for one in own["evidence"]}
    by_event: dict[str, set[str]] = {}
    for one in own["witnesses"]:
        assert one["event.id"] not in listed
        by_event.setdefault(one["of"], set()).add(one["event.dataset"])
    assert own["count"] == 2
    assert set(by_event) == listed
    assert sorted(map(sorted, by_event.values())) == [
        ["ss.flow", "tcpdump.connection", "zeek.connection"],
        ["zeek.connection"],
    ]
    shown = json.loads(out(capsys, "alerts", "show", alert["event"]["id"], "--format", "json"))
    assert shown["connwatch"]["witnesses"] == own["witnesses"]
    for command in (("alerts", "show"), ("explain",)):
        text = out(capsys, *command, alert["event"]["id"])
        assert "witnesses (4)" in text
        for one in own["witnesses"]:
            assert f"{one['log.file.path']}:{one['event.sequence']}" in text
    out(capsys, "replay", *EVERY)
    assert out(capsys, "alerts", "--digest") == digest
    found = json.loads(
        out(capsys, "alerts", "connwatch.witnesses.event.dataset: ss.flow", "--format", "json")
    )
    assert alert in found


def test_lists_matched_again_count_each_connection_once(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("203.0.113.0/24\n", encoding="utf-8")
    rules = concerned(load_rules([bundled_rules()]), [tmp_path / "bad.txt"])
    replayed(EVERY[:2], tmp_path / "store", load_rules([]))
    rematch(rules, tmp_path / "store")
    _, expected = replayed(EVERY[:2], tmp_path / "new", rules)
    with StoreReader(tmp_path / "store") as reader:
        found = reader.alerts()
    assert told(found) == told(expected)
    assert told(found)


# -- flows that are made up --------------------------------------------------------------------


def record(
    dataset: str,
    begin: float,
    end: float,
    *,
    port: int = 40_000,
    written: float | None = None,
    **more: object,
) -> dict[str, Any]:
    """One record, in seconds after `BEGIN`; written: log time (its end, if that is not said)."""
    at = BEGIN + timedelta(seconds=begin)
    name = f"{dataset} {begin} {end} {port} {more.get('observer.name')}"
    return {
        "@timestamp": at,
        "event.duration": round((end - begin) * 1_000_000) * 1_000,
        "connwatch.log_time": BEGIN + timedelta(seconds=end if written is None else written),
        "event.id": name,
        "event.dataset": dataset,
        "event.sequence": 1,
        "log.file.path": f"{dataset}.log",
        "log.offset": 0,
        "source.ip": "192.0.2.1",
        "source.port": port,
        "destination.ip": "192.0.2.2",
        "destination.port": 443,
        "network.transport": "tcp",
        "network.community_id": f"1:{port}",
        **more,
    }


def frame(records: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Records in the order of their log time, which never goes back."""
    names = {name for one in records for name in one}
    types = {name: STORED[name] for name in names}
    made = pl.DataFrame([dict.fromkeys(names) | one for one in records], schema=types)
    return conform(made.sort("connwatch.log_time", maintain_order=True))


def begins(events: pl.DataFrame, cuts: Sequence[int] = ()) -> list[bool]:
    """Whether each record is the first of its flow; what is known is saved and taken up again at every
    cut."""
    state, known = Flows(), list[bool]()
    bounds = [0, *sorted(cut for cut in cuts if cut < events.height), events.height]
    for low, high in itertools.pairwise(bounds):
        counting = Counting(events.slice(low, high - low), state)
        every = np.arange(high - low)
        known += counting.first("place", every, np.ones(high - low, dtype=np.bool_)).tolist()
        frame, about = counting.after().saved()
        state = Flows.restored(frame, json.loads(json.dumps(about)))
    return known


def alerts(
    rule: str, events: pl.DataFrame, folder: Path, cuts: Sequence[int] = ()
) -> list[tuple[int, Any]]:
    """Of every alert of a rule its count and the most that was measured."""
    (folder / "rule.yml").write_text(rule, encoding="utf-8")
    detection = Detection(load_rules([folder / "rule.yml"]))
    newest: dict[str, Any] = {}
    bounds = [0, *cuts, events.height]
    for low, high in itertools.pairwise(bounds):
        found = detection.step(events.slice(low, high - low))
        newest |= {one.id: one.document() for one in detection.written(found.touched)}
    return [
        (one["connwatch"]["count"], one["connwatch"].get("values", {}).get("peak"))
        for one in newest.values()
    ]


ANY = """title: Any
name: any
logsource: {category: network, service: connection}
detection: {s: {destination.port: 443}, condition: s}
"""
SUM = f"""{ANY}---
title: Sum
name: sum
correlation: {{type: value_sum, rules: [any], group-by: [source.ip], timespan: 5h, condition: {{gte: 1, field: source.bytes}}}}
"""
COUNT = f"""{ANY}---
title: Count
name: count
correlation: {{type: event_count, rules: [any], group-by: [source.ip], timespan: 5h, condition: {{gte: 1}}}}
"""


def test_one_alert_for_a_rule_and_a_flow(tmp_path: Path) -> None:
    events = frame([record(who, 0, 3, **{"observer.name": sensor}) for who, sensor in WHO])
    assert alerts(ANY, events, tmp_path) == [(1, None)]
    assert alerts(COUNT, events, tmp_path) == [(1, 1)]


def test_a_rule_hits_by_the_only_witness_that_meets_it(tmp_path: Path) -> None:
    events = frame(
        [
            record("tcpdump.connection", 0, 3),
            record("zeek.connection", 0, 3, **{"zeek.connection.service": "ssl"}),
            record(
                "zeek.connection", 0, 3, **{"zeek.connection.service": "ssl", "observer.name": "b"}
            ),
        ]
    )
    rule = ANY.replace("destination.port: 443", "zeek.connection.service: ssl")
    assert alerts(rule, events, tmp_path) == [(1, None)]


@pytest.mark.parametrize("gap", [0.5, 3.0, 60.0])
def test_ports_that_are_used_again_are_another_flow(gap: float, tmp_path: Path) -> None:
    one, two = (0.0, 2.0), (2.0 + gap, 4.0 + gap)
    shift = TOLERANCE / SECOND / 2
    events = frame(
        [
            *(record("zeek.connection", *times) for times in (one, two)),
            *(record("tcpdump.connection", a + shift, b + shift) for a, b in (one, two)),
        ]
    )
    assert alerts(COUNT, events, tmp_path) == [(2, 2)]


def test_another_time_or_other_ends_are_another_flow(tmp_path: Path) -> None:
    apart = 2.0 + 2 * TOLERANCE / SECOND
    events = frame([record("zeek.connection", 0, 2), record("tcpdump.connection", apart, 9)])
    assert alerts(COUNT, events, tmp_path) == [(2, 2)]
    events = frame([record("zeek.connection", 0, 2), record("tcpdump.connection", 0, 2, port=1)])
    assert alerts(COUNT, events, tmp_path) == [(2, 2)]


def test_what_tells_of_a_connection_that_goes_on_does_not_count_beside_its_end(
    tmp_path: Path,
) -> None:
    def zeek(name: str, end: float, sent: int) -> dict[str, Any]:
        return record(f"zeek.{name}", 0, end, **{"source.bytes": sent})

    events = frame(
        [
            *(zeek("conn_long", end, int(end)) for end in (600.0, 1_800.0, 3_600.0)),
            *(zeek("open_conn", end, int(end)) for end in (1_000.0, 4_000.0)),
            zeek("connection", 5_000.0, 5_000),
            record("tcpdump.connection", 0, 5_000.0, **{"source.bytes": 5_040}),
        ]
    )
    assert alerts(ANY, events, tmp_path)[0][0] == 1
    for cuts in ([], [1, 2, 3, 4, 5, 6]):
        assert alerts(COUNT, events, tmp_path, cuts) == [(1, 1)]
        assert alerts(SUM, events, tmp_path, cuts)[0][1] == 5_000


def test_bytes_that_the_first_witness_does_not_know_are_counted(tmp_path: Path) -> None:
    row = {"socket.role": "client", "socket.snapshot.id": "1", "source.bytes": None}
    events = frame(
        [
            record("ss.connection", 1, 1, **row),
            record("zeek.connection", 0, 3, **{"source.bytes": 700}),
            record("tcpdump.connection", 0, 3, **{"source.bytes": 700}),
        ]
    )
    assert alerts(SUM, events, tmp_path) == [(1, 700)]


def test_a_table_may_show_a_connection_after_its_packets(tmp_path: Path) -> None:
    row = {"socket.role": "client", "socket.snapshot.id": "1"}
    for later, flows_told in ((30, 1), (3_600, 2)):
        events = frame(
            [record("zeek.connection", 0, 3), record("ss.connection", later, later, **row)]
        )
        assert alerts(COUNT, events, tmp_path) == [(flows_told, flows_told)]


@st.composite
def connections(draw: st.DrawFn) -> tuple[list[dict[str, Any]], int]:
    """Connections of few ports one after the other, each told by some witnesses whose clocks differ
    within the tolerance and who write late; and how many there are."""
    records, number = [], 0
    clocks = draw(st.lists(st.integers(0, TOLERANCE), min_size=len(WHO), max_size=len(WHO)))
    for port in range(1, 1 + draw(st.integers(1, 3))):
        time = 0.0
        for _ in range(draw(st.integers(1, 5))):
            length = draw(st.sampled_from([0.0, 0.1, 5.0, 700.0]))
            wait = draw(st.sampled_from([0.0, 1.0, 300.0]))
            who = draw(st.sets(st.integers(0, len(WHO) - 1), min_size=1))
            number += 1
            for one in sorted(who):
                dataset, sensor = WHO[one]
                begin = time + clocks[one] / SECOND
                records.append(
                    record(
                        dataset, begin, begin + length, port=port,
                        written=begin + length + wait + one, **{"observer.name": sensor},
                    )
                )  # fmt: skip
            # Three tolerances: that many clocks and their difference cannot make one of two.
            time += length + 4 * TOLERANCE / SECOND + draw(st.sampled_from([0.0, 2.0, 400.0]))
    return records, number


@settings(max_examples=examples(150), deadline=None)
@given(made=connections(), data=st.data())
def test_every_connection_counts_once_however_its_records_come(
    made: tuple[list[dict[str, Any]], int], data: st.DataObject
) -> None:
    records, number = made
    events = frame(records)
    whole = begins(events)
    assert sum(whole) == number
    cuts = data.draw(st.sets(st.integers(1, max(1, events.height - 1))))
    assert begins(events, sorted(cuts)) == whole


@settings(max_examples=examples(100), deadline=None)
@given(made=connections(), few=st.sets(st.integers(0, len(WHO) - 1), min_size=1), data=st.data())
def test_records_that_are_passed_over_are_of_nobody_elses_flow(
    made: tuple[list[dict[str, Any]], int], few: set[int], data: st.DataObject
) -> None:
    whose = {WHO[one] for one in few}
    events = frame(made[0])
    told = [(one["event.dataset"], one["observer.name"]) in whose for one in events.to_dicts()]
    events = events.filter(pl.Series(told, dtype=pl.Boolean))
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, events.height - 1)))))
    found = begins(events, cuts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Counting, "_joinable", lambda self, rows: rows)
        assert begins(events, cuts) == found


def test_what_is_forgotten_for_want_of_room_is_counted() -> None:
    ports = range(1, 41)
    first = frame([record("zeek.connection", port, port, port=port) for port in ports])
    later = frame(
        [record("tcpdump.connection", port, port, port=port, written=99) for port in ports]
    )
    state = Counting(first, Flows(), cap=30).after()
    assert (len(state), state.forgotten) == (30, 0)
    counting = Counting(later, state, cap=30)
    new = counting.first("place", np.arange(40), np.ones(40, dtype=np.bool_))
    assert new.all()  # none was counted in this place yet
    after = counting.after()
    assert (len(after), after.forgotten) == (30, 10)


def test_what_was_long_ago_is_forgotten() -> None:
    day = 24 * 3_600.0
    for later, number in ((day - 10, 1), (day + 10, 2)):
        events = frame(
            [record("zeek.connection", 0, 1), record("tcpdump.connection", 0, 1, written=later)]
        )
        assert sum(begins(events)) == number
        assert sum(begins(events, [1])) == number
