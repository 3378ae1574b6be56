"""The latest snapshot of each host's sockets, and what changed against the one before."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import polars as pl

from connwatch.ingest.families import family, stem
from connwatch.schema import STORED

#: what tells the tables of one host and tool from others; scope: a protocol, or a family outside IP
_STREAM: Final = ("event.module", "host.name", "observer.name", "stream", "scope")
_NULLABLE: Final = ("host.name", "observer.name")


def latest(events: pl.LazyFrame, at: datetime | None = None) -> pl.DataFrame:
    """The rows of the latest snapshot of each stream of socket tables, at or before `at`: stored
    columns, and stream, which names it. Sockets that only the snapshot before shows are there with
    socket.change closed and socket.closed_before. What a snapshot of TCP alone does not show of UDP
    is taken from the latest one that does."""
    rows = events.filter(pl.col("socket.snapshot.id").is_not_null()).with_columns(
        pl.col("event.dataset").str.split(".").list.first().alias("event.module"),
        scope=pl.coalesce("network.transport", "socket.family"),
    )
    if at is not None:
        rows = rows.filter(pl.col("@timestamp") <= at)
    known = ["event.module", "host.name", "observer.name", "log.file.path", "scope", "@timestamp"]
    seen = rows.select(known).unique().collect()
    paths = seen["log.file.path"].unique().to_list()
    names = {path: f"{family(path)}/{stem(path)}".removeprefix("./") for path in paths}
    seen = seen.with_columns(stream=pl.col("log.file.path").replace_strict(names, default=None))
    moments = pl.col("@timestamp").unique().sort(descending=True)
    last = seen.group_by(_STREAM).agg(now=moments.first(), before=moments.get(1, null_on_oob=True))
    seen = seen.join(last, on=list(_STREAM), nulls_equal=True)
    seen = seen.filter(
        (pl.col("@timestamp") == pl.col("now")) | (pl.col("@timestamp") == pl.col("before"))
    )
    found = rows.join(seen.lazy(), on=known, nulls_equal=True).collect()
    shown = found.filter(pl.col("@timestamp") == pl.col("now"))
    gone = found.filter(
        pl.col("@timestamp") < pl.col("now"), pl.col("socket.instance").is_not_null()
    )
    gone = gone.join(
        shown.select("stream", "socket.instance"), on=["stream", "socket.instance"], how="anti"
    ).with_columns(
        pl.lit("closed").alias("socket.change"),
        pl.lit(None, pl.String).alias("socket.change_reason"),
        pl.lit(None, pl.String).alias("socket.state_before"),
        pl.col("now").alias("socket.closed_before"),
    )
    order = ["stream", "scope", "socket.role", "socket.local", "socket.peer", "event.sequence"]
    return pl.concat([shown, gone]).sort(order, nulls_last=True).select(*STORED, "stream")
