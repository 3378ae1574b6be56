r"""Events as nested ECS documents in JSON text, derived columns included, and back again.

One row, shortened:

    {"@timestamp":"2026-11-20T12:00:00.000001Z","event":{"start":"2026-…Z","duration":1806122000,
     "id":"1b2d…","sequence":9,"kind":"event"},"source":{"ip":"192.0.2.7","port":39342},…}

Text is put together column by column. Columns that have few different values in a batch, and all
that is derived from them, are written once for each combination that occurs; the rest are pieces
between the names. A null is left out where that is free, and written as null elsewhere: both mean
the same. Times have microseconds and end in Z.

Values that no server takes are changed, so that an event is never refused for one odd field: see
`fitting`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import polars as pl

from connwatch.alert import quoted
from connwatch.schema import DERIVED, OBJECTS, STORED, STRINGS, UTC, expand

from .columns import APART, COPIES, FEW, PAIRS, TOGETHER
from .fitting import fitting, read_object

#: bytes below are written as escapes
_SPACE: Final = 0x20
_US: Final = 1_000_000
_DAY: Final = 86_400
#: times of a day as text
_SECONDS: Final = pl.Series(
    [f"T{s // 3600:02}:{s // 60 % 60:02}:{s % 60:02}." for s in range(_DAY)], dtype=pl.String
)

#: a name in a nested document -> what stands there: a column's name, or names below it
Tree: TypeAlias = dict[str, "str | Tree"]


@dataclass(frozen=True, slots=True)
class Few:
    """One of a few texts for each row. place: which."""

    texts: pl.Series
    place: pl.Series

    def with_(self, before: str = "", after: str = "") -> Few:
        return Few(before + self.texts + after, self.place)


#: text as it is, or one for each row
Piece: TypeAlias = "str | pl.Series | Few"


def tree(names: Iterable[str]) -> Tree:
    """Dotted names as a nested document has them."""
    top: Tree = {}
    for name in names:
        *path, last = name.split(".")
        here = top
        for step in path:
            below = here.setdefault(step, {})
            if isinstance(below, str):
                raise ValueError(f"{below} cannot be both a value and an object")
            here = below
        here[last] = name
    return top


def documents(events: pl.DataFrame) -> pl.Series:
    """One JSON text for each event. events: the schema's stored columns."""
    return written(pieces(events), events.height)


def written(parts: Sequence[Piece], height: int) -> pl.Series:
    """Pieces put together, row by row."""
    parts = _joined(parts)
    columns = {
        str(place): part.texts.gather(part.place) if isinstance(part, Few) else part
        for place, part in enumerate(parts)
        if not isinstance(part, str)
    }
    text = pl.concat_str(
        pl.lit(part) if isinstance(part, str) else pl.col(str(place))
        for place, part in enumerate(parts)
    )
    if not columns:
        return pl.select(text.repeat_by(height).explode()).to_series()
    return pl.DataFrame(columns).select(text.alias("document")).to_series()


def pieces(events: pl.DataFrame) -> list[Piece]:
    """What the documents are put together from.

    events: the schema's stored columns, of some thousand rows: this holds all of them as text.
    """
    if events.is_empty():
        return []
    events = fitting(events)
    apart = _values(events)
    below, place = _combinations(events, [path for path, _ in _objects(tree(apart))])
    return _object(tree(apart), "", apart, below, place)


def _objects(names: Tree, path: str = "") -> list[tuple[str, Tree]]:
    """Every object of a tree by its path, the whole first."""
    found = [(path, names)]
    for name, here in names.items():
        if isinstance(here, dict):
            found += _objects(here, f"{path}.{name}" if path else name)
    return found


def _object(
    names: Tree,
    path: str,
    values: Mapping[str, list[Piece]],
    below: Mapping[str, pl.Series],
    place: pl.Series,
) -> list[Piece]:
    """The pieces of one object: its own columns, those below it, and what few columns say here."""
    parts: list[Piece] = ["{"]
    for number, (name, here) in enumerate(names.items()):
        parts.append(f'{"," if number else ""}"{name}":')
        if isinstance(here, str):
            parts += values[here]
        else:
            parts += _object(here, f"{path}.{name}" if path else name, values, below, place)
    few = below[path]
    if len(few) == 1:
        parts.append(few[0])
    elif few.str.len_bytes().max():
        parts.append(Few(few, place))
    return [*parts, "}"]


