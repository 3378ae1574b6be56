"""Events and alerts sent to a server until each has its final fate.

Nothing is sent twice to be on the safe side, and nothing is given up: a document is sent again only
if the server did not say what became of it, or said that it may take it later. As documents are
created under ids that come from their content, one that the server had taken although no answer
came is known to it the second time. It is counted as known then, as the server says, and besides
as unsure: it may well be that this send has stored it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import polars as pl

from connwatch.addresses import is_loopback
from connwatch.contracts import Delivery, Receipt, Refusal
from connwatch.errors import ServerAwayError, ServerError, ServerLockedError
from connwatch.schema import empty

from .bodies import INDICES, LIMIT, Alert
from .bulk import Outcome, post
from .client import Server
from .layout import Layout
from .pace import Pace, Retrying
from .threads import Threads
from .work import NEVER, Post, Work

#: how often it is looked whether to stop, seconds
_LOOK: Final = 0.1
#: what the rate of the last moments is taken from, seconds
_MOMENTS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of the documents of one send.

    stored: events that the server created; known: events that it had already, of which unsure are
    perhaps from an earlier attempt of this send that got no answer, or a status of 5xx. updated:
    alerts that were created or brought up to date; removed: alerts that are not there any more.
    refused: for good, in the order of the documents. fates: of each event, as in a `Receipt`;
    later: alerts that have no final fate. stuck: indices that take nothing for now, and why, where
    what is for them was to be left. error: why sending was given up; None: it was not.
    """

    stored: int
    known: int
    unsure: int
    updated: int
    removed: int
    refused: tuple[Refusal, ...]
    fates: pl.Series
    later: tuple[Alert, ...]
    stuck: Mapping[str, ServerError]
    error: ServerError | None = None

    @property
    def done(self) -> bool:
        """Whether everything has its final fate."""
        return not self.later and not bool((self.fates == "retry").any())


@dataclass(frozen=True, slots=True)
class State:
    """How sending goes on, for whoever wants to know.

    waiting: documents of this send without a final fate. requests and in_flight: that are under
    way, and their bytes before compression. at_once: requests that may be; limit: bytes of one.
    pause: seconds until the next attempt; failures: in a row; error: the last one's text, None
    when it is over. The rest counts since the start: stored … refused as in `Sent`, retried:
    documents that were to be sent again. rate: documents a second that got their final fate
    lately.
    """

    waiting: int
    requests: int
    in_flight: int
    at_once: int
    limit: int
    pause: float
    failures: int
    error: str | None
    stored: int
    known: int
    unsure: int
    updated: int
    removed: int
    refused: int
    retried: int
    rate: float


_COUNTS: Final = ("stored", "known", "unsure", "updated", "removed", "retried")


class ElasticsearchSink:
    """Sends to one server; one thread at a time, others wait.

    requests: that are under way at once, at most. limit: bytes of one before compression; one that
    is ready may wait besides. indices: that one goes to, at most. gzip: None unless everything
    stays on this machine. grace: seconds that answers are waited for when sending is to stop.
    `close` leaves the server open.
    """

    name = "elasticsearch"

    def __init__(
        self,
        server: Server,
        layout: Layout,
        *,
        retrying: Retrying | None = None,
        requests: int = 4,
        limit: int = LIMIT,
        indices: int = INDICES,
        gzip: bool | None = None,
        grace: float = 5.0,
    ) -> None:
        self.server = server
        self.layout = layout
        self.indices = indices
        self.grace = grace
        self.gzip = not _near(server) if gzip is None else gzip
        self._pace = Pace(retrying or Retrying(), requests, limit, len(server.settings.nodes))
        self._threads: Threads[Outcome] = Threads(requests, "elasticsearch")
        self._guard = threading.Lock()
        self._work: Work | None = None
        self._flying: dict[int, Post] = {}
        self._before = dict.fromkeys((*_COUNTS, "refused"), 0)
        self._moments: deque[tuple[float, int]] = deque()

    def close(self) -> None:
        self._threads.close()

    def write(self, delivery: Delivery) -> Receipt:
        """One attempt for each row. ServerError: somebody must do something about it (rights,
        certificates, what is no Elasticsearch); a server that is away, or takes no writes, is
        nothing but rows to be handed in again."""
        alerts = [
            Alert(one["event"]["id"], self.layout.alert_index(one), one) for one in delivery.alerts
        ]
        work = self._work_of(delivery.events, alerts)
        sent = self._send(work, threading.Event(), once=True)
        if isinstance(sent.error, ServerError) and not _passes(sent.error) and not sent.done:
            raise sent.error
        return Receipt(sent.fates, tuple(one.id for one in sent.later), sent.refused)

    def send(
        self,
        events: pl.DataFrame | None = None,
        alerts: Sequence[Alert] = (),
        stop: threading.Event | None = None,
        *,
        leave: bool = False,
    ) -> Sent:
        """Goes on until every document has its final fate, `stop` is set, or `retrying` says that
        it is enough. leave: what its own index does not take for now, as there is a block on it, is
        left without a fate, and does not hold up others.

        events: the schema's stored columns. alerts: those with the same id and index take the place
        of those before. Alerts are sent behind the events.
        """
        work = self._work_of(empty() if events is None else events, alerts)
        return self._send(work, stop or threading.Event(), leave=leave)

    def _work_of(self, events: pl.DataFrame, alerts: Sequence[Alert]) -> Work:
        return Work(events, alerts, self.layout, self.indices)

    def _send(
        self, work: Work, stop: threading.Event, *, once: bool = False, leave: bool = False
    ) -> Sent:
        with self._guard:
            self._work = work
            self._pace.begin(time.monotonic())
            try:
                error = _Send(self, work, stop, once=once, leave=leave).run()
            finally:
                for name in _COUNTS:
                    self._before[name] += getattr(work, name)
                self._before["refused"] += work.refusals
                self._work = None
        return Sent(
            work.stored,
            work.known,
            work.unsure,
            work.updated,
            work.removed,
            work.refused,
            work.fates,
            work.later,
            work.stuck,
            error,
        )

    @property
    def state(self) -> State:
        """How it goes now; from any thread."""
        work, pace, flying, now = self._work, self._pace, [*self._flying.values()], time.monotonic()
        counts: dict[str, Any] = dict(self._before)
        if work is not None:
            for name in _COUNTS:
                counts[name] += getattr(work, name)
            counts["refused"] += work.refusals
        moments = [(at, count) for at, count in [*self._moments] if at > now - _MOMENTS]
        trouble = pace.trouble
        return State(
            waiting=work.waiting if work else 0,
            requests=len(flying),
            in_flight=sum(len(one.data) for one in flying),
            at_once=pace.requests,
            limit=pace.limit,
            pause=max(0.0, pace.until - now),
            failures=pace.failures,
            error=None if trouble is None else str(trouble),
            rate=sum(count for _, count in moments) / _MOMENTS,
            **counts,
        )


