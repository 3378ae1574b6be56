"""What can be followed: files, globs, folders, archives, pipes."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from follow_support import Reader, follower, header, pack, record, row, rows, write

from connwatch.ingest.follow import Follower


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
        "x.pcap": "a packet capture; tcpdump -nn -tttt -v -r FILE prints it as text that can be read",
    }
    write(tmp_path / "none", header() + rows(10, 12))
    reader.take()
    assert reader.numbers() == [*range(5), 10, 11]
    assert str(tmp_path / "none") not in follower(reader).skipped


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"label": "x"}, "read as the source that names {} says"),
        ({"forced": True}, None),
        ({}, None),
    ],
)
def test_a_file_that_two_sources_name_is_read_as_the_first_says(
    other: dict[str, Any], why: str | None, tmp_path: Path
) -> None:
    """That the second one would read it otherwise is said."""
    log = write(tmp_path / "conn.log", header() + rows(0, 5))
    link = tmp_path / "link.log"
    link.symlink_to(log)
    reader = Reader(log)
    reader.wanted = [*reader.wanted, replace(reader.wanted[0], path=str(link), **other)]
    reader.restart()
    reader.take()
    assert reader.numbers() == list(range(5))
    assert follower(reader).skipped == ({} if why is None else {str(link): why.format(log)})


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
