"""The numbers of lines of one kind, read where their skeletons say that they stand.

Each function proves of the words that it reads that they are what the skeleton lets expect, or
takes back that their lines are sound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from .skeleton import Kind, Skeleton, Skeletons, option_words
from .words import Flags, Numbers, Value, Words

#: columns of `PACKET`, and places of texts in the lines
Made = dict[str, Value | int]
_FIELDS: Final = {name: at for at, name in enumerate(Skeleton._fields)}
_TYPES: Final = ((False, b"IPv4 (0x0800),"), (True, b"IPv6 (0x86dd),"))
#: words of IP's header that hold no number (tos, ttl, id, offset, flags, proto, length), with their
#: letters
_HEAD_WORDS: Final = ((0, 4), (2, 3), (4, 2), (6, 6), (8, 5), (10, 5), (13, 6))
_AFTER: Final = np.isin(np.arange(256), np.frombuffer(b":, \n\x1f", np.uint8))
#: lines of one skeleton from which on its options are told by it
_FEWEST: Final = 16


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of one kind. number: of each one's skeleton."""

    kind: Kind
    words: Words
    forms: Skeletons
    number: Numbers

    def of(self, name: str) -> Value:
        """That field of each one's skeleton; one value if it is the same for all."""
        values = self.forms.table[_FIELDS[name]]
        some = values[self.forms.kinds[self.kind]]
        if (some == some[0]).all():
            return np.int64(some[0])
        found: Numbers = values[self.number]
        return found


def lead(lines: Lines, made: Made) -> Flags:
    """Which packets are IPv6; and the place of link addresses."""
    first, words = lines.kind.first, lines.words
    if not lines.kind.linked:
        end = words.end(first)
        size = end - words.start(first)
        six = size == 3
        if six.any():
            six &= words.text.bytes[end - 1] == ord("6")
        words.sound &= six | (size == 2)
        return np.asarray(six)
    # The ends of the word before them and of their own: words.end(first + n) is ends[n + 1].
    ends = [words.start(first) - 1, *(words.end(first + at) for at in range(8))]
    for word, letters in enumerate((17, 1, 18, 9, 4, 9, 6)):
        words.sound &= ends[word + 1] - ends[word] == letters + 1
    place = ends[4] + 1
    six = words.text.bytes[place + 3] == ord("6")
    for version, told in _TYPES:
        words.sound &= words.text.shows(np.minimum(place, words.stop), told) | (six != version)
    words.letter(ends[8] - 1, ":")
    made["macs"] = words.start(first) - words.begin
    return np.asarray(six)


def head(lines: Lines, made: Made) -> Numbers:
    """IP's length, from the header that -v prints; and its identification."""
    words, protocol = lines.words, lines.kind.protocol
    # The ends of the word before it and of its own: words.end(head + n) is ends[n + 1].
    ends = [words.end(lines.kind.head + at) for at in range(-1, 15)]
    bits = lines.of("bits")
    for word, letters in (*_HEAD_WORDS, (9, bits + 3), (11, 4 if protocol == 1 else 3)):
        words.sound &= ends[word + 1] - ends[word] == letters + 1
    tos = ends[1] + 1
    words.letter(tos, "0")
    words.letter(tos + 1, "x")
    size = ends[2] - tos
    words.sound &= (size >= 4) & (size <= 5)
    # Of a word that is but a comma without its digits they all stand before it, if it is the last.
    for word, most in ((3, 3), (5, 5), (7, 1)):
        words.letter(ends[word + 1] - 1, ",")
        size = ends[word + 1] - ends[word]
        words.sound &= (size > 2) & (size <= most + 2)
    words.letter(ends[7] + 1, "0")
    for at, letter in enumerate(f"({protocol}),"):
        words.letter(ends[12] + 1 + at, letter)
    words.sound &= ends[13] - ends[12] == len(f"({protocol}),") + 1
    made["ip_id"], _ = words.text.number(ends[6] - 1)
    words.letter(ends[15] - 1, ")")
    total, count = words.text.number(ends[15] - 1)
    words.sound &= (count <= 7) & (total > 0) & (count == ends[15] - ends[14] - 2)
    words.sound &= words.start(lines.kind.src) - ends[15] == 5
    return total


def sums(lines: Lines) -> Numbers | int:
    """Characters of TCP's checksums."""
    place, bad = lines.of("sum"), lines.of("bad")
    if place.max() < 0:
        return 0
    total = _hex(lines.words, place, 0)
    if bad.max() > 0:
        total = total + _hex(lines.words, np.where(bad > 0, place + 3, -1), 2)
    return total


def _hex(words: Words, word: Value, behind: int) -> Numbers:
    """Characters of a number of up to four digits that begins with 0x; 0 where there is none."""
    start, end = words.span(word)
    size = end - start - behind
    good = (size >= 3) & (size <= 6)
    good &= words.text.bytes[start] == ord("0")
    good &= words.text.bytes[start + 1] == ord("x")
    words.sound &= good | (word < 0)
    return np.where(word < 0, 0, size)


def ends(lines: Lines, made: Made) -> Numbers:
    """Both addresses' places and ports. Gives how many characters both ends have."""
    words = lines.words
    total = np.zeros(len(words.begin), np.int64)
    for name, port, word in (
        ("src", "sport", lines.kind.src),
        ("dst", "dport", lines.kind.src + 2),
    ):
        start, end = words.start(word), words.end(word)
        if name == "dst":
            end = end - 1
        total += end - start
        if lines.kind.protocol != 1:
            made[port], count = words.text.number(end)
            words.sound &= (count > 0) & (count <= 5)
            end = end - count - 1
        # The last character before these digits that is none: of the source's it is known.
        if name == "dst":
            words.letter(end, ":" if lines.kind.protocol == 1 else ".")
        made[name], made[f"{name}_size"] = start - words.begin, end - start
    return total


