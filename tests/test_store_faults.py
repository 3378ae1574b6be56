"""The embedded store when something is wrong: full, read-only, damaged, at its cap, or odd."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sink_contract import delivery, events
from test_store import found

from connwatch.contracts import HIT_SCHEMA, REJECT_SCHEMA
from connwatch.errors import StoreDamagedError, StoreError, StoreFullError
from connwatch.schema import UTC
from connwatch.sinks.embedded import EmbeddedStore, StoreReader, catalogue, maintenance
from connwatch.sinks.embedded import rejects as kept_rejects
from connwatch.sinks.embedded.alerts import within
from connwatch.sinks.embedded.catalogue import transaction


def rejects(numbers: range, size: int = 10) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "log.file.path": "a",
            "line": numbers,
            "log.offset": 0,
            "format": "f",
            "field": "x",
            "reason": "r",
            "raw": [f"{number} " + "w" * size for number in numbers],
        },
        schema=REJECT_SCHEMA,
    )


Remount = Callable[[str], None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Remount]]:
    """A file system of its own of 6 MB, and how to give it other options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str) -> int:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode

    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)

    if mount("size=6m"):
        pytest.skip("no right to mount a small file system here")
    yield folder, remount
    subprocess.run(["umount", "-l", str(folder)], check=False)


def with_rejects(opened: EmbeddedStore, number: int) -> None:
    """Nothing but the catalogue grows."""
    rows = range(number * 3, number * 3 + 3)
    opened.write(delivery(events([]), rejects=rejects(rows, 20_000)))


def with_alerts(opened: EmbeddedStore, number: int) -> None:
    """Small files and a catalogue that grows: either of them finds no room."""
    rows = events([10_000 + number * 5_000])
    hits, alerts, _ = found(rows, 0)
    large = [{**alert, "note": "x" * 200_000} for alert in alerts]
    opened.write(delivery(rows, hits=hits, alerts=large))


@pytest.mark.parametrize("fill", [with_rejects, with_alerts])
def test_a_disk_that_is_full_for_the_catalogue_is_said_to_be_full(
    disk: tuple[Path, Remount], fill: Callable[[EmbeddedStore, int], None]
) -> None:
    folder, remount = disk
    with EmbeddedStore(folder) as opened:
        opened.write(delivery(events(range(100))))

        def fill_up() -> None:
            for number in range(1000):
                fill(opened, number)

        with pytest.raises(StoreFullError, match="no space is left"):
            fill_up()
        with StoreReader(folder) as reader:
            kept = reader.info()
        remount("size=60m")
        assert opened.write(delivery(events(range(110)))).stored == 10
        assert maintenance.verify(folder, opened.database) == []
    with EmbeddedStore(folder), StoreReader(folder) as reader:
        again = reader.info()
        assert again["events"] == kept["events"] + 10
        assert (again["alerts"], again["rejects"]) == (kept["alerts"], kept["rejects"])
        assert reader.verify() == []


def test_a_read_only_medium_can_be_read(disk: tuple[Path, Remount]) -> None:
    folder, remount = disk
    rows = events(range(10))
    hits, alerts, _ = found(rows, 5)
    with EmbeddedStore(folder) as opened:
        opened.write(delivery(rows, hits=hits, alerts=alerts))
    remount("ro")
    with StoreReader(folder) as reader:
        assert reader.events().collect().height == 10
        assert len(reader.alerts()) == 1
        assert reader.verify() == []
    with pytest.raises(StoreError):
        EmbeddedStore(folder)


@contextmanager
def unprivileged(folder: Path) -> Iterator[None]:
    """Somebody who may look at a folder and write nothing there."""
    mode, user = folder.stat().st_mode, os.geteuid()
    parents = [parent for parent in folder.parents if parent.owner() == folder.owner()]
    before = [(parent, parent.stat().st_mode) for parent in parents]
    if user == 0:
        for parent, parents_mode in before:
            parent.chmod(parents_mode | 0o555)
        folder.chmod(0o755)
        os.seteuid(65_534)
    else:
        folder.chmod(0o555)
    try:
        yield
    finally:
        os.seteuid(user)
        for parent, parents_mode in [*before, (folder, mode)]:
            parent.chmod(parents_mode)


