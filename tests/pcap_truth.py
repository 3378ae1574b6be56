"""What the packets of a capture file are, read from its bytes with nothing that is tested."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: where the ethertype stands, by link type: Ethernet, Linux cooked 1 and 2
_TYPE_AT = {1: 12, 113: 14, 276: 0}
_HEADER = {1: 14, 113: 16, 276: 20}
#: link types whose packets begin with the IP header
_RAW = (12, 14, 101, 228, 229)
_VLAN = (0x8100, 0x88A8, 0x9100)


def packets(path: Path) -> list[dict[str, Any] | None] | None:
    """Of each packet the outer IP header and what it carries; None for another kind. None in all
    for files of another kind than pcap, or of another link type."""
    data = path.read_bytes()
    order = {b"\xd4\xc3\xb2\xa1": "<", b"\x4d\x3c\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">"}.get(
        data[:4]
    )
    if order is None:
        return None
    link = struct.unpack(order + "I", data[20:24])[0] & 0xFFFF
    if link not in _TYPE_AT and link not in _RAW:
        return None
    return [_packet(bytes_, link) for bytes_ in _frames(data, order)]


def frames(path: Path) -> list[bytes]:
    """The bytes of each packet, its link header included."""
    data = path.read_bytes()
    return list(
        _frames(data, "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">")
    )


def _frames(data: bytes, order: str) -> Iterator[bytes]:
    place = 24
    while place + 16 <= len(data):
        size = struct.unpack(order + "I", data[place + 8 : place + 12])[0]
        yield data[place + 16 : place + 16 + size]
        place += 16 + size


def _packet(data: bytes, link: int) -> dict[str, Any] | None:
    if link in _RAW:
        return _ip(data)
    kind = int.from_bytes(data[_TYPE_AT[link] : _TYPE_AT[link] + 2], "big")
    place = _HEADER[link]
    while kind in _VLAN:
        kind = int.from_bytes(data[place + 2 : place + 4], "big")
        place += 4
    return _ip(data[place:]) if kind in (0x0800, 0x86DD) else None


def _ip(data: bytes) -> dict[str, Any] | None:
    """src, dst, number, size, payload, ports, flags, window, ICMP's type and code, ip_id; carried:
    the payload as far as it was captured."""
    if len(data) < 20:
        return None
    made: dict[str, Any] = {}
    if data[0] >> 4 == 4:
        header = (data[0] & 15) * 4
        size, ident, offset, _, number = struct.unpack(">HHHBB", data[2:10])
        made |= {"size": size, "ip_id": ident, "number": number}
        ends = [data[12:16], data[16:20]]
        if header < 20 or offset & 0x3FFF or size < header:
            return None
    elif data[0] >> 4 == 6 and len(data) >= 40:
        header, number = 40, data[6]
        made |= {"size": 40 + int.from_bytes(data[4:6], "big"), "number": number}
        ends = [data[8:24], data[24:40]]
        if number in (0, 43, 44, 60):
            return None
    else:
        return None
    for name, raw in zip(("src", "dst"), ends, strict=True):
        address = ipaddress.ip_address(raw)
        mapped = getattr(address, "ipv4_mapped", None)
        made[name] = str(mapped or address)
    body, rest = data[header : made["size"]], made["size"] - header
    if number == 6 and len(body) >= 20:
        made["sport"], made["dport"] = struct.unpack(">HH", body[:4])
        made["flags"], made["window"] = body[13], int.from_bytes(body[14:16], "big")
        made["payload"] = rest - (body[12] >> 4) * 4
        made["carried"] = body[(body[12] >> 4) * 4 :]
    elif number == 17 and len(body) >= 8:
        made["sport"], made["dport"], length = struct.unpack(">HHH", body[:6])
        made["payload"] = length - 8
        made["carried"] = body[8:length]
    elif number in (1, 58) and len(body) >= 2:
        made["icmp_type"], made["icmp_code"] = body[0], body[1]
        made["payload"] = rest - 8
        made["carried"] = body[8:]
    return made
