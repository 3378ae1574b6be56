"""Records read one by one: the meaning of `quick` for any text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from .ip import CutError, UnreadableError, packets
from .lead import Lead, lead
from .packet import FRAME, PACKET

_ARP: Final = re.compile(
    r"(?:ARP, |RARP, )?(?:Ethernet \(len 6\), IPv4 \(len 4\), )?"
    r"(?P<op>Request who-has|Reply|arp who-has|arp reply|Announcement|Probe) "
    r"(?P<a>[0-9.]{7,15})(?: \([^()]{1,40}\))?(?: (?:tell|is-at) (?P<b>\S{1,40}?))?(?=,|\s|$)"
)
#: what the link says of a frame, or its printer's first word, by the word for it here
_WORD: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9.+/-]{0,23})")
_PRINTERS: Final = frozenset({
    "802.1d", "802.1s", "802.1w", "802.3", "aarp", "acknowledgment", "af", "ahcp",
    "aoe", "appletalk", "arp", "assoc", "atalk", "atm", "ax25", "bacp",
    "beacon", "bpdu", "brcm", "carp", "ccp", "cdpv1", "cdpv2", "cfmv0", "chap", "chdlc",
    "clear-to-send", "clnp", "deauthentication", "decnet", "disassociation", "dsa",
    "dtpv1", "eap", "eapol", "endnode-hello", "erf", "es-is", "esis", "ethertype", "evb",
    "fddi", "frf.16", "geneve", "geonet", "hdlc", "homeplug", "ieee",
    "ip", "ip6", "ipcp", "ipv6cp", "ipx", "is-is", "isis", "juniper", "l2-hello", "lacpv1",
    "lane", "lcp", "ldp", "llc", "lldp", "loopback", "macsec", "medsa", "mikrotik",
    "mlppp", "mpls", "netbeui", "nflog", "nsh", "oam", "osi", "ospf", "oui", "pap",
    "pim", "ppp", "pppoe", "probe", "ptp", "ptpv1", "ptpv2", "q.922", "q.933", "qos", "rarp",
    "realtek", "reassoc", "request-to-send", "rrcp", "rstp", "slarp", "sll", "snap",
    "stp", "tipc", "trill", "trunc", "udldv1", "ui", "unknown", "unsupported", "vlan",
    "vtpv1", "vtpv2", "vtpv3", "wccp", "xid", "zigbee",
})  # fmt: skip
#: what is printed where there is no such word: parts cut off, radio, DECnet's addresses, …
_TAGS: Final = re.compile(
    r"\s*(?:\[|[0-9]{1,20}us tsft|\(invalid|Invalid|fhset |version [0-9]{1,3}, resource |et1 |"
    r": [A-Z]|[0-9]{1,2}\.[0-9]{1,4} > [0-9]{1,2}\.[0-9]{1,4} )"
)


@dataclass(frozen=True, slots=True)
class Exact:
    """packets: `PACKET` but the columns of its place and time, and row: which record it is of.
    frames: `FRAME`, likewise. faults: row, fault."""

    packets: pl.DataFrame
    frames: pl.DataFrame
    faults: pl.DataFrame


_PLACE: Final = ("line", "offset", "lines", "raw", "time")
_PACKET: Final = {
    "row": pl.UInt32(), **{name: kind for name, kind in PACKET.items() if name not in _PLACE}
}  # fmt: skip
_FRAME: Final = {
    "row": pl.UInt32(), **{name: kind for name, kind in FRAME.items() if name not in _PLACE}
}  # fmt: skip
_FAULT: Final = {"row": pl.UInt32(), "fault": pl.String()}


def exact(records: pl.DataFrame) -> Exact:
    """Of records: columns rest (the first line behind the time), more, dump."""
    found: list[dict[str, Any]] = []
    frames: list[dict[str, Any]] = []
    faults: list[tuple[int, str]] = []
    columns = (records[name].to_list() for name in ("rest", "more", "dump"))
    # One record after the other: they have come here because no column can tell them apart.
    for row, (rest, more, dump) in enumerate(zip(*columns, strict=True)):
        read = one(rest, more, dump)
        if isinstance(read, str):
            faults.append((row, read))
            continue
        for values in read:
            values["row"] = row
            (frames if "protocol" in values else found).append(values)
    return Exact(
        pl.DataFrame(found, schema=_PACKET),
        pl.DataFrame(frames, schema=_FRAME),
        pl.DataFrame(faults, schema=_FAULT, orient="row"),
    )


def one(rest: str, more: str | None, dump: str | None) -> list[dict[str, Any]] | str:
    """The packets of a record, or the frame, or why it cannot be read."""
    text = rest if more is None else f"{rest}\n{more}"
    start = lead(rest)
    if start.version:
        try:
            made = packets(text, start.place, start.version)
        except CutError as error:
            return [_frame(start, str(error))]
        except UnreadableError as error:
            return str(error)
        for values in made:
            values |= start.columns()
            values["notes"] = values["notes"] or None
        return made
    return _other(rest, start, dump)


def _other(rest: str, start: Lead, dump: str | None) -> list[dict[str, Any]] | str:
    told = _ARP.match(rest, start.place)
    if told is not None:
        values = _frame(start, "rarp" if rest.startswith("RARP", start.place) else "arp")
        request = "who-has" in told["op"] or told["op"] in ("Announcement", "Probe")
        values["operation"] = "request" if request else "reply"
        if request:
            values["dst"] = told["a"]
            values["src"] = told["b"] if told["b"] and "." in told["b"] else None
        else:
            values["src"] = told["a"]
        return [values]
    word = _WORD.match(rest, start.place)
    first = word[1].lower().rstrip(".,") if word else ""
    if first in _PRINTERS or (first and first.startswith(("802.", "unknown"))):
        return [_frame(start, first)]
    if start.name:
        return [_frame(start, start.name.lower())]
    if start.src_mac or dump is not None or _TAGS.match(rest, start.place):
        return [_frame(start, first or "unknown")]
    if not rest.strip():
        return "tells nothing of a packet"
    return f"no packet that is known here: '{rest[start.place : start.place + 40]}'"


def _frame(start: Lead, protocol: str) -> dict[str, Any]:
    return {**start.columns(), "protocol": protocol.replace(" ", "-")}
