"""A log that is rotated between any two system calls of who reads it: every line once, in order."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from examples import examples
from follow_support import copytruncate, expected, header, pack, row, rows, shift, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_follow_property import Timed

CALLS = ("stat", "open", "fstat", "scandir", "pread")


@dataclass
class Machine:
    """Does something of a plan before system calls: `plan` has the number of the call, rising."""

    plan: list[tuple[int, Callable[[], object]]] = field(default_factory=list)
    calls: int = 0
    busy: bool = True

    def before_call(self) -> None:
        if self.busy:
            return
        self.busy = True
        while self.plan and self.plan[0][0] <= self.calls:
            self.plan.pop(0)[1]()
        self.busy = False
        self.calls += 1

    def end(self) -> None:
        """Do what is left of the plan."""
        self.busy = True
        while self.plan:
            self.plan.pop(0)[1]()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()

    def noticed(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            made.before_call()
            return call(*args, **options)

        return wrapped

    for name in CALLS:
        monkeypatch.setattr(os, name, noticed(getattr(os, name)))
    return made


def copied(log: Path, content: bytes) -> list[Callable[[], object]]:
    """The steps of logrotate's copytruncate, and of who writes meanwhile."""
    first, second, third = (log.with_name(f"conn.log.{number}") for number in (1, 2, 3))
    half = len(content) // 2
    return [
        third.unlink,
        lambda: second.rename(third),
        lambda: first.rename(second),
        lambda: first.touch(exist_ok=False),
        lambda: write(first, content[:half].decode()),
        lambda: write(first, content[half:].decode()),
        lambda: os.truncate(log, 0),
        lambda: write(log, row(150)[:30]),
        lambda: write(log, row(150)[30:] + rows(151, 155)),
    ]


def renamed(log: Path, content: bytes) -> list[Callable[[], object]]:
    """The same of rename and create, with compression."""
    first, second, third = (log.with_name(f"conn.log.{number}") for number in (1, 2, 3))
    packed = first.with_name("conn.log.1.gz")
    return [
        third.unlink,
        lambda: second.rename(third),
        lambda: first.rename(second),
        lambda: log.rename(first),
        lambda: write(log, header("2026-11-20-11-00-00") + row(150)[:30]),
        lambda: write(log, row(150)[30:] + rows(151, 155)),
        lambda: packed.write_bytes(_gzipped(content)[:200]),
        lambda: packed.write_bytes(_gzipped(content)),
        first.unlink,
    ]


def archived(log: Path, content: bytes) -> list[Callable[[], object]]:
    """The same of Zeek's own rotation."""
    day = log.parent / "2026-11-20"
    plain = day / "conn.10:00:00-11:00:00.log"
    packed = day / "conn.10:00:00-11:00:00.log.gz"
    return [
        day.mkdir,
        lambda: log.rename(plain),
        lambda: write(log, header("2026-11-20-11-00-00")[:40]),
        lambda: write(log, header("2026-11-20-11-00-00")[40:]),
        lambda: write(log, row(150)[:30]),
        lambda: write(log, row(150)[30:] + rows(151, 155)),
        lambda: packed.write_bytes(_gzipped(content)[:200]),
        lambda: packed.write_bytes(_gzipped(content)),
        plain.unlink,
    ]


def _gzipped(content: bytes) -> bytes:
    return gzip.compress(content)


WAYS = {"copytruncate": copied, "create-compress": renamed, "zeek": archived}
STEPS = 9


