"""What windows held at every record, against the engine: the same records fire, with the same
values, for rules of one window and of several, and alerts of smaller groups than the windows'."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_windows_property import _EVENT, _RULE, BASES, batch, settled, text, timed

from connwatch.detectors.ruleset import load_rules, match
from connwatch.detectors.windows.engine import Correlated, State, correlate
from connwatch.detectors.windows.entity import Entity
from connwatch.detectors.windows.trace import inside, nearest, trace


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


@settings(max_examples=80, deadline=None)
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


@settings(max_examples=40, deadline=None)
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
