"""What the commands ask of a store: the flows of a process, what is behind a flow, or an alert."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from connwatch.alert import Document
from connwatch.errors import StoreError
from connwatch.query.made import begins
from connwatch.query.tree import Node
from connwatch.schema import DERIVED

from .clock import Offset, measured
from .flows import connected
from .join import ATTRIBUTION, Settings, attribute, best
from .places import Place, among
from .sockets import LATE
from .stored import (
    AROUND,
    IS_FLOW,
    IS_SOCKET,
    SOCKET_COLUMNS,
    earlier,
    flows_around,
    flows_of,
    flows_within,
    later,
    rivals,
    sockets_at,
    sockets_of,
    sockets_within,
    span,
)
from .verdict import REASONS, label

#: events behind an alert that are asked for their process
ASKED: Final = 20_000
#: bytes that Linux keeps of a name
_NAME: Final = 15


@dataclass(frozen=True, slots=True)
class Clocks:
    """How clocks of hosts are set right. given: µs to add by host, "" for all others. measure: find
    it out for hosts that are not named."""

    given: Mapping[str, int]
    measure: bool = False

    def settings(self, sockets: pl.DataFrame, found: Iterable[Offset]) -> Settings:
        """What to join with. sockets: `SOCKETS`. found: what was measured, for others."""
        hosts = sockets["host"].unique().drop_nulls().to_list()
        offsets = {host: self.given.get(host, self.given.get("", 0)) for host in hosts}
        told = {one.host: one.offset for one in found if self.measure and one.told}
        offsets |= {host: by for host, by in told.items() if host not in self.given}
        return Settings(offsets=offsets)

    def stored(self, place: Place, sockets: pl.DataFrame) -> Settings:
        """The same, measured where that is wanted with all that is stored of their time."""
        times = sockets["time"]
        if not self.measure or times.is_empty():
            return self.settings(sockets, ())
        first, last = _times(times)
        flows = flows_around(place, first, last)
        return self.settings(sockets, measured(flows, sockets_within(place, first, last)))


@dataclass(frozen=True, slots=True)
class Wanted:
    """A process, by its number, or by its name as tools show it: cut, and in any case."""

    pid: int | None
    name: str

    def among(self, pid: str, name: str) -> pl.Expr:
        """Whether it is that of these columns."""
        if self.pid is not None:
            return (pl.col(pid) == self.pid).fill_null(value=False)
        shown = [self.name.lower(), self.name.lower()[:_NAME]]
        return pl.col(name).str.to_lowercase().is_in(shown).fill_null(value=False)

    def queries(self, place: Place) -> Iterator[Node]:
        """What finds its rows of tables. Which case a name is in, only the names themselves say."""
        if self.pid is not None:
            return among("process.pid", [self.pid])
        names = pl.DataFrame({"name": place.values("process.name")}, schema={"name": pl.String})
        return among("process.name", names.filter(self.among("name", "name"))["name"])


def of_process(
    place: Place,
    wanted: Wanted,
    start: datetime | None,
    end: datetime | None,
    clocks: Clocks,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The sockets of a process (`SOCKETS`), and the ends of flows that it is behind, or one of the
    candidates for: `ATTRIBUTION` with the columns of `FLOWS`, by start.

    Raises StoreError when no table shows the process.
    """
    its_rows = IS_SOCKET & wanted.among("process.pid", "process.name")
    own = sockets_of(
        place.events(None, None, its_rows, lambda: wanted.queries(place), SOCKET_COLUMNS)
    )
    if own.is_empty():
        raise StoreError(
            "no socket table in the store shows this process",
            hint="connwatch search --by process.name lists those that are shown",
        )
    ports = own["local_port"].unique().drop_nulls()
    flows = flows_within(place, start, end, ports)
    sockets = sockets_at(place, *_times(own["time"]), ports)
    settings = clocks.stored(place, sockets)
    found = attribute(rivals(place, flows), sockets, settings)
    shown = own.select(label().alias("label")).to_series().unique().to_list()
    among = pl.any_horizontal(
        pl.col("candidates")
        .list.eval(pl.element().str.split(" on ").list.first())
        .list.contains(one)
        for one in shown
    )
    named = wanted.among("pid", "name") | (among & (pl.col("verdict") == "ambiguous")).fill_null(
        value=False
    )
    return own, found.filter(named).join(flows, on="id").sort("start", "id", "side")


