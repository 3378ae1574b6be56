"""What following many files costs, and that what is gone is forgotten."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from follow_support import SETTLE, Reader, follower, header, row, rows, write

from connwatch.ingest.follow import Follower, Wanted
from connwatch.ingest.formats import formats


def test_records_of_files_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    log = tmp_path / "conn.log"
    reader = Reader(log)
    for number in range(6):
        write(log, header(f"2026-11-20-1{number}-00-00") + rows(10 * number, 10 * number + 10))
        reader.settled()
        log.rename(tmp_path / f"conn.log-2026112{number}")
    reader.settled()
    for old in sorted(tmp_path.iterdir())[:4]:
        old.unlink()
    reader.settled()
    assert sorted(Path(record["path"]).name[-1] for record in reader.saved.values()) == ["4", "5"]
    reader.restart()
    assert reader.settled() == []
    write(log, header("2026-11-20-19-00-00") + row(60))
    reader.settled()
    assert reader.numbers() == list(range(61))


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files() + 20, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_descriptors")
def test_many_new_files_at_once_need_few_descriptors(tmp_path: Path) -> None:
    for number in range(200):
        opened = f"2026-11-20-{number // 60:02}-{number % 60:02}-00"
        write(tmp_path / f"conn.log-{number:03}", header(opened) + row(number))
    reader = Reader(tmp_path)
    reader.take()
    assert reader.numbers() == list(range(200))
    assert follower(reader).problems == []


def test_few_files_are_open(tmp_path: Path) -> None:
    for number in range(300):
        opened = f"2026-11-20-{number // 60:02}-{number % 60:02}-00"
        write(tmp_path / f"conn.log.{300 - number}", header(opened) + rows(number, number + 1))
    reader = Reader(tmp_path)
    before = open_files()
    most = 0
    follower(reader).scan()
    while reader.take(scan=False, limit=1):
        most = max(most, open_files() - before)
    assert reader.numbers() == list(range(300))
    assert most <= 2
    reader.settled()
    assert open_files() - before <= 0


def test_ten_thousand_files_that_were_read_cost_little(tmp_path: Path) -> None:
    for number in range(10_000):
        path = tmp_path / f"{number // 100:02}" / f"conn.{number}.log"
        path.parent.mkdir(exist_ok=True)
        path.write_text(row(number))
    wanted = [Wanted(str(tmp_path), formats())]
    saved: dict[str, Any] = {}
    for number, path in enumerate(sorted(tmp_path.glob("*/*.log")), 1):
        status, name = path.stat(), f"|zeek.connection|zeek-tsv|{path.parent}|conn"
        saved[f"{name}#{number}"] = {
            "stream": name, "path": str(path), "dev": status.st_dev, "ino": status.st_ino,
            "size": status.st_size, "mtime": status.st_mtime_ns, "offset": status.st_size, "line": 2,
            "skip": None, "skipping": False, "head": [5, "x"], "tail": [5, "x"], "done": False,
            "packed": False, "order": number, "first": "x", "opened": None, "first_end": None,
        }  # fmt: skip
    begin = time.process_time()
    made = Follower(wanted, saved, first=False, settle=SETTLE)
    made.scan()
    taken = time.process_time() - begin
    begin = time.process_time()
    for _ in range(10):
        made.scan()
    again = (time.process_time() - begin) / 10
    assert not any(stream.read(1000) for stream in made.streams.values())
    print(f"start {taken:.3f} s, scan {again * 1000:.1f} ms")
    assert taken < 1.5
    assert again < 0.1
    made.close()


def test_what_was_read_in_an_earlier_run_is_not_opened(tmp_path: Path) -> None:
    for number in range(50):
        write(tmp_path / f"conn_{number}x.log", header() + rows(number, number + 1))
    reader = Reader(tmp_path)
    reader.take()
    reader.restart()
    before = open_files()
    reader.take()
    assert open_files() == before
    write(tmp_path / "conn_7x.log", row(100))
    (tmp_path / "conn_8x.log").write_text(header("2026-11-20-11-00-00") + row(101) + row(102))
    reader.take()
    assert sorted(reader.numbers()) == [*range(50), 100, 101, 102]
    assert open_files() - before <= 2
