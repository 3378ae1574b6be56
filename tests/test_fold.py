"""Folding hits into alerts: sessions, evidence, and independence from batches."""

from __future__ import annotations

from itertools import pairwise

import polars as pl
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from connwatch.contracts import MATCH_SCHEMA
from connwatch.detectors.fold import KEPT, Folding, begin, fold
from connwatch.schema import STORED, conform

MINUTE = 60_000_000
FOLDINGS = {
    "a": Folding(("source.ip", "destination.ip"), 10 * MINUTE),
    "b": Folding(("network.type",), 0),
}


def events(minutes: list[int], sources: list[str]) -> pl.DataFrame:
    """Events at `minutes` of log time (ascending), one per source address."""
    times = pl.Series([m * MINUTE for m in minutes], dtype=pl.Int64).cast(STORED["@timestamp"])
    return conform(
        pl.DataFrame(
            {
                "@timestamp": times,
                "connwatch.log_time": times,
                "event.id": pl.Series([f"{i:032x}" for i in range(len(minutes))], dtype=pl.String),
                "source.ip": pl.Series(sources, dtype=pl.String),
                "destination.ip": pl.Series(["10.0.0.9"] * len(minutes), dtype=pl.String),
            }
        )
    )


def matches(pairs: list[tuple[str, int]]) -> pl.DataFrame:
    return pl.DataFrame(pairs, schema=MATCH_SCHEMA, orient="row")


def run(frame: pl.DataFrame, pairs: list[tuple[str, int]], cuts: list[int]) -> pl.DataFrame:
    """Newest state of every alert, sorted by id, when the frame is cut into batches at `cuts`."""
    state, found = begin(), begin()
    edges = sorted({0, frame.height, *(c for c in cuts if c <= frame.height)})
    for start, end in pairwise(edges):
        folded = fold(
            frame[start:end],
            matches([(rule, row - start) for rule, row in pairs if start <= row < end]),
            FOLDINGS,
            state,
        )
        state = folded.state
        found = pl.concat([found.join(folded.alerts, on="alert", how="anti"), folded.alerts])
    return found.sort("alert")


def test_hits_within_the_period_are_one_alert_and_a_later_one_is_another() -> None:
    frame = events([0, 10, 21], ["10.0.0.1"] * 3)
    found = run(frame, [("a", 0), ("a", 1), ("a", 2)], []).sort("first")
    assert found["count"].to_list() == [2, 1]


def test_groups_are_apart() -> None:
    frame = events([0, 0, 1], ["10.0.0.1", "10.0.0.2", "10.0.0.1"])
    found = run(frame, [("a", 0), ("a", 1), ("a", 2)], [])
    assert sorted(found["count"].to_list()) == [1, 2]


def test_evidence_is_the_first_and_the_last_events() -> None:
    frame = events(list(range(30)), ["10.0.0.1"] * 30)
    found = run(frame, [("a", i) for i in range(30)], [7, 9, 20])
    head = [event["event.id"] for event in found["head"][0]]
    tail = [event["event.id"] for event in found["tail"][0]]
    assert head == frame["event.id"][:KEPT].to_list()
    assert tail == frame["event.id"][-KEPT:].to_list()


def test_every_hit_is_listed_once() -> None:
    frame = events([0, 0], ["10.0.0.1"] * 2)
    folded = fold(frame, matches([("a", 0), ("b", 0), ("a", 1)]), FOLDINGS, begin())
    assert folded.hits.select("rule", "event.id").sort("rule", "event.id").rows() == [
        ("a", f"{0:032x}"),
        ("a", f"{1:032x}"),
        ("b", f"{0:032x}"),
    ]


@settings(max_examples=examples(60))
@given(
    gaps=st.lists(st.integers(0, 14), min_size=1, max_size=25),
    hosts=st.data(),
    cuts=st.lists(st.integers(1, 25), max_size=6),
)
def test_batches_make_no_difference_and_a_plain_loop_agrees(
    gaps: list[int], hosts: st.DataObject, cuts: list[int]
) -> None:
    minutes = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    names = hosts.draw(
        st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2"]), min_size=len(gaps), max_size=len(gaps))
    )
    chosen = hosts.draw(
        st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, len(gaps) - 1)), unique=True)
    )
    pairs = sorted(chosen, key=lambda pair: pair[1])
    frame = events(minutes, names)
    whole = run(frame, pairs, [])
    assert run(frame, pairs, cuts).equals(whole)

    plain: dict[tuple[str, str], list[list[int]]] = {}
    for rule, row in pairs:
        group = names[row] if rule == "a" else ""
        sessions = plain.setdefault((rule, group), [])
        period = FOLDINGS[rule].suppress // MINUTE
        if sessions and minutes[row] - minutes[sessions[-1][-1]] <= period:
            sessions[-1].append(row)
        else:
            sessions.append([row])
    expected = sorted(
        (rule, minutes[s[0]], minutes[s[-1]], len(s))
        for (rule, _), found in plain.items()
        for s in found
    )
    minute = lambda name: (pl.col(name).dt.epoch("us") // MINUTE).alias(name)  # noqa: E731
    assert sorted(whole.select("rule", minute("first"), minute("last"), "count").rows()) == expected
