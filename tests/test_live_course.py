"""What a stream saves while its records wait for others."""

from __future__ import annotations

import shutil
from pathlib import Path

from follow_support import header, row, rows

from connwatch.ingest.course import Course
from connwatch.ingest.follow import Follower, Wanted
from connwatch.ingest.formats import formats


def followed(path: Path, saved: dict[str, object]) -> Follower:
    wanted = Wanted(str(path), formats(""))
    follower = Follower([wanted], saved, first=not saved, settle=0.0)
    follower.scan()
    return follower


def test_a_log_whose_first_records_wait_is_known_again_after_copytruncate(tmp_path: Path) -> None:
    """It was read, but nothing of it was given on; then it was killed, and the file was copied
    and begun again without a header."""
    log = tmp_path / "conn.log"
    log.write_text(header() + rows(0, 10))
    first = followed(log, {})
    (stream,) = first.streams.values()
    course = Course(stream, 0.0)
    assert course.read(1 << 20, 0.0, lambda source, events: events)
    positions = course.positions()
    first.close()
    pieces = {
        key.removeprefix("piece/"): value["at"]
        for key, value in positions.items()
        if key.startswith("piece/")
    }
    assert [one["offset"] for one in pieces.values()] == [0]

    shutil.copyfile(log, tmp_path / "conn.log.1")
    log.write_text(row(10))
    again = followed(log, pieces)
    (stream,) = again.streams.values()
    resumed = Course(stream, 0.0)
    resumed.resume(
        positions[f"stream/{stream.id}"],
        {key: value["taken"] for key, value in positions.items() if "taken" in value},
    )
    while resumed.read(1 << 20, 0.0, lambda source, events: events):
        again.scan()
    again.close()
    assert resumed.buffer["zeek.session_id"].to_list() == [f"C{number:08d}" for number in range(11)]


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
