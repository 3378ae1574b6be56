"""Common records of one line, read as columns.

Where a line's skeleton is of a known form, its numbers are read from the bytes at the places that
the form names. That every digit of the line stands at such a place is proved by counting them;
what is not proved is read by `exact`, which says the same of all these.
"""

from __future__ import annotations

import io
import re
from functools import lru_cache
from typing import Final

import numpy as np
import polars as pl
import polars_iptools as ip
from numpy.typing import NDArray

from ..addresses import canonical
from ..sockets.ends import PORT
from .bodies import TCP, UDP
from .fields import Lines, Made, echo, ends, head, lead, length, options, segment, sums
from .lead import mac
from .options import options_length
from .packet import NO_PACKETS
from .skeleton import DIGITS, Skeletons, numbered, skeletons
from .words import Numbers, Text, Value, Words

#: different skeletons of one block that are looked at; rarer ones are read by `exact`
_MOST: Final = 2_000
#: lines of one kind from which on columns are the quicker way
_FEWEST: Final = 16
_BROKEN: Final = b")\n    "
_JOINED: Final = b")\x1f    "
_S: Final = pl.String()
_I: Final = pl.Int64()
#: characters of a link address, and of two with an arrow between them
_ONE: Final = 17
_PAIR: Final = 37
_MAC: Final = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
#: columns that are numbers of a line; -1 stands for null until the end
_NUMBERS: Final = (
    "sport", "dport", "size", "payload", "seq", "end", "ack", "window", "icmp_type", "icmp_code",
    "icmp_id", "icmp_seq", "ip_id",
)  # fmt: skip
#: places of texts in the line: where they begin, and their lengths
_PLACES: Final = ("src", "src_size", "dst", "dst_size", "macs", "options", "options_size")
_TRANSPORTS: Final = {TCP: "tcp", UDP: "udp", 1: "icmp"}


def quick(records: pl.DataFrame, data: bytes, offset: int) -> tuple[pl.DataFrame, pl.Series]:
    """The packets (`PACKET`) of those of these records that are of a known form, and which these
    are. records: line, offset, lines, raw, time, more, dump. data: the bytes of their lines, which
    begin at `offset`; nothing is told of them unless they are plain ASCII.
    """
    none = NO_PACKETS, pl.repeat(False, records.height, eager=True)
    if not data or not data.isascii() or b"\r" in data or b"\x1b" in data:
        return none
    data = data if data.endswith(b"\n") else data + b"\n"
    alone = None
    if records["more"].null_count() + records["dump"].null_count() < 2 * records.height:
        # A record with IP's header on a line of its own (-v) is one line with another blank.
        data = data.replace(_BROKEN, _JOINED)
        told = pl.col("raw").str.contains(_BROKEN.decode(), literal=True)
        one = (pl.col("lines") == 1) | ((pl.col("lines") == 2) & told)
        alone = records.select(one & pl.col("dump").is_null()).to_series().to_numpy()
    text = Text(data)
    return columns(records, text, text.lines_at(records["offset"].to_numpy() - offset), alone)


def columns(
    records: pl.DataFrame, text: Text, rows: Numbers, alone: NDArray[np.bool_] | None = None
) -> tuple[pl.DataFrame, pl.Series]:
    """The same of records that are these lines of a text. alone: which of them are whole lines of
    it; None: all."""
    lines = pl.read_lines(io.BytesIO(text.without(DIGITS)), name="k").to_series()
    forms = skeletons(lines if len(rows) == text.lines else lines.gather(rows), _MOST)
    number = forms.number if alone is None else np.where(alone, forms.number, -1)
    found = _Found(records, forms, number)
    kind = np.full(len(forms.known) + 1, -1)
    for at, some in enumerate(forms.kinds.values()):
        kind[some] = at
    kind = kind[number]
    for at, one in enumerate(forms.kinds):
        mine = np.flatnonzero(kind == at)
        if len(mine) >= _FEWEST:
            found.read(mine, Lines(one, Words(text, rows[mine]), forms, number[mine]))
    return found.packets()


