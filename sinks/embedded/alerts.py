"""Stored alerts: per rule and group, the sessions of all hits that the store ever got.

A delivered alert says what its run has seen. What the store has of the same rule and group within
the rule's quiet period, from this run or another, is the same alert: times and evidence are joined,
and the count grows by the hits that the store did not have.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from connwatch.alert import Document, fired, joined
from connwatch.schema import UTC


def merge(
    database: sqlite3.Connection, delivered: Sequence[Mapping[str, Any]], fresh: pl.DataFrame
) -> None:
    """Bring the alerts of one commit in; fresh: hits (`HIT_SCHEMA`) that the store did not have."""
    counts = _counts(delivered, fresh)
    grown = [(dict(alert), counts[n]) for n, alert in enumerate(delivered) if n in counts]
    if not grown:
        return
    stored = _near(database, [alert for alert, _ in grown])
    changes = _Changes()
    for alert, new in grown:
        key = alert["connwatch"]["key"]
        group = stored.setdefault((key["rule"], key["group"]), [])
        _merge_one(group, alert, new, changes)
    changes.write(database)


def _near(
    database: sqlite3.Connection, alerts: Sequence[Document]
) -> dict[tuple[str, str], list[Document]]:
    """The stored alerts of the same rules and groups that are near enough in time to be joined."""
    database.execute(
        "CREATE TEMP TABLE IF NOT EXISTS wanted (rule TEXT, grp TEXT, first INTEGER, last INTEGER)"
    )
    database.execute("DELETE FROM wanted")
    database.executemany(
        "INSERT INTO wanted VALUES (?, ?, ?, ?)",
        (
            (
                alert["connwatch"]["key"]["rule"],
                alert["connwatch"]["key"]["group"],
                micros(alert["event"]["start"]) - alert["connwatch"]["key"]["suppress_us"],
                micros(alert["event"]["end"]) + alert["connwatch"]["key"]["suppress_us"],
            )
            for alert in alerts
        ),
    )
    found = database.execute(
        "SELECT DISTINCT a.rule, a.grp, a.document FROM wanted w CROSS JOIN alerts a "
        "ON a.rule = w.rule AND a.grp = w.grp AND a.last >= w.first AND a.first <= w.last"
    )
    near: dict[tuple[str, str], list[Document]] = {}
    for rule, group, document in found:
        near.setdefault((rule, group), []).append(json.loads(document))
    return near


def _counts(delivered: Sequence[Mapping[str, Any]], fresh: pl.DataFrame) -> dict[int, int]:
    """How many fresh hits each delivered alert has, by its position."""
    if not delivered or fresh.is_empty():
        return {}
    spans = pl.DataFrame(
        {
            "number": range(len(delivered)),
            "rule": [alert["connwatch"]["key"]["rule"] for alert in delivered],
            "group": [alert["connwatch"]["key"]["group"] for alert in delivered],
            "start": [micros(alert["event"]["start"]) for alert in delivered],
            "end": [micros(alert["event"]["end"]) for alert in delivered],
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


def micros(text: str) -> int:
    """A document's time as µs since the epoch."""
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


class _Changes:
    """What a commit changes: documents to put, ids to remove, ids that lead to other ids."""

    def __init__(self) -> None:
        self.put: dict[str, Document] = {}
        self.gone: dict[str, str] = {}

    def write(self, database: sqlite3.Connection) -> None:
        database.executemany("DELETE FROM alerts WHERE id = ?", ((old,) for old in self.gone))
        database.executemany(_PUT, (_row(document) for document in self.put.values()))
        for old, new in self.gone.items():
            alias(database, old, new)


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
    for one in (alert, *near):
        if one["event"]["id"] != own:
            changes.gone[one["event"]["id"]] = own
            changes.put.pop(one["event"]["id"], None)
    changes.gone.pop(own, None)
    changes.put[own] = union
    group[:] = [*(one for one in group if one not in near), union]


_PUT: Final = "INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, ?)"


def _row(document: Document) -> tuple[str, str, str, int, int, str]:
    key = document["connwatch"]["key"]
    return (
        document["event"]["id"],
        key["rule"],
        key["group"],
        micros(document["event"]["start"]),
        micros(document["event"]["end"]),
        json.dumps(document, ensure_ascii=False, separators=(",", ":")),
    )


def put(database: sqlite3.Connection, document: Document) -> None:
    """Store one document, in the place of the one with its id."""
    database.execute(_PUT, _row(document))


def alias(database: sqlite3.Connection, old: str, new: str) -> None:
    """Let an id that was told to somebody lead to the alert that it became part of."""
    database.execute("UPDATE aliases SET id = ? WHERE id = ?", (new, old))
    database.execute("INSERT OR REPLACE INTO aliases VALUES (?, ?)", (old, new))
