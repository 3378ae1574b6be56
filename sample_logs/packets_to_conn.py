"""Connections as Zeek's conn.log has them, from a packet capture of the sample incident.

    python sample_logs/packets_to_conn.py CAPTURE.pcap FOLDER

writes FOLDER/conn.log and FOLDER/conn.json.log. This does as much of Zeek's connection tracking as
traffic needs that was made on purpose and captured whole: TCP with its states and history, UDP,
ICMP with its counterparts. It is not a replacement for Zeek.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

FIN, SYN, RST, ACK = 1, 2, 4, 16
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
LOCAL = [ipaddress.ip_network(one) for one in ("192.168.56.0/24", "2001:db8:1::/64", "fe80::/10")]

#: What was spoken on a port of the incident. Zeek would see it in the payload.
SERVICES = {("tcp", 22): "ssh", ("tcp", 80): "http", ("tcp", 443): "ssl", ("udp", 53): "dns"}

#: ICMP type -> the type that answers it; Zeek logs the two as ports of one connection.
COUNTERPARTS = {
    4: {0: 8, 8: 0, 13: 14, 14: 13},
    6: {128: 129, 129: 128, 133: 134, 134: 133, 135: 136, 136: 135},
}

FIELDS = (
    "ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "service", "duration",
    "orig_bytes", "resp_bytes", "conn_state", "local_orig", "local_resp", "missed_bytes", "history",
    "orig_pkts", "orig_ip_bytes", "resp_pkts", "resp_ip_bytes", "tunnel_parents",
)  # fmt: skip
TYPES = (
    "time", "string", "addr", "port", "addr", "port", "enum", "string", "interval", "count", "count",
    "string", "bool", "bool", "count", "string", "count", "count", "count", "count", "set[string]",
)  # fmt: skip


# -- packets --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Packet:
    """time: µs since the epoch. size: bytes of the IP packet; payload: of its TCP, UDP or ICMP
    data. For ICMP the ports are the type and its counterpart, or type and code."""

    time: int
    proto: str
    source: tuple[str, int]
    destination: tuple[str, int]
    size: int
    payload: int
    flags: int = 0
    seq: int = 0
    window: int = 1


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
    while kind == 0x8100:  # a VLAN's tag
        kind, ip = struct.unpack_from("!H", ip, 2)[0], ip[4:]
    if kind == 0x0800:
        version, header, proto = 4, (ip[0] & 15) * 4, ip[9]
        size = struct.unpack_from("!H", ip, 2)[0]
        source, destination = (str(ipaddress.IPv4Address(ip[at : at + 4])) for at in (12, 16))
    elif kind == 0x86DD:
        version, header, proto = 6, 40, ip[6]
        size = struct.unpack_from("!H", ip, 4)[0] + 40
        source, destination = (str(ipaddress.IPv6Address(ip[at : at + 16])) for at in (8, 24))
        if proto == 0:  # hop-by-hop options
            proto, header = ip[40], 48 + ip[41] * 8
    else:
        return None
    rest, room = ip[header:], size - header
    if proto == 6:
        p, q, seq = struct.unpack_from("!HHI", rest)
        window = struct.unpack_from("!H", rest, 14)[0]
        payload = room - (rest[12] >> 4) * 4
        ends = (source, p), (destination, q)
        return Packet(time, "tcp", *ends, size, payload, rest[13], seq, window)
    if proto == 17:
        p, q = struct.unpack_from("!HH", rest)
        return Packet(time, "udp", (source, p), (destination, q), size, room - 8)
    if proto in (1, 58):
        other = COUNTERPARTS[version].get(rest[0], rest[1])
        return Packet(time, "icmp", (source, rest[0]), (destination, other), size, room - 8)
    raise ValueError(f"protocol {proto} is not part of the incident")


# -- connections ----------------------------------------------------------------------------------


@dataclass
class Side:
    """state: Zeek's word for where this end of a TCP connection is. next_seq: one past the
    highest sequence number sent. repeated: how often each of T (retransmission) and W (zero
    window) occurred."""

    packets: int = 0
    size: int = 0
    payload: int = 0
    state: str = "inactive"
    next_seq: int | None = None
    repeated: dict[str, int] = field(default_factory=dict)


@dataclass
class Flow:
    """One connection; sides: originator, responder."""

    first: Packet
    last: int
    sides: tuple[Side, Side] = field(default_factory=lambda: (Side(), Side()))
    history: str = ""

    def add(self, packet: Packet) -> None:
        answers = packet.source != self.first.source
        side = self.sides[answers]
        side.packets += 1
        side.size += packet.size
        self.last = max(self.last, packet.time)
        if packet.proto == "tcp":
            self._note(_letter(packet), answers)
            self._advance(packet, answers)
            self._count(packet, answers)
            return
        side.payload += packet.payload
        if packet.proto == "udp":
            self._note("D", answers)

    def _note(self, letter: str, answers: bool) -> None:
        letter = letter.lower() if answers else letter
        if letter not in self.history:
            self.history += letter

    def _note_again(self, letter: str, answers: bool) -> None:
        """Letters that Zeek repeats at the 1st, 10th, 100th … time."""
        repeated = self.sides[answers].repeated
        repeated[letter] = repeated.get(letter, 0) + 1
        if re.fullmatch("10*", str(repeated[letter])):
            self.history += letter.lower() if answers else letter

    def _count(self, packet: Packet, answers: bool) -> None:
        """Payload bytes by sequence numbers, so that a retransmission counts once."""
        side = self.sides[answers]
        if packet.window == 0 and not packet.flags & RST:
            self._note_again("W", answers)
        start = packet.seq + bool(packet.flags & SYN)
        if side.next_seq is None:
            side.next_seq = start
        fresh = (start + packet.payload - side.next_seq + 2**31) % 2**32 - 2**31
        if packet.payload and fresh <= 0:
            self._note_again("T", answers)
        elif packet.payload:
            side.payload += fresh
            side.next_seq = (side.next_seq + fresh) % 2**32

    def _advance(self, packet: Packet, answers: bool) -> None:
        side, peer = self.sides[answers], self.sides[not answers]
        if packet.flags & RST:
            side.state = "reset"
        elif packet.flags & FIN:
            side.state = "closed"
        elif side.state == "inactive" and packet.flags & SYN and not answers:
            side.state = "syn sent"
        elif side.state == "inactive" and packet.flags & SYN:
            side.state = "established"
            if peer.state == "syn sent":
                peer.state = "established"
        elif side.state == "inactive":
            side.state = "partial"

    @property
    def state(self) -> str:
        """Zeek's conn_state."""
        if self.first.proto == "icmp":
            return "OTH"
        if self.first.proto == "udp":
            return "SF" if self.sides[1].packets else "S0"
        orig, resp = (side.state for side in self.sides)
        unanswered = resp in ("inactive", "partial")
        if resp == "reset":
            nothing = not self.sides[0].payload and not self.sides[1].payload
            refused = orig == "syn sent" or (orig == "reset" and nothing)
            return "REJ" if refused else "RSTR"
        if orig == "reset":
            return ("RSTOS0" if "S" in self.history else "OTH") if unanswered else "RSTO"
        if orig == "closed":
            return "SF" if resp == "closed" else "SH" if unanswered else "S2"
        if resp == "closed":
            return "S3"
        known = {("syn sent", "inactive"): "S0", ("established", "established"): "S1"}
        return known.get((orig, resp), "OTH")


