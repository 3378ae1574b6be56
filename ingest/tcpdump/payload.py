"""What packets carry, from the bytes that tcpdump shows of them.

Of a record's first packet that which its transport carries: behind the headers of TCP, UDP and
ICMP; behind IP's for other protocols and later fragments. The IP header is looked for by the
packet's addresses and protocol, for dumps may begin with the link's (-xx, -XX).
"""

from __future__ import annotations

import io
import socket
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from connwatch.schema import STRINGS

from .bodies import TCP, UDP
from .dumps import SHOWN, Bytes, Dumps, dumps
from .records import INNER
from .words import Flags, Numbers

#: bytes of a packet that are kept
KEPT: Final = 2_048
#: what the schema says of a packet's bytes
PAYLOAD: Final[dict[str, pl.DataType]] = {
    "connwatch.payload.hex": pl.String(),
    "connwatch.payload.text": pl.String(),
    "connwatch.payload.bytes": pl.Int64(),
    "connwatch.payload.flaws": STRINGS,
}
_HEX, _TEXT, _BYTES, _FLAWS = PAYLOAD
#: link headers that are longer are not known
_FARTHEST: Final = 64
_ICMP: Final = (1, 58)
#: IPv6's extension headers: hop by hop, routing, fragment, authentication, options, mobility
_EXTENSIONS: Final = (0, 43, 44, 51, 60, 135)
_FRAGMENT, _AUTHENTICATION = 44, 51
_MOST_EXTENSIONS: Final = 8
#: of an address: IPv4 stands last
_ADDRESS: Final = 16
_NEWLINE, _DOT = ord("\n"), ord(".")
_DIGITS: Final = np.frombuffer(b"0123456789abcdef", np.uint8)
_PRINTED: Final = np.arange(256, dtype=np.uint8)
_PRINTED[:0x20] = _PRINTED[0x7F:] = _DOT
#: a packet as text (-A), from the first line of a record that is not indented
_AS_TEXT: Final = r"\n[E-O`a-o.][\x20-\x7e]"
_OTHER: Final = r"[^\x20-\x7e]"
#: IP headers without options, and an IPv4 address
_HEADERS, _FOUR = 40, 4
_ENDS: Final = ("_src", "_dst")


def payloads(packets: pl.DataFrame) -> pl.DataFrame:
    """Columns `PAYLOAD` of packets (`packet.PACKET`); null: no bytes are shown."""
    none = pl.DataFrame(schema=PAYLOAD).clear(packets.height)
    several = (pl.col("lines") > 1) & (pl.col("depth") == 0)
    row = packets.select(row=pl.arg_where(several)).to_series()
    if row.is_empty():
        return none
    some = packets[row].with_columns(_row=row)
    hexed = some["raw"].str.contains(SHOWN)
    parts = [
        part.with_columns(_row=told["_row"])
        for told, read in ((some.filter(hexed), _hexed), (some.filter(~hexed), _printed))
        if told.height and (part := read(told)).height
    ]
    if not parts:
        return none
    rows = packets.select("line").with_row_index("_row").select("_row")
    return rows.join(pl.concat(parts), on="_row", how="left", maintain_order="left").drop("_row")


def _printed(packets: pl.DataFrame) -> pl.DataFrame:
    """Of packets shown as text (-A): not exact. A letter stands for each byte but for a carriage
    return before a newline, and dots for all that cannot be printed."""
    raw = packets["raw"]
    if (raw.str.len_bytes() != raw.str.len_chars()).any():
        raw = raw.str.replace_all(r"[^\x00-\x7f]", ".")  # a letter is a byte from here on
    length, header = pl.col("payload"), pl.col("size") - pl.col("payload")
    begin = pl.col("place") + 1
    packets = packets.with_columns(
        raw.cast(pl.Binary), place=raw.str.find(_AS_TEXT).cast(pl.Int64)
    ).select(
        _letters(packets["src"]).alias(_ENDS[0]),
        _letters(packets["dst"]).alias(_ENDS[1]),
        length,
        header=header,
        begin=pl.col("raw").bin.slice(begin, _HEADERS).cast(pl.String).str.replace_all(_OTHER, "."),
        text=pl.col("raw").bin.slice(begin + header, length).cast(pl.String),
    )
    # An inner packet's line may begin with the same letters.
    known = (pl.col("header") >= 0) & ~pl.col("begin").str.contains(INNER)
    known = known & pl.any_horizontal(pl.col(_ENDS).is_not_null())
    for end, four, six in zip(_ENDS, (12, 16), (8, 24), strict=True):
        letters, headers = pl.col(end), pl.col("begin").str
        short = letters.str.len_bytes() == _FOUR
        there = pl.when(short).then(headers.slice(four, _FOUR))
        same = there.otherwise(headers.slice(six, _ADDRESS)) == letters
        known = known & same.fill_null(letters.is_null())
    shown = pl.col("text").str.len_bytes()
    returns = pl.col("text").str.count_matches("\n", literal=True)
    flaws = (
        pl.lit("text"),
        pl.when(shown + returns < length).then(pl.lit("captured")),
        pl.when(shown > KEPT).then(pl.lit("limit")),
    )
    columns = {
        _HEX: pl.lit(None, pl.String),
        _TEXT: pl.col("text").str.head(KEPT).str.replace_all(_OTHER, "."),
        _BYTES: length,
        _FLAWS: pl.concat_list(flaws).list.drop_nulls(),
    }
    known = known & pl.col("text").is_not_null()
    return packets.with_columns(known=known).select(
        pl.when("known").then(expr).alias(name) for name, expr in columns.items()
    )


