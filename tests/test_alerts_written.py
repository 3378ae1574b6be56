"""Alerts as text: the same documents that plain Python makes, and the same store either way."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from sink_contract import delivery, events
from support import replayed
from test_alerts import Rule
from test_correlations import SSH, WEB, correlation, load
from test_fold import MINUTE
from test_replay import as_log, records

from connwatch import pipeline
from connwatch.alert import KEPT, Written, evidence, joined, natural, sides
from connwatch.detectors.alerts import documents, written
from connwatch.detectors.cases import frame
from connwatch.detectors.fold import EVIDENCE, Folded, Folding, begin, fold
from connwatch.sinks.embedded import EmbeddedStore, StoreReader, maintenance
from connwatch.sinks.embedded.alerts import Growing, Own

HOSTILE = st.text(max_size=12) | st.sampled_from(
    ['","source.port":null', '\\",\\"a', ',"x":null,', "\x00\x1f\x7f\u2028", "\\", "null"]
)
FIELDS = st.fixed_dictionaries(
    {
        "source.ip": st.sampled_from(["10.0.0.1", "10.0.0.2", "fe80::1"]),
        "destination.ip": st.sampled_from(["10.0.0.9", "10.0.0.10"]),
        "second": st.integers(0, 40),
    },
    optional={
        "source.port": st.integers(0, 65535),
        "destination.port": st.sampled_from([22, 80]),
        "zeek.session_id": HOSTILE,
        "log.file.path": HOSTILE,
        "zeek.connection.service": HOSTILE,
        "event.duration": st.integers(0, 2**63 - 1),
    },
)


def hit(rows: pl.DataFrame, state: pl.DataFrame, group: tuple[str, ...], period: int) -> Folded:
    """Every row is a hit of the rule r."""
    matches = pl.DataFrame(
        {"rule": ["r"] * rows.height, "row": range(rows.height)},
        schema={"rule": pl.String, "row": pl.UInt32},
    )
    return fold(rows, matches, {"r": Folding(group, period)}, state)


def text(value: Any) -> Any:
    return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ") if hasattr(value, "strftime") else value


def plain(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The evidence of one row of `fold.ALERT_SCHEMA`."""
    listed = {event["event.id"]: event for event in (*row["head"], *row["tail"])}
    return [
        {name: text(value) for name, value in event.items() if value is not None}
        for event in listed.values()
    ]


@settings(max_examples=examples(80))
@given(
    st.lists(FIELDS, min_size=1, max_size=25),
    st.sampled_from([("source.ip",), ("source.ip", "destination.ip"), ("zeek.session_id",), ()]),
    st.integers(1, 25),
)
def test_a_document_is_what_plain_python_makes_of_its_events(
    made: list[dict[str, Any]], group: tuple[str, ...], cut: int
) -> None:
    made = sorted(made, key=lambda event: event["second"])
    rows = frame(
        [
            {"event.id": f"{n:032x}"} | {name: v for name, v in one.items() if name != "second"}
            for n, one in enumerate(made)
        ]
    )
    seconds = pl.Series([one["second"] * 1_000_000 for one in made], dtype=pl.Int64)
    time = seconds.cast(rows.schema["@timestamp"])
    rows = rows.with_columns(time.alias("@timestamp"), time.alias("connwatch.log_time"))
    group = group or ("destination.port",)
    state = begin()
    for part in (rows[:cut], rows[cut:]):
        folded = hit(part, state, group, 5_000_000)
        state = folded.state
        rule = Rule(message="{log.file.path}|{@timestamp}|{source.port}|{count}|{nothing}")
        for row, document in zip(
            folded.alerts.iter_rows(named=True),
            documents(folded.alerts, {"r": rule}),
            strict=True,
        ):
            own, listed = document["connwatch"], plain(row)
            assert own["evidence"] == listed == evidence(listed)
            assert len(listed) == min(row["count"], 2 * KEPT)
            assert own["group"] == json.loads(row["group"])
            found = {name: document[name] for name in document if name in _SIDES}
            assert found == sides(listed, own["group"])
            first = {**listed[0], "count": row["count"]}
            names = ("log.file.path", "@timestamp", "source.port", "count", "nothing")
            # What the group has is the group's, null or not.
            known = {**first, **own["group"]}
            shown = ["unknown" if (one := known.get(name)) is None else str(one) for name in names]
            assert document["message"] == "|".join(shown)
            assert joined([document], row["count"]) == document


_SIDES = ("source", "destination", "related")


