"""The bytes that tcpdump shows of packets, read from many records at once.

        0x0000:  4500 0049 0000 4000 ff11 304f 8d8e dcca  E..I..@...0O....       (-X, -XX)
        0x0010:  e000 00fb 14e9 14e9 0035 7f62 0000 0000                         (-x, -xx)

A line has its place, up to sixteen bytes, and with -X the same as text. What stands in the text is
not looked at. A record may have more than one dump: decoders show bytes they cannot read in the
same way (-vv). The packet's own comes last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .words import Flags, Numbers

Bytes = NDArray[np.uint8]

#: that there is a line with bytes
SHOWN: Final = r"\n[ \t]+0x[0-9a-f]{4,6}:  "
#: bytes of a line, and the letters that show them: eight pairs, each behind a blank
WIDTH: Final = 16
_LETTERS: Final = 40
_BLANK, _TAB, _NEWLINE = ord(" "), ord("\t"), ord("\n")
#: blanks in front of a line, and digits of its place, at most
_INDENTED: Final = 16
_DIGITS: Final = 6
_NO_DIGIT: Final = 16
_VALUES: Final = np.full(256, _NO_DIGIT, np.uint8)
_VALUES[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16, dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Dumps:
    """The bytes of records, as far as their lines follow one another.

    data: of all lines, sixteen each, and some zeros behind them. start, size: where those of a
    record stand in it, and how many are right. damaged: whether some of its lines are missing, do
    not follow the one before or hold something else: what they show is left out.
    """

    data: Bytes
    start: Numbers
    size: Numbers
    damaged: Flags

    def at(self, place: Numbers, rows: Numbers | slice = slice(None)) -> Numbers:
        """A byte of each record (of these); 0 where it shows none there."""
        known = (place >= 0) & (place < self.size[rows])
        found = self.data[np.where(known, self.start[rows] + place, 0)]
        return np.where(known, found, 0).astype(np.int64)

    def pair(self, place: Numbers) -> Numbers:
        """Two bytes as a number, likewise."""
        return self.at(place) * 256 + self.at(place + 1)


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lines with bytes. record: which they are of. place: as they tell it. bytes: a row of sixteen
    for each, of which `count` are shown. sound: whether they are followed by nothing else."""

    record: Numbers
    place: Numbers
    bytes: Bytes
    count: Numbers
    sound: Flags


def dumps(raw: pl.Series) -> Dumps:
    """The bytes that records show, each of which has a line `SHOWN`. raw: all their lines."""
    lines = _lines(raw)
    number = np.arange(len(lines.record))
    # The last line of each record that begins a dump; one past all lines where there is none.
    first = np.full(len(raw), len(number))
    begins = np.flatnonzero(lines.place == 0)
    first[lines.record[begins]] = begins
    nth = number - first[lines.record]
    follows = lines.place == nth * WIDTH
    full = lines.sound & (lines.count == WIDTH)
    follows[1:] &= (nth[1:] == 0) | full[:-1]
    wrong = np.cumsum(np.where(nth < 0, 0, ~follows))
    before = np.append(wrong, 0)[np.minimum(first, len(number) - 1)]
    kept = (nth >= 0) & (wrong == before[lines.record])
    size = np.bincount(lines.record[kept], lines.count[kept], len(raw)).astype(np.int64)
    damaged = first == len(number)
    damaged[lines.record[(nth >= 0) & ~(kept & lines.sound)]] = True
    data = np.append(lines.bytes.reshape(-1), np.zeros(WIDTH, np.uint8))
    return Dumps(data, np.minimum(first, len(number)) * WIDTH, size, damaged)


def _lines(raw: pl.Series) -> _Lines:
    text = raw.str.join("\n").item().encode()
    letters = np.frombuffer(text + b"\n" + b"\n" * (_INDENTED + _LETTERS), np.uint8)
    ends = np.flatnonzero(letters[: len(text) + 1] == _NEWLINE)
    at = begin = np.append(0, ends[:-1] + 1)
    sizes = raw.str.len_bytes().to_numpy().astype(np.int64) + 1
    record = np.searchsorted(np.cumsum(sizes), begin, "right")
    for _ in range(_INDENTED):
        blank = (letters[at] == _BLANK) | (letters[at] == _TAB)
        if not blank.any():
            break
        at = at + blank
    shown = (at > begin) & (letters[at] == ord("0")) & (letters[at + 1] == ord("x"))
    record, at, ends = record[shown], at[shown] + 2, ends[shown]
    place, digits, begin = np.zeros(len(at), np.int64), np.ones(len(at), np.bool_), at
    for _ in range(_DIGITS):
        value = _VALUES[letters[at]]
        digits &= value < _NO_DIGIT
        place = np.where(digits, place * 16 + value, place)
        at = at + digits
    shown = (at >= begin + 4) & (letters[at] == ord(":"))
    shown &= (letters[at + 1] == _BLANK) & (letters[at + 2] == _BLANK)
    record, place, at, ends = record[shown], place[shown], at[shown] + 2, ends[shown]
    return _Lines(record, place, *_values(letters, at, ends))


def _values(letters: Bytes, at: Numbers, ends: Numbers) -> tuple[Bytes, Numbers, Flags]:
    """The bytes of lines that begin there, how many there are, and whether there is nothing else
    where they stand."""
    window = np.lib.stride_tricks.sliding_window_view(letters, _LETTERS)[at]
    window[np.arange(_LETTERS) >= (ends - at)[:, None]] = _BLANK
    groups = window.reshape(-1, WIDTH // 2, 5)
    values = _VALUES[groups]
    high, low = values[:, :, 1::2].reshape(-1, WIDTH), values[:, :, 2::2].reshape(-1, WIDTH)
    parted = np.repeat(groups[:, :, 0] == _BLANK, 2, axis=1)
    valid = ((high | low) < _NO_DIGIT) & parted
    count = np.where(valid.all(axis=1), WIDTH, valid.argmin(axis=1))
    blank = groups == _BLANK
    nothing = (blank[:, :, 1::2] & blank[:, :, 2::2]).reshape(-1, WIDTH) & parted
    behind = np.arange(WIDTH) >= count[:, None]
    sound = np.asarray((nothing | ~behind).all(axis=1))
    return high * np.uint8(16) + (low & np.uint8(15)), count, sound
