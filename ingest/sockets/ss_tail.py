"""What stands behind the peer in a record of ss: processes, timer, memory, TCP's inner state.

    users:(("sshd",pid=812,fd=3),("sshd",pid=700,fd=3)) timer:(keepalive,119min,0) uid:33 ino:263454
    sk:56 cgroup:/user.slice <-> skmem:(r0,rb131072,…) ts sack cubic wscale:7,7 rtt:0.007/0.003
    bytes_sent:250 … send 374491428571bps lastsnd:608

What has no column of its own is kept by its key; words without a key are kept together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

#: behind a name, which may hold anything, quotes and parentheses too: the process and what it has
#: open; old versions write bare numbers
_USER_END: Final = re.compile(
    r'",(?:pid=)?([0-9]{1,10})(?:,tid=[0-9]+)?(?:,proc_ctx=[^,()]*)?,(?:fd=)?([0-9]{1,10})(?:,sock_ctx=[^,()]*)?\)'
)
_USERS: Final = re.compile(r"(?:^|(?<=\s))users:\(")
_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
#: words that say what the next word is
HEADS: Final = frozenset({"send", "pacing_rate", "delivery_rate", "max_pacing_rate"})
COUNTS: Final = {
    "bytes_sent": "bytes_sent", "bytes_acked": "bytes_acked", "bytes_received": "bytes_received",
    "segs_out": "segments_sent", "segs_in": "segments_received", "cwnd": "cwnd",
    "lastsnd": "last_sent", "lastrcv": "last_received", "ino": "inode",
}  # fmt: skip
_LARGEST: Final = 2**63 - 1
#: how a line begins that continues a record which a terminal broke between two words
CONTINUES: Final = re.compile(
    r"(?:users:\(|timer:\(|skmem:\(|(?:uid|ino|sk|cgroup|fwmark|mptcp):\S)"
)


def users(text: str, start: int) -> tuple[list[tuple[str, int, int]], int] | None:
    """Name, process and descriptor of each user, and where the list ends; None: it is not whole.

    start: behind `users:(`. A name ends where a process follows it and the list goes on or ends.
    """
    found: list[tuple[str, int, int]] = []
    while text.startswith('("', start):
        name = start + 2
        search = name
        while True:
            end = _USER_END.search(text, search)
            if end is None:
                return None
            more = text.startswith(',("', end.end())
            after = text[end.end() : end.end() + 2]
            if more or after == ")" or (after[:1] == ")" and after[1:].isspace()):
                break
            search = end.start() + 1
        found.append((text[name : end.start()], int(end[1]), int(end[2])))
        if not more:
            return found, end.end() + 1
        start = end.end() + 1
    return None


def tail(text: str) -> dict[str, Any] | str:
    """Columns of `rows.ROW`, or what is wrong."""
    made: dict[str, Any] = {}
    extra: dict[str, str] = {}
    words: list[str] = []
    position = 0
    while found := _USERS.search(text, position):
        _tokens(text[position : found.start()], made, extra, words)
        listed = users(text, found.end())
        if listed is None:
            return "the list of users is not whole"
        _set_users(made, listed[0])
        position = listed[1]
    _tokens(text[position:], made, extra, words)
    if words:
        extra["options"] = " ".join(words)
    if extra:
        made["extra"] = json.dumps(extra, ensure_ascii=False, separators=(",", ":"))
    return made


def _tokens(text: str, made: dict[str, Any], extra: dict[str, str], words: list[str]) -> None:
    """Pairs to their columns, else to `extra`; words without a key to `words`."""
    head = ""
    for token in text.split():
        if head:
            _keep(extra, head, token)
            head = ""
            continue
        if token in HEADS:
            head = token
            continue
        key, _, value = token.partition(":")
        if key == token or not _is_key(key):
            words.append(token)
        elif not _known(made, key, value):
            _keep(extra, key, value)
    if head:
        words.append(head)


@lru_cache(maxsize=1024)
def _is_key(text: str) -> bool:
    return _KEY.fullmatch(text) is not None


def _set_users(made: dict[str, Any], listed: list[tuple[str, int, int]]) -> None:
    shown = [f"{pid}/{name} fd={fd}" for name, pid, fd in listed]
    if "processes" in made:
        made["processes"] += shown
        return
    made["processes"] = shown
    made["name"], made["pid"] = listed[0][0], listed[0][1]


def _keep(extra: dict[str, str], key: str, value: str) -> None:
    """Nothing is dropped, not even what comes twice."""
    extra[key] = f"{extra[key]} {value}" if key in extra else value


def _known(made: dict[str, Any], key: str, value: str) -> bool:
    """Whether a pair has a column; its value is then there."""
    if (reader := READERS.get(key)) is None:
        return False
    name, read = reader
    result = read(value)
    if result is None or name in made:
        return False
    made[name] = result
    return True


def _count(value: str) -> int | None:
    return int(value) if value.isascii() and value.isdigit() and int(value) <= _LARGEST else None


def _inode(value: str) -> int | None:
    return _count(value) or None


def _text(value: str) -> str | None:
    return value or None


def _inner(value: str) -> str | None:
    return value[1:-1] if value[:1] == "(" and value[-1:] == ")" else None


def _micros(value: str) -> int | None:
    """The first of `rtt:0.007/0.003`, milliseconds."""
    first = value.partition("/")[0]
    return (
        round(float(first) * 1000) if re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", first) else None
    )


def _total(value: str) -> int | None:
    """The second of `retrans:0/3`."""
    return _count(value.partition("/")[2])


#: keys whose values are kept as they are
TEXTS: Final = {"uid": "uid", "sk": "cookie"}
READERS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    **{key: (name, _count) for key, name in COUNTS.items()},
    "ino": ("inode", _inode),
    **{key: (name, _text) for key, name in TEXTS.items()},
    "timer": ("timer", _inner),
    "rtt": ("rtt", _micros),
    "retrans": ("retransmits", _total),
}
