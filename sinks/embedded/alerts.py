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

from connwatch.alert import Document, Written, fired, joined
from connwatch.schema import UTC
from connwatch.spans import placed

#: alerts that a run remembers; when there are more, it reads them again
_REMEMBERED: Final = 100_000
#: hits of a commit that are few
_FEW: Final = 200


class Grown(NamedTuple):
    """A delivered alert that says something new: how many of its hits the store did not have, and
    how many of these showed which indicator of a list."""

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


def growth(
    delivered: Sequence[Mapping[str, Any]], fresh: pl.DataFrame, shown: pl.DataFrame
) -> list[Grown]:
    """Alerts of one delivery with fresh hits, and all with lists: these may have more to say of
    hits that are there already.

    fresh: its hits (`HIT_SCHEMA`) that the store did not have; shown: what lists said of its hits
    (`SHOWN_SCHEMA`).
    """
    alerts = [Written.of(alert) for alert in delivered]
    counts = _counts(alerts, fresh)
    listed = _listed(alerts, fresh, shown)
    return [
        Grown(alert, counts.get(number, 0), listed.get(number, {}))
        for number, alert in enumerate(alerts)
        if number in counts or alert.lists
    ]


def add_growth(earlier: dict[str, Grown], later: Sequence[Grown]) -> None:
    """Add to the alerts of deliveries, by id, those of the delivery after them: of each the newest
    state, and what is new in all."""
    for alert, new, shown in later:
        before = earlier.get(alert.id)
        if before is not None:
            new += before.new
            shown = Counter(before.shown) + Counter(shown)
        earlier[alert.id] = Grown(alert, new, shown)


def merge(database: sqlite3.Connection, grown: Sequence[Grown], own: Own) -> None:
    """Bring the alerts of one commit in."""
    if not grown:
        return
    near = _near(database, [one.alert for one in grown])
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


def _apart(grown: Sequence[Grown]) -> bool:
    """Whether the alerts of one group come one after the other, with quiet periods between them."""
    return all(
        before.end < alert.start - max(alert.suppress, before.suppress)
        for (before, *_), (alert, *_) in pairwise(grown)
    )


def _near(database: sqlite3.Connection, alerts: Sequence[Written]) -> list[list[str]]:
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


def _counts(delivered: Sequence[Written], fresh: pl.DataFrame) -> dict[int, int]:
    """How many fresh hits each delivered alert has, by its position."""
    if not delivered or fresh.is_empty():
        return {}
    if fresh.height <= _FEW:
        return _counts_of_few(delivered, fresh)
    return within(_spans(delivered), fresh)


def _counts_of_few(delivered: Sequence[Written], fresh: pl.DataFrame) -> dict[int, int]:
    """The same, one hit after the other: for a live commit faster than a join is set up."""
    groups: dict[tuple[str, str], list[int]] = {}
    for number, alert in enumerate(delivered):
        groups.setdefault((alert.rule, alert.group), []).append(number)
    times = fresh["connwatch.log_time"].to_physical().to_list()
    counts: dict[int, int] = {}
    for rule, group, time in zip(fresh["rule"], fresh["group"], times, strict=True):
        for number in groups.get((rule, group), ()):
            if delivered[number].start <= time <= delivered[number].end:
                counts[number] = counts.get(number, 0) + 1
                break
    return counts


def _listed(
    delivered: Sequence[Written], fresh: pl.DataFrame, shown: pl.DataFrame
) -> dict[int, dict[str, int]]:
    """How many fresh hits of each delivered alert, by its position, showed which indicator."""
    if not delivered or shown.is_empty():
        return {}
    said = fresh.join(shown, on=["rule", "event.id"])
    if said.is_empty():
        return {}
    counts: dict[int, dict[str, int]] = {}
    found = placed(_spans(delivered), said, ("indicator",)).group_by("number", "indicator")
    for number, indicator, count in found.agg(pl.len()).collect().iter_rows():
        counts.setdefault(number, {})[indicator] = count
    return counts


def _spans(delivered: Sequence[Written]) -> pl.DataFrame:
    """The alerts by their position, as `within` wants them."""
    return pl.DataFrame(
        {
            "number": range(len(delivered)),
            "rule": [alert.rule for alert in delivered],
            "group": [alert.group for alert in delivered],
            "start": [alert.start for alert in delivered],
            "end": [alert.end for alert in delivered],
        }
    ).with_columns(pl.col("start", "end").cast(UTC))


def within(spans: pl.DataFrame, hits: pl.DataFrame) -> dict[Any, int]:
    """How many hits lie in each span, by its number; spans without any are left out.

    spans: number, rule, group, start, end (UTC). Those of one rule and group do not overlap.
    """
    matched = placed(spans, hits).group_by("number").agg(pl.len()).collect()
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
    union = joined(
        [alert, *near],
        new + sum(one["connwatch"]["count"] for one in near),
        shown,
    )
    said = [status for one in near if (status := one["connwatch"]["status"]) != "open"]
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


_PUT: Final = "INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, ?)"


def _row(alert: Written) -> tuple[str, str, str, int, int, str]:
    return alert.id, alert.rule, alert.group, alert.start, alert.end, alert.text


def put(database: sqlite3.Connection, document: Document) -> None:
    """Store one document, in the place of the one with its id."""
    database.execute(_PUT, _row(Written.of(document)))


def alias(database: sqlite3.Connection, old: str, new: str) -> None:
    """Let an id that was told to somebody lead to the alert that it became part of."""
    database.execute("UPDATE aliases SET id = ? WHERE id = ?", (new, old))
    database.execute("INSERT OR REPLACE INTO aliases VALUES (?, ?)", (old, new))
