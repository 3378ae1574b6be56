"""The formats of tcpdump's text: its packets as flows, or each for itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias

import numpy as np
import polars as pl

from connwatch.contracts import Block, Parsed

from ..clock import Clock
from ..flows.assemble import Assembler
from ..flows.assemble import State as Flows
from ..flows.events import OVER
from ..flows.events import events as flow_events
from ..flows.table import alone
from ..headless import Headless
from ..zeek_events import Origin
from . import text
from .events import frame_events
from .reader import Read, as_one
from .text import Tcpdump, is_tcpdump, parsed, reads

#: what is read of a block, and what is to be said of the file
_Found: TypeAlias = tuple[Read, tuple[str, ...]]
#: before the first packet
_NEVER: Final = -(1 << 62)


@dataclass(frozen=True, slots=True)
class State:
    """text: of the file's lines. flows: of its packets."""

    text: text.State = field(default_factory=text.State)
    flows: Flows = field(default_factory=Flows)


class TcpdumpFlows(Headless):
    """Text of tcpdump, its packets put together into flows."""

    name = "tcpdump"
    description = "flows of the packets that tcpdump prints, with any options"

    def __init__(self, sensor: str = "", clock: Clock = Clock()) -> None:  # noqa: B008  frozen
        super().__init__(sensor, clock)
        self.assembler = Assembler(f"{OVER}\0{sensor}")

    def sniff(self, head: bytes, path: str) -> str | None:
        return OVER if is_tcpdump(head) else None

    def begin(self, dataset: str) -> State:
        return State()

    def parse(self, block: Block, state: State) -> tuple[Parsed, State]:
        found, state = self.first(block, state)
        return self.second(block, found, state)

    def first(self, block: Block, state: State) -> tuple[_Found, State]:
        """Its packets."""
        if block.offset == 0:
            state = replace(state, text=text.State())  # another file's is not of this one
        parts = reads(block, state.text, self.clock)
        lines = parts[-1][1]
        found = as_one([read for read, _ in parts]), lines.notes
        return found, replace(state, text=replace(lines, notes=()))

    def second(self, block: Block, found: _Found, state: State) -> tuple[Parsed, State]:
        """Their flows."""
        origin = Origin(block.path, OVER, self.sensor, self.name)
        read, told = found
        before = Flows() if block.offset == 0 else state.flows
        over, flows = self.assembler.assemble(read.packets, before)
        if block.last:
            over, flows = pl.concat([over, self.assembler.finish(flows)]), flows.behind
        made = parsed(read, _in_order(over, read, before.clock, origin), origin)
        notes = set(told)
        if block.last and flows.evicted:
            notes.add(
                f"{block.path}: {flows.evicted} flows were closed early, since more than "
                f"{self.assembler.limit} were open"
            )
        return replace(made, notes=frozenset(notes)), replace(state, flows=flows)

    def held(self, state: State) -> bool:
        return bool(state.text.held or state.flows.open.height or state.flows.done.height)

    def saved(self, state: State) -> dict[str, Any]:
        return {"text": Tcpdump().saved(state.text), "flows": state.flows.saved()}

    def restored(self, saved: Mapping[str, Any]) -> State:
        return State(Tcpdump().restored(saved["text"]), Flows.restored(saved["flows"]))


class TcpdumpPackets(Tcpdump):
    """The same with an event for each packet; only where it is asked for."""

    name = "tcpdump-packets"
    description = "each packet that tcpdump prints; only by --format tcpdump-packets"


def _moments(packets: pl.DataFrame, frames: pl.DataFrame, clock: int | None) -> pl.Series:
    """The packets' clock (µs) at each frame. clock: before these packets; None: there were none."""
    times = np.maximum.accumulate(
        np.concatenate([[_NEVER if clock is None else clock], packets["time"]])
    )
    before = packets["line"].search_sorted(frames["line"], "right")
    return pl.Series(times[before.to_numpy()], dtype=pl.Int64)


def _in_order(flows: pl.DataFrame, read: Read, clock: int | None, origin: Origin) -> pl.DataFrame:
    """Events of frames, where they stand among the packets, and of flows, where they end. clock:
    see `_moments`."""
    made = flow_events(flows, origin)
    frames = read.frames
    if frames.is_empty():
        return made
    moments = _moments(read.packets, frames, clock)
    both = pl.concat([alone(frame_events(frames, origin)), made])
    order = pl.DataFrame(
        {
            "moment": pl.concat([moments, flows["end"]]),
            "kind": [0] * frames.height + [1] * flows.height,
        }
    ).select(pl.arg_sort_by("moment", "kind", maintain_order=True))
    return both[order.to_series()]
