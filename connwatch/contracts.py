"""What the folders promise one another.

    Source -> Block -> Format.parse -> Parsed -> order, enrich, dedupe
           -> Detector -> matches -> fold -> alerts -> Sink.write -> Receipt

Data flows one way; `connwatch.pipeline` is the only place that puts these together. Every value
here is a plain frozen record or a Polars frame with a documented schema, so that each part can be
tested with nothing but literals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar, runtime_checkable

import numpy as np
import polars as pl

from connwatch.schema import UTC

State = TypeVar("State")
Seen = TypeVar("Seen", contravariant=True)
_NEWLINE: Final = ord("\n")
#: bytes looked at together: of a whole block, what is found would need fresh memory each time
_STEP: Final = 1 << 17

#: A line that could not be read. `raw` is the line with invalid UTF-8 as backslash-x escapes,
#: cut at 64 KiB; `field` the source field that is wrong (null: the line as a whole).
REJECT_SCHEMA: Final[dict[str, pl.DataType]] = {
    "log.file.path": pl.String(),
    "line": pl.Int64(),
    "log.offset": pl.Int64(),
    "format": pl.String(),
    "field": pl.String(),
    "reason": pl.String(),
    "raw": pl.String(),
}

#: One row per (rule, event): `rule` is the rule's key (`Rule.key`), `row` the position of the
#: event in the batch that was matched.
MATCH_SCHEMA: Final[dict[str, pl.DataType]] = {"rule": pl.String(), "row": pl.UInt32()}

#: A match made durable: which event a rule hit, in which group, at which log time.
#: (rule, event.id) is unique. `group` is `group_key` of the alert's group values.
HIT_SCHEMA: Final[dict[str, pl.DataType]] = {
    "rule": pl.String(),
    "group": pl.String(),
    "event.id": pl.String(),
    "@timestamp": UTC,
    "connwatch.log_time": UTC,
}


#: What lists said of hits: one row per hit of a rule with lists and indicator that the event shows
#: (`alert.indicator_key`).
SHOWN_SCHEMA: Final[dict[str, pl.DataType]] = {
    "rule": pl.String(),
    "event.id": pl.String(),
    "indicator": pl.String(),
}

#: The span of an alert: `start` and `end` are the log time of its first and its last hit. Spans of
#: one rule and group do not overlap. `lists`: whether lists say something of its hits.
SPAN_SCHEMA: Final[dict[str, pl.DataType]] = {
    "alert": pl.String(),
    "rule": pl.String(),
    "group": pl.String(),
    "start": UTC,
    "end": UTC,
    "lists": pl.Boolean(),
}

#: Hits that are not to be counted, because a hit of a run before tells of the same connection:
#: rule, group and log time of one, and `to_group` and `to_time` of that other hit of the rule.
LINKED_SCHEMA: Final[dict[str, pl.DataType]] = {
    "rule": pl.String(),
    "group": pl.String(),
    "connwatch.log_time": UTC,
    "to_group": pl.String(),
    "to_time": UTC,
}


def newlines(data: bytes) -> int:
    """How many there are; found three times as fast, in a large block, as `bytes.count` does, and
    without keeping other threads from their work."""
    every = np.frombuffer(data, np.uint8)
    parts = (every[start : start + _STEP] for start in range(0, len(every), _STEP))
    return sum(int(np.count_nonzero(part == _NEWLINE)) for part in parts)


@dataclass(frozen=True, slots=True)
class Block:
    """Complete lines of one file.

    path: as the user gave it. data: bytes of whole lines; only the last block of a file may end
    without a newline. offset: of data[0] in the decompressed file, bytes. line: number of the
    first line, from 1. last: nothing follows in this file; a replay gives such a block of every
    file that it reads to its end, if need be one without data. overlong: data is the beginning of
    one line that is too long to be read; it is a reject whatever the format. lines: how many there
    are.
    """

    path: str
    data: bytes
    offset: int
    line: int
    last: bool
    overlong: bool = False
    lines: int = field(init=False)

    def __post_init__(self) -> None:
        unended = self.data[-1:] not in (b"\n", b"")
        lines = 1 if self.overlong else newlines(self.data) + unended
        object.__setattr__(self, "lines", lines)


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a parser made of one block.

    events: conformed, in file order. rejects: `REJECT_SCHEMA`. lines = record_lines + rejects +
    comments holds for every block. records: events before duplicates are taken out. A format that
    holds lines back counts them with the block in which it reads them. notes: what is to be said
    once of the file.
    """

    events: pl.DataFrame
    rejects: pl.DataFrame
    lines: int
    record_lines: int
    comments: int
    unknown_fields: frozenset[str] = frozenset()
    notes: frozenset[str] = frozenset()


