"""Alerts of a run that has hits of connections which an earlier run counted already.

Such hits are not stored. An alert that is delivered tells of them too; here is taken out of it what
the store does not count. One that has no others becomes no alert: its id, which was told to
somebody, leads to the alert that has the hits in their place.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import polars as pl

from connwatch.alert import Written
from connwatch.contracts import Delivery
from connwatch.spans import placed

from .alerts import Grown, alias, spans_of

#: times of documents
_TIME: Final = "%Y-%m-%dT%H:%M:%S%.6fZ"
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
        return list(_counted(grown, look)) if self._any and grown else grown

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


def _counted(grown: Sequence[Grown], look: Callable[[pl.DataFrame], pl.Series]) -> Iterator[Grown]:
    documents = [one.alert.document() for one in grown]
    listed = [
        (one.alert.rule, event["event.id"], event["@timestamp"])
        for one, document in zip(grown, documents, strict=True)
        for event in document["connwatch"]["evidence"]
    ]
    hits = pl.DataFrame(listed, schema=("rule", "event.id", "time"), orient="row")
    times = pl.col("time").str.to_datetime(_TIME, time_unit="us", time_zone="UTC")
    kept = iter(look(hits.with_columns(times.alias("@timestamp"))) > 0)
    for one, document in zip(grown, documents, strict=True):
        own = document["connwatch"]
        events = [event for event in own["evidence"] if next(kept)]
        if len(events) == len(own["evidence"]):
            yield one
        else:
            own["evidence"] = events
            yield one._replace(alert=Written.of(document))