def test_what_stands_beside_a_text_is_what_is_in_it() -> None:
    folded = hit(events(range(7)), begin(), ("destination.ip",), MINUTE)
    (one,) = written(folded.alerts, {"r": Rule()})
    again = Written.of(one.document())
    for name in ("id", "rule", "group", "start", "end", "suppress", "count", "text"):
        assert getattr(again, name) == getattr(one, name)
    assert dict(one) == one.document() == again
    assert Written.of(one) is one
    assert list(folded.alerts["head"][0][0]) == list(EVIDENCE)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("hits"), st.lists(st.integers(0, 1500), max_size=12, unique=True)),
        st.tuples(st.sampled_from(["closed", "compact", "again"]), st.just([])),
    ),
    max_size=10,
)


def steps(folder: Path, plan: list[tuple[str, list[int]]]) -> list[dict[str, Any]]:
    """Deliveries of several runs with other things between them; the alerts after each commit."""
    seen: list[dict[str, Any]] = []
    state, run_number, now = begin(), 0, -1
    rule = Rule(suppress=MINUTE)
    with EmbeddedStore(folder) as store, StoreReader(folder) as reader:
        run = store.begin_run()
        for what, seconds in plan:
            if what == "closed":
                for alert in reader.alerts()[:1]:
                    store.set_alert_status(alert["event"]["id"], "closed")
            elif what == "compact":
                maintenance.compact(folder, store.database)
            elif what == "again":
                run, state, run_number, now = store.begin_run(), begin(), run_number + 1, -1
            later = sorted(second for second in seconds if second > now)
            if not later:
                continue
            now = later[-1]
            # Each run reads the same records from another place.
            rows = events(later).with_columns(pl.lit(f"{run_number}.log").alias("log.file.path"))
            fate, keys = run.classify(rows)
            folded = hit(rows, state, ("destination.ip",), MINUTE)
            state = folded.state
            made = tuple(written(folded.alerts, {"r": rule}))
            run.write(
                delivery(rows.filter(fate == "new"), hits=folded.hits, alerts=made),
                keys,
            )
            seen.extend(reader.alerts())
    return seen


@settings(max_examples=examples(60))
@given(STEPS)
def test_the_short_way_into_the_store_leaves_what_the_long_way_leaves(
    tmp_path_factory: pytest.TempPathFactory, plan: list[tuple[str, list[int]]]
) -> None:
    """After every commit, with overlapping runs, an analyst's words and upkeep in between."""
    short = steps(tmp_path_factory.mktemp("short"), plan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Own, "is_whole", lambda *_: False)
        long = steps(tmp_path_factory.mktemp("long"), plan)
    assert short == long


@settings(max_examples=examples(40))
@given(
    st.lists(st.tuples(st.lists(st.integers(0, 1500), max_size=12), st.booleans()), max_size=8),
    st.booleans(),
)
def test_deliveries_in_one_commit_leave_what_as_many_commits_leave(
    tmp_path_factory: pytest.TempPathFactory, plan: list[tuple[list[int], bool]], stored: bool
) -> None:
    """Whether or not the store has some of the records already, and whether documents come with
    each delivery or with the last one only."""
    found = []
    for way in ("apart", "together", "documents last"):
        folder = tmp_path_factory.mktemp("store")
        if stored:
            steps(folder, [("hits", list(range(0, 1500, 70)))])
        state, now, rule = begin(), -1, Rule(suppress=MINUTE)
        waiting: dict[str, Written] = {}
        with EmbeddedStore(folder) as store, StoreReader(folder) as reader:
            run = store.begin_run()
            for seconds, more in [*plan, ([1501], False)]:
                later = sorted({second for second in seconds if second > now})
                if not later:
                    continue
                now = later[-1]
                rows = events(later)
                fate, keys = run.classify(rows)
                folded = hit(rows, state, ("destination.ip",), MINUTE)
                state = folded.state
                waiting.update((one.id, one) for one in written(folded.alerts, {"r": rule}))
                later = more and way != "apart"
                made = () if later and way == "documents last" else tuple(waiting.values())
                given_over = delivery(rows.filter(fate == "new"), hits=folded.hits, alerts=made)
                if way == "documents last":
                    given_over = replace(given_over, spans=spans(folded))
                run.stage(given_over, keys)
                if not later:
                    run.commit()
                waiting = {} if made else waiting
            found.append(reader.alerts())
    assert found[0] == found[1] == found[2]
    assert found[0]


