"""The embedded store: the sink's contract, classification, alerts, readers, upkeep."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from sink_contract import check_sink, delivery, events
from test_alerts import Rule

from connwatch.alert import digest
from connwatch.contracts import HIT_SCHEMA, REJECT_SCHEMA
from connwatch.detectors.alerts import documents
from connwatch.detectors.fold import Folding, begin, fold
from connwatch.errors import StoreBusyError, StoreDamagedError, StoreError, StoreFullError
from connwatch.schema import STORED
from connwatch.sinks.embedded import EmbeddedStore, StoreReader, maintenance

MINUTE = 60_000_000


def count(folder: Path) -> int:
    with StoreReader(folder) as reader:
        return int(reader.events().select(pl.len()).collect().item())


def test_it_keeps_the_contract_of_sinks(tmp_path: Path) -> None:
    check_sink(lambda: EmbeddedStore(tmp_path))


def test_events_come_back_as_they_were(tmp_path: Path) -> None:
    rows = pl.concat([events(range(10), 19), events(range(10, 20), 20)])
    with EmbeddedStore(tmp_path) as store:
        store.write(delivery(rows))
    with StoreReader(tmp_path) as reader:
        back = reader.events().collect()
        assert back.schema == pl.Schema(STORED)
        assert back.sort("event.id").equals(rows.sort("event.id"))
        day = reader.events(datetime(2026, 11, 20, tzinfo=UTC), None).collect()
        assert day.height == 10
    assert sorted(path.name for path in (tmp_path / "events").iterdir()) == [
        "2026-11-19",
        "2026-11-20",
    ]


@settings(max_examples=examples(40))
@given(
    st.lists(
        st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=4), min_size=1, max_size=3
    )
)
def test_classification_is_that_of_a_plain_set(
    tmp_path_factory: pytest.TempPathFactory, runs: list[list[list[int]]]
) -> None:
    folder = tmp_path_factory.mktemp("store")
    stored: set[int] = set()
    for batches in runs:
        seen: set[int] = set()
        with EmbeddedStore(folder) as store:
            run = store.begin_run()
            todo = []
            for numbers in batches:
                rows = events(numbers)
                fate, keys = run.classify(rows)
                wanted = []
                for number in numbers:
                    known = "known" if number in stored - seen_new(seen, stored) else "new"
                    wanted.append("duplicate" if number in seen else known)
                    seen.add(number)
                assert fate.to_list() == wanted
                todo.append((delivery(rows.filter(fate == "new")), keys))
            for one in todo:  # the writes come behind, as in a replay
                run.write(*one)
        stored |= seen
        assert count(folder) == len(stored)


def seen_new(seen: set[int], stored: set[int]) -> set[int]:
    return seen - stored


def found(
    rows: pl.DataFrame, minutes: int, state: pl.DataFrame | None = None
) -> tuple[Any, list[Any], Any]:
    """Hits and alert documents of a rule that matches every row; groups by destination."""
    matches = pl.DataFrame(
        {"rule": ["r"] * rows.height, "row": range(rows.height)},
        schema={"rule": pl.String, "row": pl.UInt32},
    )
    folded = fold(
        rows,
        matches,
        {"r": Folding(("destination.ip",), minutes * MINUTE)},
        begin() if state is None else state,
    )
    return (
        folded.hits,
        documents(folded.alerts, {"r": Rule(suppress=minutes * MINUTE)}),
        folded.state,
    )


@settings(max_examples=examples(40))
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=25, unique=True), st.data())
def test_alerts_are_the_same_however_the_hits_came(
    tmp_path_factory: pytest.TempPathFactory, seconds: list[int], data: st.DataObject
) -> None:
    """All at once; and in several runs over overlapping parts of the records."""
    seconds = sorted(seconds)
    whole, parts = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("parts")
    with EmbeddedStore(whole) as store:
        hits, alerts, _ = found(events(seconds), 5)
        store.write(delivery(events(seconds), hits=hits, alerts=alerts))
    pieces = data.draw(st.lists(st.tuples(st.integers(0, 25), st.integers(1, 25)), max_size=4))
    for first, size in [*pieces, (0, len(seconds))]:
        piece = seconds[first : first + size]
        if not piece:
            continue
        cut = data.draw(st.integers(0, len(piece)))
        with EmbeddedStore(parts) as store:
            state = begin()
            for batch in (piece[:cut], piece[cut:]):
                if batch:
                    hits, alerts, state = found(events(batch), 5, state)
                    store.write(delivery(events(batch), hits=hits, alerts=alerts))
    with StoreReader(whole) as one, StoreReader(parts) as other:
        assert digest(one.alerts()) == digest(other.alerts())
        for alert in other.alerts():
            behind = other.alert_events(alert["event"]["id"]).collect()
            assert behind.height == alert["connwatch"]["count"]


def test_an_analysts_word_stays_and_old_ids_lead_to_the_alert(tmp_path: Path) -> None:
    hits, late, _ = found(events([200, 210]), 5)
    with EmbeddedStore(tmp_path) as store:
        store.write(delivery(events([200, 210]), hits=hits, alerts=late))
        store.set_alert_status(late[0]["event"]["id"], "closed")
        hits, early, _ = found(events([100, 200]), 5)
        store.write(delivery(events([100, 200]), hits=hits, alerts=early))
    with StoreReader(tmp_path) as reader:
        (alert,) = reader.alerts()
        assert alert["event"]["id"] == early[0]["event"]["id"]
        assert alert["connwatch"]["status"] == "closed"
        assert alert["connwatch"]["count"] == 3
        assert reader.alert(late[0]["event"]["id"][:10]) == alert


@pytest.mark.parametrize("wrong", ["", "xyz", "ffff"])
def test_an_id_that_is_none_is_an_error(tmp_path: Path, wrong: str) -> None:
    with EmbeddedStore(tmp_path):
        pass
    with StoreReader(tmp_path) as reader, pytest.raises(StoreError):
        reader.alert(wrong)


def test_rejects_are_kept_once(tmp_path: Path) -> None:
    row = {
        "log.file.path": "a",
        "line": 1,
        "log.offset": 0,
        "format": "f",
        "field": "x",
        "reason": "r",
        "raw": "w",
    }
    rejects = pl.DataFrame([row, {**row, "raw": "v"}], schema=REJECT_SCHEMA)
    with EmbeddedStore(tmp_path) as store:
        store.write(delivery(events([1]), rejects=rejects))
        store.write(
            delivery(events([2]), rejects=rejects.with_columns(pl.lit("b").alias("log.file.path")))
        )
    with StoreReader(tmp_path) as reader:
        assert reader.rejects().equals(rejects)


def test_the_second_writer_is_told_who_writes(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path):
        script = f"from pathlib import Path; from connwatch.sinks.embedded import EmbeddedStore; EmbeddedStore(Path({str(tmp_path)!r}))"
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False
        )
        assert "is writing to this store" in done.stderr
        assert "process" in done.stderr
        with pytest.raises(StoreBusyError):
            EmbeddedStore(tmp_path)
    EmbeddedStore(tmp_path).close()


def test_a_reader_without_a_store_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store here"):
        StoreReader(tmp_path / "none")


def test_compaction_changes_nothing_that_can_be_seen(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as store:
        for start in range(0, 50, 10):
            rows = events(range(start, start + 10))
            hits, alerts, _ = found(rows, 5)
            store.write(delivery(rows, hits=hits, alerts=alerts))
        with StoreReader(tmp_path) as reader:
            before = (reader.alerts(), reader.events().collect().sort("event.id"))
            lazy = reader.events()
            was, now = maintenance.compact(tmp_path, store.database)
            assert now < was
            assert lazy.collect().height == 50, "a reader with the old files goes on"
            assert reader.alerts() == before[0]
            assert reader.events().collect().sort("event.id").equals(before[1])
        assert maintenance.verify(tmp_path, store.database) == []
        assert store.write(delivery(events(range(60)))).stored == 10


def test_dropped_days_are_gone_and_can_be_replayed_again(tmp_path: Path) -> None:
    old, new = events(range(10), 19), events(range(100, 110), 20)
    both = pl.concat([old, new])
    hits, alerts, _ = found(both, 60 * 48)
    with EmbeddedStore(tmp_path) as store:
        store.write(delivery(both, hits=hits, alerts=alerts))
        assert maintenance.drop(tmp_path, store.database, date(2026, 11, 20)) == 10
        assert maintenance.verify(tmp_path, store.database) == []
        with StoreReader(tmp_path) as reader:
            (alert,) = reader.alerts()
            assert alert["connwatch"]["count"] == 10
            assert reader.events().collect().height == 10
        receipt = store.write(delivery(both, hits=hits, alerts=alerts))
        assert (receipt.stored, receipt.known) == (10, 10)
        with StoreReader(tmp_path) as reader:
            assert reader.alerts()[0]["connwatch"]["count"] == 20


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as store:
        store.write(delivery(events(range(10))))
    (segment,) = (tmp_path / "events").rglob("*.parquet")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 255
    segment.write_bytes(data)
    with StoreReader(tmp_path) as reader:
        (problem,) = reader.verify()
        assert segment.name in problem
    segment.unlink()
    with StoreReader(tmp_path) as reader:
        assert reader.verify() == [f"{segment.relative_to(tmp_path)}: is missing"]


def test_what_is_no_catalogue_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "catalogue.sqlite").write_text("not a database, " * 100)
    with pytest.raises(StoreDamagedError, match=r"catalogue\.sqlite"):
        EmbeddedStore(tmp_path)
    with pytest.raises(StoreDamagedError):
        StoreReader(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 2 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("no right to mount a small file system here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_full_disk_leaves_a_whole_store(small_disk: Path) -> None:
    with EmbeddedStore(small_disk) as store:
        store.write(delivery(events(range(100))))
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"\0" * 1_400_000)

        def fill() -> None:
            for start in range(1000, 10**9, 5_000):
                store.write(delivery(events(range(start, start + 5_000))))

        with pytest.raises(StoreFullError, match="no space is left"):
            fill()
        kept = count(small_disk)
        assert maintenance.verify(small_disk, store.database) == []
        ballast.unlink()
        assert store.write(delivery(events(range(100)))).known == 100
    with EmbeddedStore(small_disk) as store:
        assert store.write(delivery(events(range(200)))).stored == 100
    assert count(small_disk) == kept + 100


def test_info_counts(tmp_path: Path) -> None:
    rows = events(range(10))
    hits, alerts, _ = found(rows, 5)
    with EmbeddedStore(tmp_path) as store:
        store.write(delivery(rows, hits=hits, alerts=alerts))
    with StoreReader(tmp_path) as reader:
        info = reader.info()
    assert (info["events"], info["alerts"], info["hits"], info["days"]) == (10, 1, 10, 1)
    assert json.dumps(info)
    assert hits.schema == pl.Schema(HIT_SCHEMA)
