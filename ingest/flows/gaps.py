"""Bytes that were acknowledged and never seen: holes in a capture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from .arrays import NIL, Flags, Ints
from .machine import CLOSED, ESTABLISHED, FIN, RST, SYN
from .packets import Packets
from .sequence import Seen, Side
from .split import Split, began_x, ends_of

#: holes of one end that are waited for
_MOST: Final = 64
Hole = tuple[int, int]
#: by flow and end (x: True), the bytes that are missing so far
Holes = Mapping[tuple[int, bool], tuple[Hole, ...]]


@dataclass(frozen=True, slots=True)
class Gaps:
    """What is missing. packet, flow, by_orig: of every acknowledgement of bytes that were not seen,
    in order, and whether the originator sent them. missed: bytes, by flow. holes: what is left."""

    packet: Ints
    flow: Ints
    by_orig: Flags
    missed: Ints
    holes: Holes


def gaps(
    packets: Packets,
    cut: Split,
    seen: Mapping[bool, Seen],
    before: Mapping[bool, Side],
    holes: Holes,
) -> Gaps:
    """seen: by end (x: True), its packets, and those that acknowledge them. before: the ends before
    these packets. holes: of them."""
    count, flows = packets.tcp, len(cut.conv)
    flow = cut.flow[:count]
    odd = np.zeros(flows, bool)
    odd[[number for number, _ in holes]] = True
    for one in seen.values():
        odd[flow[one.hole | one.unseen]] = True
    at = np.flatnonzero(odd[flow])
    missed = np.zeros(flows, np.int64)
    nothing = np.zeros(0, np.int64)
    if not len(at):
        return Gaps(nothing, nothing, np.zeros(0, bool), missed, holes)
    steps = zip(
        at.tolist(), flow[at].tolist(), packets.from_x[at].tolist(), _clean(cut, at).tolist(),
        *_spans(packets, seen, at), strict=True,
    )  # fmt: skip
    left = dict(holes)
    reach: dict[tuple[int, bool], int] = {}
    found: list[tuple[int, int, bool]] = []
    # One packet at a time, of the few flows that have holes: which hole a packet fills, and which
    # one an acknowledgement makes final, hangs on all packets before it.
    for packet, number, own, clean, start, end, ack in steps:
        if start != NIL:
            key = number, own
            top = reach.get(key, _top(before[own], number))
            old = left.get(key, ())
            if start > top:
                left[key] = (*old, (top, start))[-_MOST:]
            elif old:
                left[key] = _filled(old, start, end)
            reach[key] = max(top, end)
        if ack != NIL:
            key = number, not own
            top = reach.get(key, _top(before[not own], number))
            if ack > top:
                left[key] = (*left.get(key, ()), (top, ack))[-_MOST:]
                reach[key] = ack
            final, left[key] = _cut(left.get(key, ()), ack)
            if clean:
                missed[number] += sum(high - low for low, high in final)
                found += [(packet, number, not own)] * len(final)
    rows = np.array(found, np.int64).reshape(len(found), 3).T
    by_orig = (rows[2] == 1) == (began_x(cut.before[rows[0]]) == 1)
    return Gaps(rows[0], rows[1], by_orig, missed, {k: v for k, v in left.items() if v})


def _clean(cut: Split, at: Ints) -> Flags:
    """Whether the connection is established, or closing in the usual way, after these packets:
    elsewhere numbers are not to be trusted (Zeek)."""
    ends = (ends_of(cut.after[at], x=x) for x in (True, False))
    x, y = (np.isin(end, (ESTABLISHED, CLOSED)) for end in ends)
    made: Flags = x & y
    return made


def _spans(packets: Packets, seen: Mapping[bool, Seen], at: Ints) -> tuple[list[int], ...]:
    """First byte that the packet sends, the byte behind its last, and up to where it acknowledges
    what the other end sent; NIL: nothing."""
    bits = packets.bits[at]
    by_x = packets.from_x[at]
    rel = np.where(by_x, seen[True].rel[at], seen[False].rel[at])
    ack = np.where(by_x, seen[False].ack[at], seen[True].ack[at])
    syn, fin = (bits & SYN) != 0, (bits & FIN) != 0
    length = np.maximum(packets.length[at], 0)
    sends = (rel != NIL) & ((bits & RST) == 0) & ((length > 0) | fin)
    start = rel + syn
    return (
        np.where(sends, start, NIL).tolist(),
        np.where(sends, start + length + fin, NIL).tolist(),
        ack.tolist(),
    )


def _top(side: Side, number: int) -> int:
    """Up to where bytes of a flow were seen, or given up."""
    return int(max(side.sent[number], side.acked[number]))


def _filled(holes: tuple[Hole, ...], start: int, end: int) -> tuple[Hole, ...]:
    """Holes without the bytes from start to end."""
    left: list[Hole] = []
    for low, high in holes:
        if low < min(high, start):
            left.append((low, min(high, start)))
        if max(low, end) < high:
            left.append((max(low, end), high))
    return tuple(left)[-_MOST:]


def _cut(holes: tuple[Hole, ...], ack: int) -> tuple[list[Hole], tuple[Hole, ...]]:
    """Holes before an acknowledged byte, and those behind it."""
    final = [(low, min(high, ack)) for low, high in holes if low < ack]
    return final, tuple((max(low, ack), high) for low, high in holes if high > ack)
