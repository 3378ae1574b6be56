"""Stored events as the frames that the join takes."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from connwatch.ingest.families import family, stem
from connwatch.query.made import there, without
from connwatch.query.tree import Node
from connwatch.schema import DERIVED

from .flows import FLOWS
from .places import Place, among, both, roots, with_ends
from .sockets import SOCKETS

#: begins what stands for the name of a host until it has one
_FILE: Final = "file\x00"
#: how far from a flow snapshots are looked for
AROUND: Final = timedelta(days=1)
#: longer flows than this are not looked for by the time at which they must have begun
_LONGEST: Final = timedelta(days=7)

#: an event is a row of a socket table
IS_SOCKET: Final = pl.col("socket.snapshot.id").is_not_null()
#: the local end of a socket is the flow's source
_HERE: Final = pl.col("socket.role") == "client"
_LOCAL_PORT: Final = pl.when(_HERE).then("source.port").otherwise("destination.port")
#: an event is a flow: not what tables show, nor what was concluded from them
IS_FLOW: Final = pl.col("socket.role").is_null() & pl.col("network.transport").is_not_null()

#: what makes a column of `SOCKETS`, and of `FLOWS`
_SOCKET: Final[dict[str, pl.Expr]] = {
    "id": pl.col("event.id"),
    "host": pl.coalesce("host.name", "observer.name", pl.lit(_FILE) + pl.col("log.file.path")),
    "time": pl.col("@timestamp"),
    "snapshot": pl.col("socket.snapshot.id"),
    "transport": pl.col("network.transport"),
    "role": pl.col("socket.role"),
    "state": pl.col("socket.state"),
    "local_ip": pl.when(_HERE).then("source.ip").otherwise("destination.ip"),
    "local_port": _LOCAL_PORT,
    "peer_ip": pl.when(_HERE).then("destination.ip").otherwise("source.ip"),
    "peer_port": pl.when(_HERE).then("destination.port").otherwise("source.port"),
    "pid": pl.col("process.pid"),
    "name": pl.col("process.name"),
    "processes": pl.col("socket.processes"),
    "uid": pl.col("user.id"),
    "user": pl.col("user.name"),
    "inode": pl.col("socket.inode"),
    "cookie": pl.col("socket.cookie"),
}
_FLOW: Final[dict[str, pl.Expr]] = {
    "id": pl.col("event.id"),
    "start": pl.col("@timestamp"),
    "end": DERIVED["event.end"],
    "transport": pl.col("network.transport"),
    "source_ip": pl.col("source.ip"),
    "source_port": pl.col("source.port"),
    "destination_ip": pl.col("destination.ip"),
    "destination_port": pl.col("destination.port"),
    "state": pl.col("zeek.connection.state"),
    "history": pl.col("zeek.connection.history"),
    "witness": pl.col("event.dataset") + " " + pl.col("observer.name").fill_null(""),
}  # fmt: skip
#: what is read of sockets and of flows, and what finds flows
SOCKET_COLUMNS: Final = roots(IS_SOCKET, *_SOCKET.values())
_FLOW_COLUMNS: Final = roots(IS_FLOW, *_FLOW.values())
_FLOWS_ONLY: Final = both(there("network.transport"), without("socket.role"))


def sockets_of(events: pl.LazyFrame) -> pl.DataFrame:
    """`SOCKETS` of stored events that tell of sockets. A host without a name has the sensor's
    label, or else the name of the file without its times: ss-srv-20261121T072635Z.txt is of ss-srv.
    The folder stands before it where several folders have files of that name."""
    return _named(_sockets(events).collect())


def _sockets(events: pl.LazyFrame) -> pl.LazyFrame:
    """The same, but for the names of hosts that are still files'."""
    return events.select(_SOCKET[name].alias(name) for name in SOCKETS)


def sockets_within(place: Place, start: datetime | None, end: datetime | None) -> pl.DataFrame:
    """`SOCKETS` of all snapshots from `AROUND` before start to as long after end."""
    return _named(_snapshots(place, start, end).collect(engine="streaming"))


def sockets_at(place: Place, start: datetime, end: datetime, ports: pl.Series) -> pl.DataFrame:
    """The same, but only sockets at these ports, and of the others what tells which snapshots were
    taken and which addresses a host has: one of each kind and address in every snapshot."""
    rows = _snapshots(place, start, end)
    ours = pl.col("local_port").is_in(ports.unique().drop_nulls().implode())
    ours = ours.fill_null(value=False)
    connected = pl.col("role").is_in(["client", "server"])
    kind = ["host", "snapshot", "time", "transport", "local_ip"]
    rest = (
        rows.filter(~ours)
        .group_by(*kind, connected.alias("connected"))
        .agg(pl.col("role", "local_port").first())
        .drop("connected")
        .with_columns(local_port=pl.col("local_port").fill_null(0))
    )
    found = pl.collect_all([rows.filter(ours), rest], engine="streaming")
    return _named(pl.concat(found, how="diagonal"))


