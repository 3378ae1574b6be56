"""`connwatch explain` of how close an address came, against cases worked out by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from explaining import (
    DOOR,
    FLOWS,
    SCAN,
    SYN,
    about,
    filled,
    flow,
)


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONNWATCH_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


# -- a near miss --------------------------------------------------------------------------------


def test_how_close_an_address_came(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = filled(tmp_path, capsys, SYN, SCAN)
    text = about(capsys, rules, "ports", "10.0.0.2")
    assert "records      5 concern it\n" in text
    assert "result       did not fire\n" in text
    assert "counted      No answer: 5 records match\n" in text
    assert "left out     1 of them have no value: destination.port in 1\n" in text
    assert (
        "largest: 3 of 4 different destination.port within 35s, at 2023-11-14 22:13:40; "
        "1 more was needed\n"
    ) in text
    assert ">= 4 is █\n" in text


def test_an_address_that_did_fire(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = filled(tmp_path, capsys, SYN, SCAN)
    text = about(capsys, rules, "ports", "10.0.0.1")
    assert "result       fired, first at 2023-11-14 22:13:50\n" in text
    assert "it held at 2 of its 5 records, first at 2023-11-14 22:13:50" in text


def test_the_span_is_log_time_and_windows_reach_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = filled(tmp_path, capsys, SYN, SCAN)
    late = ("--from", "2023-11-14T22:13:45Z", "--to", "2023-11-14T22:14:00Z")
    text = about(capsys, rules, "ports", "10.0.0.1", *late)
    assert "records      1 concern it\n" in text
    assert "largest: 4 different destination.port" in text
    early = about(capsys, rules, "ports", "10.0.0.1", "--to", "2023-11-14T22:13:50Z")
    assert "largest: 3 of 4" in early


def test_groups_are_told_the_closest_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seven hosts, of which the nth is asked for n ports; the first has the least."""
    flows = [
        flow(n, "10.0.0.1", port, **{"id.resp_h": f"192.0.2.{n}"})
        for n in range(1, 8)
        for port in range(1, n + 1)
    ]
    scan = SCAN.replace("[source.ip]", "[source.ip, destination.ip]").replace("gte: 4", "gte: 9")
    rules = filled(tmp_path, capsys, SYN, scan, flows=flows)
    found = json.loads(about(capsys, rules, "ports", "10.0.0.1", "--format", "json"))
    (window,) = found["windows"]
    assert [one["group"]["destination.ip"][-1] for one in window["groups"]] == list("76543")
    assert [one["lacking"] for one in window["groups"]][:2] == [
        "2 more were needed",
        "3 more were needed",
    ]
    assert (window["groups_in_all"], window["groups_fired"]) == (7, 0)
    assert "and 2 groups that came less close" in about(capsys, rules, "ports", "10.0.0.1")
    one = json.loads(about(capsys, rules, "ports", "destination.ip=192.0.2.3", "--format", "json"))
    assert [group["value"] for group in one["windows"][0]["groups"]] == [3]


def test_an_address_that_only_others_groups_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """192.0.2.8 is no source: by its name it has no group, as a field it has that of 10.0.0.3."""
    rules = filled(tmp_path, capsys, SYN, SCAN)
    text = about(capsys, rules, "ports", "192.0.2.8")
    assert "groups       none: no record of the entity is counted" in text
    text = about(capsys, rules, "ports", "destination.ip=192.0.2.8")
    assert "group        source.ip 10.0.0.3\n" in text
    assert "largest: 1 of 4 different destination.port" in text


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("{gt: 4}", "largest: 2 records within 5s, at 2023-11-14 22:13:44; 3 more were needed"),
        ("{lt: 1}", "smallest: 1 record within 5s, at 2023-11-14 22:13:20; 1 too many"),
        ("{eq: 7}", "nearest: 2 records within 5s, at 2023-11-14 22:13:44; exactly 7 was needed"),
    ],
)
def test_other_comparisons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], condition: str, said: str
) -> None:
    count = (
        "title: Count\ncorrelation: {type: event_count, rules: [syn], group-by: [source.ip], "
        f"timespan: 5s, condition: {condition}}}\n"
    )
    flows = [line for line in FLOWS if "10.0.0.2" in line and "icmp" not in line]
    flows.append(flow(24, "10.0.0.2", 9))
    rules = filled(tmp_path, capsys, SYN, count, flows=flows)
    assert said in about(capsys, rules, "Count", "10.0.0.2")


