"""Rotation of every kind loses and repeats no line."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import pytest
from follow_support import (
    SETTLE,
    Reader,
    copytruncate,
    header,
    pack,
    record,
    row,
    rows,
    shift,
    write,
)

from connwatch.ingest.follow.places import Places


def test_lines_are_taken_when_their_newline_is_there(tmp_path: Path) -> None:
    log = write(tmp_path / "conn.log", header() + row(0) + row(1)[:20])
    reader = Reader(log)
    reader.take()
    assert reader.numbers() == [0]
    write(log, row(1)[20:])
    reader.take()
    assert reader.numbers() == [0, 1]
    assert b"".join(reader.lines) == log.read_bytes()
    assert [one.block.line for one in reader.taken] == [1, 10]


def test_rename_and_create(tmp_path: Path) -> None:
    log = write(tmp_path / "conn.log", header() + rows(0, 5))
    reader = Reader(log)
    reader.take()
    with log.open("a") as out:
        log.rename(tmp_path / "conn.log.1")
        reader.take()
        out.write(rows(5, 7))
        out.flush()
        reader.take()
        assert reader.numbers() == list(range(7))
        write(log, header("2026-11-20-11-00-00") + rows(7, 9))
    reader.settled()
    assert reader.numbers() == list(range(9))
    assert not reader.follower.problems  # type: ignore[union-attr]


def test_the_writer_goes_on_in_the_renamed_file(tmp_path: Path) -> None:
    log = write(tmp_path / "conn.log", header() + rows(0, 5))
    reader = Reader(log)
    reader.take()
    with log.open("a") as out:
        log.rename(tmp_path / "conn.log.1")
        log.touch()
        reader.settled()
        out.write(rows(5, 7) + row(7)[:9])
        out.flush()
        reader.take()
        assert reader.numbers() == list(range(7))
        out.write(row(7)[9:])
    write(log, header("2026-11-20-11-00-00") + rows(8, 9))
    reader.settled()
    assert reader.numbers() == list(range(9))


def test_a_last_line_without_newline_is_taken_when_the_file_was_replaced(tmp_path: Path) -> None:
    log = write(tmp_path / "conn.log", header() + rows(0, 2) + row(2).strip())
    reader = Reader(log)
    reader.settled()
    assert reader.numbers() == [0, 1]
    log.rename(tmp_path / "conn.log.1")
    write(log, header("2026-11-20-11-00-00") + row(3))
    reader.take()
    assert reader.numbers() == [0, 1, 2, 3]


@pytest.mark.parametrize("gone", ["moved", "deleted"])
def test_a_last_line_without_newline_is_taken_when_the_file_is_gone(
    tmp_path: Path, gone: str
) -> None:
    log = write(tmp_path / "conn.log", header() + rows(0, 2) + row(2).strip())
    reader = Reader(log)
    reader.take()
    if gone == "moved":
        log.rename(tmp_path / "elsewhere")
    else:
        log.unlink()
    reader.take()
    assert reader.numbers() == [0, 1]
    reader.settled()
    assert reader.numbers() == [0, 1, 2]


def test_copytruncate(tmp_path: Path) -> None:
    log = write(tmp_path / "conn.log", header() + rows(0, 5))
    reader = Reader(log)
    reader.take()
    write(log, rows(5, 8))
    copytruncate(log, shift(log))
    write(log, rows(8, 10))
    reader.settled()
    assert reader.numbers() == list(range(10))
    write(log, rows(10, 11))
    copytruncate(log, shift(log))
    reader.settled()
    write(log, rows(11, 12))
    reader.settled()
    assert reader.numbers() == list(range(12))
    assert len(reader.follower.streams) == 1  # type: ignore[union-attr]


def test_copytruncate_grown_past_the_old_position(tmp_path: Path) -> None:
    log = write(tmp_path / "conn.log", header() + rows(0, 5))
    reader = Reader(log)
    reader.take()
    write(log, rows(5, 8))
    copytruncate(log, shift(log))
    write(log, rows(8, 100))
    reader.settled()
    assert reader.numbers() == list(range(100))


@pytest.mark.parametrize("restart", [False, True])
def test_several_copytruncates_at_once(tmp_path: Path, restart: bool) -> None:
    log = write(tmp_path / "conn.log", header() + rows(0, 5))
    reader = Reader(log)
    reader.take()
    for start in (5, 20, 40):
        write(log, rows(start, start + 5))
        copytruncate(log, shift(log))
        if start == 20:
            pack(log.with_name("conn.log.1"))
    write(log, rows(45, 47))
    if restart:
        reader.restart()
    reader.settled()
    assert reader.numbers() == [*range(10), *range(20, 25), *range(40, 47)]


def test_rotated_between_the_look_at_names_and_their_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copies have other names by then; what is still at its place must not be read first."""
    log = write(tmp_path / "conn.log", header() + rows(0, 10))
    reader = Reader(log)
    reader.take()
    for number in range(10, 40, 10):
        write(log, rows(number, number + 10))
        copytruncate(log, shift(log))
    write(log, rows(40, 45))
    looked = Places.unchanged
    rotated = []

    def rotate(places: Places) -> bool:
        rests = looked(places)
        if rests and not rotated:
            rotated.append(copytruncate(log, shift(log)))
            write(log, rows(45, 50))
        return rests

    monkeypatch.setattr(Places, "unchanged", rotate)
    reader.restart()
    reader.settled()
    assert rotated
    assert reader.numbers() == list(range(50))


