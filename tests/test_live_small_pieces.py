"""Small pieces of a log, which are read together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from follow_support import followed, header, other_columns, pieces_of, row, rows

from connwatch.ingest import course
from connwatch.ingest.follow import Follower, Wanted
from connwatch.ingest.formats import formats
from connwatch.ingest.live import LiveMerge


def small_pieces(folder: Path) -> Path:
    """Pieces of one log: most with a header, of which some have other columns, and some without."""
    folder.mkdir()
    for number in range(150):
        text = rows(number * 4, number * 4 + 1 + number % 4)
        if number % 7 != 3:
            text = header(f"2026-11-20-10-{number // 60:02}-{number % 60:02}") + text
        if number % 10 == 6:
            text = other_columns(text)
        (folder / f"conn.{number // 60:02}:{number % 60:02}:00-23:00:00.log").write_text(text)
    return folder


def given_of(folder: Path, *, starts: int) -> list[tuple[object, ...]]:
    """What a live run gives of a folder that is begun anew so many times."""
    saved: dict[str, Any] = {}
    found: list[tuple[object, ...]] = []
    for turn in range(starts):
        follower = followed(folder, pieces_of(saved))
        merge = LiveMerge(saved, lambda source, events: events, 0.0, lambda: 0.0, 50)
        merge.looked = 0.0
        for stream in follower.streams.values():
            merge.add(stream)
        while (given := merge.given()) is not None:
            saved.update(given.positions)
            columns = ("zeek.session_id", "source.port", "destination.port", "log.file.path")
            found.extend(given.events.select(columns).rows())
            if turn < starts - 1 and len(found) > (turn + 1) * 100:
                break
        follower.close()
    return found


def test_small_pieces_are_read_together_as_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_pieces(tmp_path / "logs")
    together = given_of(folder, starts=1)
    assert given_of(folder, starts=3) == together
    monkeypatch.setattr(course, "_TOGETHER", 1)
    assert given_of(folder, starts=1) == together
    assert [row[0] for row in together] == sorted({row[0] for row in together})
    assert len(together) == sum(1 + number % 4 for number in range(150))


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("step", [3, 7, 30])
def test_pieces_read_ahead_of_a_kill_are_read_in_their_order_again(
    tmp_path: Path, step: int, rotated: bool
) -> None:
    """They were begun, but their records waited for another log; names do not tell their order."""
    number, per = 23, 4
    log, other = tmp_path / "conn.log", tmp_path / "other.log"
    log.write_text(header("2026-11-20-10-59-59"))
    for age in range(number, 0, -1):
        first = 1 + (number - age) * per
        text = header(f"2026-11-20-10-00-{number - age:02}") + rows(first, first + per)
        log.with_name(f"conn.log.{age}").write_text(text)
    other.write_text(header() + row(0))
    saved: dict[str, Any] = {}
    seen: list[int] = []
    for turn, moment in enumerate(range(0, number * per + step, step)):
        with other.open("a") as file:
            file.write(row(moment))
        wanted = [Wanted(f"{log}*", formats("")), Wanted(str(other), formats(""))]
        follower = Follower(wanted, pieces_of(saved), first=not saved, settle=0.0)
        follower.scan()
        merge = LiveMerge(saved, lambda source, events: events, 5.0, lambda: 0.0, 100)
        for stream in follower.streams.values():
            merge.add(stream)
        while (given := merge.given()) is not None:
            saved.update(given.positions)
            ours = given.events.filter(pl.col("log.file.path").str.contains("conn.log"))
            seen += ours["source.port"].to_list()
        follower.close()
        if rotated:
            for age in range(number + turn, 0, -1):
                if (old := log.with_name(f"conn.log.{age}")).exists():
                    old.rename(log.with_name(f"conn.log.{age + 1}"))
            log.rename(log.with_name("conn.log.1"))
            log.write_text(header(f"2026-11-20-11-{turn // 60:02}-{turn % 60:02}"))
    assert seen[-1] >= number * per - step
    assert seen == list(range(1, seen[-1] + 1))
