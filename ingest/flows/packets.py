"""Frames of packets as arrays, sorted by conversation: all packets between the same two ends."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..protocols import NUMBERS
from .arrays import NIL, Flags, Ints, starts
from .machine import ACK, BAD, DATA, FIN, FROM_X, RST, SYN, TURNED
from .ports import ICMP6_ANSWERS, ICMP_ANSWERS, TCP_SERVICES, UDP_SERVICES
from .table import Flows

TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
_PORTED: Final = tuple(int(NUMBERS[name]) for name in ("tcp", "udp", "udplite", "sctp", "dccp"))
#: which IP protocols have ports; the last place: none, and numbers that are none
_IS_PORTED: Final = np.isin(np.arange(258), _PORTED)
#: what carries other IP packets, and is no flow where these are shown
_TUNNELS: Final = (4, 41, 47)
_MASK: Final = 0xFFFF_FFFF
_LETTERS: Final = (("S", SYN), ("F", FIN), ("R", RST), (".", ACK))
_INTS: Final = (
    "number", "time", "size", "payload", "seq", "ack", "window", "sport", "dport", "icmp_type",
    "icmp_code", "line", "offset", "depth",
)  # fmt: skip
#: addresses are told apart by hashes that nobody can know before
_SEED: Final = secrets.randbits(63)
Hashes = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Packets that are of flows. Arrays by packet, in the order in which they came.

    place: row in `frame`. values: columns of it, NIL where there is no value; clock: µs, never
    going back. x, y: sender and receiver, by row of the frame. x_port, y_port: their ports (of
    ICMP its type, and the type that answers it or its code). one_way: no answer is of the same
    conversation. flags: TCP's, see `machine`; mute: they are not shown.
    """

    frame: pl.DataFrame
    place: Ints
    values: Mapping[str, Ints]
    x: pl.Series
    y: pl.Series
    x_port: Ints
    y_port: Ints
    one_way: Flags
    flags: Ints
    mute: Flags
    bad: Flags


def relevant(packets: pl.DataFrame, clock: int | None) -> Kept:
    """Those of PACKET that are of flows. clock: of the packets before; None: there were none."""
    values = {name: _ints(packets[name]) for name in _INTS}
    bad, more = (_flags(packets[name]) for name in ("bad", "more"))
    x, y = (_coalesced(packets, *names) for names in (("src", "src_name"), ("dst", "dst_name")))
    values["clock"] = np.maximum.accumulate(values["time"])
    if clock is not None:
        values["clock"] = np.maximum(values["clock"], clock)
    values["number"] = _numbers(packets, values["number"])
    values["size"] = np.where(more, NIL, values["size"])
    ported, keep = _kept((x, y), values)
    mute = packets["flags"].is_null().to_numpy()
    flags = _flag_bits(packets["flags"])
    place = np.flatnonzero(keep)
    if len(place) < len(keep):
        values = {name: column[place] for name, column in values.items()}
        ported, mute, bad, flags = ported[place], mute[place], bad[place], flags[place]
    x_port, y_port, one_way = _ports(values, ported)
    return Kept(packets, place, values, x, y, x_port, y_port, one_way, flags, mute, bad)


def _ints(column: pl.Series) -> Ints:
    """A column, NIL where there is no value."""
    missing = column.null_count()
    if missing == len(column):
        return np.full(len(column), NIL)
    made: Ints = (column.fill_null(NIL) if missing else column).to_numpy()
    return made


def _flags(column: pl.Series) -> Flags:
    missing = column.null_count()
    if missing == len(column):
        return np.zeros(len(column), bool)
    made: Flags = (column.fill_null(value=False) if missing else column).to_numpy()
    return made


def _coalesced(packets: pl.DataFrame, name: str, other: str) -> pl.Series:
    if not packets[name].null_count():
        return packets[name]
    return packets.select(pl.coalesce(name, other)).to_series()


def _numbers(packets: pl.DataFrame, number: Ints) -> Ints:
    """IP protocols; where the text does not tell one, that of the transport's name."""
    missing = np.flatnonzero(number == NIL)
    if not len(missing):
        return number
    named = packets["transport"][missing].replace_strict(
        NUMBERS, default=None, return_dtype=pl.String
    )
    made = number.copy()
    made[missing] = named.cast(pl.Int64).fill_null(NIL).to_numpy()
    return made


