"""Conversations cut into flows: by time-outs, and where ports are used again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from .arrays import NIL, Ints, starts
from .connections import connections
from .machine import TURNED, Ends
from .packets import Packets
from .table import Flows

#: µs without a packet after which a flow that is not TCP's is over
QUIET: Final = 60_000_000
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


def split(packets: Packets, flows: Flows) -> Split:
    """Cut conversations into flows. flows: those that are open."""
    first, second = _tcp(packets, flows), _others(packets, flows)
    if not len(second.flow):
        return first
    if not len(first.flow):
        return second
    return Split(
        np.concatenate([first.flow, second.flow + len(first.conv)]),
        *(
            np.concatenate([getattr(first, name), getattr(second, name)])
            for name in Split.__slots__[1:]
        ),
    )


def _tcp(packets: Packets, flows: Flows) -> Split:
    count = packets.tcp
    conv = packets.conv[:count]
    made = connections(packets, flows)
    heads = np.flatnonzero(starts(conv))
    carried = packets.carried[: len(heads)]
    goes_on = np.flatnonzero(carried != NIL)
    added = made.begins.astype(np.int64)
    added[heads[goes_on]] += 1
    total = np.cumsum(added)
    by_flow = np.full((8, int(total[-1]) if count else 0), NIL)  # see the fields of Split
    begun = np.flatnonzero(made.begins)
    by_flow[0, total[begun] - 1], by_flow[2, total[begun] - 1] = conv[begun], begun
    # An open flow that goes on stands before all that its conversation begins.
    old = total[heads] - added[heads]
    by_flow[0, old[goes_on]], by_flow[1, old[goes_on]] = goes_on, carried[goes_on]
    slot, *left = made.left
    flow = np.concatenate([total - 1, old])[slot]
    for row, values in enumerate(left, 3):
        by_flow[row, flow] = values
    return Split(total - 1, made.before, made.after, *by_flow)


def _others(packets: Packets, flows: Flows) -> Split:
    """All but TCP: a flow is over when nothing came for a while."""
    state, until = flows["state"], flows["until"]
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
