"""Conversations cut into flows: by time-outs, and where ports are used again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from .machine import NONE, SPAN, TURNED, Ends, step, unpack
from .packets import NIL, Ints, Packets, starts

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
    it ended, on the packets' clock, or NIL. until: when it ends if nothing more comes.
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


def split(packets: Packets, bits: Ints, state: Ints, until: Ints) -> Split:
    """bits: of the packets, complete. state, until: of the open flows, by row."""
    first, second = (_part(packets, bits, state, until) for _part in (_tcp, _others))
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
    )


def _tcp(packets: Packets, bits: Ints, state: Ints, until: Ints) -> Split:
    count = packets.tcp
    of_packets: list[list[int]] = [[], [], []]
    flow, before, after = of_packets
    flows: list[list[int]] = []  # conv, carried, first, end, until, state
    here, now_state, now_until = NIL, NONE, 0
    carried, states, untils = packets.carried.tolist(), state.tolist(), until.tolist()
    rows = zip(
        packets.conv[:count].tolist(),
        bits[:count].tolist(),
        packets.clock[:count].tolist(),
        strict=True,
    )
    # One packet at a time: what each of them means hangs on those before it. All that is done here
    # is to look up what a state and a packet make; everything else is done by columns.
    for number, (conv, packet, clock) in enumerate(rows):
        if conv != here:
            if flows:
                flows[-1][4:] = now_until, now_state
            here, now_state = conv, NONE
            if (row := carried[conv]) != NIL:
                now_state, now_until = states[row], untils[row]
                flows.append([conv, row, NIL, NIL, now_until, now_state])
        if now_state and clock >= now_until:
            flows[-1][3:] = now_until, now_until, now_state
            now_state = NONE
        new, found, left, span = step(now_state, packet)
        if new:
            if now_state:
                flows[-1][3:] = clock, now_until, now_state
            flows.append([conv, NIL, number, NIL, 0, 0])
        now_state = left
        if span:
            now_until = clock + SPAN[span]
        flow.append(len(flows) - 1)
        before.append(found)
        after.append(left)
    if flows and count:
        flows[-1][4:] = now_until, now_state
    made = np.array(flows, np.int64).reshape(len(flows), 6).T
    numbers = [np.array(one, np.int64) for one in of_packets]
    return Split(numbers[0], numbers[1], numbers[2], *made)


def _others(packets: Packets, bits: Ints, state: Ints, until: Ints) -> Split:
    """All but TCP: a flow is over when nothing came for a while."""
    conv, clock = packets.conv[packets.tcp :], packets.clock[packets.tcp :]
    mine = bits[packets.tcp :]
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
    states = by_flow[4][flow]
    return Split(flow, states, states, *by_flow[:4], ends, by_flow[4])


def began_x(state: Ints) -> Ints:
    """Whether the end x is the originator, as 0 or 1."""
    return (state - 1) >> 6 & 1


def ends_of(state: Ints, *, x: bool) -> Ints:
    """The state of the end x, or of y, of connections."""
    orig, resp = (state - 1) & 7, (state - 1) >> 3 & 7
    made: Ints = np.where((began_x(state) == 1) == x, orig, resp)
    return made


__all__ = ["Split", "began_x", "ends_of", "split", "unpack"]
