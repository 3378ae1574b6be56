r"""Zeek logs as text: a header of # lines, then one record a line, fields split by a separator.

See `zeek` for a sample. A header may come again anywhere and change anything; a log may also have
one plain row of field names (`tsv=T`) instead.

There are two readers with one meaning. The fast one gives clean records to Polars' CSV reader with
types; whenever it cannot prove that every field was read as Zeek wrote it, the exact one reads the
same records as text and converts column by column, so that one bad field rejects its line only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from functools import lru_cache
from typing import Any, Final

import polars as pl

from connwatch.contracts import Block, Parsed, newlines
from connwatch.schema import empty

from .extra import as_json
from .joint import Joint
from .lines import split_lines
from .rejects import reject_rows
from .zeek import FIELDS, REQUIRED, TYPES, Kind
from .zeek_events import Origin, Records, make
from .zeek_exact import SECONDS, exact
from .zeek_header import BOM, Header, comments, directive, is_header_row, read_header, set_items
from .zeek_unknown import unknown_member

NAME: Final = "zeek-tsv"

#: headers of which it is kept what their fields ask for; there are few
_HEADERS: Final = 64
#: the exact path's business: escapes, NUL and CR
_UNCLEAN: Final = (b"\\", b"\x00", b"\r")


class ZeekTsv:
    """The format `zeek-tsv`; `sensor` is the user's label for where the log was written."""

    name = NAME
    description = "Zeek connection logs as text (conn, conn_long, open_conn)"
    holds = False

    def __init__(self, sensor: str = "") -> None:
        self.sensor = sensor

    def sniff(self, head: bytes, path: str) -> str | None:
        """The dataset if the header is that of a log of connections."""
        header = read_header(head)
        if header is None or not {"ts", "id.orig_h", "id.resp_h"} <= set(header.fields):
            return None
        return header.dataset or None

    def opened(self, head: bytes) -> str | None:
        """When the file was opened, as its header says (comparable within one stream)."""
        return _moment(b"#open", head)

    def closed(self, tail: bytes) -> str | None:
        """When it was closed, likewise."""
        return _moment(b"#close", tail)

    def begin(self, dataset: str) -> Header:
        return Header(dataset)

    def whole(self, blocks: Sequence[Block], dataset: str) -> list[Parsed]:
        """As `contracts.Joining` says: what stands under equal headers is read in one go."""
        begin = self.begin(dataset)
        cut = [list(_under(block, begin)) for block in blocks]
        return self._together(blocks, [begin] * len(blocks), cut)

    def chain(self, blocks: Sequence[Block], state: Header) -> list[tuple[Parsed, Header]]:
        """As `contracts.Chaining` says, likewise."""
        states, cut = [state], []
        for block in blocks:
            cut.append(list(_under(block, states[-1])))
            states.append(cut[-1][-1][1] if cut[-1] else states[-1])
        return list(zip(self._together(blocks, states[:-1], cut), states[1:], strict=True))

    def _together(
        self,
        blocks: Sequence[Block],
        states: Sequence[Header],
        cut: Sequence[Sequence[tuple[_Piece, Header]]],
    ) -> list[Parsed]:
        """What is in each of these blocks, which begin with these states. cut: their pieces."""
        kinds: dict[Header, list[tuple[int, _Piece]]] = {}
        for number, pieces in enumerate(cut):
            runs = [one for one in pieces if not one[0].comment]
            if len(runs) == 1:
                piece, header = runs[0]
                kinds.setdefault(header, []).append((number, piece))
        made: dict[int, Parsed] = {}
        for header, runs_under in kinds.items():
            made |= self._joined(blocks, header, runs_under)
        return [
            made[number] if number in made else self.parse(block, state)[0]
            for number, (block, state) in enumerate(zip(blocks, states, strict=True))
        ]

    def _joined(
        self, blocks: Sequence[Block], header: Header, runs: list[tuple[int, _Piece]]
    ) -> dict[int, Parsed]:
        """By number of their block, the runs of records under one header that are clean."""
        if header.foreign or not {*REQUIRED} <= {*header.fields} or len(runs) == 1:
            return {}
        if len(set(header.fields)) < len(header.fields):
            return {}
        joint = Joint()
        for number, piece in runs:
            joint.add(blocks[number].path, piece.data, piece.line, piece.offset)
        data = joint.data()
        records = fast(_Piece(data, 0, 1, joint.lines, False), header)
        if records is None:
            half = len(runs) // 2
            first = self._joined(blocks, header, runs[:half])
            return first | self._joined(blocks, header, runs[half:])
        events, rejects = make(records, Origin("", header.dataset, self.sensor, NAME))
        unknown = frozenset(field for field in header.fields if field not in FIELDS)
        parts = joint.parted(events, rejects)
        return {
            number: Parsed(
                *part,
                blocks[number].lines,
                part[0].height,
                blocks[number].lines - piece.lines,
                unknown,
            )
            for (number, piece), part in zip(runs, parts, strict=True)
        }

    def parse(self, block: Block, state: Header) -> tuple[Parsed, Header]:
        events, rejects = [], []
        lines = record_lines = silent = 0
        unknown: set[str] = set()
        for piece, header in _under(block, state):
            lines += piece.lines
            state = header
            if piece.comment:
                silent += 1
                continue
            origin = Origin(block.path, state.dataset, self.sensor, NAME)
            made, refused, blank = _read(piece, state, origin)
            silent += blank
            record_lines += made.height
            unknown.update(field for field in state.fields if field not in FIELDS)
            events.append(made)
            rejects.append(refused)
        return (
            Parsed(
                pl.concat(events) if events else empty(),
                pl.concat(rejects) if rejects else reject_rows(),
                lines,
                record_lines,
                silent,
                frozenset(unknown),
            ),
            state,
        )

    def saved(self, state: Header) -> dict[str, Any]:
        saved = {one.name: getattr(state, one.name) for one in dataclass_fields(state)}
        return {**saved, "fields": list(state.fields), "types": list(state.types)}

    def restored(self, saved: Mapping[str, Any]) -> Header:
        return Header(**{**saved, "fields": tuple(saved["fields"]), "types": tuple(saved["types"])})


