"""How long TCP's options are, from what tcpdump prints of them.

mss 1460,sackOK,TS val 3391021975 ecr 0,nop,wscale 11
nop,nop,sack 2 {1:5}{9:12}          tfo  cookie 0123456789abcdef          unknown-69 0x1234
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

#: bytes by the first word; "timestamp" is what versions before 4.0 print for TS
SIZES: Final = {
    "mss": 4, "nop": 1, "eol": 1, "wscale": 3, "sackOK": 2, "TS": 10, "timestamp": 10, "echo": 6,
    "echoreply": 6, "cc": 6, "ccnew": 6, "ccecho": 6, "md5": 18, "md5:": 18, "uto": 4,
}  # fmt: skip
_SACK: Final = re.compile(r"sack ?([1-4]) ?\{")
_COUNTED: Final = re.compile(r"mptcp ([0-9]{1,2}) ")
_COOKIE: Final = re.compile(r"tfo +cookie (?:req|((?:[0-9a-f]{2}){1,18}))\Z")
_UNKNOWN: Final = re.compile(
    r"(?:unknown-|Unknown Option |exp-)?[0-9]{1,3} 0x((?:[0-9a-f]{2}){0,38})\Z"
)
_MOST: Final = 40


@lru_cache(maxsize=65_536)
def options_length(text: str) -> int | None:
    """Bytes of these options with their padding; None: it is not told."""
    total = 0
    for one in text.split(","):
        size = _size(one.strip())
        if size is None:
            return None
        total += size
    total = (total + 3) // 4 * 4
    return total if total <= _MOST else None


def _size(one: str) -> int | None:
    word = one.partition(" ")[0]
    if word in SIZES:
        return SIZES[word]
    if sack := _SACK.match(one):
        return 2 + 8 * int(sack[1])
    if counted := _COUNTED.match(one):
        return int(counted[1])
    if cookie := _COOKIE.match(one):
        return 2 + len(cookie[1] or "") // 2
    if unknown := _UNKNOWN.match(one):
        return 2 + len(unknown[1]) // 2
    return None
