"""Stored alerts: per rule and group, the sessions of all hits that the store ever got.

A delivered alert says what its run has seen. What the store has of the same rule and group within
the rule's quiet period, from this run or another, is the same alert: times and evidence are joined,
and the count grows by the hits that the store did not have.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final, NamedTuple

import polars as pl

from connwatch.alert import Document, Written, fired, joined, parted
from connwatch.contracts import SPAN_SCHEMA, Delivery
from connwatch.schema import UTC
from connwatch.spans import placed

from . import processes

#: alerts that a run remembers; when there are more, it reads them again
_REMEMBERED: Final = 100_000
#: hits of a commit that are few
_FEW: Final = 200
_KEY: Final = ("rule", "group")
#: of an alert that was taken from elsewhere: how many of the hits that it counts are not among
#: those of the store. Hits that come later are these first, so that none is counted twice
UNKNOWN: Final = "hits_unknown"


class Growth(NamedTuple):
    """How many hits of an alert the store did not have, and how many of these showed which
    indicator of a list."""

    new: int
    shown: Mapping[str, int]


class Grown(NamedTuple):
    """An alert that says something new: its newest document, and see `Growth`."""

    alert: Written
    new: int
    shown: Mapping[str, int]


@dataclass(slots=True)
class Own:
    """Alerts that the store has just as one run delivered them last: open, and joined with nothing.

    counts: their hits, by id. changes: rows that the writer had changed when that was so. What
    the run delivers next of such an alert is the whole of it, and takes its place unread.
    """

    counts: dict[str, int] = field(default_factory=dict)
    changes: int = -1

    def check(self, changes: int) -> None:
        """To be called first in a transaction: forget all if anything else was written since."""
        if self.changes != changes or len(self.counts) > _REMEMBERED:
            self.counts.clear()

    def is_whole(self, grown: Grown, near: Sequence[str]) -> bool:
        """Whether the store has no hit of a delivered alert, or of one near it, that is not in it.

        near: ids of the stored alerts that are near it. Never so where lists say something: what
        they said before may be more than what they say now.
        """
        alert, new, _ = grown
        if alert.lists:
            return False
        if not near:
            return new == alert.count
        known = self.counts.get(alert.id)
        return near == [alert.id] and known is not None and known + new == alert.count


class Growing:
    """The alerts of the deliveries of one commit: what is new of each, and its newest document."""

    def __init__(self) -> None:
        self._growth: dict[str, Growth] = {}
        self._newest: dict[str, Written] = {}

    def deliver(self, alerts: Iterable[Mapping[str, Any]]) -> list[Written]:
        """Documents in the place of older ones of the same alerts."""
        delivered = [Written.of(alert) for alert in alerts]
        self._newest.update((alert.id, alert) for alert in delivered)
        return delivered

    def add(self, delivery: Delivery, fresh: pl.DataFrame) -> None:
        """One delivery more. fresh: its hits that the store did not have."""
        delivered = self.deliver(delivery.alerts)
        spans = spans_of(delivered) if delivery.spans is None else delivery.spans
        for alert, (new, shown) in growth(spans, fresh, delivery.shown).items():
            before = self._growth.get(alert, Growth(0, {}))
            both = Counter(before.shown) + Counter(shown)
            self._growth[alert] = Growth(before.new + new, both)

    @property
    def delivered(self) -> list[str]:
        """The ids of all of them."""
        return list(self._newest)

    def grown(self) -> list[Grown]:
        """In the order in which they were first met. KeyError: a document was never delivered."""
        return [Grown(self._newest[alert], *grown) for alert, grown in self._growth.items()]


def growth(spans: pl.DataFrame, fresh: pl.DataFrame, shown: pl.DataFrame) -> dict[str, Growth]:
    """Alerts with fresh hits, by id, and all with lists: these may have more to say of hits that
    are there already.

    spans: `SPAN_SCHEMA`. fresh: hits (`HIT_SCHEMA`) that the store did not have; shown: what lists
    said of hits (`SHOWN_SCHEMA`).
    """
    counts = _counts(spans, fresh)
    listed = _listed(spans, fresh, shown)
    return {
        alert: Growth(counts.get(alert, 0), listed.get(alert, {}))
        for alert, lists in spans.select("alert", "lists").iter_rows()
        if lists or alert in counts
    }


def merge(database: sqlite3.Connection, grown: Sequence[Grown], own: Own) -> list[str]:
    """Bring the alerts of one commit in; the ids of those that are others now."""
    if not grown:
        return []
    near = near_ones(database, [one.alert for one in grown])
    changes = _Changes()
    groups: dict[tuple[str, str], list[int]] = {}
    for number, (alert, _, _) in enumerate(grown):
        groups.setdefault((alert.rule, alert.group), []).append(number)
    for numbers in groups.values():
        here = [grown[number] for number in numbers]
        if _apart(here) and all(own.is_whole(grown[n], near[n]) for n in numbers):
            changes.whole.update((one.alert.id, one.alert) for one in here)
            continue
        stored = _documents(database, dict.fromkeys(one for n in numbers for one in near[n]))
        for one in here:
            _merge_one(stored, one, changes)
    changes.write(database)
    changes.remember(own)
    return [*changes.whole, *changes.put, *changes.gone]


def _apart(grown: Sequence[Grown]) -> bool:
    """Whether the alerts of one group come one after the other, with quiet periods between them."""
    return all(
        before.end < alert.start - max(alert.suppress, before.suppress)
        for (before, *_), (alert, *_) in pairwise(grown)
    )


def near_ones(database: sqlite3.Connection, alerts: Sequence[Written]) -> list[list[str]]:
    """For each alert, the ids of those stored ones of its rule and group that may be joined."""
    database.execute(
        "CREATE TEMP TABLE IF NOT EXISTS wanted"
        " (number INTEGER, rule TEXT, grp TEXT, first INTEGER, last INTEGER)"
    )
    database.execute("DELETE FROM wanted")
    database.executemany(
        "INSERT INTO wanted VALUES (?, ?, ?, ?, ?)",
        (
            (n, alert.rule, alert.group, alert.start - alert.suppress, alert.end + alert.suppress)
            for n, alert in enumerate(alerts)
        ),
    )
    found = database.execute(
        "SELECT w.number, a.id FROM wanted w CROSS JOIN alerts a "
        "ON a.rule = w.rule AND a.grp = w.grp AND a.last >= w.first AND a.first <= w.last"
    )
    near: list[list[str]] = [[] for _ in alerts]
    for number, stored in found:
        near[number].append(stored)
    return near


def _documents(database: sqlite3.Connection, ids: Iterable[str]) -> list[Document]:
    query = "SELECT document FROM alerts WHERE id = ?"
    return [json.loads(database.execute(query, (one,)).fetchone()[0]) for one in ids]


def _counts(spans: pl.DataFrame, fresh: pl.DataFrame) -> dict[str, int]:
    """How many fresh hits each alert has, by its id."""
    if spans.is_empty() or fresh.is_empty():
        return {}
    if fresh.height <= _FEW:
        return _counts_of_few(spans, fresh)
    return within(spans, fresh)


def _counts_of_few(spans: pl.DataFrame, fresh: pl.DataFrame) -> dict[str, int]:
    """The same, one hit after the other: for a live commit faster than a join is set up."""
    groups: dict[tuple[str, str], list[tuple[str, int, int]]] = {}
    times = pl.col("start", "end").to_physical()
    for alert, rule, group, start, end in spans.select("alert", *_KEY, times).iter_rows():
        groups.setdefault((rule, group), []).append((alert, start, end))
    counts: dict[str, int] = {}
    hits = fresh.select(*_KEY, pl.col("connwatch.log_time").to_physical())
    for rule, group, time in hits.iter_rows():
        for alert, start, end in groups.get((rule, group), ()):
            if start <= time <= end:
                counts[alert] = counts.get(alert, 0) + 1
                break
    return counts


def _listed(
    spans: pl.DataFrame, fresh: pl.DataFrame, shown: pl.DataFrame
) -> dict[str, dict[str, int]]:
    """How many fresh hits of each alert, by its id, showed which indicator."""
    if spans.is_empty() or shown.is_empty():
        return {}
    said = fresh.join(shown, on=["rule", "event.id"])
    if said.is_empty():
        return {}
    counts: dict[str, dict[str, int]] = {}
    found = placed(spans, said, ("indicator",)).group_by("alert", "indicator")
    for alert, indicator, count in found.agg(pl.len()).collect().iter_rows():
        counts.setdefault(alert, {})[indicator] = count
    return counts


def spans_of(alerts: Sequence[Written]) -> pl.DataFrame:
    """`SPAN_SCHEMA` of documents."""
    return pl.DataFrame(
        {
            "alert": [alert.id for alert in alerts],
            "rule": [alert.rule for alert in alerts],
            "group": [alert.group for alert in alerts],
            "start": pl.Series([alert.start for alert in alerts], dtype=pl.Int64).cast(UTC),
            "end": pl.Series([alert.end for alert in alerts], dtype=pl.Int64).cast(UTC),
            "lists": [alert.lists for alert in alerts],
        },
        schema_overrides=SPAN_SCHEMA,
    )


def within(spans: pl.DataFrame, hits: pl.DataFrame) -> dict[Any, int]:
    """How many hits lie in the span of each alert, by its id; those without any are left out.

    spans: alert, rule, group, start, end (UTC). Those of one rule and group do not overlap.
    """
    matched = placed(spans, hits).group_by("alert").agg(pl.len()).collect()
    return dict(matched.iter_rows())


class _Changes:
    """What a commit changes: alerts to put, ids to remove, ids that lead to other ids.

    whole: delivered alerts that are stored as they are; put: documents that were joined. alone:
    which of these are just what was delivered.
    """

    def __init__(self) -> None:
        self.whole: dict[str, Written] = {}
        self.put: dict[str, Document] = {}
        self.alone: dict[str, bool] = {}
        self.gone: dict[str, str] = {}

    def write(self, database: sqlite3.Connection) -> None:
        database.executemany("DELETE FROM alerts WHERE id = ?", ((old,) for old in self.gone))
        written = (*self.whole.values(), *map(Written.of, self.put.values()))
        database.executemany(_PUT, map(_row, written))
        for old, new in self.gone.items():
            alias(database, old, new)

    def remember(self, own: Own) -> None:
        """What is then known of the run's own alerts."""
        own.counts.update((alert.id, alert.count) for alert in self.whole.values())
        for one in self.gone:
            own.counts.pop(one, None)
        for one, document in self.put.items():
            if self.alone[one]:
                own.counts[one] = document["connwatch"]["count"]
            else:
                own.counts.pop(one, None)


