"""Tiny commits stay cheap: small parts, files of few sizes, and runs that go on knowing what is there."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import polars as pl
import pytest
from examples import examples
from explaining import out
from hypothesis import given, settings
from hypothesis import strategies as st
from sink_contract import delivery, events
from test_store import found

from connwatch.detectors.fold import begin
from connwatch.errors import StoreDamagedError, StoreError
from connwatch.sinks.embedded import EmbeddedStore, Run, StoreReader, exchange, maintenance, tidy
from connwatch.sinks.embedded.catalogue import connect
from connwatch.sinks.embedded.files import EVER, Stored

#: the catalogue as version 1 of the store made it
VERSION_1 = """
CREATE TABLE files (name TEXT PRIMARY KEY, kind TEXT NOT NULL, day TEXT, rows INTEGER NOT NULL,
    bytes INTEGER NOT NULL, crc INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL) STRICT;
CREATE INDEX files_by_time ON files (kind, first, last);
CREATE TABLE alerts (id TEXT PRIMARY KEY, rule TEXT NOT NULL, grp TEXT NOT NULL,
    first INTEGER NOT NULL, last INTEGER NOT NULL, document TEXT NOT NULL) STRICT;
CREATE INDEX alerts_by_group ON alerts (rule, grp, last);
CREATE TABLE aliases (old TEXT PRIMARY KEY, id TEXT NOT NULL) STRICT;
CREATE INDEX aliases_by_id ON aliases (id);
CREATE TABLE rejects (id BLOB PRIMARY KEY, path TEXT, line INTEGER, offset INTEGER, format TEXT,
    field TEXT, reason TEXT, raw TEXT) STRICT;
CREATE TABLE replaced (name TEXT PRIMARY KEY, since REAL NOT NULL) STRICT;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
PRAGMA user_version = 1;
"""


@contextmanager
def tiny_limits() -> Iterator[None]:
    """As if a few rows were many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tidy, "FOLD", (3, 40, 1 << 20))
        patch.setattr(tidy, "FAN", 2)
        patch.setattr(tidy, "LIMITS", dict.fromkeys(tidy.LIMITS, 60))
        yield


def commit(run: Run, numbers: list[int], day: int = 20) -> None:
    rows = events(numbers, day)
    fate, keys = run.classify(rows)
    hits, alerts, _ = found(rows, 5)
    run.write(delivery(rows.filter(fate == "new"), hits=hits, alerts=alerts), keys)


def ids(folder: Path) -> list[int]:
    with StoreReader(folder) as reader:
        return sorted(int(one, 16) for one in reader.events().collect()["event.id"])


def files(store: EmbeddedStore) -> Counter[str]:
    rows = store.database.execute("SELECT kind, count(*) FROM files GROUP BY kind")
    return Counter(dict(rows.fetchall()))


def test_a_tiny_commit_makes_no_file_and_can_be_read_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = events(range(10))
    hits, alerts, _ = found(rows, 5)
    with EmbeddedStore(tmp_path) as store:
        store.write(delivery(rows, hits=hits, alerts=alerts))
        assert not files(store)
        with StoreReader(tmp_path) as reader:
            assert reader.events().collect().equals(rows)
            assert reader.hits().collect().equals(hits)
            (alert,) = reader.alerts()
            assert reader.alert_events(alert["event"]["id"]).collect().height == 10
            info = reader.info()
            assert (info["events"], info["hits"], info["days"]) == (10, 10, 1)
            assert (info["files"], info["small"]) == (0, 1)
            assert info["bytes"] > info["event_bytes"] > 0
            assert reader.verify() == []
        assert "in no file 1 small parts" in out(capsys, "store", "info", "--store", tmp_path)
    assert "in no file" not in out(capsys, "store", "info", "--store", tmp_path)
    with StoreReader(tmp_path) as reader:
        info = reader.info()
        assert (info["events"], info["files"], info["small"]) == (10, 1, 0), "closing makes files"


