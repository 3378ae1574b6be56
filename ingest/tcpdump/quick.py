"""Common records of one line, read as columns.

Where a line's skeleton is of a known form, its numbers are read from the bytes at the places that
the form names. That every digit of the line stands at such a place is proved by counting them;
what is not proved is read by `exact`, which says the same of all these.
"""

from __future__ import annotations

import io
import re
from typing import Any, Final

import numpy as np
import polars as pl
import polars_iptools as ip
from numpy.typing import NDArray

from ..addresses import canonical
from ..sockets.ends import PORT
from .bodies import TCP, UDP
from .lead import mac
from .options import options_length
from .packet import PACKET
from .skeleton import DIGITS, Layout, Skeletons, skeletons
from .words import Numbers, Text, Words

#: different skeletons of one block that are looked at; rarer ones are read by `exact`
_MOST: Final = 2_000
#: lines of one layout from which on columns are the quicker way
_FEWEST: Final = 16
#: words of IP's header that hold no number (tos, ttl, id, offset, flags, proto, length), with their
#: letters
_HEAD_WORDS: Final = ((0, 4), (2, 3), (4, 2), (6, 6), (8, 5), (10, 5), (13, 6))
_BROKEN: Final = b")\n    "
_JOINED: Final = b")\x1f    "
_S: Final = pl.String()
_I: Final = pl.Int64()
_MAC: Final = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_TYPES: Final = ((False, b"IPv4 (0x0800),"), (True, b"IPv6 (0x86dd),"))
_Made = dict[str, Numbers | int]
#: columns that are numbers of a line; -1 stands for null until the end
_NUMBERS: Final = (
    "number", "sport", "dport", "size", "payload", "seq", "end", "ack", "window", "icmp_type",
    "icmp_code", "icmp_id", "icmp_seq", "ip_id",
)  # fmt: skip
#: places of texts in the line: where they begin, and their lengths
_PLACES: Final = ("src", "src_size", "dst", "dst_size", "macs", "options", "options_size")


def quick(records: pl.DataFrame, data: bytes, offset: int) -> tuple[pl.DataFrame, pl.Series]:
    """The packets (`PACKET`) of those of these records that are of a known form, and which these
    are. records: line, offset, lines, raw, time, more, dump. data: the bytes of their lines, which
    begin at `offset`; nothing is told of them unless they are plain ASCII.
    """
    none = pl.DataFrame(schema=PACKET), pl.repeat(False, records.height, eager=True)
    if not data or not data.isascii() or b"\r" in data or b"\x1b" in data:
        return none
    data = data if data.endswith(b"\n") else data + b"\n"
    broken = records["more"].null_count() < records.height
    if broken:
        # A record with IP's header on a line of its own (-v) is one line with another blank.
        data = data.replace(_BROKEN, _JOINED)
    text = Text(data)
    rows = text.lines_at(records["offset"].to_numpy() - offset)
    lines = pl.read_lines(io.BytesIO(data.translate(None, DIGITS)), name="k").to_series()
    forms = skeletons(lines if len(rows) == text.lines else lines.gather(rows), _MOST)
    layout = forms.layout
    if broken or records["dump"].null_count() < records.height:
        told = pl.col("raw").str.contains(_BROKEN.decode(), literal=True)
        one = (pl.col("lines") == 1) | ((pl.col("lines") == 2) & told)
        alone = records.select(one & pl.col("dump").is_null()).to_series()
        layout = np.where(alone.to_numpy(), layout, -1)
    found = _Found(records, forms)
    for number, count in enumerate(np.bincount(layout + 1, minlength=1)[1:]):
        if count >= _FEWEST:
            mine = np.flatnonzero(layout == number)
            words = Words(text, rows[mine])
            found.read(mine, forms.layouts[number], words)
    return found.packets()