class Format(Protocol[State]):
    """One log format: one file under `ingest/`, one line in its registry.

    `sniff` tells from the first bytes (decompressed, at most 64 KiB) whether a file is of this
    format: the dataset it holds, or None. `opened` and `closed` are when the log says that it was
    begun (in its first bytes) and ended (in its last), as text that sorts by time within one
    stream, or None. `parse` is pure: what it must remember between blocks
    of a file (a header) is in the state it returns; `saved` is that as JSON values, of which
    `restored` makes the state again. `holds`: whether lines may be held back until more comes
    or the file ends; then a follower too ends every file with a last block. A parser never raises
    for bad input: a line is a comment, part of a record, or a reject.
    """

    name: str
    description: str
    holds: bool

    def sniff(self, head: bytes, path: str) -> str | None: ...

    def opened(self, head: bytes) -> str | None: ...

    def closed(self, tail: bytes) -> str | None: ...

    def begin(self, dataset: str) -> State: ...

    def parse(self, block: Block, state: State) -> tuple[Parsed, State]: ...

    def saved(self, state: State) -> dict[str, Any]: ...

    def restored(self, saved: Mapping[str, Any]) -> State: ...


@runtime_checkable
class Joining(Protocol):
    """A format that reads many small files together for what one of them would cost."""

    def whole(self, blocks: Sequence[Block], dataset: str) -> list[Parsed]:
        """What `parse` makes of each of these blocks, which are files as a whole, from the state
        with which files of that dataset begin."""
        ...


@runtime_checkable
class Chaining(Protocol[State]):
    """A format that reads many small blocks together for what one of them would cost."""

    def chain(self, blocks: Sequence[Block], state: State) -> list[tuple[Parsed, State]]:
        """What `parse` makes of these blocks one after the other, each from the state that the one
        before it left."""
        ...


@runtime_checkable
class Holding(Protocol[Seen]):
    """A format that holds lines back. rests: whether what it holds is whole when nothing came for
    long; if something comes all the same, it is of another part."""

    rests: bool

    def held(self, state: Seen) -> bool:
        """Whether a last block would tell of something."""
        ...


@runtime_checkable
class Stepped(Protocol[State]):
    """A format that reads a block in two steps, so that the second one of a block and the first one
    of the next may be under way at once. Each has a part of the state, which the other leaves as it
    is. `parse` does one after the other.
    """

    def first(self, block: Block, state: State) -> tuple[Any, State]:
        """What the second step is to know of the block, and the state behind it."""
        ...

    def second(self, block: Block, found: Any, state: State) -> tuple[Parsed, State]:
        """What is made of that."""
        ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one commit hands to a sink: all of it becomes visible together, or nothing.

    events: schema's stored columns, no duplicates among them. hits: `HIT_SCHEMA`. alerts: nested
    ECS documents, newest state of each. rejects: `REJECT_SCHEMA`. checkpoint: what the pipeline
    wants back after a restart, JSON values by key; None takes a key away. shown: `SHOWN_SCHEMA`,
    of these hits, from which stored alerts count what lists matched; it is not kept itself.
    spans: `SPAN_SCHEMA`, of every alert that these hits belong to; None: those of `alerts`. The
    documents may come with a later delivery of the same commit: writing them takes time.
    journal: bytes that are given back after a restart, behind those of the deliveries before,
    until a snapshot takes their place. linked: `LINKED_SCHEMA`, what the alerts count beside these
    hits; the store counts each connection once.
    """

    events: pl.DataFrame
    hits: pl.DataFrame
    alerts: tuple[Mapping[str, Any], ...]
    rejects: pl.DataFrame
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    shown: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=SHOWN_SCHEMA))
    spans: pl.DataFrame | None = None
    journal: bytes | None = None
    linked: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LINKED_SCHEMA))


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that the sink will never take: kind is event or alert, id its id, reason the sink's."""

    kind: str
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """The fate of every row of a delivery.

    fates: one per event, in order: "stored", "known" (there already), "retry" or "refused".
    retry_alerts: ids of alerts to hand in again. refused: with reasons; nobody else interprets
    a sink's statuses. A delivery is done when nothing is left to retry.
    """

    fates: pl.Series
    retry_alerts: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()

    @property
    def stored(self) -> int:
        return int((self.fates == "stored").sum())

    @property
    def known(self) -> int:
        return int((self.fates == "known").sum())

    @property
    def done(self) -> bool:
        return not self.retry_alerts and not bool((self.fates == "retry").any())


class Sink(Protocol):
    """Takes deliveries. Writing the same delivery twice is harmless (ids come from content)."""

    name: str

    def write(self, delivery: Delivery) -> Receipt: ...

    def close(self) -> None: ...


def group_key(fields: tuple[str, ...]) -> pl.Expr:
    """The canonical text of a group's values: JSON object in the order of `fields`, nulls kept."""
    return pl.struct(fields).struct.json_encode()
