"""What is copied, how far it is, and what became of it.

How far a copy is stands in a file of the store, whichever way it goes, from its first batch until
it is done: `copies/*.json`, one for each server, span and query. It says up to which @timestamp all
events are at the other end, and how many these are: if as many are no longer there, something has
come or gone meanwhile, and the copy begins anew, which doubles nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from connwatch.alert import Document, iso
from connwatch.contracts import Refusal
from connwatch.query import Query
from connwatch.query.made import equal
from connwatch.query.tree import And, Everything, Or, to_kql

FOLDER: Final = "copies"
#: refusals that are told one by one
NAMED: Final = 100


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to copy: events that match, from `start` (inclusive) to `end` (exclusive); and alerts
    that have hits in that span of log time, with a query only those that list an event that
    matches it. now: what relative times of the query refer to."""

    query: Query
    now: datetime
    start: datetime | None = None
    end: datetime | None = None

    @property
    def when(self) -> dict[str, Any]:
        """For the functions of `connwatch.query`."""
        return {"now": self.now, "start": self.start, "end": self.end}

    @property
    def everything(self) -> bool:
        return isinstance(self.query.root, Everything)


@dataclass(slots=True)
class Counts:
    """What became of events or alerts. copied: were not there. grown: alerts that were there with
    less. there: were there as they are. refused: by the server, for good. skipped: events that an
    earlier copy, which did not end, had taken there. cut: events with values that the server
    cannot take whole. partial: alerts without all of their hits."""

    copied: int = 0
    grown: int = 0
    there: int = 0
    refused: int = 0
    skipped: int = 0
    cut: int = 0
    partial: int = 0


@dataclass(slots=True)
class Outcome:
    """events and alerts: see `Counts`. total: events to copy. refusals: some of them, with reasons.
    notes: what else is to be said."""

    events: Counts = field(default_factory=Counts)
    alerts: Counts = field(default_factory=Counts)
    total: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    told: Callable[[Outcome], None] = lambda outcome: None

    @property
    def done(self) -> int:
        """Events of `total` that are dealt with."""
        one = self.events
        return one.copied + one.there + one.refused + one.skipped

    def refused(self, found: Sequence[Refusal]) -> None:
        for one in found:
            counts = self.events if one.kind == "event" else self.alerts
            counts.refused += 1
        self.refusals += found[: max(0, NAMED - len(self.refusals))]

    def as_json(self) -> dict[str, Any]:
        events, alerts = self.events, self.alerts
        return {
            "events": {
                name: getattr(events, name)
                for name in ("copied", "there", "skipped", "refused", "cut")
            },
            "alerts": {
                name: getattr(alerts, name)
                for name in ("copied", "grown", "there", "refused", "partial")
            },
            "refusals": [
                {"kind": one.kind, "id": one.id, "reason": one.reason} for one in self.refusals
            ],
            "notes": self.notes,
        }


@dataclass(frozen=True, slots=True)
class Place:
    """How far a copy is: all events before `until` are dealt with, `events` in number, of which
    the other end refused some."""

    until: datetime
    events: int
    refused: int = 0


class Progress:
    """How far one copy is. folder: of the store. server: which one, and the prefix of its
    indices. way: of the copy."""

    def __init__(self, folder: Path, way: str, server: str, wanted: Wanted) -> None:
        bounds = [None if one is None else iso(one) for one in (wanted.start, wanted.end)]
        what = json.dumps([way, server, to_kql(wanted.query), *bounds])
        self.path = folder / FOLDER / f"{hashlib.sha256(what.encode()).hexdigest()[:32]}.json"
        self.problem: str | None = None

    def read(self) -> Place | None:
        """None: there is nothing to go on with."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            until = datetime.fromisoformat(found["until"])
            return Place(until, int(found["events"]), int(found["refused"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None  # missing or damaged: the copy begins anew, which doubles nothing

    def save(self, place: Place) -> None:
        """Who may not write to the store copies all the same, and begins anew the next time."""
        text = {"until": iso(place.until), "events": place.events, "refused": place.refused}
        temporary = self.path.with_suffix(f".{os.getpid()}.part")
        try:
            self.path.parent.mkdir(exist_ok=True)
            temporary.write_text(json.dumps(text), encoding="utf-8")
            temporary.replace(self.path)
        except OSError as error:
            self.problem = f"{self.path}: {error.strerror or error}"

    def forget(self) -> None:
        """The copy is done, or begins anew."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            self.problem = f"{self.path}: {error.strerror or error}"


def among(wanted: Wanted, ids: Sequence[str]) -> Query:
    """The query, asked of events with these ids alone."""
    each = tuple(equal("event.id", one) for one in ids)
    return Query(And((wanted.query.root, Or(each))))


def listing(page: Sequence[Document], matched: set[str]) -> list[Document]:
    """The alerts that list one of these events."""
    return [
        alert
        for alert in page
        if any(one["event.id"] in matched for one in alert["connwatch"]["evidence"])
    ]
