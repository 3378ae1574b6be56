"""Labelled events, hits and alerts to counts: a small case, every number worked out by hand.

T0 is 10:00; events are (minute, originator, label).

e1   0 A bad    e2  10 A bad    e3  20 A good   e4  70 A bad
e5   5 B bad    e6  15 C good   e7  25 C good   e8  30 D -
e9  90 C good

alert a1: rule R, group A, lists e2 and e3      true, 10:10 to 10:20
alert a2: rule R, group A, lists e4             true, 11:10
alert a3: rule S, group C, lists e6, e8         false, 10:15 to 10:30
alert a4: rule S, group D, lists e8             not labelled
alert a5: rule L (low), group B, lists e5       below the level
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import ROOT
from support import replayed

from connwatch.contracts import HIT_SCHEMA
from connwatch.detectors.ruleset import load_rules
from connwatch.evaluate.labels import LABELLED
from connwatch.evaluate.metrics import AlertCounts, Counts, Detection
from connwatch.evaluate.score import Evaluation, Scored, alert_frame, evaluate, listing
from connwatch.sinks.embedded import StoreReader

T0 = datetime(2026, 11, 21, 10, tzinfo=UTC)
A, B, C, D = "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"
EVENTS = [
    ("e1", 0, A, "bad"), ("e2", 10, A, "bad"), ("e3", 20, A, "good"), ("e4", 70, A, "bad"),
    ("e5", 5, B, "bad"), ("e6", 15, C, "good"), ("e7", 25, C, "good"), ("e8", 30, D, None),
    ("e9", 90, C, "good"),
]  # fmt: skip


def at(minute: float) -> datetime:
    return T0 + timedelta(minutes=minute)


def events(rows: list[tuple[str, float, str, str | None]] = EVENTS) -> pl.DataFrame:
    return pl.DataFrame(
        [
            (name, at(m), at(m), ip, label, None, None if label is None else label == "bad")
            for name, m, ip, label in rows
        ],
        schema=LABELLED,
        orient="row",
    )


def hits(*rows: tuple[str, str, str, float]) -> pl.DataFrame:
    """rule, group's address, event, minute of log time."""
    return pl.DataFrame(
        [(rule, group, event, at(minute), at(minute)) for rule, group, event, minute in rows],
        schema=HIT_SCHEMA,
        orient="row",
    )


def alert(
    name: str, rule: str, ip: str, first: float, last: float, level: str = "medium", **more: Any
) -> dict[str, Any]:
    return {
        "event": {"id": name, "start": at(first).isoformat(), "end": at(last).isoformat()},
        "rule": {"name": f"rule {rule}"},
        "connwatch": {
            "level": level,
            "group": {"source.ip": ip},
            "key": {"rule": rule, "group": ip, "suppress_us": 0},
        },
        **more,
    }


HITS = hits(
    ("R", A, "e2", 10), ("R", A, "e3", 20), ("R", A, "e4", 70), ("S", C, "e6", 15),
    ("S", C, "e8", 30), ("S", D, "e8", 30), ("L", B, "e5", 5),
)  # fmt: skip
ALERTS = [
    alert("a1", "R", A, 10, 20),
    alert("a2", "R", A, 70, 70, "high"),
    alert("a3", "S", C, 15, 30),
    alert("a4", "S", D, 30, 30),
    alert("a5", "L", B, 5, 5, "low"),
]
RULES = {"R": ("rule R", "medium"), "S": ("rule S", "medium"), "L": ("rule L", "low")}


def scored(level: str = "medium") -> Evaluation:
    return evaluate(events(), HITS, ALERTS, level, RULES)


def rule(evaluation: Evaluation, key: str) -> Scored:
    (one,) = [one for one in evaluation.rules if one.key == key]
    return one


def test_what_the_labels_say() -> None:
    found = scored()
    assert (found.events, found.malicious, found.benign, found.unlabelled) == (9, 4, 4, 1)
    assert (found.first, found.last) == (at(0), at(90))
    assert found.days == pytest.approx(90 / 1440)


def test_flows() -> None:
    """Flagged are e2, e3, e4, e6 and e8, which has no label."""
    found = scored()
    assert found.overall.flows == Counts(2, 2, 2, 2)
    assert rule(found, "R").flows == Counts(2, 1, 2, 3)
    assert rule(found, "S").flows == Counts(0, 1, 4, 3)


def test_entities_per_hour() -> None:
    """Malicious: A at 10, A at 11, B at 10. Benign: C at 10, C at 11. D has no label."""
    found = scored()
    assert found.overall.entities == Counts(2, 1, 1, 1)
    assert rule(found, "R").entities == Counts(2, 0, 1, 2)
    assert rule(found, "S").entities == Counts(0, 1, 3, 1)
    assert found.outside == 1


