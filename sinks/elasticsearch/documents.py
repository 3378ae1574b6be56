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
from typing import Any, Final, TypeAlias

import numpy as np
import polars as pl

from connwatch.alert import quoted
from connwatch.schema import DERIVED, OBJECTS, STORED, STRINGS, UTC

from .columns import APART, COPIES, FEW, PAIRS, TOGETHER
from .fitting import fitting, read_object
from .values import Few, Piece, members, of_column

#: bytes below are written as escapes
_SPACE: Final = 0x20
#: a name in a nested document -> what stands there: a column's name, or names below it
Tree: TypeAlias = dict[str, "str | Tree"]


#: the columns that few columns make
_TOGETHER: Final = [DERIVED.get(name, pl.col(name)).alias(name) for name in TOGETHER]
#: what `_said` came to, as batch after batch has the same; texts no longer than this, and so many
_SAID: Final[dict[tuple[tuple[str, ...], tuple[Any, ...]], tuple[str, ...]]] = {}
_LONGEST_SAID: Final = 4_000
_MOST_SAID: Final = 1_000


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
    columns: dict[tuple[int, ...], pl.Series] = {}  # by what they are made of
    texts: list[pl.Expr] = []
    for part in parts:
        if isinstance(part, str):
            texts.append(pl.lit(part))
            continue
        key = (id(part.texts), id(part.place)) if isinstance(part, Few) else (id(part),)
        if key not in columns:
            column = part.texts[part.place] if isinstance(part, Few) else part
            columns[key] = column.alias(str(len(columns)))
        texts.append(pl.col(columns[key].name))
    text = pl.concat_str(texts)
    if not columns:
        return pl.select(text.repeat_by(height).explode()).to_series()
    return pl.DataFrame([*columns.values()]).select(text.alias("document")).to_series()


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
        elif isinstance(part, str) and isinstance(last, Few) and last.grows:
            found[-1] = last.with_(after=part)
        elif isinstance(part, Few) and isinstance(last, str) and part.grows:
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
    here = [one.name for one in events.get_columns() if one.name in FEW and not _one_value(one)]
    if here:  # the first row that has the same values
        numbered = events.select(here).with_row_index("row")
        first = numbered.select(pl.col("row").first().over(here)).to_series()
    else:
        first = pl.repeat(0, events.height, dtype=pl.UInt32, eager=True)
    firsts = first.unique().sort()
    texts = zip(*_said(events[firsts], tuple(paths)), strict=True)
    place = firsts.search_sorted(first)
    return {
        path: pl.Series(found, dtype=pl.String) for path, found in zip(paths, texts, strict=True)
    }, place


def _said(events: pl.DataFrame, paths: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Of each event, what its columns with few values add to the objects at `paths`."""
    keys = [(paths, row) for row in events.select(FEW).rows()]
    found = [_SAID.get(key) for key in keys]
    new = [place for place, texts in enumerate(found) if texts is None]
    rows = events[new].select(_TOGETHER).to_dicts() if new else []
    for place, one in zip(new, rows, strict=True):
        inside = _inside(one, paths)
        found[place] = texts = tuple(
            "".join(f",{quoted(name)}:{text}" for name, text in inside[path]) for path in paths
        )
        if len(_SAID) >= _MOST_SAID:
            _SAID.clear()
        if sum(map(len, texts)) <= _LONGEST_SAID:
            _SAID[keys[place]] = texts
    return [texts for texts in found if texts is not None]


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
    nulls = {one.name: one.null_count() for one in events.get_columns()}
    copies = {
        name: same[0]
        for name, same in COPIES.items()
        if all(nulls[other] == events.height for other in same[1:])
    }
    computed = [n for n in APART if n in DERIVED and n not in copies and n not in PAIRS]
    stored = [name for name in APART if name in STORED]
    frame = events.select(*stored, *(DERIVED[name].alias(name) for name in computed))
    clean = _clean(frame)
    values: dict[str, list[Piece]] = {
        column.name: _column(column, clean)
        for column in frame.get_columns()
        if column.null_count() < frame.height
    }
    values |= {name: values[same] for name, same in copies.items() if same in values}
    for name, both in PAIRS.items():
        if any(nulls[one] for one in both):
            values[name] = [members(events.select(both), clean)]
        else:
            values[name] = ["[", *values[both[0]], ",", *values[both[1]], "]"]
    return {name: values[name] for name in APART if name in values}


def _clean(frame: pl.DataFrame) -> bool:
    """Whether no text in a frame has a character that JSON escapes."""
    names = [n for n, dtype in frame.schema.items() if dtype == pl.String and n not in OBJECTS]
    for data in frame.select(pl.col(names).str.join("").cast(pl.Binary)).row(0):
        if b'"' in data or b"\\" in data or (data and np.frombuffer(data, np.uint8).min() < _SPACE):
            return False
    return True


def _column(column: pl.Series, clean: bool) -> list[Piece]:
    """The pieces of one column's values, of which some are not null."""
    # A time may be later than Python can say.
    if len(column) > 1 and column.dtype not in (STRINGS, UTC) and _one_value(column):
        return [written(of_column(column.head(1), clean), 1)[0]]
    return of_column(column, clean)


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
