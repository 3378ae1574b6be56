"""Sequence numbers: payload by what they say was sent, retransmissions, and what is missing.

tcpdump prints the numbers of a conversation's first packet with an ACK (and of every SYN with one)
as they are, and counts those of later packets with an ACK from there, unless it was told -S. Those
without an ACK are always as they are. (tcpdump, print-tcp.c)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from .arrays import NIL, Flags, Ints, first_of, lasts, previous, starts
from .machine import ACK, BAD, CLOSED, FIN, FROM_X, RESET, RST, SYN
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
    if not count:
        return packets.seq[:0], packets.ack[:0], base
    seq, ack = packets.seq[:count], packets.ack[:count]
    from_x = packets.from_x[:count]
    told = (bits & ACK) != 0
    first = first_of(told, flow, len(base.known))
    known = base.known | (first != NIL)
    first = first[~base.known & (first != NIL)]
    begins = told & ((bits & SYN) != 0)
    begins[first] = True
    epochs = _epochs(np.flatnonzero(begins), (seq, ack), (bits, from_x), flow, begun)
    epoch = np.cumsum(begins) - 1
    here = epoch >= 0
    here[here] = flow[epochs.at[epoch[here]]] == flow[here]
    epoch_x = np.where(here, epochs.x[epoch], base.x[flow]) if len(epochs.at) else base.x[flow]
    epoch_y = np.where(here, epochs.y[epoch], base.y[flow]) if len(epochs.at) else base.y[flow]
    base_own, base_peer = np.where(from_x, epoch_x, epoch_y), np.where(from_x, epoch_y, epoch_x)
    later = told & ~begins
    by_ack = later & (ack >= 0) & (base_peer >= 0)
    by_seq = later & (seq >= 0) & (base_own >= 0)
    # The first packet that tells how numbers are printed decides for all up to the next base.
    group = np.cumsum(starts(flow) | begins) - 1
    heads = np.flatnonzero(starts(group))
    modes = np.where(here[heads], NIL, base.mode[flow[heads]])
    at = np.flatnonzero(by_ack | by_seq)
    at = at[starts(group[at])]
    at = at[modes[group[at]] < 0]
    value = np.where(by_ack[at], ack[at], seq[at])
    start = np.where(by_ack[at], base_peer[at], base_own[at])
    modes[group[at]] = np.abs(signed(value - start)) < np.abs(signed(value))
    counted = modes[group] != PLAIN
    seq = np.where(by_seq & counted, (seq + base_own) % _WRAP, seq)
    ack = np.where(by_ack & counted, (ack + base_peer) % _WRAP, ack)
    ends = np.flatnonzero(lasts(flow))
    left = epoch_x[ends], epoch_y[ends], modes[group[ends]]
    x, y, mode = (
        _with(old, flow[ends], new)
        for old, new in zip((base.x, base.y, base.mode), left, strict=True)
    )
    return seq, ack, Base(x, y, mode, known)


@dataclass(frozen=True, slots=True, eq=False)
class _Epochs:
    """Packets whose numbers are printed as they are, and those of both ends that later ones may be
    counted from; NIL: not shown."""

    at: Ints
    x: Ints
    y: Ints


def _epochs(
    at: Ints,
    numbers: tuple[Ints, Ints],
    told: tuple[Ints, Flags],
    flow: Ints,
    begun: tuple[Ints, Ints],
) -> _Epochs:
    """numbers: seq and ack, told: bits and from_x of all packets. begun: see `resolve`."""
    (seq, ack), (bits, from_x) = numbers, told
    own = seq[at].copy()
    bare = np.flatnonzero(own < 0)
    if len(bare):
        # A bare ACK behind a SYN is printed without its number, which is the next one.
        syns = (bits & (SYN | ACK)) == SYN
        place = at[bare]
        after_x, after_y = (
            _begun(syns & (from_x == x), flow, seq, start, place)
            for x, start in zip((True, False), begun, strict=True)
        )
        own[bare] = np.where(from_x[place], after_x, after_y)
    peer = np.where(ack[at] >= 0, (ack[at] - 1) % _WRAP, NIL)
    mine = from_x[at]
    return _Epochs(at, np.where(mine, own, peer), np.where(mine, peer, own))


def _begun(syns: Flags, flow: Ints, seq: Ints, start: Ints, place: Ints) -> Ints:
    """The number behind that of the last of these SYNs before each of these places, or NIL."""
    at = previous(syns, flow)[place]
    number = np.where(at >= 0, seq[at], start[flow[place]])
    made: Ints = np.where(number >= 0, (number + 1) % _WRAP, NIL)
    return made


def _with(values: Ints, at: Ints, new: Ints) -> Ints:
    made = values.copy()
    made[at] = new
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
    packets: Packets, cut: Split, told: tuple[Ints, Ints], side: Side, *, x: bool
) -> tuple[Side, Seen]:
    """What the end x (or y) sent, after these packets. told: seq and ack as `resolve` gives them.
    side: of the flows before."""
    count = packets.tcp
    bits, flow, (seq, ack) = packets.bits[:count], cut.flow[:count], told
    good = (bits & BAD) == 0
    mine_all = (bits & FROM_X != 0) == x
    own = mine_all & good
    rows = np.arange(count)
    first_own = first_of(own, flow, len(side.seen))
    first_own[side.seen] = NIL
    first_own[(first_own == NIL) & ~side.seen] = count
    of_ack = ~mine_all & good & (ack > 0) & (rows > first_own[flow]) & ((bits & RST) == 0)
    at = np.flatnonzero((own & (seq >= 0)) | of_ack)
    group, mine, flags = flow[at], own[at], bits[at]
    raw = np.where(mine, seq[at], ack[at])
    syn, is_rst, fin = (flags & SYN) != 0, (flags & RST) != 0, (flags & FIN) != 0
    state = ends_of(cut.before[at], x=x)
    first = starts(group)
    opens = mine & syn & (state < CLOSED)
    resumes = first & ~opens & (side.raw[group] != NIL)
    begins = first | opens
    block = np.cumsum(begins) - 1
    rel = _unwrapped(raw, begins, 1 - (syn & mine), (resumes, block), side, group)
    length = np.maximum(packets.length[:count][at], 0)
    end = rel + np.where(is_rst, 0, length) + syn + fin
    head = np.flatnonzero(begins)
    floor = np.where(resumes[head], side.sent[group[head]], 1)
    trusted = mine & (state < RESET)
    doubtful = trusted & (syn | is_rst) & ~opens
    before, sent = _highest(np.where(trusted & ~doubtful, end, NIL), block, head, floor)
    trusted &= ~((syn | is_rst) & (np.abs(end - before) > _TOO_FAR))
    if doubtful.any() or (opens & ~trusted).any():
        before, sent = _highest(np.where(trusted, end, NIL), block, head, floor)
    acked_floor = np.where(resumes[head], side.acked[group[head]], 0)
    _, acked = _highest(np.where(mine, NIL, rel), block, head, acked_floor)
    closes = own & ((bits & FIN) != 0)
    made = _side(side, flow, closes, own, at, (raw, rel, sent, acked))
    data = mine & (length > 0) & ~is_rst
    return made, Seen(
        _placed(count, at[mine], rel[mine]),
        _placed(count, at[~mine], rel[~mine]),
        _marked(count, at[data & trusted & (end <= before)]),
        _marked(count, at[(data | (mine & fin & ~is_rst)) & (rel + syn > before)]),
        _marked(count, at[~mine & (rel > before)]),
    )


def _unwrapped(
    raw: Ints, begins: Flags, first: Ints, told: tuple[Flags, Ints], side: Side, group: Ints
) -> Ints:
    """Numbers counted on, whatever 32 bits do. first: where a block begins. told: which blocks go
    on with what was seen before, and the number of each place's block."""
    if not len(raw):
        return raw
    resumes, block = told
    delta = np.zeros(len(raw), np.int64)
    delta[1:] = signed(raw[1:] - raw[:-1])
    delta[begins] = 0
    total = np.cumsum(delta)
    head = np.flatnonzero(begins)
    of = group[head]
    opening = np.where(resumes[head], side.rel[of] + signed(raw[head] - side.raw[of]), first[head])
    made = total + (opening - total[head])[block]
    bounded: Ints = np.clip(made, -_ROOM // 4, _ROOM // 4)
    return bounded


def _highest(values: Ints, block: Ints, head: Ints, floor: Ints) -> tuple[Ints, Ints]:
    """The highest value before each place in its block, and that with the place itself; at least
    `floor`. head, floor: by block, its first place, and what it begins with."""
    if not len(values):
        return values, values
    offset = block * _ROOM
    shifted = values + offset
    shifted[head] = np.maximum(shifted[head], floor + offset[head])
    inclusive = np.maximum.accumulate(shifted) - offset
    before = np.empty_like(inclusive)
    before[1:] = inclusive[:-1]
    before[head] = floor
    return before, inclusive


def _side(
    side: Side, flow: Ints, fin: Flags, own: Flags, at: Ints, values: tuple[Ints, ...]
) -> Side:
    """The side with what the last of these places of each flow say."""
    last = lasts(flow[at])
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
