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
from .fields import Made, echo, ends, head, lead, length, segment, sums
from .lead import mac
from .options import options_length
from .packet import PACKET
from .skeleton import DIGITS, Layout, Skeletons, skeletons
from .words import Numbers, Text, Words

#: different skeletons of one block that are looked at; rarer ones are read by `exact`
_MOST: Final = 2_000
#: lines of one layout from which on columns are the quicker way
_FEWEST: Final = 16
_BROKEN: Final = b")\n    "
_JOINED: Final = b")\x1f    "
_S: Final = pl.String()
_I: Final = pl.Int64()
_MAC: Final = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
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
        made: Made = {"number": layout.protocol}
        six = lead(layout, words, made)
        before = words.start(layout.src)
        letters = self._forms.letters[self._forms.known[rows]]
        letters = letters + ends(layout, words, made)
        if layout.protocol == TCP:
            letters += segment(layout, words, made) + sums(layout, words)
        if layout.protocol == 1:
            echo(layout, words, made)
        value = length(layout, words)
        made["payload"] = np.maximum(value - 8, 0) if layout.protocol == 1 else value
        header = np.where(six, 40, 20) + (8 if layout.protocol == UDP else 0)
        made["bad"] = layout.bad
        if layout.head >= 0:
            made["size"] = head(layout, words, made)
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
