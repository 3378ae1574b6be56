"""Lines to packets: the door for whoever wants packets and no events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from .clock import Clock, timed
from .exact import exact
from .packet import FRAME, PACKET
from .records import DROPPED, ORPHAN, grouped, records, unnumbered

_NO_TIME: Final = "tells no time between 1970 and 2100"
_PLACE: Final = ("line", "offset", "lines", "raw", "time")


@dataclass(frozen=True, slots=True)
class Read:
    """What was made of some lines; lines = record_lines + faults + comments.

    packets: `PACKET`. frames: `FRAME`. faults: columns line, offset, raw, fault of every line that
    is part of nothing that could be read. record_lines: lines of packets and frames. dropped:
    whether tcpdump says that packets are missing.
    """

    packets: pl.DataFrame
    frames: pl.DataFrame
    faults: pl.DataFrame
    lines: int
    record_lines: int
    comments: int
    dropped: bool = False


def packets(lines: pl.DataFrame, clock: Clock, *, times: bool) -> tuple[Read, Clock]:
    """The packets of whole records. lines: raw, line, offset (`split_lines`), and text, which is
    read in the place of raw. clock: what is known of the time. times: whether records begin with
    a time."""
    lines = grouped(lines, times=times)
    orphans = (
        lines.filter(pl.col("kind") == "orphan") if "orphan" in lines["kind"] else lines.clear()
    )
    dropped = False
    total, comments = lines.height, 0
    if not (lines["begins"].all()):
        said = lines.filter(pl.col("kind") == "comment")
        comments = said.height
        dropped = bool(said["text"].str.contains(DROPPED).any())
        lines = lines.filter(pl.col("kind") == "")
    made = records(lines)
    told, clock = _clocked(made, clock, times=times)
    made = made.with_columns(told.get_columns())
    found, frames, bad = _both(made)
    faults = [
        orphans.select("line", "offset", "raw", fault=pl.lit(ORPHAN)),
        _lines_of(bad, lines),
    ]
    wrong = pl.concat(faults).sort("line")
    kept = total - comments - wrong.height
    return Read(found, frames, wrong, total, kept, comments, dropped), clock


def _clocked(made: pl.DataFrame, clock: Clock, *, times: bool) -> tuple[pl.DataFrame, Clock]:
    if times:
        told, clock = timed(made["text"], clock)
        return told.select("time", "rest"), clock
    rest = unnumbered(made["text"]).alias("rest")
    return rest.to_frame().with_columns(time=pl.lit(clock.base, pl.Int64)), clock


def _both(made: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Packets, frames, and the records (record, fault) that cannot be read."""
    known = pl.col("time").is_not_null()
    bad = [made.filter(~known).select("record", fault=pl.lit(_NO_TIME))]
    if bad[0].height:
        made = made.filter(known)
    read = exact(made)
    place = made.select(*_PLACE, "record").with_row_index("row")
    found = read.packets.join(place, on="row", how="left", maintain_order="left").select(*PACKET)
    frames = read.frames.join(place, on="row", how="left", maintain_order="left").select(*FRAME)
    bad.append(read.faults.join(place, on="row").select("record", "fault"))
    return found, frames, pl.concat(bad)


def _lines_of(bad: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """Every line of these records."""
    if bad.is_empty():
        return pl.DataFrame(
            schema={"line": pl.Int64, "offset": pl.Int64, "raw": pl.String, "fault": pl.String}
        )
    return lines.join(bad, on="record", maintain_order="left").select(
        "line", "offset", "raw", "fault"
    )
