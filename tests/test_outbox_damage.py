"""Events that wait for a server, and were damaged on the disk meanwhile."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from elastic import Elastic
from elastic_sent import configured, documents
from live_support import header, lines
from sink_contract import delivery, events

from connwatch.cli import run as command
from connwatch.errors import StoreDamagedError, StoreError
from connwatch.sinks.embedded import EmbeddedStore, StoreReader
from connwatch.sinks.embedded.dead_letters import DeadLetter
from connwatch.sinks.embedded.outbox import Outbox


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def apart(path: Path) -> None:
    """A damage of this name alone: the store's file, which shares its content, stays whole."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[: len(data) // 2])


def all_of(outbox: Outbox, folder: Path) -> list[str]:
    found = [part.events(folder) for part in outbox.pending(100_000)]
    return sorted(pl.concat(found)["event.id"]) if found else []


#: number of events -> a file, or a row of the catalogue; what is done to a file; what is left of it
DAMAGES: dict[str, tuple[Callable[[Path], None], int]] = {
    "cut short": (apart, 3_000),
    "gone": (lambda path: path.unlink(), 3_000),
    "changed, and the store's own with it": (flip, 0),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_a_damaged_file_is_set_aside_and_taken_again_from_the_store(
    tmp_path: Path, case: str
) -> None:
    damage, left = DAMAGES[case]
    with EmbeddedStore(tmp_path) as store:
        outbox = store.open_outbox(1_000_000)
        run = store.begin_run()
        for rows in (events(range(3_000)), events(range(5_000, 5_010))):
            run.write(delivery(rows), run.classify(rows)[1])
        first, second = outbox.pending(100_000)
        assert first.name is not None
        damage(tmp_path / first.name)
        with pytest.raises(StoreDamagedError) as why:
            first.events(tmp_path)
        told = outbox.set_aside(first, why.value)
        assert f"3,000 events that were to be sent cannot be read; {left:,}" in str(told).replace(
            f": {why.value.message}", ""
        )
        assert "2026-11-20T00:00:00+00:00 to 2026-11-20T00:49:59+00:00" in str(told)
        assert "replay the logs of that time" in str(told)
        assert outbox.rows == left + second.rows
        wanted = events(range(3_000)) if left else events([])
        assert all_of(outbox, tmp_path) == sorted(
            [*wanted["event.id"], *events(range(5_000, 5_010))["event.id"]]
        )
    assert len([*tmp_path.glob("damaged/*")]) == int(case != "gone")


def test_a_damaged_row_of_the_catalogue_is_set_aside_too(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path) as store:
        outbox = store.open_outbox(1_000_000)
        run = store.begin_run()
        rows = events(range(20))
        run.write(delivery(rows), run.classify(rows)[1])
        store.database.execute("UPDATE outbox SET crc = crc + 1")
        (part,) = outbox.pending(100)
        with pytest.raises(StoreDamagedError) as why:
            part.events(tmp_path)
        outbox.set_aside(part, why.value)
        assert all_of(outbox, tmp_path) == sorted(rows["event.id"])


def test_what_cannot_be_read_for_the_moment_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedStore(tmp_path) as store:
        outbox = store.open_outbox(1_000_000)
        run = store.begin_run()
        rows = events(range(3_000))
        run.write(delivery(rows), run.classify(rows)[1])
        (part,) = outbox.pending(1)

        def full(_: Path) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        with monkeypatch.context() as patch:
            patch.setattr("connwatch.sinks.embedded.outbox.checksum", full)
            with pytest.raises(StoreError, match="Too many open files") as why:
                part.events(tmp_path)
        assert not isinstance(why.value, StoreDamagedError)
        assert all_of(outbox, tmp_path) == sorted(rows["event.id"])


def test_what_is_refused_is_kept_though_nothing_else_was_sent(tmp_path: Path) -> None:
    letter = DeadLetter(None, "elasticsearch", 0.0, "why", "alert", "{}")
    with EmbeddedStore(tmp_path) as store:
        outbox = store.open_outbox(1_000_000)
        run = store.begin_run()
        rows = events(range(20))
        run.write(delivery(rows), run.classify(rows)[1])
        assert outbox.done([], [letter], events([])) == []
        parts = outbox.pending(100)
        assert outbox.done(parts, [letter], rows) == [parts[0].number]
        (number,) = outbox.done(parts, [letter], rows.head(5))
        assert [part.number for part in outbox.pending(100)] == [number] != [parts[0].number]
        assert outbox.rows == 5
        assert outbox.done(outbox.pending(100), [letter]) == []
        assert outbox.rows == 0
    with StoreReader(tmp_path) as reader:
        assert len(reader.dead_letters()) == 4


def test_an_outbox_of_before_is_read(tmp_path: Path) -> None:
    """It does not say of which time its parts are."""
    EmbeddedStore(tmp_path).close()
    with sqlite3.connect(tmp_path / "catalogue.sqlite") as database:
        for name in ("first", "last"):
            database.execute(f"ALTER TABLE outbox DROP COLUMN {name}")
        database.execute("INSERT INTO outbox (rows, name, crc) VALUES (5, 'outbox/none', 1)")
    database.close()
    with EmbeddedStore(tmp_path) as store:
        outbox = store.open_outbox(10)
        (part,) = outbox.pending(10)
        with pytest.raises(StoreDamagedError) as why:
            part.events(tmp_path)
        assert "the logs of its time" in str(outbox.set_aside(part, why.value))
        assert (outbox.rows, outbox.pending(10)) == (0, [])


def test_damage_is_told_and_holds_up_nothing(
    elasticsearch: Elastic, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(tmp_path, elasticsearch)
    log, store = tmp_path / "conn.log", tmp_path / "store"
    log.write_bytes(header() + b"".join(lines(50)))
    with EmbeddedStore(store) as opened:
        outbox = opened.open_outbox(1_000_000)
        run = opened.begin_run()
        rows = events(range(2_500))
        run.write(delivery(rows), run.classify(rows)[1])
        (part,) = outbox.pending(1)
        apart(store / str(part.name))
    assert command(["replay", str(log), "--store", str(store), "-c", str(config)]) == 3
    assert "2,500 events that were to be sent cannot be read" in capsys.readouterr().err
    assert len(documents(elasticsearch, "events")) == 2_550
