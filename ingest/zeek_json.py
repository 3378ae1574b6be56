r"""Zeek logs as JSON, one object a line.

    {"ts":1575413096.052279,"uid":"CH53301MTU21BMj2Bj","id.orig_h":"10.18.20.97","id.orig_p":49187,
     "id.resp_h":"10.18.20.8","id.resp_p":88,"proto":"tcp","service":"krb_tcp","duration":0.00123,…}

`ts` is seconds, milliseconds (JSON::TS_MILLIS) or ISO 8601 since the epoch; the keys of `id` are
dotted or nested; what is not set is absent or null; `_path` names the log, when it is there.

Two readers with one meaning, as for `zeek_tsv`: the fast one lets Polars read the lines with the
types of the first record and then proves by counting that nothing was lost, the exact one reads
each line with Python's parser.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import polars as pl

from connwatch.contracts import Block, Parsed

from .extra import as_json, member
from .joint import Joint
from .lines import split_lines
from .zeek import DATASETS, FIELDS, dataset_of, field_name
from .zeek_events import Origin, Records, make
from .zeek_exact import SECONDS
from .zeek_json_exact import LIMIT, MILLISECONDS, exact, flat, shape

NAME: Final = "zeek-json"

#: records of a block's beginning from which the fast reader takes names and types
_SAMPLE: Final = 100
#: the exact path's business: escapes, NUL, what a byte order mark begins with, a tab (it may stand
#: before a colon); one byte each, which is found ten times as fast as two
_UNCLEAN: Final = (b"\\", b"\x00", b"\xef", b"\t")
#: bytes looked at together: of a whole block, what is found would need fresh memory again and again
_STEP: Final = 1 << 17
_ISO: Final = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$"


@dataclass(frozen=True, slots=True)
class JsonState:
    """dataset: of a record that does not name its log itself. shape: types of the keys with which
    the fast reader read the last records; it is found anew where there is none."""

    dataset: str
    shape: Mapping[str, pl.DataType] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class _Found:
    """What is in a block of so many lines. rows: those that are not empty. records: None: they are
    for the exact reader. unknown: names of fields."""

    lines: int
    rows: pl.DataFrame
    origin: Origin
    records: Records | None = None
    unknown: frozenset[str] = frozenset()


class ZeekJson:
    """The format `zeek-json`; `sensor` is the user's label for where the log was written."""

    name = NAME
    description = "Zeek connection logs as JSON lines (conn, conn_long, open_conn)"
    holds = False

    def __init__(self, sensor: str = "") -> None:
        self.sensor = sensor

    def sniff(self, head: bytes, path: str) -> str | None:
        """The dataset of the first record of connections; the file's name tells if it does not."""
        lines = head.split(b"\n")
        whole = lines[:-1] if len(lines) > 1 else lines
        for line in whole[:_SAMPLE]:
            if (record := _record(line)) is None:
                continue
            log = record.get("_path")
            if log is not None:
                dataset = dataset_of(log) if isinstance(log, str) else None
            elif {"ts", "id.orig_h", "id.resp_h", "proto"} <= set(record) and (
                "conn_state" in record or "orig_pkts" in record
            ):
                dataset = _by_name(path)
            else:
                dataset = None
            if dataset is not None:
                return dataset
        return None

    def opened(self, head: bytes) -> str | None:
        return None

    def closed(self, tail: bytes) -> str | None:
        return None

    def begin(self, dataset: str) -> JsonState:
        return JsonState(dataset)

    def whole(self, blocks: Sequence[Block], dataset: str) -> list[Parsed]:
        """As `contracts.Joining` says."""
        return [made for made, _ in self.chain(blocks, self.begin(dataset))]

    def chain(self, blocks: Sequence[Block], state: JsonState) -> list[tuple[Parsed, JsonState]]:
        """As `contracts.Chaining` says: what the fast reader reads of it is read in one go."""
        some = [number for number, block in enumerate(blocks) if block.data]
        together = self._joined(blocks, some, state)
        made = []
        for number, block in enumerate(blocks):
            made.append(together.get(number) or self.parse(block, state))
            state = made[-1][1]
        return made

    def _joined(
        self, blocks: Sequence[Block], numbers: Sequence[int], state: JsonState
    ) -> dict[int, tuple[Parsed, JsonState]]:
        """By their number, those of these blocks that are read in one go with others."""
        if len(numbers) < 2:
            return {}
        joint = Joint()
        for block in (blocks[number] for number in numbers):
            joint.add(block.path, block.data, block.line, block.offset)
        found, state = self.first(Block("", joint.data(), 0, 1, last=True), state)
        if found.records is None:
            half = len(numbers) // 2
            first = self._joined(blocks, numbers[:half], state)
            return first | self._joined(blocks, numbers[half:], state)
        parts = joint.parted(*make(found.records, found.origin))
        records = np.bincount(joint.run_of(found.rows["line"]), minlength=len(numbers)).tolist()
        return {
            number: (_parsed(*part, blocks[number].lines, rows, found.unknown), state)
            for number, part, rows in zip(numbers, parts, records, strict=True)
        }

    def parse(self, block: Block, state: JsonState) -> tuple[Parsed, JsonState]:
        found, state = self.first(block, state)
        return self.second(block, found, state)

    def first(self, block: Block, state: JsonState) -> tuple[_Found, JsonState]:
        """The lines, and their records if the fast reader reads them."""
        every = split_lines(block.data, block.line, block.offset)
        rows = every
        if not every["raw"].str.starts_with("{").all():
            rows = every.filter(pl.col("raw").str.strip_chars(" \t\ufeff") != "")
        origin = Origin(block.path, state.dataset, self.sensor, NAME)
        quick = _quick(block.data, rows, origin, state.shape) if rows.height else None
        if quick is None:
            return _Found(every.height, rows, origin), state
        records, origin, unknown, types = quick
        return _Found(every.height, rows, origin, records, unknown), replace(state, shape=types)

    def second(self, block: Block, found: _Found, state: JsonState) -> tuple[Parsed, JsonState]:
        """Their events."""
        unknown = found.unknown
        if found.records is not None:
            events, rejects = make(found.records, found.origin)
        else:
            events, rejects, unknown = exact(found.rows, found.origin)
        return _parsed(events, rejects, found.lines, found.rows.height, unknown), state

    def saved(self, state: JsonState) -> dict[str, Any]:
        return {"dataset": state.dataset}

    def restored(self, saved: Mapping[str, Any]) -> JsonState:
        return JsonState(**saved)


