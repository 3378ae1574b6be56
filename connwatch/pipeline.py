"""The way of a record through the house, in one place.

    read     files into blocks, blocks into events and rejects     connwatch.ingest
    order    streams merged on log time                            connwatch.ingest.merge
    limit    --from and --to                                       here
    enrich   direction, Community ID                               connwatch.ingest.enrich
    dedupe   a record counts once in a run                         connwatch.sinks.embedded
    link     records of one flow, whoever tells of it              connwatch.detectors.witnesses
    match    every rule against every record                       connwatch.detection,
    count    what many matches come to, in sliding windows           with connwatch.detectors:
    fold     hits into alerts                                        ruleset, windows, fold
    apart    hits of what runs before have counted                 connwatch.earlier
    deliver  new events, hits, alerts and rejects, in one commit   connwatch.sinks.embedded

The alert set is a function of the records and the rules: not of batch size, speed, paths, or of
what the store has already. What the store counts is one hit for each connection and rule.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from connwatch.alert import SEVERITY, Digest, Document, Written
from connwatch.contracts import HIT_SCHEMA, REJECT_SCHEMA, Delivery, Parsed
from connwatch.detection import Detected, Detection
from connwatch.detectors.indicators import Lists
from connwatch.detectors.ruleset import RuleSet
from connwatch.earlier import Earlier
from connwatch.errors import InputError
from connwatch.ingest.enrich import HomeNetworks, enrich
from connwatch.ingest.files import Found, Source
from connwatch.ingest.merge import merged
from connwatch.ingest.streams import streams
from connwatch.ingest.zeek import DATASETS
from connwatch.ingest.zeek_tsv import NAME as ZEEK_TSV
from connwatch.ledger import Ledger
from connwatch.memory import keep_much
from connwatch.schema import empty, sums_up
from connwatch.sinks.embedded import EmbeddedStore, Run
from connwatch.stages import Behind, ahead

#: rejects that wait for the next commit, before they get one of their own
_REJECTS = 20_000
#: records that are worked on together
_BATCH = 100_000
#: blocks read in front of the computing, and commits waiting behind it
_AHEAD, _BEHIND = 1, 1
#: seconds that a replay which is stopped waits for who reads, perhaps from a pipe that is silent
_PATIENCE: Final = 2.0


@dataclass(frozen=True, slots=True)
class Options:
    """What a replay does beside reading: the span it is limited to, the user's networks, and what
    no rule matches."""

    start: datetime | None = None
    end: datetime | None = None
    home: HomeNetworks | None = None
    allow: Lists | None = None


@dataclass(slots=True)
class Progress:
    """How far a replay is: bytes read from disk of how many (None: unknown), records so far."""

    total: int | None
    done: int = 0
    records: int = 0


@dataclass(slots=True)
class Outcome:
    """What a replay found. alerts: number by level. allowed: events that no rule was asked of.
    linked: hits that the store counts already, by other records of the same connections.
    failed: sources not read to their end."""

    ledger: Ledger
    seconds: float = 0.0
    alerts: dict[str, int] = field(default_factory=dict)
    digest: str = ""
    allowed: int = 0
    linked: int = 0
    notes: list[str] = field(default_factory=list)
    failed: list[InputError] = field(default_factory=list)
    unknown_fields: set[str] = field(default_factory=set)

    def summary(self) -> dict[str, Any]:
        """As `replay --summary` writes it."""
        counts = self.ledger.summary()
        seen = counts["events"] + counts["duplicates"]
        return {
            **counts,
            "allowed": self.allowed,
            "alerts": sum(self.alerts.values()),
            "alerts_by_level": self.alerts,
            "hits_linked": self.linked,
            "seconds": round(self.seconds, 3),
            "events_per_second": round(seen / self.seconds) if self.seconds else 0,
            "digest": self.digest,
            "notes": self.notes,
            "failed": [{"path": error.where, "reason": error.message} for error in self.failed],
            "unknown_fields": sorted(self.unknown_fields),
        }


def replay(
    found: Found,
    rules: RuleSet,
    store: EmbeddedStore,
    options: Options,
    *,
    on_alert: Callable[[Document], None] = lambda document: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Outcome:
    """Read the sources, match the rules, and store what was found.

    on_alert: told of every alert once, when nothing can be added to it any more. Raises StoreError
    when the store fails; what was committed before stays, and the same replay again completes it.
    """
    begun = time.monotonic()
    keep_much()
    run = store.begin_run()
    earlier = Earlier(store.folder, run)
    work = _Replay(found, rules, run, earlier, options, on_alert, on_progress)
    try:
        with closing(ahead(work.ordered(), _AHEAD, _PATIENCE)) as batches, work.reading():
            for events in batches:
                work.process(events)
        work.finish()
    except BaseException:
        work.run.hurry()
        work.writer.abandon()
        raise
    work.outcome.ledger.balance()
    work.outcome.seconds = time.monotonic() - begun
    return work.outcome


class _StoppedError(Exception):
    """Nobody wants more."""


class _Replay:
    """One replay in progress. `ordered` runs in the reading thread, `run.write` and
    `earlier.apart` in the writing one, everything else in the caller's."""

    def __init__(
        self,
        found: Found,
        rules: RuleSet,
        run: Run,
        earlier: Earlier,
        options: Options,
        on_alert: Callable[[Document], None],
        on_progress: Callable[[Progress], None],
    ) -> None:
        self.outcome = Outcome(Ledger())
        self.writer = Behind[tuple[Delivery, pl.DataFrame | None, pl.DataFrame | None]](
            lambda w: run.write(earlier.apart(w[0]), w[1], known=w[2]), _BEHIND
        )
        self._sources: Sequence[Source] = found.sources
        self.run, self._earlier, self._options = run, earlier, options
        self._detection = Detection(rules, options.allow, one_witness=_one_log(found.sources))
        self._on_alert, self._on_progress = on_alert, on_progress
        self._digest = Digest()
        self._rejects: list[pl.DataFrame] = []
        self._taken: dict[str, int] = {}
        sizes = [source.size for source in self._sources]
        known = [size for size in sizes if size is not None]
        self._progress = Progress(sum(known) if len(known) == len(sizes) else None)
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self.outcome.notes.extend(self._detection.notes())
        for source in self._sources:
            self.outcome.ledger.open(source.path, source.format.name)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Who reads is told when nobody wants more; a batch is put together of many blocks."""
        try:
            yield
        finally:
            self._stop.set()

    def ordered(self) -> Iterator[pl.DataFrame]:
        """read, order"""
        made, notes = streams(self._sources)
        self.outcome.notes.extend(notes)
        yield from _gathered(merged(made, self._watch, self._failed, self.outcome.notes.append))

    def _watch(self, source: Source, parsed: Parsed, taken: int) -> None:
        if self._stop.is_set():
            raise _StoppedError
        with self._guard:
            self.outcome.ledger.parsed(source.path, parsed)
            self.outcome.unknown_fields |= parsed.unknown_fields
            self.outcome.notes.extend(sorted(parsed.notes.difference(self.outcome.notes)))
            if parsed.rejects.height:
                self._rejects.append(parsed.rejects)
            self._taken[source.path] = taken
        if sum(frame.height for frame in self._rejects) > _REJECTS:
            self.writer.put((self._delivery(empty()), None, None))

    def _failed(self, source: Source, error: InputError) -> None:
        self.outcome.failed.append(error)

    def process(self, events: pl.DataFrame) -> None:
        """limit, enrich, dedupe, link, match, count, fold, deliver"""
        self._count("summaries", events.filter(sums_up()))
        events = self._limited(events)
        events = enrich(events, self._options.home)
        events, fresh, keys = self._deduplicated(events)
        found = self._detection.step(events)
        self.outcome.allowed += found.allowed
        made = self._detection.written(found.touched)
        known = None if fresh.all() else events.filter(~fresh)
        self.writer.put((self._delivery(events.filter(fresh), found, made), keys, known))
        self._tell_all(found.closed, made)
        self._progress.done = sum(self._taken.values())
        self._progress.records += events.height
        self._on_progress(self._progress)

    def finish(self) -> None:
        """Everything is read: what is still open is final, and the last rejects are stored."""
        self.outcome.notes += self._detection.forgotten_notes()
        self._tell_all(self._detection.open)
        if self._rejects:
            self.writer.put((self._delivery(empty()), None, None))
        self.writer.close()
        self.outcome.notes += self._earlier.notes()
        self.outcome.linked = self._earlier.linked
        self.outcome.digest = self._digest.hexdigest()

    def _limited(self, events: pl.DataFrame) -> pl.DataFrame:
        start, end = self._options.start, self._options.end
        if start is None and end is None:
            return events
        keep = pl.lit(value=True)
        if start is not None:
            keep = keep & (pl.col("@timestamp") >= start)
        if end is not None:
            keep = keep & (pl.col("@timestamp") < end)
        self._count("out_of_range", events.filter(~keep))
        return events.filter(keep)

    def _deduplicated(self, events: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series, pl.DataFrame]:
        """The records that this run meets for the first time, which of them are new to the store,
        and the keys of these."""
        fate, keys = self.run.classify(events)
        if not bool((fate == "new").all()):
            self._count("duplicates", events.filter(fate == "duplicate"))
            self._count("already_stored", events.filter(fate == "known"))
            events, fate = events.filter(fate != "duplicate"), fate.filter(fate != "duplicate")
        fresh = fate == "new"
        self._count("events", events)
        self._count("stored", events.filter(fresh))
        self.outcome.ledger.times(events["@timestamp"])
        return events, fresh, keys

    def _count(self, name: str, events: pl.DataFrame) -> None:
        if events.height:
            with self._guard:
                self.outcome.ledger.count(name, events["log.file.path"])

    def _delivery(
        self, events: pl.DataFrame, found: Detected | None = None, alerts: Sequence[Written] = ()
    ) -> Delivery:
        with self._guard:
            waiting, self._rejects = self._rejects, []
        rejects = pl.concat(waiting) if waiting else _NO_REJECTS
        if found is None:
            return Delivery(events, _NO_HITS, (), rejects)
        return Delivery(events, found.hits, tuple(alerts), rejects, shown=found.shown)

    def _tell_all(self, alerts: pl.DataFrame, made: Sequence[Written] = ()) -> None:
        """Tell of alerts to which nothing can be added any more. made: some of them, and others;
        the rest is written again."""
        known = {one.id: one for one in made}
        missing = alerts.filter(~pl.col("alert").is_in(list(known)))
        known.update((one.id, one) for one in self._detection.written(missing))
        for alert_id in alerts["alert"]:
            self._tell(known[alert_id].document())

    def _tell(self, document: Document) -> None:
        level = document["connwatch"]["level"]
        self.outcome.alerts[level] = self.outcome.alerts.get(level, 0) + 1
        self._digest.add(document)
        self._on_alert(document)


def _gathered(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Small frames put together, so that a thousand small files are not a thousand commits. The
    first comes alone: the other threads wait for it."""
    waiting: list[pl.DataFrame] = []
    least = 0
    for frame in frames:
        waiting.append(frame)
        if sum(one.height for one in waiting) >= least:
            yield pl.concat(waiting, rechunk=True)
            waiting, least = [], _BATCH
    if waiting:
        yield pl.concat(waiting, rechunk=True)


#: dataset of Zeek's log of connections that have ended
_CONN = DATASETS["conn"]
_NO_HITS = pl.DataFrame(schema=HIT_SCHEMA)
_NO_REJECTS = pl.DataFrame(schema=REJECT_SCHEMA)


def _one_log(sources: Sequence[Source]) -> bool:
    """Whether all files are of Zeek's conn.log, as far as their beginnings tell. One file of JSON
    often has several logs."""
    return all(one.format.name == ZEEK_TSV and one.dataset == _CONN for one in sources)


def at_or_above(alerts: Mapping[str, int], level: str) -> int:
    """How many alerts have this level or a higher one."""
    return sum(number for name, number in alerts.items() if SEVERITY[name] >= SEVERITY[level])


def bundled_rules() -> Path:
    """The folder of the rules that come with the program."""
    import connwatch.rules

    return Path(connwatch.rules.__path__[0])
