"""What can be followed: files, globs, folders, archives, pipes; and what is said of the rest."""

from __future__ import annotations

import gzip
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from follow_support import SETTLE, Reader, header, pack, record, row, rows, write

from connwatch.ingest.blocks import LINE_CAP
from connwatch.ingest.follow import Follower, Wanted
from connwatch.ingest.formats import formats


def follower(reader: Reader) -> Follower:
    assert reader.follower is not None
    return reader.follower


def test_a_restart_with_what_was_before_gives_the_same_lines(tmp_path: Path) -> None:
    log = write(tmp_path / "conn.log", header() + rows(0, 100))
    reader = Reader(log)
    reader.take(size=500)
    for lines in reader.taken:
        again = Follower(reader.wanted, {lines.piece: lines.before}, first=False)
        again.scan()
        (stream,) = again.streams.values()
        assert stream.id == next(iter(follower(reader).streams))
        block = stream.read(500)
        assert block is not None
        assert block == lines
        again.close()


def test_the_backlog_is_read_oldest_first(tmp_path: Path) -> None:
    """By what the headers say, whatever the names and times of the files are."""
    for number, name in enumerate(("conn.log.3.gz", "conn.log.1", "conn.log.2", "conn.log")):
        path = tmp_path / name.removesuffix(".gz")
        write(path, header(f"2026-11-20-1{number}-00-00") + rows(10 * number, 10 * number + 10))
        if name.endswith(".gz"):
            pack(path)
    reader = Reader(tmp_path / "conn.log*")
    reader.take(size=600)
    assert reader.numbers() == list(range(40))
    (stream,) = follower(reader).streams.values()
    assert stream.live
    assert stream.pending == 0


def test_only_what_is_named_is_read_at_the_first_start(tmp_path: Path) -> None:
    write(tmp_path / "conn.log.1", header("2026-11-20-09-00-00") + rows(0, 5))
    pack(write(tmp_path / "2026-11-19" / "conn.log", header("2026-11-19-09-00-00") + rows(5, 9)))
    log = write(tmp_path / "current" / "conn.log", header() + rows(10, 15))
    reader = Reader(log)
    reader.settled()
    reader.restart()
    write(log, rows(15, 17))
    reader.settled()
    assert reader.numbers() == list(range(10, 17))


def test_another_log_with_the_same_stem_is_no_rotated_piece(tmp_path: Path) -> None:
    """Neither at the first start nor when what was rotated away while nothing ran is sought."""
    (tmp_path / "conn.log").write_text(header() + rows(0, 10))
    reader = Reader(tmp_path / "conn.log")
    reader.take()
    (tmp_path / "conn.json.log").write_text("".join(record(number) for number in range(20, 30)))
    (tmp_path / "conn.txt").write_text(header("2026-11-20-11-00-00") + rows(30, 40))
    reader.restart()
    reader.settled()
    assert reader.numbers() == list(range(10))


@pytest.mark.parametrize("kind", ["tsv", "json"])
def test_start_at_the_end(tmp_path: Path, kind: str) -> None:
    text = header() + rows(0, 50) if kind == "tsv" else "".join(map(record, range(50)))
    one = row if kind == "tsv" else record
    log = write(tmp_path / "conn.log", text + one(50)[:30])
    write(tmp_path / "conn.log.1", text)
    reader = Reader(tmp_path / "conn.log*", from_end=True)
    reader.take()
    assert b"".join(reader.lines) == (header().encode() if kind == "tsv" else b"")
    reader.restart()
    write(log, one(50)[30:] + one(51))
    reader.take()
    assert reader.numbers() == [50, 51]
    assert reader.taken[-1].block.line == 51 + 8 * (kind == "tsv")
    write(tmp_path / "new" / "conn.log", text)
    log.rename(tmp_path / "conn.log.2")
    write(log, header("2026-11-20-11-00-00") + row(52) if kind == "tsv" else record(52))
    reader.settled()
    assert reader.numbers() == [50, 51, 52]


def test_a_restart_between_the_header_and_the_end(tmp_path: Path) -> None:
    log = write(tmp_path / "conn.log", header() + rows(0, 50))
    reader = Reader(log, from_end=True)
    follower(reader).scan()
    reader.restart()  # nothing was committed
    reader.first = True
    reader.start()
    reader.take(limit=1)
    reader.restart()
    write(log, row(50))
    reader.take()
    assert reader.numbers() == [50]


def test_a_name_that_matches_twice_and_sources_that_overlap(tmp_path: Path) -> None:
    log = write(tmp_path / "a" / "conn.log", header() + rows(0, 5))
    reader = Reader(tmp_path, tmp_path / "a" / "*.log", log)
    reader.take()
    assert reader.numbers() == list(range(5))


