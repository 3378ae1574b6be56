"""Stored alerts: per rule and group, the sessions of all hits that the store ever got.

A delivered alert says what its run has seen. What the store has of the same rule and group within
the rule's quiet period, from this run or another, is the same alert: times and evidence are joined,
and the count grows by the hits that the store did not have.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

import polars as pl

from connwatch.alert import Document, Written, fired, joined
from connwatch.schema import UTC

#: alerts that a run remembers; when there are more, it reads them again
_REMEMBERED: Final = 100_000


@dataclass(slots=True)
class Own:
    """Alerts that the store has just as one run delivered them last: open, and joined with nothing.

    counts: their hits, by id. changes: rows that the connection had changed when that was so. What
    the run delivers next of such an alert is the whole of it, and takes its place unread.
    """

    counts: dict[str, int] = field(default_factory=dict)
    changes: int = -1

    def check(self, database: sqlite3.Connection) -> None:
        """To be called first in a transaction: forget all if anything else was written since."""
        if self.changes != database.total_changes or len(self.counts) > _REMEMBERED:
            self.counts.clear()

    def is_whole(self, alert: Written, new: int, near: Sequence[str]) -> bool:
        """Whether the store has no hit of a delivered alert, or of one near it, that is not in it.

        new: its fresh hits. near: ids of the stored alerts that are near it.
        """
        if not near:
            return new == alert.count
        known = self.counts.get(alert.id)
        return near == [alert.id] and known is not None and known + new == alert.count


def merge(
    database: sqlite3.Connection,
    delivered: Sequence[Mapping[str, Any]],
    fresh: pl.DataFrame,
    own: Own,
) -> None:
    """Bring the alerts of one commit in; fresh: hits (`HIT_SCHEMA`) that the store did not have."""
    alerts = [Written.of(alert) for alert in delivered]
    grown = [(alerts[n], new) for n, new in sorted(_counts(alerts, fresh).items())]
    if not grown:
        return
    near = _near(database, [alert for alert, _ in grown])
    changes = _Changes()
    groups: dict[tuple[str, str], list[int]] = {}
    for number, (alert, _) in enumerate(grown):
        groups.setdefault((alert.rule, alert.group), []).append(number)
    for numbers in groups.values():
        here = [grown[number] for number in numbers]
        if _apart(here) and all(own.is_whole(*grown[n], near[n]) for n in numbers):
            changes.whole.update((alert.id, alert) for alert, _ in here)
            continue
        stored = _documents(database, dict.fromkeys(one for n in numbers for one in near[n]))
        for alert, new in here:
            _merge_one(stored, alert.document(), new, changes)
    changes.write(database)
    changes.remember(own)


def _apart(grown: Sequence[tuple[Written, int]]) -> bool:
    """Whether the alerts of one group come one after the other, with quiet periods between them."""
    return all(
        before.end < alert.start - max(alert.suppress, before.suppress)
        for (before, _), (alert, _) in pairwise(grown)
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
    spans = pl.DataFrame(
        {
            "number": range(len(delivered)),
            "rule": [alert.rule for alert in delivered],
            "group": [alert.group for alert in delivered],
            "start": [alert.start for alert in delivered],
            "end": [alert.end for alert in delivered],
        }
    ).with_columns(pl.col("start", "end").cast(UTC))
    return within(spans, fresh)


def within(spans: pl.DataFrame, hits: pl.DataFrame) -> dict[Any, int]:
    """How many hits lie in each span, by its number; spans without any are left out.

    spans: number, rule, group, start, end (UTC). Those of one rule and group do not overlap.
    """
    matched = (
        hits.lazy()
        .select("rule", "group", "connwatch.log_time")
        .sort("connwatch.log_time")
        .join_asof(
            spans.lazy().sort("start"),
            left_on="connwatch.log_time",
            right_on="start",
            by=["rule", "group"],
            check_sortedness=False,  # sorted just above
        )
        .filter(pl.col("connwatch.log_time") <= pl.col("end"))
        .group_by("number")
        .agg(pl.len())
        .collect()
    )
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


def _merge_one(group: list[Document], alert: Document, new: int, changes: _Changes) -> None:
    """Join an alert with those of its group that are near; `group` becomes what is then stored."""
    period = timedelta(microseconds=alert["connwatch"]["key"]["suppress_us"])
    first = datetime.fromisoformat(fired(alert)) - period
    last = datetime.fromisoformat(alert["event"]["end"]) + period
    near = [
        one
        for one in group
        if datetime.fromisoformat(one["event"]["end"]) >= first
        and datetime.fromisoformat(fired(one)) <= last
    ]
    union = joined([alert, *near], new + sum(one["connwatch"]["count"] for one in near))
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
