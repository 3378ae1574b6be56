"""ICMP's types and codes by the words that tcpdump prints for them."""

from __future__ import annotations

import re
from typing import Any, Final

_LENGTH: Final = re.compile(r", length ([0-9]{1,7})(?=[:,]?\s|:?$)")
_ID: Final = re.compile(r"(?:query |reply )?id ([0-9]{1,5}), seq ([0-9]{1,5})")
_TYPED: Final = re.compile(r"ICMP type-#?([0-9]{1,3})")

#: (words behind "ICMP ", type, code), the first that is found in the line counts
_FOUR: Final[tuple[tuple[str, int, int | None], ...]] = (
    (r"ICMP echo request", 8, 0),
    (r"ICMP echo reply", 0, 0),
    (r"ICMP net \S+ unreachable - tos", 3, 11),
    (r"ICMP host \S+ unreachable - tos", 3, 12),
    (r"ICMP host \S+ unreachable - admin prohibited filter", 3, 13),
    (r"ICMP host \S+ unreachable - admin prohibited", 3, 10),
    (r"ICMP net \S+ unreachable - admin prohibited", 3, 9),
    (r"ICMP host \S+ unreachable - host precedence violation", 3, 14),
    (r"ICMP host \S+ unreachable - precedence cutoff", 3, 15),
    (r"ICMP host \S+ unreachable - unknown|ICMP host \S+ unreachable - host unknown", 3, 7),
    (r"ICMP net \S+ unreachable - unknown", 3, 6),
    (r"ICMP host \S+ unreachable - source host isolated", 3, 8),
    (r"ICMP \S+ unreachable - need to frag", 3, 4),
    (r"ICMP \S+ unreachable - source route failed", 3, 5),
    (r"ICMP net \S+ unreachable - isolated|ICMP source host isolated", 3, 8),
    (r"ICMP net \S+ unreachable", 3, 0),
    (r"ICMP host \S+ unreachable", 3, 1),
    (r"ICMP \S+ protocol \S+ unreachable", 3, 2),
    (r"ICMP \S+ (?:udp|tcp) port \S+ unreachable", 3, 3),
    (r"ICMP \S+ protocol [0-9]+ port [0-9]+ unreachable", 3, 3),
    (r"ICMP unreachable-#([0-9]{1,3})", 3, None),
    (r"ICMP source quench", 4, 0),
    (r"ICMP redirect-tos \S+ to net", 5, 2),
    (r"ICMP redirect-tos \S+ to host", 5, 3),
    (r"ICMP redirect \S+ to net", 5, 0),
    (r"ICMP redirect \S+ to host", 5, 1),
    (r"ICMP router advertisement", 9, None),
    (r"ICMP router solicitation", 10, 0),
    (r"ICMP time exceeded in-transit", 11, 0),
    (r"ICMP ip reassembly time exceeded", 11, 1),
    (r"ICMP parameter problem - code ([0-9]{1,3})", 12, None),
    (r"ICMP parameter problem - octet", 12, 0),
    (r"ICMP time stamp query", 13, 0),
    (r"ICMP time stamp reply", 14, 0),
    (r"ICMP information request", 15, 0),
    (r"ICMP information reply", 16, 0),
    (r"ICMP address mask request", 17, 0),
    (r"ICMP address mask is", 18, 0),
)
_SIX: Final[tuple[tuple[str, int, int | None], ...]] = (
    (r"echo request", 128, 0),
    (r"echo reply", 129, 0),
    (r"destination unreachable, unreachable route", 1, 0),
    (r"destination unreachable, unreachable prohibited", 1, 1),
    (r"destination unreachable, beyond scope", 1, 2),
    (r"destination unreachable, unreachable address", 1, 3),
    (r"destination unreachable, unreachable port", 1, 4),
    (r"packet too big", 2, 0),
    (r"time exceeded in-transit", 3, 0),
    (r"ip reassembly time exceeded", 3, 1),
    (r"parameter problem, errorneous|parameter problem, erroneous", 4, 0),
    (r"parameter problem, next header", 4, 1),
    (r"parameter problem, option", 4, 2),
    (r"parameter problem, incomplete header chain", 4, 3),
    (r"multicast listener query", 130, 0),
    (r"multicast listener report(?! v2)", 131, 0),
    (r"multicast listener done", 132, 0),
    (r"router solicitation", 133, 0),
    (r"router advertisement", 134, 0),
    (r"neighbor solicitation", 135, 0),
    (r"neighbor advertisement", 136, 0),
    (r"redirect,", 137, 0),
    (r"router renumbering", 138, None),
    (r"multicast listener report v2", 143, 0),
    (r"unknown icmp6 type \(([0-9]{1,3})\)|type-#([0-9]{1,3})", -1, None),
)
_Words = tuple[tuple[re.Pattern[str], int, int | None], ...]
_FOUR_WORDS: Final[_Words] = tuple((re.compile(words), kind, code) for words, kind, code in _FOUR)
_CHECKED: Final = r"ICMP6, (?:\[[^\]]{0,60}\] ?)?(?:wrong icmp6 cksum [^,]{0,60}, )?"
_SIX_WORDS: Final[_Words] = tuple(
    (re.compile(f"{_CHECKED}(?:{words})"), kind, code) for words, kind, code in _SIX
)
Told = tuple[dict[str, Any], int | None]


def icmp(line: str) -> Told:
    """Columns of `PACKET`, and bytes behind the IP header; None: not told."""
    columns: dict[str, Any] = {}
    if typed := _TYPED.match(line):
        columns["icmp_type"] = int(typed[1])
    for words, kind, code in _FOUR_WORDS:
        if found := words.match(line):
            columns["icmp_type"], columns["icmp_code"] = kind, code
            if code is None and found.groups():
                columns["icmp_code"] = int(found[1])
            break
    return _common(line, columns)


def icmp6(line: str) -> Told:
    """The same of ICMPv6."""
    columns: dict[str, Any] = {}
    for words, kind, code in _SIX_WORDS:
        if found := words.match(line):
            columns["icmp_type"], columns["icmp_code"] = kind, code
            if kind < 0:
                columns["icmp_type"] = int(found[1] or found[2])
            break
    return _common(line, columns)


def _common(line: str, columns: dict[str, Any]) -> Told:
    if seen := _ID.search(line, 0, 200):
        columns["icmp_id"], columns["icmp_seq"] = int(seen[1]), int(seen[2])
    lengths = _LENGTH.findall(line)
    return columns, int(lengths[-1]) if lengths else None
