"""Correlations against a reference that walks over all records for each one: hits, alerts, values,
for random rules, records with ties in time, and batches."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from windows_reference import STATES, reference, settled, text

from connwatch.detectors import fold
from connwatch.detectors.alerts import documents
from connwatch.detectors.cases import frame
from connwatch.detectors.ruleset import load_rules, match
from connwatch.detectors.windows import engine, prospects, records, spec
from connwatch.detectors.windows.engine import State, correlate
from connwatch.schema import UTC

SECOND = 1_000_000
BASES = """title: Base A
name: base_a
logsource: {category: network, service: connection}
detection: {s: {zeek.connection.state: [S0, SF]}, condition: s}
---
title: Base B
name: base_b
logsource: {category: network, service: connection}
detection: {s: {zeek.connection.state: [SF, REJ]}, condition: s}
---
title: Base C
name: base_c
logsource: {category: network, service: connection}
detection: {s: {zeek.connection.state: OTH}, condition: s}
---
"""

_EVENT = st.fixed_dictionaries(
    {
        "gap": st.sampled_from([0, 0, 1, 2, 5, 9]),
        "source.ip": st.sampled_from(["10.0.0.1", "10.0.0.2"]),
        "destination.ip": st.sampled_from(["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
        "destination.port": st.sampled_from([22, 80, 443, None]),
        "source.bytes": st.sampled_from([0, 10, 25, 1000, None]),
        "zeek.connection.state": st.sampled_from(["S0", "SF", "REJ", "OTH", None]),
    }
)
_COUNTED = st.one_of(
    st.just(("event_count", None, None)),
    st.tuples(
        st.just("value_count"),
        st.sampled_from(
            ["destination.ip", "destination.port", ["destination.ip", "destination.port"]]
        ),
        st.none(),
    ),
    st.tuples(
        st.sampled_from(["value_sum", "value_avg", "value_median"]),
        st.just("source.bytes"),
        st.none(),
    ),
    st.tuples(st.just("value_percentile"), st.just("source.bytes"), st.sampled_from([10, 75, 90])),
    st.tuples(st.sampled_from(["temporal", "temporal_ordered"]), st.none(), st.none()),
)
_EXPRESSION = st.recursive(
    st.sampled_from(["base_a", "base_b", "base_c"]),
    lambda inner: st.one_of(
        inner.map(lambda one: ("not", one)),
        st.tuples(st.sampled_from(["and", "or"]), inner, inner),
    ),
    max_leaves=4,
)
_RULE = st.fixed_dictionaries(
    {
        "counted": _COUNTED,
        "expression": st.none() | _EXPRESSION,
        "bases": st.lists(st.sampled_from(list(STATES)), min_size=1, max_size=3, unique=True),
        "group": st.sampled_from([[], ["source.ip"], ["source.ip", "destination.port"]]),
        "timespan": st.sampled_from([1, 3, 10, 40]),
        "operator": st.sampled_from(["gte", "gte", "gt", "lt", "lte", "eq", "neq"]),
        "number": st.sampled_from([1, 2, 3, 30]),
        "longer": st.sampled_from([0, 7]),
    }
)


# -- the comparison ---------------------------------------------------------------------------


def batch(events: list[dict[str, Any]]) -> pl.DataFrame:
    made = frame(
        [{k: v for k, v in event.items() if k not in ("gap", "time", "id")} for event in events]
    )
    times = pl.Series([event["time"] * SECOND for event in events], dtype=pl.Int64).cast(UTC)
    return made.with_columns(
        times.alias("connwatch.log_time"),
        times.alias("@timestamp"),
        pl.Series("event.id", [f"{event['id']:032x}" for event in events]),
    )


def found_by(rules: Any, events: list[dict[str, Any]], cuts: list[int]) -> list[dict[str, Any]]:
    state, open_alerts = State(), fold.begin()
    newest: dict[str, Any] = {}
    listed: dict[str, list[int]] = {}
    edges = sorted({0, len(events), *(c for c in cuts if c < len(events))})
    for start, end in pairwise(edges):
        events_here = batch(events[start:end])
        matches = match(rules, events_here)
        found = correlate(rules.correlated, events_here, matches, state, fold.EVIDENCE)
        state = found.state
        folded = fold.fold(events_here, matches, rules.foldings, open_alerts, found)
        open_alerts = folded.state
        for document in documents(folded.alerts, rules.by_key):
            newest[document["event"]["id"]] = document
        for hit in folded.hits.iter_rows(named=True):
            listed.setdefault(hit["rule"] + hit["group"], []).append(int(hit["event.id"], 16))
    for ids in listed.values():
        assert len(ids) == len(set(ids)), "a record is a hit once"
    return sorted(
        newest.values(), key=lambda d: (str(d["connwatch"]["group"]), d["event"]["start"])
    )


def seconds(text: str) -> int:
    return int(text[11:13]) * 3600 + int(text[14:16]) * 60 + int(text[17:19])


def timed(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    now, made = 0, []
    for number, event in enumerate(events):
        now += event["gap"]
        made.append({**event, "time": now, "id": number})
    return made


@pytest.fixture(params=[spec.MOST, 4], ids=["exact", "up to a number"])
def most(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How far counts are told; the small number goes with small bounds of all that is kept."""
    number: int = request.param
    monkeypatch.setattr(spec, "MOST", number)
    if number == 4:
        few = [(engine, "THINNED", 0), (prospects, "WORTH", 0), (records, "_MOST", 6)]
        for module, name, value in [*few, (records, "_MANY", 2)]:
            monkeypatch.setattr(module, name, value)
    return number


def told(rule: dict[str, Any], value: float, most: int) -> float:
    """What is told of a count."""
    counts = rule["counted"][0] in ("event_count", "value_count")
    ends = counts and rule["expression"] is None and rule["operator"] in ("gte", "gt")
    return min(value, max(most, 2 * rule["number"])) if ends else value


@settings(
    max_examples=examples(100),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(_RULE, st.lists(_EVENT, min_size=1, max_size=30), st.lists(st.integers(0, 30), max_size=5))
def test_alerts_are_those_of_the_reference(
    tmp_path_factory: pytest.TempPathFactory,
    most: int,
    rule: dict[str, Any],
    events: list[dict[str, Any]],
    cuts: list[int],
) -> None:
    rule, events = settled(rule), timed(events)
    folder: Path = tmp_path_factory.mktemp("rules")
    (folder / "rules.yml").write_text(BASES + text(rule), encoding="utf-8")
    rules = load_rules([folder])
    assert not rules.errors, rules.errors[0]
    found = [d for d in found_by(rules, events, cuts) if d["rule"]["name"] == "Counted"]
    wanted = sorted(reference(rule, events), key=lambda a: (str(a["group"]), min(a["records"])))
    assert [
        (
            d["connwatch"]["group"],
            d["connwatch"]["count"],
            seconds(d["event"]["start"]),
            seconds(d["event"]["end"]),
            seconds(d["connwatch"]["values"]["fired"]),
            d["connwatch"]["values"]["value"],
            d["connwatch"]["values"]["peak"],
        )
        for d in found
    ] == [
        (
            a["group"],
            len(a["records"]),
            min(events[r]["time"] for r in a["records"]),
            a["last"],
            a["fired"],
            told(rule, a["value"], most),
            told(rule, a["peak"], most),
        )
        for a in wanted
    ]
    assert found == [d for d in found_by(rules, events, []) if d["rule"]["name"] == "Counted"]
