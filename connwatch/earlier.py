"""A replay, and what the store has from runs before it: a connection counts once.

Logs of one hour that are replayed one after the other tell of the same connections. A rule has hit
a connection already when a hit of a run before is of its flow, as `connwatch.detectors.witnesses`
links the stored records and those of this batch. Such a hit is not stored: its record is a witness
of the other. The rules run over all records of the replay as if there were no store, and what the
replay tells is what it found: only what is counted in the store is told apart.

Within one run the linking is that of the run: hits that it has met itself are left out here.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from connwatch.attribution.places import between
from connwatch.behind import ORDER
from connwatch.contracts import LINKED_SCHEMA, Delivery
from connwatch.detectors.witnesses.counting import REACH, Counting
from connwatch.detectors.witnesses.flows import Flows
from connwatch.detectors.witnesses.records import COLUMNS
from connwatch.schema import STORED
from connwatch.sinks.embedded import Run, StoreReader

#: records of the connections of one batch that are looked at; with more nothing is linked
MOST: Final = 1_000_000
_LOG_TIME: Final = "connwatch.log_time"
_HOUR: Final = 3_600_000_000
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
#: columns that are read of stored records
_NAMES: Final = [name for name in STORED if name in {*COLUMNS, *ORDER, "event.id"}]


class Earlier:
    """Hits of the runs before one, and which of its own are of the same connections."""

    def __init__(self, folder: Path, run: Run) -> None:
        self._folder, self._run = folder, run
        #: of each hour in which stored hits begin (µs) the largest log time of these, and both in
        #: the order of the hours; None: not read yet
        self._hours: tuple[np.ndarray[tuple[int], np.dtype[np.int64]], ...] | None = None
        #: hits that were found to be of such connections, and those of which nobody can say it
        self.linked, self.untold = 0, 0

    def apart(self, delivery: Delivery) -> Delivery:
        """A delivery without hits of connections that an earlier run counted, and with what they
        are linked to. To be called when all before it is written."""
        if not self._run.follows_hits or delivery.hits.is_empty():
            return delivery
        new = delivery.hits.filter(self._run.look(delivery.hits) == 0)
        if new.is_empty():
            return delivery
        with StoreReader(self._folder) as reader:
            linked = self._linked(reader, new, delivery)
        if linked is None or linked.is_empty():
            return delivery
        self.linked += linked.height
        hits = delivery.hits.join(
            linked, on=["rule", "event.id"], how="anti", maintain_order="left"
        )
        return replace(delivery, hits=hits, linked=linked.select(list(LINKED_SCHEMA)))

    def notes(self) -> list[str]:
        """What is to be said when the run is done."""
        if not self.untold:
            return []
        many = f"the store has more than {MOST:,} records of their connections"
        return [f"{self.untold:,} hits could not be linked with those of runs before: {many}"]

    def _linked(
        self, reader: StoreReader, new: pl.DataFrame, delivery: Delivery
    ) -> pl.DataFrame | None:
        """Those of new hits that are of the same flow as an earlier one of their rule: their
        columns, `to_group` and `to_time`. None: there is none."""
        span = self._span(reader, new)
        if span is None:
            return None
        stored = between(reader, *span).select(_NAMES)
        every = pl.concat([stored, delivery.events.lazy().select(_NAMES)])
        near = _near(every, new)
        if near.height > MOST:
            self.untold += new.height
            return None
        own = delivery.hits.select("rule", "event.id")
        before = self._hits(reader, new, near, span).join(own, on=own.columns, how="anti")
        if before.is_empty():
            return None
        flow = pl.Series("flow", Counting(near, Flows()).flows)
        flows = near.select("event.id", flow).filter(pl.col("flow") >= 0)
        counted = (
            before.join(flows, on="event.id")
            .sort(_LOG_TIME, "event.id")
            .unique(["rule", "flow"], keep="first", maintain_order=True)
            .select("rule", "flow", to_group="group", to_time=_LOG_TIME)
        )
        return new.join(flows, on="event.id").join(counted, on=["rule", "flow"])

    def _span(self, reader: StoreReader, new: pl.DataFrame) -> tuple[datetime, datetime] | None:
        """From when to when (the end exclusive) records begin that may be of the same flow as one
        of these hits or as an earlier hit that may be. None: no earlier hit is near enough."""
        if self._hours is None:
            self._hours = _hours(reader)
        begin, last = self._hours
        low = int(new["@timestamp"].to_physical().to_numpy().min()) - REACH
        high = int(new[_LOG_TIME].to_physical().to_numpy().max()) + REACH
        there = begin[(begin <= high) & (last >= low)]
        if not len(there):
            return None
        return _moment(min(int(there[0]), low)), _moment(high + 1)

    def _hits(
        self,
        reader: StoreReader,
        new: pl.DataFrame,
        near: pl.DataFrame,
        span: tuple[datetime, datetime],
    ) -> pl.DataFrame:
        """The earlier hits of the rules of new ones and of these records."""
        rules = new["rule"].unique().implode()
        found = (
            reader.hits(*span)
            .filter(pl.col("rule").is_in(rules), pl.col("@timestamp") >= span[0])
            .join(near.lazy().select("event.id"), on="event.id", how="semi")
            .collect()
        )
        return found.filter(self._run.look(found) == 1) if found.height else found


def _near(events: pl.LazyFrame, hits: pl.DataFrame) -> pl.DataFrame:
    """All records with the Community IDs of those behind hits, in the order of a replay; of more
    than `MOST` some that are more."""
    own = hits.lazy().select("event.id").unique()
    communities = (
        events.join(own, on="event.id", how="semi").select("network.community_id").drop_nulls()
    )
    wanted = communities.unique().collect().to_series()
    return (
        events.filter(pl.col("network.community_id").is_in(wanted.implode()))
        .head(MOST + 1)
        .collect()
        .sort(ORDER, maintain_order=True)
    )


def _hours(reader: StoreReader) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], ...]:
    """`Earlier._hours` of a store."""
    times = reader.hits().select(pl.col("@timestamp", _LOG_TIME).to_physical())
    hour = pl.col("@timestamp") // _HOUR * _HOUR
    found = times.group_by(hour).agg(pl.col(_LOG_TIME).max()).sort("@timestamp").collect()
    return found["@timestamp"].to_numpy(), found[_LOG_TIME].to_numpy()


def _moment(micros: int) -> datetime:
    """A time, or the end of what there is."""
    least, most = (
        (one.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
        for one in (datetime.min, datetime.max)
    )
    return _EPOCH + timedelta(microseconds=min(max(micros, least), most))
