"""Conversations cut into flows: by time-outs, and where ports are used again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

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
    TURNED,
    Ends,
    steady,
    step,
)  # fmt: skip
from .packets import NIL, Ints, Packets, starts

#: µs without a packet after which a flow that is not TCP's is over
QUIET: Final = 60_000_000
_WRAP: Final = 1 << 32
_NEVER: Final = -(1 << 62)
_FROM_X: Final = Ends(0, 0, x=True, over=False).pack()
_FROM_Y: Final = Ends(0, 0, x=False, over=False).pack()


@dataclass(frozen=True, slots=True)
class Split:
    """Which flow each packet is of, and what there is to say of these flows.

    flow: by packet, numbers from 0; those of one conversation follow one another. before, after:
    by packet, the connection as it finds and leaves it (`machine`; all but TCP: only who began).
    The rest is by flow. conv: its conversation. carried: the row of the open flow that it goes on
    with, or NIL. first: its first packet, or NIL if it was open before. end: the moment at which
    it ended, on the packets' clock, or NIL. until: when it ends if nothing more comes. start_x,
    start_y: the number of that end's SYN, or that the other answered; NIL: neither.
    """

    flow: Ints
    before: Ints
    after: Ints
    conv: Ints
    carried: Ints
    first: Ints
    end: Ints
    until: Ints
    state: Ints
    start_x: Ints
    start_y: Ints


@dataclass(frozen=True, slots=True)
class Running:
    """What there is to know of the flows that are open, by row; see Split."""

    state: Ints
    until: Ints
    start_x: Ints
    start_y: Ints


def split(packets: Packets, running: Running) -> Split:
    """Cut conversations into flows."""
    first, second = _tcp(packets, running), _others(packets, running.state, running.until)
    return Split(
        np.concatenate([first.flow, second.flow + len(first.conv)]),
        np.concatenate([first.before, second.before]),
        np.concatenate([first.after, second.after]),
        np.concatenate([first.conv, second.conv]),
        np.concatenate([first.carried, second.carried]),
        np.concatenate([first.first, second.first]),
        np.concatenate([first.end, second.end]),
        np.concatenate([first.until, second.until]),
        np.concatenate([first.state, second.state]),
        np.concatenate([first.start_x, second.start_x]),
        np.concatenate([first.start_y, second.start_y]),
    )


def _tcp(packets: Packets, running: Running) -> Split:
    count = packets.tcp
    runs: list[int] = []  # of packets: first, flow, before, after, one behind the other
    begun: list[int] = []  # of flows: conv, carried, first
    left: list[int] = []  # of flows: end, until, state, start_x, start_y
    here, flow, state, until, start_x, start_y = NIL, NIL, NONE, 0, NIL, NIL
    carried, open_flows = packets.carried.tolist(), _rows(running)
    convs, bits, clocks, seqs, acks = (
        values[:count].tolist()
        for values in (packets.conv, packets.bits, packets.clock, packets.seq, packets.ack)
    )
    remarkable = _next_remarkable(packets)
    number = 0
    # One packet at a time: what each of them means hangs on those before it. All that is done here
    # is to look up what a state and a packet make, and only of packets that can change something;
    # everything else is done by columns.
    while number < count:
        conv, packet, clock = convs[number], bits[number], clocks[number]
        if conv != here:
            if state:
                left += (NIL, until, state, start_x, start_y)
            here, state, start_x, start_y = conv, NONE, NIL, NIL
            if (row := carried[conv]) != NIL:
                state, until, start_x, start_y = open_flows[row]
                begun += (conv, row, NIL)
                flow += 1
        if state and clock >= until:
            left += (until, until, state, start_x, start_y)
            state = NONE
        if packet & SYN:
            seq, ack = seqs[number], acks[number]
            if seq != NIL:
                packet |= (SAME_X if seq == start_x else 0) | (SAME_Y if seq == start_y else 0)
        new, found, after, span = step(state, packet)
        if new:
            if state:
                left += (clock, until, state, start_x, start_y)
            begun += (conv, NIL, number)
            flow += 1
            start_x = start_y = NIL
        if packet & SYN and not packet & BAD:
            own, other = (seq, (ack - 1) % _WRAP) if packet & FROM_X else ((ack - 1) % _WRAP, seq)
            start_x = own if packet & FROM_X or ack != NIL else start_x
            start_y = other if not packet & FROM_X or ack != NIL else start_y
        state = after
        if span:
            until = clock + SPAN[span]
        runs += (number, flow, found, after)
        number += 1
        if number < count and (further := remarkable[number]) > number and steady(after):
            runs += (number, flow, after, after)
            until = clocks[further - 1] + IDLE
            number = further
    if state:
        left += (NIL, until, state, start_x, start_y)
    first, *by_run = np.array(runs, np.int64).reshape(-1, 4).T
    lengths = np.append(first[1:], count) - first
    by_packet: list[Ints] = [np.repeat(one, lengths) for one in by_run]
    of_flows = (np.array(one, np.int64).reshape(-1, n).T for one, n in ((begun, 3), (left, 5)))
    return Split(*by_packet, *(column for part in of_flows for column in part))


def _rows(running: Running) -> list[tuple[int, int, int, int]]:
    columns = (running.state, running.until, running.start_x, running.start_y)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _next_remarkable(packets: Packets) -> list[int]:
    """For each packet of TCP, the first from there on that has a flag or is damaged, begins a
    conversation, or comes after a long silence: others change nothing in a steady connection."""
    count = packets.tcp
    conv, clock = packets.conv[:count], packets.clock[:count]
    odd = (packets.bits[:count] & (SYN | FIN | RST | BAD)) != 0
    odd |= starts(conv)
    odd[1:] |= clock[1:] - clock[:-1] >= IDLE
    place = np.where(odd, np.arange(count), count)
    following: list[int] = np.minimum.accumulate(place[::-1])[::-1].tolist()
    return following


def _others(packets: Packets, state: Ints, until: Ints) -> Split:
    """All but TCP: a flow is over when nothing came for a while."""
    conv, clock = packets.conv[packets.tcp :], packets.clock[packets.tcp :]
    mine = packets.bits[packets.tcp :]
    rows = np.arange(len(conv))
    begins = starts(conv)
    carried = packets.carried[conv]
    goes_on = begins & (carried != NIL)
    last = np.where(goes_on, until[carried] if len(until) else _NEVER, _NEVER)
    last[1:] = np.where(begins[1:], last[1:], clock[:-1] + QUIET)
    new = clock >= last
    total = np.cumsum(new.astype(np.int64) + goes_on)
    flow = total - 1
    from_x = ((mine & 1) != 0) != ((mine & TURNED) != 0)
    count = int(total[-1]) if len(total) else 0
    kind = np.where(from_x, _FROM_X, _FROM_Y)
    by_flow = np.full((5, count), NIL)  # conv, carried, first, end, state
    by_flow[:3, flow[new]] = conv[new], np.full(int(new.sum()), NIL), rows[new] + packets.tcp
    by_flow[4, flow[new]] = kind[new]
    old = (total - 1 - new)[goes_on]
    by_flow[0, old], by_flow[1, old] = conv[goes_on], carried[goes_on]
    by_flow[4, old] = state[carried[goes_on]]
    ends = np.full(count, NIL)
    ends[old] = until[carried[goes_on]]
    ends[flow] = clock + QUIET  # the last packet of a flow counts
    more = np.zeros(count, bool)  # another flow of the conversation comes behind it
    more[:-1] = by_flow[0, 1:] == by_flow[0, :-1]
    by_flow[3] = np.where(more, ends, NIL)
    conv_of, row_of, first, end, state_of = by_flow
    states = state_of[flow]
    nothing = np.full(count, NIL)
    return Split(
        flow, states, states, conv_of, row_of, first, end, ends, state_of, nothing, nothing
    )


def began_x(state: Ints) -> Ints:
    """Whether the end x is the originator, as 0 or 1."""
    return (state - 1) >> 6 & 1


def ends_of(state: Ints, *, x: bool) -> Ints:
    """The state of the end x, or of y, of connections."""
    orig, resp = (state - 1) & 7, (state - 1) >> 3 & 7
    made: Ints = np.where((began_x(state) == 1) == x, orig, resp)
    return made
