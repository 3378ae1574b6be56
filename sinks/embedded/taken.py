"""Alerts that come from another store with their hits, or with some of them.

With all of its hits, an alert is delivered as a replay delivers it, and is joined with what is near
it. Otherwise it is taken as it is told: its count is not summed up from hits, and how many of these
are unknown here is written down (`alerts.UNKNOWN`), so that a replay that brings them counts them
once. Taking the same alerts again changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from connwatch.alert import Document, Written, parted, united
from connwatch.contracts import REJECT_SCHEMA, Delivery
from connwatch.schema import empty

from . import alerts, catalogue, outbox, processes
from .catalogue import Database
from .files import EVER, listed
from .small import parts, together

if TYPE_CHECKING:
    from .store import EmbeddedStore, Run

_ONE: Final = (
    "SELECT document FROM alerts WHERE id = ?1"
    " OR id = (SELECT id FROM aliases WHERE old = ?1) ORDER BY id != ?1"
)


@dataclass(frozen=True, slots=True)
class Taken:
    """How many alerts were not here, say more than before, or were here as they are."""

    new: int
    grown: int
    there: int


def take(
    store: EmbeddedStore,
    run: Run,
    documents: Sequence[Document],
    hits: pl.DataFrame,
    whole: AbstractSet[str],
    partial: AbstractSet[str],
) -> Taken:
    """Take alerts. hits: `HIT_SCHEMA`, of all of them. whole: ids of those that have all their hits
    among these; partial: of those that have not. Of the others only the status is taken. What an
    analyst said of one is taken where nothing was said of it here."""
    database = store.database
    ids = [one["event"]["id"] for one in documents]
    with catalogue.errors(store.folder), database.guard:
        before = {one: _stored(database, one) for one in ids}
    pairs = [parted(json.loads(json.dumps(one))) for one in documents]
    told = [one for one, _ in pairs]
    for one in told:
        alerts.mark(one, 0)
    delivered = tuple(one for one in told if one["event"]["id"] in whole)
    run.write(Delivery(empty(), hits, delivered, pl.DataFrame(schema=REJECT_SCHEMA)))
    with catalogue.errors(store.folder), database.changing():
        for one in told:
            if one["event"]["id"] in partial:
                _unite(store, one)
            _say(database, one)
        for one, known in pairs:
            if known is not None:
                processes.keep(database, one["event"]["id"], known)
        after = {one: _stored(database, one) for one in ids}
        changed = [one for one in ids if after[one] != before[one]]
        outbox.note(database, [one for one in changed if outbox.is_known(database, one)])
    new = sum(before[one] is None for one in changed)
    return Taken(new, len(changed) - new, len(ids) - len(changed))


def _stored(database: Database, alert: str) -> Any:
    row = database.execute(_ONE, (alert,)).fetchone()
    return None if row is None else json.loads(row[0])


def _unite(store: EmbeddedStore, document: Document) -> None:
    """In a transaction: an alert whose hits are not all here, with those that are near it."""
    database = store.database
    union = document
    (near,) = alerts.near_ones(database, [Written.of(document)])
    there = [_stored(database, one) for one in near]
    for one in there:
        union = united(union, one)
    alerts.mark(union, max(0, union["connwatch"]["count"] - _hits(store, union)))
    if there == [union]:
        return
    for one in near:
        if one != union["event"]["id"]:
            database.execute("DELETE FROM alerts WHERE id = ?", (one,))
            alerts.alias(database, one, union["event"]["id"])
    alerts.put(database, union)
    own = document["event"]["id"]
    if own != union["event"]["id"]:
        alerts.alias(database, own, union["event"]["id"])


def _hits(store: EmbeddedStore, document: Document) -> int:
    """How many hits of an alert the store has."""
    spans = alerts.spans_of([Written.of(document)])
    found = [together("hits", parts(store.database, "hits", *EVER)).lazy()]
    files = [store.folder / one.name for one in listed(store.database, "hits", *EVER)]
    found += [pl.scan_parquet(files)] if files else []
    key = document["connwatch"]["key"]
    hits = pl.concat(found).filter(pl.col("rule") == key["rule"], pl.col("group") == key["group"])
    return sum(alerts.within(spans, hits.collect()).values())


def _say(database: Database, document: Document) -> None:
    """In a transaction: an analyst's word, where there is none here."""
    status = document["connwatch"]["status"]
    stored = _stored(database, document["event"]["id"])
    if status == "open" or stored is None or stored["connwatch"]["status"] != "open":
        return
    stored["connwatch"]["status"] = status
    alerts.put(database, stored)