def test_what_is_large_is_a_file_at_once(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as store:
        store.write(delivery(events(range(3_000))))
        assert files(store) == {"events": 1}
        assert ids(tmp_path) == list(range(3_000))


def test_a_small_part_that_has_changed_is_named(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as store:
        store.write(delivery(events(range(10))))
        store.database.execute("UPDATE small SET data = zeroblob(100) WHERE kind = 'events'")
        with StoreReader(tmp_path) as reader:
            assert reader.verify() == ["catalogue.sqlite: part 1 of events has changed"]
            with pytest.raises(StoreDamagedError, match="part 1 of events"):
                reader.events()
        store.database.execute("DELETE FROM small")


def test_many_tiny_commits_make_few_files(tmp_path: Path) -> None:
    commits = 150
    with tiny_limits(), EmbeddedStore(tmp_path) as store:
        run = store.begin_run()
        for number in range(commits):
            commit(run, [number * 2, number * 2 + 1])
            while store.tidy():
                pass
            for kind, count in files(store).items():
                full = 2 * commits // (60 // 2) + 1  # no smaller than half of the limit
                assert count <= full + 6, kind  # and one of each smaller size
        assert ids(tmp_path) == list(range(commits * 2))
        assert store.tidy() is False
        assert maintenance.verify(tmp_path, store.database) == []


def test_a_commit_puts_small_parts_into_files_when_nobody_tidies_up(tmp_path: Path) -> None:
    with tiny_limits(), EmbeddedStore(tmp_path) as store:
        run = store.begin_run()
        for number in range(40):
            commit(run, [number])
            with StoreReader(tmp_path) as reader:
                assert reader.info()["small"] <= 12
        assert ids(tmp_path) == list(range(40))


def test_a_step_rewrites_no_more_than_its_budget(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as store:
        for start in range(0, 40_000, 2_500):
            store.write(delivery(events(range(start, start + 2_500))))
        while store.tidy(budget=6_000):
            pass
        sizes = [
            row[0] for row in store.database.execute("SELECT rows FROM files WHERE kind = 'events'")
        ]
        assert max(sizes) <= 6_000
        assert len(sizes) < 16
        assert ids(tmp_path) == list(range(40_000))


@pytest.mark.parametrize(
    ("rows", "level"), [(0, 0), (1, 0), (7, 0), (8, 1), (63, 1), (64, 2), (300_000, 6)]
)
def test_levels_are_powers_of_eight(rows: int, level: int) -> None:
    assert tidy.level(rows) == level


def test_replaced_files_go_when_their_grace_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tiny_limits(), EmbeddedStore(tmp_path) as store:
        run = store.begin_run()
        for number in range(40):
            commit(run, [number])
            store.tidy()
        while store.tidy():
            pass
        waiting = store.database.execute("SELECT count(*) FROM replaced").fetchone()[0]
        assert waiting
        monkeypatch.setattr(exchange, "GRACE", -1.0)
        store.database.looked = 0.0
        while store.tidy():
            pass
        assert not store.database.execute("SELECT 1 FROM replaced").fetchall()
        listed = {row[0] for row in store.database.execute("SELECT name FROM files")}
        there = {
            str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*/*") if path.is_file()
        }
        assert there == listed
        commit(run, [0, 40])
        assert ids(tmp_path) == list(range(41))


PLAN = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.lists(st.integers(0, 60), max_size=12)),
        st.tuples(st.sampled_from(["tidy", "tidy", "fold", "compact", "run", "open"]), st.just([])),
    ),
    max_size=25,
)


@settings(max_examples=examples(60))
@given(PLAN)
def test_a_run_classifies_as_a_plain_set_whatever_upkeep_does(
    tmp_path_factory: pytest.TempPathFactory, plan: list[tuple[str, list[int]]]
) -> None:
    folder = tmp_path_factory.mktemp("store")
    stored: set[int] = set()
    before: set[int] = set()
    met: set[int] = set()
    with tiny_limits():
        store = EmbeddedStore(folder)
        run = store.begin_run()
        for what, numbers in plan:
            if what == "commit":
                rows = events(numbers)
                fate, keys = run.classify(rows)
                wanted = []
                for number in numbers:
                    first = "known" if number in before else "new"
                    wanted.append("duplicate" if number in met else first)
                    met.add(number)
                assert fate.to_list() == wanted
                run.write(delivery(rows.filter(fate == "new")), keys)
                stored |= set(numbers)
            elif what == "tidy":
                store.tidy()
            elif what == "fold":
                tidy.fold_all(folder, store.database)
            elif what == "compact":
                maintenance.compact(folder, store.database)
            else:
                if what == "open":
                    store.close()
                    store = EmbeddedStore(folder)
                run, met, before = store.begin_run(), set(), set(stored)
            assert ids(folder) == sorted(stored)
        assert maintenance.verify(folder, store.database) == []
        store.close()


def test_one_thread_commits_while_others_tidy_up_verify_and_read(tmp_path: Path) -> None:
    commits, problems = 60, []
    done = threading.Event()

    def read() -> None:
        last = 0
        while not done.is_set():
            with StoreReader(tmp_path) as reader:
                rows = reader.events().collect()["event.id"]
                hits = reader.hits().select(pl.len()).collect().item()
                if rows.n_unique() != len(rows) or len(rows) % 5 or len(rows) < last or hits < last:
                    problems.append(
                        f"{len(rows)} rows after {last}, {rows.n_unique()} of them once"
                    )
                problems.extend(reader.verify())
                last = len(rows)

    with tiny_limits(), EmbeddedStore(tmp_path) as store:
        run = store.begin_run()
        commit(run, list(range(5)))

        def upkeep() -> None:
            while not done.is_set():
                store.tidy()

        threads = [threading.Thread(target=one) for one in (read, upkeep)]
        for thread in threads:
            thread.start()
        try:
            for number in range(1, commits):
                rows = list(range(number * 5, number * 5 + 5))
                assert run.classify(events(rows[:1]))[0].item() == "new"
                run._events._pending.pop()  # it was only asked
                commit(run, rows)
                assert run.classify(events([rows[0] - 5]))[0].item() == "duplicate"
        finally:
            done.set()
            for thread in threads:
                thread.join()
    assert problems == []
    assert ids(tmp_path) == list(range(commits * 5))


TIDYING = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_tidy import tiny_limits, commit
from connwatch.sinks.embedded import EmbeddedStore
with tiny_limits(), EmbeddedStore(Path(sys.argv[1])) as store:
    run = store.begin_run()
    for number in range(60):
        commit(run, [number * 2, number * 2 + 1])
        print(number, flush=True)
        store.tidy()
"""


@pytest.mark.parametrize("told", [3, 11, 23, 42])
def test_a_writer_that_is_killed_while_it_tidies_up_loses_nothing(
    tmp_path: Path, told: int
) -> None:
    tests = str(Path(__file__).parent)
    writer = subprocess.Popen(
        [sys.executable, "-c", TIDYING, str(tmp_path), tests], stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    for _ in range(told):
        writer.stdout.readline()
    writer.kill()
    writer.stdout.close()
    writer.wait()
    with StoreReader(tmp_path) as reader:
        assert reader.verify() == []
    there = ids(tmp_path)
    assert there == list(range(len(there)))
    assert len(there) >= told * 2
    with tiny_limits(), EmbeddedStore(tmp_path) as store:
        run = store.begin_run()
        for number in range(60):
            commit(run, [number * 2, number * 2 + 1])
    assert ids(tmp_path) == list(range(120))


def first_version(folder: Path) -> None:
    """A store as version 1 made it: files only, and a catalogue with fewer tables."""
    with EmbeddedStore(folder) as store:
        commit(store.begin_run(), list(range(30)))
    rows = {}
    with closing(sqlite3.connect(folder / "catalogue.sqlite")) as database:
        for table in ("files", "alerts"):
            rows[table] = database.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608
    for path in folder.glob("catalogue.sqlite*"):
        path.unlink()
    with closing(sqlite3.connect(folder / "catalogue.sqlite")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(VERSION_1)
        for table, found_rows in rows.items():
            marks = ", ".join("?" * len(found_rows[0]))
            database.executemany(f"INSERT INTO {table} VALUES ({marks})", found_rows)  # noqa: S608
        database.commit()


def test_a_store_of_version_1_is_read_and_then_made_one_of_version_2(tmp_path: Path) -> None:
    first_version(tmp_path)
    with StoreReader(tmp_path) as reader:
        assert reader.info()["events"] == 30
        assert reader.verify() == []
        before = reader.alerts()
        assert reader.alert_events(before[0]["event"]["id"]).collect().height == 30
        with EmbeddedStore(tmp_path) as store:
            receipt = store.write(delivery(events(range(25, 40))))
            assert (receipt.known, receipt.stored) == (5, 10)
            assert reader.info()["events"] == 40, "a reader that was there before sees it too"
    with closing(sqlite3.connect(tmp_path / "catalogue.sqlite")) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (2,)
    with StoreReader(tmp_path) as reader:
        assert reader.alerts() == before
    assert ids(tmp_path) == list(range(40))


def test_a_store_of_a_later_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    EmbeddedStore(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "catalogue.sqlite")) as database:
        database.execute("PRAGMA user_version = 3")
    for write in (True, False):
        with pytest.raises(StoreError, match="version 3"):
            connect(tmp_path, write=write)


def test_alerts_grow_over_many_tiny_commits(tmp_path: Path) -> None:
    state = begin()
    with tiny_limits(), EmbeddedStore(tmp_path) as store:
        run = store.begin_run()
        for number in range(50):
            rows = events([number])
            hits, alerts, state = found(rows, 5, state)
            _, keys = run.classify(rows)
            run.write(delivery(rows, hits=hits, alerts=alerts), keys)
            store.tidy()
        with StoreReader(tmp_path) as reader:
            (alert,) = reader.alerts()
            assert alert["connwatch"]["count"] == 50
            assert reader.alert_events(alert["event"]["id"]).collect().height == 50
        rows = store.database.execute("SELECT * FROM files WHERE last >= ?", (EVER[0],))
        assert all(Stored(*row).rows for row in rows)
