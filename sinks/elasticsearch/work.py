"""The documents of one send: which have no final fate yet, and the next request for them.

What is held besides the documents themselves: a byte and a mark for each, and the lines of one part
of the events (`bodies`). Requests are made when they are asked for; those that failed are made
again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from connwatch.contracts import Refusal
from connwatch.errors import ServerError
from connwatch.stages import ahead

from .bodies import INDICES, PART, Alert, Body, alert_bodies, event_bodies
from .bulk import Fate, Outcome
from .layout import Layout

Places: TypeAlias = npt.NDArray[np.int64]

#: times that the server fails (500) on documents together before they are sent apart, and on one
#: alone before that is refused
_TOGETHER: Final = 3
_ALONE: Final = 8
#: when something is due that this send is not to send again
NEVER: Final = float("inf")
_NAMES: Final = {
    int(Fate.RETRY): "retry",
    int(Fate.STORED): "stored",
    int(Fate.KNOWN): "known",
    int(Fate.REFUSED): "refused",
}


@dataclass(frozen=True, slots=True)
class Post:
    """One request. places: of its documents, among all of the send. group: what they are of."""

    data: bytes
    places: Places
    group: _Group

    @property
    def tries(self) -> int:
        """How often they were sent before."""
        return self.group.tries


@dataclass(slots=True)
class _Group:
    """Documents that are sent together as far as they fit: events or alerts, not before `due`.

    faults: how often the server failed on them; alone: how often on one alone, and took another one
    right afterwards. suspect: these are that other one, which it has already.
    """

    places: Places
    tries: int = 0
    due: float = 0.0
    faults: int = 0
    alone: int = 0
    suspect: _Group | None = None
    reason: str = ""
    #: what is made of them, of how many bytes at most, and how many are done
    made: Iterator[Body] | None = None
    limit: int = 0
    sent: int = 0

    @property
    def rest(self) -> _Group:
        return replace(self, places=self.places[self.sent :], made=None, sent=0)


class Work:
    """Events and alerts on their way. Places: events in order, then alerts.

    events: the schema's stored columns. alerts: of those with one id and index the last counts. A
    document is waiting until it has a final fate. Events are sent index by index, so that few of
    these are written to at a time; `indices`: by one request, at most. Where there are more of them
    than `many`, requests are made ahead by a thread.

    stuck: indices that take nothing for now, and why (see `leave`).
    """

    def __init__(
        self,
        events: pl.DataFrame,
        alerts: Sequence[Alert],
        layout: Layout,
        indices: int = INDICES,
        many: int = PART,
    ) -> None:
        self._one, self._names, self._order = _places(events, layout)
        self.events = events if self._order is None else events[self._order]
        self.alerts = alerts
        self.layout = layout
        self.indices = indices
        self._many = many
        #: whether what waits for its own index is left to another send
        self.leaving = False
        self.stuck: dict[str, ServerError] = {}
        self.stored = self.known = self.unsure = self.updated = self.removed = self.retried = 0
        self._refusals: dict[int, Refusal] = {}
        count = events.height + len(alerts)
        self._fates = np.zeros(count, np.uint8)
        self._unsure = np.zeros(count, np.bool_)
        #: where the state of an alert stands that takes the place of this one
        last = {(one.index, one.id): place for place, one in enumerate(alerts, events.height)}
        self._newest = [last[one.index, one.id] for one in alerts]
        self.waiting = events.height + len(last)
        alert_places = np.array(sorted(last.values()), np.int64)
        groups = (np.arange(events.height), alert_places)
        self._groups = deque(_Group(places) for places in groups if places.size)

    @property
    def fates(self) -> pl.Series:
        """Of each event, as a receipt has it."""
        found = self._fates[: self.events.height]
        if self._order is not None:
            found = found[np.argsort(self._order)]
        whole = pl.Series("fate", found)
        return whole.replace_strict(_NAMES, return_dtype=pl.String)

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """In the order of the documents."""
        return tuple(self._refusals[place] for place in sorted(self._refusals, key=self._given))

    def _given(self, place: int) -> int:
        """Where a document stood when it was handed in."""
        if self._order is None or place >= len(self._order):
            return place
        return int(self._order[place])

    @property
    def refusals(self) -> int:
        """How many there are."""
        return len(self._refusals)

    @property
    def later(self) -> tuple[Alert, ...]:
        """Alerts without a final fate, also those whose place a newer state has taken."""
        return tuple(
            one
            for one, newest in zip(self.alerts, self._newest, strict=True)
            if self._fates[newest] == Fate.RETRY
        )

    def next(self, now: float, limit: int) -> Post | None:
        """The next request of at most `limit` bytes; None: there is nothing to send now."""
        while self._groups:
            group = self._groups[0]
            if group.due > now:
                # What is due first is behind at most all others.
                if all(one.due > now for one in self._groups):
                    return None
                self._groups.rotate(-1)
                continue
            if group.made is None or group.limit > limit:
                self._groups[0] = group = group.rest
                group.made, group.limit = self._bodies(group.places, limit), limit
            body = next(group.made, None)
            if body is None:
                self._groups.popleft()
                continue
            group.sent = body.first + body.count
            return Post(body.data, group.places[body.first : group.sent], group)
        return None

    @property
    def due(self) -> float | None:
        """When there is something to send again; None: there is nothing."""
        return min((one.due for one in self._groups), default=None)

    def _bodies(self, places: Places, limit: int) -> Iterator[Body]:
        first = self.events.height
        if places.size and places[0] >= first:
            return alert_bodies((self.alerts[place - first] for place in places), limit=limit)
        whole = len(places) == self.events.height
        some = self.events if whole else self.events[places]
        bodies = event_bodies(some, self.layout, limit=limit, indices=self.indices)
        # What takes long to make is made while the server is at work on what was made before.
        return bodies if some.height <= self._many else ahead(bodies, 1)

    def done(self, post: Post, outcome: Outcome, due: float) -> None:
        """What came of a request. due: when what is left of it may be sent again."""
        if post.group.suspect is not None:
            self._judge(post.group.suspect, outcome, due)
            return
        if outcome.divide is not None:
            self._divide(post, outcome.divide)
            return
        self._count(post.places, outcome.fates)
        for place, reason in outcome.reasons.items():
            self._refuse(int(post.places[place]), reason)
        if outcome.unsure:
            self._unsure[post.places] = True
        left = post.places[outcome.fates == Fate.RETRY]
        if left.size:
            self.retried += left.size
            self._later(_Group(left, post.tries + 1, due, alone=post.group.alone), post, outcome)

    def _later(self, group: _Group, post: Post, outcome: Outcome) -> None:
        """Send it again; what the server fails on again and again in ever smaller requests, until
        the document is found that it fails on."""
        if outcome.fault is None or group.due == NEVER:
            self._again(group)
            return
        group.faults, group.reason = post.group.faults + 1, outcome.fault
        if group.faults < _TOGETHER:
            self._groups.append(group)
        elif len(group.places) > 1:
            half = len(group.places) // 2
            for places in (group.places[:half], group.places[half:]):
                self._groups.append(replace(group, places=places))
        else:
            self._suspect(group, outcome)

    def _suspect(self, group: _Group, outcome: Outcome) -> None:
        """A document that the server fails on alone: whether the server is to blame shows another
        one of the same index that it has taken, and takes again."""
        place = int(group.places[0])
        taken = np.isin(self._fates, [Fate.STORED, Fate.KNOWN, Fate.UPDATED])
        names = self._index(np.flatnonzero(taken))
        others = np.flatnonzero(taken)[names == self._index(group.places)[0]]
        if others.size:
            # Its tries say how long the other one waits then: no longer than the third pause.
            control = _Group(others[-1:], min(group.alone, 2), group.due, suspect=group)
            self._groups.append(control)
        elif self.leaving and outcome.trouble is not None:
            self.stuck[str(self._index(np.array([place]))[0])] = outcome.trouble
            self._groups.append(replace(group, due=NEVER))
        else:
            self._groups.append(group)

    def _judge(self, suspect: _Group, outcome: Outcome, due: float) -> None:
        """What came of the other document that was sent behind one that the server fails on."""
        alone = suspect.alone + 1 if outcome.final else 0
        if alone < _ALONE:
            self._groups.append(replace(suspect, alone=alone, due=due))
            return
        self._fates[suspect.places] = Fate.REFUSED
        self.waiting -= 1
        reason = f"the server fails on this document, and on no other: {suspect.reason}"
        self._refuse(int(suspect.places[0]), reason)

    def _index(self, places: Places) -> npt.NDArray[np.object_]:
        """The index of each."""
        first = self.events.height
        ours = places[places < first]
        events = [self._one] * ours.size if self._names is None else self._names.gather(ours)
        alerts = [self.alerts[place - first].index for place in places[places >= first]]
        return np.array([*events, *alerts], dtype=object)

    def leave(self, post: Post, outcome: Outcome) -> None:
        """The indices of what is left of a request take nothing for now: it has no fate yet."""
        if outcome.trouble is None:
            return
        names = np.unique(self._index(post.places[outcome.fates == Fate.RETRY]))
        self.stuck.update(dict.fromkeys(map(str, names), outcome.trouble))
        self.done(post, outcome, NEVER)

    def _divide(self, post: Post, reason: str) -> None:
        if len(post.places) == 1:
            self._fates[post.places] = Fate.REFUSED
            self.waiting -= 1
            self._refuse(int(post.places[0]), reason)
            return
        half = len(post.places) // 2
        for places in (post.places[half:], post.places[:half]):
            self._groups.appendleft(replace(post.group, places=places, due=0.0, made=None, sent=0))

    def _again(self, group: _Group) -> None:
        """Behind everything that is waiting already; groups of the same kind become one."""
        last = self._groups[-1] if self._groups else None
        alike = last is not None and self._alike(last, group)
        fresh = last is not None and last.tries and last.made is None and not last.faults
        if last is not None and fresh and alike:
            last.places = np.sort(np.concatenate([last.places, group.places]))
            last.tries, last.due = max(last.tries, group.tries), max(last.due, group.due)
        else:
            self._groups.append(group)

    def _alike(self, one: _Group, other: _Group) -> bool:
        first = self.events.height
        both = one.places[0] < first, one.due == NEVER
        return both == (other.places[0] < first, other.due == NEVER)

    def _count(self, places: Places, fates: npt.NDArray[np.uint8]) -> None:
        self._fates[places] = fates
        counts = np.bincount(fates, minlength=len(Fate))
        self.stored += int(counts[Fate.STORED])
        self.known += int(counts[Fate.KNOWN])
        self.updated += int(counts[Fate.UPDATED])
        self.removed += int(counts[Fate.REMOVED])
        self.waiting -= len(places) - int(counts[Fate.RETRY])
        self.unsure += int(np.count_nonzero(self._unsure[places] & (fates == Fate.KNOWN)))

    def _refuse(self, place: int, reason: str) -> None:
        first = self.events.height
        if place < first:
            refusal = Refusal("event", self.events["event.id"][place], reason)
        else:
            refusal = Refusal("alert", self.alerts[place - first].id, reason)
        self._refusals[place] = refusal


def _places(
    events: pl.DataFrame, layout: Layout
) -> tuple[str | None, pl.Series | None, Places | None]:
    """The index of all events, or else (None) of each in the order in which they are to be sent,
    and that order, index by index; None: as they are."""
    one = layout.one_index(events)
    if one is not None or events.is_empty():
        return one, None, None
    names = layout.event_indices(events)
    runs = names.rank("dense").to_numpy()
    if bool((runs[1:] >= runs[:-1]).all()):
        return None, names, None
    order = np.argsort(runs, kind="stable")
    return None, names.gather(order), order
