"""A rule about one record that asks for what no record has alone is met by a connection."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import ROOT
from support import ordered
from test_witnesses import COUNT, frame, record

from connwatch.carried import save, taken_up
from connwatch.detection import Detection
from connwatch.detectors.indicators import Lists
from connwatch.detectors.ruleset import Rule, RuleSet, load_rules
from connwatch.detectors.witnesses.flows import Flows
from connwatch.detectors.witnesses.told import apart, mixes, tells
from connwatch.detectors.witnesses.united import Uniting
from connwatch.ingest.enrich import enrich
from connwatch.pipeline import bundled_rules

#: one witness of a connection: its name, and what it says
Witness = tuple[str, dict[str, Any]]

TABLE = {"socket.role": "client", "socket.snapshot.id": "1"}
ZEEK, DUMP, SOCKET = "zeek.connection", "tcpdump.connection", "ss.connection"


def rule(detection: str, logsource: str = "{category: network, service: connection}") -> str:
    return f"title: Mixed\nname: any\nlogsource: {logsource}\ndetection: {detection}\n"


def loaded(text: str, folder: Path) -> RuleSet:
    (folder / "rule.yml").write_text(text, encoding="utf-8")
    found = load_rules([folder / "rule.yml"])
    assert not found.errors
    assert not found.unfed
    return found


def told(witnesses: Sequence[Witness], *, apart: float = 0.0, port: int = 40_000) -> pl.DataFrame:
    """Witnesses of one connection, in this order; apart: seconds from one to the next."""
    records = []
    for number, (dataset, said) in enumerate(witnesses):
        begin = number * apart
        made = record(dataset, begin, begin + 3, port=port, written=begin + 3 + number, **said)
        records.append(made | {"event.id": f"{port}/{number}"})
    return frame([one | (TABLE if one["event.dataset"] == SOCKET else {}) for one in records])


def hits(
    rules: RuleSet, events: pl.DataFrame, cuts: Sequence[int] = (), state: Path | None = None
) -> list[str]:
    """The events that a rule hit; what is known is saved and taken up again at every cut, if that
    has a place."""
    detection, found = Detection(rules), list[str]()
    bounds = [0, *sorted(cut for cut in cuts if cut < events.height), events.height]
    for low, high in itertools.pairwise(bounds):
        found.extend(detection.step(events.slice(low, high - low)).hits["event.id"])
        if state is not None:
            save(detection, state)
            detection = Detection(rules)
            taken_up(detection, state)
    return found


HTTP = {"zeek.connection.service": "http"}
TLS = {"zeek.connection.service": "ssl"}
CURL = {"process.name": "curl"}
MANY, FEW = {"source.packets": 9}, {"source.packets": 1}
BOTH = "{a: {zeek.connection.service: http}, b: {process.name: curl}, condition: a and b}"
THREE = (
    "{a: {zeek.connection.service: http}, b: {process.name: curl}, c: {source.packets|gt: 5},"
    " condition: CONDITION}"
)
LOOKED = (
    "{a: {zeek.connection.service: http}, b: {process.name: curl},"
    " c: {event.dataset: zeek.connection}, condition: b and c and not a}"
)
NULL = (
    "{a: {zeek.connection.service: null}, b: {process.name: curl}, c: {source.packets|gt: 5},"
    " condition: all of them}"
)


@dataclass(frozen=True)
class Case:
    """Witnesses in an order, and the place of the one that is the hit (None: none is)."""

    name: str
    detection: str
    witnesses: list[Witness]
    hit: int | None


def three(condition: str) -> str:
    return THREE.replace("CONDITION", condition)


CASES = [
    Case("the table last", BOTH, [(ZEEK, HTTP), (SOCKET, CURL)], 1),
    Case("the table first", BOTH, [(SOCKET, CURL), (ZEEK, HTTP)], 1),
    Case("another witness between", BOTH, [(SOCKET, CURL), (DUMP, MANY), (ZEEK, HTTP)], 2),
    Case("another witness behind", BOTH, [(SOCKET, CURL), (ZEEK, HTTP), (DUMP, MANY)], 1),
    Case("another process", BOTH, [(ZEEK, HTTP), (SOCKET, {"process.name": "wget"})], None),
    Case("nobody shows a process", BOTH, [(ZEEK, HTTP), (SOCKET, {}), (DUMP, MANY)], None),
    Case("one witness", BOTH, [(ZEEK, HTTP)], None),
    Case(
        "three, each with a field",
        three("a and b and c"),
        [(ZEEK, HTTP | FEW), (SOCKET, CURL), (DUMP, MANY)],
        2,
    ),
    Case("two of three", three("a and b and c"), [(ZEEK, HTTP | FEW), (SOCKET, CURL)], None),
    Case("or of what is not there", three("a and (b or c)"), [(ZEEK, HTTP), (SOCKET, CURL)], 1),
    Case("one record is enough", three("b or (a and c)"), [(ZEEK, HTTP), (SOCKET, CURL)], 1),
    Case("1 of them", three("1 of them"), [(ZEEK, FEW), (DUMP, MANY), (SOCKET, CURL)], 1),
    Case(
        "a report of a connection that goes on says it first",
        BOTH,
        [("zeek.conn_long", HTTP), (SOCKET, CURL), (ZEEK, HTTP)],
        1,
    ),
    Case("denied by who can tell", three("b and c and not a"), [(DUMP, MANY), (SOCKET, CURL), (ZEEK, TLS)], 2),
    Case("not denied", three("b and c and not a"), [(ZEEK, HTTP), (DUMP, MANY), (SOCKET, CURL)], None),
    Case("nobody can tell", three("b and c and not a"), [(DUMP, MANY), (SOCKET, CURL)], None),
    Case("denied by no service at all", three("b and c and not a"), [(ZEEK, {}), (DUMP, MANY), (SOCKET, CURL)], 2),
    Case("not of several", three("c and not (a or b)"), [(DUMP, MANY), (ZEEK, TLS), (SOCKET, {})], 0),
    Case("not not", three("b and not (not a)"), [(SOCKET, CURL), (ZEEK, HTTP)], 1),
    Case("not of all", three("b and not (a and c)"), [(SOCKET, CURL)], 0),
    Case("a table denies what it does not know", three("b and not a"), [(ZEEK, HTTP), (SOCKET, CURL)], 1),
    Case("Zeek must have looked", LOOKED, [(ZEEK, HTTP), (SOCKET, CURL)], None),
    Case("Zeek has looked", LOOKED, [(SOCKET, CURL), (ZEEK, TLS)], 1),
    Case("nobody has looked", LOOKED, [(SOCKET, CURL), (DUMP, MANY)], None),
    Case("null where it could be", NULL, [(DUMP, MANY), (SOCKET, CURL), (ZEEK, {})], 2),
    Case("null where it cannot be", NULL, [(DUMP, MANY), (SOCKET, CURL)], None),
    Case("not null", NULL, [(DUMP, MANY), (SOCKET, CURL), (ZEEK, HTTP)], None),
    Case(
        "what the same records tell is asked of one of them",
        "{a: {source.packets|gt: 5, destination.packets: 1}, b: {process.name: curl}, condition: a and b}",
        [(ZEEK, MANY | {"destination.packets": 4}), (DUMP, FEW | {"destination.packets": 1}), (SOCKET, CURL)],
        None,
    ),
    Case(
        "and of one of them",
        "{a: {source.packets|gt: 5}, c: {destination.packets: 1}, b: {process.name: curl}, condition: (a and b) and c}",
        [(SOCKET, CURL), (ZEEK, FEW), (DUMP, MANY | {"destination.packets": 1})],
        2,
    ),
    Case(
        "a port that all tell",
        "{a: {destination.port: 443, zeek.connection.service: http}, b: {process.name|startswith: cu}, condition: a and b}",
        [(SOCKET, CURL), (ZEEK, HTTP)],
        1,
    ),
    Case(
        "a word anywhere",
        "{a: [http], b: {process.name: curl}, c: {source.packets|gt: 5}, condition: all of them}",
        [(ZEEK, HTTP), (DUMP, MANY), (SOCKET, CURL)],
        2,
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_a_condition_is_met_by_the_record_that_completes_it(case: Case, tmp_path: Path) -> None:
    rules, events = loaded(rule(case.detection), tmp_path), told(case.witnesses)
    expected = [] if case.hit is None else [f"40000/{case.hit}"]
    for cuts in ([], range(1, events.height), [events.height - 1]):
        assert hits(rules, events, cuts) == expected
        assert hits(rules, events, cuts, tmp_path / "state") == expected


def test_who_tells_first_does_not_matter(tmp_path: Path) -> None:
    for case in CASES:
        rules = loaded(rule(case.detection), tmp_path)
        for order in itertools.permutations(case.witnesses):
            assert len(hits(rules, told(order))) == (case.hit is not None), (case.name, order)


def test_what_was_said_of_another_connection_does_not_count(tmp_path: Path) -> None:
    rules = loaded(rule(BOTH), tmp_path)
    both: list[Witness] = [(ZEEK, HTTP), (SOCKET, CURL)]
    assert hits(rules, told(both, apart=60)) == ["40000/1"]
    assert hits(rules, told(both, apart=3_600)) == [], "apart in time"
    other_port = pl.concat([told(both[:1]), told(both[1:], port=5)])
    assert hits(rules, other_port.sort("connwatch.log_time")) == []


@pytest.mark.parametrize("second", [HTTP, TLS])
def test_each_use_of_a_port_is_judged_by_what_was_said_of_it(
    second: dict[str, str], tmp_path: Path
) -> None:
    """The table that shows the second connection is ten minutes from the first, and nearest to the
    second."""
    events = frame(
        [
            record(ZEEK, 0, 2, **HTTP),
            record(SOCKET, 5_001, 5_001, **TABLE, **CURL),
            record(ZEEK, 5_000, 5_002, **second),
        ]
    )
    for cuts in ([], [1], [2], [1, 2]):
        found = hits(loaded(rule(BOTH), tmp_path), events, cuts, tmp_path / "state")
        assert found == ([events["event.id"][2]] if second is HTTP else [])


def test_a_rule_hits_a_connection_once(tmp_path: Path) -> None:
    rules = loaded(rule(three("b or (a and c)")), tmp_path)
    every: list[Witness] = [
        (ZEEK, HTTP),
        (DUMP, MANY),
        (SOCKET, CURL),
        (ZEEK + "", HTTP | {"observer.name": "b"}),
    ]
    for order in itertools.permutations(every):
        for cuts in ([], [1, 2, 3]):
            assert len(hits(rules, told(order), cuts)) == 1


def test_the_alert_is_one_and_counts_one(tmp_path: Path) -> None:
    detection = Detection(loaded(rule(BOTH), tmp_path))
    events = told([(ZEEK, HTTP), (SOCKET, CURL), (DUMP, MANY)])
    (alert,) = (one.document() for one in detection.written(detection.step(events).touched))
    assert alert["connwatch"]["count"] == 1
    assert [one["event.id"] for one in alert["connwatch"]["evidence"]] == ["40000/1"]


def test_a_product_in_the_log_source_binds_a_rule_to_its_records(tmp_path: Path) -> None:
    events = told([(ZEEK, HTTP), (SOCKET, CURL)])
    for source, number in (
        ("{category: network}", 1),
        ("{product: zeek, service: conn}", 0),
        ("{product: linux, category: network_connection}", 0),
    ):
        assert len(hits(loaded(rule(BOTH, source), tmp_path), events)) == number


def test_windows_count_records_that_meet_a_rule_by_themselves(tmp_path: Path) -> None:
    events = told([(ZEEK, HTTP), (SOCKET, CURL)])
    base = rule(BOTH)
    window = COUNT.partition("---\n")[2]
    assert hits(loaded(f"{base}---\n{window}", tmp_path), events) == []
    # one that alerts by itself, too, does so for the connection
    both = window.replace("correlation: {", "correlation: {generate: true, ")
    assert hits(loaded(f"{base}---\n{both}", tmp_path), events) == ["40000/1"]


def test_records_on_the_allow_list_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "allow.txt").write_text("192.0.2.77\n", encoding="utf-8")
    rules = loaded(rule(BOTH), tmp_path)
    events = told([(ZEEK, HTTP), (SOCKET, CURL)])
    allow = Lists([tmp_path / "allow.txt"])
    assert Detection(rules, allow).step(events).hits.height == 1
    at = pl.Series([True, False])
    address = pl.when(at).then(pl.lit("192.0.2.77")).otherwise("source.ip").alias("source.ip")
    found = Detection(rules, allow).step(events.with_columns(address))
    assert (found.hits.height, found.allowed) == (0, 1)


def test_records_that_came_too_late_for_windows_take_part(tmp_path: Path) -> None:
    detection = Detection(loaded(rule(BOTH), tmp_path))
    events = told([(ZEEK, HTTP), (SOCKET, CURL)])
    detection.step(events.head(1))
    assert detection.step(events.tail(1), late=True).hits.height == 1


# -- which rules are asked, and what it costs -----------------------------------------------------


@pytest.mark.parametrize(
    ("detection", "asked"),
    [
        (BOTH, True),
        (three("a and b and c"), True),
        (three("a and c"), False),
        (three("a or b"), False),
        (three("c and (a or b)"), True),
        (three("c or not (a or b)"), True),
        ("{a: {destination.port: 4444, process.name: nc}, condition: a}", False),
        ("{a: [curl, wget], b: {process.name: curl}, condition: a and b}", False),
    ],
)
def test_rules_that_one_kind_of_record_can_meet_are_not_asked_again(
    detection: str, asked: bool, tmp_path: Path
) -> None:
    rules = loaded(rule(detection), tmp_path)
    (one,) = rules.running
    assert isinstance(one, Rule)
    assert mixes(apart(one.node, one.datasets)) is asked
    assert bool(Uniting(rules)) is asked


def test_bundled_rules_are_not_asked_again() -> None:
    assert not Uniting(load_rules([bundled_rules()]))


def test_nothing_is_noted_for_rules_that_are_not_asked_again(tmp_path: Path) -> None:
    events = told([(ZEEK, HTTP), (SOCKET, CURL)])
    for detection, places in ((three("a or b"), 1), (BOTH, 3)):
        one = Detection(loaded(rule(detection), tmp_path))
        one.step(events)
        assert len(one.flows.places) == places


def test_what_was_said_leaves_with_the_connection(tmp_path: Path) -> None:
    rules = loaded(rule(BOTH), tmp_path)
    detection = Detection(rules)
    for port in range(50):
        detection.step(told([(ZEEK, HTTP)], port=port))
    assert detection.flows.counted.shape == (50, 1)
    later = record(ZEEK, 90_000, 90_001, port=99)
    detection.step(frame([later]))
    assert detection.flows.counted.shape == (1, 1)


def test_an_edited_rule_begins_anew(tmp_path: Path) -> None:
    events = told([(ZEEK, HTTP), (SOCKET, CURL)])
    before = Detection(loaded(rule(BOTH.replace("http", "'*t*'")), tmp_path))
    before.step(events.head(1))
    save(before, tmp_path / "state")
    for detection, number in ((BOTH.replace("http", "'*t*'"), 1), (BOTH, 0)):
        after = Detection(loaded(rule(detection), tmp_path))
        taken_up(after, tmp_path / "state")
        assert isinstance(after.flows, Flows)
        assert after.step(events.tail(1)).hits.height == number


def test_records_have_no_more_than_their_kind_can_tell() -> None:
    """Of the sample logs: else a test would be made of too few records."""
    events = enrich(ordered([ROOT / "sample_logs"])[0], None)
    datasets = next(one.datasets for one in load_rules([bundled_rules()]).running)
    found = events.filter(pl.col("event.dataset").is_in(sorted(datasets)))
    parts = found.partition_by("event.dataset", as_dict=True)
    assert len(parts) == 3
    for (dataset,), part in parts.items():
        filled = [name for name in part.columns if part[name].null_count() < part.height]
        assert [name for name in filled if not tells(str(dataset), name)] == []
