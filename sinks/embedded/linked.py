"""Alerts of a run that has hits of connections which an earlier run counted already.

Such hits are not stored. An alert that is delivered tells of them too; here is taken out of it what
the store does not count. One that has no others becomes no alert: its id, which was told to
somebody, leads to the alert that has the hits in their place.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import polars as pl

from connwatch.alert import Written
from connwatch.contracts import HIT_SCHEMA, Delivery
from connwatch.spans import placed

from .alerts import Grown, alias, spans_of

_AT: Final = "SELECT id FROM alerts WHERE rule = ? AND grp = ? AND ? BETWEEN first AND last"


class To(NamedTuple):
    """A hit that the store has: key of the rule, group, and log time, µs."""

    rule: str
    group: str
    time: int


class Links:
    """Those of one run. _leads: by id of alerts in a commit that have such hits, one in their
    place; _any: whether there were any in the run."""

    def __init__(self) -> None:
        self._leads: dict[str, To] = {}
        self._any = False

    def add(self, delivery: Delivery) -> None:
        """One delivery more of a commit."""
        if delivery.linked.is_empty():
            return
        self._any = True
        spans = spans_of([Written.of(alert) for alert in delivery.alerts])
        own = placed(spans, delivery.linked, ("to_group", "to_time")).collect()
        first = own.sort("to_time", "to_group").unique("alert", keep="first")
        times = pl.col("to_time").to_physical()
        for alert, *to in first.select("alert", "rule", "to_group", times).iter_rows():
            self._leads[alert] = To(*to)

    def counted(
        self, grown: Sequence[Grown], look: Callable[[pl.DataFrame], pl.Series]
    ) -> Sequence[Grown]:
        """Alerts that list only events whose hits are stored. look: `Run.look`."""
        return [_counted(one, look) for one in grown] if self._any else grown

    def write(self, database: sqlite3.Connection) -> None:
        """In a transaction, when all alerts are written: let ids of those that are none lead to the
        alerts that have the hits in the place of theirs."""
        leads, self._leads = self._leads, {}
        for alert, to in leads.items():
            if database.execute("SELECT 1 FROM alerts WHERE id = ?", (alert,)).fetchone():
                continue
            row = database.execute(_AT, to).fetchone()
            if row is not None:
                alias(database, alert, row[0])


def _counted(one: Grown, look: Callable[[pl.DataFrame], pl.Series]) -> Grown:
    document = json.loads(one.alert.text)
    listed = document["connwatch"]["evidence"]
    hits = pl.DataFrame(
        {
            "rule": [one.alert.rule] * len(listed),
            "event.id": [each["event.id"] for each in listed],
            "@timestamp": pl.Series(
                [each["@timestamp"] for each in listed], dtype=pl.String
            ).str.to_datetime("%Y-%m-%dT%H:%M:%S%.6fZ", time_unit="us", time_zone="UTC"),
        },
        schema={name: HIT_SCHEMA[name] for name in ("rule", "event.id", "@timestamp")},
    )
    kept = look(hits) > 0
    if kept.all():
        return one
    pairs = zip(listed, kept, strict=True)
    document["connwatch"]["evidence"] = [each for each, there in pairs if there]
    return one._replace(alert=Written.of(document))
