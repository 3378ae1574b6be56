"""What a line is, told by its skeleton: the line without its digits.

19:42:57.294010 IP 10.0.0.1.55680 > 10.0.0.2.80: Flags [S], seq 36356, win 42340, length 0
::. IP .... > ....: Flags [S], seq , win , length

A log of a million lines has few skeletons. Each is looked at once; where it is of a known form, it
says in which word of the line which number stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .bodies import STREAMS, TCP, UDP
from .options import SIZES, options_length

DIGITS: Final = b"0123456789"
_SPACE: Final = re.compile(r"[\x00-\x20]")
_MAC: Final = r"[a-f]{0,2}(?::[a-f]{0,2}){5}"
_END: Final = r"(?:\.\.\.|[a-f]{0,4}:[a-f:]{1,34})"
_FORM: Final = re.compile(
    r"(?:(?:-- )?::\.|\.|[ -]::\.) "
    rf"(?:(?P<smac>{_MAC}) > (?P<dmac>{_MAC}), (?P<linked>)ethertype IPv \(x(?:dd)?\), length : |"
    r"(?P<ip>)IP )"
    r"(?:(?P<head>)\(tos x[a-f]{0,2}, ttl , id , offset , flags \[(?P<bits>DF|none)\], "
    r"proto (?P<name>TCP|UDP|ICMP) \(\), length \)\x1f    )?"
    rf"(?P<src>){_END}(?P<sport>\.?) > (?P<dst>){_END}(?P<dport>\.?): (?P<at>)"
    r"(?:(?P<ok>\[udp sum ok\] )(?=UDP|[+*%-]{0,3} ))?(?P<body>)(?:"
    r"Flags \[(?P<flags>[A-Za-z.]{1,16})\]"
    r"(?:, cksum (?P<sum>)(?P<hex>x[a-f]{0,4}) "
    r"\((?:correct|incorrect -> (?P<right>x[a-f]{0,4}))\))?"
    r"(?:, seq (?P<seq>)(?P<end>:?))?(?:, ack (?P<ack>))?"
    r", win (?P<win>)(?:, options (?P<opt>)\[(?P<options>[^\[\], ][^\[\]]{0,200})\])?"
    r", length (?P<length>)(?:\Z|(?P<app>: (?P<word>[A-Z][A-Za-z]{1,11})(?:[:, ].*)?\Z))|"
    r"(?P<udp>UDP, length )(?P<size>)\Z|"
    r"ICMP echo (?P<echo>request|reply), id (?P<id>), seq (?P<number>), length (?P<long>)\Z|"
    r"(?P<sign>[+*%-]{0,3}) (?P<dns>)[A-Za-z0-9\[(/][^\x1f]*\(\)\Z)",
    re.DOTALL,
)
#: characters of a skeleton that is looked at
_LONGEST: Final = 2_000


class Kind(NamedTuple):
    """What is alike in lines that are read together.

    linked: whether link addresses precede. In which word of a line, counted from 0, stands: first,
    what is behind the time; head, IP's header (-v; -1: there is none); src, the source. message:
    whether it is a DNS message, whose length is the line's last word.
    """

    protocol: int
    linked: bool
    first: int
    head: int
    src: int
    message: bool


class Skeleton(NamedTuple):
    """Where a line differs from others of its kind. Of words, counted from 0, -1: there is none.

    letters: characters from the source's address to where digits may be anything, but those of
    both ends, of the options and of checksums. body: what follows the ends. ranged: whether the
    sequence number is a range. options: bytes of TCP's options; -1: their numbers must be looked at
    for that. length: -1 of a message. free: from which word on digits may be anything. word:
    characters of a decoder's word behind TCP's length. sign: characters behind a message's number.
    type: ICMP's. bits: characters of IP's flags. sum: where TCP's checksum stands. bad: whether one
    is called wrong, 0 or 1; -1: not told.
    """

    letters: int
    body: int
    seq: int
    ranged: int
    ack: int
    win: int
    opt: int
    options: int
    length: int
    free: int
    word: int
    sign: int
    type: int
    bits: int
    sum: int
    bad: int


@dataclass(frozen=True, slots=True)
class Known:
    """shown: the options as they stand in the skeleton, None: none."""

    kind: Kind
    skeleton: Skeleton
    shown: str | None
    flags: str | None
    application: str | None


@dataclass(frozen=True, slots=True)
class Skeletons:
    """Of lines: the number of each one's skeleton (-1: of no known form), and what is known by that
    number. kinds: which skeletons are of a kind. table: a row for each field of `Skeleton`."""

    number: NDArray[np.int64]
    known: list[Known]
    kinds: dict[Kind, NDArray[np.int64]]
    table: NDArray[np.int64]


def skeletons(lines: pl.Series, most: int) -> Skeletons:
    """Of lines without their digits; where there are more different ones than that, of the
    commonest."""
    codes, somewhere = numbered(lines)
    counts = np.bincount(codes)
    looked = np.flatnonzero(counts)
    if len(looked) > most:
        looked = np.sort(np.argsort(-counts, kind="stable")[:most])
    known: list[Known] = []
    numbers = np.full(len(counts), -1, np.int64)
    texts = lines.gather(somewhere[looked]).to_list()
    for at, text in zip(looked.tolist(), texts, strict=True):
        one = skeleton(text)
        if one is not None:
            numbers[at] = len(known)
            known.append(one)
    kinds: dict[Kind, list[int]] = {}
    for at, one in enumerate(known):
        kinds.setdefault(one.kind, []).append(at)
    table = np.array([one.skeleton for one in known], np.int64).reshape(-1, len(Skeleton._fields))
    return Skeletons(
        numbers[codes],
        known,
        {kind: np.array(some) for kind, some in kinds.items()},
        np.ascontiguousarray(table.T),
    )


def numbered(texts: pl.Series) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """A number for each of these texts, of which none is null: the same for the same ones. And of
    each number, a row that has it."""
    numbers = texts.cast(pl.Categorical(pl.Categories.random())).to_physical().to_numpy()
    rows = np.zeros(int(numbers.max(initial=0)) + 1, np.int64)
    rows[numbers] = np.arange(len(numbers))
    return numbers, rows


@lru_cache(maxsize=4_096)
def skeleton(text: str) -> Known | None:
    """None: not of a known form."""
    found = _FORM.match(text) if len(text) < _LONGEST else None
    if found is None or bool(found["sport"]) != bool(found["dport"]):
        return None
    if bool(found["sport"]) == (found["echo"] is not None):
        return None

    def word(name: str) -> int:
        at = found.start(name)
        return -1 if at < 0 else len(_SPACE.findall(text, 0, at))

    protocol = TCP if found["flags"] else 1 if found["echo"] else UDP
    free, until, application = -1, len(text), None
    if found["app"]:
        free, until = word("length") + 1, found.start("word")
        application = STREAMS.get(found["word"])
    elif found["dns"] is not None:
        free, until, application = word("dns"), found.start("dns"), "dns"
    ends = found.start("at") - found.start("src") - 5
    sums = len(found["hex"] or "") + len(found["right"] or "")
    shown = found["options"]
    length = next((name for name in ("length", "size", "long") if found[name] is not None), "dns")
    kind = Kind(
        protocol,
        found["smac"] is not None,
        word("ip") if found["ip"] is not None else word("smac"),
        word("head"),
        word("src"),
        found["dns"] is not None,
    )
    made = Skeleton(
        letters=until - found.start("src") - ends - (len(shown) + 2 if shown else 0) - sums,
        body=word("body"),
        seq=word("seq") if found["flags"] else word("number"),
        ranged=int(bool(found["end"])),
        ack=word("ack") if found["flags"] else word("id"),
        win=word("win"),
        opt=word("opt"),
        options=_bytes(shown) if shown else 0,
        length=-1 if kind.message else word(length),
        free=free,
        word=len(found["word"]) if found["app"] else -1,
        sign=len(found["sign"] or ""),
        type={"request": 8, "reply": 0}.get(found["echo"], -1),
        bits=len(found["bits"] or ""),
        sum=word("sum"),
        bad=0 if found["ok"] else -1 if found["hex"] is None else int(found["right"] is not None),
    )
    return Known(kind, made, shown, found["flags"], application)


def _bytes(options: str) -> int:
    """Bytes of options without their digits; -1: their digits say how many these are, or stand
    where `option_words` does not find them."""
    if any(one.strip().partition(" ")[0] not in SIZES for one in options.split(",")):
        return -1
    if None in option_words(options):
        return -1
    told = options_length(options)
    return -1 if told is None else told


def option_words(options: str) -> list[int | None]:
    """How many characters each word of options without their digits has, 0 where digits may stand
    anywhere in it; else they stand in front of them, in the first word nowhere. None: neither."""
    first, *rest = options.split(" ")
    made: list[int | None] = [len(first)]
    for word in rest:
        free = word in ("", "val", "ecr")
        made.append(0 if free else len(word) if word.startswith(",") else None)
    return made