def interleaved(
    folder: Path,
    machine: Machine,
    way: str,
    calls: Sequence[int],
    size: int,
    *,
    killed: bool,
    looks: int = 0,
) -> tuple[int, list[int]]:
    """Start while a log with unread pieces is rotated: each step before its system call. looks: how
    often it looks again when only a few lines were read. How many calls there were, and the records
    that were taken."""
    log = write(folder / "conn.log", header() + rows(1, 20))
    reader = Timed(log)
    reader.take()
    for first in (20, 40, 60):
        shift(log, 3)
        copytruncate(log, folder / "conn.log.1")
        write(log, rows(first, first + 20))
        reader.take()
        reader.pause()
        reader.take()
    assert reader.follower is not None
    reader.follower.close()
    shift(log, 3)
    (folder / "conn.log.4").unlink()
    copytruncate(log, folder / "conn.log.1")
    write(log, rows(80, 150))
    steps = WAYS[way](log, log.read_bytes())
    machine.plan = list(zip(calls, steps, strict=True))
    machine.calls, machine.busy = 0, False
    reader.first = False
    reader.start()
    for _ in range(looks):
        reader.take(300, limit=1)
    reader.take(size)
    seen = machine.calls
    machine.end()
    if killed:
        reader.take(size, limit=1)
        shift(log, 3)
        copytruncate(log, folder / "conn.log.1")
        reader.restart()
    write(log, rows(155, 170))
    for _ in range(4):
        reader.take()
        reader.pause()
    reader.take()
    reader.follower.close()
    return seen, reader.numbers()


def test_a_file_between_two_that_were_read(tmp_path: Path) -> None:
    """Before it was seen, a younger one was read, and connwatch was killed: it is read all the same
    if it was written between two that were begun one after the other."""
    log = write(tmp_path / "conn.log", header() + rows(1, 20))
    reader = Timed(log)
    reader.take()
    copytruncate(log, tmp_path / "conn.log.2")
    unseen = write(tmp_path / "unseen", rows(20, 40))
    time.sleep(0.01)
    write(log, rows(40, 60))
    reader.take()
    reader.pause()
    reader.take()
    assert reader.numbers() == expected(range(1, 20), range(40, 60))
    shift(log)
    copytruncate(log, tmp_path / "conn.log.1")
    unseen.rename(tmp_path / "conn.log.2")
    write(log, rows(60, 80))
    reader.restart()
    reader.take()
    assert sorted(reader.numbers()) == expected(range(1, 80))


def test_a_piece_that_is_compressed_while_it_waits_keeps_its_turn(tmp_path: Path) -> None:
    log = write(tmp_path / "conn.log", header() + rows(1, 20))
    reader = Timed(log)
    reader.take()
    for number, first in enumerate((20, 40, 60)):
        log.rename(shift(log))
        write(log, header(f"2026-11-20-1{number + 1}-00-00") + rows(first, first + 20))
    reader.restart()
    reader.take(300, limit=1)
    pack(tmp_path / "conn.log.1")
    reader.take(300, limit=1)
    reader.take()
    assert reader.numbers() == expected(range(1, 80))


@pytest.mark.slow
@pytest.mark.parametrize("looks", [0, 3])
@pytest.mark.parametrize("way", WAYS)
def test_the_whole_rotation_before_any_call(
    tmp_path: Path, machine: Machine, way: str, looks: int
) -> None:
    call = total = 0
    while call <= total:
        folder = tmp_path / str(call)
        seen, numbers = interleaved(
            folder, machine, way, [call] * STEPS, 1 << 20, killed=call % 2 == 1, looks=looks
        )
        assert numbers == expected(range(1, 170)), call
        total, call = max(total, seen), call + 1
    assert total > 30


@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    way=st.sampled_from(sorted(WAYS)),
    first=st.integers(0, 60),
    gaps=st.lists(st.integers(0, 12), min_size=STEPS - 1, max_size=STEPS - 1),
    size=st.sampled_from([300, 1 << 20]),
    killed=st.booleans(),
    looks=st.integers(0, 4),
)
def test_its_steps_between_any_calls(
    tmp_path_factory: pytest.TempPathFactory,
    machine: Machine,
    way: str,
    first: int,
    gaps: list[int],
    size: int,
    killed: bool,
    looks: int,
) -> None:
    calls = [first + sum(gaps[:step]) for step in range(STEPS)]
    folder = tmp_path_factory.mktemp("logs")
    _, numbers = interleaved(folder, machine, way, calls, size, killed=killed, looks=looks)
    assert numbers == expected(range(1, 170))
