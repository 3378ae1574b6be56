"""What a line is, told by its skeleton: the line without its digits.

19:42:57.294010 IP 10.0.0.1.55680 > 10.0.0.2.80: Flags [S], seq 36356, win 42340, length 0
::. IP .... > ....: Flags [S], seq , win , length

A log of a million lines has few skeletons. Each is looked at once; where it is of a known form, it
says in which word of the line which number stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .bodies import STREAMS, TCP, UDP

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
    r"(?P<sign>[+*%-]{0,3}) (?P<dns>)[A-Za-z0-9\[(/].*\(\)\Z)",
    re.DOTALL,
)
#: the options of nearly every segment of a connection
_STAMPED: Final = "nop,nop,TS val  ecr "


class Layout(NamedTuple):
    """In which word of a line, counted from 0, what stands; -1: there is none.

    linked: whether link addresses precede. first: the word behind the time. ported: whether the
    ends have ports. sign: characters behind a DNS message's number; -1: it is none. end: whether
    the sequence number is a range. free: from which word on digits may be anything. kind: ICMP's
    type. word: characters of a decoder's word behind TCP's length. head: where IP's header begins
    (-v). bits: characters of its flags. sum: where TCP's checksum stands. bad: whether it is called
    wrong, 0 or 1; -1: not told.
    """

    protocol: int
    linked: bool
    first: int
    src: int
    ported: bool
    body: int
    sign: int
    seq: int
    end: bool
    ack: int
    win: int
    opt: int
    stamped: bool
    length: int
    free: int
    kind: int
    word: int
    head: int
    bits: int
    sum: int
    bad: int


@dataclass(frozen=True, slots=True)
class Skeleton:
    """letters: characters from the source's address to where digits may be anything, but those of
    both ends and of the options."""

    layout: Layout
    letters: int
    flags: str | None
    application: str | None


@dataclass(frozen=True, slots=True)
class Skeletons:
    """Of lines: the number of each one's layout in `layouts` (-1: none), and of its skeleton in
    `letters`, `flags` and `application`."""

    layouts: list[Layout]
    layout: NDArray[np.int64]
    known: NDArray[np.int64]
    letters: NDArray[np.int64]
    flags: pl.Series
    application: pl.Series


def skeletons(lines: pl.Series, most: int) -> Skeletons:
    """Of lines without their digits; where there are more different ones than that, of the
    commonest."""
    counts = lines.rename("k").value_counts(sort=True).head(most)
    made = [skeleton(text) for text in counts["k"].to_list()]
    numbered = pl.int_range(len(counts), eager=True)
    known = lines.replace_strict(
        counts["k"], numbered, default=-1, return_dtype=pl.Int64
    ).to_numpy()
    layouts = list(dict.fromkeys(one.layout for one in made if one is not None))
    numbers = {one: number for number, one in enumerate(layouts)}
    of = np.array([-1 if one is None else numbers[one.layout] for one in made] + [-1], np.int64)
    return Skeletons(
        layouts,
        of[known],
        known,
        np.array([0 if one is None else one.letters for one in made], np.int64),
        pl.Series([one and one.flags for one in made], dtype=pl.String),
        pl.Series([one and one.application for one in made], dtype=pl.String),
    )


def skeleton(text: str) -> Skeleton | None:
    """None: not of a known form."""
    found = _FORM.match(text)
    if found is None or bool(found["sport"]) != bool(found["dport"]):
        return None
    ported = bool(found["sport"])
    if ported == (found["echo"] is not None):
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
    options = 0 if found["options"] is None else len(found["options"]) + 2
    length = next((name for name in ("length", "size", "long") if found[name] is not None), "")
    layout = Layout(
        protocol=protocol,
        linked=found["smac"] is not None,
        first=word("ip") if found["ip"] is not None else word("smac"),
        src=word("src"),
        ported=ported,
        body=word("body"),
        sign=-1 if found["dns"] is None else len(found["sign"]),
        seq=word("seq") if found["flags"] else word("number"),
        end=bool(found["end"]),
        ack=word("ack") if found["flags"] else word("id"),
        win=word("win"),
        opt=word("opt"),
        stamped=found["options"] == _STAMPED,
        length=word(length) if length else len(_SPACE.findall(text)),
        free=free,
        kind={"request": 8, "reply": 0}.get(found["echo"], -1),
        word=len(found["word"]) if found["app"] else -1,
        head=word("head"),
        bits=len(found["bits"] or ""),
        sum=word("sum"),
        bad=0 if found["ok"] else -1 if found["hex"] is None else int(found["right"] is not None),
    )
    letters = until - found.start("src") - ends - options - sums
    return Skeleton(layout, letters, found["flags"], application)
