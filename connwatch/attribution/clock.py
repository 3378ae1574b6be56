"""How far the clocks of hosts and sensor are apart, told by the sockets themselves.

A socket that a snapshot shows alive was alive then: if the flow at its ends lasted from s to e, and
the snapshot says t, the host's clock is behind the sensor's by something from s - t to e - t. The
offset that fits the most sockets is the measured one. (`sockets.LATE` widens that.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from .flows import connected, ends_of
from .sockets import ENDS, LATE, SECOND, connections, timed

#: sockets that must agree on an offset, at the least
_LEAST: Final = 3
#: µs by a multiple of which a time zone is off
_QUARTER: Final = 900 * SECOND


@dataclass(frozen=True, slots=True)
class Offset:
    """What fits a host. offset: µs to add to its clock: of the range from low to high, which fits
    the same number, 0 or quarters of an hour (a time zone), else the middle. fits: sockets of
    `sockets` that it fits; as_is: that fit as its clock is."""

    host: str
    offset: int
    low: int
    high: int
    fits: int
    as_is: int
    sockets: int

    @property
    def told(self) -> bool:
        """Whether enough sockets say that the clock is off."""
        return self.offset != 0 and self.fits >= max(_LEAST, 2 * self.as_is)


def measured(flows: pl.DataFrame, sockets: pl.DataFrame) -> list[Offset]:
    """What fits each host that has sockets of flows, by host. flows: `FLOWS`; sockets: `SOCKETS`.

    Only ends that a single connection had take part: of others nobody knows which one is meant.
    """
    shots = connections(timed(sockets, {})).filter(pl.col("transport") == "tcp")
    ends = ends_of(connected(flows, 0)).filter(
        pl.col("before").is_null() & pl.col("after").is_null()
    )
    spans = (
        shots.join(ends, on=ENDS[1:])
        .group_by(ENDS)
        .agg(
            low=(pl.col("s") - pl.col("t") - LATE).max(),
            high=(pl.col("e") - pl.col("t")).min(),
        )
        .filter(pl.col("low") <= pl.col("high"))
    )
    steps = pl.concat(
        [
            spans.select("host", at="low", step=pl.lit(1, pl.Int64)),
            spans.select("host", at=pl.col("high") + 1, step=pl.lit(-1, pl.Int64)),
        ]
    )
    fits = (
        steps.group_by("host", "at")
        .agg(pl.col("step").sum())
        .sort("host", "at")
        .with_columns(
            fits=pl.col("step").cum_sum().over("host"),
            high=(pl.col("at").shift(-1) - 1).over("host"),
        )
        .filter(pl.col("fits") == pl.col("fits").max().over("host"))
        .with_columns(quarter=-(-pl.col("at") // _QUARTER) * _QUARTER)
        .with_columns(
            offset=pl.when((pl.col("at") <= 0) & (pl.col("high") >= 0))
            .then(0)
            .when(pl.col("quarter") <= pl.col("high"))
            .then("quarter")
            .otherwise((pl.col("at") + pl.col("high")) // 2)
        )
        .sort("host", pl.col("offset").abs(), "offset")
        .unique("host", keep="first", maintain_order=True)
    )  # fmt: skip
    counts = spans.group_by("host").agg(
        sockets=pl.len(), as_is=((pl.col("low") <= 0) & (pl.col("high") >= 0)).sum()
    )
    found = fits.join(counts, on="host").sort("host")
    names = ("host", "offset", "at", "high", "fits", "as_is", "sockets")
    return [Offset(*row) for row in found.select(names).iter_rows()]