def _kept(ends: tuple[pl.Series, pl.Series], values: Mapping[str, Ints]) -> tuple[Flags, Flags]:
    """Which packets are of a protocol with ports, and which are of flows."""
    number, line, depth = values["number"], values["line"], values["depth"]
    ported = _IS_PORTED[np.clip(number, -1, 256)]
    keep = (number != NIL) & (~ported | ((values["sport"] != NIL) & (values["dport"] != NIL)))
    if depth.any():
        inner = (line[1:] == line[:-1]) & (depth[1:] > depth[:-1])
        keep[:-1] &= ~(inner & np.isin(number[:-1], _TUNNELS))
    for end in ends:
        if end.null_count():
            keep &= end.is_not_null().to_numpy()
    return ported, keep


def _ports(values: Mapping[str, Ints], ported: Flags) -> tuple[Ints, Ints, Flags]:
    """x_port, y_port and one_way of `Kept`."""
    x_port = np.where(ported, values["sport"], 0)
    y_port = np.where(ported, values["dport"], 0)
    one_way = np.zeros(len(ported), bool)
    for number, answers in ((ICMP, ICMP_ANSWERS), (ICMP6, ICMP6_ANSWERS)):
        at = np.flatnonzero(values["number"] == number)
        kind, code = values["icmp_type"][at], values["icmp_code"][at]
        answer = np.full(256, NIL)
        answer[list(answers)] = list(answers.values())
        known = np.where((kind >= 0) & (kind < 256), answer[np.clip(kind, 0, 255)], NIL)
        x_port[at], y_port[at] = kind, np.where(known == NIL, code, known)
        one_way[at] = known == NIL
    return x_port, y_port, one_way


def _flag_bits(flags: pl.Series) -> Ints:
    """TCP's flags as bits; few different ones are printed."""
    texts = flags.unique().drop_nulls()
    values = [sum(bit for letter, bit in _LETTERS if letter in text) for text in texts]
    hashes = texts.hash(_SEED).to_numpy()
    order = np.argsort(hashes)
    if not len(order):
        return np.zeros(len(flags), np.int64)
    place = np.searchsorted(hashes[order], flags.hash(_SEED).to_numpy())
    made = np.array(values, np.int64)[order][np.minimum(place, len(order) - 1)]
    return made if not flags.null_count() else np.where(flags.is_null().to_numpy(), 0, made)


@dataclass(frozen=True, slots=True, eq=False)
class Packets:
    """Packets by conversation, TCP's first; in a conversation in the order in which they came.

    row: in `Kept`; place: in the frame that it is of. conv: number of the conversation, from 0,
    none left out. carried: by conversation, the row of its open flow, or NIL. tcp: how many packets
    are TCP's. bits: see `machine`; BAD of any protocol. mute: TCP whose flags are not shown. seq,
    ack: as printed, 32 bits; NIL: not shown.
    """

    place: Ints
    conv: Ints
    carried: Ints
    tcp: int
    number: Ints
    clock: Ints
    time: Ints
    bits: Ints
    mute: Flags
    size: Ints
    length: Ints
    seq: Ints
    ack: Ints
    window: Ints
    row: Ints

    @property
    def from_x(self) -> Flags:
        made: Flags = (self.bits & FROM_X) != 0
        return made


def sort(kept: Kept, flows: Flows) -> Packets:
    """Packets by conversation. flows: those that are open."""
    ends = _Ends.of(kept, flows)
    order = ends.order()
    begins = ends.begins(order)
    if ends.count(order) < int(begins.sum()):  # rows of two conversations are mixed
        order = ends.slow_order()
        begins = ends.begins(order)
    group = np.cumsum(begins) - 1
    # What stands first in its conversation is its open flow, or else the packet that begins it.
    from_x = ends.swapped[order] == ends.swapped[order[begins]][group]
    known = flows.height
    is_packet = order >= known
    holder = np.full(int(group[-1]) + 1, NIL)
    holder[group[~is_packet]] = order[~is_packet]
    if known:
        group, from_x = group[is_packet], from_x[is_packet]
        order = order[is_packet]
        first = starts(group)
        holder, group = holder[group[first]], np.cumsum(first) - 1
    return _arrays(kept, order - known, group, (holder, from_x))


