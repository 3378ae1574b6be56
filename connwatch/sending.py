"""Sending what waits in a store's outbox to Elasticsearch, beside a replay or a live run.

What a run commits is in the outbox, whatever becomes of the server; a thread of its own takes it
from there, and takes out what the server has acknowledged. While the server is away, the thread
tries again, with growing pauses, and a run that commits more than may wait is held back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

import polars as pl

from connwatch import elastic
from connwatch.config import Elasticsearch
from connwatch.contracts import HIT_SCHEMA, REJECT_SCHEMA, Delivery, Receipt, Refusal
from connwatch.errors import ConnwatchError, ServerError, StoreDamagedError
from connwatch.holding import PASSES, Held
from connwatch.schema import empty
from connwatch.sinks.elasticsearch import Server, Settings, connect
from connwatch.sinks.elasticsearch.bodies import Alert
from connwatch.sinks.elasticsearch.layout import Layout
from connwatch.sinks.elasticsearch.pace import Retrying
from connwatch.sinks.elasticsearch.retention import (
    Retention,
    drop,
    expired,
    has_lifecycle,
    index_names,
)
from connwatch.sinks.elasticsearch.room import lacking
from connwatch.sinks.elasticsearch.setup import carry_out, plan
from connwatch.sinks.elasticsearch.sink import ElasticsearchSink, Sent
from connwatch.sinks.embedded import EmbeddedStore
from connwatch.sinks.embedded.dead_letters import DeadLetter, letters
from connwatch.sinks.embedded.outbox import Changed, Part

#: events and alerts that are sent together, about
_ROWS: Final = 20_000
_ALERTS: Final = 1_000
#: seconds between two looks at an empty outbox, and of one who waits until it is
_LOOK: Final = 0.5
_SOON: Final = 0.05
#: after so many refusals to have anything to do with us, connect anew
_RETRYING: Final = Retrying(attempts=3)
#: seconds that a stop waits for a request in hand
_PATIENCE: Final = 3.0
#: seconds between two looks for indices that are too old
_EXPIRE: Final = 3_600.0


@dataclass(slots=True)
class Counts:
    """What became of what was sent. stored: events that are new there; known: that were there;
    alerts: states of alerts brought up to date or taken away; refused: of both, for good."""

    stored: int = 0
    known: int = 0
    alerts: int = 0
    refused: int = 0


class Sender:
    """Used as a context manager. urls: in the place of the section's servers. end: when it is set,
    a run does not wait for room in the outbox any more. told: of each new reason why somebody has
    to wait. for_ever: a server that refuses to have anything to do with us is asked again, too;
    otherwise what it does not take stays in the outbox, and nobody waits for it.

    alarm: told, in another thread, what of the outbox cannot be read; `damage` has all of it.

    failed: why sending was given up for now. retries: how often since it last went well.
    ConfigError when the section does not say what is needed.
    """

    def __init__(
        self,
        store: EmbeddedStore,
        section: Elasticsearch,
        urls: Sequence[str] = (),
        *,
        end: threading.Event | None = None,
        told: Callable[[str], None] = lambda problem: None,
        alarm: Callable[[ConnwatchError], None] = lambda error: None,
        for_ever: bool = True,
    ) -> None:
        self.counts = Counts()
        self.failed: ConnwatchError | None = None
        self.retries = 0
        self.damage: list[ConnwatchError] = []
        self._alarm = alarm
        self._store = store
        self._settings = elastic.connection_settings(section, urls)
        self._layout = elastic.layout(section)
        self._retention = elastic.retention(section)
        self._outbox = store.open_outbox(section.backlog, end)
        self._outbox.waits = self._tell
        self._told, self._last, self._for_ever = told, "", for_ever
        self._expired = -_EXPIRE
        self._sink: ElasticsearchSink | None = None
        self._changed = 0
        self._held = Held(_RETRYING)
        self._there: set[str] = set()
        self._resting = False
        self._error: BaseException | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop soon; what is not sent stays in the outbox."""
        self._end.set()
        self._outbox.stop.set()
        self._thread.join(_PATIENCE)

    @property
    def waiting(self) -> tuple[int, int]:
        """Events and alerts that are not sent yet."""
        return self._outbox.rows, self._outbox.alerts

    @property
    def problem(self) -> str | None:
        """Why nothing is sent at the moment, or what is for some indices waits; None: there is
        nothing in the way."""
        sink = self._sink
        failed = self.failed or self._held.error
        now = None if sink is None else sink.state.error
        return now if now is not None or failed is None else str(failed)

    def _tell(self) -> None:
        self.check()
        problem = self.problem
        if problem is not None and problem != self._last:
            self._told(problem)
        self._last = problem or ""

    @property
    def _refused(self) -> bool:
        """Whether waiting does not help."""
        failed = self.failed or (self._held.helpless if self._resting else None)
        return not self._for_ever and failed is not None and not isinstance(failed, PASSES)

    def drain(self, stop: threading.Event | None = None, *, patient: bool = True) -> bool:
        """Wait until everything is sent; whether it was. stop: when it is set, do not wait.
        patient: wait for a server that is away."""
        while any(self.waiting):
            self._tell()
            if stop is not None and stop.is_set():
                return False
            if self._refused or not (patient or self.problem is None):
                return False
            time.sleep(_SOON)
        return True

    def check(self) -> None:
        """Raise what ended the thread, which nobody foresaw."""
        if self._error is not None:
            raise self._error

    def measures(self) -> dict[str, Any]:
        """For the status. queued_alerts: as of the last look, at most so many as go together."""
        self.check()
        sink = self._sink
        return {
            "name": ElasticsearchSink.name,
            "queue": self._outbox.rows,
            "queued_alerts": self._changed,
            "retries": self.retries if sink is None else sink.state.failures,
            "retried": 0 if sink is None else sink.state.retried,
            "error": self.problem,
            **asdict(self.counts),
        }

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                self._send_all()
            except ConnwatchError as error:
                self.failed = error
                self.retries += 1
                if self._refused:
                    self._outbox.stop.set()
                self._end.wait(_RETRYING.pause(self.retries))
            except BaseException as error:  # noqa: BLE001  handed over, and raised by `check`
                self._error = error
                return

    def _send_all(self) -> None:
        """Connect, and send until the end or an error."""
        with _opened(self._settings, self._layout, self._retention) as sink:
            self._there = set(index_names(sink.server, self._layout))
            self._sink, self.failed = sink, None
            try:
                while not self._end.is_set():
                    self._expire(sink.server)
                    self._resting = not self._step(sink)
                    if self._refused:
                        self._outbox.stop.set()
                    if self._resting:
                        self._outbox.wait_for_news(_LOOK)
            finally:
                self._sink = None

    def _expire(self, server: Server) -> None:
        """Now and then, delete indices that are too old, where the server does not by itself."""
        if time.monotonic() - self._expired < _EXPIRE:
            return
        self._expired = time.monotonic()
        if self._retention != Retention() and not has_lifecycle(server):
            # The system's clock: retention is about the age of what is kept.
            today = datetime.now(UTC).date()
            drop(server, expired(server, self._layout, self._retention, today))

    def _step(self, sink: ElasticsearchSink) -> bool:
        """Send some of what waits, but for indices that take nothing for now; whether there was
        anything."""
        now, held, damaged = time.monotonic(), self._held, len(self.damage)
        parts, frames = self._read(self._outbox.pending(_ROWS, held.parts(now)))
        changed = self._outbox.changed(_ALERTS, held.alerts(now))
        self._changed = len(changed)
        events = pl.concat([empty(), *frames])
        alerts, places = self._alerts(sink.server, changed)
        names = self._layout.event_indices(events)
        closed = held.closed(now)
        full = self._full(sink.server, names, alerts, closed)
        closed.update(full)
        open_ = ~names.is_in(closed)
        going = [n for n, each in enumerate(alerts) if closed.isdisjoint(a.index for a in each)]
        ready = events.filter(open_)
        sent = sink.send(ready, [a for n in going for a in alerts[n]], self._end, leave=True)
        if sent.error is not None:
            raise sent.error
        if not sent.done and self._end.is_set():
            return False  # what was taken already is known there the next time
        self.retries = 0
        left = (~open_).to_numpy(writable=True)
        left[open_.to_numpy()] = sent.fates == "retry"
        # Before anything leaves the outbox: who waits until it is empty asks for the counts then.
        self._count(sent)
        numbers = self._outbox.done(
            parts, self._letters(events, changed, sent.refused), events.filter(left)
        )
        unsent = {one.id for one in sent.later}
        done = [n for n in going if changed[n].id not in unsent]
        self._outbox.sent([changed[n] for n in done], [places[n] for n in done])
        taken = {*names.filter(~left), *(one.index for n in done for one in alerts[n])}
        self._there |= taken
        held.learn({**full, **sent.stuck}, taken, time.monotonic())
        held.forget((one.number for one in parts), (one.id for one in changed))
        held.keep(numbers, names.filter(left))
        for n in set(range(len(changed))).difference(done):
            held.keep_alert(changed[n].id, (one.index for one in alerts[n]))
        return bool(ready.height or going or len(self.damage) > damaged)

    def _read(self, parts: Sequence[Part]) -> tuple[list[Part], list[pl.DataFrame]]:
        """The parts that can be read, and what they have; others are set aside, and told."""
        whole: list[Part] = []
        frames: list[pl.DataFrame] = []
        for part in parts:
            try:
                frames.append(part.events(self._store.folder))
                whole.append(part)
            except StoreDamagedError as error:
                told = self._outbox.set_aside(part, error)
                self.damage.append(told)
                self._alarm(told)
        return whole, frames

    def _count(self, sent: Sent) -> None:
        counts = self.counts
        counts.stored += sent.stored
        counts.known += sent.known
        counts.alerts += sent.updated + sent.removed
        counts.refused += len(sent.refused)

    def _full(
        self,
        server: Server,
        names: pl.Series,
        alerts: Sequence[Sequence[Alert]],
        closed: Collection[str],
    ) -> dict[str, ServerError]:
        """Indices that would have to be made, and for which there is no room; and why."""
        put = {one.index for each in alerts for one in each if one.document is not None}
        new = {*names.unique(), *put} - self._there - set(closed)
        error = lacking(server, self._layout, new)
        return {} if error is None else dict.fromkeys(new, error)

    def _alerts(
        self, server: Server, changed: Sequence[Changed]
    ) -> tuple[list[list[Alert]], list[str | None]]:
        """What is to be done with each alert, and where each is then."""
        todo: list[list[Alert]] = []
        places: list[str | None] = []
        for one in changed:
            index = None
            here: list[Alert] = []
            if one.document is not None:
                index = self._layout.alert_index(one.document)
                here.append(Alert(one.id, index, one.document, one.status))
            elif not one.joined:
                index = one.place  # retention here is not retention there
            if one.place is not None and one.place != index:
                self._keep_word(server, one.id, one.place)
                here.append(Alert(one.id, one.place, None))
            todo.append(here)
            places.append(index)
        return todo, places

    def _keep_word(self, server: Server, alert: str, place: str) -> None:
        """What somebody said on the server of an alert that goes is said of the one that it became
        part of, unless something was said of that here."""
        path = f"/{place}/_doc/{alert}?_source_includes=connwatch.status"
        answer = server.perform("GET", path)
        if not answer.ok:
            return
        status = answer.body.get("_source", {}).get("connwatch", {}).get("status")
        if status in ("acknowledged", "closed"):
            self._store.set_alert_status(alert, status, only_open=True)

    def _letters(
        self, events: pl.DataFrame, changed: Sequence[Changed], refused: Sequence[Refusal]
    ) -> list[DeadLetter]:
        if not refused:
            return []
        documents = tuple(one.document for one in changed if one.document is not None)
        nothing = pl.DataFrame(schema=HIT_SCHEMA), documents, pl.DataFrame(schema=REJECT_SCHEMA)
        receipt = Receipt(pl.Series(dtype=pl.String), refused=tuple(refused))
        # The system's clock: when it was refused, which no event depends on.
        return letters(
            ElasticsearchSink.name, datetime.now(UTC), Delivery(events, *nothing), receipt
        )


def sink_of(
    section: Elasticsearch, urls: Sequence[str] = ()
) -> AbstractContextManager[ElasticsearchSink]:
    """A sink that the section names, ready to be written to. urls: in the place of its servers.
    ConfigError; ServerError when it cannot be used."""
    settings = elastic.connection_settings(section, urls)
    return _opened(settings, elastic.layout(section), elastic.retention(section))


@contextmanager
def _opened(
    settings: Settings, layout: Layout, retention: Retention
) -> Iterator[ElasticsearchSink]:
    """Before anything is written the server knows our indices. The first one to come sets up what
    the section says of them; later only an administrator changes that."""
    with connect(settings, writing=True) as server:
        wanted = plan(server, layout, retention, settings=False)
        if all(one.action == "create" for one in wanted.changes):
            wanted = plan(server, layout, retention)
        carry_out(server, wanted)
        with closing(ElasticsearchSink(server, layout, retrying=_RETRYING)) as sink:
            yield sink
