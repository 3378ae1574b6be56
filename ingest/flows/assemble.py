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

from . import fill
from .arrays import NIL, Flags, Ints
from .gaps import Gaps, Holes, gaps
from .history import Tcp, letters
from .machine import IDLE
from .packets import Kept, Packets, relevant, sort
from .sequence import Base, Seen, Side, follow, resolve
from .split import Split, split
from .table import ROW, Flows, going_on, together

#: packets worked on together
SLICE: Final = 1 << 17
#: flows that may be open at the same time
LIMIT: Final = 200_000
#: µs between two reports of a flow that is open
REPORT: Final = 3_600_000_000

_SIDE: Final = ("seen", "raw", "rel", "sent", "acked", "fin")


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What is known between two frames of packets.

    open: flows that are. done: those whose turn to be told has not come. holes: of open flows, by
    `serial` and end (x: True). clock: the latest time of all packets, µs; None: there was none.
    count: packets so far. begun: flows so far. evicted: flows that had to make room.
    """

    open: Flows = field(default_factory=Flows.none)
    done: Flows = field(default_factory=Flows.none)
    holes: Holes = field(default_factory=dict)
    clock: int | None = None
    count: int = 0
    begun: int = 0
    evicted: int = 0

    @property
    def behind(self) -> State:
        """What is known behind packets of which all flows were told (`Assembler.finish`)."""
        return replace(self, open=Flows.none(), done=Flows.none(), holes={})

    def saved(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "open": self.open.saved(),
            "done": self.done.saved(),
            "holes": [[*key, *holes] for key, holes in self.holes.items()],
            "clock": self.clock,
            "count": self.count,
            "begun": self.begun,
            "evicted": self.evicted,
        }

    @classmethod
    def restored(cls, saved: Mapping[str, Any]) -> State:
        holes = {
            (serial, x): tuple((low, high) for low, high in holes)
            for serial, x, *holes in saved["holes"]
        }
        return cls(
            Flows.restored(saved["open"]),
            Flows.restored(saved["done"]),
            holes,
            saved["clock"],
            saved["count"],
            saved["begun"],
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
        state = _ended(state, state.open, np.ones(state.open.height, bool), state.open["until"])
        return state.done.rows(_order(state.done, np.arange(state.done.height))).frame()

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
        kept = relevant(part, clock)
        latest = int(part["time"].to_numpy().max())
        clock = latest if clock is None else max(clock, latest)
        state = replace(state, clock=clock, count=state.count + part.height)
        if len(kept.place):
            state = _joined(kept, state, clock, self.prefix)
        elif (over := state.open["until"] <= clock).any():
            state = _ended(state, state.open, over, state.open["until"])
            state = replace(state, open=state.open.where(~over))
        if state.count % self.slice == 0 and state.open.height > self.limit:
            state = self._thinned(state, clock)
        return state

    def _thinned(self, state: State, clock: int) -> State:
        """Without the flows that are too many: those that would be over first."""
        rows = np.lexsort(tuple(state.open[name] for name in ("depth", "offset", "until")))
        gone = np.zeros(len(rows), bool)
        gone[rows[: -self.limit]] = True
        state = _ended(state, state.open, gone, clock)
        evicted = state.evicted + len(rows) - self.limit
        return replace(state, open=state.open.where(~gone), evicted=evicted)


def _without(holes: Holes, serials: Ints) -> Holes:
    if not holes:
        return holes
    gone = set(serials.tolist())
    return {key: told for key, told in holes.items() if key[0] not in gone}


def _reported(state: State, hour: int) -> State:
    """With a report of each flow that is open at this hour, and was so an hour ago."""
    long = (state.open["start"] <= hour - REPORT) & (state.open["until"] > hour)
    return _ended(state, state.open, long, hour, over=False)


def _ready(state: State) -> tuple[pl.DataFrame, State]:
    """The flows before which no other can end any more."""
    if not state.done.height or state.clock is None:
        return Flows.none().frame(), state
    ready = state.done["end"] < state.clock
    flows = state.done.rows(_order(state.done, np.flatnonzero(ready))).frame()
    return flows, replace(state, done=state.done.where(~ready))


def _order(flows: Flows, rows: Ints) -> Ints:
    """These rows in the order in which they ended, or were reported."""
    end, offset = (flows[name][rows] for name in ("end", "offset"))
    order = np.lexsort((offset, end))
    end, offset = end[order], offset[order]
    if ((end[1:] == end[:-1]) & (offset[1:] == offset[:-1])).any():
        keys = ("over", "depth", "offset", "end")
        order = np.lexsort(tuple(flows[name][rows] for name in keys))
    return rows[order]


def _joined(kept: Kept, state: State, clock: int, prefix: str) -> State:
    """The packets put to the flows that are open, and to new ones. clock: with these packets."""
    flows = state.open
    packets = sort(kept, flows)
    cut = split(packets, flows)
    now = going_on(flows, cut.carried)
    x_base, y_base, mode, known = (now[ROW[name]] for name in ("x_base", "y_base", "mode", "known"))
    base = Base(x_base, y_base, mode, known != 0)
    seq, ack, base = resolve(packets, cut.flow, base, (now[ROW["x_start"]], now[ROW["y_start"]]))
    begun, texts = fill.begin(kept, packets, cut, now, prefix)
    now[ROW["serial"], begun] = state.begun + np.arange(len(begun))
    serials = now[ROW["serial"]]
    both, found = _sides(packets, cut, (seq, ack), now, _by_flow(state.holes, serials))
    fill.count(packets, cut, now)
    new = letters(packets, cut, Tcp(both, (found.packet, found.flow, found.by_orig)), now)
    for name, values in (
        ("x_start", cut.start_x), ("y_start", cut.start_y), ("x_base", base.x), ("y_base", base.y),
        ("mode", base.mode), ("known", base.known),
    ):  # fmt: skip
        now[ROW[name]] = values
    now[ROW["missed"]] += found.missed
    made = Flows(now, _texts(flows.texts, texts, cut.carried, new))
    end = np.where((cut.end == NIL) & (cut.until <= clock), cut.until, cut.end)
    untouched = np.ones(flows.height, bool)
    untouched[cut.carried[cut.carried != NIL]] = False
    late = flows["until"] <= clock
    holes = dict(_without(state.holes, serials)) | {
        (int(serials[flow]), x): told for (flow, x), told in found.holes.items()
    }
    state = replace(state, holes=holes, begun=state.begun + len(begun))
    # Open flows may be many: those that are over by the clock go here, not in a copy of their own.
    state = _ended(state, flows, untouched & late, flows["until"])
    state = _ended(state, made, end != NIL, end)
    left = flows.where(untouched & ~late), made.where(end == NIL)
    return replace(state, open=together(left))


def _ended(
    state: State, flows: Flows, which: Flags, end: Ints | int, *, over: bool = True
) -> State:
    """With these of the flows as over, or reported, at this moment. end: by flow, or of all."""
    rows = np.flatnonzero(which)
    if not len(rows):
        return state
    gone = flows.ended(rows, end if isinstance(end, int) else end[rows], over=over)
    holes = _without(state.holes, flows["serial"][rows]) if over else state.holes
    return replace(state, done=together([state.done, gone]), holes=holes)


def _by_flow(holes: Holes, serials: Ints) -> Holes:
    """Those of these flows, by their place among them."""
    if not holes:
        return holes
    place = {serial: flow for flow, serial in enumerate(serials.tolist())}
    return {(place[serial], x): told for (serial, x), told in holes.items() if serial in place}


def _texts(old: pl.DataFrame, new: pl.DataFrame, carried: Ints, added: pl.Series) -> pl.DataFrame:
    """Texts of flows. old, new: of those that were open, and of those that began. added: to their
    histories."""
    goes_on = np.flatnonzero(carried != NIL)
    if not len(goes_on):
        return new.with_columns(history=added)
    went_on = old[carried[goes_on]]
    place = np.empty(len(carried), np.int64)
    begun = np.flatnonzero(carried == NIL)
    place[goes_on], place[begun] = np.arange(len(goes_on)), np.arange(len(goes_on), len(carried))
    texts = pl.concat([went_on, new.with_columns(history=pl.lit(""))])[place]
    return texts.with_columns(history=texts["history"] + added)


def _sides(
    packets: Packets, cut: Split, told: tuple[Ints, Ints], now: Ints, holes: Holes
) -> tuple[Seen, Gaps]:
    """What both ends sent, by packet, and what is missing; and, in `now`, by flow."""
    before, seen = {}, {}
    after = {}
    for x in (True, False):
        values = [now[ROW[f"{'x' if x else 'y'}_{name}"]] for name in _SIDE]
        seen_before, raw, rel, sent, acked, fin = values
        before[x] = Side(seen_before != 0, raw, rel, sent, acked, fin != 0)
        after[x], seen[x] = follow(packets, cut, told, before[x], x=x)
    from_x = packets.from_x[: packets.tcp]
    both = Seen(
        np.where(from_x, seen[True].rel, seen[False].rel),
        np.where(from_x, seen[False].ack, seen[True].ack),
        seen[True].again | seen[False].again,
        seen[True].hole | seen[False].hole,
        seen[True].unseen | seen[False].unseen,
    )
    found = gaps(packets, cut, seen, before, holes)
    for x, side in after.items():
        for name in _SIDE:
            now[ROW[f"{'x' if x else 'y'}_{name}"]] = getattr(side, name)
    return both, found