def ports_of(flows: pl.DataFrame) -> pl.Series:
    """Every port of flows (`FLOWS`)."""
    return pl.concat([flows["source_port"], flows["destination_port"]])


def _times(times: pl.Series) -> tuple[datetime, datetime]:
    """The first and the last of times that there are."""
    first, last = times.min(), times.max()
    assert isinstance(first, datetime)  # noqa: S101  there are some
    assert isinstance(last, datetime)  # noqa: S101
    return first, last


@dataclass(frozen=True, slots=True)
class FlowFacts:
    """event: of the flow (one row, stored columns). ends: `ATTRIBUTION`, two rows. witnesses:
    stored columns of everything that tells of the same connection, itself included. alerts: that
    have one of the witnesses among their events."""

    event: pl.DataFrame
    ends: pl.DataFrame
    witnesses: pl.DataFrame
    alerts: list[Document]


def of_flow(
    place: Place, name: str, start: datetime | None, end: datetime | None, clocks: Clocks
) -> FlowFacts:
    """What is known of one flow. name: the beginning of an event's id, a uid of Zeek, a Community
    ID (of which start and end pick one). Raises StoreError when no flow or several have it."""
    event = _the_flow(place, name, start, end)
    flow = flows_of(event.lazy()).collect()
    flows = rivals(place, flow)
    sockets = sockets_at(place, *span(flow), ports_of(flow))
    settings = clocks.stored(place, sockets)
    ends = attribute(flows, sockets, settings).filter(pl.col("id") == flow["id"].item())
    marked = connected(flows, settings.tolerance)
    same = marked.filter(
        pl.col("connection").is_in(
            marked.filter(pl.col("id") == flow["id"].item())["connection"].implode()
        )
    )
    ids = {flow["id"].item(), *same["id"]}
    ids.update(*(rows for rows in ends["rows"].drop_nulls()))
    within = span(pl.concat([flow, flows.filter(pl.col("id").is_in(list(ids)))]))
    witnesses = _events(place, ids, event["network.community_id"].item(), within, settings)
    return FlowFacts(event, ends, witnesses, place.alerts_with(witnesses))


def _the_flow(
    place: Place, name: str, start: datetime | None, end: datetime | None
) -> pl.DataFrame:
    text = name.strip()
    wanted = IS_FLOW & (
        pl.col("event.id").str.starts_with(text.lower())
        | (pl.col("zeek.session_id") == text)
        | (pl.col("network.community_id") == text)
    )

    def queries() -> list[Node]:
        return [
            begins("event.id", text.lower()),
            *among("zeek.session_id", [text]),
            *among("network.community_id", [text]),
        ]

    events = place.events(start, end, wanted, queries)
    found = events.sort("@timestamp", "event.id").collect() if text else None
    if found is None or found.is_empty():
        raise StoreError(
            f"no flow has an id that begins with {name!r}",
            hint="connwatch search --format ndjson shows event.id; a uid of Zeek and a Community ID"
            " are taken too",
        )
    flows = flows_of(found.lazy()).collect()
    if found.height > 1 and connected(flows, Settings().tolerance)["connection"].n_unique() != 1:
        ids = ", ".join(found["event.id"].str.head(12).head(5))
        raise StoreError(
            f"{found.height} flows have an id that begins with {name!r}",
            hint=f"they are {ids}{', …' if found.height > 5 else ''}; --from and --to pick by time",
        )
    return found.head(1)


