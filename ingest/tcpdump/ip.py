"""An IP packet as tcpdump prints it: header (with -v), both ends, what it carries.

(tos 0x0, ttl 60, id 31235, offset 0, flags [none], proto TCP (6), length 60)
    136.243.174.154.55680 > 10.10.10.10.9069: Flags [S], …
(hlim 255, next-header UDP (17) payload length: 159) fe80::1.5353 > ff02::fb.5353: …
10.0.0.1 > 10.0.0.2: ICMP echo request, id 1, seq 1, length 64
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final

from ..protocols import PROTOCOLS
from ..sockets.ends import PORT, SERVICES
from .bodies import UDP, Body, body_of
from .lead import inner

Row = dict[str, Any]
#: packets in packets that are told apart
_DEPTH: Final = 4
_HEAD4: Final = re.compile(
    r"\(tos 0x[0-9a-f]{1,2}(?:,[A-Z0-9]{1,8}(?:\([01]\))?)?(?:, ttl +[0-9]{1,3})?"
    r"(?:, id (?P<id>[0-9]{1,5}))?(?:, offset (?P<offset>[0-9]{1,6}))?"
    r"(?:, flags \[(?P<flags>[^\]\n]{0,20})\])?"
    r"(?:, proto:? (?P<name>[^()\n]{1,40}?) \((?P<number>[0-9]{1,3})\))?"
    r",? (?:length:?|len) (?P<length>[0-9]{1,7})"
    r"(?P<odd>(?: \[[^\]\n]{0,80}\])?)"
    r"(?P<options>,? options ?\([^()\n]{0,400}(?:\([^()\n]{0,80}\)[^()\n]{0,80}){0,20}\))?"
    r"(?P<bad>, bad cksum [0-9a-f]{1,4} \(->[0-9a-f]{1,4}\)!)? ?\)"
)
_HEAD6: Final = re.compile(
    r"\((?:class 0x[0-9a-f]{1,2}, )?(?:flowlabel 0x[0-9a-f]{1,5}, )?hlim [0-9]{1,3}, "
    r"next-header (?P<name>[^\n]{1,40}?) \((?P<number>[0-9]{1,3})\),? "
    r"(?:payload )?length:? (?P<length>[0-9]{1,7})\)"
    r"(?: \[real length (?P<real>[0-9]{1,9}), [^\]\n]{0,40}\])?"
)
_ENDS: Final = re.compile(r"\s*([^\s>]{1,260}) > ([^\s>]{1,260}?):(?=\s|$)[ \t]?")
_NOTE: Final = re.compile(
    r"(?:truncated-ip6? - (?P<missing>[0-9]{1,7}) bytes missing ?! ?|"
    r"\[(?:total length|header length|length|version)[^\]\n]{0,80}\](?: \(invalid\))? ?)"
)
#: an IP header that ends or is wrong before both ends were printed
_CUT: Final = re.compile(
    r"\s*(?:\[\|ip6?\]|bad-(?:hlen|len) [0-9]{1,7}|"
    r"\[(?:header|total|version)?[^\n]{0,60}\] ?\(invalid\)|"
    r"\[?[a-z ]{0,20}length [0-9]{1,7} [<>] [0-9]{1,7}|[0-9]{1,6}, wrong link-layer)"
)
_EXTENSION: Final = re.compile(
    r"(?:HBH|DSTOPT|RT6|srcrt)"
    r"(?: ?\([^()\n]{0,400}(?:\([^()\n]{0,80}\)[^()\n]{0,400}){0,40}\)){0,40},? *|"
    r"\[[^\]\n]{1,80}\] ?\(invalid\) ?|"
    r"AH\([^()\n]{0,200}\): |mobility: [^\n]{0,200}$"
)
#: behind a routing header tcpdump prints ports apart from the addresses
_PORTS: Final = re.compile(r"([0-9]{1,5}) > ([0-9]{1,5}): ?")
_FRAGMENT6: Final = re.compile(r"frag \((?:0x[0-9a-f]{1,8}:)?([0-9]{1,5})\|([0-9]{1,6})\) ?")
_OLD_FRAGMENT: Final = re.compile(r" ?\(frag ([0-9]{1,5}):([0-9]{1,5})@([0-9]{1,6})(\+?)\)")
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,255}\Z")
#: what encloses another IP packet, by protocol; of UDP by the decoder's word
_TUNNELS: Final = (4, 41, 47, 137)
_UDP_TUNNELS: Final = ("VXLAN", "Geneve", "GTP", "LISP", "OTV", "Teredo")


class UnreadableError(ValueError):
    """A packet that cannot be read: why."""


class CutError(ValueError):
    """A header that ends, or is wrong, before both ends: readable, and no packet of a flow."""


def packets(text: str, place: int, version: int) -> list[Row]:
    """The packet whose text begins there, and those within it: columns of `PACKET`.

    Raises UnreadableError, CutError.
    """
    row, body, behind = _packet(text, place, version)
    rows = [row]
    while len(rows) < _DEPTH:
        tunnel = row["number"] in _TUNNELS or (
            row["number"] == UDP and body.word.startswith(_UDP_TUNNELS)
        )
        found = inner(text, behind) if tunnel else None
        if found is None:
            break
        try:
            held, body, behind = _packet(text, found[1], found[0])
        except ValueError:
            break  # what the outer one holds was cut, and is no packet of its own
        if row.get("size") is None and row["number"] in (4, 41) and held.get("size") is not None:
            row["size"] = held["size"] + (20 if version == 4 else 40)
        row, version = held, found[0]
        rows.append(row)
    for depth, row in enumerate(rows):
        row["depth"] = depth
    return rows


def _packet(text: str, place: int, version: int) -> tuple[Row, Body, int]:
    """One packet: its columns, what it carries, and where that begins."""
    row: Row = {"notes": []}
    while note := _NOTE.match(text, place):
        row["notes"].append("truncated" if note["missing"] else "bad length")
        place = note.end()
    head = (_HEAD4 if version == 4 else _HEAD6).match(text, place)
    if head is not None:
        place = head.end()
    ends = _ENDS.match(text, place)
    if ends is None:
        ended = (head is not None or row["notes"]) and not text[place:].strip()
        if ended or _CUT.match(text, place):
            raise CutError("ip6" if version == 6 else "ip")
        raise UnreadableError("ends before both addresses are told")
    behind = _extensions(text, ends.end(), row) if version == 6 else ends.end()
    number = None
    if head is not None and (version == 4 or behind == ends.end()):
        number = int(head["number"]) if head["number"] else None
    if row.get("fragment"):
        body = Body(number=number)  # its ports are in the first one
    else:
        ports = "sport" in row or (_ported(ends[1]) and _ported(ends[2]))
        body = body_of(text, behind, number, ports)
    if body.fault:
        raise UnreadableError(body.fault)
    row |= body.columns
    row["notes"] += body.notes
    _take_header(row, head, version)
    _take_ends(row, ends, body, version)
    _take_size(row, head, body, version, extended=behind != ends.end())
    return row, body, behind


def _extensions(text: str, place: int, row: Row) -> int:
    """Where what IPv6's extension headers precede begins."""
    begin = place
    while True:
        if place > begin and (ports := _PORTS.match(text, place)):
            row["sport"], row["dport"], place = int(ports[1]), int(ports[2]), ports.end()
        elif found := _EXTENSION.match(text, place):
            place = found.end()
        elif part := _FRAGMENT6.match(text, place):
            row["fragment"], place = int(part[1]), part.end()
        else:
            return place


