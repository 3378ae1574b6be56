"""Common records of one line, read as columns.

Where a line's skeleton is of a known form, its numbers are read from the bytes at the places that
the form names. That every digit of the line stands at such a place is proved by counting them;
what is not proved is read by `exact`, which says the same of all these.
"""

from __future__ import annotations

import io
import re
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
from .packet import PACKET
from .skeleton import DIGITS, Skeletons, skeletons
from .words import Numbers, Text, Value, Words

#: different skeletons of one block that are looked at; rarer ones are read by `exact`
_MOST: Final = 2_000
#: lines of one kind from which on columns are the quicker way
_FEWEST: Final = 16
_BROKEN: Final = b")\n    "
_JOINED: Final = b")\x1f    "
_S: Final = pl.String()
_I: Final = pl.Int64()
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
    none = pl.DataFrame(schema=PACKET), pl.repeat(False, records.height, eager=True)
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
    lines = pl.read_lines(io.BytesIO(text.data.translate(None, DIGITS)), name="k").to_series()
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
        records = self._records.select("line", "offset", "lines", "raw", "time")
        records = records if rows is None else records[rows]
        values = {
            name: column if rows is None else column[rows] for name, column in self._columns.items()
        }
        number = pl.Series(self._number if rows is None else self._number[rows])
        six = self._six if rows is None else self._six[rows]
        known = self._forms.known
        protocol = pl.Series([one.kind.protocol for one in known], dtype=_I).gather(number)
        named = pl.Series([_TRANSPORTS[one.kind.protocol] for one in known]).gather(number)
        flags = pl.Series([one.flags for one in known], dtype=_S).gather(number)
        service = pl.Series([one.application for one in known], dtype=_S).gather(number)
        frame = records.hstack(
            [pl.Series(f"_{name}", column) for name, column in values.items()]
        ).with_columns(number=protocol, transport=named, flags=flags, _service=service)
        frame = frame.with_columns(
            _place(name, f"_{name}_size").alias(f"_{name}_text") for name in ("src", "dst")
        )
        four = None if six.all() else pl.lit(pl.Series(~six)) if six.any() else True
        columns: dict[str, pl.Expr] = {
            name: pl.col(name) for name in (*records.columns, "number", "transport", "flags")
        }
        columns |= {name: _number(name, values[name]) for name in _NUMBERS if name in values}
        columns |= {name: _address(name, four) for name in ("src", "dst")}
        columns["application"] = pl.col("_service")
        if service.null_count() < len(service):
            told = (pl.col("number") != TCP) | (pl.col("_payload") > 0)
            columns["application"] = pl.when(told).then("_service")
        bad = self._bad if rows is None else self._bad[rows]
        if bad.max() >= 0:
            shown = pl.lit(pl.Series(bad))
            columns["bad"] = pl.when(shown >= 0).then(shown == 1)
        columns["depth"] = pl.lit(0, _I)
        if "macs" in values:
            columns["src_mac"] = _place("macs", 17)
            columns["dst_mac"] = pl.when(pl.col("_macs") >= 0).then(
                pl.col("raw").str.slice(pl.col("_macs") + 20, 17)
            )
        made = frame.select(
            columns.get(name, pl.lit(None, kind)).alias(name) for name, kind in PACKET.items()
        )
        return _settled(made, values, six)


def _settled(
    made: pl.DataFrame, values: dict[str, Numbers], six: NDArray[np.bool_]
) -> pl.DataFrame:
    """With what only some lines have in its final form, and sound."""
    sound = pl.col("src").is_not_null() & pl.col("dst").is_not_null()
    if "macs" in values:
        made = _with_macs(made)
        linked = pl.lit(pl.Series(values["macs"])) >= 0
        sound &= ~linked | (pl.col("src_mac").is_not_null() & pl.col("dst_mac").is_not_null())
    if six.any():
        made = _with_six(made, pl.Series(six))
    if "options" in values:
        made = _with_options(made, values["options"], values["options_size"])
    return made.with_columns(sound=sound)


def _number(name: str, values: Numbers) -> pl.Expr:
    """The column of these values, null where they are below 0."""
    if values.min() >= 0:
        return pl.col(f"_{name}")
    return pl.when(pl.col(f"_{name}") >= 0).then(f"_{name}")


def _place(name: str, size: str | int) -> pl.Expr:
    """What stands at that place of the line; null where there is none."""
    place = pl.col(f"_{name}")
    length = pl.col(size) if isinstance(size, str) else pl.lit(size)
    return pl.when(place >= 0).then(pl.col("raw").str.slice(place, length))


def _address(name: str, four: pl.Expr | bool | None) -> pl.Expr:
    """The text of an end: canonical, or null, if it is of version 4. four: which are."""
    if four is None:
        return pl.col(f"_{name}_text")
    good = ip.ipv4_to_numeric(pl.col(f"_{name}_text")).is_not_null()
    return pl.when(good if four is True else good | ~four).then(f"_{name}_text")


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
