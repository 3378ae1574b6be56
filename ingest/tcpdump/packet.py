"""The columns of a packet, whatever options tcpdump printed it with.

One row per IP packet of a record, in file order: the outer packet first, then what it carries
(depth 1, 2, …) where tcpdump prints both. All values may be null unless it says so here; null
means: the text does not tell.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from connwatch.schema import STRINGS

_S: Final = pl.String()
_I: Final = pl.Int64()

#: line, offset: of the record's first line, never null. lines: how many it has, never null. raw:
#: all of them, as they are. time: µs since the epoch, never null. way: In, Out, B (broadcast),
#: M (multicast), P (of others), as -i any prints it. depth: 0 outermost, never null.
#: transport: tcp, udp, icmp, ipv6-icmp, sctp, … (ECS); number: IP protocol. src, dst: addresses in
#: canonical form; src_name, dst_name: names in their place. size: IP packet in bytes, headers
#: included: as printed, or computed where the printed text tells all parts. payload: bytes behind
#: the transport's header. flags: TCP's, as printed ("S", "S.", "P.", ".", "FP.", "none", …). seq,
#: end, ack: as printed, relative or not. window: as printed, unscaled. bad: a checksum of the IP or
#: transport header that tcpdump calls wrong. fragment: offset in bytes; null: not a fragment; more:
#: others follow it.
PACKET: Final[dict[str, pl.DataType]] = {
    "line": _I, "offset": _I, "lines": _I, "raw": _S, "time": _I,
    "interface": _S, "way": _S, "src_mac": _S, "dst_mac": _S, "vlans": pl.List(_I), "depth": _I,
    "transport": _S, "number": _I, "src": _S, "dst": _S, "src_name": _S, "dst_name": _S,
    "sport": _I, "dport": _I, "size": _I, "payload": _I,
    "flags": _S, "seq": _I, "end": _I, "ack": _I, "window": _I, "bad": pl.Boolean(),
    "icmp_type": _I, "icmp_code": _I, "icmp_id": _I, "icmp_seq": _I,
    "ip_id": _I, "fragment": _I, "more": pl.Boolean(), "application": _S, "notes": STRINGS,
}  # fmt: skip

#: One row per record that is readable and holds no IP packet (ARP, STP, a header that is cut, …).
#: protocol: tcpdump's word for it, in lower case, never null. operation, src, dst: of ARP.
FRAME: Final[dict[str, pl.DataType]] = {
    **{name: PACKET[name] for name in list(PACKET)[:10]},
    "protocol": _S, "operation": _S, "src": _S, "dst": _S,
}  # fmt: skip

#: of no rows: making a frame of so many columns takes as long as reading a thousand packets
NO_PACKETS: Final = pl.DataFrame(schema=PACKET)
NO_FRAMES: Final = pl.DataFrame(schema=FRAME)
