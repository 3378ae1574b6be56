"""What the next packet does to a TCP connection, and when a connection is over.

The states of the two ends, and how they change, are Zeek's (its TCP session adapter). A connection
is one number here (`pack`), a packet is another (`symbol` bits), and what the one does to the other
is worked out once and remembered.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

# of one end
INACTIVE, SYN_SENT, SYN_ACK_SENT, PARTIAL, ESTABLISHED, CLOSED, RESET, RESET_CLOSED = range(8)

# bits of a packet
FROM_X, SYN, ACK, FIN, RST, DATA = 1, 2, 4, 8, 16, 32
#: a SYN with the number with which the end x, or y, began already
SAME_X, SAME_Y = 64, 128
#: the checksum is wrong: nothing of it counts
BAD: Final = 256
#: if it is the first one seen, its sender is the responder
TURNED: Final = 512

#: no connection
NONE: Final = 0
_SECOND: Final = 1_000_000
#: µs that a connection is kept: without a packet; after an attempt; after its end; where all
#: packets were damaged
IDLE, ATTEMPT, LINGER, DAMAGED = 300 * _SECOND, 5 * _SECOND, 5 * _SECOND, 11 * _SECOND

# when the connection ends after this packet
KEEP, AFTER_IDLE, AFTER_ATTEMPT, AFTER_END, AFTER_DAMAGED = range(5)
SPAN: Final = (0, IDLE, ATTEMPT, LINGER, DAMAGED)


@dataclass(frozen=True, slots=True)
class Ends:
    """orig, resp: states of the two ends. x: whether the originator is the end x. over: whether it
    has ended, and is kept for a moment only."""

    orig: int
    resp: int
    x: bool
    over: bool

    def pack(self) -> int:
        return 1 + (self.orig | self.resp << 3 | self.x << 6 | self.over << 7)


def unpack(state: int) -> Ends:
    """The opposite of `Ends.pack`; not of NONE."""
    bits = state - 1
    return Ends(bits & 7, bits >> 3 & 7, bool(bits & 64), bool(bits & 128))


class Step(NamedTuple):
    """What a packet does. new: it begins another connection. before: the connection as the packet
    finds it. after: as it leaves it. until: which of the spans above begins with it."""

    new: bool
    before: int
    after: int
    until: int


@cache
def step(state: int, packet: int) -> Step:
    """What a packet (bits) does to a connection (packed, or NONE); there are few of both."""
    return _step(state, packet)


@cache
def steady(state: int) -> bool:
    """Whether only flags, damage or silence can change a connection."""
    ends = unpack(state)
    return not ends.over and ends.orig >= PARTIAL and ends.resp >= PARTIAL


def _step(state: int, packet: int) -> Step:
    new = state == NONE or _begins_another(unpack(state), packet)
    if new:
        from_x = bool(packet & FROM_X)
        ends = Ends(INACTIVE, INACTIVE, from_x != bool(packet & TURNED), over=False)
    else:
        ends = unpack(state)
    if packet & BAD:
        return Step(new, ends.pack(), ends.pack(), AFTER_DAMAGED if new else KEEP)
    after, closed = _advanced(ends, packet)
    return Step(new, ends.pack(), after.pack(), _until(ends, after, closed=closed))


def _until(before: Ends, after: Ends, *, closed: bool) -> int:
    if closed:
        return AFTER_END
    if after.over:
        return KEEP
    if after.resp == INACTIVE and after.orig in (SYN_SENT, SYN_ACK_SENT):
        return AFTER_ATTEMPT if before.orig != after.orig else KEEP
    return AFTER_IDLE


def _begins_another(ends: Ends, packet: int) -> bool:
    """Whether a packet is of a new connection between the same ends."""
    if not packet & SYN or packet & BAD:
        return False
    mine, other = (SAME_X, SAME_Y) if ends.x else (SAME_Y, SAME_X)
    if packet & ACK:
        return ends.orig == INACTIVE and not packet & other
    if ends.orig >= CLOSED and ends.resp >= CLOSED:
        return True
    # The answer to a SYN may be captured before it.
    reversed_order = ends.orig == SYN_ACK_SENT and ends.resp == INACTIVE
    return not (packet & mine or (reversed_order and packet & other))


def _advanced(ends: Ends, packet: int) -> tuple[Ends, bool]:
    """The connection after a packet, and whether that ends it."""
    x = ends.x
    is_orig = bool(packet & FROM_X) == x
    mine, peer = (ends.orig, ends.resp) if is_orig else (ends.resp, ends.orig)
    was = mine
    if mine == INACTIVE:
        if not is_orig and packet & SYN and not packet & ACK and peer == SYN_ACK_SENT:
            # SYN and SYN-ACK in the wrong order: roles are turned.
            is_orig, x = True, not x
            mine, peer = ESTABLISHED, ESTABLISHED
        else:
            mine, peer = _first(mine, peer, packet, is_orig=is_orig)
        mine = _ended(mine, packet)
        if mine == INACTIVE:
            mine = _midstream(peer, packet, is_orig=is_orig)
    elif mine in (SYN_SENT, SYN_ACK_SENT):
        mine = _ended(mine, packet)
    elif mine in (PARTIAL, ESTABLISHED):
        if packet & SYN and mine == PARTIAL and peer == INACTIVE and not packet & ACK:
            mine = SYN_SENT
        if packet & FIN and not packet & RST and peer == RESET_CLOSED:
            peer = CLOSED  # FIN, then RST, answered by a FIN: the usual end after all
        mine = _ended(mine, packet & ~FIN if packet & RST else packet)
    elif mine == CLOSED and packet & RST and peer != CLOSED:
        mine = RESET_CLOSED
    closed = mine != was and mine >= CLOSED
    complete = closed and (mine >= RESET or peer >= CLOSED or peer == INACTIVE)
    orig, resp = (mine, peer) if is_orig else (peer, mine)
    return Ends(orig, resp, x, ends.over or complete), complete


def _first(mine: int, peer: int, packet: int, *, is_orig: bool) -> tuple[int, int]:
    """Both ends after the first SYN of one of them."""
    if not packet & SYN:
        return mine, peer
    if is_orig:
        return (SYN_ACK_SENT if packet & ACK else SYN_SENT), peer
    return ESTABLISHED, ESTABLISHED if peer == SYN_SENT else peer


def _ended(mine: int, packet: int) -> int:
    if packet & FIN:
        mine = CLOSED
    if packet & RST:
        mine = RESET_CLOSED if mine == CLOSED else RESET
    return mine


def _midstream(peer: int, packet: int, *, is_orig: bool) -> int:
    """An end whose first packet seen is neither its SYN nor its end."""
    if not is_orig and not packet & DATA and peer == SYN_SENT:
        return INACTIVE  # some acknowledge a SYN before they send their own
    if packet & ACK and peer == ESTABLISHED:
        return ESTABLISHED
    return PARTIAL


def asks_history(state: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Of which states the history decides what conn_state is."""
    orig, resp = (state - 1) & 7, (state - 1) >> 3 & 7
    made: NDArray[np.bool_] = (orig >= RESET) & ((resp == INACTIVE) | (resp == PARTIAL))
    return made


