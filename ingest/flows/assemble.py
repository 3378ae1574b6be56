"""Packets to flows: `assemble(packets, state) -> (flows, state)`.

The flows do not depend on how the packets are cut into frames. What happens between packets (a
report of open flows, the end of those that are too many) happens at places that the packets tell:
the hours of their own clock, and every `SLICE` packets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import polars as pl

from .fill import filled
from .gaps import Gaps, Holes, gaps
from .history import AGAIN, SCALED, Known, Tcp, letters
from .machine import IDLE
from .packets import END, NIL, Ints, Packets, relevant, sort
from .sequence import Base, Seen, Side, follow, resolve
from .split import Running, Split, split
from .table import OPEN, TOLD, alone, column

#: packets worked on together
SLICE: Final = 1 << 17
#: flows that may be open at the same time
LIMIT: Final = 200_000
#: µs between two reports of a flow that is open
REPORT: Final = 3_600_000_000

#: a flow that is over, or is reported: columns of `table.OPEN`, end: the moment of the packets'
#: clock at which that is so; over: False in a report of a flow that goes on
FLOW: Final[dict[str, pl.DataType]] = {
    **{name: OPEN[name] for name in TOLD},
    "end": pl.Int64(),
    "over": pl.Boolean(),
}
_SIDE: Final = ("seen", "raw", "rel", "sent", "acked", "fin")
_ORDER: Final = ("end", "offset", "depth", "over")


@dataclass(frozen=True, slots=True)
class State:
    """What is known between two frames of packets.

    open: `table.OPEN`. done: FLOW, those whose turn has not come. clock: the latest time of all
    packets, µs; None: there was none. count: packets so far. evicted: flows that had to make room.
    """

    open: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=OPEN))
    done: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=FLOW))
    clock: int | None = None
    count: int = 0
    evicted: int = 0

    def saved(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "open": self.open.to_dict(as_series=False),
            "done": self.done.to_dict(as_series=False),
            "clock": self.clock,
            "count": self.count,
            "evicted": self.evicted,
        }

    @classmethod
    def restored(cls, saved: Mapping[str, Any]) -> State:
        return cls(
            pl.DataFrame(saved["open"], schema=OPEN),
            pl.DataFrame(saved["done"], schema=FLOW),
            saved["clock"],
            saved["count"],
            saved["evicted"],
        )


@dataclass(frozen=True, slots=True)
class Assembler:
    """prefix: what makes ids of these flows others than those of other logs. limit, slice: see
    LIMIT, SLICE."""

    prefix: str = ""
    limit: int = LIMIT
    slice: int = SLICE

    def assemble(self, packets: pl.DataFrame, state: State) -> tuple[pl.DataFrame, State]:
        """The flows (FLOW) that are over, in the order in which they ended.

        packets: PACKET, in the order of the file.
        """
        for part, hour in self._slices(packets, state):
            if hour is not None:
                state = _reported(state, hour)
            state = self._after(part, state)
        return _ready(state)

    def finish(self, state: State) -> pl.DataFrame:
        """The flows that are left when nothing follows."""
        left = _closed(state.open, pl.col("until"))
        return pl.concat([state.done, left]).sort(_ORDER)

    def _slices(
        self, packets: pl.DataFrame, state: State
    ) -> Iterator[tuple[pl.DataFrame, int | None]]:
        """Parts, and the full hour (of the packets' clock, µs) that passed before each, or None."""
        if packets.is_empty():
            return
        clock = np.maximum.accumulate(packets["time"].to_numpy())
        first = int(clock[0]) if state.clock is None else state.clock
        clock = np.maximum(clock, first)
        before = np.concatenate([[first], clock[:-1]])
        # Nothing that was open before a longer silence is open behind it.
        hours = (clock // REPORT != before // REPORT) & (clock - before < IDLE)
        due = -state.count % self.slice
        cuts = {*np.flatnonzero(hours).tolist(), *range(due, len(clock), self.slice), 0}
        places = sorted(cuts)
        for start, end in zip(places, [*places[1:], len(clock)], strict=True):
            hour = int(clock[start] // REPORT) * REPORT if hours[start] else None
            yield packets[start:end], hour

    def _after(self, part: pl.DataFrame, state: State) -> State:
        """The state after these packets, which are of one slice."""
        clock = state.clock
        latest = int(part["time"].to_numpy().max())
        clock = latest if clock is None else max(clock, latest)
        kept = relevant(part)
        if state.clock is not None:
            kept = kept.with_columns(pl.col("clock").clip(lower_bound=state.clock))
        state = replace(state, clock=clock, count=state.count + part.height)
        if kept.height:
            state = _joined(kept, state, self.prefix)
        over = state.open["until"] <= clock
        if over.any():
            ended = _closed(state.open.filter(over), pl.col("until"))
            state = replace(
                state, open=state.open.filter(~over), done=pl.concat([state.done, ended])
            )
        if state.count % self.slice == 0 and state.open.height > self.limit:
            state = self._thinned(state, clock)
        return state

    def _thinned(self, state: State, clock: int) -> State:
        """Without the flows that are too many: those that would be over first."""
        rows = state.open.sort("until", "offset", "depth")
        gone = rows.head(rows.height - self.limit)
        ended = _closed(gone, pl.lit(clock))
        return replace(
            state,
            open=rows.tail(self.limit),
            done=pl.concat([state.done, ended]),
            evicted=state.evicted + gone.height,
        )


def _closed(rows: pl.DataFrame, end: pl.Expr, *, over: bool = True) -> pl.DataFrame:
    return rows.select(*TOLD, end=end.cast(pl.Int64), over=pl.lit(value=over))


def _reported(state: State, hour: int) -> State:
    """With a report of each flow that is open at this hour, and was so an hour ago."""
    long = state.open.filter(pl.col("start") <= hour - REPORT, pl.col("until") > hour)
    reports = _closed(long, pl.lit(hour), over=False)
    return replace(state, done=pl.concat([state.done, reports]))


def _ready(state: State) -> tuple[pl.DataFrame, State]:
    """The flows before which no other can end any more."""
    if state.done.is_empty():
        return state.done, state
    ready = state.done["end"] < state.clock
    flows = state.done.filter(ready).sort(_ORDER)
    return flows, replace(state, done=state.done.filter(~ready))


def _joined(kept: pl.DataFrame, state: State, prefix: str) -> State:
    """The packets put to the flows that are open, and to new ones."""
    table = state.open
    packets = sort(kept, table.select(END))
    running = (table[name].to_numpy() for name in ("state", "until", "x_start", "y_start"))
    cut = split(packets, Running(*running))
    bits, carried = packets.bits, cut.carried
    x_base, y_base, mode, based = (
        column(table, name, carried) for name in ("x_base", "y_base", "mode", "known")
    )
    begun = column(table, "x_start", carried), column(table, "y_start", carried)
    base = Base(x_base, y_base, mode, based != 0)
    seq, ack, base = resolve(packets, cut.flow, base, begun)
    sides, both, holes = _sides(packets, bits, cut, (seq, ack), table)
    tcp = Tcp(both, (holes.packet, holes.flow, holes.by_orig))
    known = letters(packets, bits, cut, tcp, _known(table, cut))
    plain = {
        "x_start": cut.start_x, "y_start": cut.start_y, "x_base": base.x, "y_base": base.y,
        "mode": base.mode, "known": base.known,
        "missed": holes.missed + column(table, "missed", carried),
    }  # fmt: skip
    flows = filled(kept, packets, bits, cut, table, prefix).with_columns(
        history=known.history,
        **_numbers("count", SCALED, known.counts),
        **_numbers("last", AGAIN, known.last),
        **_of_sides(sides),
        **_of_holes(holes, len(cut.conv)),
        **{name: pl.Series(values) for name, values in plain.items()},
    )
    flows = alone(flows.select(pl.col(name).cast(dtype) for name, dtype in OPEN.items()))
    end = pl.Series("end", cut.end)
    over = end >= 0
    ended = _closed(flows.filter(over), pl.lit(end.filter(over)))
    gone = np.ones(table.height, bool)
    gone[carried[carried >= 0]] = False
    left = pl.concat([table.filter(pl.Series(gone)), flows.filter(~over)])
    return replace(state, open=left, done=pl.concat([state.done, ended]))


def _sides(
    packets: Packets, bits: Ints, cut: Split, told: tuple[Ints, Ints], table: pl.DataFrame
) -> tuple[dict[bool, Side], Seen, Gaps]:
    """What both ends sent, after the packets and by packet, and what is missing."""
    before, after, seen = {}, {}, {}
    for x in (True, False):
        name = "x" if x else "y"
        values = [column(table, f"{name}_{one}", cut.carried) for one in _SIDE]
        seen_before, raw, rel, sent, acked, fin = values
        sent = np.maximum(sent, 1)
        before[x] = Side(seen_before != 0, raw, rel, sent, acked, fin != 0)
        after[x], seen[x] = follow(packets, bits, cut, told, before[x], x=x)
    from_x = packets.from_x[: packets.tcp]
    both = Seen(
        np.where(from_x, seen[True].rel, seen[False].rel),
        np.where(from_x, seen[False].ack, seen[True].ack),
        seen[True].again | seen[False].again,
        seen[True].hole | seen[False].hole,
        seen[True].unseen | seen[False].unseen,
    )
    return after, both, gaps(packets, cut, seen, before, _holes(table, cut.carried))


def _holes(table: pl.DataFrame, carried: Ints) -> Holes:
    """Of the flows that go on; few have any."""
    made: dict[tuple[int, bool], tuple[tuple[int, int], ...]] = {}
    flows = pl.DataFrame({"flow": np.arange(len(carried)), "row": carried}).filter(
        pl.col("row") != NIL
    )
    for x, name in ((True, "x_holes"), (False, "y_holes")):
        told = flows.with_columns(holes=table[name].gather(flows["row"]))
        for number, holes in (
            told.filter(pl.col("holes").list.len() > 0).select("flow", "holes").iter_rows()
        ):
            made[number, x] = tuple(zip(holes[::2], holes[1::2], strict=True))
    return made


def _of_holes(found: Gaps, flows: int) -> dict[str, pl.Series]:
    made: dict[str, list[list[int] | None]] = {"x_holes": [None] * flows, "y_holes": [None] * flows}
    for (number, x), holes in found.holes.items():
        made["x_holes" if x else "y_holes"][number] = [place for hole in holes for place in hole]
    return {name: pl.Series(values, dtype=pl.List(pl.Int64)) for name, values in made.items()}


def _known(table: pl.DataFrame, cut: Split) -> Known:
    return Known(
        _texts(table["history"], cut.carried),
        {
            letter: column(table, f"count_{number}", cut.carried)
            for number, letter in enumerate(SCALED)
        },
        {
            letter: column(table, f"last_{number}", cut.carried)
            for number, letter in enumerate(AGAIN)
        },
    )


def _texts(values: pl.Series, carried: Ints) -> pl.Series:
    """By flow, the text of the row that it goes on with, or ""."""
    rows = pl.Series(np.where(carried >= 0, carried, len(values)))
    made: pl.Series = pl.concat([values, pl.Series(values.name, [""])]).gather(rows)
    return made


def _numbers(name: str, letters_: str, values: Any) -> dict[str, pl.Series]:
    return {f"{name}_{n}": pl.Series(values[letter]) for n, letter in enumerate(letters_)}


def _of_sides(sides: dict[bool, Side]) -> dict[str, pl.Series]:
    return {
        f"{'x' if x else 'y'}_{name}": pl.Series(getattr(values, name))
        for x, values in sides.items()
        for name in _SIDE
    }
