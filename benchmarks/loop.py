"""The baseline that somebody would write by hand: a loop over the lines that does the same work.

Every line becomes a typed record with the addresses' direction, an id and a Community ID, and the
hundred rules are asked one after the other. It stores nothing.
"""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.rules import SETTINGS

Event = dict[str, Any]


def rule(
    ports: tuple[int, ...], states: tuple[str, ...], size: int, few: tuple[str, ...]
) -> Callable[[Event], bool]:
    """One of the hundred, with Sigma's meaning of case and of missing fields."""
    wanted, named = frozenset(ports), frozenset(state.lower() for state in states)
    hosts = frozenset(few)

    def matches(event: Event) -> bool:
        service = event["service"]
        return (
            event["destination.port"] in wanted
            and event["state"] is not None
            and event["state"].lower() in named
            and event["source.bytes"] is not None
            and event["source.bytes"] >= size
            and (
                event["source.ip"] in hosts if hosts else event["source.ip"].startswith("192.168.")
            )
        ) or (service is not None and "tls" in service.lower())

    return matches


def number(text: str) -> int | None:
    return None if text == "-" else int(text)


def event_of(line: str) -> Event:
    fields = line.split("\t")
    source, destination = fields[2], fields[4]
    p, q = int(fields[3]), int(fields[5])
    proto = {"tcp": 6, "udp": 17}.get(fields[6], 1)
    s, d = socket.inet_aton(source), socket.inet_aton(destination)
    if (s, p) > (d, q):
        s, p, d, q = d, q, s, p
    flow = struct.pack("!H4s4sBBHH", 0, s, d, proto, 0, p, q)
    community = base64.b64encode(hashlib.sha1(flow).digest()).decode()
    inside = (source.startswith("192.168."), destination.startswith("192.168."))
    return {
        "@timestamp": float(fields[0]),
        "event.id": hashlib.md5(line.encode()).hexdigest(),
        "source.ip": source,
        "source.port": int(fields[3]),
        "destination.ip": destination,
        "destination.port": int(fields[5]),
        "transport": fields[6],
        "service": None if fields[7] == "-" else fields[7],
        "duration": None if fields[8] == "-" else float(fields[8]),
        "orig_bytes": number(fields[9]),
        "resp_bytes": number(fields[10]),
        "state": None if fields[11] == "-" else fields[11],
        "history": fields[15],
        "source.packets": number(fields[16]),
        "source.bytes": number(fields[17]),
        "destination.packets": number(fields[18]),
        "destination.bytes": number(fields[19]),
        "direction": {(True, False): "outbound", (True, True): "internal"}.get(inside, "inbound"),
        "community_id": f"1:{community}",
    }


def loop(log: Path) -> int:
    """How many matches the hundred rules have."""
    rules = [rule(*settings) for settings in SETTINGS]
    found = 0
    with log.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith("#"):
                event = event_of(line.rstrip("\n"))
                found += sum(matches(event) for matches in rules)
    return found