def conn_state(state: int, sizes: tuple[bool, bool], history: str) -> str:
    """Zeek's conn_state. sizes: whether originator and responder sent payload."""
    ends = unpack(state)
    orig, resp = (min(end, RESET) for end in (ends.orig, ends.resp))
    unheard = (INACTIVE, PARTIAL)
    if resp == RESET:
        if orig in (SYN_SENT, SYN_ACK_SENT) or (orig == RESET and not any(sizes)):
            return "REJ"
        return "RSTRH" if orig in unheard else "RSTR"
    if orig == RESET:
        if resp in unheard:
            return "RSTOS0" if _only_attempted(history) else "OTH"
        return "RSTO"
    if orig == CLOSED:
        return "SF" if resp == CLOSED else "SH" if resp in unheard else "S2"
    if resp == CLOSED:
        return "SHR" if orig in unheard else "S3"
    if orig == SYN_SENT and resp == INACTIVE:
        return "S0"
    return "S1" if orig == resp == ESTABLISHED else "OTH"


def _only_attempted(history: str) -> bool:
    """Whether the originator sent a SYN, and a RST with nothing but noise between them."""
    if not history.removeprefix("^").startswith("S"):
        return False
    before, found, _ = history.removeprefix("^")[1:].partition("R")
    return bool(found) and not set(before) & set("HAFGIQ")
