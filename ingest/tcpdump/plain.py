"""Blocks in which every record begins with the same form of time, told by their bytes.

Nearly all of a capture is such. What is not (offsets, comments, odd lines, other encodings) goes
through columns of text instead (`reader.packets`), which says the same of what is.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .clock import LETTERS, Clock, clocked, form_of
from .packet import NO_FRAMES
from .quick import columns
from .reader import NO_FAULTS, Read, joined, lines_of
from .words import Numbers, Text

#: bytes that stand for something else elsewhere, and the one put where a record's line ends
_ODD: Final = (b"\r", b"\x1b", b"\x1f")
_MARK: Final = 0x1F
_HEX: Final = np.isin(np.arange(256), np.frombuffer(b"0123456789abcdef", np.uint8))
_BLANK, _TAB, _ZERO = ord(" "), ord("\t"), ord("0")
_DUMP: Final = r"\n\t0x[0-9a-f]{4}:  "
#: up to where a number may stand in front of a line's time (-#)
_NUMBERED: Final = 15


@dataclass(frozen=True, slots=True)
class Plain:
    """Whole records. starts: where lines begin. begins: of each line, whether it begins a record.
    dumps: whether it shows bytes (-x, -X), of which no other line of its record comes behind.
    letters: a row for each place of the form, a column for each line."""

    data: bytes
    text: Text
    form: str
    starts: Numbers
    begins: NDArray[np.bool_]
    dumps: NDArray[np.bool_]
    letters: NDArray[np.uint8]

    @property
    def lines(self) -> int:
        return len(self.begins)

    def times(self, clock: Clock) -> tuple[pl.Series, Clock] | None:
        """Of each record (µs); None: there is one that cannot be."""
        letters = self.letters if self.begins.all() else self.letters[:, self.begins]
        times, clock = clocked(letters, self.form, clock)
        return None if times.null_count() else (times, clock)

    def read(self, line: int, offset: int, times: pl.Series) -> Read:
        """The packets, as `reader.packets` has them. line, offset: of the first line."""
        rows = np.flatnonzero(self.begins)
        ends = np.append(rows[1:], self.lines)
        raw = self._raw(ends - 1)
        starts = self.starts if len(rows) == self.lines else self.starts[rows]
        records = pl.DataFrame(
            [
                pl.Series("line", rows + line),
                pl.Series("offset", starts + offset),
                pl.Series("lines", ends - rows),
                raw,
                times,
            ]
        )
        found, clean = columns(records, self._told(rows), np.arange(len(rows)))
        if found.height == records.height:
            return Read(found, NO_FRAMES, NO_FAULTS, self.lines, self.lines, 0)
        found, frames, bad = joined(_parts(records, self.form), found, clean)
        faults = lines_of(bad, _lines(records)) if bad.height else NO_FAULTS
        kept = self.lines - faults.height
        return Read(found, frames, faults, self.lines, kept, 0)

    def _raw(self, last: Numbers) -> pl.Series:
        """The records as they are, each of which becomes a line of the text. last: their last
        lines."""
        if len(last) == self.lines:
            # One piece: rows are taken out of it many times faster than out of several.
            return pl.read_lines(io.BytesIO(self.data), name="raw").to_series().rechunk()
        self.text.join(last, _MARK)
        marked = pl.read_lines(io.BytesIO(self.text.bytes.data), name="raw").to_series()
        return marked.str.replace_all(chr(_MARK), "\n", literal=True).rechunk()

    def _told(self, rows: Numbers) -> Text:
        """The text without dumps, of which each record is a line. rows: where records begin."""
        if not self.dumps.any():
            return self.text
        sizes = np.diff(self.starts, append=len(self.data))
        kept = self.text.bytes[np.repeat(~self.dumps, sizes)]
        # The last line that is kept may be one within its record.
        counts = np.add.reduceat(np.where(self.dumps, 0, sizes), rows)
        kept[np.cumsum(counts) - 1] = ord("\n")
        return Text(kept.tobytes())


def look(data: bytes) -> Plain | None:
    """Whole records; None: they are not alike, or there is none."""
    form = form_of(data[:40].decode("latin-1"))
    if form is None or not data.isascii() or any(one in data for one in _ODD):
        return None
    data = data if data.endswith(b"\n") else data + b"\n"
    text = Text(data)
    starts = np.zeros(text.lines, np.int64)
    starts[1:] = text.ends[text.last[:-1]] + 1
    letters = text.heads(starts, len(LETTERS[form]) + 1)
    begins, dumps = _begin(letters, form), _dump(letters)
    if not begins[0] or not (begins | dumps | _goes_on(letters)).all():
        return None
    if (dumps[:-1] & ~dumps[1:] & ~begins[1:]).any():
        return None
    return Plain(data, text, form, starts, begins, dumps, letters)


def _begin(letters: NDArray[np.uint8], form: str) -> NDArray[np.bool_]:
    """Which lines begin with a time of that form."""
    begins: NDArray[np.bool_] = letters[-1] == _BLANK
    for place, one in enumerate(LETTERS[form]):
        at = letters[place]
        begins &= at - np.uint8(_ZERO) <= 9 if one.isalpha() else at == ord(one)
    return begins


def _dump(letters: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which lines show bytes, behind an offset of four digits."""
    dumps = letters[0] == _TAB
    if not dumps.any():
        return np.asarray(dumps)
    for place, letter in ((1, "0"), (2, "x"), (7, ":"), (8, " "), (9, " ")):
        dumps = dumps & (letters[place] == ord(letter))
    for place in range(3, 7):
        dumps = dumps & _HEX[letters[place]]
    return np.asarray(dumps)


