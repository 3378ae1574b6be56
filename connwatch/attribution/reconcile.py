"""What only one side knows: sockets that the sensor never saw, and flows without a socket."""

from __future__ import annotations

from typing import Final

import polars as pl

from .flows import connected, ends_of
from .join import Settings, attribute
from .sockets import ENDS, LATE, connections, timed
from .verdict import PROCESS

#: a socket belongs to a connection in these states, whoever began it
_MADE: Final = ("SF", "S1", "S2", "S3", "RSTO", "RSTR")
_LOOPBACK: Final = r"^127\.|^::1$"

#: first_seen, last_seen: times of snapshots, by the sensor's clock. open: the last snapshot of the
#: host still shows it; a sensor that writes of connections when they end has not told of it yet.
UNSEEN: Final = (
    "host", "transport", "role", "local_ip", "local_port", "peer_ip", "peer_port",
    "first_seen", "last_seen", "snapshots", "open", *PROCESS,
)  # fmt: skip


def unseen(flows: pl.DataFrame, sockets: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Sockets with a peer of which no flow tells (`UNSEEN`), by host and first_seen.

    flows: `FLOWS`; sockets: `SOCKETS`. Only snapshots from the first flow's begin to the last one's
    end count, and connections that leave the host: no sensor sees the others.
    """
    rows = timed(sockets, settings.offsets)
    marked = connected(flows, settings.tolerance)
    ends = ends_of(marked)
    first, last = (pl.lit(time, pl.Int64) for time in (ends["s"].min(), ends["e"].max()))
    own = rows.select("host", peer_ip="local_ip").drop_nulls().unique()
    outward = (
        connections(rows)
        .filter(pl.col("t").is_between(first, last), ~pl.col("peer_ip").str.contains(_LOOPBACK))
        .join(own, on=["host", "peer_ip"], how="anti")
    )
    runs = outward.group_by(*ENDS, "run").agg(
        pl.col("who", "role").last(),
        low=pl.col("t").min(),
        high=pl.col("t").max(),
        snapshots=pl.len(),
    )
    late = pl.when("closed").then(settings.tolerance).otherwise(settings.reach)
    early = settings.tolerance + LATE
    told = runs.join(ends, on=ENDS[1:]).filter(
        pl.col("low") <= pl.col("e") + late, pl.col("high") >= pl.col("s") - early
    )
    final = rows.group_by("host").agg(final=pl.col("t").filter(pl.col("t") <= last).max())
    return (
        runs.join(told, on="run", how="anti")
        .join(final, on="host")
        .with_columns(pl.col("who").list.first())
        .unnest("who")
        .with_columns(
            open=pl.col("high") == pl.col("final"),
            first_seen=_moment("low"),
            last_seen=_moment("high"),
        )
        .select(UNSEEN)
        .sort("host", "first_seen", *ENDS[1:])
    )


def without_socket(flows: pl.DataFrame, sockets: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """`FLOWS`, with side and host, of ends of flows that have no socket though a snapshot of the
    host was taken in their time. Attempts that nobody need have answered are left out."""
    found = attribute(flows, sockets, settings).filter(pl.col("reason") == "not_shown")
    made = pl.col("state").is_in(_MADE) | pl.col("state").is_null()
    return (
        found.select("id", "side", "host")
        .join(flows, on="id")
        .filter((pl.col("side") == "source") | made)
        .sort("start", "id", "side")
    )


def _moment(name: str) -> pl.Expr:
    return pl.from_epoch(pl.col(name), time_unit="us").dt.replace_time_zone("UTC")
