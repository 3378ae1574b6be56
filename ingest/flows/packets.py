"""Frames of packets as arrays, sorted by conversation: all packets between the same two ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..protocols import NUMBERS
from .machine import ACK, BAD, DATA, FIN, FROM_X, RST, SYN, TURNED
from .ports import ICMP6_ANSWERS, ICMP_ANSWERS, TCP_SERVICES, UDP_SERVICES

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
_PORTED: Final = tuple(int(NUMBERS[name]) for name in ("tcp", "udp", "udplite", "sctp", "dccp"))
#: what carries other IP packets, and is no flow where these are shown
_TUNNELS: Final = (4, 41, 47)
_MASK: Final = 0xFFFF_FFFF
#: no value
NIL: Final = -1
_LETTERS: Final = (("S", SYN), ("F", FIN), ("R", RST), (".", ACK))
#: what makes an end, and both ends of a conversation
END: Final = ("x", "x_port", "y", "y_port", "number", "one_way")


def relevant(packets: pl.DataFrame) -> pl.DataFrame:
    """Those of PACKET that are of flows, with clock (µs, never going back), x, y, x_port, y_port
    (of sender and receiver; of ICMP its type, and the type that answers it or its code), and
    one_way: no answer is of the same conversation."""
    number = pl.coalesce(
        "number", pl.col("transport").replace_strict(NUMBERS, default=None).cast(pl.Int64)
    )
    inner = (pl.col("line").shift(-1) == pl.col("line")) & (
        pl.col("depth").shift(-1) > pl.col("depth")
    )
    packets = packets.with_columns(
        number=number,
        clock=pl.col("time").cum_max(),
        x=pl.coalesce("src", "src_name"),
        y=pl.coalesce("dst", "dst_name"),
        carrier=inner.fill_null(value=False) & number.is_in(_TUNNELS),
    )
    ported = pl.col("number").is_in(_PORTED)
    kept = packets.filter(
        ~pl.col("carrier"),
        pl.col("number").is_not_null() & pl.col("x").is_not_null() & pl.col("y").is_not_null(),
        ~ported | (pl.col("sport").is_not_null() & pl.col("dport").is_not_null()),
    )
    kind = pl.col("icmp_type").fill_null(NIL)
    answer = (
        pl.when(pl.col("number") == ICMP)
        .then(kind.replace_strict(ICMP_ANSWERS, default=None))
        .when(pl.col("number") == ICMP6)
        .then(kind.replace_strict(ICMP6_ANSWERS, default=None))
        .cast(pl.Int64)
    )
    icmp = pl.col("number").is_in([ICMP, ICMP6])
    return kept.with_columns(
        # What follows the first fragment has no ports, so not all of its bytes are known.
        size=pl.when(~pl.col("more").fill_null(value=False)).then("size"),
        x_port=pl.when(ported).then("sport").when(icmp).then(kind).otherwise(0),
        y_port=pl.when(ported)
        .then("dport")
        .when(icmp)
        .then(pl.coalesce(answer, "icmp_code").fill_null(NIL))
        .otherwise(0),
        one_way=icmp & answer.is_null(),
    )


@dataclass(frozen=True, slots=True)
class Packets:
    """Packets by conversation, TCP's first; in a conversation in the order in which they came.

    place: row in the frame that was sorted. conv: number of the conversation, from 0, none left
    out. carried: by conversation, the row of its open flow, or NIL. tcp: how many packets are
    TCP's. bits: see `machine`; BAD of any protocol. mute: TCP whose flags are not shown. seq, ack:
    as printed, 32 bits; NIL: not shown.
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

    @property
    def from_x(self) -> Flags:
        made: Flags = (self.bits & FROM_X) != 0
        return made


