"""Who else tells of the connections that an alert lists, as its document says it.

A flow is a hit of a rule once. The other records of it are its witnesses: stored events that the
linking of `connwatch.detectors.witnesses` puts to it, run over what is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import polars as pl

from connwatch.alert import Document
from connwatch.behind import ORDER
from connwatch.detectors.witnesses.counting import Counting
from connwatch.detectors.witnesses.flows import Flows
from connwatch.detectors.witnesses.records import COLUMNS
from connwatch.render import moment
from connwatch.schema import STORED
from connwatch.sinks.embedded import StoreReader

from .places import between
from .stored import AROUND, earlier, later

#: witnesses of one event that an alert lists
LISTED: Final = 8
#: what is said of each
_SHOWN: Final = (
    "event.id", "event.dataset", "observer.name", "@timestamp", "process.pid", "process.name",
    "log.file.path", "log.offset", "event.sequence",
)  # fmt: skip


def of_alerts(reader: StoreReader, documents: Sequence[Document]) -> dict[str, list[Document]]:
    """By id of alerts that have any, the witnesses of the events that they list: `_SHOWN` of each,
    and `of`, the id of the listed event. Where that event is gone, nothing is known."""
    listed = {
        str(one["event.id"]): datetime.fromisoformat(one["@timestamp"])
        for document in documents
        for one in document["connwatch"]["evidence"]
    }
    if not listed:
        return {}
    low, high = earlier(min(listed.values()), AROUND), later(max(listed.values()), AROUND)
    events = between(reader, low, high)
    if not several(events):
        return {}
    others = _others(events, pl.Series("of", list(listed), dtype=pl.String))
    return {
        document["event"]["id"]: found
        for document in documents
        if (found := _of_evidence(document, others))
    }


def several(events: pl.LazyFrame) -> bool:
    """Whether there may be witnesses at all: logs of more than one kind, or of several sensors."""
    found = events.select(
        (pl.col(name).min() != pl.col(name).max())
        | pl.col(name).null_count().is_between(1, pl.len() - 1)
        for name in ("event.dataset", "observer.name")
    ).collect()
    return True in found.row(0)


def _others(events: pl.LazyFrame, ids: pl.Series) -> dict[str, list[Document]]:
    """Of these events each with the others of its flow, in their order."""
    wanted = ids.to_frame().lazy()
    behind = events.join(wanted, left_on="event.id", right_on="of", how="semi")
    communities = behind.select("network.community_id").drop_nulls().unique().collect()
    names = [name for name in STORED if name in {*COLUMNS, *ORDER, *_SHOWN}]
    near = (
        events.join(communities.lazy(), on="network.community_id", how="semi")
        .select(names)
        .collect()
        .sort(ORDER, maintain_order=True)
    )
    if near.is_empty():
        return {}
    flow = pl.Series("flow", Counting(near, Flows()).flows)
    near = near.with_columns(flow).filter(pl.col("flow") >= 0, pl.col("flow").is_duplicated())
    times = pl.col("@timestamp").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    shown = near.select("flow", *_SHOWN).with_columns(times)
    own = shown.select("flow", of="event.id").join(ids.to_frame(), on="of", how="semi")
    pairs = own.join(shown, on="flow", maintain_order="left_right").filter(
        pl.col("of") != pl.col("event.id")
    )
    found: dict[str, list[Document]] = {}
    for row in pairs.drop("flow").iter_rows(named=True):
        found.setdefault(row["of"], []).append(
            {name: value for name, value in row.items() if value is not None}
        )
    return found


def _of_evidence(document: Document, others: Mapping[str, list[Document]]) -> list[Document]:
    return [
        other
        for one in document["connwatch"]["evidence"]
        for other in others.get(one["event.id"], ())[:LISTED]
    ]


def witness_lines(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The same for people; not yet safe."""
    title = f"witnesses ({len(found)})"
    for place, one in enumerate(found):
        sensor = f" at {one['observer.name']}" if "observer.name" in one else ""
        process = f", {one['process.name']}" if "process.name" in one else ""
        where = f"{one['log.file.path']}:{one['event.sequence']}"
        if place == 0:
            yield title
        yield (
            f"  {one['event.dataset']}{sensor} {moment(one['@timestamp'])}{process} ({where}),"
            f" {one['event.id'][:12]} of {one['of'][:12]}"
        )
