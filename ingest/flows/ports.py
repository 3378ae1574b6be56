"""Ports that services listen on, and ICMP types that ask and answer.

Where the first packet seen is an answer, the port says who was asked. The ports are those of which
Zeek's default scripts say so (`likely_server_ports`, Zeek 7 and 8).
"""

from __future__ import annotations

from typing import Final

TCP_SERVICES: Final = frozenset(
    [
        21, 22, 25, 53, 80, 81, 88, 102, 110, 135, 139, 143, 389, 443, 445, 502, 563, 585, 587, 614,
        631, 636, 989, 990, 992, 993, 995, 1080, 1434, 1883, 2811, 3128, 3268, 3306, 3389, 5222,
        5223, 5269, 5432, 6379, 6666, 6667, 6668, 6669, 8000, 8080, 8888, 20000,
    ]
)  # fmt: skip
UDP_SERVICES: Final = frozenset(
    [
        53, 67, 88, 123, 137, 161, 162, 389, 443, 514, 1812, 2123, 2152, 3389, 3544, 4789, 5060,
        5072, 5353, 5355, 6081, 20000,
    ]
)  # fmt: skip
#: ICMP type -> the type that answers it, or that it answers
ICMP_ANSWERS: Final = {0: 8, 8: 0, 9: 10, 10: 9, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17}
ICMP6_ANSWERS: Final = {
    128: 129, 129: 128, 130: 131, 131: 130, 133: 134, 134: 133, 135: 136, 136: 135,
    139: 140, 140: 139, 144: 145, 145: 144,
}  # fmt: skip
