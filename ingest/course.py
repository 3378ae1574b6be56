"""One live stream on its way: what is read of it, what is given on, and what must be saved."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from typing import Any, Final

import polars as pl

from connwatch.contracts import Chaining, Holding, Parsed
from connwatch.schema import STORED, empty

from .follow import Lines, Stream
from .log_time import LOG_TIME, LogTime
from .parsing import parsed
from .piece_states import PieceStates
from .sockets.changes import Changes

_COUNTS: Final = ("lines", "records", "rejects", "comments")
#: the number of the lines that a record was read with, as long as it waits here
_NUMBER: Final = "_lines"
#: small pieces that are read together, and bytes of one that is small: larger ones take room
_TOGETHER: Final = 64
_SMALL: Final = 64 << 10


@dataclass(slots=True)
class _Read:
    """Lines that were read, whose records are not all given on. before, after: the records of
    their piece, and how it is known again behind them. state: of the parser before. rows: records
    in them. parsed: the rest of what was made of them; text and records would take room twice."""

    number: int
    piece: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    state: Any
    rows: int
    parsed: Parsed
    told: bool = False


@dataclass(slots=True)
class Course:
    """A stream and its records that wait to be given on.

    empty: when it was found to have nothing (monotonic seconds), for the first time since something
    came or was given on; None: it was not. key: what orders streams with the same log time
    (dataset, first record's log time and id), None before its first record. latest: log time of the
    last record given on (µs), None before. counts: lines, records, rejects and comments that are
    done with. late: how many records came too late for windows. modified: of the file, Unix
    seconds. buffer: records with log time. unknown: fields that the schema does not know. rests:
    nothing came for long, and what that tells was read. finished: likewise, and nothing more is to
    come.
    """

    stream: Stream
    empty: float | None = None
    key: tuple[str, int, str] | None = None
    latest: int | None = None
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTS, 0))
    late: int = 0
    modified: float = 0.0
    buffer: pl.DataFrame = field(default_factory=lambda: _NONE)
    unknown: set[str] = field(default_factory=set)
    changed: bool = False
    rests: bool = False
    finished: bool = False
    _told: bool = False
    _log_time: LogTime = field(default_factory=LogTime)
    _changes: Changes = field(default_factory=Changes)
    _states: PieceStates = field(init=False)
    _reads: deque[_Read] = field(default_factory=deque)
    _next: int = 0
    #: by piece, how many of its next records were given on before a restart
    _taken: dict[str, int] = field(default_factory=dict)
    _future: int = 0
    _past: int = 0

    def __post_init__(self) -> None:
        self._states = PieceStates(self.stream.format, self.stream.dataset)

    @property
    def future(self) -> int:
        """Records from the future, in this run and in those before."""
        return self._future + self._log_time.future

    @property
    def past(self) -> int:
        """Records from the past, in this run and in those before."""
        return self._past + self._log_time.past

    @property
    def bound(self) -> int | None:
        """Log time before which nothing more comes of this stream; None: not known."""
        return self._log_time.latest

    @property
    def waits(self) -> bool:
        """Whether there are records that were read and are not given on."""
        return bool(self.buffer.height or self._log_time.doubted.height)

    def resume(self, saved: Mapping[str, Any], taken: Mapping[str, int]) -> None:
        """Go on where an earlier run was; taken: by piece, how many of its next records
        were given on, and one."""
        self.key = None if saved["key"] is None else tuple(saved["key"])
        self.latest = self._log_time.latest = saved["latest"]
        self.counts, self.late, self._future = dict(saved["counts"]), saved["late"], saved["future"]
        self._past = saved.get("past", 0)  # older runs did not count them
        self._states.resume(saved)
        if "sockets" in saved:
            self._changes.restore(saved["sockets"])
        self._taken = {piece: more - 1 for piece, more in taken.items() if more}

    def read(self, size: int, now: float) -> bool:
        """Read on; whether there was anything. now: monotonic seconds."""
        read = self._next_lines(size)
        if not read:
            self.empty = now if self.empty is None else self.empty
            return False
        self.empty, self.rests, self.finished, self._told = None, False, False, False
        self._feed(read)
        return True

    def rest(self) -> None:
        """Nothing came for long: what was held back is whole, if its format takes it so."""
        form = self.stream.format
        if not self.rests and isinstance(form, Holding) and form.rests:
            self._end(form)
        self.rests = True

    def finish(self) -> None:
        """Nothing more is to come: nothing is held back."""
        form = self.stream.format
        if not self.finished and isinstance(form, Holding):
            self._end(form)
        self.settle()
        self.finished = True

    def _end(self, form: Holding[Any]) -> None:
        """Read what was held back as if its files ended here."""
        ends = self.stream.endings()
        if read := [one for one in ends if form.held(self._states.of(one.piece))]:
            self._feed(read)

    def _feed(self, read: Sequence[Lines]) -> None:
        """Take in the records of these lines."""
        self.modified, self.changed = read[-1].modified, True
        frames = []
        for lines, before, made in self._parsed(read):
            number = self._next
            rest = replace(made, events=_NONE)
            self._reads.append(
                _Read(
                    number, lines.piece, lines.before, lines.after, before, made.events.height, rest
                )
            )
            self._next += 1
            self.unknown |= made.unknown_fields
            events = self._not_taken(lines, made.events)
            if events.height:
                frames.append(events.with_columns(pl.lit(number, _WAITING[_NUMBER]).alias(_NUMBER)))
        if frames:
            events = frames[0] if len(frames) == 1 else pl.concat(frames)
            self._take(self._log_time.feed(events))

    def _next_lines(self, size: int) -> list[Lines]:
        """The next lines, about `size` bytes at most: of one piece, or of many small ones if the
        format reads them together."""
        found: list[Lines] = []
        most = _TOGETHER if isinstance(self.stream.format, Chaining) else 1
        while (lines := self.stream.read(size, on=bool(found))) is not None:
            found.append(lines)
            here = len(lines.block.data)
            size -= here
            if len(found) == most or here > _SMALL or size <= 0 or not self.stream.behind:
                break
        return found

    def _parsed(self, read: Sequence[Lines]) -> Iterator[tuple[Lines, Any, Parsed]]:
        """What is in the lines, with the state before each. Pieces that have no state of their own
        yet, one after the other, are read together."""
        form, states = self.stream.format, self._states
        place = 0
        while place < len(read):
            state = states.of(read[place].piece)
            rest = takewhile(lambda one: not one.block.overlong, read[place:])
            count = states.chained(one.piece for one in rest)
            if isinstance(form, Chaining) and count > 1:
                made = form.chain([one.block for one in read[place : place + count]], state)
            else:
                made = [parsed(form, read[place].block, state)]
            for lines, (one, after) in zip(read[place:], made, strict=False):
                states.set(lines.piece, after)
                yield lines, state, one
                state = after
            place += len(made)

    def _not_taken(self, lines: Lines, events: pl.DataFrame) -> pl.DataFrame:
        """Without those that were given on before a restart: the first ones, since the same lines
        give the same records in the same order, however they are cut. Their places do not tell: a
        flow stands where its first packet does, and comes when it is over."""
        taken = self._taken.pop(lines.piece, 0)
        if taken > events.height:
            self._taken[lines.piece] = taken - events.height
        return events.slice(min(taken, events.height))

    def settle(self) -> None:
        """Nothing came for a while: what was in doubt is settled."""
        if self._log_time.doubted.height:
            self._take(self._log_time.flush())

    def _take(self, events: pl.DataFrame) -> None:
        if events.is_empty():
            return
        if self.key is None:
            end, event_id = events.select(pl.col(LOG_TIME).dt.epoch("us"), "event.id").row(0)
            self.key = (self.stream.dataset, end, event_id)
        self.buffer = events if self.buffer.is_empty() else pl.concat([self.buffer, events])

    def times(self) -> pl.Series:
        """Log time of what waits, µs."""
        return self.buffer[LOG_TIME].dt.epoch("us")

    def give(self, rows: int) -> pl.DataFrame:
        """The next records; reading goes on only now."""
        self.empty = None
        part = self.buffer.head(rows)
        # Nothing of a frame would still hold all of it.
        self.buffer = self.buffer.slice(rows) if rows < self.buffer.height else _NONE
        if rows:
            self.latest = int(part[LOG_TIME].dt.epoch("us")[-1])
            self.changed = True
        return self._changes.step(part.drop(_NUMBER))

    def tail(self) -> pl.DataFrame:
        """What is told only when nothing more is to come, once all else was given; once."""
        if self._told or self.waits:
            return empty()
        self._told = True
        made = self._changes.flush()
        self.changed |= bool(made.height)
        return made

    def rejects(self) -> Iterator[pl.DataFrame]:
        """Those of lines read since they were asked for last."""
        for read in self._reads:
            if not read.told and read.parsed.rejects.height:
                yield read.parsed.rejects
            read.told = True

    def positions(self) -> dict[str, Any]:
        """What is to be saved so that a restart goes on behind the last record given, by key."""
        if not self.changed:
            return {}
        self.changed = False
        waiting = self._waiting()
        positions: dict[str, Any] = {}
        while self._reads and (waiting is None or self._reads[0].number < waiting[0]):
            done = self._reads.popleft()
            positions[f"piece/{done.piece}"] = {"at": dict(done.after), "given": 0}
            self._count(done.parsed)
        again: dict[str, Any] = {}
        given = 0
        if waiting is not None:
            given = 1 + self._reads[0].rows - waiting[1]
        for number, read in enumerate(self._reads):
            again.setdefault(read.piece, read.state)
            key = f"piece/{read.piece}"
            if number == 0 or key not in positions:
                positions[key] = {"at": _back_at(read), "given": given}
            given = 0
        self._states.keep(self.stream.in_hand)
        positions[f"stream/{self.stream.id}"] = {
            "key": self.key,
            "latest": self.latest,
            "counts": dict(self.counts),
            "late": self.late,
            "future": self.future,
            "past": self.past,
            **({"sockets": self._changes.saved()} if self._changes.used else {}),
            **self._states.saved(again),
        }
        return positions

    def _waiting(self) -> tuple[int, int] | None:
        """Number of the lines of the first record that waits, and how many of these do."""
        frames = [one for one in (self.buffer, self._log_time.doubted) if one.height]
        if not frames:
            return None
        number = int(frames[0][_NUMBER][0])
        return number, sum(int((one[_NUMBER] == number).sum()) for one in frames)

    def _count(self, made: Parsed) -> None:
        self.counts["lines"] += made.lines
        self.counts["records"] += made.record_lines
        self.counts["rejects"] += made.rejects.height
        self.counts["comments"] += made.comments


def _back_at(read: _Read) -> dict[str, Any]:
    """The record of a piece before lines that are read again after a restart. How the piece is
    known again is what was read by now: at its beginning there would be nothing else."""
    return {**read.before, "seen": read.after["head"]}


_WAITING: Final[dict[str, pl.DataType]] = {**STORED, _NUMBER: pl.Int64()}
_NONE: Final[pl.DataFrame] = pl.DataFrame(schema=_WAITING)