class _Found:
    """What is read of records, kind by kind."""

    def __init__(self, records: pl.DataFrame, forms: Skeletons, number: Numbers) -> None:
        self._records, self._forms, self._number = records, forms, number
        self._sound = np.zeros(records.height, np.bool_)
        self._six = np.zeros(records.height, np.bool_)
        self._bad = np.full(records.height, -1, np.int64)
        self._columns: dict[str, Numbers] = {}

    def read(self, rows: Numbers, lines: Lines) -> None:
        """Read the records with these rows."""
        made: Made = {}
        words, protocol = lines.words, lines.kind.protocol
        six = lead(lines, made)
        before = words.start(lines.kind.src)
        letters = lines.of("letters") + ends(lines, made)
        if protocol == TCP:
            letters += segment(lines, made) + sums(lines)
        if protocol == 1:
            echo(lines, made)
        value = length(lines)
        made["payload"] = np.maximum(value - 8, 0) if protocol == 1 else value
        header = np.where(six, 40, 20)
        if lines.kind.head >= 0:
            made["size"] = head(lines, made)
            words.sound &= ~six
        elif protocol == TCP:
            told = options(lines, rows)
            if told.min() < 0:
                self._untold(rows, lines, told)
            made["size"] = value + header + 20 + np.maximum(told, 0)
        else:
            made["size"] = value + header + (8 if protocol == UDP else 0)
        free = lines.of("free")
        until = words.stop
        if free.max() >= 0:
            until = np.where(free < 0, until, words.span(free)[0])
        words.sound &= until - before - letters == words.digits
        self._bad[rows] = lines.of("bad")
        for name, values in made.items():
            self._put(name, rows, values)
        self._six[rows], self._sound[rows] = six, words.sound

    def _put(self, name: str, rows: Numbers, values: Value | int) -> None:
        """Values of a column, which stand at these rows."""
        if len(rows) == self._records.height and isinstance(values, np.ndarray):
            self._columns[name] = values
            return
        if name not in self._columns:
            self._columns[name] = np.full(self._records.height, -1, np.int64)
        self._columns[name][rows] = values

    def _untold(self, rows: Numbers, lines: Lines, told: Numbers) -> None:
        """Note where options stand whose size is not told yet (-1)."""
        words = lines.words
        some = np.flatnonzero(told < 0)
        place, _ = words.span(lines.of("opt"))
        stop = words.start(lines.of("length") - 1) - 3
        self._put("options", rows[some], (place + 1 - words.begin)[some])
        self._put("options_size", rows[some], (stop - place - 1)[some])

    def packets(self) -> tuple[pl.DataFrame, pl.Series]:
        """The packets, and which records they are of."""
        keep = self._sound.copy()
        for name in ("sport", "dport"):
            if name in self._columns:
                keep &= self._columns[name] <= PORT
        if not keep.any():
            return NO_PACKETS, pl.Series(keep)
        rows = None if keep.all() else np.flatnonzero(keep)
        made, good = self._frame(rows)
        if not good.all():
            keep[np.flatnonzero(keep)[~good.to_numpy()]] = False
            made = made.filter(good)
        return made, pl.Series(keep)

    def _frame(self, rows: Numbers | None) -> tuple[pl.DataFrame, pl.Series]:
        """`PACKET` of these rows, and whether both ends are addresses of their version."""
        records = self._records if rows is None else self._records[rows]
        values = self._columns
        number, six, bad = self._number, self._six, self._bad
        if rows is not None:
            values = {name: column[rows] for name, column in values.items()}
            number, six, bad = number[rows], six[rows], bad[rows]
        made = {name: records[name] for name in ("line", "offset", "lines", "raw", "time")}
        made |= _numbers({name: values[name] for name in _NUMBERS if name in values})
        made |= self._shared(pl.Series(number), values.get("payload"))
        made["depth"] = pl.repeat(0, len(number), dtype=_I, eager=True)
        if bad.max() >= 0:
            told = pl.Series("bad", bad == 1)
            made["bad"] = told if bad.min() >= 0 else told.set(pl.Series(bad < 0), None)
        made |= _ends(records["raw"], values, six)
        sound = made["src"].is_not_null() & made["dst"].is_not_null()
        if "macs" in values:
            made |= _macs(records["raw"], values["macs"])
            known = made["src_mac"].is_not_null() & made["dst_mac"].is_not_null()
            sound &= known | pl.Series(values["macs"] < 0)
        if "options" in values:
            made["size"] = _with_options(made, values["options"], values["options_size"])
        count = len(number)
        nulls = _nulls(count.bit_length()).head(count).get_columns()
        frame = pl.DataFrame([made.get(one.name, one).alias(one.name) for one in nulls])
        return frame, sound

    def _shared(self, number: pl.Series, payload: Numbers | None) -> dict[str, pl.Series]:
        """What skeletons tell."""
        known = self._forms.known
        protocols = [one.kind.protocol for one in known]
        told = pl.DataFrame(
            {
                "number": pl.Series(protocols, dtype=_I),
                "transport": [_TRANSPORTS[one] for one in protocols],
                "flags": pl.Series([one.flags for one in known], dtype=_S),
                "application": pl.Series([one.application for one in known], dtype=_S),
            }
        )
        made = {one.name: one for one in told[number]}
        service = made["application"]
        if TCP in protocols and payload is not None and service.null_count() < len(service):
            empty = pl.Series(payload <= 0) & (made["number"] == TCP)
            made["application"] = service.set(empty, None)
        return made


