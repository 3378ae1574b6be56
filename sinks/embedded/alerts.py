"""Stored alerts: per rule and group, the sessions of all hits that the store ever got.

A delivered alert says what its run has seen. What the store has of the same rule and group within
the rule's quiet period, from this run or another, is the same alert: times and evidence are joined,
and the count grows by the hits that the store did not have.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import polars as pl

from connwatch.alert import Document, joined
from connwatch.schema import UTC


def merge(
    database: sqlite3.Connection, delivered: Sequence[Mapping[str, Any]], fresh: pl.DataFrame
) -> None:
    """Bring the alerts of one commit in; fresh: hits (`HIT_SCHEMA`) that the store did not have."""
    counts = _counts(delivered, fresh)
    for number, alert in enumerate(delivered):
        if new := counts.get(number):
            _merge_one(database, dict(alert), new)


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
    time = pl.col("connwatch.log_time")
    matched = (
        fresh.lazy()
        .join(spans.lazy(), on=["rule", "group"])
        .filter((time >= pl.col("start")) & (time <= pl.col("end")))
        .group_by("number")
        .agg(pl.len())
        .collect()
    )
    return dict(matched.iter_rows())


def micros(text: str) -> int:
    """A document's time as µs since the epoch."""
    moment = datetime.fromisoformat(text)
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


def _merge_one(database: sqlite3.Connection, alert: Document, new: int) -> None:
    key = alert["connwatch"]["key"]
    first, last = micros(alert["event"]["start"]), micros(alert["event"]["end"])
    near = database.execute(
        "SELECT id, document FROM alerts WHERE rule = ? AND grp = ? AND last >= ? AND first <= ?",
        (key["rule"], key["group"], first - key["suppress_us"], last + key["suppress_us"]),
    ).fetchall()
    stored = [json.loads(document) for _, document in near]
    count = new + sum(document["connwatch"]["count"] for document in stored)
    union = joined([alert, *stored], count)
    said = [status for d in stored if (status := d["connwatch"]["status"]) != "open"]
    union["connwatch"]["status"] = said[0] if said else "open"
    replace(database, union, [old for old, _ in near])
    if alert["event"]["id"] != union["event"]["id"]:
        alias(database, alert["event"]["id"], union["event"]["id"])


def replace(database: sqlite3.Connection, document: Document, old: Iterable[str]) -> None:
    """Put one document in the place of those with the ids `old`, which go on as its aliases."""
    own = document["event"]["id"]
    for one in old:
        database.execute("DELETE FROM alerts WHERE id = ?", (one,))
        if one != own:
            alias(database, one, own)
    key = document["connwatch"]["key"]
    database.execute(
        "INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, ?)",
        (
            own,
            key["rule"],
            key["group"],
            micros(document["event"]["start"]),
            micros(document["event"]["end"]),
            json.dumps(document, ensure_ascii=False, separators=(",", ":")),
        ),
    )


def alias(database: sqlite3.Connection, old: str, new: str) -> None:
    """Let an id that was told to somebody lead to the alert that it became part of."""
    database.execute("UPDATE aliases SET id = ? WHERE id = ?", (new, old))
    database.execute("INSERT OR REPLACE INTO aliases VALUES (?, ?)", (old, new))