def _letters(addresses: pl.Series) -> pl.Series:
    """Addresses as -A shows their bytes; null for null."""
    different = addresses.drop_nulls().unique()
    # One address at a time: there are far fewer different ones than packets.
    shown = [_PRINTED[list(_packed(text))].tobytes().decode() for text in different]
    return addresses.replace_strict(
        different, pl.Series(shown, dtype=pl.String), default=None, return_dtype=pl.String
    )


def _packed(address: str) -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.inet_pton(family, address)


def _hexed(packets: pl.DataFrame) -> pl.DataFrame:
    found = dumps(packets["raw"])
    place = _headers(found, packets)
    parts = _parts(found, place)
    told = packets["payload"].fill_null(-1).to_numpy()
    # A header that is cut does not say what is behind it; the text may.
    length = np.where(parts.whole, parts.end - parts.begin, told)
    shown = np.where(parts.whole, np.clip(found.size - parts.begin, 0, length), 0)
    kept = np.minimum(shown, KEPT)
    known = place >= 0
    hexed, printed = _texts(found, found.start + parts.begin, kept)
    flaws = {
        "damaged": found.damaged,
        "other": ~known & ~(found.damaged & (found.size == 0)),
        "captured": known & ~found.damaged & (~parts.whole | (shown < length)),
        "limit": known & (shown > KEPT),
    }
    made = pl.DataFrame(
        {
            _HEX: hexed,
            _TEXT: printed,
            _BYTES: pl.Series(length, dtype=pl.Int64),
            "known": known,
            **flaws,
        }
    )
    words = pl.concat_list(pl.when(name).then(pl.lit(name)) for name in flaws).list.drop_nulls()
    return made.select(
        pl.when("known").then(_HEX).alias(_HEX),
        pl.when("known").then(_TEXT).alias(_TEXT),
        pl.when(pl.col("known") & (pl.col(_BYTES) >= 0)).then(_BYTES).alias(_BYTES),
        pl.when(words.list.len() > 0).then(words).alias(_FLAWS),
    )


def _headers(found: Dumps, packets: pl.DataFrame) -> Numbers:
    """Where the IP header stands in each record's bytes; -1: there is none of this packet."""
    table, source, target = _addresses(packets)
    number = packets["number"].fill_null(-1).to_numpy()
    size = packets["size"].fill_null(-1).to_numpy()
    place = np.full(packets.height, -1)
    rows = np.arange(packets.height)
    for at in range(_FARTHEST + 1):
        rows = rows[place[rows] < 0]
        first = found.at(np.full(len(rows), at), rows)
        some = ((first >= 0x45) & (first <= 0x4F)) | (first >> 4 == 6)
        mine, four = rows[some], first[some] < 0x50
        begin = np.full(len(mine), at)
        fits = ~four | (number[mine] < 0) | (found.at(begin + 9, mine) == number[mine])
        mine, four, begin = mine[fits], four[fits], begin[fits]
        behind = np.where(four, 2, 4) + begin
        told = found.at(behind, mine) * 256 + found.at(behind + 1, mine) + np.where(four, 0, 40)
        ends = source[mine], target[mine]
        # Names in place of both addresses: the length has to do.
        fits = (ends[0] > 0) | (ends[1] > 0) | (size[mine] < 0) | (told == size[mine])
        for end, four_at, six_at in zip(ends, (12, 16), (8, 24), strict=True):
            same = np.ones(len(mine), np.bool_)
            for nth in range(_ADDRESS):
                there = begin + np.where(four, four_at + nth - 12, six_at + nth)
                # IPv4's stand behind what a mapped address begins with.
                passed = four & (nth < _ADDRESS - 4)
                same &= passed | (found.at(there, mine) == table[end, nth])
            fits &= same | (end == 0)
        place[mine[fits]] = at
    return place