def spans(folded: Folded) -> pl.DataFrame:
    newest = folded.alerts.unique("alert", keep="last", maintain_order=True)
    lists = pl.lit(value=False)
    return newest.select("alert", "rule", "group", start="first", end="last", lists=lists)


def test_what_lists_said_of_several_deliveries_is_put_together() -> None:
    """A document may come with the last of them; what was said before it is not lost."""
    state, rule = begin(), Rule()
    growing = Growing()
    for number, (name, last) in enumerate((("x", False), ("y", False), ("x", True))):
        folded = hit(events([number]), state, ("destination.ip",), MINUTE)
        state = folded.state
        (row,) = folded.alerts.iter_rows(named=True)
        listed = spans(folded).with_columns(lists=pl.lit(value=True))
        shown = folded.hits.select("rule", "event.id", indicator=pl.lit(name))
        alerts = written(folded.alerts, {"r": rule}) if last else []
        growing.add(
            replace(
                delivery(events([]), hits=folded.hits, alerts=alerts), shown=shown, spans=listed
            ),
            folded.hits,
        )
        assert row["count"] == number + 1
    (one,) = growing.grown()
    assert (one.alert.count, one.new, one.shown) == (3, 3, {"x": 2, "y": 1})


@pytest.mark.parametrize(
    ("between", "own"),
    [("compact", [True, True, True, True]), ("closed", [True, True, False, False])],
)
def test_a_run_reads_its_own_alert_after_somebody_else_has_written_it(
    tmp_path: Path, between: str, own: list[bool]
) -> None:
    """Upkeep changes no alert; what an analyst says of one is kept."""
    taken: list[bool] = []
    whole = Own.is_whole

    def watched(*args: Any) -> bool:
        taken.append(whole(*args))
        return taken[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Own, "is_whole", watched)
        hits = [("hits", [second]) for second in (1, 2, 3, 4)]
        seen = steps(tmp_path, [*hits[:2], (between, []), hits[2], hits[3]])
        assert taken == own
        assert [alert["connwatch"]["count"] for alert in seen] == [1, 2, 3, 4]


PORTS = (
    "type: value_count, rules: [ssh, web], group-by: [source.ip], timespan: 3m, generate: true, "
    "condition: {field: destination.port, gte: 2}"
)


@pytest.mark.parametrize("seed", range(2))
def test_a_replay_with_correlations_takes_either_way(tmp_path: Path, seed: int) -> None:
    """Two runs over logs that overlap, in small batches."""
    rules = load(tmp_path, SSH, WEB, correlation(PORTS, more="suppress: 4m\n"))
    chance = random.Random(seed)
    lines = [
        line.replace("\t4444\t", f"\t{chance.choice([22, 80])}\t")
        for line in sorted(records(chance, 160))
    ]
    for name, part in (("a", lines[30:100]), ("b", lines)):
        (tmp_path / f"{name}.log").write_bytes(as_log(part))
    stored: dict[str, list[Any]] = {}
    for way in ("short", "long"):
        with pytest.MonkeyPatch.context() as patch:
            if way == "long":
                patch.setattr(Own, "is_whole", lambda *_: False)
            patch.setattr(pipeline, "_gathered", lambda f: (p for x in f for p in x.iter_slices(9)))
            for name in "ab":
                replayed([tmp_path / f"{name}.log"], tmp_path / way, rules)
        with StoreReader(tmp_path / way) as reader:
            stored[way] = reader.alerts()
    assert stored["short"] == stored["long"]
    assert any("values" in alert["connwatch"] for alert in stored["short"])


def test_texts_are_in_natural_order() -> None:
    assert natural(["443", "22", "x10", "80", "x9"]) == ["22", "80", "443", "x9", "x10"]
    assert natural(["10.0.0.10", "10.0.0.9", "9.9.9.9"]) == ["9.9.9.9", "10.0.0.9", "10.0.0.10"]
    assert natural(["10.0.0.10", "fe80::1", "10.0.0.9"]) == ["10.0.0.9", "10.0.0.10", "fe80::1"]


def test_a_number_of_any_length_has_its_place() -> None:
    long = "9" * 5_000
    assert natural([long, "1", "x" + long, "x2"]) == ["1", long, "x2", "x" + long]


@given(st.lists(st.ip_addresses(v=4).map(str), unique=True))
def test_addresses_alone_are_in_the_order_that_they_have_beside_others(found: list[str]) -> None:
    assert natural([*found, "z"])[:-1] == natural(found)
