"""Bytes of lines, their words, and the numbers in them, for many lines at once."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]
#: a number for each line, or one for all
Value = Numbers | np.int64

_EIGHT: Final = 8
_WIDEST: Final = 32
_ZEROS: Final = np.uint64(0x3030303030303030)
_ABOVE: Final = np.uint64(0x7676767676767676)
_HIGH: Final = np.uint64(0x8080808080808080)
_SHIFTS: Final = tuple(np.uint64(shift) for shift in (8, 16, 32))
#: digits to pairs, to fours, to eight: by what the first half is multiplied, where it stands, and
#: what is kept
_JOINS: Final = (
    (np.uint64(10), np.uint64(8), np.uint64(0x00FF00FF00FF00FF)),
    (np.uint64(100), np.uint64(16), np.uint64(0x0000FFFF0000FFFF)),
    (np.uint64(10_000), np.uint64(32), np.uint64(0x00000000FFFFFFFF)),
)


class Text:
    """ASCII bytes of lines, each with its newline, and where their words end."""

    def __init__(self, data: bytes) -> None:
        self._data: bytes | None = data
        # Digits around them: a number's last digits are read with what precedes it, and what a
        # line begins with together, be it shorter.
        self._padded = bytearray(b"0" * _EIGHT)
        self._padded += data
        self._padded += b"0" * _WIDEST
        whole = np.frombuffer(self._padded, np.uint8)
        self._eights: NDArray[np.uint64] = np.ndarray(
            (len(data) + _WIDEST + 1,), "<u8", whole.data, strides=(1,)
        )
        self.bytes = whole[_EIGHT : _EIGHT + len(data)]
        self.ends = np.flatnonzero(self.bytes <= ord(" "))
        self.last = np.flatnonzero(self.bytes[self.ends] == ord("\n"))

    @property
    def lines(self) -> int:
        return len(self.last)

    def heads(self, starts: Numbers, width: int) -> NDArray[np.uint8]:
        """What stands from there on, a row for each of so many bytes, at most 32."""
        whole = np.ndarray(
            (len(self.bytes),), f"V{width}", self._padded, offset=_EIGHT, strides=(1,)
        )
        return np.ascontiguousarray(whole[starts].view(np.uint8).reshape(-1, width).T)

    def join(self, whole: Numbers, mark: int) -> None:
        """Make lines of what is up to these lines; newlines within become that byte."""
        self._data = None
        self.bytes[self.ends[self.last]] = mark
        self.last = self.last[whole]
        self.bytes[self.ends[self.last]] = ord("\n")

    def without(self, letters: bytes) -> bytes:
        """The bytes without these, digits among them."""
        text = bytes(self._padded) if self._data is None else self._data
        return text.translate(None, letters)

    def lines_at(self, starts: Numbers) -> Numbers:
        """The numbers of the lines that begin there."""
        if len(starts) == self.lines:
            return np.arange(self.lines)
        return np.searchsorted(self.ends[self.last], starts)

    def shows(self, place: Numbers, text: bytes) -> Flags:
        """Whether this text, of 8 to 16 bytes, stands there."""
        last = len(text) - _EIGHT
        first, second = (np.frombuffer(text[at : at + _EIGHT], "<u8")[0] for at in (0, last))
        at = place + _EIGHT
        found: Flags = self._eights[at] == first
        found &= self._eights[at + last] == second
        return found

    def number(self, end: Numbers) -> tuple[Numbers, Numbers]:
        """The numbers whose digits end there (exclusive), and how many digits each has, eleven for
        all that have more than ten. Where there is none the number is anything."""
        value, count = self._digits(end)
        full = np.flatnonzero(count == _EIGHT)
        if len(full):
            more, rest = self._digits(end[full] - _EIGHT)
            value[full] += np.where((rest > 0) & (rest <= 2), more, 0) * 100_000_000
            count[full] += np.minimum(rest, 3)
        return value, count

    def _digits(self, end: Numbers) -> tuple[Numbers, Numbers]:
        """The same of at most eight, all of which are read at once."""
        word = self._eights[end]
        word ^= _ZEROS
        # A mark in each byte that is no digit, then in all that come before the last such.
        other = word + _ABOVE
        other &= _HIGH
        room = np.empty_like(word)  # one for all steps: fresh memory costs as much as they do
        for shift in _SHIFTS:
            other |= np.right_shift(other, shift, out=room)
        lost = np.bitwise_count(other)
        unread = np.multiply(lost, _EIGHT, dtype=np.uint64)
        word >>= unread
        word <<= unread
        for factor, shift, kept in _JOINS:
            np.right_shift(word, shift, out=room)
            word *= factor
            word += room
            word &= kept
        return word.view(np.int64), (np.uint8(_EIGHT) - lost).astype(np.int64)


class Words:
    """Lines with words at the same places. `sound` is false of a line where something is not as
    it must be; `digits` counts those that stand where they may."""

    def __init__(self, text: Text, rows: Numbers) -> None:
        self.text = text
        self._first = np.where(rows > 0, text.last[rows - 1] + 1, 0)
        self.begin = np.where(rows > 0, text.ends[self._first - 1] + 1, 0)
        self.stop = text.ends[text.last[rows]]
        self.sound = np.ones(len(rows), np.bool_)
        self.digits = np.zeros(len(rows), np.int64)

    def start(self, word: Value | int, rows: Numbers | slice = slice(None)) -> Numbers:
        """Where that word begins; not the first one, if the word is another one in each line."""
        if isinstance(word, int) and word == 0:
            return self.begin[rows]
        found: Numbers = self.text.ends[self._first[rows] + (word - 1)] + 1
        return found

    def end(self, word: Value | int, rows: Numbers | slice = slice(None)) -> Numbers:
        found: Numbers = self.text.ends[self._first[rows] + word]
        return found

    def span(self, word: Value) -> tuple[Numbers, Numbers]:
        """Where that word begins and ends; of lines without it (-1) that of the second one."""
        at = self._first + np.maximum(word, 1)
        return self.text.ends[at - 1] + 1, self.text.ends[at]

    def letter(self, place: Numbers, letter: str) -> None:
        self.sound &= self.text.bytes[place] == ord(letter)

    def whole(self, start: Numbers, end: Numbers, most: int) -> Numbers:
        """The number that is all that stands there."""
        value, count = self.text.number(end)
        self.sound &= (count == end - start) & (count > 0) & (count <= most)
        self.digits += count
        return value