def test_a_store_can_be_read_without_the_right_to_write_there(tmp_path: Path) -> None:
    """While nobody writes, beside a writer, and after one that was killed."""
    store, killed = tmp_path / "store", tmp_path / "killed"

    def seen(folder: Path) -> list[int]:
        with unprivileged(folder), StoreReader(folder) as reader:
            return [reader.events().collect().height, reader.info()["events"]]

    with EmbeddedStore(store) as opened:
        opened.write(delivery(events(range(10))))
    assert seen(store) == [10, 10]
    with EmbeddedStore(store) as opened:
        opened.write(delivery(events(range(30))))
        assert seen(store) == [30, 30]
        shutil.copytree(store, killed)
    assert seen(store) == [30, 30]
    assert (killed / f"{catalogue.NAME}-wal").stat().st_size
    assert seen(killed) == [30, 30]
    with unprivileged(store), pytest.raises(StoreError, match="Permission denied"):
        EmbeddedStore(store)


def test_a_reader_changes_nothing(tmp_path: Path) -> None:
    EmbeddedStore(tmp_path).close()
    with (
        StoreReader(tmp_path) as reader,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        reader._database.execute("DELETE FROM files")


def test_a_commit_that_fails_leaves_no_transaction_open() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.executescript(
            "PRAGMA foreign_keys = ON; CREATE TABLE a (id INTEGER PRIMARY KEY);"
            "CREATE TABLE b (a INTEGER REFERENCES a (id) DEFERRABLE INITIALLY DEFERRED)"
        )
        with pytest.raises(sqlite3.IntegrityError), transaction(database):
            database.execute("INSERT INTO b VALUES (1)")  # refused by COMMIT, not before
        with transaction(database):
            database.execute("INSERT INTO a VALUES (1)")
        assert database.execute("SELECT count(*) FROM b").fetchone() == (0,)


def _cut(segment: Path) -> None:
    segment.write_bytes(segment.read_bytes()[:100])


@pytest.mark.parametrize("harm", [Path.unlink, _cut])
def test_a_reader_names_the_segment_that_is_missing_or_cut(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    with EmbeddedStore(tmp_path) as opened:
        opened.write(delivery(events(range(10))))
    (segment,) = (tmp_path / "events").rglob("*.parquet")
    harm(segment)
    with (
        StoreReader(tmp_path) as reader,
        pytest.raises(StoreDamagedError, match=segment.name),
    ):
        reader.events()


def test_a_damaged_catalogue_is_named(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as opened:
        opened.write(delivery(events([]), rejects=rejects(range(3000))))
    catalogue = tmp_path / "catalogue.sqlite"
    data = catalogue.read_bytes()
    catalogue.write_bytes(data[:8192] + os.urandom(len(data) - 8192))
    with (
        pytest.raises(StoreDamagedError, match=r"catalogue\.sqlite"),
        StoreReader(tmp_path) as reader,
    ):
        reader.rejects()


def test_a_catalogue_that_is_not_made_yet_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "catalogue.sqlite").touch()
    with pytest.raises(StoreError, match="there is no store here"):
        StoreReader(tmp_path)
    EmbeddedStore(tmp_path).close()
    StoreReader(tmp_path).close()


def test_rejects_over_the_cap_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_rejects, "CAP", 5)
    with EmbeddedStore(tmp_path) as opened:
        for numbers in (range(3), range(1, 4), range(8), range(5)):
            opened.write(delivery(events([]), rejects=rejects(numbers)))
    with StoreReader(tmp_path) as reader:
        assert reader.rejects()["line"].to_list() == [0, 1, 2, 3, 4]
        info = reader.info()
    assert (info["rejects"], info["rejects_over_cap"]) == (5, 3)


def test_a_word_about_an_alert_that_is_none_is_refused(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as opened, pytest.raises(StoreError, match="no alert has the id"):
        opened.set_alert_status("ab" * 16, "closed")


def test_a_word_about_an_alert_by_its_old_id_is_taken(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as opened:
        hits, late, _ = found(events([200, 210]), 5)
        opened.write(delivery(events([200, 210]), hits=hits, alerts=late))
        hits, early, _ = found(events([100, 200]), 5)
        opened.write(delivery(events([100, 200]), hits=hits, alerts=early))
        opened.set_alert_status(late[0]["event"]["id"], "acknowledged")
    with StoreReader(tmp_path) as reader:
        (alert,) = reader.alerts()
    assert alert["connwatch"]["status"] == "acknowledged"


def _hits(times: list[int]) -> pl.DataFrame:
    moments = pl.Series(times, dtype=pl.Int64).cast(UTC)
    return pl.DataFrame(
        {
            "rule": ["r"] * len(times),
            "group": [["a", "b"][time % 2] for time in times],
            "event.id": [str(time) for time in times],
            "@timestamp": moments,
            "connwatch.log_time": moments,
        },
        schema=HIT_SCHEMA,
    )


@given(st.lists(st.integers(0, 60)), st.lists(st.integers(0, 60), unique=True, max_size=12))
def test_hits_are_counted_by_span_as_a_plain_loop_does(times: list[int], cuts: list[int]) -> None:
    cuts = sorted(cuts)[: len(cuts) // 2 * 2]
    bounds = list(zip(cuts[::2], cuts[1::2], strict=True))
    spans = [(group, first, last) for group in "ab" for first, last in bounds]
    frame = pl.DataFrame(
        {
            "alert": list(range(len(spans))),
            "rule": ["r"] * len(spans),
            "group": [group for group, _, _ in spans],
            "start": pl.Series([first for _, first, _ in spans], dtype=pl.Int64).cast(UTC),
            "end": pl.Series([last for _, _, last in spans], dtype=pl.Int64).cast(UTC),
        },
        schema_overrides={"alert": pl.Int64, "rule": pl.String, "group": pl.String},
    )
    wanted = {
        number: counted
        for number, (group, first, last) in enumerate(spans)
        if (counted := sum("ab"[time % 2] == group and first <= time <= last for time in times))
    }
    assert within(frame, _hits(times)) == wanted


def test_dropping_days_takes_each_alert_its_own_hits(tmp_path: Path) -> None:
    """Many alerts of one group on the dropped day, one across midnight, one after it."""
    minute = 60
    old = events([*range(0, 600 * minute, 30 * minute), 86_390], 19)
    new = events([100_000, 150_000], 19)  # the next day: seconds from midnight of the 19th
    both = pl.concat([old, new])
    hits, alerts, _ = found(both, 240)
    assert len(alerts) == 3
    with EmbeddedStore(tmp_path) as opened:
        opened.write(delivery(both, hits=hits, alerts=alerts))
        assert maintenance.drop(tmp_path, opened.database, date(2026, 11, 20)) == 21
        with StoreReader(tmp_path) as reader:
            assert [alert["connwatch"]["count"] for alert in reader.alerts()] == [1, 1]
            assert maintenance.verify(tmp_path, opened.database) == []


def test_columns_that_only_some_files_have_come_back_before_and_after_compaction(
    tmp_path: Path,
) -> None:
    without, with_it = events(range(5)), events(range(5, 10))
    name = "zeek.connection.service"
    rows = [
        without.with_columns(pl.lit(None, pl.String).alias(name)),
        with_it.with_columns(pl.lit("dns").alias(name)),
    ]
    with EmbeddedStore(tmp_path) as opened:
        for one in rows:
            opened.write(delivery(one))
        with StoreReader(tmp_path) as reader:
            before = reader.events().collect().sort("event.id")
            maintenance.compact(tmp_path, opened.database)
            assert reader.events().collect().sort("event.id").equals(before)
    assert before.equals(pl.concat(rows))