def _joined(parts: Iterable[Piece]) -> list[Piece]:
    """Neighbours made one, where that is not work for every row: each piece costs time there."""
    found: list[Piece] = []
    for part in parts:
        last = found[-1] if found else None
        if isinstance(part, str) and isinstance(last, str):
            found[-1] = last + part
        elif isinstance(part, str) and isinstance(last, Few):
            found[-1] = last.with_(after=part)
        elif isinstance(part, Few) and isinstance(last, str):
            found[-1] = part.with_(before=last)
        else:
            found.append(part)
    return found


def _combinations(
    events: pl.DataFrame, paths: Sequence[str]
) -> tuple[dict[str, pl.Series], pl.Series]:
    """What columns with few values add to the objects at `paths`, for each combination that occurs.

    Texts begin with a comma, or are empty; and for each row, which of them is its own.
    """
    here = [name for name in FEW if not _one_value(events[name])]
    if here:  # the first row that has the same values
        numbered = events.select(here).with_row_index("row")
        first = numbered.select(pl.col("row").first().over(here)).to_series()
    else:
        first = pl.repeat(0, events.height, dtype=pl.UInt32, eager=True)
    firsts = first.unique().sort()
    rows = expand(events[firsts]).select(TOGETHER).to_dicts()
    texts: dict[str, list[str]] = {path: [] for path in paths}
    for one in rows:
        inside = _inside(one, texts)
        for path, found in texts.items():
            found.append("".join(f",{quoted(name)}:{text}" for name, text in inside[path]))
    place = firsts.search_sorted(first)
    return {path: pl.Series(found, dtype=pl.String) for path, found in texts.items()}, place


def _one_value(column: pl.Series) -> bool:
    """Whether all rows have the same value, or null."""
    first = column[0]
    if first is None:
        return column.null_count() == column.len()
    return column[-1] == first and bool(column.eq_missing(first).all())


def _inside(row: Mapping[str, Any], paths: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """Members that a row's columns add to each path: those under other objects make new objects."""
    members: dict[str, dict[str, Any]] = {path: {} for path in paths}
    for name, value in row.items():
        if value is None:
            continue
        steps = name.split(".")
        depth = next(d for d in range(len(steps) - 1, -1, -1) if ".".join(steps[:d]) in members)
        here = members[".".join(steps[:depth])]
        for step in steps[depth:-1]:
            here = here.setdefault(step, {})
        here[steps[-1]] = _Raw(value) if name in OBJECTS else value
    return {
        path: [(name, _json(value)) for name, value in found.items()]
        for path, found in members.items()
    }


class _Raw(str):
    """Text that is JSON already."""

    __slots__ = ()


def _json(value: Any) -> str:
    if isinstance(value, _Raw):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{quoted(k)}:{_json(one)}" for k, one in value.items()) + "}"
    return quoted(value)


def _values(events: pl.DataFrame) -> dict[str, list[Piece]]:
    """Column -> pieces of its values as JSON, for those that may be anything, unless all null."""
    nulls = {name: events[name].null_count() for name in STORED}
    copies = {
        name: same[0]
        for name, same in COPIES.items()
        if all(nulls[other] == events.height for other in same[1:])
    }
    pairs = {name: both for name, both in PAIRS.items() if not any(nulls[one] for one in both)}
    computed = [n for n in APART if n in DERIVED and n not in copies and n not in pairs]
    stored = [name for name in APART if name in STORED]
    frame = events.select(*stored, *(DERIVED[name].alias(name) for name in computed))
    clean = _clean(frame)
    values: dict[str, list[Piece]] = {
        column.name: _column(column, clean)
        for column in frame.get_columns()
        if column.null_count() < frame.height
    }
    values |= {name: values[same] for name, same in copies.items() if same in values}
    for name, (one, other) in pairs.items():
        values[name] = ["[", *values[one], ",", *values[other], "]"]
    return {name: values[name] for name in APART if name in values}