def _counted(words: Words, word: Value, most: int) -> Numbers:
    """The number that is a word but for a comma; -1 where there is no such word. If all before its
    last character are digits, that is the comma."""
    start, end = words.span(word)
    end = end - 1
    value, count = words.text.number(end)
    good = (count == end - start) & (count > 0) & (count <= most)
    if word.min() >= 0:
        words.sound &= good
        words.digits += count
        return value
    words.sound &= good | (word < 0)
    words.digits += np.where(word < 0, 0, count)
    return np.where(word < 0, -1, value)


def segment(lines: Lines, made: Made) -> Numbers | int:
    """TCP's numbers. Gives how many characters the options have."""
    words = lines.words
    seq, ranged = lines.of("seq"), lines.of("ranged") > 0
    if not ranged.any():
        made["seq"] = _counted(words, seq, 10)
    else:
        _range(words, seq, ranged, made)
    made["ack"] = _counted(words, lines.of("ack"), 10)
    made["window"] = _counted(words, lines.of("win"), 10)
    opt = lines.of("opt")
    if opt.max() < 0:
        return 0
    end = words.start(lines.of("length") - 1) - 3
    good = words.text.bytes[end] == ord("]")
    good &= words.text.bytes[end + 1] == ord(",")
    words.sound &= good | (opt < 0)
    begin, _ = words.span(opt)
    return np.where(opt < 0, 0, end + 1 - begin)


def _range(words: Words, seq: Value, ranged: Flags | np.bool_, made: Made) -> None:
    """Sequence numbers, of which some are ranges."""
    start, end = words.span(seq)
    end = end - 1
    last, count = words.text.number(end)
    colon = np.where(ranged, end - count - 1, end)
    begin, more = words.text.number(colon)
    # What is no range is its own beginning. All that is not a digit is the colon and the comma.
    good = (more == colon - start) & (more > 0) & (more <= 10) & (count > 0) & (count <= 10)
    words.sound &= good | (seq < 0)
    words.digits += np.where(seq < 0, 0, more + np.where(ranged, count, 0))
    made["end"] = np.where(ranged, last, -1)
    made["seq"] = np.where(seq < 0, -1, begin)


def options(lines: Lines, rows: Numbers) -> Numbers:
    """Bytes of TCP's options; -1: they are not told yet. rows: of no use but for their order."""
    words, opt = lines.words, lines.of("opt")
    told = np.array(np.broadcast_to(lines.of("options"), len(rows)))
    counts = np.bincount(lines.number, minlength=len(lines.forms.known))
    for number in np.flatnonzero(counts):
        one = lines.forms.known[number]
        if one.shown is None or one.skeleton.options < 0:
            continue
        mine = np.flatnonzero(lines.number == number)
        if len(mine) < _FEWEST:
            told[mine] = -1
            continue
        told[mine[~_as_shown(words, mine, one.skeleton.opt, one.shown)]] = -1
    return np.where(opt < 0, 0, told)


def _as_shown(words: Words, rows: Numbers, opt: int, shown: str) -> Flags:
    """Whether no digit stands within the names of these rows' options."""
    first, *rest = option_words(shown)
    sizes = [first, *rest]
    good = np.ones(len(rows), np.bool_)
    for at, letters in enumerate(sizes):
        if not letters:
            continue
        letters += (at == 0) + 2 * (at == len(rest))
        start, end = words.start(opt + at, rows), words.end(opt + at, rows)
        digits = end - start - letters
        if at:
            _, count = words.text.number(end - letters)
            good &= count == digits
        else:
            good &= digits == 0
    return good


def echo(lines: Lines, made: Made) -> None:
    made["icmp_type"], made["icmp_code"] = lines.of("type"), 0
    made["icmp_id"] = _counted(lines.words, lines.of("ack"), 5)
    made["icmp_seq"] = _counted(lines.words, lines.of("seq"), 5)


def length(lines: Lines) -> Numbers:
    """The length that is printed: TCP's and UDP's payload, ICMP's message."""
    if lines.kind.message:
        return _message(lines)
    words, letters = lines.words, lines.of("word")
    start, end = words.span(lines.of("length"))
    if letters.max() >= 0:
        followed = letters >= 0
        end = np.where(followed, end - 1, end)
        # The decoder's word as it is in the skeleton: no digit stands in it.
        place, _ = words.span(lines.of("free"))
        good = _AFTER[words.text.bytes[np.minimum(place + letters, words.stop)]]
        good &= words.text.bytes[end] == ord(":")
        words.sound &= good | ~followed
    return words.whole(start, end, 7)


def _message(lines: Lines) -> Numbers:
    """A DNS message's length, in parentheses at the end of the line."""
    words, sign, body = lines.words, lines.of("sign"), lines.of("body")
    end = words.end(body) - sign
    words.whole(words.start(body), end, 5)
    words.sound &= (sign > 0) | (words.text.bytes[words.start(lines.of("free"))] != ord("/"))
    words.letter(words.stop - 1, ")")
    value, count = words.text.number(words.stop - 1)
    words.sound &= (count > 0) & (count <= 5)
    words.letter(words.stop - 2 - count, "(")
    return value
