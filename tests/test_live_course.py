"""What a stream saves while its records wait for others."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from follow_support import followed, header, other_columns, pieces_of, row, rows

from connwatch.ingest import live
from connwatch.ingest.course import Course
from connwatch.ingest.follow import Follower, Wanted
from connwatch.ingest.formats import formats
from connwatch.ingest.live import LiveMerge


def test_a_log_whose_first_records_wait_is_known_again_after_copytruncate(tmp_path: Path) -> None:
    """It was read, but nothing of it was given on; then it was killed, and the file was copied
    and begun again without a header."""
    log = tmp_path / "conn.log"
    log.write_text(header() + rows(0, 10))
    first = followed(log, {})
    (stream,) = first.streams.values()
    course = Course(stream)
    assert course.read(1 << 20, 0.0)
    positions = course.positions()
    first.close()
    pieces = pieces_of(positions)
    assert [one["offset"] for one in pieces.values()] == [0]

    shutil.copyfile(log, tmp_path / "conn.log.1")
    log.write_text(row(10))
    again = followed(log, pieces)
    (stream,) = again.streams.values()
    resumed = Course(stream)
    resumed.resume(
        positions[f"stream/{stream.id}"],
        {key: value["given"] for key, value in positions.items() if "given" in value},
    )
    while resumed.read(1 << 20, 0.0):
        again.scan()
    again.close()
    assert resumed.buffer["zeek.session_id"].to_list() == [f"C{number:08d}" for number in range(11)]


def test_pieces_that_are_read_side_by_side_keep_their_own_columns(tmp_path: Path) -> None:
    """The one that was rotated away still grows when a new one with other columns has begun."""
    log, old = tmp_path / "conn.log", tmp_path / "conn.log.1"
    log.write_text(header() + rows(0, 3))
    follower = followed(log, {})
    (stream,) = follower.streams.values()
    course = Course(stream)
    saved: dict[str, Any] = {}

    def read(course: Course, follower: Follower) -> None:
        follower.scan()
        while course.read(1 << 20, 0.0):
            course.give(course.buffer.height)
            saved.update(course.positions())

    given: list[pl.DataFrame] = []
    give = Course.give

    def kept(course: Course, rows: int) -> pl.DataFrame:
        given.append(give(course, rows))
        return given[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Course, "give", kept)
        read(course, follower)
        log.rename(old)
        log.write_text(other_columns(header() + rows(10, 13)))
        with old.open("a") as file:
            file.write(rows(3, 5))
        read(course, follower)
        with log.open("a") as file:
            file.write(other_columns(rows(13, 15)))
        read(course, follower)
        follower.close()
        for path, more in ((old, rows(5, 7)), (log, other_columns(rows(15, 17)))):
            with path.open("a") as file:
                file.write(more)
        again = followed(log, pieces_of(saved))
        (stream,) = again.streams.values()
        resumed = Course(stream)
        taken = {
            key.removeprefix("piece/"): one["given"] for key, one in saved.items() if "given" in one
        }
        resumed.resume(saved[f"stream/{stream.id}"], taken)
        read(resumed, again)
        again.close()
    seen = pl.concat(given).select("zeek.session_id", "source.port").sort("zeek.session_id")
    numbers = [*range(7), *range(10, 17)]
    assert seen["zeek.session_id"].to_list() == [f"C{number:08d}" for number in numbers]
    assert seen["source.port"].to_list() == numbers


def test_a_piece_keeps_its_columns_over_a_restart_before_the_next_one_has_others(
    tmp_path: Path,
) -> None:
    log, old = tmp_path / "conn.log", tmp_path / "conn.log.1"
    log.write_text(header() + rows(0, 3))
    saved: dict[str, Any] = {}
    given: list[pl.DataFrame] = []

    def read(course: Course, follower: Follower) -> None:
        follower.scan()
        while course.read(1 << 20, 0.0):
            given.append(course.give(course.buffer.height))
            saved.update(course.positions())

    first = followed(log, {})
    (stream,) = first.streams.values()
    read(Course(stream), first)
    first.close()
    again = followed(log, pieces_of(saved))
    (stream,) = again.streams.values()
    course = Course(stream)
    course.resume(saved[f"stream/{stream.id}"], {})
    log.rename(old)
    log.write_text(other_columns(header("2026-11-20-11-00-00") + rows(10, 13)))
    read(course, again)
    with old.open("a") as file:
        file.write(rows(3, 5))
    for _ in range(3):
        read(course, again)
    again.close()
    assert sorted(pl.concat(given)["source.port"]) == [*range(5), *range(10, 13)]


@pytest.mark.parametrize("unread", [0, 1])
def test_a_log_that_was_just_rotated_away_holds_the_others_back(
    tmp_path: Path, unread: int
) -> None:
    """A restart between the renaming and the first line of the new file."""
    one, other = tmp_path / "one" / "conn.log", tmp_path / "other" / "conn.log"
    for log in (one, other):
        log.parent.mkdir()
        log.write_text(header() + rows(0, 3))
    saved: dict[str, Any] = {}
    now = 0.0

    def begun() -> tuple[Follower, LiveMerge]:
        pieces = pieces_of(saved)
        wanted = [Wanted(str(log), formats("")) for log in (one, other)]
        follower = Follower(wanted, pieces, first=not pieces, settle=0.0)
        merge = LiveMerge(saved, lambda source, events: events, 5.0, lambda: now, 100)
        return follower, merge

    def given(follower: Follower, merge: LiveMerge) -> list[int]:
        seen: list[int] = []
        for _ in range(5):
            merge.looked = now
            follower.scan()
            for name, stream in follower.streams.items():
                if name not in merge.courses:
                    merge.add(stream)
            if (found := merge.given()) is not None:
                saved.update(found.positions)
                assert found.late.is_empty()
                seen += found.events["source.port"].to_list()
        return seen

    follower, merge = begun()
    numbers = given(follower, merge)
    follower.close()
    if unread:
        with one.open("a") as file:
            file.write(rows(3, 3 + unread))
    one.rename(one.with_name("conn.log.1"))
    if unread:  # rotated twice, and not one line is in the newest file
        one.write_text(header("2026-11-20-10-30-00") + rows(3 + unread, 4 + unread))
        one.rename(one.with_name("conn.log.2"))
        one.with_name("conn.log.2").rename(one.with_name("conn.log.0"))
        one.with_name("conn.log.1").rename(one.with_name("conn.log.2"))
        one.with_name("conn.log.0").rename(one.with_name("conn.log.1"))
        one.touch()
    with other.open("a") as file:
        file.write(rows(3, 9))
    follower, merge = begun()
    numbers += given(follower, merge)
    seen = 2 + 2 * unread
    assert max(numbers) == seen
    one.write_text(header("2026-11-20-11-00-00") + rows(seen + 1, 6))
    numbers += given(follower, merge)
    assert max(numbers) == 5
    now += 5.0
    numbers += given(follower, merge)
    assert numbers == sorted([*range(6), *range(9)]), "held back no longer than idle_limit"
    follower.close()


def test_a_piece_that_is_renamed_before_it_is_opened_keeps_its_turn(tmp_path: Path) -> None:
    """logrotate moves old pieces on one by one; younger ones must not be read meanwhile."""
    log = tmp_path / "conn.log"
    (tmp_path / "conn.log.1").write_text(header() + rows(0, 10))
    log.write_text(header("2026-11-20-11-00-00") + rows(10, 20))
    wanted = Wanted(f"{tmp_path}/conn.log*", formats(""))
    follower = Follower([wanted], {}, first=True, settle=0.0)
    follower.scan()
    (tmp_path / "conn.log.1").rename(tmp_path / "conn.log.2")
    (stream,) = follower.streams.values()
    found = []
    for _ in range(10):
        while lines := stream.read(1 << 20):
            found += [line for line in lines.block.data.splitlines() if not line.startswith(b"#")]
        follower.scan()
    follower.close()
    assert b"\n".join(found).decode() + "\n" == rows(0, 20)


@pytest.mark.parametrize("limit", [0.1, 5.0, 60.0])
def test_who_was_stopped_for_long_has_not_found_a_stream_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: float
) -> None:
    """Time goes on by a minute from one look at the clock to the next, as where the machine has
    other things to do; nothing is idle that is read whenever there is a look."""
    monkeypatch.setattr(live, "READ", 1)
    monkeypatch.setattr(live, "READ_LEAST", 200)
    times = itertools.count(step=60.0)
    logs = [tmp_path / "one.log", tmp_path / "other.log"]
    for place, path in enumerate(logs):
        path.write_text(header() + "".join(row(2 * number + place) for number in range(50)))
    follower = Follower(
        [Wanted(str(path), formats("")) for path in logs], {}, first=True, settle=0.0
    )
    merge = LiveMerge({}, lambda source, events: events, limit, lambda: next(times), 10)

    def look() -> None:
        merge.looked = next(times)
        follower.scan()

    look()
    for stream in follower.streams.values():
        merge.add(stream)
    seen: list[int] = []
    while (given := merge.given()) is not None:
        assert given.late.is_empty()
        seen += given.events["source.port"].to_list()
    assert seen == list(range(99)), "the last of one waits for what the other may get"
    look()
    while (given := merge.given()) is not None:
        seen += given.events["source.port"].to_list()
    assert seen == list(range(100)), "after the next look for files it does not"
    follower.close()


def test_a_backlog_is_given_in_batches_of_many_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though each read takes longer than records of a log are gathered as it is written."""
    monkeypatch.setattr(live, "READ_MOST", 500)
    monkeypatch.setattr(live, "READ_LEAST", 500)
    log = tmp_path / "conn.log"
    log.write_text(header() + rows(0, 200))
    follower = followed(log, {})
    times = itertools.count(step=live.GATHER)
    merge = LiveMerge({}, lambda source, events: events, 60.0, lambda: next(times), 30)
    for stream in follower.streams.values():
        merge.add(stream)
    given = []
    while (one := merge.given()) is not None:
        given.append(one)
    follower.close()
    assert [line for one in given for line in one.events["source.port"]] == list(range(200))
    sizes = [one.events.height for one in given]
    assert min(sizes[:-1]) >= 30
    assert max(sizes) < 60
    assert given[0].behind


def test_every_record_is_prepared_as_its_source_wants_it(tmp_path: Path) -> None:
    """And many pieces of few records are given together."""
    for place, name in enumerate(("one", "other")):
        for number in range(20):
            path = tmp_path / name / f"conn.{number:02}:00:00-{number + 1:02}:00:00.log"
            path.parent.mkdir(exist_ok=True)
            path.write_text(header(f"2026-11-20-{number:02}-00-00") + row(2 * number + place))
    wanted = [Wanted(str(tmp_path / name), formats("")) for name in ("one", "other")]
    follower = Follower(wanted, {}, first=True, settle=0.0)
    follower.scan()

    def prepare(source: int, events: pl.DataFrame) -> pl.DataFrame:
        return events.with_columns(labels=pl.lit(str(source)))

    merge = LiveMerge({}, prepare, 5.0, lambda: 0.0, 100)
    for stream in follower.streams.values():
        merge.add(stream)
    given = [found.events for _ in range(3) if (found := merge.given()) is not None]
    follower.close()
    events = pl.concat(given)
    assert events["source.port"].to_list() == list(range(39))  # the first may go on before 39
    assert events["labels"].to_list() == [str(number % 2) for number in range(39)]
    assert [frame.height for frame in given if frame.height] == [39]