def _clean(frame: pl.DataFrame) -> bool:
    """Whether no text in a frame has a character that JSON escapes."""
    for name, dtype in frame.schema.items():
        if dtype == pl.String and name not in OBJECTS:
            data = frame[name].str.join("").cast(pl.Binary).item() or b""
            if b'"' in data or b"\\" in data or (np.frombuffer(data, np.uint8) < _SPACE).any():
                return False
    return True


def _column(column: pl.Series, clean: bool) -> list[Piece]:
    """The pieces of one column's values."""
    null = column.null_count() > 0
    if column.dtype == UTC:
        return _null(_text(column), '"') if null else ['"', *_times(column), '"']
    if column.name in OBJECTS:
        return _null(column, "")
    if column.dtype == pl.String:
        if clean:
            return _null(column, '"') if null else ['"', column, '"']
        return _null(_quoted(column), "")
    if column.dtype == STRINGS:
        return _null(_lists(column), "")
    return _null(column.cast(pl.String), "") if null else [column]


def _null(text: pl.Series, quote: str) -> list[Piece]:
    if quote and text.null_count():
        whole = pl.concat_str(pl.lit(quote), pl.col("text"), pl.lit(quote))
        text = text.alias("text").to_frame().select(whole).to_series()
    return [text.fill_null("null")]


def _text(times: pl.Series) -> pl.Series:
    return times.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")


def _times(times: pl.Series) -> list[Piece]:
    """Times as ISO 8601: day, second of the day, and microseconds, which are cheaper apart."""
    micros = times.to_physical()
    seconds = micros // _US
    days = seconds // _DAY
    dates = days.cast(pl.Int32).cast(pl.Date)
    one = days.min() == days.max()
    texts = (dates.head(1) if one else dates).dt.strftime("%Y-%m-%d")
    day: Piece = texts[0] if one else texts
    rest = (micros - seconds * _US + _US).cast(pl.String).str.slice(1)
    return [day, _SECONDS.gather(seconds - days * _DAY), rest, "Z"]


def _quoted(text: pl.Series) -> pl.Series:
    """Text as JSON text; null where it is null."""
    whole = pl.struct(pl.col("a")).struct.json_encode().str.head(-1).str.slice(5)
    return (
        text.alias("a")
        .to_frame()
        .select(pl.when(pl.col("a").is_not_null()).then(whole))
        .to_series()
    )


def _lists(lists: pl.Series) -> pl.Series:
    """Lists of texts as JSON text; null where they are null."""
    whole = pl.struct(pl.col("a")).struct.json_encode().str.head(-1).str.slice(5)
    return (
        lists.alias("a")
        .to_frame()
        .select(pl.when(pl.col("a").is_not_null()).then(whole))
        .to_series()
    )


def from_documents(sources: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """The stored columns of documents, nested or with dotted names, one row for each.

    sources: `_source` of hits as `json.loads` or `fitting.loads` read them; with the second,
    numbers in `connwatch.extra` keep their text. A field that the schema does not know is left out.
    """
    rows = [_flat(source) for source in sources]
    columns = []
    for name, dtype in STORED.items():
        cells = [row.get(name) for row in rows]
        if name in OBJECTS:
            cells = [None if one is None else read_object(one) for one in cells]
        elif dtype == pl.Int64:
            cells = [None if one is None else int(one) for one in cells]
        if dtype == UTC:
            text = pl.Series(name, cells, dtype=pl.String)
            columns.append(
                text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC")
            )
        else:
            columns.append(pl.Series(name, cells, dtype=dtype))
    return pl.DataFrame(columns)


def _flat(source: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    rest: list[tuple[str, Any]] = [("", source)]
    while rest:
        path, here = rest.pop()
        for key, value in here.items():
            name = f"{path}.{key}" if path else key
            if name in STORED:
                found[name] = value
            elif isinstance(value, Mapping):
                rest.append((name, value))
    return found
