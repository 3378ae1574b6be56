"""Sequence numbers: payload by what they say was sent, retransmissions, and what is missing.

tcpdump prints the numbers of a conversation's first packet with an ACK (and of every SYN with one)
as they are, and counts those of later packets with an ACK from there, unless it was told -S. Those
without an ACK are always as they are. (tcpdump, print-tcp.c)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from .arrays import NIL, Flags, Ints, previous, starts
from .machine import ACK, BAD, CLOSED, FIN, RESET, RST, SYN
from .packets import Packets
from .split import Split, ends_of

_WRAP: Final = 1 << 32
_HALF: Final = 1 << 31
#: a number of a SYN or RST that is further from what was sent than this is not believed (Zeek)
_TOO_FAR: Final = 1 << 20
#: room for the numbers of one flow in one array of all
_ROOM: Final = 1 << 44
COUNTED, PLAIN = 0, 1


def signed(values: Ints) -> Ints:
    """Differences of 32-bit numbers, the short way round."""
    return (values + _HALF) % _WRAP - _HALF


@dataclass(frozen=True, slots=True)
class Base:
    """By flow: what the numbers of the ends x and y count from, or NIL; mode: COUNTED from there,
    PLAIN (-S), or NIL: not told yet. known: whether there was such a packet."""

    x: Ints
    y: Ints
    mode: Ints
    known: Flags


def resolve(
    packets: Packets, flow: Ints, base: Base, begun: tuple[Ints, Ints]
) -> tuple[Ints, Ints, Base]:
    """seq and ack of TCP's packets as they were sent (32 bits; NIL: not shown), and the bases of
    their flows after them. Where a base is not shown, they count from the same unknown number; so
    do those of a flow that is not the first one of its conversation.

    flow: by packet. begun: by flow, the numbers of the SYNs that the ends x and y sent before.
    """
    count = packets.tcp
    flow, bits = flow[:count], packets.bits[:count]
    seq, ack = packets.seq[:count], packets.ack[:count]
    from_x = packets.from_x[:count]
    told = (bits & ACK) != 0
    first = told & (previous(told, flow) < 0) & ~base.known[flow]
    begins = told & (first | ((bits & SYN) != 0))
    # A bare ACK behind a SYN is printed without its number, which is the next one.
    syns = (bits & (SYN | ACK)) == SYN
    after_syn = np.where(
        from_x,
        *(
            _begun(syns & (from_x == x), flow, seq, start)
            for x, start in zip((True, False), begun, strict=True)
        ),
    )
    own = np.where(begins, np.where(seq >= 0, seq, after_syn), NIL)
    peer = np.where(begins & (ack >= 0), (ack - 1) % _WRAP, NIL)
    at = np.maximum(previous(begins, flow), NIL)
    epoch_x = np.where(
        at >= 0, np.where(from_x[at], own[at], peer[at]) if count else at, base.x[flow]
    )
    epoch_y = np.where(
        at >= 0, np.where(from_x[at], peer[at], own[at]) if count else at, base.y[flow]
    )
    base_own, base_peer = np.where(from_x, epoch_x, epoch_y), np.where(from_x, epoch_y, epoch_x)
    later = told & ~begins
    by_ack = later & (ack >= 0) & (base_peer >= 0)
    by_seq = later & ~by_ack & (seq >= 0) & (base_own >= 0)
    value, start = np.where(by_ack, ack, seq), np.where(by_ack, base_peer, base_own)
    plain = np.abs(signed(value - start)) < np.abs(signed(value))
    tells = (by_ack | by_seq) & ((at >= 0) | (base.mode[flow] < 0))
    before = np.where(at >= 0, NIL, base.mode[flow])
    mode = _modes(flow, begins, tells, plain, before)
    shift = later & (mode != PLAIN)
    seq = np.where(shift & (seq >= 0), (seq + np.maximum(base_own, 0)) % _WRAP, seq)
    ack = np.where(shift & (ack >= 0), (ack + np.maximum(base_peer, 0)) % _WRAP, ack)
    ends = np.flatnonzero(_last(flow))
    left = _left_behind(ends, begins, from_x, (own, peer), (epoch_x, epoch_y, mode))
    known = base.known.copy()
    known[flow[ends]] |= told[ends] | (previous(told, flow)[ends] >= 0)
    x, y, mode = (
        _with(old, flow[ends], value)
        for old, value in zip((base.x, base.y, base.mode), left, strict=True)
    )
    return seq, ack, Base(x, y, mode, known)


def _modes(flow: Ints, begins: Flags, tells: Flags, plain: Flags, before: Ints) -> Ints:
    """Of each packet, how numbers are printed. The first packet that tells decides for all up to
    the next base. before: what is known without these packets."""
    rows: Ints = np.arange(len(flow))
    if not len(flow):
        return rows
    group: Ints = np.cumsum(starts(flow) | _behind(begins))
    decides = tells & (previous(tells, group) < 0)
    place = np.maximum.accumulate(np.where(decides, rows, NIL))
    opened = np.maximum.accumulate(np.where(starts(group), rows, 0))
    return np.where(place >= opened, plain.astype(np.int64)[place], before)


def _begun(syns: Flags, flow: Ints, seq: Ints, start: Ints) -> Ints:
    """The number behind that of the last of these SYNs before each packet, or NIL."""
    at = previous(syns, flow)
    number = np.where(at >= 0, seq[at] if len(at) else at, start[flow])
    made: Ints = np.where(number >= 0, (number + 1) % _WRAP, NIL)
    return made


def _with(values: Ints, at: Ints, new: Ints) -> Ints:
    made = values.copy()
    made[at] = new
    return made


def _left_behind(
    ends: Ints, begins: Flags, from_x: Flags, told: tuple[Ints, Ints], before: tuple[Ints, ...]
) -> tuple[Ints, Ints, Ints]:
    """Bases and mode behind the last packets of flows."""
    own, peer = (one[ends] for one in told)
    x, y, mode = (one[ends] for one in before)
    fresh, mine = begins[ends], from_x[ends]
    return (
        np.where(fresh, np.where(mine, own, peer), x),
        np.where(fresh, np.where(mine, peer, own), y),
        np.where(fresh, NIL, mode),
    )


def _behind(which: Flags) -> Flags:
    made = np.zeros(len(which), bool)
    made[1:] = which[:-1]
    return made


def _last(group: Ints) -> Flags:
    made = np.ones(len(group), bool)
    made[:-1] = group[1:] != group[:-1]
    return made


@dataclass(frozen=True, slots=True)
class Side:
    """By flow, what one end sent. seen: whether a packet of it was. raw, rel: the last number of
    its bytes that was seen (32 bits, NIL: none), and the same counted from its first byte, 1. sent,
    acked: up to where it sent, and the other acknowledged (last byte and one). fin: it closed."""

    seen: Flags
    raw: Ints
    rel: Ints
    sent: Ints
    acked: Ints
    fin: Flags


@dataclass(frozen=True, slots=True)
class Seen:
    """By packet of TCP. rel: its number, counted from the sender's first byte, 1; ack: up to where
    it acknowledges; NIL where it is not told. again: payload that was sent before. hole: bytes
    before it are missing; unseen: it acknowledges bytes that were not seen."""

    rel: Ints
    ack: Ints
    again: Flags
    hole: Flags
    unseen: Flags


def follow(
    packets: Packets, bits: Ints, cut: Split, told: tuple[Ints, Ints], side: Side, *, x: bool
) -> tuple[Side, Seen]:
    """What the end x (or y) sent, after these packets. told: seq and ack as `resolve` gives them.
    side: of the flows before."""
    count = packets.tcp
    bits, flow, (seq, ack) = bits[:count], cut.flow[:count], told
    good = (bits & BAD) == 0
    own = (packets.from_x[:count] == x) & good
    state = ends_of(cut.before[:count], x=x)
    seen = (previous(own, flow) >= 0) | side.seen[flow]
    rst = (bits & RST) != 0
    of_ack = ~own & good & ~rst & (ack > 0) & seen & (packets.from_x[:count] != x)
    at = np.flatnonzero((own & (seq >= 0)) | of_ack)
    group, mine = flow[at], own[at]
    raw = np.where(mine, seq[at], ack[at])
    flags, syn = bits[at], (bits[at] & SYN) != 0
    opens = mine & syn & (state[at] < CLOSED)
    first = starts(group)
    resumes = first & ~opens & (side.raw[group] != NIL)
    begins = first | opens
    rel = _unwrapped(raw, begins, np.where(syn & mine, 0, 1), resumes, side, group)
    length = np.maximum(packets.length[:count][at], 0)
    is_rst = (flags & RST) != 0
    end = rel + np.where(is_rst, 0, length) + syn + ((flags & FIN) != 0)
    block = np.cumsum(begins) - 1
    floor = np.where(resumes, side.sent[group], 1)[begins][block] if len(at) else rel
    trusted = mine & (state[at] < RESET)
    doubtful = syn | is_rst
    before = _highest(np.where(trusted & ~(doubtful & ~opens), end, NIL), block, floor)
    trusted &= ~(doubtful & (np.abs(end - before) > _TOO_FAR))
    before = _highest(np.where(trusted, end, NIL), block, floor)
    sent = np.maximum(before, np.where(trusted, end, NIL))
    acked_floor = np.where(resumes, side.acked[group], 0)[begins][block] if len(at) else rel
    value = np.where(mine, NIL, rel)
    acked = np.maximum(_highest(value, block, acked_floor), value)
    made = _side(side, flow, own & ((bits & FIN) != 0), own, at, (raw, rel, sent, acked))
    data = mine & (length > 0) & ~is_rst
    closes = mine & ((flags & FIN) != 0) & ~is_rst
    return made, Seen(
        _placed(count, at[mine], rel[mine]),
        _placed(count, at[~mine], rel[~mine]),
        _marked(count, at[data & trusted & (end <= before)]),
        _marked(count, at[(data | closes) & (rel + syn > before)]),
        _marked(count, at[~mine & (rel > before)]),
    )


def _unwrapped(
    raw: Ints, begins: Flags, first: Ints, resumes: Flags, side: Side, group: Ints
) -> Ints:
    """Numbers counted on, whatever 32 bits do. first: where a block begins."""
    delta = np.zeros(len(raw), np.int64)
    delta[1:] = signed(raw[1:] - raw[:-1])
    total = np.cumsum(np.where(begins, 0, delta))
    opening = np.where(resumes, side.rel[group] + signed(raw - side.raw[group]), first)
    block = np.cumsum(begins) - 1
    start = (opening - total)[begins]
    made: Ints = total + start[block] if len(raw) else total
    bounded: Ints = np.clip(made, -_ROOM // 4, _ROOM // 4)
    return bounded


def _highest(values: Ints, block: Ints, floor: Ints) -> Ints:
    """The highest value before each place in its block, and at least `floor`."""
    if not len(values):
        return values
    offset = block * _ROOM
    inclusive = np.maximum.accumulate(np.maximum(values, floor) + offset) - offset
    made = np.empty_like(inclusive)
    made[0] = floor[0]
    made[1:] = np.where(block[1:] == block[:-1], inclusive[:-1], floor[1:])
    return made


def _side(
    side: Side, flow: Ints, fin: Flags, own: Flags, at: Ints, values: tuple[Ints, ...]
) -> Side:
    """The side with what the last of these places of each flow say."""
    last = _last(flow[at])
    raw, rel, sent, acked = (
        _with(old, flow[at][last], value[last])
        for old, value in zip((side.raw, side.rel, side.sent, side.acked), values, strict=True)
    )
    count = len(side.seen)
    return Side(
        side.seen | (np.bincount(flow[own], minlength=count) > 0),
        raw,
        rel,
        sent,
        acked,
        side.fin | (np.bincount(flow[fin], minlength=count) > 0),
    )


def _placed(count: int, at: Ints, values: Ints) -> Ints:
    made = np.full(count, NIL)
    made[at] = values
    return made


def _marked(count: int, at: Ints) -> Flags:
    made = np.zeros(count, bool)
    made[at] = True
    return made
