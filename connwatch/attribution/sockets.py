"""Sockets as snapshots show them: one observation per socket and snapshot, and runs of them.

A *run* is what snapshots one after another show at the same ends, and is one socket: its inode, its
cookie or its process are the same, and none of them differs. Where the process alone tells, the
two snapshots follow one another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

from connwatch.schema import STRINGS, UTC

_S: Final = pl.String()
_I: Final = pl.Int64()

#: One row of a socket table. id: event's; time: of the snapshot, by the host's clock; transport,
#: role, state: as in the schema. local_ip: null or 0.0.0.0 or :: where every address is meant.
#: peer_*: null without a peer. name: of the process with that pid; processes: all that hold the
#: socket. Whatever a tool does not show is null.
SOCKETS: Final[dict[str, pl.DataType]] = {
    "id": _S, "host": _S, "time": UTC, "snapshot": _S, "transport": _S, "role": _S, "state": _S,
    "local_ip": _S, "local_port": _I, "peer_ip": _S, "peer_port": _I,
    "pid": _I, "name": _S, "processes": STRINGS, "uid": _S, "user": _S, "inode": _I, "cookie": _S,
}  # fmt: skip
#: every IPv4 address
ANY_IPV4: Final = "0.0.0.0"  # noqa: S104  compared with, not listened on
SECOND: Final = 1_000_000
#: µs by which a table may have been made later than its time says: times are often whole seconds,
#: and `ss -p` reads all of /proc first
LATE: Final = SECOND
#: what makes the ends of a connection, and what makes a door
ENDS: Final = ("host", "transport", "local_ip", "local_port", "peer_ip", "peer_port")
DOOR: Final = ("host", "transport", "local_ip", "local_port")
#: the socket has no process any more
_ENDED: Final = "time_wait"


def timed(sockets: pl.DataFrame, offsets: Mapping[str, int]) -> pl.DataFrame:
    """Sockets of a network with holders (of the socket, without descriptors) and `t`: µs since the
    epoch, by the sensor's clock. A local_ip of null stands for every address.

    offsets: µs to add to a host's clock.
    """
    found = sockets.filter(
        pl.col("local_port").is_not_null(),
        pl.col("role").is_in(_ROLES),
        pl.col("host").is_not_null(),
    )
    shift = pl.col("host").replace_strict(dict(offsets), default=0, return_dtype=pl.Int64)
    return found.with_columns(
        t=pl.col("time").dt.epoch("us") + shift,
        inode=pl.when(pl.col("inode") != 0).then("inode"),
        local_ip=pl.when(pl.col("local_ip") != "::").then("local_ip"),
        holders=pl.coalesce(
            pl.col("processes").list.eval(pl.element().str.replace(r" fd=.*$", "")),
            pl.concat_list(pl.format("{}/{}", "pid", pl.col("name").fill_null(""))),
        ),
    )


_ROLES: Final = ("client", "server", "listener", "unconnected")


def ended(rows: pl.DataFrame) -> pl.DataFrame:
    """`ENDS` and t of connections that are over and hold their ports only."""
    return rows.filter(_connected(), pl.col("state") == _ENDED).select(*ENDS, "t")


def connections(rows: pl.DataFrame) -> pl.DataFrame:
    """Shots (see `_shots`) of connections that are not over."""
    alive = pl.col("state").ne_missing(_ENDED)
    return _shots(rows.filter(_connected(), alive), rows, ENDS)


def doors(rows: pl.DataFrame) -> pl.DataFrame:
    """Shots of sockets that wait for anybody: listeners, and UDP without a peer."""
    return _shots(rows.filter(pl.col("role").is_in(["listener", "unconnected"])), rows, DOOR)


def _connected() -> pl.Expr:
    both = pl.col("peer_ip").is_not_null() & pl.col("peer_port").is_not_null()
    return pl.col("role").is_in(["client", "server"]) & both & pl.col("local_ip").is_not_null()


def _shots(chosen: pl.DataFrame, rows: pl.DataFrame, key: tuple[str, ...]) -> pl.DataFrame:
    """What each snapshot shows at a key: its columns, t, run (number), ids, role, inode, cookie,
    who (list of process/user structs, one per socket and different ones only, null: not shown).

    Sorted by t. who is that of the run where the snapshot itself was not shown it.
    """
    order = (
        rows.select("host", "t")
        .unique()
        .with_columns(turn=pl.col("t").rank("dense").over("host").cast(pl.Int64))
    )
    place = [*key, "t", "snapshot"]
    shared = chosen.select(place).is_duplicated()
    shots = (
        pl.concat([_alone(chosen.filter(~shared), place), _together(chosen.filter(shared), place)])
        .join(order, on=["host", "t"])
        .sort(*place, nulls_last=True)
    )
    shots = shots.with_columns(
        who=pl.when(~pl.col("unknown")).then("who"),
        run=_breaks(key).fill_null(value=True).cum_sum().cast(pl.Int64),
    )
    if shots["who"].has_nulls():
        shots = shots.with_columns(pl.col("who").forward_fill().backward_fill().over("run"))
    return shots.sort("t", "snapshot", maintain_order=True)


_WHO: Final = pl.struct("pid", "name", pl.col("holders").alias("processes"), "uid", "user")
_KNOWN: Final = pl.col("pid").is_not_null() | pl.col("name").is_not_null()


def _together(chosen: pl.DataFrame, place: list[str]) -> pl.DataFrame:
    """Sockets at one place of one snapshot."""
    return (
        chosen.sort("pid", "name", "inode", "cookie", "id")
        .group_by(place)
        .agg(
            pl.col("id").sort().alias("ids"),
            pl.col("role").min(),
            _all_or_none("inode").alias("inodes"),
            _all_or_none("cookie").alias("cookies"),
            pl.col("holders")
            .drop_nulls()
            .explode(keep_nulls=False, empty_as_null=False)
            .unique()
            .sort()
            .alias("pids"),
            _WHO.filter(_KNOWN).alias("who"),
            (~_KNOWN).any().alias("unknown"),
        )
    )


def _alone(chosen: pl.DataFrame, place: list[str]) -> pl.DataFrame:
    """The same where each place has one socket, as nearly all have: ten times as fast."""
    return chosen.select(
        *place,
        pl.concat_list("id").alias("ids"),
        "role",
        *(
            pl.when(pl.col(name).is_not_null()).then(pl.concat_list(name)).alias(f"{name}s")
            for name in ("inode", "cookie")
        ),
        pl.coalesce("holders", pl.lit([], STRINGS)).list.unique().list.sort().alias("pids"),
        pl.concat_list(_WHO).alias("who"),
        (~_KNOWN).alias("unknown"),
    )


def _all_or_none(name: str) -> pl.Expr:
    """Every different value, null where a socket does not show it."""
    return pl.when(pl.col(name).is_not_null().all()).then(pl.col(name).unique().sort().implode())


def _breaks(key: tuple[str, ...]) -> pl.Expr:
    """Whether a shot is of another socket than the one before it at the same key."""
    same_key = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift()) for name in key)
    same, differs = [], []
    for name in ("inodes", "cookies"):
        equal = pl.col(name) == pl.col(name).shift()
        same.append(equal.fill_null(value=False))
        differs.append((~equal).fill_null(value=False))
    both = (pl.col("pids").list.len() > 0) & (pl.col("pids").list.len().shift() > 0)
    common = pl.col("pids").list.set_intersection(pl.col("pids").shift()).list.len() > 0
    near = pl.col("turn") - pl.col("turn").shift() <= 1
    same.append(both & common & near)
    differs.append(both & ~common)
    return ~same_key | ~pl.any_horizontal(same) | pl.any_horizontal(differs)
