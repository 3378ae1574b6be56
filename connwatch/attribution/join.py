"""The join: which sockets were at the ends of a connection, and what that proves.

Everything is looked up per end of a connection, host and *level*: sockets with these two ends,
then doors (listeners, UDP without a peer) at the address, at every IPv4 address, at every address.
Of the snapshots at one key four are asked for, by as-of joins, so that cost grows with n log n
however long a socket lives: the first and the last one in the connection's time, the one before
and the one after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from connwatch.schema import STRINGS

from .flows import connected, ends_of
from .sockets import ANY_IPV4, DOOR, ENDS, LATE, connections, doors, ended, timed
from .verdict import POSITIVE, judged_connections, judged_doors, settled, why_none

_S: Final = pl.String()
_I: Final = pl.Int64()

#: What is known of one end of a flow. id: of the flow; side: source or destination; host: whose
#: snapshots tell. verdict: exact, bounded, ambiguous, reused or none; reason: one of
#: `verdict.REASONS`. pid to user: the process, null unless exact or bounded. basis: role of the
#: socket that tells. candidates: pid/name of all that it may be, where there are several or they
#: are refused. rows: ids of the rows of tables that tell.
ATTRIBUTION: Final[dict[str, pl.DataType]] = {
    "id": _S, "side": _S, "host": _S, "verdict": _S, "reason": _S,
    "pid": _I, "name": _S, "processes": STRINGS, "uid": _S, "user": _S,
    "basis": _S, "candidates": STRINGS, "rows": STRINGS,
}  # fmt: skip
_ADDRESS_BITS: Final = ":"


@dataclass(frozen=True, slots=True)
class Settings:
    """tolerance: µs by which clocks of sensor and host may differ after `offsets`. reach: µs by
    which a snapshot may be away from a TCP connection that it shows before or after its packets.
    offsets: µs to add to the clock of a host."""

    tolerance: int = 250_000
    reach: int = 600_000_000
    offsets: Mapping[str, int] = field(default_factory=dict)


def attribute(
    flows: pl.DataFrame, sockets: pl.DataFrame, settings: Settings | None = None
) -> pl.DataFrame:
    """The process at either end of each flow: `ATTRIBUTION`, two rows a flow, by id and side.

    flows: `FLOWS`. sockets: `SOCKETS`. Neither order matters.
    """
    settings = settings or Settings()
    rows = timed(sockets, settings.offsets)
    marked = connected(flows, settings.tolerance)
    ends = _on_hosts(ends_of(marked), rows, settings)
    shots, waiting = connections(rows), doors(rows)
    judged = [judged_connections(_looked_up(ends, shots, ENDS), settings.reach)]
    judged += [judged_doors(_looked_up(at, waiting, DOOR)) for at in _at_doors(ends)]
    decided = settled(
        [(one, seen) for one, seen in zip(judged, (shots, *[waiting] * 3), strict=True)]
    )
    unknown = why_none(ends.join(decided, on="end", how="anti"), rows, ended(rows))
    found = pl.concat([decided, unknown], how="diagonal")
    return _per_flow(flows, marked, found)


def best(attributed: pl.DataFrame) -> pl.DataFrame:
    """`ATTRIBUTION` with one row a flow: the end of which more is known, else the source."""
    order = pl.col("verdict").replace_strict(
        {name: place for place, name in enumerate((*POSITIVE, "reused", "none"))},
        return_dtype=pl.Int64,
    )
    known = pl.col("host").is_null()  # of an end without snapshots nothing can be known
    return attributed.sort("id", order, known, pl.col("side") == "destination").unique(
        "id", keep="first", maintain_order=True
    )


def _on_hosts(ends: pl.DataFrame, rows: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Ends with the hosts that have their address (null: none), and their times by snapshots:
    lo to hi (µs) is when a snapshot was taken in the connection's time; elo to ehi that part of
    it which no other connection of the same ends has; floor and roof: where those are."""
    owners = (
        rows.filter(pl.col("local_ip").is_not_null() & (pl.col("local_ip") != ANY_IPV4))
        .select("host", "local_ip")
        .unique()
    )
    tolerance = settings.tolerance
    found = ends.with_row_index("end").join(owners, on="local_ip", how="left")
    early = tolerance + LATE
    return found.with_columns(
        lo=pl.col("s") - early,
        hi=pl.col("e") + tolerance,
        floor=pl.col("before") + tolerance + 1,
        roof=pl.col("after") - early - 1,
    ).with_columns(
        elo=pl.max_horizontal("lo", "floor"),
        ehi=pl.min_horizontal("hi", "roof"),
    )


