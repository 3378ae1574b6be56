"""What windows held at every record, against the engine: the same records fire, with the same
values, for rules of one window and of several, and alerts of smaller groups than the windows'."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from test_windows_property import _EVENT, _RULE, BASES, batch, settled, text, timed

from connwatch.detectors.ruleset import Rule, load_rules, match
from connwatch.detectors.sigma.nearest import lacking
from connwatch.detectors.windows.engine import State, correlate
from connwatch.detectors.windows.entity import Entity
from connwatch.detectors.windows.held import Correlated
from connwatch.detectors.windows.trace import inside, nearest, trace
from connwatch.pipeline import bundled_rules


def loaded(folder: Path, rules: list[dict[str, Any]]) -> tuple[Any, list[Correlated]]:
    """A rule set, and the windows of its correlations."""
    documents = [text(rule).replace("Counted", f"Counted {n}") for n, rule in enumerate(rules)]
    (folder / "rules.yml").write_text(BASES + "---\n".join(documents), encoding="utf-8")
    found = load_rules([folder])
    assert not found.errors, found.errors[0]
    return found, list(found.correlated)


def combined(both: list[Correlated], group: tuple[str, ...]) -> Correlated:
    """One rule with the windows of two, whose alerts are grouped otherwise."""
    windows = tuple(window for one in both for window in one.windows)
    return replace(
        both[0], windows=windows, group=group, group_by=tuple(group for _ in both[0].bases)
    )


@settings(max_examples=examples(80))
@given(
    _RULE,
    _RULE,
    st.sampled_from([(), ("source.ip",)]),
    st.booleans(),
    st.lists(_EVENT, min_size=1, max_size=30),
)
def test_the_records_that_fire_are_those_of_the_engine(
    tmp_path_factory: pytest.TempPathFactory,
    one: dict[str, Any],
    other: dict[str, Any],
    group: tuple[str, ...],
    several: bool,
    events: list[dict[str, Any]],
) -> None:
    one = settled(one)
    other = settled({**other, "expression": None, "bases": one["bases"]})
    rules, parts = loaded(tmp_path_factory.mktemp("rules"), [one, other])
    rule = combined(parts, group) if several else parts[0]
    made = batch(timed(events))
    matches = match(rules, made)
    hits = correlate([rule], made, matches, State(), ("event.id",)).hits
    wanted = (
        {
            (row["order"], row["window"], row["value"])
            for row in hits.filter(pl.col("value").is_not_null()).iter_rows(named=True)
        }
        if hits.height
        else set()
    )
    traced = trace([rule], rule.key, made, matches)
    firing = traced.items.filter("fires").sort("record", "window").unique("record", keep="first")
    assert {
        (row["record"], row["window"], row["value"]) for row in firing.iter_rows(named=True)
    } == wanted
    for row in traced.items.filter("closes").iter_rows(named=True):
        strict = rule.windows[row["window"]].condition
        if getattr(strict, "operator", "gte") in ("gte", "lte", "eq", "neq"):
            assert (row["lacking"] <= 0) == row["fires"]


@settings(max_examples=examples(40))
@given(_RULE, st.lists(_EVENT, min_size=1, max_size=30))
def test_an_entity_has_the_groups_that_it_is_in(
    tmp_path_factory: pytest.TempPathFactory, rule: dict[str, Any], events: list[dict[str, Any]]
) -> None:
    """Reading only what `narrowed` keeps, or filtering the groups of everybody, is the same."""
    rules, (counted,) = loaded(tmp_path_factory.mktemp("rules"), [settled(rule)])
    made = batch(timed(events))
    everybody = trace([counted], counted.key, made, match(rules, made))
    for entity in (Entity("10.0.0.1"), Entity(values=(("source.ip", "10.0.0.1"),))):
        condition = entity.narrowed([counted])
        mine = made if condition is None else made.filter(condition)
        traced = trace([counted], counted.key, mine, match(rules, mine), entity)
        own = traced.items["group"].unique()
        if "source.ip" in counted.group:
            concerned = made.with_row_index("record").filter(pl.col("source.ip") == "10.0.0.1")
            wanted = everybody.items.filter(
                pl.col("record").is_in(concerned["record"].cast(pl.Int64).implode())
            )
            assert set(own) == set(wanted["group"])
        kept = everybody.items.filter(pl.col("group").is_in(own.implode()))
        columns = ["group", "base", "connwatch.log_time", "value", "fires", "lacking"]
        assert traced.items.select(columns).equals(kept.select(columns))
        for near in nearest(counted, traced, mine, 0):
            seen = inside(counted, traced, near)
            assert near.record in seen["record"]
            if counted.windows[0].measure == "event_count":
                assert seen.height == near.value


def test_what_a_record_lacks_of_a_rule_is_nothing_where_it_matches(tmp_path: Path) -> None:
    """All bundled rules, and conditions of every form, against a mixed bag of records."""
    ports = (22, 23, 53, 80, 443, 3389, 4444, 6667, 31337, None)
    states = ("S0", "SF", "REJ", "SH", "OTH", None)
    made = batch(
        timed(
            [
                {
                    "gap": 1,
                    "source.ip": "10.0.0.1",
                    "destination.ip": ip,
                    "destination.port": port,
                    "source.bytes": size,
                    "zeek.connection.state": state,
                }
                for ip in ("10.0.0.2", "203.0.113.9", "8.8.8.8")
                for port in ports
                for state in states
                for size in (None, 10, 10**9)
            ]
        )
    )
    (tmp_path / "rules.yml").write_text(
        BASES + "title: Forms\nlogsource: {category: network, service: connection}\n"
        "detection: {a: {destination.port: [22, 80]}, b: {source.bytes|gt: 100}, "
        "c: {zeek.connection.state: S0}, condition: not (a or b) and (1 of b* or not c)}\n",
        encoding="utf-8",
    )
    rules = load_rules([tmp_path, bundled_rules()])
    matches = match(rules, made)
    datasets = {*made["event.dataset"]}
    singles = [r for r in rules.rules if isinstance(r, Rule) and datasets <= r.datasets]
    assert len(singles) > 30
    for rule in singles:
        away = lacking(rule, made)
        assert len(away) == made.height
        hit = matches.filter(pl.col("rule") == rule.key)["row"].sort()
        assert away.eq(0).arg_true().to_list() == hit.to_list(), rule.title


def test_lacking_is_the_number_of_comparisons(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(
        "title: Two of three\nlogsource: {category: network, service: connection}\n"
        "detection: {a: {destination.port: [22, 80]}, b: {source.bytes|gt: 100}, "
        "c: {zeek.connection.state: S0}, condition: (a and b) or (b and not c)}\n",
        encoding="utf-8",
    )
    (rule,) = load_rules([tmp_path]).rules
    cases = [  # port, bytes, state, lacking
        (22, 1000, "SF", 0),
        (22, 10, "SF", 1),
        (443, 1000, "S0", 1),
        (443, 10, "S0", 2),
        (None, None, None, 1),
    ]
    made = batch(
        timed(
            [
                {
                    "gap": 1,
                    "destination.port": port,
                    "source.bytes": size,
                    "zeek.connection.state": state,
                }
                for port, size, state, _ in cases
            ]
        )
    )
    assert lacking(rule, made).to_list() == [case[-1] for case in cases]
