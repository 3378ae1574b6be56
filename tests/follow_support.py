"""A consumer of followed logs, for tests: takes lines, commits, is killed, starts again."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from connwatch.ingest.follow import Follower, Lines, Wanted
from connwatch.ingest.formats import formats

SETTLE = 0.05

ZEEK_HEADER = (
    "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n"
    "#open\t{opened}\n#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\n"
    "#types\ttime\tstring\taddr\tport\taddr\tport\tenum\n"
)


def header(opened: str = "2026-11-20-10-00-00") -> str:
    return ZEEK_HEADER.format(opened=opened)


def row(number: int) -> str:
    """One line of a Zeek log, a second after the one before."""
    return (
        f"{1795000000 + number}.5\tC{number:08d}\t10.0.0.1\t{number % 60000}\t10.0.0.2\t80\ttcp\n"
    )


def record(number: int) -> str:
    """One line of a Zeek log in JSON."""
    return (
        f'{{"_path":"conn","ts":{1795000000 + number}.5,"uid":"C{number:08d}","id.orig_h":"10.0.0.1",'
        f'"id.orig_p":1,"id.resp_h":"10.0.0.2","id.resp_p":80,"proto":"tcp","conn_state":"SF"}}\n'
    )


def rows(first: int, last: int) -> str:
    return "".join(row(number) for number in range(first, last))


def pack(source: Path, target: Path | None = None) -> Path:
    """Compress as gzip does: a new file, then the old one goes."""
    target = target or source.with_name(source.name + ".gz")
    target.write_bytes(gzip.compress(source.read_bytes()))
    times = source.stat()
    os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))
    source.unlink()
    return target


class Reader:
    """lines: all that was taken since the test began, over restarts, as bytes."""

    def __init__(self, *paths: str | Path, **options: Any) -> None:
        self.settle = options.pop("settle", SETTLE)
        labels = options.pop("labels", [""] * len(paths))
        self.wanted = [
            Wanted(str(path), formats(label), label=label, **options)
            for path, label in zip(paths, labels, strict=True)
        ]
        self.saved: dict[str, Any] = {}
        self.lines: list[bytes] = []
        self.taken: list[Lines] = []
        self.first = True
        self.follower: Follower | None = None
        self.start()

    def start(self) -> Follower:
        self.follower = Follower(self.wanted, self.saved, first=self.first, settle=self.settle)
        return self.follower

    def restart(self) -> Follower:
        """Killed and started again, with what was committed last."""
        assert self.follower is not None
        self.first = False
        self.follower.close()
        return self.start()

    def take(
        self, size: int = 1 << 20, *, scan: bool = True, limit: int | None = None
    ) -> list[bytes]:
        """All lines that are there now (at most `limit` reads)."""
        assert self.follower is not None
        if scan:
            self.follower.scan()
        before, reads = len(self.lines), 0
        while limit is None or reads < limit:
            found = None
            for stream in list(self.follower.streams.values()):
                if (found := stream.read(size)) is not None:
                    break
            if found is None:
                break
            reads += 1
            self._commit(found)
        self.saved.update(self.follower.updates(self.saved))
        for forgotten in self.follower.forgotten:
            self.saved.pop(forgotten, None)
        self.follower.forgotten.clear()
        return self.lines[before:]

    def _commit(self, lines: Lines) -> None:
        known = self.saved.get(lines.piece)
        if known is not None:
            assert known["offset"] <= lines.before["offset"] <= lines.block.offset
        self.saved[lines.piece] = lines.after
        self.taken.append(lines)
        data = lines.block.data
        if lines.block.overlong:
            self.lines.append(data)
        else:
            assert data.endswith(b"\n") or lines.block.last
            self.lines += data.splitlines(keepends=True)

    def settled(self, **options: Any) -> list[bytes]:
        """All lines that are there after everything has settled."""
        before = len(self.lines)
        for _ in range(4):
            self.take(**options)
            time.sleep(self.settle * 1.2)
        self.take(**options)
        return self.lines[before:]

    def numbers(self) -> list[int]:
        """Numbers of the records taken, in order."""
        return [number for line in self.lines if (number := number_of(line)) is not None]

    def until(self, done: Callable[[], bool], seconds: float = 10.0) -> None:
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            self.take()
            time.sleep(0.005)


def follower(reader: Reader) -> Follower:
    assert reader.follower is not None
    return reader.follower


def number_of(line: bytes) -> int | None:
    at = line.find(b"C0")
    return int(line[at + 1 : at + 9]) if at >= 0 and not line.startswith(b"#") else None


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as out:
        out.write(text)
    return path


def copytruncate(path: Path, target: Path) -> None:
    target.write_bytes(path.read_bytes())
    with path.open("r+b") as out:
        out.truncate(0)


def shift(path: Path, keep: int = 9) -> Path:
    """Rotated files move up by one; returns where the newest one goes."""
    for number in range(keep, 0, -1):
        for suffix in ("", ".gz"):
            old = path.with_name(f"{path.name}.{number}{suffix}")
            if old.exists():
                old.rename(path.with_name(f"{path.name}.{number + 1}{suffix}"))
    return path.with_name(f"{path.name}.1")


def expected(*spans: Sequence[int]) -> list[int]:
    return [number for span in spans for number in span]


def followed(path: Path, saved: dict[str, object]) -> Follower:
    """One that has looked for its files. saved: what it goes on with; empty: it begins."""
    wanted = Wanted(str(path), formats(""))
    follower = Follower([wanted], saved, first=not saved, settle=0.0)
    follower.scan()
    return follower


def pieces_of(positions: dict[str, Any]) -> dict[str, Any]:
    """What a follower goes on with."""
    return {
        key.removeprefix("piece/"): value["at"]
        for key, value in positions.items()
        if key.startswith("piece/")
    }


def other_columns(text: str) -> str:
    """The same log with the columns of the ports exchanged."""
    lines = []
    for line in text.splitlines():
        cells = line.split("\t")
        if line.startswith(("#fields", "#types")):
            cells[4], cells[6] = cells[6], cells[4]
        elif not line.startswith("#"):
            cells[3], cells[5] = cells[5], cells[3]
        lines.append("\t".join(cells))
    return "\n".join(lines) + "\n"