def _moment(name: bytes, data: bytes) -> str | None:
    found = re.search(rb"^" + name + rb"[\t ]+(\d{4}(?:-\d\d){5})", data, re.MULTILINE)
    return found.group(1).decode() if found else None


@dataclass(frozen=True, slots=True)
class _Piece:
    """A comment or header line, or a run of record lines; position of its first byte and line."""

    data: bytes
    offset: int
    line: int
    lines: int
    comment: bool


def _under(block: Block, state: Header) -> Iterator[tuple[_Piece, Header]]:
    """The pieces, and the header that is in force behind each."""
    for piece in _pieces(block, state):
        if piece.comment:
            state = directive(piece.data, state)
        yield piece, state


def _pieces(block: Block, state: Header) -> Iterator[_Piece]:
    """Cut a block at its comment lines and header rows."""
    data, start, line = block.data, 0, block.line
    for begin, end in _marks(data, state):
        if begin > start:
            run = data[start:begin]
            lines = newlines(run)
            yield _Piece(run, block.offset + start, line, lines, False)
            line += lines
        yield _Piece(data[begin:end], block.offset + begin, line, 1, True)
        line += 1
        start = end
    if start < len(data):
        rest = data[start:] if start else data
        yield _Piece(rest, block.offset + start, line, block.line + block.lines - line, False)


def _marks(data: bytes, state: Header) -> Iterator[tuple[int, int]]:
    """Where the comment lines and plain header rows are, in order."""
    found = sorted({*comments(data), *(_rows(data) if state.plain or not state.fields else ())})
    for begin in found:
        end = data.find(b"\n", begin)
        yield begin, len(data) if end < 0 else end + 1


def _rows(data: bytes) -> Iterator[int]:
    """Starts of the rows of field names, where a log has such a row for its header."""
    begin = 0
    while begin >= 0:
        end = data.find(b"\n", begin)
        if is_header_row(data[begin : len(data) if end < 0 else end]):
            yield begin
        begin = data.find(b"\nts\t", begin) + 1 or -1