def test_streams_by_folder_stem_and_label(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write(tmp_path / folder / "conn.log", header() + rows(0, 2))
        write(
            tmp_path / folder / "conn_long.log",
            header().replace("path\tconn", "path\tconn_long") + rows(2, 4),
        )
    reader = Reader(tmp_path / "a", tmp_path / "b", labels=["x", "y"])
    reader.take()
    assert sorted(follower(reader).streams) == [
        f"{label}|zeek.{dataset}|zeek-tsv|{tmp_path}/{folder}|{stem}"
        for label, folder in (("x", "a"), ("y", "b"))
        for dataset, stem in (("conn_long", "conn_long"), ("connection", "conn"))
    ]
    assert [s.source for s in follower(reader).streams.values()] == [0, 0, 1, 1]


def test_exclude_and_what_is_no_log(tmp_path: Path) -> None:
    write(tmp_path / "conn.log", header() + rows(0, 5))
    write(tmp_path / "conn-old.log", header() + rows(5, 9))
    write(tmp_path / "notes.txt", "hello\n")
    write(tmp_path / "dns.log", "#fields\tts\tquery\n#path\tdns\n")
    write(tmp_path / "none", "")
    (tmp_path / "x.pcap").write_bytes(b"\xd4\xc3\xb2\xa1" + bytes(100))
    reader = Reader(tmp_path, exclude=("*-old.log",))
    reader.take()
    assert reader.numbers() == list(range(5))
    assert {Path(path).name: why for path, why in follower(reader).skipped.items()} == {
        "notes.txt": "text of an unknown kind",
        "dns.log": "a Zeek dns log, not one of connections",
        "none": "empty",
        "x.pcap": "a packet capture (pcap)",
    }
    write(tmp_path / "none", header() + rows(10, 12))
    reader.take()
    assert reader.numbers() == [*range(5), 10, 11]
    assert str(tmp_path / "none") not in follower(reader).skipped


def test_a_header_written_bit_by_bit(tmp_path: Path) -> None:
    log = tmp_path / "conn.log"
    reader = Reader(log)
    text = header() + rows(0, 3)
    for begin in range(0, len(text), 37):
        write(log, text[begin : begin + 37])
        reader.take()
    assert "".join(line.decode() for line in reader.lines) == text


def test_archives(tmp_path: Path) -> None:
    log = write(tmp_path / "logs" / "conn.log", header() + rows(0, 5))
    away = tmp_path / "away"
    write(away / "conn.log.9", header("2026-11-20-01-00-00") + rows(90, 95))
    reader = Reader(log, archives=(str(away),))
    reader.take()
    reader.restart()
    write(log, rows(5, 8))
    log.rename(away / "conn-20261120.log")
    pack(away / "conn-20261120.log")
    pack(write(away / "conn-20261121.log", header("2026-11-20-11-00-00") + rows(8, 12)))
    write(log, header("2026-11-20-12-00-00") + rows(12, 15))
    reader.settled()
    assert reader.numbers() == list(range(15))
    reader.restart()
    assert reader.settled() == []


def test_dated_files_that_are_written_in_turn(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "conn-*.log")
    for day in range(20, 23):
        log = tmp_path / f"conn-202611{day}.log"
        write(log, header(f"2026-11-{day}-00-00-00") + rows(10 * day, 10 * day + 10))
        reader.take()
    assert reader.numbers() == list(range(200, 230))
    reader.settled()
    assert next(iter(follower(reader).streams.values())).live
    write(tmp_path / "conn-20261120.log", row(999))
    reader.take()
    assert reader.numbers()[-1] == 999


def test_finished_archives_are_not_live(tmp_path: Path) -> None:
    for day in range(20, 23):
        log = tmp_path / f"2026-11-{day}" / "conn.log"
        pack(write(log, header(f"2026-11-{day}-00-00-00") + rows(10 * day, 10 * day + 10)))
    reader = Reader(tmp_path)
    follower(reader).scan()
    (stream,) = follower(reader).streams.values()
    assert stream.pending > 0
    reader.take()
    assert reader.numbers() == list(range(200, 230))
    assert not stream.live
    assert [record["done"] for record in reader.saved.values()] == [True] * 3
    reader.restart()
    follower(reader).scan()
    assert not any(s.live or s.pending for s in follower(reader).streams.values())


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


def test_a_named_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = Reader(pipe)
    reader.take()
    for part in (header() + row(0)[:9], row(0)[9:], rows(1, 400), rows(400, 500)):
        with pipe.open("w") as out:
            out.write(part)
        reader.take(size=3000)
    assert reader.numbers() == list(range(500))
    (stream,) = follower(reader).streams.values()
    assert stream.live
    with pipe.open("w") as out:
        out.write("z" * 60_000)
        out.flush()
        reader.take(size=3000)
    reader.restart().scan()
    with pipe.open("w") as out:
        out.write(header() + row(500))
    reader.take()
    assert reader.numbers()[-1] == 500


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    end, begin = os.pipe()
    with os.fdopen(end) as source:
        monkeypatch.setattr(sys, "stdin", source)
        reader = Reader("-")
        reader.take()
        assert follower(reader).watched() == ["-"]
        os.write(begin, (header() + row(0)).encode())
        reader.take()
        assert reader.numbers() == [0]
        os.write(begin, rows(1, 5).encode() + row(5).strip().encode())
        reader.take()
        assert reader.numbers() == list(range(5))
        os.close(begin)
        reader.take()
        assert reader.numbers() == list(range(6))
        assert not next(iter(follower(reader).streams.values())).live
        assert follower(reader).watched() == []


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


def test_a_bar_in_a_path(tmp_path: Path) -> None:
    log = write(tmp_path / "a|b" / "conn|x.log", header() + rows(0, 5))
    reader = Reader(log, labels=["c|d"])
    reader.take()
    reader.restart()
    write(log, rows(5, 6))
    reader.settled()
    assert reader.numbers() == list(range(6))
    (stream,) = follower(reader).streams
    assert stream.startswith("c|d|zeek.connection|zeek-tsv|")


def test_a_file_that_is_no_log_is_looked_at_again_when_it_is_another(tmp_path: Path) -> None:
    log = write(tmp_path / "conn.log", "some text\n" * 20_000)
    reader = Reader(log)
    reader.take()
    assert follower(reader).skipped == {str(log): "text of an unknown kind"}
    log.write_text(header() + rows(0, 5))
    reader.settled()
    assert reader.numbers() == list(range(5))
    assert follower(reader).skipped == {}