class _Found:
    """What is read of records, layout by layout."""

    def __init__(self, records: pl.DataFrame, forms: Skeletons) -> None:
        self._records, self._forms = records, forms
        self._sound = np.zeros(records.height, np.bool_)
        self._six = np.zeros(records.height, np.bool_)
        self._columns = {
            name: np.full(records.height, -1, np.int64) for name in (*_NUMBERS, *_PLACES, "bad")
        }

    def read(self, rows: Numbers, layout: Layout, words: Words) -> None:
        """Read the records with these rows, which have this layout."""
        made: _Made = {"number": layout.protocol}
        six = _lead(layout, words, made)
        before = words.start(layout.src)
        letters = self._forms.letters[self._forms.known[rows]]
        letters = letters + _ends(layout, words, made)
        if layout.protocol == TCP:
            letters += _segment(layout, words, made) + _sums(layout, words)
        if layout.protocol == 1:
            _echo(layout, words, made)
        value = _length(layout, words)
        made["payload"] = np.maximum(value - 8, 0) if layout.protocol == 1 else value
        header = np.where(six, 40, 20) + (8 if layout.protocol == UDP else 0)
        made["bad"] = layout.bad
        if layout.head >= 0:
            made["size"] = _head(layout, words, made)
            words.sound &= ~six
        elif layout.protocol == TCP:
            options = self._options(rows, layout, words)
            made["size"] = value + header + 20 + np.maximum(options, 0)
        else:
            made["size"] = value + header
        until = words.stop if layout.free < 0 else words.start(layout.free)
        words.sound &= until - before - letters == words.digits
        whole = len(rows) == self._records.height
        for name, values in made.items():
            if whole and not isinstance(values, int):
                self._columns[name] = values
            else:
                self._columns[name][rows] = values
        self._six[rows], self._sound[rows] = six, words.sound

    def _options(self, rows: Numbers, layout: Layout, words: Words) -> Numbers | int:
        """Bytes of TCP's options; -1: it is not told yet, but where they stand is noted."""
        if layout.opt < 0:
            return 0
        if layout.stamped:
            return 12
        place = words.start(layout.opt) + 1
        self._columns["options"][rows] = place - words.begin
        self._columns["options_size"][rows] = words.start(layout.length - 1) - 3 - place
        return -1

    def packets(self) -> tuple[pl.DataFrame, pl.Series]:
        """The packets, and which records they are of."""
        keep = self._sound.copy()
        keep &= (self._columns["sport"] <= PORT) & (self._columns["dport"] <= PORT)
        if not keep.any():
            return pl.DataFrame(schema=PACKET), pl.Series(keep)
        rows = None if keep.all() else np.flatnonzero(keep)
        made = self._frame(rows)
        good = made["sound"]
        if not good.all():
            keep[np.flatnonzero(keep)[~good.to_numpy()]] = False
            made = made.filter(good)
        return made.select(*PACKET), pl.Series(keep)

    def _frame(self, rows: Numbers | None) -> pl.DataFrame:
        """`PACKET` of these rows, and sound: whether both ends are addresses of their version."""
        known = self._records if rows is None else self._records[rows]
        values: dict[str, NDArray[Any]] = {
            name: column if rows is None else column[rows] for name, column in self._columns.items()
        }
        values["six"] = self._six if rows is None else self._six[rows]
        values["known"] = self._forms.known if rows is None else self._forms.known[rows]
        frame = known.hstack(pl.DataFrame({f"_{name}": column for name, column in values.items()}))
        frame = frame.with_columns(
            pl.col("raw")
            .str.slice(pl.col(f"_{name}"), pl.col(f"_{name}_size"))
            .alias(f"_{name}_text")
            for name in ("src", "dst")
        )
        forms = self._forms
        columns = {
            **{name: pl.col(name) for name in ("line", "offset", "lines", "raw", "time")},
            **{name: _number(name, values[name]) for name in _NUMBERS},
            **{name: _address(name) for name in ("src", "dst")},
            "flags": pl.lit(forms.flags).gather(pl.col("_known")),
            "application": pl.when((pl.col("_number") != TCP) | (pl.col("_payload") > 0)).then(
                pl.lit(forms.application).gather(pl.col("_known"))
            ),
            "transport": pl.when(pl.col("_number") == TCP)
            .then(pl.lit("tcp"))
            .when(pl.col("_number") == UDP)
            .then(pl.lit("udp"))
            .otherwise(pl.lit("icmp")),
            "bad": pl.when(pl.col("_bad") >= 0).then(pl.col("_bad") == 1),
            "depth": pl.lit(0, _I),
        }
        if (values["macs"] >= 0).any():
            columns["src_mac"] = _slot("macs", 17)
            columns["dst_mac"] = pl.when(pl.col("_macs") >= 0).then(
                pl.col("raw").str.slice(pl.col("_macs") + 20, 17)
            )
        made = frame.select(
            columns.get(name, pl.lit(None, kind)).alias(name) for name, kind in PACKET.items()
        )
        if "src_mac" in columns:
            made = _with_macs(made)
        if values["six"].any():
            made = _with_six(made, pl.Series(values["six"]))
        if (values["options"] >= 0).any():
            made = _with_options(made, values["options"], values["options_size"])
        linked = pl.lit(pl.Series(values["macs"])) >= 0
        sound = pl.col("src").is_not_null() & pl.col("dst").is_not_null()
        if "src_mac" in columns:
            sound &= ~linked | (pl.col("src_mac").is_not_null() & pl.col("dst_mac").is_not_null())
        return made.with_columns(sound=sound)