class _Send:
    """One send: bodies are made here while threads post those before."""

    def __init__(
        self, sink: ElasticsearchSink, work: Work, stop: threading.Event, *, once: bool, leave: bool
    ) -> None:
        self.sink, self.work, self.stop = sink, work, stop
        self.once, self.leave = once, leave
        work.leaving = leave
        self.pace = sink._pace
        self.flying = sink._flying = {}
        self.answers: queue.SimpleQueue[tuple[int, float, Future[Outcome]]] = queue.SimpleQueue()
        self.ready: Post | None = None
        self.number = 0
        self.error: ServerError | None = None

    def run(self) -> ServerError | None:
        """Why it was given up, if it was."""
        while self.work.waiting and not self._over():
            self._begin()
            self._learn(self._wait(time.monotonic()))
        end = time.monotonic() + (NEVER if self.once else self.sink.grace)
        while self.flying and (left := end - time.monotonic()) > 0:
            self._learn(min(left, _LOOK))
        self.sink._flying = {}
        return self.error

    def _over(self) -> bool:
        if self.stop.is_set():
            return True
        if self.ready is None and not self.flying and self.work.due in (None, NEVER):
            return True
        if not self.once and self.pace.over(time.monotonic()):
            self.error = self.pace.trouble
        return self.error is not None

    def _begin(self) -> None:
        """Hand over as many requests as may be under way, and make one more."""
        now = time.monotonic()
        while True:
            if self.ready is None:
                self.ready = self.work.next(now, self.pace.limit)
            pausing = now < self.pace.until and not self.once
            if self.ready is None or pausing or len(self.flying) >= self.pace.requests:
                return
            self._hand_over(self.ready)
            self.ready = None

    def _hand_over(self, one: Post) -> None:
        number, self.number = self.number, self.number + 1
        self.flying[number] = one
        server, gzip, answers = self.sink.server, self.sink.gzip, self.answers

        started = time.monotonic()
        told = self.sink._threads.submit(lambda: post(server, one.data, len(one.places), gzip=gzip))
        told.add_done_callback(lambda done: answers.put((number, started, done)))

    def _wait(self, now: float) -> float:
        """Seconds until there may be something to begin, if no answer comes before."""
        due = self.work.due
        until = max(self.pace.until, now if self.ready is not None else due or now)
        return min(_LOOK, max(until - now, 0.0 if not self.flying else _LOOK))

    def _learn(self, timeout: float) -> None:
        try:
            number, started, told = self.answers.get(timeout=max(timeout, 0.001))
        except queue.Empty:
            return
        outcome = told.result()
        now = time.monotonic()
        one = self.flying.pop(number)
        left = self.leave and outcome.apart
        self.pace.learn(outcome, len(one.data), started, now, left=left)
        pause = max(self.pace.retrying.pause(one.tries + 1), outcome.after)
        due = now + pause if outcome.final else max(now, self.pace.until)
        if left:
            self.work.leave(one, outcome)
        else:
            self.work.done(one, outcome, NEVER if self.once else due)
        if outcome.final:
            self._moment(now, outcome.final)
        if self.once and outcome.trouble is not None and not outcome.final:
            self.error = outcome.trouble

    def _moment(self, now: float, count: int) -> None:
        moments = self.sink._moments
        moments.append((now, count))
        while moments and moments[0][0] < now - _MOMENTS:
            moments.popleft()


def _passes(error: ServerError) -> bool:
    """Whether nobody has to do anything."""
    return isinstance(error, (ServerAwayError, ServerLockedError))


def _near(server: Server) -> bool:
    """Whether nothing leaves this machine: compressing costs more than it saves then."""
    settings = server.settings
    hosts = [urlsplit(node).hostname or "" for node in settings.nodes]
    return settings.proxy is None and all(map(is_loopback, hosts))
