"""Lines to packets: the door for whoever wants packets and no events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from .clock import NUMBER, Clock, timed, uniform
from .exact import exact
from .packet import FRAME, NO_FRAMES, PACKET
from .quick import quick
from .records import DROPPED, ORPHAN, grouped, records

_NO_TIME: Final = "tells no time between 1970 and 2100"
_PLACE: Final = ("line", "offset", "lines", "raw", "time")
NO_FAULTS: Final = pl.DataFrame(
    schema={"line": pl.Int64, "offset": pl.Int64, "raw": pl.String, "fault": pl.String}
)
NO_BAD: Final = pl.DataFrame(schema={"record": pl.UInt32, "fault": pl.String})


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


def as_one(parts: Sequence[Read]) -> Read:
    """What was made of lines that follow one another; at least one part."""
    if len(parts) == 1:
        return parts[0]
    return Read(
        pl.concat([one.packets for one in parts]),
        pl.concat([one.frames for one in parts]),
        pl.concat([one.faults for one in parts]),
        sum(one.lines for one in parts),
        sum(one.record_lines for one in parts),
        sum(one.comments for one in parts),
        any(one.dropped for one in parts),
    )


def packets(
    lines: pl.DataFrame, clock: Clock, *, times: bool, data: bytes = b""
) -> tuple[Read, Clock]:
    """The packets of whole records. lines: raw, line, offset (`split_lines`), and text, which is
    read in the place of raw. clock: what is known of the time. times: whether records begin with
    a time. data: the bytes of these lines, if they are UTF-8: nothing but speed comes of them."""
    begin = int(lines["offset"][0]) if lines.height else 0
    form = uniform(lines["text"]) if times else None
    lines = grouped(lines, times=times, alone=form is not None)
    dropped, orphans = False, lines.clear()
    total, comments = lines.height, 0
    if not lines["begins"].all():
        orphans = lines.filter(pl.col("kind") == "orphan")
        said = lines.filter(pl.col("kind") == "comment")
        comments = said.height
        dropped = bool(said["text"].str.contains(DROPPED).any())
        lines = lines.filter(pl.col("kind") == "")
    made = records(lines)
    told, clock = _clocked(made, clock, form, times=times)
    made = made.with_columns(told.get_columns())
    found, frames, bad = _both(made, data, begin)
    faults = [
        orphans.select("line", "offset", "raw", fault=pl.lit(ORPHAN)),
        lines_of(bad, lines),
    ]
    wrong = pl.concat(faults)
    wrong = wrong.sort("line") if wrong.height else wrong
    kept = total - comments - wrong.height
    return Read(found, frames, wrong, total, kept, comments, dropped), clock


def _clocked(
    made: pl.DataFrame, clock: Clock, form: str | None, *, times: bool
) -> tuple[pl.DataFrame, Clock]:
    if times:
        told, clock = timed(made["text"], clock, form)
        return told.select("time", "skip"), clock
    number = pl.col("text").str.extract(f"({NUMBER})").str.len_chars().cast(pl.Int64)
    return made.select(skip=number, time=pl.lit(clock.base, pl.Int64)), clock


def _both(
    made: pl.DataFrame, data: bytes, begin: int
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Packets, frames, and the records (record, fault) that cannot be read."""
    late = NO_BAD
    if made["time"].null_count():
        known = pl.col("time").is_not_null()
        late = made.filter(~known).select("record", fault=pl.lit(_NO_TIME))
        made = made.filter(known)
    columns, clean = quick(made, data, begin)
    if columns.height == made.height:
        return columns, NO_FRAMES, late
    made = made.with_columns(rest=pl.col("text").str.slice(pl.col("skip")))
    found, frames, bad = joined(made, columns, clean)
    return found, frames, pl.concat([late, bad])


def joined(
    records: pl.DataFrame, columns: pl.DataFrame, clean: pl.Series
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The same of records of which some (`clean`) were read as columns already."""
    made = records.filter(~clean) if columns.height else records
    read = exact(made)
    place = made.select(*_PLACE, "record").with_row_index("row")
    found = read.packets.join(place, on="row", how="left", maintain_order="left").select(*PACKET)
    frames = read.frames.join(place, on="row", how="left", maintain_order="left").select(*FRAME)
    bad = read.faults.join(place, on="row").select("record", "fault")
    if columns.height:
        found = pl.concat([columns, found]).sort("line", maintain_order=True)
    return found, frames, bad


def lines_of(bad: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """Every line of these records."""
    if bad.is_empty():
        return NO_FAULTS
    return lines.join(bad, on="record", maintain_order="left").select(
        "line", "offset", "raw", "fault"
    )