def _read(piece: _Piece, header: Header, origin: Origin) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Events, rejects and number of blank lines of a run of record lines."""
    if header.foreign:
        return _refuse(piece, origin, f"a record of Zeek's {header.foreign} log, not a connection")
    missing = [name for name in REQUIRED if name not in header.fields]
    if missing:
        reason = f"the header has no {missing[0]}" if header.fields else "no header before it"
        return _refuse(piece, origin, reason)
    if len(set(header.fields)) < len(header.fields):
        return _refuse(piece, origin, "the header names a field twice")
    records = fast(piece, header)
    if records is not None:
        made, rejects = make(records, origin)
        return made, rejects, 0
    return exact(piece.data, piece.line, piece.offset, header, origin)


def _refuse(piece: _Piece, origin: Origin, reason: str) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    every = split_lines(piece.data, piece.line, piece.offset)
    rows = every.filter(pl.col("raw") != "")
    rejects = reject_rows(
        path=origin.path,
        line=rows["line"],
        offset=rows["offset"],
        format_name=origin.format,
        field=[None] * rows.height,
        reason=[reason] * rows.height,
        raw=rows["raw"],
    )
    return empty(), rejects, every.height - rows.height


def fast(piece: _Piece, header: Header) -> Records | None:
    """The records, if every one is provably clean; else None.

    Proof: none of the bytes that need care; as many rows as lines; no row too long (the reader
    refuses) or too short (the last field is never null, because no null marker is given for it);
    every number parsed by type (the reader refuses) and within bounds; every bool T or F.
    """
    if len(header.separator.encode()) != 1 or header.joined or piece.data.startswith(BOM):
        return None
    if any(mark in piece.data for mark in _UNCLEAN):
        return None
    try:
        typed = _typed(piece.data, header)
        rows = split_lines(piece.data, piece.line, piece.offset)
    except (pl.exceptions.ComputeError, pl.exceptions.SchemaError):
        return None
    if typed.height != rows.height or typed[header.fields[-1]].null_count():
        return None
    typed = typed.with_columns_seq(_last(header))
    if not _sound(typed, header):
        return None
    extra = as_json(
        typed,
        [
            unknown_member(pl.col(name), name, header.declared(index), header)
            for index, name in enumerate(header.fields)
            if header.kind(name) is None
        ],
    )
    return Records(_known(typed, header), rows["raw"], rows["line"], rows["offset"], extra)


def _typed(data: bytes, header: Header) -> pl.DataFrame:
    """Numbers as numbers, all else as text; null where unset, except in the last column."""
    types = {name: _read_as(header.kind(name)) for name in header.fields[:-1]}
    return pl.read_csv(
        data,
        separator=header.separator,
        has_header=False,
        schema={**types, header.fields[-1]: pl.String()},
        quote_char=None,
        null_values=dict.fromkeys(types, header.unset),
    )


def _read_as(kind: Kind | None) -> pl.DataType:
    if kind in ("time", "interval"):
        return pl.Float64()
    return pl.Int64() if kind in ("count", "port") else pl.String()


def _last(header: Header) -> pl.Expr:
    """The last column as the others are; a number that cannot be read becomes infinite or -1."""
    name = header.fields[-1]
    dtype = _read_as(header.kind(name))
    text = pl.col(name)
    if dtype == pl.String():
        value = text
    else:
        wrong = math.inf if dtype == pl.Float64() else -1
        value = text.str.strip_chars(" ").cast(dtype, strict=False).fill_null(wrong)
    return pl.when(text != header.unset).then(value).alias(name)


def _sound(typed: pl.DataFrame, header: Header) -> bool:
    # NaN compares as greater than any number here, so it is not sound either.
    return all(typed.select_seq(_checks(header)).row(0))


@lru_cache(maxsize=_HEADERS)
def _checks(header: Header) -> list[pl.Expr]:
    checks = []
    for name in header.fields:
        kind = header.kind(name)
        if kind in ("time", "interval"):
            checks.append((pl.col(name).abs() < SECONDS).all())
        elif kind == "bool":
            checks.append(pl.col(name).is_in(["T", "F"]).all())
    last = header.fields[-1]
    if _read_as(header.kind(last)) == pl.Int64():
        checks.append((pl.col(last) >= 0).all())
    return [check.alias(str(number)) for number, check in enumerate(checks)]


def _known(typed: pl.DataFrame, header: Header) -> pl.DataFrame:
    """Typed columns as `zeek.TYPES` has them."""
    sets = (name for name in header.fields if header.kind(name) == "set")
    unset = frozenset(name for name in sets if typed[name].null_count() == typed.height)
    return typed.select_seq(_converted(header, unset))


@lru_cache(maxsize=_HEADERS)
def _converted(header: Header, unset: frozenset[str]) -> list[pl.Expr]:
    """unset: sets that no record has."""
    known = []
    for name in header.fields:
        kind = header.kind(name)
        column = pl.col(name)
        if kind in ("time", "interval"):
            known.append((column * 1_000_000).round().cast(pl.Int64))
        elif kind == "bool":
            known.append(column == "T")
        elif name in unset:
            known.append(pl.lit(None, TYPES["set"]).alias(name))
        elif kind == "set":
            known.append(set_items(column, header).alias(name))
        elif kind in ("string", "addr"):
            known.append(
                pl.when(column == header.empty).then(pl.lit("")).otherwise(column).alias(name)
            )
        elif kind is not None:
            known.append(column)
    return known