@lru_cache(maxsize=4)
def _nulls(bits: int) -> pl.DataFrame:
    """`PACKET` in nulls, of so many rows as a number of that many bits can be."""
    return NO_PACKETS.clear(1 << bits)


def _numbers(values: dict[str, Numbers]) -> dict[str, pl.Series]:
    """Columns of these values, null where they are below 0."""
    whole = {name: column for name, column in values.items() if column.min() >= 0}
    rest = pl.DataFrame({name: column for name, column in values.items() if name not in whole})
    made = {name: pl.Series(column) for name, column in whole.items()}
    if rest.width:
        every = pl.all()
        made |= {one.name: one for one in rest.select(pl.when(every >= 0).then(every))}
    return made


def _ends(
    raw: pl.Series, values: dict[str, Numbers], six: NDArray[np.bool_]
) -> dict[str, pl.Series]:
    """The texts of both ends: canonical, or null."""
    frame = pl.DataFrame(
        [raw.alias("raw"), *(pl.Series(name, values[name]) for name in _PLACES[:4])]
    )
    shown = frame.select(
        pl.col("raw").str.slice(name, f"{name}_size").alias(name) for name in ("src", "dst")
    )
    good = shown.select(ip.ipv4_to_numeric(pl.all()).is_not_null())
    made = {one.name: one for one in shown}
    for name, one in made.items():
        four = good[name] if not six.any() else good[name] | pl.Series(six)
        if not four.all():
            made[name] = one.set(~four, None)
    return _with_six(made, pl.Series(six)) if six.any() else made


def _with_six(made: dict[str, pl.Series], six: pl.Series) -> dict[str, pl.Series]:
    """With addresses of version 6 in canonical form, null for what is none."""
    for name, texts in made.items():
        shown = texts.filter(six)
        told = canonical(shown)
        told = told.set(~shown.str.contains(":", literal=True), None)
        made[name] = texts.scatter(six.arg_true(), told)
    return made


def _with_options(made: dict[str, pl.Series], places: Numbers, sizes: Numbers) -> pl.Series:
    """size, with the options that stand there (-1: none); null where their bytes are not told."""
    rows = pl.Series(np.flatnonzero(places >= 0))
    part = pl.DataFrame({"place": places, "bytes": sizes})[rows].hstack(
        [made["raw"].gather(rows).alias("raw"), made["size"].gather(rows).alias("size")]
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
    return made["size"].scatter(rows, part.select(pl.col("size") + extra).to_series())


def _macs(raw: pl.Series, places: Numbers) -> dict[str, pl.Series]:
    """Link addresses as the schema has them, null for what is none. places: -1: there is none."""
    frame = pl.DataFrame({"raw": raw, "place": places})
    both = pl.col("raw").str.slice(pl.when(pl.col("place") >= 0).then("place"), _PAIR)
    shown = frame.select(both=both.fill_null(""))["both"]
    number, rows = numbered(shown)  # few stations are seen many times
    pairs = [one if len(one) == _PAIR else "" for one in shown.gather(rows)]
    made = {}
    for name, at in (("src_mac", 0), ("dst_mac", _PAIR - _ONE)):
        parts = (one[at : at + _ONE] for one in pairs)
        known = [mac(part) if _MAC.fullmatch(part) else None for part in parts]
        made[name] = pl.Series(known, dtype=_S)[number]
    return made