@dataclass(frozen=True, slots=True, eq=False)
class _Ends:
    """Both ends of the open flows, and of the packets behind them, the lower one first. low, high:
    hashes of addresses. rest: ports, protocol and whether it is one way. swapped: the lower end is
    the receiver's. mixed: 48 bits of all of that, those of TCP lower."""

    low: Hashes
    high: Hashes
    rest: Ints
    swapped: Flags
    mixed: Hashes

    @classmethod
    def of(cls, kept: Kept, flows: Flows) -> _Ends:
        texts = flows.texts
        x, y = (
            np.concatenate([old.hash(_SEED).to_numpy(), new.hash(_SEED).to_numpy()[kept.place]])
            for old, new in ((texts["x"], kept.x), (texts["y"], kept.y))
        )
        x_port = np.concatenate([flows["x_port"], kept.x_port]) & 0x1FFFF
        y_port = np.concatenate([flows["y_port"], kept.y_port]) & 0x1FFFF
        number = np.concatenate([flows["number"], kept.values["number"]])
        one_way = np.concatenate([flows["one_way"] != 0, kept.one_way])
        swapped = ((x > y) | ((x == y) & (x_port > y_port))) & ~one_way
        low, high = np.where(swapped, y, x), np.where(swapped, x, y)
        ports = np.where(swapped, y_port << 17 | x_port, x_port << 17 | y_port)
        rest = (number & 0xFFF_FFFF) << 35 | ports << 1 | one_way
        mixed = (
            low + (high << np.uint64(1)) + rest.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        )
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed >> np.uint64(17)) | (number != TCP).astype(np.uint64) << np.uint64(47)
        return cls(low, high, rest, swapped, mixed)

    def order(self) -> Ints:
        """Rows by `mixed`, equal ones in the order in which they came: 16 bits at a time, for
        which numpy has a sort that takes no comparison."""
        order: Ints = np.argsort(self.mixed.astype(np.uint16), kind="stable")
        for shift in (16, 32):
            part = (self.mixed >> np.uint64(shift)).astype(np.uint16)
            order = order[np.argsort(part[order], kind="stable")]
        return order

    def slow_order(self) -> Ints:
        made: Ints = np.lexsort((self.rest, self.high, self.low, self.mixed >> np.uint64(47)))
        return made

    def begins(self, order: Ints) -> Flags:
        """Which of the rows in this order are the first of their conversation."""
        begins = np.ones(len(order), bool)
        begins[1:] = False
        for column in (self.low, self.high, self.rest):
            sorted_ = column[order]
            begins[1:] |= sorted_[1:] != sorted_[:-1]
        return begins

    def count(self, order: Ints) -> int:
        """How many different values of `mixed` there are."""
        sorted_ = self.mixed[order]
        return 1 + int((sorted_[1:] != sorted_[:-1]).sum())


def _arrays(kept: Kept, rows: Ints, conv: Ints, told: tuple[Ints, Flags]) -> Packets:
    """rows: those of `kept` in order. told: what Packets has as carried, and as from_x."""
    carried, from_x = told
    names = ("number", "clock", "time", "size", "payload", "seq", "ack", "window")
    values = {name: kept.values[name][rows] for name in names}
    is_tcp = values["number"] == TCP
    bits = kept.flags[rows]
    bits |= (values["ack"] >= 0) * ACK  # older versions print no dot for it
    bits |= from_x * FROM_X | (values["payload"] > 0) * DATA
    bits |= kept.bad[rows] * BAD
    bits |= _turned(kept, rows, bits, values["number"]) * TURNED
    for name in ("seq", "ack"):
        values[name] = np.where(values[name] >= 0, values[name] & _MASK, NIL)
    return Packets(
        place=kept.place[rows],
        conv=conv,
        carried=carried,
        tcp=int(is_tcp.sum()),
        bits=bits,
        mute=is_tcp & kept.mute[rows],
        length=values.pop("payload"),
        row=rows,
        **values,
    )


def _turned(kept: Kept, rows: Ints, bits: Ints, number: Ints) -> Flags:
    """Packets whose sender is the responder, by the ports, should they be the first of a flow."""
    sport, dport = kept.x_port[rows], kept.y_port[rows]
    by_tcp, by_udp = number == TCP, number == UDP
    source, target = (
        _SERVICES[np.clip(ports, 0, 65_535) | by_udp * 65_536] & (by_tcp | by_udp)
        for ports in (sport, dport)
    )
    answer = by_udp | ((bits & (SYN | ACK)) != SYN)
    lower = by_tcp & ((bits & SYN) == 0) & (sport < dport)
    made: Flags = source & answer & (~target | lower)
    if made.any():
        broadcast = (kept.y == "255.255.255.255").to_numpy()
        made &= ~broadcast[kept.place[rows]]
    return made


def _services() -> Flags:
    """TCP's ports, and UDP's behind them."""
    table = np.zeros(2 * 65_536, bool)
    table[list(TCP_SERVICES)] = True
    table[[65_536 + port for port in UDP_SERVICES]] = True
    return table


_SERVICES: Final = _services()
