"""TCP's conversations cut into connections: what each packet does to the one it finds.

Each packet depends on those before it in its conversation, and on no other: so all conversations
take a step at a time together, and the few that are longer than others go on by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from .arrays import NIL, Flags, Ints, starts
from .machine import (
    BAD,
    FIN,
    FROM_X,
    IDLE,
    NONE,
    RST,
    SAME_X,
    SAME_Y,
    SPAN,
    SYN,
    steady,
    step,
)  # fmt: skip
from .packets import Packets
from .table import Flows

_WRAP: Final = 1 << 32
#: as many conversations go on one by one
_FEW: Final = 40
_BITS: Final = 10
_STATES: Final = 257
_STEADY: Final = np.array([False, *(steady(state) for state in range(1, _STATES))])
_SPANS: Final = np.array(SPAN)
#: `machine.step` by state and packet, so far: new, before (9 bits), after (9 bits), until; NIL: not
#: asked for yet
_STEPS: Final = np.full(_STATES << _BITS, NIL, np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Connections:
    """before, after: by packet, the connection as it finds and leaves it (`machine`). begins:
    packets that begin a flow. left: of flows, a column for each: the packet that began it, or,
    behind these, the conversation that goes on with an open one; and end, until, state, start_x,
    start_y as `split.Split` has them."""

    before: Ints
    after: Ints
    begins: Flags
    left: Ints


def connections(packets: Packets, flows: Flows) -> Connections:
    """flows: those that are open."""
    work = _Work(packets, flows)
    active = np.arange(len(work.at))
    while len(active) > _FEW:
        active = work.step(active)
    for conv in active.tolist():
        work.walk(conv)
    return work.result()


def _stepped(state: Ints, packet: Ints) -> tuple[Flags, Ints, Ints, Ints]:
    """`machine.step` of many."""
    key = state << _BITS | packet
    made = _STEPS[key]
    if (made < 0).any():
        for unknown in np.unique(key[made < 0]).tolist():
            new, before, after, until = step(unknown >> _BITS, unknown & (1 << _BITS) - 1)
            _STEPS[unknown] = new | before << 1 | after << 10 | until << 19
        made = _STEPS[key]
    return (made & 1) != 0, made >> 1 & 0x1FF, (made >> 10 & 0x1FF).astype(np.int64), made >> 19


def _by_conversation(values: Ints, carried: Ints, none: int) -> Ints:
    made = np.full(len(carried), none)
    old = np.flatnonzero(carried != NIL)
    made[old] = values[carried[old]]
    return made


class _Work:
    """Conversations, each at some packet. By conversation: at, end: its next packet, and the one
    behind its last; the connection that it has now: state, until, start_x, start_y, and slot: what
    began it."""

    def __init__(self, packets: Packets, flows: Flows) -> None:
        self.count = packets.tcp
        self.packets = packets
        self.at = np.flatnonzero(starts(packets.conv[: self.count]))
        self.end = np.append(self.at[1:], self.count)
        conversations = len(self.at)
        self.slot = self.count + np.arange(conversations)
        carried = packets.carried[:conversations]
        self.state, self.until, self.start_x, self.start_y = (
            _by_conversation(flows[name], carried, none)
            for name, none in (("state", NONE), ("until", 0), ("x_start", NIL), ("y_start", NIL))
        )
        self.remarkable = _next_remarkable(packets)
        self.before, self.after = np.zeros(self.count, np.int64), np.zeros(self.count, np.int64)
        self.begins = np.zeros(self.count, bool)
        self.left: list[Ints] = []
        self.walked: list[int] = []

    def step(self, active: Ints) -> Ints:
        """One packet of each of these conversations, and those behind it that change nothing. Which
        of them go on."""
        packets = self.packets
        place = self.at[active]
        bits, clock = packets.bits[place], packets.clock[place]
        state, until = self.state[active], self.until[active]
        start_x, start_y = self.start_x[active], self.start_y[active]
        late = (state != NONE) & (clock >= until)
        if late.any():
            self._leave(self.slot[active], late, until, (until, state, start_x, start_y))
            state = np.where(late, NONE, state)
        syn = (bits & SYN) != 0
        seq, ack = packets.seq[place], packets.ack[place]
        bits |= (syn & (seq != NIL)) * ((seq == start_x) * SAME_X | (seq == start_y) * SAME_Y)
        new, found, after, span = _stepped(state, bits)
        self._leave(
            self.slot[active], new & (state != NONE), clock, (until, state, start_x, start_y)
        )
        self.slot[active[new]] = place[new]
        self.begins[place[new]] = True
        from_x = (bits & FROM_X) != 0
        opens = syn & ((bits & BAD) == 0)
        peer, told = (ack - 1) % _WRAP, ack != NIL
        start_x, start_y = (
            np.where(opens & (mine | told), np.where(mine, seq, peer), np.where(new, NIL, start))
            for mine, start in ((from_x, start_x), (~from_x, start_y))
        )
        self.before[place], self.after[place] = found, after
        until = np.where(span > 0, clock + _SPANS[span], until)
        following, end = place + 1, self.end[active]
        further = self.remarkable[np.minimum(following, self.count - 1)]
        skips = (following < end) & (further > following) & _STEADY[after]
        until = np.where(skips, packets.clock[further - 1] + IDLE, until)
        following = np.where(skips, further, following)
        self.at[active], self.state[active], self.until[active] = following, after, until
        self.start_x[active], self.start_y[active] = start_x, start_y
        return active[following < end]

    def _leave(self, slot: Ints, which: Flags, end: Ints, rest: tuple[Ints, ...]) -> None:
        """These connections end. rest: until, state, start_x, start_y."""
        if which.any():
            self.left.append(np.array([one[which] for one in (slot, end, *rest)]))

    def walk(self, conv: int) -> None:
        """All packets of a conversation that are left, one at a time."""
        packets, first, end = self.packets, int(self.at[conv]), int(self.end[conv])
        bits, clocks, seqs, acks, remarkable = (
            values[first:end].tolist()
            for values in (
                packets.bits, packets.clock, packets.seq, packets.ack, self.remarkable,
            )
        )  # fmt: skip
        slot, state, until = int(self.slot[conv]), int(self.state[conv]), int(self.until[conv])
        start_x, start_y = int(self.start_x[conv]), int(self.start_y[conv])
        number = 0
        while number < end - first:
            packet, clock, seq, ack = bits[number], clocks[number], seqs[number], acks[number]
            if state and clock >= until:
                self.walked += (slot, until, until, state, start_x, start_y)
                state = NONE
            if packet & SYN and seq != NIL:
                packet |= (SAME_X if seq == start_x else 0) | (SAME_Y if seq == start_y else 0)
            new, found, after, span = step(state, packet)
            if new:
                if state:
                    self.walked += (slot, clock, until, state, start_x, start_y)
                slot = first + number
                self.begins[slot] = True
                start_x = start_y = NIL
            if packet & SYN and not packet & BAD:
                peer = (ack - 1) % _WRAP
                own, other = (seq, peer) if packet & FROM_X else (peer, seq)
                start_x = own if packet & FROM_X or ack != NIL else start_x
                start_y = other if not packet & FROM_X or ack != NIL else start_y
            state = after
            if span:
                until = clock + SPAN[span]
            self.before[first + number], self.after[first + number] = found, after
            number += 1
            if number < end - first and steady(after):
                further = remarkable[number] - first
                if further > number:
                    until = clocks[further - 1] + IDLE
                    number = further
        self.slot[conv], self.state[conv], self.until[conv] = slot, state, until
        self.start_x[conv], self.start_y[conv] = start_x, start_y

    def result(self) -> Connections:
        # What was stepped over changed nothing.
        rows = np.arange(self.count)
        seen = np.maximum.accumulate(np.where(self.after != NONE, rows, 0)) if self.count else rows
        before = np.where(seen == rows, self.before, self.after[seen])
        open_ = [self.slot, np.full(len(self.at), NIL), self.until, self.state]
        left = [
            *self.left,
            np.array(self.walked, np.int64).reshape(-1, 6).T,
            np.array([*open_, self.start_x, self.start_y]),
        ]
        return Connections(before, self.after[seen], self.begins, np.concatenate(left, axis=1))


def _next_remarkable(packets: Packets) -> Ints:
    """For each packet of TCP, the first from there on that has a flag or is damaged, begins a
    conversation, or comes after a long silence: others change nothing in a steady connection."""
    count = packets.tcp
    conv, clock = packets.conv[:count], packets.clock[:count]
    odd = (packets.bits[:count] & (SYN | FIN | RST | BAD)) != 0
    odd |= starts(conv)
    odd[1:] |= clock[1:] - clock[:-1] >= IDLE
    place = np.where(odd, np.arange(count), count)
    following: Ints = np.minimum.accumulate(place[::-1])[::-1]
    return following
