"""The letters of Zeek's history: what was seen of a flow, in the order in which it was first seen.

Large for the originator, small for the responder; ^ where the roles were turned. S H A D F R once,
F and R again where their number is another; C (wrong checksum), G (gap), T (sent again) and W (no
window) at the 1st, 10th, 100th … time; I and Q for flags that do not go together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from .machine import ACK, BAD, CLOSED, DATA, FIN, RESET, RST, SYN, TURNED
from .packets import NIL, UDP, Flags, Ints, Packets
from .sequence import Seen
from .split import Split, began_x, ends_of

#: that count how often, and that are written again with another number
SCALED: Final = "CcGgTtWw"
AGAIN: Final = "FfRr"
_FIRST: Final = ("SH", "A", "D", "I", "Q")
#: places within one packet
_TURN, _DAMAGED, _MAIN, _WINDOW, _REPEATED, _TURN_BACK, _GAP = range(7)


@dataclass(frozen=True, slots=True)
class Known:
    """By flow, what was seen before. history: the letters. counts: how often those of SCALED came.
    last: the number of the last one of AGAIN, NIL: none."""

    history: pl.Series
    counts: Mapping[str, Ints]
    last: Mapping[str, Ints]


@dataclass(frozen=True, slots=True)
class Tcp:
    """What only TCP's packets have: as `Seen`, by packet of TCP; gaps: packet and flow of each
    acknowledgement that shows bytes missing, and whether the originator sent them."""

    seen: Seen
    gaps: tuple[Ints, Ints, Flags]


def letters(packets: Packets, bits: Ints, cut: Split, tcp: Tcp, known: Known) -> Known:
    """What is known after these packets."""
    is_orig = packets.from_x == (began_x(cut.before) == 1)
    counts = {letter: count.copy() for letter, count in known.counts.items()}
    last = {letter: value.copy() for letter, value in known.last.items()}
    made = [
        *_turns(packets, bits, cut),
        *_firsts(packets, bits, cut, is_orig, known),
        *_again(packets, bits, cut, is_orig, tcp.seen, last),
        *_scaled(packets, bits, cut, is_orig, tcp, counts),
    ]
    found = pl.concat([part for part in made if part.height] or made[:1])
    written = (
        found.sort("flow", "order").group_by("flow").agg(pl.col("letter").str.join("").alias("new"))
    )
    flows = pl.DataFrame({"flow": np.arange(len(known.history)), "old": known.history})
    history = flows.join(written, on="flow", how="left", maintain_order="left").select(
        pl.concat_str("old", pl.col("new").fill_null(""))
    )
    return Known(history.to_series(), counts, last)


def _frame(flow: Ints, packet: Ints, place: int, letter: str) -> pl.DataFrame:
    return pl.DataFrame({"flow": flow, "order": packet * 8 + place}).with_columns(
        letter=pl.lit(letter)
    )


def _turns(packets: Packets, bits: Ints, cut: Split) -> list[pl.DataFrame]:
    first = cut.first[cut.first != NIL]
    first = first[(bits[first] & TURNED) != 0]
    back = np.flatnonzero(began_x(cut.before) != began_x(cut.after))
    return [
        _frame(cut.flow[first], first, _TURN, "^"),
        _frame(cut.flow[back], back, _TURN_BACK, "^"),
    ]


def _first_of(which: Flags, flow: Ints) -> Ints:
    """The first of these packets of each flow."""
    at = np.flatnonzero(which)
    group = flow[at]
    begins = np.ones(len(at), bool)
    begins[1:] = group[1:] != group[:-1]
    return at[begins]


def _firsts(
    packets: Packets, bits: Ints, cut: Split, is_orig: Flags, known: Known
) -> list[pl.DataFrame]:
    count = packets.tcp
    tcp = np.arange(len(bits)) < count
    good = (bits & BAD) == 0
    shown = tcp & good & ~packets.mute
    data = (bits & DATA) != 0
    marks = bits & (SYN | FIN | RST)
    several = (marks & (marks - 1)) != 0
    both_ends = (marks & (FIN | RST)) == FIN | RST
    of_kind = {
        "SH": shown & (marks == SYN),
        "A": shown & (marks == 0) & ~data & ((bits & ACK) != 0),
        "D": (shown & (marks == 0) & data) | (good & (packets.number == UDP)),
        "I": shown & both_ends,
        "Q": shown & several & ~both_ends,
    }
    made = []
    for kind in _FIRST:
        for side, lower in ((is_orig, False), (~is_orig, True)):
            at = _first_of(of_kind[kind] & side, cut.flow)
            # The answer to a SYN is an H; it is one kind with it.
            for letter in kind:
                mine = at if len(kind) == 1 else at[((bits[at] & ACK) != 0) == (letter == "H")]
                name = letter.lower() if lower else letter
                new = _frame(cut.flow[mine], mine, _MAIN, name)
                made.append(_unseen(new, cut, kind.lower() if lower else kind, known))
    return made


def _unseen(new: pl.DataFrame, cut: Split, kinds: str, known: Known) -> pl.DataFrame:
    """Without the flows that show one of these letters already."""
    if new.is_empty():
        return new
    before = known.history.gather(new["flow"])
    return new.filter(~before.str.contains(f"[{kinds}]")) if (before != "").any() else new


def _again(
    packets: Packets, bits: Ints, cut: Split, is_orig: Flags, seen: Seen, last: dict[str, Ints]
) -> list[pl.DataFrame]:
    """F and R."""
    count = packets.tcp
    marks = np.where((bits & BAD) == 0, bits & (SYN | FIN | RST), 0)[:count]
    made = []
    for letter in AGAIN:
        mark = FIN if letter in "Ff" else RST
        at = np.flatnonzero((marks == mark) & (is_orig[:count] == letter.isupper()))
        if not len(at):
            continue
        flow = cut.flow[at]
        length = np.maximum(packets.length[at], 0) if mark == FIN else 0
        value = np.where(seen.rel[at] == NIL, 0, seen.rel[at] + length)
        before = np.empty_like(value)
        before[1:] = value[:-1]
        begins = np.ones(len(at), bool)
        begins[1:] = flow[1:] != flow[:-1]
        before[begins] = last[letter][flow[begins]]
        keep = value != before
        ends = np.ones(len(at), bool)
        ends[:-1] = flow[1:] != flow[:-1]
        last[letter][flow[ends]] = value[ends]
        made.append(_frame(flow[keep], at[keep], _MAIN, letter))
    return made


def _scaled(
    packets: Packets, bits: Ints, cut: Split, is_orig: Flags, tcp: Tcp, counts: dict[str, Ints]
) -> list[pl.DataFrame]:
    count = packets.tcp
    bad = ((bits & BAD) != 0) & ((packets.number == UDP) | (np.arange(len(bits)) < count))
    orig = is_orig[:count]
    before = cut.before[:count]
    from_x = packets.from_x[:count]
    states = ends_of(before, x=True), ends_of(before, x=False)
    own, peer = np.where(from_x, *states), np.where(from_x, states[1], states[0])
    closed = (packets.window[:count] != 0) | ((bits[:count] & (RST | BAD)) != 0)
    shut = ~closed & (peer != CLOSED) & (own < RESET)
    kinds = {
        "C": (_DAMAGED, bad, is_orig),
        "T": (_REPEATED, tcp.seen.again, orig),
        "W": (_WINDOW, shut, orig),
    }
    made = []
    for letter, (place, which, side) in kinds.items():
        for name, mine in ((letter, side), (letter.lower(), ~side)):
            at = np.flatnonzero(which & mine)
            made.append(_counted(name, place, cut.flow[at], at, counts))
    at, flow, by_orig = tcp.gaps
    for name, mine in (("G", by_orig), ("g", ~by_orig)):
        made.append(_counted(name, _GAP, flow[mine], at[mine], counts))
    return made


def _counted(
    letter: str, place: int, flow: Ints, at: Ints, counts: dict[str, Ints]
) -> pl.DataFrame:
    """Those that are the 1st, 10th, 100th … of their flow."""
    if not len(at):
        return _frame(flow, at, place, letter)
    begins = np.ones(len(at), bool)
    begins[1:] = flow[1:] != flow[:-1]
    rows = np.arange(len(at))
    number = rows - np.maximum.accumulate(np.where(begins, rows, 0)) + 1 + counts[letter][flow]
    counts[letter] += np.bincount(flow, minlength=len(counts[letter]))
    keep = np.isin(number, [10**power for power in range(18)])
    return _frame(flow[keep], at[keep], place, letter)
