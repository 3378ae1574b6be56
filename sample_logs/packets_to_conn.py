"""Connections as Zeek's conn.log has them, from a packet capture of the sample incident.

Enough of Zeek's connection tracking for traffic that was made on purpose and captured whole: TCP
with its states and history, UDP, ICMP echo. Not a replacement for Zeek.
"""

from __future__ import annotations

import hashlib
import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FIN, SYN, RST, ACK = 1, 2, 4, 16
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Packet:
    """time: µs since the epoch. size: bytes of the IP packet; payload: of its TCP or UDP data.
    For ICMP the ports are type and code."""

    time: int
    proto: str
    source: tuple[str, int]
    destination: tuple[str, int]
    size: int
    payload: int
    flags: int
    seq: int


def packets(path: Path) -> Iterator[Packet]:
    """The IP packets of a pcap file of Ethernet frames, little-endian with microseconds."""
    data = path.read_bytes()
    position = 24
    while position < len(data):
        seconds, micros, captured, _ = struct.unpack_from("<IIII", data, position)
        frame = data[position + 16 : position + 16 + captured]
        position += 16 + captured
        packet = _packet(seconds * 1_000_000 + micros, frame)
        if packet is not None:
            yield packet


def _packet(time: int, frame: bytes) -> Packet | None:
    kind = struct.unpack_from("!H", frame, 12)[0]
    ip = frame[14:]
    if kind == 0x0800:
        header, size, proto = (ip[0] & 15) * 4, struct.unpack_from("!H", ip, 2)[0], ip[9]
        ends = (str(ipaddress.IPv4Address(ip[12:16])), str(ipaddress.IPv4Address(ip[16:20])))
    elif kind == 0x86DD:
        header, size, proto = 40, struct.unpack_from("!H", ip, 4)[0] + 40, ip[6]
        ends = (str(ipaddress.IPv6Address(ip[8:24])), str(ipaddress.IPv6Address(ip[24:40])))
    else:
        return None
    rest = ip[header:]
    if proto == 6:
        p, q, seq = struct.unpack_from("!HHI", rest)
        payload = size - header - (rest[12] >> 4) * 4
        return Packet(time, "tcp", (ends[0], p), (ends[1], q), size, payload, rest[13], seq)
    if proto == 17:
        p, q = struct.unpack_from("!HH", rest)
        return Packet(time, "udp", (ends[0], p), (ends[1], q), size, size - header - 8, 0, 0)
    if proto == 1 and rest[0] in (0, 8):
        answer = 0 if rest[0] == 8 else 8
        ports = (rest[0], answer)
        return Packet(
            time, "icmp", (ends[0], ports[0]), (ends[1], ports[1]), size, size - header - 8, 0, 0
        )
    return None


@dataclass
class Side:
    packets: int = 0
    size: int = 0
    payload: int = 0
    first_seq: int | None = None


@dataclass
class Flow:
    """One connection; sides: originator, responder."""

    first: Packet
    last: int
    sides: tuple[Side, Side] = field(default_factory=lambda: (Side(), Side()))
    history: str = ""

    def add(self, packet: Packet) -> None:
        responder = packet.source != self.first.source
        side = self.sides[responder]
        side.packets += 1
        side.size += packet.size
        if packet.proto == "tcp":
            self._tcp(packet, side, responder)
        else:
            side.payload += packet.payload
            if packet.proto == "udp":
                self._note("D", responder)
        self.last = max(self.last, packet.time)

    def _tcp(self, packet: Packet, side: Side, responder: bool) -> None:
        if side.first_seq is None:
            side.first_seq = packet.seq + bool(packet.flags & SYN)
        reached = (packet.seq + packet.payload - side.first_seq) % 2**32
        if packet.payload:
            side.payload = max(side.payload, reached)
        if packet.flags & SYN:
            self._note("H" if packet.flags & ACK else "S", responder)
        elif packet.flags & ACK and not packet.flags & (FIN | RST):
            self._note("A", responder)
        if packet.payload:
            self._note("D", responder)
        if packet.flags & FIN:
            self._note("F", responder)
        if packet.flags & RST:
            self._note("R", responder)

    def _note(self, letter: str, responder: bool) -> None:
        letter = letter.lower() if responder else letter
        if letter not in self.history:
            self.history += letter

    @property
    def state(self) -> str:
        seen = set(self.history)
        if self.first.proto == "icmp":
            return "OTH"
        if self.first.proto == "udp":
            return "SF" if "d" in seen else "S0"
        if "h" not in seen:
            return "REJ" if "r" in seen else "S0"
        if "R" in seen:
            return "RSTO"
        if "r" in seen:
            return "RSTR"
        return {(True, True): "SF", (True, False): "S2", (False, True): "S3"}.get(
            ("F" in seen, "f" in seen), "S1"
        )


def flows(found: Iterator[Packet]) -> list[Flow]:
    """The connections, in the order in which they ended."""
    open_flows: dict[tuple[object, ...], Flow] = {}
    done: list[Flow] = []
    for packet in found:
        key = (packet.proto, *sorted((packet.source, packet.destination)))
        flow = open_flows.get(key)
        begins = packet.flags & SYN and not packet.flags & ACK
        if flow is not None and begins and set("FfRr") & set(flow.history):
            done.append(open_flows.pop(key))
            flow = None
        if flow is None:
            flow = open_flows[key] = Flow(packet, packet.time)
        flow.add(packet)
    return sorted([*done, *open_flows.values()], key=lambda one: (one.last, one.first.time))


def uid(flow: Flow) -> str:
    """An identifier in Zeek's form, from what the connection is."""
    text = f"{flow.first.time} {flow.first.source} {flow.first.destination}"
    number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    letters = []
    for _ in range(17):
        number, rest = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[rest])
    return "C" + "".join(letters)
