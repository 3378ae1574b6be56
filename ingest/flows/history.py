"""The letters of Zeek's history: what was seen of a flow, in the order in which it was first seen.

Large for the originator, small for the responder; ^ where the roles were turned. S H A D F R once,
F and R again where their number is another; C (wrong checksum), G (gap), T (sent again) and W (no
window) at the 1st, 10th, 100th … time; I and Q for flags that do not go together.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .arrays import NIL, Flags, Ints, lasts, starts
from .machine import ACK, BAD, CLOSED, DATA, FIN, RESET, RST, SYN, TURNED
from .packets import UDP, Packets
from .sequence import Seen
from .split import Split, began_x, ends_of
from .table import AGAIN, ROW, SCALED

#: letters that are written once: by originator, and by responder. The answer to a SYN is an H; it
#: is one kind with it.
_KINDS: Final = 5
_SYN, _ACK, _DATA, _BOTH_ENDS, _SEVERAL = range(_KINDS)
_LETTER: Final = np.frombuffer(b"SADIQsadiq", np.uint8)
_ANSWER: Final = np.frombuffer(b"HADIQhadiq", np.uint8)
#: places within one packet
_TURN, _DAMAGED, _MAIN, _WINDOW, _REPEATED, _TURN_BACK, _GAP = range(7)  # and one behind it
_PLACES: Final = 8
Letters = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Tcp:
    """What only TCP's packets have: as `Seen`, by packet of TCP; gaps: packet and flow of each
    acknowledgement that shows bytes missing, and whether the originator sent them."""

    seen: Seen
    gaps: tuple[Ints, Ints, Flags]


def letters(packets: Packets, cut: Split, tcp: Tcp, now: Ints) -> pl.Series:
    """By flow, what these packets add to its history.

    now: `table.NUMBERS` by flow. Of these, `shown` (which letters are written already, a bit for
    each), `count_…` (how often those of SCALED came) and `last_…` (the number of the last one of
    AGAIN, NIL: none) are brought up to date.
    """
    is_orig = packets.from_x == (began_x(cut.before) == 1)
    written = np.zeros(len(packets.bits) * _PLACES, np.uint8)
    _turns(packets, cut, written)
    _firsts(packets, cut, is_orig, now[ROW["shown"]], written)
    _again(packets, cut, is_orig, tcp.seen, now, written)
    _scaled(packets, cut, is_orig, tcp, now, written)
    at = np.flatnonzero(written)
    lines = np.full(len(at) + len(cut.conv), ord("\n"), np.uint8)
    lines[np.arange(len(at)) + cut.flow[at // _PLACES]] = written[at]
    return pl.read_lines(io.BytesIO(lines.tobytes()), name="history").to_series().rechunk()


def _turns(packets: Packets, cut: Split, written: Letters) -> None:
    first = cut.first[cut.first != NIL]
    first = first[(packets.bits[first] & TURNED) != 0]
    back = np.flatnonzero(began_x(cut.before) != began_x(cut.after))
    written[first * _PLACES + _TURN] = ord("^")
    written[back * _PLACES + _TURN_BACK] = ord("^")


def _kinds(packets: Packets) -> Ints:
    """Which of the letters that are written once a packet may be; NIL: none."""
    bits, count = packets.bits, packets.tcp
    kind = _KIND[bits]
    kind[:count][packets.mute[:count]] = NIL
    kind[count:] = np.where(
        (packets.number[count:] == UDP) & ((bits[count:] & BAD) == 0), _DATA, NIL
    )
    return kind


def _kind_table() -> Ints:
    """Kinds of TCP's packets by their bits."""
    bits = np.arange(1024)
    marks = bits & (SYN | FIN | RST)
    several = (marks & (marks - 1)) != 0
    kind = np.full(len(bits), NIL)
    kind[(marks == 0) & ((bits & ACK) != 0)] = _ACK
    kind[(marks == 0) & ((bits & DATA) != 0)] = _DATA
    kind[marks == SYN] = _SYN
    kind[several] = _SEVERAL
    kind[(marks & (FIN | RST)) == FIN | RST] = _BOTH_ENDS
    kind[(bits & BAD) != 0] = NIL
    return kind


_KIND: Final = _kind_table()