def _snapshots(place: Place, start: datetime | None, end: datetime | None) -> pl.LazyFrame:
    low = None if start is None else earlier(start, AROUND)
    high = None if end is None else later(end, AROUND)
    return _sockets(
        place.events(low, high, IS_SOCKET, lambda: [there("socket.snapshot.id")], SOCKET_COLUMNS)
    )


def _named(sockets: pl.DataFrame) -> pl.DataFrame:
    return sockets.with_columns(_hosts(sockets["host"]))


def moments(place: Place, start: datetime, end: datetime) -> pl.DataFrame:
    """When there were snapshots of each host (host, time), from `AROUND` before start to as long
    after end."""
    rows = _snapshots(place, start, end).select("host", "time").unique()
    return _named(rows.collect(engine="streaming")).unique()


def flows_of(events: pl.LazyFrame) -> pl.LazyFrame:
    """`FLOWS` of stored events."""
    return events.filter(IS_FLOW).select(_FLOW[name].alias(name) for name in FLOWS)


def flows_within(
    place: Place, start: datetime | None, end: datetime | None, ports: pl.Series | None = None
) -> pl.DataFrame:
    """`FLOWS` that begin from start (inclusive) to end (exclusive). ports: only those that have one
    of them at either end."""
    sides = ("source.port", "destination.port")
    wanted = IS_FLOW
    if ports is not None:
        own = ports.unique().drop_nulls()
        wanted = wanted & pl.any_horizontal(pl.col(one).is_in(own.implode()) for one in sides)

    def queries() -> list[Node]:
        if ports is None:
            return [_FLOWS_ONLY]
        return [both(_FLOWS_ONLY, one) for side in sides for one in among(side, own)]

    return flows_of(place.events(start, end, wanted, queries, _FLOW_COLUMNS)).collect()


def flows_around(place: Place, start: datetime, end: datetime) -> pl.DataFrame:
    """`FLOWS` that begin from `AROUND` before start to as long after end."""
    return flows_within(place, earlier(start, AROUND), later(end, AROUND))


def rivals(place: Place, flows: pl.DataFrame) -> pl.DataFrame:
    """`FLOWS` of these flows and of all others between the same ends that are near enough to have
    been what a snapshot shows in their place."""
    if flows.is_empty():
        return flows
    start, end = span(flows)
    low, high = earlier(start, _LONGEST), later(end, AROUND)
    names = ["transport", "source_ip", "source_port", "destination_ip", "destination_port"]
    turned = flows.select(
        "transport", source_ip="destination_ip", source_port="destination_port",
        destination_ip="source_ip", destination_port="source_port",
    )  # fmt: skip
    both = pl.concat([flows.select(names), turned.select(names)]).unique().lazy()
    near = flows_of(
        place.events(low, high, IS_FLOW, lambda: with_ends(_pairs(flows)), _FLOW_COLUMNS)
    )
    others = near.join(both, on=names, how="semi").collect()
    return pl.concat([flows, others]).unique("id", keep="first", maintain_order=True)


def _pairs(flows: pl.DataFrame) -> list[tuple[Any, ...]]:
    """The ends of flows that have ports, each two once."""
    names = ("transport", "source_ip", "source_port", "destination_ip", "destination_port")
    return flows.select(names).drop_nulls().unique(maintain_order=True).rows()


def span(flows: pl.DataFrame) -> tuple[datetime, datetime]:
    """When the first of these flows begins, and the last one ends; of no flows there is none."""
    start, end = flows["start"].min(), flows["end"].max()
    assert isinstance(start, datetime)  # noqa: S101  the caller has flows
    assert isinstance(end, datetime)  # noqa: S101
    return start, end


def earlier(moment: datetime, by: timedelta) -> datetime:
    """A time before; times of logs may be at the end of what there is."""
    return moment - min(by, moment - datetime.min.replace(tzinfo=moment.tzinfo))


def later(moment: datetime, by: timedelta) -> datetime:
    """A time after, likewise."""
    return moment + min(by, datetime.max.replace(tzinfo=moment.tzinfo) - moment)


def _hosts(named: pl.Series) -> pl.Series:
    """Names of hosts as they are; of files, the name of the log that they are pieces of."""
    paths = [name for name in named.unique().drop_nulls() if name.startswith(_FILE)]
    places = {path: _place(path.removeprefix(_FILE)) for path in paths}
    short = Counter(name for _, name in set(places.values()))
    names = {
        path: name if short[name] == 1 or not folder else f"{folder}/{name}"
        for path, (folder, name) in places.items()
    }
    return named.replace(names) if names else named


def _place(path: str) -> tuple[str, str]:
    """A file's folder and name, without what rotation and times make of them."""
    folder = family(path)
    return "" if folder == "." else folder, stem(path)
