"""Zeek's JSON records, read one by one with Python's parser.

The meaning of `zeek_json.fast` for any bytes. Row by row, because what is wrong with a record must
be told of that record alone; blocks that need this are few.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

import polars as pl

from .rejects import reject_rows
from .zeek import FIELDS, TYPES, Kind, dataset_of, field_name
from .zeek_events import Origin, Records, make
from .zeek_exact import SECONDS

#: an epoch time from here on is milliseconds; as seconds it would be the year 5138
MILLISECONDS: Final = 1e11
#: an epoch time beyond this is neither
LIMIT: Final = 1e15
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class UnreadableError(Exception):
    """Why a record cannot be read; `field` is None when it is the line as a whole."""

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field


def flat(record: dict[str, Any]) -> dict[str, Any]:
    """The record with the keys of a nested `id` dotted, and names as `zeek.FIELDS` has them."""
    nested = record.get("id")
    if isinstance(nested, dict):
        rest = {name: value for name, value in record.items() if name != "id"}
        record = {**rest, **{f"id.{name}": value for name, value in nested.items()}}
    return {field_name(name): value for name, value in record.items()}


def exact(rows: pl.DataFrame, origin: Origin) -> tuple[pl.DataFrame, pl.DataFrame, frozenset[str]]:
    """Events, rejects and the names of unknown fields of lines (`lines.split_lines`)."""
    by_dataset: dict[str, list[tuple[int, dict[str, Any], str | None]]] = {}
    failed: list[tuple[int, str | None, str]] = []
    unknown: set[str] = set()
    for row, line in enumerate(rows["raw"]):
        try:
            record = _parse(line)
            dataset = _dataset(record, origin)
            values = {
                name: _value(name, record[name])
                for name in record
                if name in FIELDS and record[name] is not None
            }
            others = {k: v for k, v in record.items() if k not in FIELDS and v is not None}
        except UnreadableError as error:
            failed.append((row, error.field, error.reason))
            continue
        unknown.update(others)
        extra = json.dumps(others, ensure_ascii=False, separators=(",", ":")) if others else None
        by_dataset.setdefault(dataset, []).append((row, values, extra))
    parts = [_make(rows, made, origin, dataset) for dataset, made in by_dataset.items()]
    broken = rows[[row for row, _, _ in failed]]
    unread = reject_rows(
        path=origin.path,
        line=broken["line"],
        offset=broken["offset"],
        format_name=origin.format,
        field=[field for _, field, _ in failed],
        reason=[reason for _, _, reason in failed],
        raw=broken["raw"],
    )
    rejects = pl.concat([unread, *(refused for _, refused in parts)]).sort("line")
    if not parts:
        return make(_records(rows.head(0), []), origin)[0], rejects, frozenset(unknown)
    events = pl.concat([events for events, _ in parts]).sort("event.sequence")
    return events, rejects, frozenset(unknown)


def _make(
    rows: pl.DataFrame,
    made: list[tuple[int, dict[str, Any], str | None]],
    origin: Origin,
    dataset: str,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    chosen = rows[[row for row, _, _ in made]]
    records = _records(chosen, [(values, extra) for _, values, extra in made])
    return make(records, Origin(origin.path, dataset, origin.sensor, origin.format))


def _records(rows: pl.DataFrame, made: Sequence[tuple[dict[str, Any], str | None]]) -> Records:
    names = [name for name in FIELDS if any(name in values for values, _ in made)]
    names = names or ["ts"]  # a frame without a column has no rows
    fields = pl.DataFrame(
        {
            name: pl.Series([v.get(name) for v, _ in made], dtype=TYPES[FIELDS[name][1]])
            for name in names
        }
    )
    extra = pl.Series([extra for _, extra in made], dtype=pl.String)
    return Records(fields, rows["raw"], rows["line"], rows["offset"], extra)


def _parse(line: str) -> dict[str, Any]:
    if "\x00" in line:
        raise UnreadableError("holds a NUL byte")
    try:
        record = json.loads(
            line.lstrip("\ufeff"), object_pairs_hook=_pairs, parse_constant=_no_constant
        )
    except RecursionError:
        raise UnreadableError("is nested too deeply") from None
    except ValueError as error:
        raise UnreadableError(f"is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise UnreadableError("is JSON, but not an object")
    flattened = flat(record)
    if len(flattened) < len(record):
        raise UnreadableError("names a field twice")
    return flattened


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise UnreadableError("is in the record twice", field_name(twice))
    return made


def _no_constant(name: str) -> NoReturn:
    raise UnreadableError(f"holds {name}, which is no number")


def _dataset(record: dict[str, Any], origin: Origin) -> str:
    log = record.pop("_path", None)
    if log is None:
        return origin.dataset
    dataset = dataset_of(log) if isinstance(log, str) else None
    if dataset is None:
        raise UnreadableError(f"a record of Zeek's {log} log, not a connection", "_path")
    return dataset


def _value(name: str, value: Any) -> Any:
    """The value as `zeek.TYPES` has it."""
    converted = _CONVERT[FIELDS[name][1]](value)
    if converted is None:
        shown = json.dumps(value, ensure_ascii=False)
        raise UnreadableError(f"{shown[:200]} is not {_WANTED[FIELDS[name][1]]}", name)
    return converted


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _time(value: Any) -> int | None:
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        since = moment - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    number = _number(value)
    if number is None or not abs(number) < LIMIT:
        return None
    return round(number * (1_000 if number >= MILLISECONDS else 1_000_000))


def _interval(value: Any) -> int | None:
    number = _number(value)
    return None if number is None or not abs(number) < SECONDS else round(number * 1_000_000)


def _integer(value: Any) -> int | None:
    number = _number(value)
    if number is None or number != number // 1 or not -(2**63) <= value < 2**63:
        return None
    return int(value)


def _text(value: Any) -> str | None:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    return _utf8(value) if isinstance(value, str) else None


def _utf8(value: str) -> str:
    """A lone surrogate, which JSON can write and UTF-8 cannot, stays as its escape."""
    return value.encode("utf-8", "backslashreplace").decode()


def _items(value: Any) -> list[str] | None:
    if isinstance(value, str):
        return [_utf8(item) for item in value.split(",")]
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return [_utf8(item) for item in value]
    return None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


_CONVERT: Final[dict[Kind, Callable[[Any], Any]]] = {
    "time": _time,
    "interval": _interval,
    "count": _integer,
    "port": _integer,
    "addr": _text,
    "string": _text,
    "bool": _flag,
    "set": _items,
}
_WANTED: Final[dict[Kind, str]] = {
    "time": "a time",
    "interval": "a duration in seconds",
    "count": "a whole number",
    "port": "a whole number",
    "addr": "text",
    "string": "text",
    "bool": "true or false",
    "set": "a list of texts",
}


def shape(lines: Sequence[str]) -> dict[str, pl.DataType] | None:
    """Types of the keys in these records, for the fast reader; None when it cannot read them."""
    types: dict[str, Any] = {}
    nested: dict[str, Any] = {}
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(record, dict):
            return None
        for name, value in record.items():
            if name == "id" and isinstance(value, dict):
                pairs = [(f"id.{key}", key, item, nested) for key, item in value.items()]
            else:
                pairs = [(name, name, value, types)]
            for full, key, item, target in pairs:
                dtype = _dtype(field_name(full), item)
                if dtype is None or target.setdefault(key, dtype) != dtype:
                    return None
    if nested:
        types["id"] = pl.Struct(nested)
    return types


def _dtype(name: str, value: Any) -> pl.DataType | None:
    """The type to read a key as; None where only the exact reader keeps its meaning."""
    kind = FIELDS[name][1] if name in FIELDS else None
    if kind == "time" and isinstance(value, str):
        return pl.String()
    if kind in ("time", "interval"):
        return pl.Float64()
    if name == "_path":
        return pl.String() if isinstance(value, str) else None
    if kind == "string" and isinstance(value, list):
        return None
    if kind == "set" and isinstance(value, str):
        return None
    if kind is not None:
        return TYPES[kind]
    if isinstance(value, bool):
        return pl.Boolean()
    if isinstance(value, int):
        return pl.Int64()
    return pl.String() if isinstance(value, str) else None
