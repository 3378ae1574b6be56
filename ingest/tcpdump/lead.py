"""What stands between the time and the packet: interface, direction, link addresses, VLANs.

IP 10.0.0.1.22 > …
ifb0  In  IP 10.0.0.1.22 > …                                              (-i any)
ifb0  In  ifindex 2 00:13:7f:be:8c:ff ethertype IPv4 (0x0800), length 76: 10.0.0.1.22 > …
  M 00:17:f2:d7:cf:65 ethertype IPv6 (0x86dd), length 215: fe80::1.5353 > …
44:f4:77:0f:ea:49 > 4c:72:b9:7c:b5:b7, ethertype 802.1Q (0x8100), length 64: vlan 7, p 0, …
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

_MAC: Final = r"[0-9A-Fa-f]{1,2}(?::[0-9A-Fa-f]{1,2}){5}"
_WAY: Final = re.compile(
    r" *(?:(?P<name>[^\s:>,(]{1,64}) +)?(?P<way>In|Out|B|M|P)(?: +|$)(?=IP|ARP|ifindex |ethertype |"
    rf"{_MAC}|\S|$)"
)
_INDEX: Final = re.compile(r"ifindex [0-9]{1,10} ")
_ONE_MAC: Final = re.compile(rf"({_MAC}) (?:\(oui [^()]{{0,64}}\) )?(?=ethertype )")
_MACS: Final = re.compile(
    rf"({_MAC})(?: \(oui [^()]{{0,64}}\))? > ({_MAC}|Broadcast)(?: \(oui [^()]{{0,64}}\))?, "
)
_OLD_MACS: Final = re.compile(rf"({_MAC}) ({_MAC}|Broadcast) ([0-9a-z.]{{2,8}}) ([0-9]{{1,6}}): ")
_LENGTH: Final = re.compile(r"length ([0-9]{1,7})(?:: ?|, |$)")
_ETHERTYPE: Final = re.compile(r"ethertype ([^()]{1,40}?) ?\((0x[0-9a-f]{1,4})\)(?:, |: ?|$)")
_VLAN: Final = re.compile(r"vlan ([0-9]{1,4}), p [0-7](?:, DEI)?(?:, |$)")
_FAMILY: Final = re.compile(r"(?:AF|family) (\S{1,20}) \([0-9]{1,10}\), length ([0-9]{1,7}): ")
_PPP: Final = re.compile(r"(IP6?) \(0x[0-9a-f]{1,4}\), length ([0-9]{1,7}): ")
_IP: Final = re.compile(r"(?:^|[ ,:\t\n])(IP6?) +(?=\(|\[|truncated|[^\s>]{1,200} > )")
_TYPED: Final = re.compile(
    r"(?:ethertype |proto |PPP-|family |AF |^|[ ,:])(IPv[46]|IP6?) "
    r"\((?:0x[0-9a-f]{1,4}|[0-9]{1,2})\), "
    r"(?:length [0-9]{1,7}[: ] ?)?(?=\S{1,200} > |\(|\[)"
)
#: with -e an inner packet has no word before it
_BARE: Final = re.compile(
    r"(?:^|[ \t\n:])(?:(\(class|\(flowlabel|\(hlim|[0-9a-f]{0,4}:[0-9a-f:.]{1,45} > )|"
    r"\(tos |[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9.]{1,9} > )"
)
_BY_TYPE: Final = {"0x0800": 4, "0x86dd": 6}
#: characters in which an IP packet is looked for behind what encloses it
_LOOK: Final = 1_000


@dataclass(slots=True)
class Lead:
    """place: where the packet begins in the text. version: 4 or 6 of an IP packet; 0: something
    else. name: of what it is, where the link says it. frame: bytes on the link, as printed."""

    place: int = 0
    version: int = 0
    name: str = ""
    frame: int | None = None
    interface: str | None = None
    way: str | None = None
    src_mac: str | None = None
    dst_mac: str | None = None
    vlans: list[int] = field(default_factory=list)

    def columns(self) -> dict[str, object]:
        return {
            "interface": self.interface,
            "way": self.way,
            "src_mac": self.src_mac,
            "dst_mac": self.dst_mac,
            "vlans": self.vlans or None,
        }


def lead(text: str) -> Lead:
    """What precedes the packet in the text behind the time."""
    found = Lead()
    way = _WAY.match(text)
    if way is not None:
        found.interface, found.way, found.place = way["name"], way["way"], way.end()
    if index := _INDEX.match(text, found.place):
        found.place = index.end()
    linked = _link(text, found)
    if ppp := _PPP.match(text, found.place):
        found.version, found.place = 6 if ppp[1] == "IP6" else 4, ppp.end()
        found.frame = int(ppp[2])
        return found
    if text.startswith(("IP ", "IP6 "), found.place):
        found.version = 6 if text.startswith("IP6", found.place) else 4
        found.place += 4 if found.version == 6 else 3
    elif not found.version and not (linked and found.name):
        _behind(text, found)
    return found


def _link(text: str, found: Lead) -> bool:
    """Link addresses and types; whether there are any."""
    linked = True
    if one := _ONE_MAC.match(text, found.place):
        found.src_mac, found.place = mac(one[1]), one.end()
    elif both := _MACS.match(text, found.place):
        found.src_mac, found.dst_mac, found.place = mac(both[1]), mac(both[2]), both.end()
    elif old := _OLD_MACS.match(text, found.place):
        found.src_mac, found.dst_mac, found.place = mac(old[1]), mac(old[2]), old.end()
        found.name, found.frame = old[3], int(old[4])
        found.version = {"ip": 4, "0800": 4, "ip6": 6, "86dd": 6}.get(old[3], 0)
        return True
    else:
        linked = False
    if family := _FAMILY.match(text, found.place):
        found.place, found.frame = family.end(), int(family[2])
        found.name, found.version = family[1], {"IPv4": 4, "IPv6": 6}.get(family[1], 0)
        return True
    while True:
        if length := _LENGTH.match(text, found.place):
            found.frame = int(length[1]) if found.frame is None else found.frame
            found.place = length.end()
        elif kind := _ETHERTYPE.match(text, found.place):
            linked = True
            found.name, found.version = kind[1], _BY_TYPE.get(kind[2], 0)
            found.place = kind.end()
        elif linked and (vlan := _VLAN.match(text, found.place)):
            found.vlans.append(int(vlan[1]))
            found.place = vlan.end()
        else:
            break
    if found.name.startswith(("802.1Q", "Unknown")) and not found.version:
        found.name = ""
    return linked


def _behind(text: str, found: Lead) -> None:
    """An IP packet behind labels of another kind (MPLS, PPPoE, tags of switches, radio)."""
    if text.startswith(("ARP", "arp ", "STP ", "LLDP", "CDP", "RARP"), found.place):
        return
    end = found.place + _LOOK
    typed = _TYPED.search(text, found.place, end)
    plain = _IP.search(text, found.place, end)
    first = min((one for one in (typed, plain) if one), key=_begin, default=None)
    if first is not None:
        found.version, found.place = 6 if "6" in first[1] else 4, first.end()


def inner(text: str, place: int) -> tuple[int, int] | None:
    """Version and place of the IP packet that another one holds."""
    place = max(place - 1, 0)
    found = _IP.search(text, place, place + _LOOK)
    typed = _TYPED.search(text, place, place + _LOOK)
    bare = _BARE.search(text, place, place + _LOOK)
    first = min((one for one in (typed, found, bare) if one), key=_begin, default=None)
    if first is None:
        return None
    if first is bare:
        return 6 if bare[1] else 4, bare.start() + (bare[0][0] in " \t\n:")
    return 6 if "6" in first[1] else 4, first.end()


def _begin(found: re.Match[str]) -> int:
    return found.start()


def mac(text: str) -> str:
    """AA-BB-CC-DD-EE-FF."""
    if text == "Broadcast":
        return "FF-FF-FF-FF-FF-FF"
    return "-".join(part.zfill(2) for part in text.split(":")).upper()
