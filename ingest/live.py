"""Live streams merged on log time, in the order in which `merge` gives the same records later.

A stream that may get more records holds the others back: nothing is given that it could still
precede. When nothing came of it for `idle_limit`, it holds nobody back until something comes. What
then comes too late is given apart from the rest and counted; windows do not see it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl

from connwatch.schema import UTC, empty

from .blocks import SIZE
from .course import Course
from .follow import Stream
from .log_time import LOG_TIME

#: bytes read of all streams at once, about; of one at the most, and at the least when many share
READ: Final = 8 << 20
READ_MOST: Final = SIZE
READ_LEAST: Final = 256 << 10
#: seconds for which records are gathered: of a log as it is written, and while there is more than
#: is read at once, for in a large batch each record costs less
GATHER: Final = 0.05
GATHER_BEHIND: Final = 1.0

#: seconds without anything new after which what is held back is whole: a table that is being
#: printed waits for names, at times
REST: Final = 30.0

#: what is done to records before they are given: index of their source, records
Prepare = Callable[[int, pl.DataFrame], pl.DataFrame]

_SOURCE: Final = "_source"
_PIECE: Final = "piece/"
_STREAM: Final = "stream/"
_UNRANKED: Final = ("", 0, "")


@dataclass(frozen=True, slots=True)
class Given:
    """Records in order, and how far that is.

    late: records that came too late for windows; their log time is that of the others. events:
    the rest. rejects: of the lines read. positions: saved state that changed, by key. behind:
    whether more waited to be read than is read at once.
    """

    late: pl.DataFrame
    events: pl.DataFrame
    rejects: Sequence[pl.DataFrame]
    positions: Mapping[str, Any]
    behind: bool = False


@dataclass(slots=True)
class LiveMerge:
    """The streams of a live run.

    saved: what an earlier run saved, by key. batch: records that are given together, about, at the
    most. prepare: see `Prepare`. looked: when files were looked for last, by `clock`. ends: seconds
    without anything new after which a stream ends as in a replay; None: it goes on. latest: log
    time of what was given (µs; None: nothing yet). reordered: records that were given behind others
    with the same log time that they belong before.
    """

    saved: Mapping[str, Any]
    prepare: Prepare
    idle_limit: float
    clock: Callable[[], float]
    batch: int
    courses: dict[str, Course] = field(default_factory=dict)
    looked: float = -math.inf
    ends: float | None = None
    latest: int | None = None
    reordered: int = 0
    _last_key: tuple[str, int, str] = _UNRANKED
    _taken: Mapping[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._taken = _taken(self.saved)
        known = [v["latest"] for k, v in self.saved.items() if k.startswith(_STREAM)]
        self.latest = max((one for one in known if one is not None), default=None)

    def add(self, stream: Stream) -> None:
        """A stream takes part from now on."""
        course = Course(stream)
        before = self.saved.get(_STREAM + stream.id)
        if before is not None:
            course.resume(before, self._taken)
        self.courses[stream.id] = course

    def given(self) -> Given | None:
        """What can be given now; None: nothing was read. What is there is gathered for a while, and
        what is still to be written is not waited for."""
        size = self._size()
        behind = any(
            one.stream.behind or one.stream.pending > size for one in self.courses.values()
        )
        late, events = self._gathered(size, GATHER_BEHIND if behind else GATHER)
        rejects = [frame for one in self.courses.values() for frame in one.rejects()]
        positions: dict[str, Any] = {}
        for course in self.courses.values():
            positions.update(course.positions())
        if not (positions or rejects):
            return None
        return Given(self._prepared(late), self._prepared(events), rejects, positions, behind)

    def _gathered(
        self, size: int, patience: float
    ) -> tuple[list[pl.DataFrame], list[pl.DataFrame]]:
        """Late records and others, of reads of so many bytes, for so many seconds."""
        begun = self.clock()
        late: list[pl.DataFrame] = []
        events: list[pl.DataFrame] = []
        while True:
            read = self._read(size)
            too_late, part = self._released()
            late.extend(too_late)
            events.extend(part)
            rows = sum(frame.height for frame in (*late, *events))
            full = rows >= self.batch or self.clock() - begun > patience
            if full or not (read or too_late or part) or not self._has_more():
                return late, events

    def _size(self) -> int:
        """Bytes read of each stream at once."""
        return min(READ_MOST, max(READ_LEAST, READ // max(1, len(self.courses))))

    def _read(self, size: int) -> bool:
        """Read on in every stream of which nothing waits; whether there was anything."""
        now = self.clock()
        anything = False
        for course in self.courses.values():
            if not course.buffer.is_empty():
                continue
            if course.read(size, now):
                anything = True
            else:
                self._settle(course)
        return anything

    def _settle(self, course: Course) -> None:
        """Nothing came of a stream: what that tells, when it has lasted for a while."""
        quiet = 0.0 if course.empty is None else self.looked - course.empty
        if self.ends is not None and (quiet >= self.ends or _is_over(course)):
            course.finish()
        elif quiet >= REST:
            course.rest()
        if not self._may_come(course):
            course.settle()

    def _has_more(self) -> bool:
        """Whether something unread is there that the next look can take."""
        return any(one.buffer.is_empty() and one.stream.more for one in self.courses.values())

    def _may_come(self, course: Course) -> bool:
        """Whether others wait for what may still come of a stream: until it had nothing, files were
        looked for again after the limit, and it still has nothing. Time alone does not tell: who
        was stopped meanwhile, or waited for a disk, has not looked."""
        if course.finished:
            return False
        if _is_over(course):
            return self.ends is not None
        if course.empty is None or not course.buffer.is_empty():
            return True
        # What a stream tells at its end is not to come late.
        return self.looked - course.empty < max(self.idle_limit, self.ends or 0.0)

    def _released(self) -> tuple[list[pl.DataFrame], list[pl.DataFrame]]:
        """What nothing still to come can precede: records that are late, and the others."""
        ranked = sorted(self.courses.values(), key=lambda one: one.key or _UNRANKED)
        holding = [
            (one.bound if one.bound is not None else _EVER, rank)
            for rank, one in enumerate(ranked)
            if self._may_come(one)
        ]
        bound, first = min(holding, default=(None, 0))
        late, parts = [], []
        for rank, course in enumerate(ranked):
            cut = _cut(course, bound, after=rank > first)
            behind = 0
            if cut and self.latest is not None:
                behind = min(cut, int(course.times().search_sorted(self.latest, "left")))
                self._count_reordered(course, cut)
            if behind:
                course.late += behind
                late.append(_given(course, behind))
            if cut > behind:
                parts.append(_given(course, cut - behind).with_columns(_rank=rank))
            if course.finished and (tail := _sourced(course, course.tail())).height:
                if self.latest is not None and (course.latest or 0) < self.latest:
                    course.late += tail.height
                    late.append(tail)
                else:
                    parts.append(tail.with_columns(_rank=rank))
        return self._raised(late), self._ordered(parts, ranked)

    def _count_reordered(self, course: Course, cut: int) -> None:
        """Those with the log time of what was given last, of a stream that comes before that."""
        if course.key is not None and course.key < self._last_key:
            times = course.times().head(cut)
            self.reordered += int((times == self.latest).sum())

    def _prepared(self, frames: list[pl.DataFrame]) -> pl.DataFrame:
        """Put together, and prepared as the source of each record wants it; the list is emptied, so
        that they are not in memory twice."""
        if not frames:
            return _NOTHING
        events = frames[0] if len(frames) == 1 else pl.concat(frames, rechunk=True)
        frames.clear()
        sources = events[_SOURCE]
        events = events.drop(_SOURCE)
        wanted = sources.unique().to_list()
        if len(wanted) == 1:
            return self.prepare(wanted[0], events)
        parts = [self.prepare(source, events.filter(sources == source)) for source in wanted]
        rows = pl.concat([(sources == source).arg_true() for source in wanted])
        return pl.concat(parts).select(pl.all().gather(rows.arg_sort()))

    def _raised(self, late: list[pl.DataFrame]) -> list[pl.DataFrame]:
        """Records that came too late, at the log time that it is."""
        now = pl.lit(self.latest, pl.Int64).cast(UTC).alias(LOG_TIME)
        return [frame.with_columns(now) for frame in late]

    def _ordered(self, parts: list[pl.DataFrame], ranked: list[Course]) -> list[pl.DataFrame]:
        if not parts:
            return []
        whole = parts[0] if len(parts) == 1 else pl.concat(parts)
        if len(parts) > 1:
            whole = whole.sort(LOG_TIME, "_rank", maintain_order=True)
        self.latest = int(whole[LOG_TIME].dt.epoch("us")[-1])
        self._last_key = ranked[int(whole["_rank"][-1])].key or _UNRANKED
        return [whole.drop("_rank")]


_NOTHING: Final = empty()
#: before every log time
_EVER: Final = -(2**62)


def _is_over(course: Course) -> bool:
    """Whether all of a stream was read, and nothing can follow."""
    return not (course.stream.live or course.stream.pending)


def _cut(course: Course, bound: int | None, *, after: bool) -> int:
    """How many waiting records of a stream nothing can precede. bound: log time that what is still
    to come may have; after: this stream comes after the one that it may come from."""
    if bound is None or course.buffer.is_empty():
        return course.buffer.height
    return int(course.times().search_sorted(bound, "left" if after else "right"))


def _taken(saved: Mapping[str, Any]) -> dict[str, int]:
    """By piece of which records wait, how many of its next ones were given on, and one."""
    return {
        key.removeprefix(_PIECE): value["given"]
        for key, value in saved.items()
        if key.startswith(_PIECE) and value.get("given")
    }


def _given(course: Course, rows: int) -> pl.DataFrame:
    return _sourced(course, course.give(rows))


def _sourced(course: Course, events: pl.DataFrame) -> pl.DataFrame:
    return events.with_columns(pl.lit(course.stream.source, pl.UInt32).alias(_SOURCE))
