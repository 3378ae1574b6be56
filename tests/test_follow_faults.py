"""What cannot be read, or not now: what is said of it, and that the rest goes on."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest
from follow_support import Reader, follower, header, pack, row, rows, write

from connwatch.ingest.blocks import LINE_CAP


def test_an_overlong_line_is_never_held(tmp_path: Path) -> None:
    log = write(tmp_path / "conn.log", header() + row(0))
    reader = Reader(log)
    reader.take()
    for _ in range(3):
        write(log, "x" * LINE_CAP)
        reader.take(size=100_000)
    (long,) = [lines for lines in reader.taken if lines.block.overlong]
    assert len(long.block.data) == 65_536
    assert (long.block.line, long.block.offset) == (10, len(header() + row(0)))
    reader.restart()
    write(log, "x" * LINE_CAP + "\n" + row(1))
    write(log, "y" * (LINE_CAP + 5) + "\n" + row(2))
    reader.take()
    assert reader.numbers() == [0, 1, 2]
    assert [lines.block.line for lines in reader.taken if lines.block.overlong] == [10, 12]
    packed = pack(log)
    again = Reader(packed)
    again.take(size=50_000)
    assert again.numbers() == [0, 1, 2]
    assert [lines.block.line for lines in again.taken if lines.block.overlong] == [10, 12]


def test_a_damaged_archive(tmp_path: Path) -> None:
    log = write(tmp_path / "conn.log", header() + rows(0, 20_000))
    packed = pack(log)
    data = packed.read_bytes()
    packed.write_bytes(data[: len(data) // 2])
    reader = Reader(tmp_path)
    reader.settled()
    count = len(reader.numbers())
    assert 5_000 < count < 15_000
    assert "cut off or damaged" in str(follower(reader).problems[0].hint)
    packed.write_bytes(data)
    reader.settled()
    assert reader.numbers() == list(range(20_000))
    assert follower(reader).problems == []


def test_a_decompression_bomb_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connwatch.ingest.follow.content.BOMB_FROM", 1 << 20)
    monkeypatch.setattr("connwatch.ingest.follow.content.RATIO_CAP", 100)
    bomb = tmp_path / "conn.log.gz"
    with gzip.open(bomb, "wb") as out:
        out.write(header().encode())
        for _ in range(5):
            out.write((b" " * 1023 + b"\n") * 1024)
    reader = Reader(tmp_path)
    reader.settled()
    assert "more than 100 times" in follower(reader).problems[0].reason


@pytest.fixture
def no_root(tmp_path: Path) -> Any:
    """For root every file is readable: be somebody else."""
    if os.geteuid() != 0:
        yield
        return
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.name.startswith("pytest") or folder == tmp_path:
            folder.chmod(0o755)
    os.chown(tmp_path, 65534, 65534)
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.mark.usefixtures("no_root")
def test_permission_lost_and_given_back(tmp_path: Path) -> None:
    log = write(tmp_path / "logs" / "conn.log", header() + rows(0, 5))
    reader = Reader(log)
    reader.take()
    write(log, rows(5, 8))
    log.chmod(0)
    reader.restart()
    reader.settled()
    assert reader.numbers() == list(range(5))
    (problem,) = follower(reader).problems
    assert (problem.path, problem.reason) == (str(log), "Permission denied")
    assert "right to read" in str(problem.hint)
    log.chmod(0o644)
    reader.settled()
    assert reader.numbers() == list(range(8))
    assert follower(reader).problems == []
    log.parent.chmod(0)
    reader.restart()
    reader.settled()
    assert follower(reader).problems
    log.parent.chmod(0o755)
    write(log, rows(8, 9))
    reader.settled()
    assert reader.numbers() == list(range(9))
    assert follower(reader).problems == []


@pytest.mark.usefixtures("no_root")
def test_a_new_file_that_cannot_be_read_is_read_when_it_was_moved(tmp_path: Path) -> None:
    log = write(tmp_path / "conn.log", header() + rows(0, 5))
    reader = Reader(log)
    reader.take()
    log.rename(tmp_path / "conn.log.2")
    write(log, header("2026-11-20-11-00-00") + rows(5, 8))
    log.chmod(0)
    reader.settled()
    log.rename(tmp_path / "conn.log.1")
    write(log, header("2026-11-20-12-00-00") + rows(8, 10))
    reader.settled()
    (tmp_path / "conn.log.1").chmod(0o644)
    reader.settled()
    assert sorted(reader.numbers()) == list(range(10))


def test_a_file_that_is_no_log_is_looked_at_again_when_it_is_another(tmp_path: Path) -> None:
    log = write(tmp_path / "conn.log", "some text\n" * 20_000)
    reader = Reader(log)
    reader.take()
    assert follower(reader).skipped == {str(log): "text of an unknown kind"}
    log.write_text(header() + rows(0, 5))
    reader.settled()
    assert reader.numbers() == list(range(5))
    assert follower(reader).skipped == {}
