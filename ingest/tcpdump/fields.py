"""The numbers of lines that have one layout, read where it says that they stand.

Each function proves of the words that it reads that they are what the skeleton lets expect, or
takes back that their lines are sound.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from .skeleton import Layout
from .words import Numbers, Words

#: columns of `PACKET`, and places of texts in the lines
Made = dict[str, Numbers | int]
_TYPES: Final = ((False, b"IPv4 (0x0800),"), (True, b"IPv6 (0x86dd),"))
#: words of IP's header that hold no number (tos, ttl, id, offset, flags, proto, length), with their
#: letters
_HEAD_WORDS: Final = ((0, 4), (2, 3), (4, 2), (6, 6), (8, 5), (10, 5), (13, 6))


def lead(layout: Layout, words: Words, made: Made) -> NDArray[np.bool_]:
    """Which packets are IPv6; and the place of link addresses."""
    first = layout.first
    if not layout.linked:
        end = words.end(first)
        size = end - words.start(first)
        six = (size == 3) & (words.text.bytes[end - 1] == ord("6"))
        words.sound &= six | (size == 2)
        return np.asarray(six)
    for word, letters in enumerate((17, 1, 18, 9, 4, 9, 6)):
        words.size(first + word, letters)
    place = words.start(first + 4)
    six = words.text.bytes[place + 3] == ord("6")
    for version, told in _TYPES:
        same = np.ones(len(six), np.bool_)
        for at, letter in enumerate(told):
            same &= words.text.bytes[np.minimum(place + at, words.stop)] == letter
        words.sound &= same | (six != version)
    words.letter(words.end(first + 7) - 1, ":")
    made["macs"] = words.start(first) - words.begin
    return np.asarray(six)


def head(layout: Layout, words: Words, made: Made) -> Numbers:
    """IP's length, from the header that -v prints; and its identification."""
    head = layout.head
    name = 4 if layout.protocol == 1 else 3
    for word, letters in (*_HEAD_WORDS, (9, layout.bits + 3), (11, name)):
        words.size(head + word, letters)
    tos = words.start(head + 1)
    words.letter(tos, "0")
    words.letter(tos + 1, "x")
    size = words.end(head + 1) - tos
    words.sound &= (size >= 4) & (size <= 5)
    before = words.digits.copy()
    _counted(words, head + 3, 3)
    made["ip_id"] = _counted(words, head + 5, 5)
    words.sound &= _counted(words, head + 7, 6) == 0
    number = words.end(head + 12)
    words.letter(words.start(head + 12), "(")
    words.letter(number - 2, ")")
    words.letter(number - 1, ",")
    words.sound &= words.whole(words.start(head + 12) + 1, number - 2, 3) == layout.protocol
    end = words.end(head + 14) - 1
    words.letter(end, ")")
    total = words.whole(words.start(head + 14), end, 7)
    words.sound &= total > 0
    words.digits = before  # the header comes before what is counted
    return total


def sums(layout: Layout, words: Words) -> Numbers | int:
    """Characters of TCP's checksums."""
    if layout.sum < 0:
        return 0
    total = _hex(words, layout.sum, 0)
    return total + _hex(words, layout.sum + 3, 2) if layout.bad else total


def _hex(words: Words, word: int, behind: int) -> Numbers:
    """Characters of a number of up to four digits that begins with 0x."""
    start = words.start(word)
    size = words.end(word) - start - behind
    words.letter(start, "0")
    words.letter(start + 1, "x")
    words.sound &= (size >= 3) & (size <= 6)
    return size


def ends(layout: Layout, words: Words, made: Made) -> Numbers:
    """Both addresses' places and ports. Gives how many characters both ends have."""
    total = np.zeros(len(words.begin), np.int64)
    for name, port, word in (("src", "sport", layout.src), ("dst", "dport", layout.src + 2)):
        start, end = words.start(word), words.end(word)
        if name == "dst":
            end = end - 1
            words.letter(end, ":")
        total += end - start
        if layout.ported:
            made[port], count = words.text.number(end)
            words.sound &= (count > 0) & (count <= 5)
            end = end - count - 1
            words.letter(end, ".")
        made[name], made[f"{name}_size"] = start - words.begin, end - start
    return total


def _counted(words: Words, word: int, most: int) -> Numbers:
    """The number that is a word but for a comma behind it."""
    end = words.end(word) - 1
    words.letter(end, ",")
    return words.whole(words.start(word), end, most)


def segment(layout: Layout, words: Words, made: Made) -> Numbers | int:
    """TCP's numbers. Gives how many characters the options have."""
    if layout.seq >= 0 and layout.end:
        start, end = words.start(layout.seq), words.end(layout.seq) - 1
        words.letter(end, ",")
        made["end"], count = words.text.number(end)
        words.sound &= (count > 0) & (count <= 10)
        words.digits += count
        words.letter(end - count - 1, ":")
        made["seq"] = words.whole(start, end - count - 1, 10)
    elif layout.seq >= 0:
        made["seq"] = _counted(words, layout.seq, 10)
    if layout.ack >= 0:
        made["ack"] = _counted(words, layout.ack, 10)
    made["window"] = _counted(words, layout.win, 10)
    if layout.opt < 0:
        return 0
    end = words.start(layout.length - 1) - 3
    words.letter(end, "]")
    words.letter(end + 1, ",")
    if layout.stamped:
        for word, size in ((0, 11), (1, 3), (3, 3)):
            words.size(layout.opt + word, size)
    return end + 1 - words.start(layout.opt)


def echo(layout: Layout, words: Words, made: Made) -> None:
    made["icmp_type"], made["icmp_code"] = layout.kind, 0
    made["icmp_id"] = _counted(words, layout.ack, 5)
    made["icmp_seq"] = _counted(words, layout.seq, 5)


def length(layout: Layout, words: Words) -> Numbers:
    """The length that is printed: TCP's and UDP's payload, ICMP's message."""
    end = words.end(layout.length)
    if layout.sign >= 0:
        return _message(layout, words)
    if layout.word >= 0:
        end = end - 1
        words.letter(end, ":")
        # The decoder's word as it is in the skeleton: no digit stands in it.
        follows = words.text.bytes[np.minimum(words.start(layout.free) + layout.word, words.stop)]
        words.sound &= np.isin(follows, np.frombuffer(b":, \n", np.uint8))
    return words.whole(words.start(layout.length), end, 7)


def _message(layout: Layout, words: Words) -> Numbers:
    """A DNS message's length, in parentheses at the end of the line."""
    end = words.end(layout.body) - layout.sign
    words.whole(words.start(layout.body), end, 5)
    if not layout.sign:
        words.sound &= words.text.bytes[words.start(layout.free)] != ord("/")
    words.letter(words.stop - 1, ")")
    value, count = words.text.number(words.stop - 1)
    words.sound &= (count > 0) & (count <= 5)
    words.letter(words.stop - 2 - count, "(")
    return value
