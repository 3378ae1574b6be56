"""What an IP packet carries, as tcpdump prints it behind both ends.

Flags [P.], cksum 0x4d53 (correct), seq 1:351, ack 463, win 16, length 350: HTTP: …
S, cksum 0x0dcf (correct), 28443:28443(0) win 5840 <mss 1460,sackOK>     (before 4.0)
tcp 350                                                                  (-q)
[udp sum ok] UDP, length 33
1234+ A? www.example.com. (33)
NTPv4, Client, length 48
ICMP echo request, id 22737, seq 1, length 64
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from .icmp import icmp, icmp6
from .options import options_length

TCP: Final = 6
UDP: Final = 17
GRE: Final = 47
#: protocol by the first word of what a packet without ports carries
_WORDS: Final = {
    "ICMP6": 58, "ICMP": 1, "icmp": 1, "icmp6": 58, "ipv6-icmp": 58, "igmp": 2, "ESP": 50, "AH": 51,
    "PIMv1": 103, "PIMv2": 103, "PIM": 103, "pim": 103, "VRRPv2": 112, "VRRPv3": 112, "CARPv2": 112,
    "vrrp": 112, "RSVPv1": 46, "IPComp": 108, "PGM": 113, "EIGRP": 88, "IP": 4, "IP6": 41,
    "tcp": TCP, "udp": UDP, "sctp": 132, "gre": 47, "esp": 50, "ah": 51, "ospf": 89, "eigrp": 88,
    "l2tp": 115, "ipv6": 41, "ipip": 4, "ipencap": 4, "udplite": 136, "dccp": 33, "rsvp": 46,
    "mtrace": 2, "mrinfo": 2, "no": 59, "GREv0": 47, "GREv1": 47, "OSPFv2": 89, "OSPFv3": 89,
    "L2TPv3": 115,
}  # fmt: skip
_WORD: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9]*(?:-[a-z]+)?)")
_IP_PROTO: Final = re.compile(r"ip-proto-([0-9]{1,3})(?: ([0-9]{1,7}))?")
_CHECKSUM: Final = (
    r"0x[0-9a-f]{1,4} \((?P<sum>correct|incorrect[^()\n]{0,60}|unverified[^()\n]{0,60})\)"
)
_TCP: Final = re.compile(
    rf"Flags \[(?P<flags>[^\]\n]{{0,16}})\](?:, cksum {_CHECKSUM})?"
    r"(?:, seq (?P<seq>[0-9]{1,10})(?::(?P<end>[0-9]{1,10}))?)?"
    r"(?:, (?:ack (?P<ack>[0-9]{1,10})|\[ack [^\]\n]{1,60}\]))?"
    r"(?:, win (?P<win>[0-9]{1,10}))?(?:, (?:urg [0-9]{1,5}|\[urg [^\]\n]{1,60}\]))?"
    r"(?:, options (?P<options>\[[^\n]*?\])(?=, length|\n|$))?(?:, length (?P<length>[0-9]{1,7}))?"
)
_OLD_TCP: Final = re.compile(
    rf"(?P<flags>[SFPRWEU.]{{1,8}}|none)(?:, cksum {_CHECKSUM})?,? ?"
    r"(?:\[(?P<sum2>tcp sum ok|bad tcp cksum [^\]\n]{0,40})\] ?)?"
    r"(?:(?P<seq>[0-9]{1,10}):(?P<end>[0-9]{1,10})\((?P<length>[0-9]{1,7})\))?"
    r"(?: ?ack (?P<ack>[0-9]{1,10}))?(?: ?win (?P<win>[0-9]{1,10}))(?: urg [0-9]{1,5})?"
    r"(?: <(?P<options>[^>\n]{0,400})>)?"
)
_QUIET: Final = re.compile(r"tcp ([0-9]{1,7})(?=\s|$)")
_CUT: Final = re.compile(
    r"\s*\[(?:\||bad hdr)|\s*$|,? \[\|tcp\]|[ ,]*\[(?:tcp )?(?:hdr|header)? ?len"
)
_UDP_SUM: Final = re.compile(
    r"\[(?P<ok>udp sum ok|bad udp cksum [^\]\n]{0,60}|(?:no|unverified) (?:udp )?cksum)\] "
)
_ICMP6_SUM: Final = re.compile(
    r"\[(?:icmp6 sum ok|(?P<bad>bad icmp6 cksum) [^\]\n]{0,60})\] (?=ICMP6)"
)
_BARE: Final = re.compile(
    r"(?:(\(class|\(flowlabel|\(hlim|[0-9a-f]{0,4}:[0-9a-f:.]{1,45} > )|"
    r"\(tos |[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9.]{1,9} > )"
)
#: decoders that print the whole UDP payload's length
_LENGTHS: Final = (
    re.compile(r"UDP, length ([0-9]{1,7})"),
    re.compile(r"udp ([0-9]{1,7})(?=\s|$)"),
    re.compile(r"NTPv[0-9][^\n]{0,80}?, length ([0-9]{1,7})"),
    re.compile(r"BOOTP/DHCP, [^\n]{0,120}?, length ([0-9]{1,7})"),
    re.compile(r"(?:TFTP|SIP), length:? ([0-9]{1,7})"),
    re.compile(r"RIPv[12], [A-Za-z-]{1,20}, length: ([0-9]{1,7})"),
    re.compile(r"SYSLOG [a-z0-9.]{1,40}, length: ([0-9]{1,7})"),
    re.compile(r"QUIC, [^\n]{0,200}?length ([0-9]{1,7})$(?!\n)"),
)
_DNS: Final = re.compile(r"[0-9]{1,5}(?:[+*|$%-]| [A-Za-z0-9\[(*+-]|-? )")
_DNS_LENGTH: Final = re.compile(r"\(([0-9]{1,5})\)$", re.MULTILINE)
_SERVICES: Final = (
    ("NTPv", "ntp"), ("BOOTP/DHCP", "dhcp"), ("dhcp6", "dhcp"), ("TFTP", "tftp"), ("SIP", "sip"),
    ("RADIUS", "radius"), ("isakmp", "ike"), ("SYSLOG", "syslog"), ("RIPv", "rip"),
    ("NBT", "netbios"), ("SNMP", "snmp"), ("{ SNMP", "snmp"), ("VXLAN", "vxlan"),
    ("Geneve", "geneve"), ("domain", "dns"),
    ("quic", "quic"), ("QUIC", "quic"),
)  # fmt: skip
_GRE: Final = re.compile(r"GREv[01],[^\n:]{0,200}? length ([0-9]{1,7})")
_STREAM: Final = re.compile(r": ([A-Z][A-Za-z0-9]{1,11})(?=[:, ]|\n|$)")
STREAMS: Final = {
    "HTTP": "http", "FTP": "ftp", "SMTP": "smtp", "BGP": "bgp", "SSH": "ssh", "RTSP": "rtsp",
    "LDP": "ldp", "RESP": "redis", "IMAP": "imap", "POP3": "pop3",
}  # fmt: skip


@dataclass(slots=True)
class Body:
    """number: the protocol; None: not told. ported: whether its ends have ports. columns: of
    `PACKET`. behind_ip: bytes behind the IP header; None: not told. word: first word. fault: why it
    cannot be read."""

    number: int | None = None
    ported: bool = False
    columns: dict[str, Any] = field(default_factory=dict)
    behind_ip: int | None = None
    word: str = ""
    notes: list[str] = field(default_factory=list)
    fault: str = ""


def body_of(text: str, place: int, number: int | None, ports: bool) -> Body:
    """What stands at that place. number: protocol by the IP header; None: not told there. ports:
    whether both ends look as if they had ports."""
    while text.startswith((" ", "\n", "\t"), place):
        place += 1
    if told := _ICMP6_SUM.match(text, place):
        return _control(text, told.end(), "ICMP6", told["bad"] is not None)
    if number in (TCP, None) and (found := _tcp(text, place)):
        return found
    word = _WORD.match(text, place)
    first = word[1] if word else ""
    if number is None and (exact := _IP_PROTO.match(text, place)):
        return Body(int(exact[1]), word=first)
    known = _WORDS.get(first)
    if number is None and (bare := _BARE.match(text, place)):
        return Body(41 if bare[1] else 4)
    if first.startswith(("ICMP", "icmp")) and number in (None, 1, 58):
        return _control(text, place, first)
    if number is None and known is not None and not (ports and known in (4, 41)):
        made = Body(known, ported=known in (33, 132) and ports, word=first)
        if known == GRE and (length := _GRE.match(text, place)):
            made.behind_ip = int(length[1])
        return made
    if number == UDP or (number is None and ports):
        return _udp(text, place, first, ports)
    if number is None:
        if not text[place:].strip() or text.startswith("[|", place):
            return Body(word=first)
        return Body(fault=f"what it carries is not known: '{text[place : place + 40]}'")
    return Body(number, ported=ports and number in (TCP, 33, 132, 136), word=first)


def _tcp(text: str, place: int) -> Body | None:
    if text.startswith("Flags [", place):
        found = _TCP.match(text, place)
        if found is None:
            return Body(TCP, fault="ends within TCP's flags")
        if found["length"] is None:
            if not _CUT.match(text, found.end()):
                return Body(TCP, fault="ends within TCP's header")
            if found.end() == len(text.rstrip()) and "bad opt" not in (found["options"] or ""):
                return Body(TCP, fault="ends before TCP's length")
        return _segment(found, text, found["options"] and found["options"][1:-1])
    if quiet := _QUIET.match(text, place):
        return Body(TCP, True, {"payload": int(quiet[1])})
    if text[place : place + 1] in "SFPRWEU.n" and (found := _OLD_TCP.match(text, place)):
        made = _segment(found, text, found["options"])
        if found["seq"] is None:
            made.columns["payload"] = 0
            made.behind_ip = _behind(found["options"], 0)
        if found["sum2"]:
            made.columns["bad"] = found["sum2"].startswith("bad")
        return made
    if text.startswith("[|tcp]", place):
        return Body(TCP, True, notes=["truncated"])
    return None


def _segment(found: re.Match[str], text: str, options: str | None) -> Body:
    length = None if found["length"] is None else int(found["length"])
    columns: dict[str, Any] = {"flags": found["flags"], "payload": length}
    for name, group in (("seq", "seq"), ("end", "end"), ("ack", "ack"), ("window", "win")):
        columns[name] = int(found[group]) if found[group] else None
    if found["sum"] and not found["sum"].startswith("unverified"):
        columns["bad"] = found["sum"].startswith("incorrect")
    made = Body(TCP, True, columns)
    if length is None:
        made.notes.append("truncated")
    else:
        made.behind_ip = _behind(options, length)
    rest = _STREAM.match(text, found.end())
    if rest is not None and length:
        columns["application"] = STREAMS.get(rest[1])
    return made


def _behind(options: str | None, length: int) -> int | None:
    header = options_length(options) if options else 0
    return None if header is None else 20 + header + length


def _udp(text: str, place: int, word: str, ports: bool) -> Body:
    columns: dict[str, Any] = {}
    if told := _UDP_SUM.match(text, place):
        if "no " not in told["ok"] and "unverified" not in told["ok"]:
            columns["bad"] = told["ok"].startswith("bad")
        place = told.end()
        found = _WORD.match(text, place)
        word = found[1] if found else ""
    made = Body(UDP, ports, columns, word=word)
    for pattern in _LENGTHS:
        if length := pattern.match(text, place):
            columns["payload"] = int(length[1])
            break
    else:
        if _DNS.match(text, place):
            columns["application"] = "dns"
            line = text[place:].split("\n", 1)[0]
            if length := _DNS_LENGTH.search(line):
                columns["payload"] = int(length[1])
    for begin, service in _SERVICES:
        if text.startswith(begin, place):
            columns["application"] = service
    if text.startswith(("[|", " [|"), place):
        made.notes.append("truncated")
    if columns.get("payload") is not None:
        made.behind_ip = 8 + columns["payload"]
    return made


def _control(text: str, place: int, word: str, wrong: bool | None = None) -> Body:
    six = word.lower() == "icmp6"
    made = Body(58 if six else 1, word=word)
    line = text[place:].split("\n", 1)[0]
    made.columns, length = icmp6(line) if six else icmp(line)
    if length is not None:
        made.behind_ip = length
        made.columns["payload"] = max(length - 8, 0)
    if wrong is not None:
        made.columns["bad"] = wrong
    elif "cksum" in line:
        made.columns["bad"] = "bad icmp6 cksum" in line or "wrong icmp cksum" in line
    return made