def _events(
    place: Place,
    ids: set[str],
    community: str | None,
    within: tuple[datetime, datetime],
    settings: Settings,
) -> pl.DataFrame:
    """The stored events with these ids, and all of tables with this Community ID whose time
    overlaps that of the connection, by time."""
    low, high = earlier(within[0], AROUND), later(within[1], AROUND)
    early = timedelta(microseconds=settings.tolerance + LATE)
    shift = timedelta(microseconds=max((0, *map(abs, settings.offsets.values()))))
    of_tables = (
        pl.col("socket.role").is_not_null()
        & (pl.col("network.community_id") == pl.lit(community, pl.String))
        & (pl.col("@timestamp") <= later(within[1], shift))
        & (DERIVED["event.end"] >= earlier(within[0], early + shift))
    )
    wanted = pl.col("event.id").is_in(list(ids)) | of_tables.fill_null(value=False)

    def queries() -> list[Node]:
        shown = [] if community is None else [*among("network.community_id", [community])]
        return [*among("event.id", sorted(ids)), *shown]

    found = place.events(low, high, wanted, queries)
    return found.sort("@timestamp", "event.dataset", "event.id").collect()


def told_of(place: Place, events: pl.DataFrame, clocks: Clocks) -> pl.DataFrame:
    """`ATTRIBUTION` of events (stored columns), one row each, rows of tables among them."""
    own = sockets_of(events.lazy().filter(pl.col("socket.role").is_not_null()))
    client, shown = pl.col("role") == "client", pl.col("pid").is_not_null()
    ended = pl.col("state") == "time_wait"
    rows = own.select(
        "id", "host", "pid", "name", "processes", "uid", "user",
        side=pl.when(client).then(pl.lit("source")).otherwise(pl.lit("destination")),
        verdict=pl.when(shown).then(pl.lit("exact")).otherwise(pl.lit("none")),
        reason=pl.when(shown).then(pl.lit("row"))
        .when(ended).then(pl.lit("over")).otherwise(pl.lit("no_process")),
        basis="role",
    )  # fmt: skip
    flows = flows_of(events.lazy()).collect()
    rows = pl.concat([pl.DataFrame(schema=ATTRIBUTION), rows], how="diagonal")
    if flows.is_empty():
        return rows
    sockets = sockets_at(place, *span(flows), ports_of(flows))
    known = rivals(place, flows)
    settings = clocks.stored(place, sockets)
    found = best(attribute(known, sockets, settings)).join(flows, on="id", how="semi")
    return pl.concat([rows, found], how="diagonal")


def summed(told: pl.DataFrame) -> list[dict[str, Any]]:
    """The processes behind an alert's events, the surest and commonest first: host, side, pid,
    name, user, verdict, reason, text (the reason in words), events (how many), candidates. Events
    of which nothing is known are counted by reason.

    told: as `told_of` gives it.
    """
    rank = {"exact": 0, "bounded": 1, "ambiguous": 2, "reused": 3, "none": 4}
    groups = (
        told.with_columns(user=pl.coalesce("user", "uid"))
        .with_columns(
            pl.when(pl.col("verdict") != "none").then(name).alias(name) for name in ("host", "side")
        )
        .group_by("verdict", "reason", "side", "host", "pid", "name", "user")
        .agg(
            events=pl.len(),
            candidates=pl.col("candidates")
            .explode(empty_as_null=False, keep_nulls=False)
            .unique()
            .sort(),
        )
        .sort(
            pl.col("verdict").replace_strict(rank, return_dtype=pl.Int64),
            -pl.col("events").cast(pl.Int64), "host", "pid", "name", "reason", "side",
        )
    )  # fmt: skip
    return [
        {name: value for name, value in row.items() if value not in (None, [])}
        | {"text": REASONS[row["reason"]]}
        for row in groups.iter_rows(named=True)
    ]