def test_alerts() -> None:
    found = scored()
    assert found.overall.alerts == AlertCounts(2, 1, 1, actors=2, found=1, innocent=1, blamed=1)
    assert rule(found, "R").alerts == AlertCounts(2, 0, 0, actors=2, found=1, innocent=1, blamed=0)
    assert rule(found, "S").alerts == AlertCounts(0, 1, 1, actors=2, found=0, innocent=1, blamed=1)
    assert found.overall.alerts_per_day == pytest.approx(4 * 16)
    assert found.overall.false_per_day == pytest.approx(1 * 16)


def test_time_to_detect_runs_from_the_first_malicious_flow_to_the_first_hit_on_one() -> None:
    found = scored()
    assert found.overall.detection == Detection(entities=2, detected=1, p50=600.0, p95=600.0)
    assert found.missed == ((B, 1),)
    both = scored("low")
    assert both.overall.detection.p50 == pytest.approx(300.0)  # B at once, A after 600 s
    assert both.overall.detection.p95 == pytest.approx(570.0)
    assert both.missed == ()


def test_the_level_decides_which_alerts_flag() -> None:
    assert scored("low").overall.flows == Counts(3, 2, 1, 2)
    high = scored("high")
    assert high.overall.flows == Counts(1, 0, 3, 4)
    assert [one.key for one in high.rules] == ["R"]  # its alert is high, whatever the rule says
    assert scored("critical").overall.alerts.precision.value is None


def test_a_hit_on_a_benign_flow_detects_nothing() -> None:
    """An alert that was open on C before its first malicious flow, and lists that one later."""
    rows = [("x1", 0.0, C, "good"), ("x2", 10.0, C, "bad"), ("x3", 12.0, C, "good")]
    rows += [("x4", 15.0, C, "bad")]
    found = evaluate(
        events(rows),  # type: ignore[arg-type]
        hits(("R", C, "x1", 0), ("R", C, "x3", 12), ("R", C, "x4", 15)),
        [alert("a", "R", C, 0, 15)],
        "medium",
        {},
    )
    assert found.overall.detection == Detection(1, 1, 300.0, 300.0)


def test_an_alert_without_an_originator_blames_those_of_its_events() -> None:
    """A flood from A and B on one service, grouped by the service."""
    one = alert("f", "F", "10.9.9.9", 0, 5)
    one["connwatch"]["group"] = {"destination.ip": "10.9.9.9"}
    found = evaluate(
        events(), hits(("F", "10.9.9.9", "e1", 0), ("F", "10.9.9.9", "e5", 5)), [one], "low", {}
    )
    assert found.overall.entities == Counts(2, 0, 1, 2)
    assert found.overall.alerts.found == 2


def test_an_alert_may_blame_another_than_the_originators_of_its_events() -> None:
    """What B's flow shows is A's doing, says the alert: A is found, B is not."""
    one = alert("v", "V", "v", 20, 20)
    one["connwatch"]["group"] = {}
    one["source"] = {"ip": A}
    found = evaluate(events(), hits(("V", "v", "e5", 20)), [one], "low", {})
    assert found.overall.flows == Counts(1, 0, 3, 4)
    assert found.overall.entities == Counts(1, 0, 2, 2)
    assert found.missed == ((B, 1),)


def test_labels_are_counted_one_by_one() -> None:
    bad, good = scored().labels
    assert (bad.label, bad.malicious, bad.events, bad.count) == ("bad", True, 4, 2)
    assert (good.label, good.malicious, good.events, good.count) == ("good", False, 4, 2)


def test_nothing_read_and_nothing_said() -> None:
    found = evaluate(events([]), hits(), [], "medium", RULES)
    assert found.overall.flows == Counts(0, 0, 0, 0)
    assert found.overall.alerts_per_day is None
    assert found.overall.detection == Detection(0, 0, None, None)
    assert {one.key for one in found.rules} == {"R", "S"}


@pytest.mark.source
def test_an_alert_lists_what_the_store_says_it_lists(tmp_path: Path) -> None:
    """The join of all alerts at once is `StoreReader.alert_events` of each."""
    logs = [ROOT / "sample_logs" / "incident" / "conn.log"]
    replayed(logs, tmp_path / "store", load_rules([ROOT / "rules" / "network"]))
    with StoreReader(tmp_path / "store") as reader:
        alerts = reader.alerts()
        listed = listing(reader.hits().collect(), alert_frame(alerts))
        assert len(alerts) > 5
        for one in alerts:
            name = one["event"]["id"]
            wanted = reader.alert_events(name).collect()["event.id"].to_list()
            got = listed.filter(pl.col("alert") == name)["event.id"].to_list()
            assert sorted(got) == sorted(wanted)