def test_truncate_and_rewrite_from_the_start(tmp_path: Path) -> None:
    log = write(tmp_path / "conn.log", header() + rows(0, 5))
    reader = Reader(log)
    reader.take()
    log.write_text(header("2026-11-20-11-00-00") + rows(5, 7))
    reader.take()
    assert reader.numbers() == list(range(7))
    log.write_text(header("2026-11-20-12-00-00") + rows(7, 50))
    reader.take()
    assert reader.numbers() == list(range(50))
    log.write_text(header("2026-11-20-13-00-00") + rows(50, 93))
    reader.take()
    assert reader.numbers() == list(range(93))


def test_what_was_truncated_before_it_was_read_is_told(tmp_path: Path) -> None:
    log = write(tmp_path / "conn.log", header() + rows(0, 5) + "half")
    reader = Reader(log)
    reader.take()
    log.write_text("")
    reader.settled()
    assert "4 bytes were gone" in reader.follower.losses[0].reason  # type: ignore[union-attr]


def test_delete_and_create(tmp_path: Path) -> None:
    log = write(tmp_path / "conn.log", header() + rows(0, 5))
    reader = Reader(log)
    reader.take()
    write(log, rows(5, 6))
    log.unlink()
    reader.take()
    write(log, header("2026-11-20-11-00-00") + rows(6, 9))
    reader.settled()
    assert reader.numbers() == list(range(9))


def test_a_switched_link(tmp_path: Path) -> None:
    first = write(tmp_path / "data" / "a", header() + rows(0, 5))
    second = tmp_path / "data" / "b"
    log = tmp_path / "conn.log"
    log.symlink_to(first)
    reader = Reader(log)
    reader.take()
    write(first, rows(5, 6))
    write(second, header("2026-11-20-11-00-00") + rows(6, 8))
    (tmp_path / "new").symlink_to(second)
    (tmp_path / "new").rename(log)
    reader.settled()
    write(second, rows(8, 9))
    reader.take()
    assert reader.numbers() == list(range(9))


def test_a_switched_folder(tmp_path: Path) -> None:
    write(tmp_path / "logs-1" / "conn.log", header() + rows(0, 5))
    current = tmp_path / "current"
    current.symlink_to(tmp_path / "logs-1")
    reader = Reader(current / "conn.log")
    reader.take()
    write(tmp_path / "logs-2" / "conn.log", header("2026-11-20-11-00-00") + rows(5, 8))
    (tmp_path / "new").symlink_to(tmp_path / "logs-2")
    (tmp_path / "new").rename(current)
    reader.settled()
    assert reader.numbers() == list(range(8))


@pytest.mark.parametrize("seen", [True, False])
def test_compressed_after_it_was_read(tmp_path: Path, seen: bool) -> None:
    log = write(tmp_path / "conn.log", header() + rows(0, 500))
    reader = Reader(log)
    reader.take()
    write(log, rows(500, 900))
    rotated = shift(log)
    log.rename(rotated)
    write(log, header("2026-11-20-11-00-00") + rows(900, 910))
    if seen:
        reader.settled()
    pack(rotated)
    reader.settled()
    assert reader.numbers() == list(range(910))
    reader.restart()
    assert reader.settled() == []


def test_zeek_moves_and_compresses(tmp_path: Path) -> None:
    log = write(tmp_path / "current" / "conn.log", header() + rows(0, 5))
    reader = Reader(log)
    reader.take()
    write(log, rows(5, 8))
    reader.restart()
    moved = log.with_name("conn-26-11-20_10.00.00.log")
    log.rename(moved)
    write(log, header("2026-11-20-11-00-00") + rows(8, 10))
    archive = tmp_path / "2026-11-20"
    archive.mkdir()
    pack(moved, archive / "conn.10:00:00-11:00:00.log.gz")
    reader.settled()
    assert reader.numbers() == list(range(10))
    reader.restart()
    assert reader.settled() == []