def _number(name: str, values: Numbers) -> pl.Expr:
    """The column of these values, null where they are below 0."""
    least = values.min(initial=0)
    if least >= 0:
        return pl.col(f"_{name}")
    if values.max(initial=-1) < 0:
        return pl.lit(None, _I)
    return pl.when(pl.col(f"_{name}") >= 0).then(f"_{name}")


def _slot(name: str, size: pl.Expr | int) -> pl.Expr:
    """What stands at that place of the line; null where there is none."""
    place = pl.col(f"_{name}")
    return pl.when(place >= 0).then(pl.col("raw").str.slice(place, size))


def _address(name: str) -> pl.Expr:
    """The text of an end: canonical, or null, if it is of version 4."""
    return pl.when(pl.col("_six") | ip.ipv4_to_numeric(pl.col(f"_{name}_text")).is_not_null()).then(
        f"_{name}_text"
    )


def _with_six(made: pl.DataFrame, six: pl.Series) -> pl.DataFrame:
    """With addresses of version 6 in canonical form, null for what is none."""
    for name in ("src", "dst"):
        shown = made[name].filter(six)
        told = canonical(shown)
        told = told.set(~shown.str.contains(":", literal=True), None)
        made = made.with_columns(made[name].scatter(six.arg_true(), told))
    return made


def _with_options(made: pl.DataFrame, places: Numbers, sizes: Numbers) -> pl.DataFrame:
    """With the options that stand there (-1: none) in size; null where their bytes are not told."""
    rows = pl.Series(np.flatnonzero(places >= 0))
    part = pl.DataFrame({"place": places, "bytes": sizes})[rows].hstack(
        made.select("raw", "size")[rows]
    )
    # Their numbers make nearly every text another one, and say nothing of their length.
    shown = pl.col("raw").str.slice(pl.col("place"), pl.col("bytes"))
    part = part.select(
        "size",
        shape=shown.str.replace_all(r"TS val [0-9]+ ecr [0-9]+", "TS").str.replace_all(
            r"\{[0-9]+:[0-9]+\}", "{"
        ),
    )
    lengths = {one: options_length(one) for one in part["shape"].unique()}
    extra = pl.col("shape").replace_strict(lengths, return_dtype=_I)
    size = made["size"].scatter(rows, part.select(pl.col("size") + extra).to_series())
    return made.with_columns(size)


def _with_macs(made: pl.DataFrame) -> pl.DataFrame:
    """With link addresses as the schema has them, null for what is none."""
    for name in ("src_mac", "dst_mac"):
        shown = made[name]
        # Few stations are seen many times.
        known = {one: mac(one) for one in shown.unique().drop_nulls() if _MAC.fullmatch(one)}
        made = made.with_columns(shown.replace_strict(known, default=None, return_dtype=_S))
    return made


def _lead(layout: Layout, words: Words, made: _Made) -> NDArray[np.bool_]:
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


def _head(layout: Layout, words: Words, made: _Made) -> Numbers:
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


def _sums(layout: Layout, words: Words) -> Numbers | int:
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


def _ends(layout: Layout, words: Words, made: _Made) -> Numbers:
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


def _segment(layout: Layout, words: Words, made: _Made) -> Numbers | int:
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


def _echo(layout: Layout, words: Words, made: _Made) -> None:
    made["icmp_type"], made["icmp_code"] = layout.kind, 0
    made["icmp_id"] = _counted(words, layout.ack, 5)
    made["icmp_seq"] = _counted(words, layout.seq, 5)


def _length(layout: Layout, words: Words) -> Numbers:
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