def _firsts(packets: Packets, cut: Split, is_orig: Flags, shown: Ints, written: Letters) -> None:
    kind = _kinds(packets)
    at = np.flatnonzero(kind != NIL)[::-1]
    first = np.full(len(shown) * 2 * _KINDS, NIL)
    # Written from the last packet to the first one, the first one stays.
    first[cut.flow[at] * (2 * _KINDS) + kind[at] + _KINDS - is_orig[at] * _KINDS] = at
    place = np.flatnonzero(first != NIL)
    flow, which = place // (2 * _KINDS), place % (2 * _KINDS)
    new = (shown[flow] >> which & 1) == 0
    place, which = first[place[new]], which[new]
    answers = (packets.bits[place] & ACK) != 0
    written[place * _PLACES + _MAIN] = np.where(answers, _ANSWER[which], _LETTER[which])
    np.bitwise_or.at(shown, flow[new], 1 << which)


def _again(
    packets: Packets, cut: Split, is_orig: Flags, seen: Seen, now: Ints, written: Letters
) -> None:
    """F and R."""
    count = packets.tcp
    marks = packets.bits[:count] & (SYN | FIN | RST | BAD)
    for number, letter in enumerate(AGAIN):
        mark = FIN if letter in "Ff" else RST
        at = np.flatnonzero((marks == mark) & (is_orig[:count] == letter.isupper()))
        if not len(at):
            continue
        flow, last = cut.flow[at], now[ROW[f"last_{number}"]]
        length = np.maximum(packets.length[at], 0) if mark == FIN else 0
        value = np.where(seen.rel[at] == NIL, 0, seen.rel[at] + length)
        before = np.empty_like(value)
        before[1:] = value[:-1]
        begins = starts(flow)
        before[begins] = last[flow[begins]]
        ends = lasts(flow)
        last[flow[ends]] = value[ends]
        written[at[value != before] * _PLACES + _MAIN] = ord(letter)


def _scaled(
    packets: Packets, cut: Split, is_orig: Flags, tcp: Tcp, now: Ints, written: Letters
) -> None:
    count = packets.tcp
    of_kind: dict[str, tuple[int, Ints, Flags]] = {}
    bad = np.flatnonzero((packets.bits & BAD) != 0)
    bad = bad[(packets.number[bad] == UDP) | (bad < count)]
    shut = np.flatnonzero(packets.window[:count] == 0)
    if len(shut):
        shut = shut[_keeps_shut(packets, cut, shut)]
    for letter, place, at in (
        ("C", _DAMAGED, bad),
        ("T", _REPEATED, np.flatnonzero(tcp.seen.again)),
        ("W", _WINDOW, shut),
    ):
        of_kind[letter] = place, at, is_orig[at]
    at, _, by_orig = tcp.gaps
    of_kind["G"] = _GAP, at, by_orig
    for letter, (place, rows, orig) in of_kind.items():
        for name, mine in ((letter, rows[orig]), (letter.lower(), rows[~orig])):
            counted = now[ROW[f"count_{SCALED.index(name)}"]]
            chosen = _counted(cut.flow, mine, counted)
            # One acknowledgement may show several gaps.
            again = ~starts(chosen)
            written[chosen * _PLACES + place + again] = ord(name)


def _keeps_shut(packets: Packets, cut: Split, at: Ints) -> Flags:
    """Of packets that tell a window of nothing, those of which that is to be said."""
    from_x, before = packets.from_x[at], cut.before[at]
    states = ends_of(before, x=True), ends_of(before, x=False)
    own, peer = np.where(from_x, *states), np.where(from_x, states[1], states[0])
    made: Flags = ((packets.bits[at] & (RST | BAD)) == 0) & (peer != CLOSED) & (own < RESET)
    return made


def _counted(flow: Ints, at: Ints, counted: Ints) -> Ints:
    """Those that are the 1st, 10th, 100th … of their flow."""
    if not len(at):
        return at
    flow = flow[at]
    begins = starts(flow)
    rows = np.arange(len(at))
    number = rows - np.maximum.accumulate(np.where(begins, rows, 0)) + 1 + counted[flow]
    counted += np.bincount(flow, minlength=len(counted))
    return at[np.isin(number, [10**power for power in range(18)])]