def test_a_file_still_being_compressed(tmp_path: Path) -> None:
    log = write(tmp_path / "conn.log", header() + rows(0, 20_000))
    reader = Reader(log)
    reader.take(size=4096, limit=3)
    packed = gzip.compress(log.read_bytes())
    reader.restart()
    rotated = tmp_path / "conn.log.1.gz"
    rotated.write_bytes(packed[: len(packed) // 2])
    log.rename(tmp_path / "conn.log.1")
    reader.take()
    rotated.write_bytes(packed)
    (tmp_path / "conn.log.1").unlink()
    write(log, header("2026-11-20-11-00-00") + rows(20_000, 20_002))
    reader.settled()
    assert reader.numbers() == list(range(20_002))


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("text", ["tsv", "json"])
def test_several_rotations_while_down(tmp_path: Path, compress: bool, text: str) -> None:
    def part(first: int, last: int, hour: int) -> str:
        if text == "json":
            return "".join(record(number) for number in range(first, last))
        return header(f"2026-11-20-{hour}-00-00") + rows(first, last)

    log = tmp_path / "conn.log"
    write(tmp_path / "conn.log.1", part(0, 5, 10))  # there before the first start: not read
    time.sleep(0.02)
    write(log, part(5, 10, 11))
    reader = Reader(log)
    reader.take()
    reader.restart()
    write(log, "".join((record if text == "json" else row)(number) for number in range(10, 12)))
    for number in range(3):
        rotated = shift(log)
        time.sleep(0.01)
        log.rename(rotated)
        write(log, part(12 + 5 * number, 17 + 5 * number, 12 + number))
        if compress:
            pack(rotated)
    reader.settled()
    assert reader.numbers() == list(range(5, 27))
    reader.restart()
    assert reader.settled() == []


def test_copytruncate_while_down(tmp_path: Path) -> None:
    log = write(tmp_path / "conn.log", header() + rows(0, 5))
    reader = Reader(log)
    reader.take()
    write(log, rows(5, 8))
    copytruncate(log, shift(log))
    write(log, rows(8, 60))
    reader.restart()
    reader.settled()
    write(log, rows(60, 61))
    reader.settled()
    assert reader.numbers() == list(range(61))


def test_hard_links_are_one_piece(tmp_path: Path) -> None:
    log = write(tmp_path / "conn.log", header() + rows(0, 5))
    (tmp_path / "conn.log.1").hardlink_to(log)
    reader = Reader(tmp_path / "conn.log*")
    reader.take()
    log.unlink()
    write(log, header("2026-11-20-11-00-00") + rows(5, 8))
    reader.settled()
    assert reader.numbers() == list(range(8))


def test_a_folder_that_appears_later(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "a" / "b" / "conn.log", tmp_path / "c")
    reader.take()
    assert [p.reason for p in reader.follower.problems] == ["does not exist"] * 2  # type: ignore[union-attr]
    (tmp_path / "c").mkdir()
    reader.take()
    assert reader.follower.problems[1].reason == "is a folder without files"  # type: ignore[union-attr]
    (tmp_path / "c").rmdir()
    reader.take()
    assert reader.follower.watched() == [str(tmp_path)]  # type: ignore[union-attr]
    write(tmp_path / "a" / "b" / "conn.log", header() + rows(0, 3))
    write(tmp_path / "c" / "d" / "e" / "conn.log", header() + rows(3, 5))
    reader.take()
    assert sorted(reader.numbers()) == list(range(5))
    assert not reader.follower.problems  # type: ignore[union-attr]
    write(tmp_path / "c" / "f" / "conn.log", header() + rows(5, 6))
    time.sleep(SETTLE)
    reader.take()
    assert sorted(reader.numbers()) == list(range(6))


def test_a_backlog_goes_on_after_a_restart_in_its_order(tmp_path: Path) -> None:
    """Files without a header and with the times of a copy: their first records tell."""
    for number in reversed(range(6)):
        first = 10_000 * number
        text = "".join(record(n) for n in range(first, first + 10))
        pack(write(tmp_path / f"conn.log.{9 - number}", text))
        time.sleep(0.005)
    reader = Reader(tmp_path)
    reader.take(size=1000, limit=13)
    reader.restart()
    reader.settled()
    assert reader.numbers() == [
        n for start in range(6) for n in range(10_000 * start, 10_000 * start + 10)
    ]