def _addresses(packets: pl.DataFrame) -> tuple[Bytes, Numbers, Numbers]:
    """The bytes of addresses, and which of them both ends are; 0: the text has a name."""
    both = pl.concat([packets["src"], packets["dst"]])
    different = both.drop_nulls().unique(maintain_order=True)
    table = np.zeros((len(different) + 1, _ADDRESS), np.uint8)
    # One address at a time: there are far fewer different ones than packets.
    for row, text in enumerate(different, 1):
        packed = _packed(text)
        # An IPv4 address in an IPv6 packet is a mapped one.
        mapped = packed if len(packed) == _ADDRESS else bytes(10) + b"\xff\xff" + packed
        table[row] = np.frombuffer(mapped, np.uint8)
    rows = pl.Series(range(1, len(different) + 1), dtype=pl.Int64)
    codes = both.replace_strict(different, rows, default=0, return_dtype=pl.Int64).fill_null(0)
    known = codes.to_numpy()
    return table, known[: packets.height], known[packets.height :]


@dataclass(frozen=True, slots=True)
class _Parts:
    """Where what a packet carries begins and ends in its bytes, be they shown or not. whole:
    whether all headers before it are shown."""

    begin: Numbers
    end: Numbers
    whole: Flags


def _parts(found: Dumps, place: Numbers) -> _Parts:
    four = found.at(place) >> 4 == 4
    length = np.where(four, found.pair(place + 2), found.pair(place + 4))
    # A length of 0 is one that was left to the card.
    rest = length == 0
    end = np.where(rest, found.size, place + length + np.where(four, 0, 40))
    at = place + np.where(four, (found.at(place) & 15) * 4, 40)
    protocol = np.where(four, found.at(place + 9), found.at(place + 6))
    later = four & (found.pair(place + 6) & 0x1FFF > 0)
    for _ in range(_MOST_EXTENSIONS):
        more = ~four & ~later & np.isin(protocol, _EXTENSIONS) & (at < found.size)
        if not more.any():
            break
        units = found.at(at + 1)
        size = np.where(protocol == _AUTHENTICATION, units * 4 + 8, units * 8 + 8)
        size = np.where(protocol == _FRAGMENT, 8, size)
        later |= more & (protocol == _FRAGMENT) & (found.pair(at + 2) >= 8)
        protocol, at = np.where(more, found.at(at), protocol), np.where(more, at + size, at)
    header = np.zeros(len(at), np.int64)
    header[protocol == TCP] = np.maximum(found.at(at + 12) >> 4, 5)[protocol == TCP] * 4
    header[np.isin(protocol, (UDP, *_ICMP))] = 8
    header[later] = 0
    datagram = found.pair(at + 4)
    datagram = np.where((protocol == UDP) & ~later & (datagram >= 8), at + datagram, end)
    begin = at + header
    open_ = ~four & ~later & np.isin(protocol, _EXTENSIONS)
    whole = (place >= 0) & (begin <= found.size) & ~open_
    return _Parts(begin, np.maximum(np.minimum(end, datagram), begin), whole)


def _texts(found: Dumps, begin: Numbers, size: Numbers) -> tuple[pl.Series, pl.Series]:
    """That many bytes from there on, as hex digits and as text with dots for what cannot be
    printed."""
    marks = np.zeros(len(found.data) + 1, np.int8)
    order = np.flatnonzero(size > 0)
    marks[begin[order]] = 1
    marks[begin[order] + size[order]] -= 1
    bytes_ = found.data[np.cumsum(marks[:-1], dtype=np.int8) > 0]
    # Behind each record's bytes one that ends its line.
    ends = np.cumsum(size + 1) - 1
    kept = np.ones(len(bytes_) + len(size), np.bool_)
    kept[ends] = False
    printed = np.full(len(kept), _NEWLINE, np.uint8)
    printed[kept] = _PRINTED[bytes_]
    digits = np.empty((len(kept), 2), np.uint8)
    digits[kept, 0], digits[kept, 1] = _DIGITS[bytes_ >> 4], _DIGITS[bytes_ & 15]
    digits[ends, 0] = _NEWLINE
    shown = np.ones(digits.size, np.bool_)
    shown[ends * 2 + 1] = False
    return _rows(digits.reshape(-1)[shown]), _rows(printed)


def _rows(lines: Bytes) -> pl.Series:
    return pl.read_lines(io.BytesIO(lines.tobytes()), name="line").to_series()
