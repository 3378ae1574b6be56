"""A file that grows in steps while it is followed, with kills in between: what comes of it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl
from examples import examples
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from test_live_course import followed, pieces_of

from connwatch.ingest.course import Course

#: bytes that the file grows by, rows that are given on at most, and whether a kill follows
Steps: TypeAlias = list[tuple[int, int, bool]]

GROWING = settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def steps(rows: int) -> st.SearchStrategy[Steps]:
    """A few of them, each with at most so many rows given on."""
    one = st.tuples(st.integers(1, 300), st.integers(0, rows), st.booleans())
    return st.lists(one, max_size=14)


def grown(path: Path, text: bytes, begin: int, steps: Steps) -> pl.DataFrame:
    """All that is given of a file that has its first `begin` bytes when it is found, and grows by
    steps and then to its end."""
    path.write_bytes(text[:begin])
    live = Live(path)
    bounds = [*itertools.accumulate((size for size, *_ in steps), initial=begin), len(text)]
    for (low, high), (_, rows, again) in zip(
        itertools.pairwise(bounds), [*steps, (0, 1000, True)], strict=True
    ):
        with path.open("ab") as out:
            out.write(text[low:high] if low < len(text) else b"")
        live.step(rows)
        if again:
            live.follower.close()
            live.restart()
    live.step(1000)
    live.finish()
    live.follower.close()
    return pl.concat(live.given)


class Live:
    """A course over one file, through restarts."""

    def __init__(self, path: Path) -> None:
        self.path, self.saved, self.given = path, dict[str, Any](), list[pl.DataFrame]()
        self.restart()

    def restart(self) -> None:
        """As after a kill: what was not saved is gone."""
        self.follower = followed(self.path, pieces_of(self.saved))
        self.course: Course | None = None

    def step(self, rows: int) -> None:
        """Read what is there, give so many rows on, and save."""
        self.follower.scan()
        for stream in self.follower.streams.values():
            if self.course is None:
                self.course = Course(stream)
                if (before := self.saved.get(f"stream/{stream.id}")) is not None:
                    taken = {
                        key.removeprefix("piece/"): one["given"]
                        for key, one in self.saved.items()
                        if one.get("given")
                    }
                    self.course.resume(before, taken)
            while self.course.read(1 << 20, 0.0):
                pass
            self.given.append(self.course.give(min(rows, self.course.buffer.height)))
            self._save()

    def rest(self) -> None:
        """Nothing came for long."""
        assert self.course is not None
        self.course.rest()
        self.given.append(self.course.give(self.course.buffer.height))
        self._save()

    def finish(self) -> None:
        """Nothing more is to come."""
        assert self.course is not None
        self.course.finish()
        self.given += [self.course.give(self.course.buffer.height), self.course.tail()]
        self._save()

    def _save(self) -> None:
        assert self.course is not None
        self.saved.update(json.loads(json.dumps(self.course.positions())))
