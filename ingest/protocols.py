"""Names and numbers of IP protocols, as the schema has them."""

from __future__ import annotations

from typing import Final

#: network.transport by IANA's number
PROTOCOLS: Final[dict[int, str]] = {
    1: "icmp", 2: "igmp", 4: "ipv4", 6: "tcp", 17: "udp", 33: "dccp", 41: "ipv6", 46: "rsvp",
    47: "gre", 50: "esp", 51: "ah", 58: "ipv6-icmp", 88: "eigrp", 89: "ospf", 103: "pim",
    108: "ipcomp", 112: "vrrp", 115: "l2tp", 132: "sctp", 136: "udplite",
}  # fmt: skip
#: the same the other way round: network.iana_number by network.transport
NUMBERS: Final = {name: str(number) for number, name in PROTOCOLS.items()}
