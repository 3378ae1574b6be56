"""What stands behind the peer in records of ss, for many records that have the same words.

    ts sack cubic wscale:7,7 rto:204 rtt:0.077/0.035 cwnd:10 bytes_sent:2416 send 12bps lastsnd:564
    ts sack cubic wscale: rto: rtt: cwnd: bytes_sent: send ~bps lastsnd:

The second line is the shape of the first: what is left without values. Most sockets of a table have
one of a few shapes, and in all texts of one shape a value is the same word, so it is found by
cutting alone. Which shapes there are, a sample tells; the rest is left to `ss_columns`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from .ss_tail import HEADS, READERS

#: texts of one shape below which finding out what its words mean costs more than it saves
FEWEST: Final = 256
KEY: Final = "^[A-Za-z_][A-Za-z0-9_.-]*$"
_KEY: Final = re.compile(KEY)
_VALUE: Final = ":[^ ]*"
_RATE: Final = r" [0-9.]+[KMGT]?bps"
_RATED: Final = "^[0-9.]+[KMGT]?bps$"
_BPS: Final = "~bps"
#: no quotes and backslashes: what stands here is JSON as it is
PLAIN: Final = r"^[ !#-\[\]-~]*$"
_PLAIN: Final = re.compile(PLAIN)
#: texts that are looked at to find out which shapes there are, and how many of them have one at
#: least that is used
_SAMPLE: Final = 256
_SEEN: Final = 8


@dataclass(slots=True)
class Shape:
    """Which word of a text is what. shown: the shape. values: key -> place of its word, and
    characters before the value. words: places of words without a key."""

    shown: list[str]
    values: dict[str, tuple[int, int]] = field(default_factory=dict)
    words: list[int] = field(default_factory=list)

    def fits(self, names: list[str]) -> pl.Expr:
        """Whether words, in columns of these names, are of this shape; all that is left of a text
        is in the last of them."""
        last = pl.col(names[-1])
        return pl.all_horizontal(
            last.is_not_null() & ~last.str.contains(" ", literal=True),
            *(
                pl.col(name).str.starts_with(word)
                if word.endswith(":")
                else pl.col(name).str.contains(_RATED)
                if word == _BPS
                else pl.col(name) == word
                for name, word in zip(names, self.shown, strict=True)
            ),
        )


def shapes(texts: pl.Series) -> list[Shape]:
    """The shapes that many of these texts have, the commonest first."""
    some = texts.gather_every(-(-len(texts) // _SAMPLE))
    shown = some.str.replace_all(_VALUE, ":").str.replace_all(_RATE, f" {_BPS}")
    counts = shown.value_counts(name="count").sort("count", shown.name, descending=True)
    found = map(read, counts.filter(pl.col("count") >= _SEEN).to_series(0))
    return [shape for shape in found if shape is not None]


def read(shape: str) -> Shape | None:
    """None: the order of all words counts, so these texts are to be read one at a time."""
    if _PLAIN.fullmatch(shape) is None:
        return None
    words = shape.split(" ")
    made = Shape(words)
    head = ""
    for place, word in enumerate(words):
        key, colon, _ = word.partition(":")
        if not word or (head and word in HEADS) or (word == _BPS and not head):
            return None
        if word in HEADS and place + 1 < len(words):
            head = word
            continue
        if not head and not (colon and _KEY.match(key)):
            made.words.append(place)
            continue
        name, skip = (head, 0) if head else (key, len(key) + 1)
        if name in made.values or name in ("options", "users"):
            return None
        made.values[name] = (place, skip)
        head = ""
    return made


def cut(texts: pl.DataFrame, shape: Shape) -> pl.DataFrame:
    """Those of the texts that have this shape: row, columns of `READERS` keys with their values as
    text, `extra` as JSON, and whether it is `plain`. texts: columns row and text."""
    names = [f"word {place}" for place in range(len(shape.shown))]
    split = pl.col("text").str.splitn(" ", len(names)).struct.rename_fields(names)
    words = texts.select("row", split.alias("w")).unnest("w")
    values = {
        key: pl.col(names[place]).str.tail(-skip) if skip else pl.col(names[place])
        for key, (place, skip) in shape.values.items()
    }
    fits = shape.fits(names)
    if "ino" in values:  # which is none
        fits &= values["ino"] != "0"
    own = [value.alias(key) for key, value in values.items() if key in READERS]
    free = [pl.col(names[place]) for key, (place, _) in shape.values.items() if key not in READERS]
    free += [pl.col(names[place]) for place in shape.words if shape.shown[place].endswith(":")]
    plain = pl.concat_str(free).str.contains(PLAIN) if free else pl.lit(value=True)
    extra = _extra(shape, values, names)
    fitting = words.select(fits).to_series()
    words = words if fitting.all() else words.filter(fitting)
    return words.select("row", *own, extra=extra, plain=plain)


def _extra(shape: Shape, values: dict[str, pl.Expr], names: list[str]) -> pl.Expr:
    """What has no column of its own, as a JSON object; null: nothing."""
    parts: list[pl.Expr | str] = []
    for key, value in values.items():
        if key not in READERS:
            parts += [f'{"," if parts else ""}"{key}":"', value, '"']
    if shape.words:
        parts.append(f'{"," if parts else ""}"options":"')
        for number, place in enumerate(shape.words):
            parts.append(" " if number else "")
            word = shape.shown[place]
            parts.append(pl.col(names[place]) if word.endswith(":") else word)
        parts.append('"')
    if not parts:
        return pl.lit(None, pl.String)
    joined: list[pl.Expr | str] = []
    for part in ("{", *parts, "}"):
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return pl.concat_str(pl.lit(one) if isinstance(one, str) else one for one in joined)