def _take_header(row: Row, head: re.Match[str] | None, version: int) -> None:
    if head is None or version == 6:
        return
    row["ip_id"] = int(head["id"]) if head["id"] else None
    flags, offset = head["flags"] or "", int(head["offset"] or 0)
    if "+" in flags or offset:
        row["fragment"], row["more"] = offset, "+" in flags
    if head["bad"]:
        row["bad"] = True


def _take_ends(row: Row, ends: re.Match[str], body: Body, version: int) -> None:
    number = body.number
    row["number"] = number
    row["transport"] = None if number is None else PROTOCOLS.get(number, str(number))
    later = bool(row.get("fragment"))
    ported = body.ported and not later
    for side, shown in (("src", ends[1]), ("dst", ends[2])):
        address, port = _split(shown, version) if ported else (shown, None)
        if port is None and ported:
            address = shown
        canonical = _canonical(address, version)
        if canonical is None and not _NAME.match(address):
            raise UnreadableError(f"'{address[:80]}' is no address and no name")
        row[side] = canonical
        row[f"{side}_name"] = address if canonical is None else None
        value = _port(port)
        if value is not None and value > PORT:
            raise UnreadableError(f"{value} is not a port (0 to 65535)")
        if value is not None or "sport" not in row:
            row["sport" if side == "src" else "dport"] = value


def _split(shown: str, version: int) -> tuple[str, str | None]:
    """Address and port of an end; port None: the end shows none."""
    address, dot, port = shown.rpartition(".")
    if not dot or not address:
        return shown, None
    if _canonical(shown, version) is not None and _canonical(address, version) is None:
        return shown, None
    return address, port


def _ported(shown: str) -> bool:
    """Whether an end, of which nothing else is known, looks like one with a port."""
    address, dot, port = shown.rpartition(".")
    if not dot:
        return False
    if _canonical(address, 4) or _canonical(address, 6):
        return True
    return _canonical(shown, 4) is None and (port.isdecimal() or port in SERVICES)


def _port(text: str | None) -> int | None:
    if text is None:
        return None
    if text.isascii() and text.isdecimal():
        return int(text[:9])
    return SERVICES.get(text)


@lru_cache(maxsize=65_536)
def _canonical(text: str, version: int) -> str | None:
    """The canonical text of an address; None: it is none."""
    try:
        if version == 4 or (":" not in text):
            return str(IPv4Address(text))
        address = IPv6Address(text.partition("%")[0])
    except ValueError:
        return None
    return str(address.ipv4_mapped or address)


def _take_size(
    row: Row, head: re.Match[str] | None, body: Body, version: int, *, extended: bool
) -> None:
    """IP bytes: as printed, else of all parts that the text tells; and the payload of UDP, where
    IP's length alone tells it."""
    if head is not None:
        length = int(head["length"])
        if version == 6:
            row["size"] = int(head["real"]) if head["real"] else length + 40
        elif length:
            row["size"] = length
        header = 40 if version == 6 else 20
        whole = (
            not extended and row.get("fragment") is None and (version == 6 or not head["options"])
        )
        if body.number == UDP and row.get("payload") is None and whole and row.get("size"):
            row["payload"] = max(row["size"] - header - 8, 0)
    elif body.behind_ip is not None and not extended:
        row["size"] = body.behind_ip + (40 if version == 6 else 20)