def _letter(packet: Packet) -> str:
    """What Zeek's history notes of a packet: one flag before all, else data, else a bare ACK."""
    if packet.flags & SYN:
        return "H" if packet.flags & ACK else "S"
    if packet.flags & FIN:
        return "F"
    if packet.flags & RST:
        return "R"
    return "D" if packet.payload else "A"


def flows(found: Iterable[Packet]) -> list[Flow]:
    """The connections, in the order in which they ended."""
    running: dict[tuple[object, ...], Flow] = {}
    done: list[Flow] = []
    for packet in found:
        key = (packet.proto, *sorted((packet.source, packet.destination)))
        flow = running.get(key)
        begins = packet.flags & SYN and not packet.flags & ACK
        if flow is not None and begins and set("FfRr") & set(flow.history):
            done.append(running.pop(key))
            flow = None
        if flow is None:
            flow = running[key] = Flow(packet, packet.time)
        flow.add(packet)
    return sorted([*done, *running.values()], key=lambda one: (one.last, one.first.time))


# -- records --------------------------------------------------------------------------------------


def uid(flow: Flow) -> str:
    """An identifier in Zeek's form, from what the connection is."""
    text = f"{flow.first.time} {flow.first.proto} {flow.first.source} {flow.first.destination}"
    number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
    letters = []
    for _ in range(17):
        number, rest = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[rest])
    return "C" + "".join(letters)


def local(address: str) -> bool:
    return any(ipaddress.ip_address(address) in network for network in LOCAL)


def record(flow: Flow) -> dict[str, object]:
    """A connection as Zeek's JSON has it, unset fields left out."""
    (source, p), (destination, q) = flow.first.source, flow.first.destination
    orig, resp = flow.sides
    spoken = SERVICES.get((flow.first.proto, q)) if orig.payload and resp.payload else None
    lasted = (flow.last - flow.first.time) / 1_000_000
    fields: dict[str, object] = {
        "ts": flow.first.time / 1_000_000, "uid": uid(flow), "id.orig_h": source, "id.orig_p": p,
        "id.resp_h": destination, "id.resp_p": q, "proto": flow.first.proto, "service": spoken,
        "duration": lasted or None, "orig_bytes": orig.payload if lasted else None,
        "resp_bytes": resp.payload if lasted else None, "conn_state": flow.state,
        "local_orig": local(source), "local_resp": local(destination), "missed_bytes": 0,
        "history": flow.history or None, "orig_pkts": orig.packets, "orig_ip_bytes": orig.size,
        "resp_pkts": resp.packets, "resp_ip_bytes": resp.size,
    }  # fmt: skip
    return {name: value for name, value in fields.items() if value is not None}


def as_text(value: object) -> str:
    """A value as Zeek's TSV has it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "T" if value else "F"
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def write_logs(found: list[Flow], folder: Path) -> None:
    """conn.log and conn.json.log: the same records, in the order of `found`."""
    records = [record(flow) for flow in found]
    opened, closed = (
        datetime.fromtimestamp(moment / 1_000_000, UTC).strftime("%Y-%m-%d-%H-%M-%S")
        for moment in (min(one.first.time for one in found), max(one.last for one in found))
    )
    head = [
        "#separator \\x09", "#set_separator\t,", "#empty_field\t(empty)", "#unset_field\t-",
        "#path\tconn", f"#open\t{opened}", "\t".join(("#fields", *FIELDS)), "\t".join(("#types", *TYPES)),
    ]  # fmt: skip
    rows = ["\t".join(as_text(one.get(name)) for name in FIELDS) for one in records]
    (folder / "conn.log").write_text("\n".join([*head, *rows, f"#close\t{closed}"]) + "\n")
    lines = (json.dumps(one, separators=(",", ":")) + "\n" for one in records)
    (folder / "conn.json.log").write_text("".join(lines))


if __name__ == "__main__":
    write_logs(flows(packets(Path(sys.argv[1]))), Path(sys.argv[2]))
