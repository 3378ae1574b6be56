"""Streams merged on log time.

Log time is, per stream, the running maximum of event.end. Records are given in the order of
(log time, stream key, position in the stream), which depends on the records alone: not on paths,
on the order of arguments, or on how large the blocks are.

A stream is opened when its first record's turn has come, and holds one block; so memory is bounded
by the number of streams that overlap in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import polars as pl

from connwatch.contracts import Block, Joining, Parsed
from connwatch.errors import InputError

from .blocks import SIZE, blocks
from .files import HEAD, TOGETHER, Source, is_whole
from .log_time import LOG_TIME, LogTime
from .opening import Opened
from .parsing import each_parsed
from .sockets.changes import Changes
from .streams import Stream

#: told of every block read: its source, what was parsed, and how many bytes were read from disk
Watch = Callable[[Source, Parsed, int], None]
#: told of a source that could not be read to its end
Failed = Callable[[Source, InputError], None]
#: told what is to be said of the order of records
Note = Callable[[str], None]


def parsed_blocks(source: Source, failed: Failed) -> Iterator[tuple[Parsed, int]]:
    """Every block of a source, parsed, with the bytes read from disk so far."""
    try:
        opened = source.stream or Opened(source.path)
    except InputError as error:
        failed(source, error)
        return
    try:
        every = blocks(opened, source.head)
        with closing(each_parsed(source.format, every, source.begin())) as parsed:
            for made in parsed:
                yield made, opened.taken
    except InputError as error:
        failed(source, error)
    finally:
        opened.close()


def _parts(stream: Stream, failed: Failed) -> Iterator[list[tuple[Source, Parsed, int]]]:
    """What is read of a stream at once: a block, or small files that follow one another; with the
    bytes read from disk."""
    waiting: list[tuple[Source, Block, int]] = []
    for source in stream.sources:
        small = _small(source)
        if small is not None:
            waiting.append((source, *small))
            size = sum(len(block.data) for _, block, _ in waiting)
            if size < SIZE and len(waiting) < TOGETHER:
                continue
        if waiting:
            yield _together(waiting)
            waiting = []
        if small is None:
            for made, taken in parsed_blocks(source, failed):
                yield [(source, made, taken)]
    if waiting:
        yield _together(waiting)


def _small(source: Source) -> tuple[Block, int] | None:
    """All that is in a file, and bytes read from disk; None: it is not small (any more)."""
    if source.tail is None:
        return None
    try:
        opened = Opened(source.path)
    except InputError:
        return None
    try:
        data = opened.read(HEAD)
        if not is_whole(opened, data):
            return None
        return Block(source.path, data, 0, 1, True), opened.taken
    except InputError:
        return None
    finally:
        opened.close()


def _together(files: list[tuple[Source, Block, int]]) -> list[tuple[Source, Parsed, int]]:
    form, dataset = files[0][0].format, files[0][0].dataset
    assert isinstance(form, Joining)  # noqa: S101  `Source.tail` says so
    made = form.whole([block for _, block, _ in files], dataset)
    return [(source, one, taken) for (source, _, taken), one in zip(files, made, strict=True)]


@dataclass(slots=True)
class _Reader:
    """One stream being read: `buffer` holds records with log time, not yet given away."""

    rank: int
    frames: Iterator[pl.DataFrame]
    buffer: pl.DataFrame
    done: bool = False

    def refill(self) -> None:
        """Read on until there is a record, or the stream ends."""
        while self.buffer.is_empty() and not self.done:
            frame = next(self.frames, None)
            if frame is None:
                self.done = True
            else:
                self.buffer = frame

    @property
    def bound(self) -> int:
        """Nothing that is still to come from this stream is earlier."""
        return int(self.buffer[LOG_TIME].dt.epoch("us")[-1])


def _frames(stream: Stream, watch: Watch, failed: Failed, note: Note) -> Iterator[pl.DataFrame]:
    """A stream's records in the order in which they were written, log time filled."""
    log_time, changes = LogTime(), Changes()
    for part in _parts(stream, failed):
        for source, made, taken in part:
            watch(source, made, taken)
        events = [made.events for _, made, _ in part if made.events.height]
        if not events:
            continue
        whole = events[0] if len(events) == 1 else pl.concat(events, rechunk=True)
        if (frame := log_time.feed(whole)).height:
            yield changes.step(frame)
    if log_time.doubted.height:
        yield changes.step(log_time.flush())
    if (frame := changes.flush()).height:
        yield frame
    where = stream.sources[0].path
    if changes.untracked:
        note(
            f"{where}: {changes.untracked} sockets were not compared with the snapshot before "
            "(a snapshot has too many)"
        )
    if log_time.future:
        note(
            f"{where}: {log_time.future} records are from the future (more than an hour ahead of "
            "those behind them); they did not move the log's time"
        )
    if log_time.past:
        note(
            f"{where}: {log_time.past} records are from the past (they end more than an hour "
            "before one that is written earlier); windows have them at the time of that one. If "
            "parts of the log are in the wrong order: as files of their own they are read in order"
        )


def merged(
    streams: Sequence[Stream], watch: Watch, failed: Failed, note: Note = lambda said: None
) -> Iterator[pl.DataFrame]:
    """Frames of events in the order above; frames follow one another in that order too.

    streams: by key (`streams.streams`).
    """
    waiting = sorted(
        enumerate(streams), key=lambda item: (item[1].sources[0].first_end or 0, item[0])
    )
    active: list[_Reader] = []
    while waiting or active:
        while waiting and (not active or _turn(waiting[0][1]) <= min(r.bound for r in active)):
            rank, stream = waiting.pop(0)
            reader = _Reader(rank, _frames(stream, watch, failed, note), pl.DataFrame())
            reader.refill()
            if not reader.done:
                active.append(reader)
        if not active:
            continue
        yield _next(active)
        for reader in active:
            reader.refill()
        active = [reader for reader in active if not reader.done]


def _turn(stream: Stream) -> int:
    return stream.sources[0].first_end or 0


def _next(active: Sequence[_Reader]) -> pl.DataFrame:
    """Take what nothing still to come can precede."""
    if len(active) == 1:
        frame, active[0].buffer = active[0].buffer, active[0].buffer.head(0)
        return frame
    bound, rank = min((reader.bound, reader.rank) for reader in active)
    parts = []
    for reader in active:
        # Of equal log times those of the lower rank come first, so rows at the bound may go
        # only if their stream does not come after the one that sets the bound.
        times = reader.buffer[LOG_TIME].dt.epoch("us")
        cut = int(times.search_sorted(bound, "right" if reader.rank <= rank else "left"))
        if cut:
            parts.append(reader.buffer.head(cut).with_columns(_rank=pl.lit(reader.rank, pl.UInt32)))
            reader.buffer = reader.buffer.slice(cut)
    return pl.concat(parts).sort(LOG_TIME, "_rank", maintain_order=True).drop("_rank")