def _goes_on(letters: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which lines continue a record for sure: of -v, and decoders' further lines."""
    blank = letters == _BLANK
    indented = blank[0] & blank[1] & blank[2] & blank[3] & (letters[4] > _BLANK)
    for place in range(5, _NUMBERED):
        indented &= ~(blank[place] & blank[place + 1])
    tabbed = np.zeros(letters.shape[1], np.bool_)
    before = letters[0] == _TAB
    for place in range(1, len(letters) - 1):
        here = letters[place]
        dumped = (here == _ZERO) & (letters[place + 1] == ord("x"))
        tabbed |= before & (here > _BLANK) & ~dumped
        before = before & ((here == _BLANK) | (here == _TAB))
    return np.asarray(tabbed | indented)


def _parts(records: pl.DataFrame, form: str) -> pl.DataFrame:
    """With what `exact` wants, and the record's number."""
    parts = records["raw"].str.splitn("\n", 2).struct.unnest()
    # Dumps come last: the first one and all behind it.
    rest = ("\n" + parts.to_series(1)).alias("rest").to_frame()
    place = pl.col("rest").str.find(_DUMP)
    more = pl.col("rest").str.slice(1, place.cast(pl.Int64) - 1)
    told = rest.select(
        more=pl.when(place.is_null()).then(pl.col("rest").str.slice(1)).when(place > 0).then(more),
        dump=pl.col("rest").str.slice(place + 1),
    )
    return records.with_columns(
        parts.to_series(0).str.slice(len(LETTERS[form]) + 1).alias("rest"),
        *told.get_columns(),
        record=pl.int_range(pl.len(), dtype=pl.UInt32),
    )


def _lines(records: pl.DataFrame) -> pl.DataFrame:
    """Each line of these records: line, offset, raw, record."""
    made = records.with_columns(
        pl.col("raw").str.split("\n"), record=pl.int_range(pl.len(), dtype=pl.UInt32)
    ).explode("raw", empty_as_null=False)
    size = pl.col("raw").str.len_bytes().cast(pl.Int64) + 1
    within = pl.int_range(pl.len()).over("record")
    return made.select(
        pl.col("line") + within,
        pl.col("offset") + (size.cum_sum() - size).over("record"),
        "raw",
        "record",
    )