def test_a_number_has_its_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    total = (
        "title: Long\ncorrelation: {type: value_sum, rules: [syn], group-by: [source.ip], "
        "timespan: 1h, condition: {gte: 60, field: duration}}\n"
    )
    flows = [flow(n, "10.0.0.1", 1, duration="12.5") for n in (0, 100)] + FLOWS[:1]
    rules = filled(tmp_path, capsys, SYN, total, flows=flows)
    text = about(capsys, rules, "Long", "10.0.0.1")
    assert "sum of event.duration >= 60 s within 1h, for each source.ip" in text
    assert "largest: sum of event.duration 25 s of 60 s within 1h" in text
    assert "35 s more were needed" in text
    assert "left out     1 of them have no value: event.duration in 1\n" in text


def test_rules_that_were_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = (
        "title: Both\ncorrelation: {type: temporal, rules: [syn, door], group-by: [source.ip], "
        "timespan: 30s, condition: syn and door}\n"
    )
    rules = filled(tmp_path, capsys, SYN, DOOR, both)
    assert "nearest: syn there within 30s, at 2023-11-14 22:13:20; not there: door" in about(
        capsys, rules, "Both", "10.0.0.2"
    )
    assert "result       fired, first at 2023-11-14 22:13:27" in about(
        capsys, rules, "Both", "10.0.0.3"
    )
    counted = both.replace("condition: syn and door", "condition: {gte: 2}")
    rules.write_text("---\n".join((SYN, DOOR, counted)))
    text = about(capsys, rules, "Both", "10.0.0.2")
    assert "largest: 1 of 2 rules of (syn, door) within 30s" in text
    assert "1 more was needed (there: syn; not there: door)" in text
    ordered = both.replace("temporal,", "temporal_ordered,")
    rules.write_text("---\n".join((SYN, DOOR, ordered)))
    # the door came first
    assert "all are there, in another order" in about(capsys, rules, "Both", "10.0.0.3")


def test_the_nearest_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules = filled(tmp_path, capsys, DOOR)
    text = about(capsys, rules, "door", "10.0.0.2")
    assert "records      5 concern it\n" in text
    assert "none matches; the nearest lacks 2 comparisons (as 4 others)" in text
    assert "no value     destination.port: 1 of 5 records" in text
    text = about(capsys, rules, "door", "10.0.0.9")
    assert "the nearest lacks 1 comparison\n" in text
    assert "nearest      2023-11-14 22:23:20  10.0.0.9 port 14291 -> 192.0.2.9 port 80" in text
    assert re.search(r"false .*\[destination\.port = 80\]", text)
    assert re.search(r"true .*\[zeek\.connection\.state = SF\]", text)
    assert "1 match, since 2023-11-14 22:13:26" in about(capsys, rules, "door", "10.0.0.3")


def test_alternatives_that_come_out_alike_stand_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ports = ", ".join(map(str, range(1, 31)))
    rules = filled(tmp_path, capsys, DOOR.replace("31337", f"[{ports}]"))
    text = about(capsys, rules, "door", "10.0.0.9")
    assert "destination.port is 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 and 18 more   [" in text
    found = json.loads(about(capsys, rules, "door", "10.0.0.9", "--format", "json"))
    assert len(found["nearest"]["parts"]) > 30


def test_what_a_window_counts_lacks_in_turn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """10.0.0.9 has no record that the rule counts; why not is a question about that rule."""
    rules = filled(tmp_path, capsys, SYN, SCAN)
    text = about(capsys, rules, "ports", "10.0.0.9")
    assert "of No answer:\n" in text
    assert re.search(r"false .*\[zeek\.connection\.state = SF\]", text)


def test_a_correlation_of_correlations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`ports` fires at two records of 10.0.0.1 (30 s, 40 s) and at none of 10.0.0.2."""
    twice = (
        "title: Twice\ncorrelation: {type: event_count, rules: [ports], group-by: [source.ip], "
        "timespan: 1h, condition: {gte: 3}}\n"
    )
    rules = filled(tmp_path, capsys, SYN, SCAN, twice)
    text = about(capsys, rules, "Twice", "10.0.0.1")
    assert "counted      Ports: 2 records match\n" in text
    assert "largest: 2 of 3 records within 1h, at 2023-11-14 22:14:00; 1 more was needed" in text
    text = about(capsys, rules, "Twice", "10.0.0.2")
    assert "of Ports:\n  it did not fire for these records: explain that rule" in text