def _merge_one(group: list[Document], grown: Grown, changes: _Changes) -> None:
    """Join an alert with those of its group that are near; `group` becomes what is then stored."""
    alert, new, shown = grown.alert.document(), grown.new, grown.shown
    period = timedelta(microseconds=alert["connwatch"]["key"]["suppress_us"])
    first = datetime.fromisoformat(fired(alert)) - period
    last = datetime.fromisoformat(alert["event"]["end"]) + period
    near = [
        one
        for one in group
        if datetime.fromisoformat(one["event"]["end"]) >= first
        and datetime.fromisoformat(fired(one)) <= last
    ]
    if not new and len(near) != 1:
        return
    unknown = sum(one["connwatch"].get(UNKNOWN, 0) for one in near)
    union = joined(
        [alert, *near],
        max(0, new - unknown) + sum(one["connwatch"]["count"] for one in near),
        {} if unknown else shown,  # what they counted has some of these hits
    )
    mark(union, max(0, unknown - new))
    said = [status for one in (*near, alert) if (status := one["connwatch"]["status"]) != "open"]
    union["connwatch"]["status"] = said[0] if said else "open"
    own = union["event"]["id"]
    changes.alone[own] = union == alert
    for one in (alert, *near):
        if one["event"]["id"] != own:
            changes.gone[one["event"]["id"]] = own
            changes.put.pop(one["event"]["id"], None)
    changes.gone.pop(own, None)
    changes.put[own] = union
    group[:] = [*(one for one in group if one not in near), union]


def mark(document: Document, unknown: int) -> None:
    """Say in a document how many of the hits that it counts the store does not know (`UNKNOWN`)."""
    document["connwatch"].pop(UNKNOWN, None)
    if unknown:
        document["connwatch"][UNKNOWN] = unknown


_PUT: Final = "INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, ?)"


def _row(alert: Written) -> tuple[str, str, str, int, int, str]:
    return alert.id, alert.rule, alert.group, alert.start, alert.end, alert.text


def put(database: sqlite3.Connection, document: Document) -> None:
    """Store one document, in the place of the one with its id. What it tells of processes is kept
    where the store knows nothing of them."""
    document, told = parted(document)
    database.execute(_PUT, _row(Written.of(document)))
    if told is not None:
        processes.keep(database, document["event"]["id"], told)


def alias(database: sqlite3.Connection, old: str, new: str) -> None:
    """Let an id that was told to somebody lead to the alert that it became part of."""
    database.execute("UPDATE aliases SET id = ? WHERE id = ?", (new, old))
    database.execute("DELETE FROM aliases WHERE old = ?", (new,))
    database.execute("INSERT OR REPLACE INTO aliases VALUES (?, ?)", (old, new))