def sort(kept: pl.DataFrame, open_flows: pl.DataFrame) -> Packets:
    """The packets that `relevant` gives. open_flows: columns END of the flows that are open."""
    sender, receiver = _ends(kept, open_flows)
    one_way = pl.concat([open_flows["one_way"], kept["one_way"]]).to_numpy()
    number = _ints(pl.concat([open_flows["number"], kept["number"]]))
    low, high = np.minimum(sender, receiver), np.maximum(sender, receiver)
    low, high = np.where(one_way, sender, low), np.where(one_way, receiver, high)
    # TCP first; bit 49 keeps one-way conversations apart from those both ways.
    low |= (np.where(number == TCP, 0, number + 1) << 50) | (one_way.astype(np.int64) << 49)
    order = np.lexsort((high, low))
    low, high = low[order], high[order]
    begins = np.ones(len(order), bool)
    begins[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    group = np.cumsum(begins) - 1
    # What stands first in its conversation is its open flow, or else the packet that begins it.
    x_end = sender[order][begins][group]
    known = open_flows.height
    is_packet = order >= known
    holder = np.full(int(group[-1]) + 1, NIL)
    holder[group[~is_packet]] = order[~is_packet]
    kept_groups, conv = np.unique(group[is_packet], return_inverse=True)
    rows = order[is_packet] - known
    from_x = (sender[order] == x_end)[is_packet]
    return _arrays(kept, rows, conv, (holder[kept_groups], from_x))


def _ends(kept: pl.DataFrame, open_flows: pl.DataFrame) -> tuple[Ints, Ints]:
    """Sender's and receiver's end as numbers, of the open flows, and of the packets."""
    parts = [open_flows["x"], kept["x"], open_flows["y"], kept["y"]]
    texts = pl.concat([part.rename("end") for part in parts])
    codes = texts.cast(pl.Enum(texts.unique())).to_physical().cast(pl.Int64).to_numpy()
    half = len(codes) // 2
    ports = (
        _ints(pl.concat([open_flows[name], kept[name]])) & 0x1FFFF for name in ("x_port", "y_port")
    )
    sender, receiver = (
        part << 17 | port for part, port in zip((codes[:half], codes[half:]), ports, strict=True)
    )
    return sender, receiver


def _arrays(kept: pl.DataFrame, rows: Ints, conv: Ints, told: tuple[Ints, Flags]) -> Packets:
    """rows: those of `kept` in order. told: what Packets has as carried, and as from_x."""
    carried, from_x = told
    names = ("number", "clock", "time", "size", "payload", "seq", "ack", "window")
    values = {name: _ints(kept[name])[rows] for name in names}
    is_tcp = values["number"] == TCP
    bits = _flag_bits(kept["flags"])[rows]
    bits |= np.where(values["ack"] >= 0, ACK, 0)  # older versions print no dot for it
    bits |= np.where(from_x, FROM_X, 0) | np.where(values["payload"] > 0, DATA, 0)
    bits |= np.where(kept["bad"].fill_null(value=False).to_numpy()[rows], BAD, 0)
    bits |= np.where(_turned(kept, rows, bits), TURNED, 0)
    for name in ("seq", "ack"):
        values[name] = np.where(values[name] >= 0, values[name] & _MASK, NIL)
    return Packets(
        place=rows,
        conv=conv,
        carried=carried,
        tcp=int(is_tcp.sum()),
        bits=bits,
        mute=is_tcp & kept["flags"].is_null().to_numpy()[rows],
        length=values.pop("payload"),
        **values,
    )


def _flag_bits(flags: pl.Series) -> Ints:
    """TCP's flags as bits; few different ones are printed."""
    texts = flags.unique().drop_nulls()
    values = [sum(bit for letter, bit in _LETTERS if letter in text) for text in texts]
    made = flags.replace_strict(texts, values, default=0, return_dtype=pl.Int64)
    return made.fill_null(0).to_numpy().copy()


def _turned(kept: pl.DataFrame, rows: Ints, bits: Ints) -> Flags:
    """Packets whose sender is the responder, by the ports, should they be the first of a flow."""
    number, sport, dport = (_ints(kept[name])[rows] for name in ("number", "x_port", "y_port"))
    by_tcp, by_udp = number == TCP, number == UDP
    source = (by_tcp & _among(sport, TCP_SERVICES)) | (by_udp & _among(sport, UDP_SERVICES))
    target = (by_tcp & _among(dport, TCP_SERVICES)) | (by_udp & _among(dport, UDP_SERVICES))
    answer = by_udp | ((bits & (SYN | ACK)) != SYN)
    lower = by_tcp & ((bits & SYN) == 0) & (sport < dport)
    broadcast = (kept["y"] == "255.255.255.255").to_numpy()[rows]
    made: Flags = source & answer & (~target | lower) & ~broadcast
    return made


def _among(ports: Ints, services: frozenset[int]) -> Flags:
    table = np.zeros(65_536, bool)
    table[list(services)] = True
    made: Flags = table[np.clip(ports, 0, 65_535)]
    return made


def _ints(values: pl.Series) -> Ints:
    made: Ints = values.fill_null(NIL).to_numpy().astype(np.int64, copy=False)
    return made


def previous(which: Flags, group: Ints) -> Ints:
    """For each row, the last row before it in its group that is one of `which`; NIL: none."""
    rows = np.arange(len(which))
    last = np.maximum.accumulate(np.where(which, rows, NIL)) if len(which) else rows
    before = np.empty_like(last)
    before[:1] = NIL
    before[1:] = last[:-1]
    begins = starts(group)
    first: Ints = np.maximum.accumulate(np.where(begins, rows, 0)) if len(which) else rows
    return np.where(before >= first, before, NIL)


def starts(group: Ints) -> Flags:
    """Which rows are the first of their group; groups are one behind the other."""
    begins = np.ones(len(group), bool)
    begins[1:] = group[1:] != group[:-1]
    return begins
