"""The latest snapshot of each host's sockets, and what changed against the one before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import polars as pl

from connwatch.alert import iso
from connwatch.ingest.families import family, stem
from connwatch.query.made import NO_TIME, compared, there
from connwatch.query.tree import And, Node, Or, Query
from connwatch.schema import STORED, empty

if TYPE_CHECKING:  # the client takes half a second to load
    from connwatch.sinks.elasticsearch.reader import ServerReader

#: what tells the tables of one host and tool from others; scope: a protocol, or a family outside IP
_STREAM: Final = ("event.module", "host.name", "observer.name", "stream", "scope")
_MODULE: Final = pl.col("event.dataset").str.split(".").list.first()
_SCOPE: Final = pl.coalesce("network.transport", "socket.family")
_MICROSECOND: Final = timedelta(microseconds=1)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
#: moments that a server is asked for at once
_TIMES: Final = 200


def latest(events: pl.LazyFrame, at: datetime | None = None) -> pl.DataFrame:
    """The rows of the latest snapshot of each stream of socket tables, at or before `at`: stored
    columns, and stream, which names it. Sockets that only the snapshot before shows are there with
    socket.change closed and socket.closed_before. What a snapshot of TCP alone does not show of UDP
    is taken from the latest one that does."""
    rows = events.filter(pl.col("socket.snapshot.id").is_not_null()).with_columns(
        _MODULE.alias("event.module"), scope=_SCOPE
    )
    if at is not None:
        rows = rows.filter(pl.col("@timestamp") <= at)
    known = ["event.module", "host.name", "observer.name", "log.file.path", "scope", "@timestamp"]
    seen = _newest(rows.select(known).unique().collect(), "@timestamp")
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


def _newest(seen: pl.DataFrame, time: str) -> pl.DataFrame:
    """Of the moments of tables those that are the newest of their stream (`now`), and the ones
    before these (`before`)."""
    paths = seen["log.file.path"].unique().to_list()
    names = {path: f"{family(path)}/{stem(path)}".removeprefix("./") for path in paths}
    seen = seen.with_columns(stream=pl.col("log.file.path").replace_strict(names, default=None))
    moments = pl.col(time).unique().sort(descending=True)
    last = seen.group_by(_STREAM).agg(now=moments.first(), before=moments.get(1, null_on_oob=True))
    return seen.join(last, on=list(_STREAM), nulls_equal=True).filter(
        (pl.col(time) == pl.col("now")) | (pl.col(time) == pl.col("before"))
    )


def latest_there(server: ServerReader, at: datetime | None = None) -> pl.DataFrame:
    """`latest` of what is on a server: it is asked when there were tables, and then only for the
    rows of those moments."""
    names = [
        "event.dataset", "host.name", "observer.name", "log.file.path", "network.transport",
        "socket.family",
    ]  # fmt: skip
    shown = there("socket.snapshot.id")
    end = None if at is None or at == _LAST else at + _MICROSECOND
    seen = server.moments(Query(shown), names, now=NO_TIME, end=end)
    seen = seen.with_columns(_MODULE.alias("event.module"), scope=_SCOPE)
    times = _newest(seen, "time").select(pl.col("time").unique().sort())
    frames = [empty()]
    for some in times.iter_slices(_TIMES):
        wanted = And((shown, Or(tuple(map(_within, some["time"])))))
        found = server.search(Query(wanted), now=NO_TIME, end=end, limit=None, columns=list(STORED))
        frames.append(found)
    return latest(pl.concat(frames).lazy(), at)


def _within(moment: datetime) -> Node:
    """In this millisecond."""
    bounds = (">=", moment), ("<", moment + timedelta(milliseconds=1))
    return And(tuple(compared("@timestamp", sign, iso(bound)) for sign, bound in bounds))