def _parsed(
    events: pl.DataFrame, rejects: pl.DataFrame, lines: int, rows: int, unknown: frozenset[str]
) -> Parsed:
    """rows: lines that are not empty."""
    return Parsed(events, rejects, lines, events.height, lines - rows, unknown)


def _record(line: bytes) -> dict[str, Any] | None:
    if not line.lstrip(b" \t\xef\xbb\xbf").startswith(b"{"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return flat(record) if isinstance(record, dict) else None


def _by_name(path: str) -> str:
    name = path.rsplit("/", 1)[-1]
    for log in ("open_conn", "conn_long"):
        if name.startswith(log):
            return DATASETS[log]
    return DATASETS["conn"]


def _quick(
    data: bytes, rows: pl.DataFrame, origin: Origin, known: Mapping[str, pl.DataType] | None
) -> tuple[Records, Origin, frozenset[str], Mapping[str, pl.DataType]] | None:
    """As `fast` has it, and the types: those of the records before, else of the first ones here."""
    if any(mark in data for mark in _UNCLEAN) or (b" " in data and b'" :' in data):
        return None
    if known is not None and (found := fast(data, rows, origin, known)) is not None:
        return (*found, known)
    types = shape(rows["raw"].head(_SAMPLE).to_list())
    if types is None or types == known:
        return None
    found = fast(data, rows, origin, types)
    return None if found is None else (*found, types)


def fast(
    data: bytes, rows: pl.DataFrame, origin: Origin, types: Mapping[str, pl.DataType]
) -> tuple[Records, Origin, frozenset[str]] | None:
    """The records and the names of their unknown fields, if provably nothing is lost; else None.

    data: the lines of `rows`, without bytes that are the exact reader's. types: of the keys, from
    `shape`. Proof: no second log in the block; the reader refuses values of other types; the number
    of keys equals the number of values found (no unknown, repeated or null key); that of quotes is
    twice that of keys and texts together (no number where text belongs); and every bracket and
    brace belongs to a list or object found.
    """
    try:
        read = pl.read_ndjson(data, schema=types)
    except (pl.exceptions.ComputeError, pl.exceptions.SchemaError):
        return None
    found = _counted(read)
    if read.height != rows.height or _marks(data) != (
        found.values,
        2 * (found.values + found.texts),
        found.lists,
        rows.height + found.objects,
    ):
        return None
    flattened = _flat(read)
    if "_path" in flattened.columns:
        logs = flattened["_path"].unique().to_list()
        dataset = dataset_of(logs[0]) if len(logs) == 1 and logs[0] is not None else None
        if dataset is None:
            return None
        origin = replace(origin, dataset=dataset)
        flattened = flattened.drop("_path")
    known = _known(flattened)
    if known is None:
        return None
    unknown = [name for name in flattened.columns if name not in FIELDS]
    extra = as_json(flattened, [member(pl.col(name), name) for name in unknown])
    return (
        Records(known, rows["raw"], rows["line"], rows["offset"], extra),
        origin,
        frozenset(unknown),
    )


def _marks(data: bytes) -> tuple[int, ...]:
    """How many keys' ends, quotes, brackets and braces there are."""
    every = np.frombuffer(data, np.uint8)
    found = np.zeros(4, np.int64)
    for start in range(0, len(every), _STEP):
        part = every[start : start + _STEP]
        quotes = part == ord('"')
        colons = every[start + 1 : start + 1 + _STEP] == ord(":")
        found += (
            np.count_nonzero(quotes[: len(colons)] & colons),
            np.count_nonzero(quotes),
            np.count_nonzero(part == ord("[")),
            np.count_nonzero(part == ord("{")),
        )
    return tuple(found.tolist())


@dataclass(slots=True)
class _Counted:
    """How many values a frame read from JSON holds; how many are texts (in lists too), lists and
    objects."""

    values: int = 0
    texts: int = 0
    lists: int = 0
    objects: int = 0


def _counted(read: pl.DataFrame) -> _Counted:
    found = _Counted()
    for name, dtype in read.schema.items():
        column = read[name]
        present = len(column) - column.null_count()
        found.values += present
        if isinstance(dtype, pl.Struct):
            inner = _counted(column.drop_nulls().struct.unnest())
            found.objects += present
            found.values += inner.values
            found.texts += inner.texts
            found.lists += inner.lists
        elif dtype == pl.String():
            found.texts += present
        elif dtype == pl.List(pl.String):
            found.lists += present
            found.texts += int(column.list.drop_nulls().list.len().sum())
    return found


def _flat(read: pl.DataFrame) -> pl.DataFrame:
    """Dotted names for the keys of a nested id, and the schema's names for all."""
    if isinstance(read.schema.get("id"), pl.Struct):
        nested = read["id"].struct.unnest()
        read = read.drop("id").hstack(
            nested.rename({name: f"id.{name}" for name in nested.columns})
        )
    return read.rename({name: field_name(name) for name in read.columns})


def _known(read: pl.DataFrame) -> pl.DataFrame | None:
    """The schema's fields, typed as `zeek.TYPES` has them; None if there is none, or a time is not
    in bounds."""
    exprs, checks = [], []
    for name in read.columns:
        if name not in FIELDS:
            continue
        kind, dtype, column = FIELDS[name][1], read.schema[name], pl.col(name)
        if dtype == pl.Float64():
            checks.append((column.abs() < (LIMIT if kind == "time" else SECONDS)).all())
            scale = pl.when(column >= MILLISECONDS).then(1_000.0).otherwise(1_000_000.0)
            factor = scale if kind == "time" else pl.lit(1_000_000.0)
            exprs.append((column * factor).round().cast(pl.Int64, strict=False).alias(name))
        elif kind == "time":
            checks.append(column.str.contains(_ISO).all())
            exprs.append(
                column.str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", strict=False)
                .cast(pl.Int64)
                .alias(name)
            )
        else:
            exprs.append(column)
    if not exprs:
        return None
    if checks and not all(read.select_seq(c.alias(str(i)) for i, c in enumerate(checks)).row(0)):
        return None
    known = read.select_seq(exprs)
    times = [name for name in known.columns if FIELDS[name][1] in ("time", "interval")]
    lost = any(known[name].null_count() != read[name].null_count() for name in times)
    return None if lost else known