def _at_doors(ends: pl.DataFrame) -> list[pl.DataFrame]:
    """Ends as sockets that wait for anybody have them, the closest fit first. TCP waits for those
    who ask; a connection that was refused had nobody waiting."""
    tcp = pl.col("transport") == "tcp"
    fit = ends.filter(~tcp | (pl.col("asked") & ~pl.col("refused")))
    # Several connections of the same ends have the same door behind them.
    fit = fit.with_columns(elo="lo", ehi="hi")
    four = fit.filter(~pl.col("local_ip").str.contains(_ADDRESS_BITS, literal=True))
    return [
        fit,
        four.with_columns(local_ip=pl.lit(ANY_IPV4)),
        fit.with_columns(local_ip=pl.lit(None, _S)),
    ]


def _looked_up(ends: pl.DataFrame, shots: pl.DataFrame, key: tuple[str, ...]) -> pl.DataFrame:
    """Ends for which there are shots, with t_, run_ and shot_ (row of `shots`) of the first and the
    last one inside (elo to ehi), of the one before lo and the one after hi, and with contested: in
    lo to hi there is one, but none inside."""
    keys = shots.select(key).unique(maintain_order=True).with_row_index("key")
    seen = shots.with_row_index("shot").join(keys, on=key, nulls_equal=True, maintain_order="left")
    seen = seen.select("key", "t", "run", "shot")
    asked = ends.join(keys, on=key, nulls_equal=True).with_row_index("row")
    for name, at, strategy in (
        ("first", pl.col("elo"), "forward"),
        ("last", pl.col("ehi"), "backward"),
        ("before", pl.col("lo") - 1, "backward"),
        ("after", pl.col("hi") + 1, "forward"),
        ("any", pl.col("lo"), "forward"),
    ):
        near = asked.select("row", "key", at=at).sort("at").join_asof(
            seen.rename({one: f"{one}_{name}" for one in ("t", "run", "shot")}),
            left_on="at", right_on=f"t_{name}", by="key",
            strategy=strategy, check_sortedness=False,  # type: ignore[arg-type]
        )  # fmt: skip
        asked = asked.join(near.drop("key", "at"), on="row", maintain_order="left")
    within = (pl.col("t_first") <= pl.col("ehi")) & (pl.col("t_last") >= pl.col("elo"))
    return asked.with_columns(
        inside=within.fill_null(value=False),
        contested=(pl.col("t_any") <= pl.col("hi")).fill_null(value=False),
    ).with_columns(contested=pl.col("contested") & ~pl.col("inside"))


def _per_flow(flows: pl.DataFrame, marked: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """What is known of ends as what is known of the two sides of each flow."""
    sides = pl.concat(
        marked.select(
            "id", "connection", side=pl.lit(side), first=pl.col("forward") == (side == "source")
        )
        for side in ("source", "destination")
    )
    told = sides.join(found, on=["connection", "first"], how="left")
    portless = flows.join(marked, on="id", how="anti").select("id")
    rest = portless.join(
        pl.DataFrame({"side": ["source", "destination"]}), how="cross"
    ).with_columns(verdict=pl.lit("none"), reason=pl.lit("no_ports"))
    names = list(ATTRIBUTION)
    empty = pl.DataFrame(schema=ATTRIBUTION)
    return pl.concat([empty, told.select(names), rest], how="diagonal").sort(
        "id", pl.col("side") == "destination"
    )
