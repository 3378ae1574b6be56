"""Retention: whole days go, the oldest first; what stays is whole, and what went can come back."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from sink_contract import delivery, events
from test_store import found
from test_tidy import commit, ids, tiny_limits

from connwatch.cli import run as connwatch
from connwatch.config.kinds import of_option
from connwatch.config.model import AGE, SIZE
from connwatch.errors import ConfigError, StoreError
from connwatch.sinks.embedded import EmbeddedStore, Policy, StoreReader, maintenance, retain, tidy

DAY = 86_400
#: midnight of day 0 of these tests
FIRST = datetime(2026, 11, 1, tzinfo=UTC)


def at(day: float) -> datetime:
    return FIRST + timedelta(days=day)


def rows(numbers: list[int]) -> pl.DataFrame:
    """Events by their second since FIRST."""
    return events(numbers, 1)


def day_of(day: int, number: int = 10) -> list[int]:
    return [day * DAY + second for second in range(number)]


def put(store: EmbeddedStore, numbers: list[int], minutes: int = 5) -> None:
    made = rows(numbers)
    hits, alerts, _ = found(made, minutes)
    store.write(delivery(made, hits=hits, alerts=alerts))


def alerts_of(folder: Path) -> list[dict[str, Any]]:
    with StoreReader(folder) as reader:
        return reader.alerts()


def test_days_that_are_wholly_older_go_and_alerts_stay_as_they_are(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as store:
        for day in range(5):
            put(store, day_of(day))
        before = alerts_of(tmp_path)
        done = retain(store, Policy(events=timedelta(days=2)), at(4.5))
        assert [(str(day.day), day.events, day.reason) for day in done.days] == [
            ("2026-11-01", 10, "age"),
            ("2026-11-02", 10, "age"),
        ]
        assert done.fits
        assert ids(tmp_path) == [number for day in (2, 3, 4) for number in day_of(day)]
        assert alerts_of(tmp_path) == before
        assert maintenance.verify(tmp_path, store.database) == []
        assert retain(store, Policy(events=timedelta(days=2)), at(4.9)).days == ()


def test_an_archive_that_comes_again_is_stored_again_and_counts_no_hit_twice(
    tmp_path: Path,
) -> None:
    with EmbeddedStore(tmp_path) as store:
        for day in range(3):
            put(store, day_of(day))
        before = alerts_of(tmp_path)
        retain(store, Policy(events=timedelta(days=1)), at(2.5))
        old = before[0]["event"]["id"]
        with StoreReader(tmp_path) as reader:
            assert reader.gone_events(old) == 10
            assert reader.alert_events(old).collect().height == 0
            assert reader.gone_events(before[2]["event"]["id"]) == 0
        for day in range(3):
            put(store, day_of(day))
        assert alerts_of(tmp_path) == before
        assert ids(tmp_path) == [number for day in range(3) for number in day_of(day)]
        with StoreReader(tmp_path) as reader:
            assert reader.gone_events(old) == 0
            assert reader.alert_events(old).collect().height == 10
        assert maintenance.verify(tmp_path, store.database) == []


def test_a_run_in_progress_knows_what_is_left(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as store:
        run = store.begin_run()
        for day in range(3):
            commit(run, day_of(day), 1)
        retain(store, Policy(events=timedelta(days=1)), at(2.5))
        fate, _ = run.classify(rows([*day_of(1), *day_of(2)]))
        assert fate.to_list() == ["duplicate"] * 20
        commit(run, day_of(0), 1)
        assert ids(tmp_path) == [number for day in range(3) for number in day_of(day)]


def test_old_alerts_go_with_their_hits_and_one_that_reaches_further_keeps_its_own(
    tmp_path: Path,
) -> None:
    late = [DAY - 60, DAY + 60]  # one alert across midnight
    with EmbeddedStore(tmp_path) as store:
        put(store, [*day_of(0), *late, *day_of(3)])
        whole = alerts_of(tmp_path)
        assert [alert["connwatch"]["count"] for alert in whole] == [10, 2, 10]
        done = retain(store, Policy(alerts=timedelta(days=2)), at(3.5))
        assert (done.alerts, done.days) == (1, ())
        assert alerts_of(tmp_path) == whole[1:]
        with StoreReader(tmp_path) as reader:
            assert reader.info()["hits"] == 12
            assert reader.alert_events(whole[1]["event"]["id"]).collect().height == 2
        assert len(ids(tmp_path)) == 22, "events have their own age"
        put(store, [*day_of(0), *late, *day_of(3)])
        assert alerts_of(tmp_path) == whole, "the same archive again"
        assert maintenance.verify(tmp_path, store.database) == []


def test_an_old_id_goes_with_its_alert(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as store:
        put(store, [200, 210])
        put(store, [100, 200])  # the alert begins earlier now
        assert store.database.execute("SELECT count(*) FROM aliases").fetchone() == (1,)
        assert retain(store, Policy(alerts=timedelta(days=1)), at(9)).alerts == 1
        assert store.database.execute("SELECT count(*) FROM aliases").fetchone() == (0,)
        assert ids(tmp_path) == [100, 200, 210]


def sizes(store: EmbeddedStore) -> int:
    return retain(store, Policy(), at(0)).size


@pytest.mark.parametrize(
    ("wanted", "now", "left", "fits"),
    [
        (1.0, 9.5, [0, 1, 2, 3], True),
        (0.7, 9.5, [2, 3], True),
        (0.0, 9.5, [3], False),  # never the newest day
        (0.0, 2.5, [2, 3], False),  # nor today, whatever clocks say
    ],
)
def test_a_store_that_is_too_large_loses_its_oldest_days(
    tmp_path: Path, wanted: float, now: float, left: list[int], fits: bool
) -> None:
    with EmbeddedStore(tmp_path) as store:
        for day in range(4):
            store.write(delivery(rows(day_of(day, 8_000))))
        tidy.fold_all(tmp_path, store.database)
        bound = int(sizes(store) * wanted)
        with StoreReader(tmp_path) as reader:
            plan = reader.planned(Policy(max_size=bound), at(now))
        done = retain(store, Policy(max_size=bound), at(now))
        assert ids(tmp_path) == [number for day in left for number in day_of(day, 8_000)]
        assert done.fits is fits
        assert (plan.days, plan.fits) == (done.days, done.fits)
        assert {day.reason for day in done.days} <= {"size"}
        assert maintenance.verify(tmp_path, store.database) == []


def test_an_empty_store_has_nothing_to_lose(tmp_path: Path) -> None:
    policy = Policy(timedelta(days=1), timedelta(days=1), 1)
    with EmbeddedStore(tmp_path) as store:
        done = retain(store, policy, at(0))
        assert (done.days, done.alerts, done.fits) == ((), 0, False)


@dataclass
class Model:
    """The store as a dictionary: event numbers, hits, and alerts by their first hit."""

    events: set[int] = field(default_factory=set)
    hits: set[int] = field(default_factory=set)

    def alerts(self) -> list[list[int]]:
        """Hits no more than five minutes apart are one alert."""
        made: list[list[int]] = []
        for hit in sorted(self.hits):
            if made and hit - made[-1][-1] <= 300:
                made[-1].append(hit)
            else:
                made.append([hit])
        return made

    def retain(self, now: float, age: int, alerts: int) -> None:
        first = int(now - age) * DAY
        self.events = {number for number in self.events if number >= first}
        first = int(now - alerts) * DAY
        self.hits = {hit for one in self.alerts() if one[-1] >= first for hit in one}


MOMENTS = st.lists(st.integers(0, 6 * 24 * 60).map(lambda m: m * 60), max_size=12)
PLAN = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), MOMENTS),
        st.tuples(st.sampled_from(["tidy", "compact", "again", "open"]), st.just([])),
        st.tuples(st.just("retain"), st.lists(st.integers(1, 6), min_size=2, max_size=2)),
    ),
    max_size=16,
)


@settings(max_examples=examples(60))
@given(PLAN)
def test_the_store_is_what_a_plain_set_would_be(
    tmp_path_factory: pytest.TempPathFactory, plan: list[tuple[str, list[int]]]
) -> None:
    """Commits, replays, tidying up and retention in any order."""
    folder = tmp_path_factory.mktemp("store")
    model, archive = Model(), []
    with tiny_limits():
        store = EmbeddedStore(folder)
        for what, numbers in plan:
            if what == "commit":
                put(store, sorted(set(numbers)))
                archive.append(sorted(set(numbers)))
                model.events |= set(numbers)
                model.hits |= set(numbers)
            elif what == "again":
                for one in archive:
                    put(store, one)
                    model.events |= set(one)
                    model.hits |= set(one)
            elif what == "tidy":
                store.tidy()
            elif what == "compact":
                maintenance.compact(folder, store.database)
            elif what == "open":
                store.close()
                store = EmbeddedStore(folder)
            else:
                age, alerts = sorted(numbers)
                retain(store, Policy(timedelta(days=age), timedelta(days=alerts)), at(6.5))
                model.retain(6.5, age, alerts)
            agree(folder, model)
        assert maintenance.verify(folder, store.database) == []
        store.close()


def agree(folder: Path, model: Model) -> None:
    assert ids(folder) == sorted(model.events)
    with StoreReader(folder) as reader:
        hits = reader.hits().collect()["event.id"]
        assert sorted(int(one, 16) for one in hits) == sorted(model.hits)
        for alert, wanted in zip(reader.alerts(), model.alerts(), strict=True):
            assert alert["connwatch"]["count"] == len(wanted)
            one = alert["event"]["id"]
            there = reader.alert_events(one).collect()["event.id"]
            stored = [number for number in wanted if number in model.events]
            assert [int(number, 16) for number in there] == stored
            assert reader.gone_events(one) == len(wanted) - len(stored)


def test_readers_verify_tidying_and_retention_go_on_beside_a_writer(tmp_path: Path) -> None:
    problems: list[object] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            with StoreReader(tmp_path) as reader:
                found_ids = reader.events().collect()["event.id"]
                if found_ids.n_unique() != len(found_ids):
                    problems.append("an event is there twice")
                problems.extend(reader.verify())
                for alert in reader.alerts():
                    with suppress(StoreError):  # it may be gone by now
                        reader.gone_events(alert["event"]["id"])

    with tiny_limits(), EmbeddedStore(tmp_path) as store:

        def upkeep() -> None:
            day = 0.5
            try:
                while not done.is_set():
                    store.tidy()
                    day += 0.25
                    retain(store, Policy(timedelta(days=3), timedelta(days=4)), at(min(day, 6)))
                    if int(day * 4) % 8 == 0:
                        maintenance.compact(tmp_path, store.database)
            except BaseException as error:
                problems.append(error)
                raise

        run = store.begin_run()
        commit(run, [0], 1)
        threads = [threading.Thread(target=one) for one in (read, upkeep)]
        for thread in threads:
            thread.start()
        try:
            for number in range(1, 70):
                commit(run, [number * DAY // 10], 1)
        finally:
            done.set()
            for thread in threads:
                thread.join()
        retain(store, Policy(timedelta(days=3), timedelta(days=4)), at(6))
        tidy.fold_all(tmp_path, store.database)
    assert problems == []
    assert ids(tmp_path) == [number * DAY // 10 for number in range(30, 70)]


def out(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    capsys.readouterr()
    assert connwatch(list(arguments)) == code, capsys.readouterr()
    said = capsys.readouterr()
    return said.out, said.err


def test_the_command_says_what_goes_and_alerts_say_what_is_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with EmbeddedStore(tmp_path) as store:
        put(store, day_of(0, 3))
        put(store, [DAY - 60, DAY + 60])
    place = ("--store", str(tmp_path))
    (whole, part) = alerts_of(tmp_path)
    policy = ("--max-size", "1KB")
    told, _ = out(capsys, "store", "retain", *policy, "--dry-run", *place)
    assert "2026-11-01              4 events" in told
    assert "(size)" in told
    assert "4 events and 0 alerts would be gone" in told
    assert len(ids(tmp_path)) == 5
    told, said = out(capsys, "store", "retain", *policy, *place)
    assert "4 events and 0 alerts are gone" in told
    assert "that is more than 1KB" in said
    assert len(ids(tmp_path)) == 1

    shown, _ = out(capsys, "alerts", "show", whole["event"]["id"], *place)
    assert "all of its 3 events are no longer stored" in shown
    assert "alerts events" not in shown
    shown, _ = out(capsys, "alerts", "show", part["event"]["id"], *place)
    assert "1 of its 2 events are no longer stored" in shown
    assert "the others: connwatch alerts events" in shown
    for one, left in ((whole, 0), (part, 1)):
        told, said = out(
            capsys, "alerts", "events", one["event"]["id"], "--format", "ndjson", *place
        )
        assert len(told.splitlines()) == left
        assert "no longer stored" in said
        told, _ = out(capsys, "explain", one["event"]["id"], *place)
        assert "no longer stored" in told
        told, _ = out(capsys, "explain", one["event"]["id"], "--format", "json", *place)
        assert json.loads(told)["events"]["gone"] == one["connwatch"]["count"] - left


def test_a_policy_that_keeps_everything_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    EmbeddedStore(tmp_path).close()
    place = ("--store", str(tmp_path))
    assert "--events 30d" in out(capsys, "store", "retain", *place, code=2)[1]
    _, said = out(capsys, "store", "retain", "--events", "soon", *place, code=2)
    assert "--events: 'soon' is not a time" in said


@pytest.mark.parametrize(
    ("text", "hours"), [("36h", 36), ("30d", 720), ("52w", 8736), ("1h", 0), ("d", 0), ("-3d", 0)]
)
def test_ages(text: str, hours: int) -> None:
    if hours:
        assert of_option(AGE, text, "--events") == timedelta(hours=hours)
    else:
        with pytest.raises(ConfigError, match=r"--events: .* is (not a time|out of range)"):
            of_option(AGE, text, "--events")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("50GB", 50 * 10**9),
        ("500MiB", 500 * 2**20),
        ("1 kB", 1000),
        ("5", 0),
        ("0GB", 0),
        ("GB", 0),
    ],
)
def test_sizes(text: str, number: int) -> None:
    if number:
        assert of_option(SIZE, text, "--max-size") == number
    else:
        with pytest.raises(ConfigError, match=r"--max-size: .*(is not a size|is out of range)"):
            of_option(SIZE, text, "--max-size")
