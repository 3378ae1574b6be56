"""Values made to fit a server's limits, so that no event is refused for one odd field.

A server refuses a whole document for a keyword of more than 32,766 bytes, and for unknown fields
with a null character or too many bytes in a name, more than 20 levels, or a number of more than
1,000 digits. Here such a text is cut and marked, such names and levels are made smaller. What does
not fit its type (a port beyond its range, a time after 2262) is no matter: the mapping ignores it,
and it stays in the document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import polars as pl

from connwatch.alert import quoted
from connwatch.schema import OBJECTS, STORED, STRINGS

#: bytes of the longest text that can be searched as one value
LONGEST: Final = 32_766
#: where a text was cut
MARK: Final = "…[cut]"
#: levels of objects and lists that are kept of unknown fields
_LEVELS: Final = 18
#: bytes that are kept of an unknown field's name; with all levels and a value that is searched
#: (`mappings.IGNORED`), less than `LONGEST`
_NAME: Final = 1_000
#: digits of a number
_DIGITS: Final = 1_000
#: what unknown fields cannot have, if they are neither this long nor have any of these
_SHORT: Final = 900
_ODD: Final = r"[\x00-\x1f]|\\u|[\[{](?:[^\[{]*[\[{]){16}"
_HALF: Final = re.compile(r"[\ud800-\udfff]")


def fitting(events: pl.DataFrame) -> pl.DataFrame:
    """The same stored columns, with every value such that a server takes it."""
    some = [
        one.name
        for one in events.get_columns()
        if one.name in STORED and one.null_count() < events.height
    ]
    texts = [name for name in some if STORED[name] == pl.String and name not in OBJECTS]
    lists = [name for name in some if STORED[name] == STRINGS]
    longest = events.select(
        pl.len(),
        *(pl.col(name).str.len_bytes().max() for name in texts),
        *(pl.col(name).list.eval(pl.element().str.len_bytes()).list.max().max() for name in lists),
    ).row(0, named=True)
    changed = [
        pl.Series(name, [_cut_all(one) for one in events[name]], dtype=STORED[name])
        for name in (*texts, *lists)
        if (most := longest[name]) is not None and most > LONGEST
    ]
    changed += [_tamed(events[name]) for name in OBJECTS if name in some]
    return events.with_columns(changed) if changed else events


def changed(events: pl.DataFrame) -> pl.Series:
    """Of each event, whether `fitting` gives it another value (and not only other JSON text)."""
    fit = fitting(events)
    found = pl.repeat(value=False, n=events.height, dtype=pl.Boolean, eager=True)
    for name in STORED if fit is not events else ():
        other = fit[name].ne_missing(events[name])
        if name in OBJECTS and other.any():
            pairs = zip(events[name].filter(other), fit[name].filter(other), strict=True)
            really = pl.Series([_rewritten(one) != text for one, text in pairs], dtype=pl.Boolean)
            other = other.scatter(other.arg_true(), really)
        found = found | other
    return found


def _rewritten(text: str) -> str | None:
    """A JSON text as all are written here; None: it cannot be read."""
    try:
        return read_object(loads(text))
    except (ValueError, RecursionError):
        return None


def marked(events: pl.DataFrame) -> pl.Series:
    """Of each event, whether it has a value that was cut before (`MARK`)."""
    texts = [name for name, dtype in STORED.items() if dtype == pl.String and name not in OBJECTS]
    lists = [name for name, dtype in STORED.items() if dtype == STRINGS]
    return events.select(
        pl.any_horizontal(
            *(pl.col(name).str.ends_with(MARK).fill_null(value=False) for name in texts),
            *(
                pl.col(name)
                .list.eval(pl.element().str.ends_with(MARK))
                .list.any()
                .fill_null(value=False)
                for name in lists
            ),
            *(
                pl.col(name).str.contains(MARK, literal=True).fill_null(value=False)
                for name in sorted(OBJECTS)
            ),
        ).alias("marked")
    ).to_series()


def cut(text: str, longest: int = LONGEST) -> str:
    """Text of at most `longest` bytes of UTF-8; where there were more, it ends in `MARK`."""
    data = text.encode()
    if len(data) <= longest:
        return text
    return data[: longest - len(MARK.encode())].decode(errors="ignore") + MARK


def _cut_all(value: str | pl.Series | None) -> str | list[str] | None:
    if isinstance(value, pl.Series):
        return [cut(one) for one in value]
    return None if value is None else cut(value)


def _tamed(texts: pl.Series) -> pl.Series:
    """JSON objects, those written anew that a server might refuse."""
    odd = texts.str.len_bytes().gt(_SHORT) | texts.str.contains(_ODD)
    if not odd.any():
        return texts
    cells = [
        tame(text) if look and text is not None else text
        for text, look in zip(texts, odd.fill_null(value=False), strict=True)
    ]
    return pl.Series(texts.name, cells, dtype=pl.String)


class Number(str):
    """A number of a JSON text as it was written."""

    __slots__ = ()


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; values of a name that comes again are put into a list."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        found[name] = [found[name], value] if name in found else value
    return found


def loads(text: str | bytes) -> Any:
    """A JSON text; numbers are read as `Number`."""
    return json.loads(text, parse_float=Number, parse_int=Number, parse_constant=str)


def tame(text: str) -> str:
    """A JSON object such that a server takes it as unknown fields.

    What cannot be read as one stands whole under the name `unreadable`.
    """
    try:
        value = json.loads(
            text,
            parse_float=Number,
            parse_int=Number,
            parse_constant=str,
            object_pairs_hook=_members,
        )
        if isinstance(value, dict):
            return _written(value, _LEVELS)
    except (ValueError, RecursionError):
        pass  # what it is instead is said below
    return quoted({"unreadable": text})


def read_object(value: Any) -> str:
    """A value of a document that was read by `loads` or `json.loads`, as the JSON text it was."""
    return _written(value, None)


def _written(value: Any, levels: int | None) -> str:
    """JSON text; levels: how many more may come, None for any number."""
    if isinstance(value, Number):
        return str(value) if levels is None or len(value) <= _DIGITS else quoted(str(value))
    if levels == 0 and isinstance(value, Mapping | list):
        return quoted(_written(value, None))
    below = None if levels is None else levels - 1
    if isinstance(value, Mapping):
        names: dict[str, Any] = {}
        for name, one in value.items():
            names[_name(name, names) if levels is not None else name] = one
        return (
            "{"
            + ",".join(f"{_text(name)}:{_written(one, below)}" for name, one in names.items())
            + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(_written(one, below) for one in value) + "]"
    return _text(value)


def _text(value: Any) -> str:
    """JSON text; halves of surrogate pairs, which no output takes, as escapes."""
    return _HALF.sub(lambda half: f"\\u{ord(half.group()):04x}", quoted(value))


def _name(name: str, taken: Mapping[str, Any]) -> str:
    """A field's name without null characters and not too long, and no other's."""
    wanted = name.replace("\x00", "\ufffd")
    if len(wanted) * 3 > _NAME:
        wanted = cut(_HALF.sub("\ufffd", wanted), _NAME)
    found, number = wanted, 1
    while found in taken:
        number += 1
        found = f"{wanted[: _NAME // 4]} {number}"
    return found
