r"""The header of a Zeek log: what its # lines, or its row of field names, say of the records."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from .rejects import text as decoded
from .zeek import DATASETS, FIELDS, Kind, dataset_of, field_name

BOM: Final = b"\xef\xbb\xbf"
_BLANK: Final = b" \t" + BOM
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|\\)")
_JOINT: Final = "   "
_RUN: Final = re.compile(r"(?:\\x[0-9a-fA-F]{2}|\\\\)+")


@dataclass(frozen=True, slots=True)
class Header:
    """What the header in force says, and the dataset that the file is.

    fields: as `zeek.field_name` has them; empty: no header was seen yet. plain: the header is a
    row of names. joined: some fields were added with three spaces before them, not the separator
    (IoT-23 and its kin). foreign: name of the log, when it holds no connections.
    """

    dataset: str
    separator: str = "\t"
    set_separator: str = ","
    empty: str = "(empty)"
    unset: str = "-"
    fields: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    plain: bool = False
    joined: bool = False
    foreign: str = ""

    def kind(self, field: str) -> Kind | None:
        return FIELDS[field][1] if field in FIELDS else None

    def declared(self, index: int) -> str:
        return self.types[index] if index < len(self.types) else "string"


def unescape(text: str) -> str:
    r"""Zeek's \xHH and \\ resolved; bytes that are no UTF-8 stay escaped."""

    def run(found: re.Match[str]) -> str:
        codes = (
            int(part.group(1), 16) if part.group(1) else 0x5C
            for part in _ESCAPE.finditer(found.group())
        )
        return decoded(bytes(codes))

    return _RUN.sub(run, text)


def set_items(column: pl.Expr, header: Header) -> pl.Expr:
    """A set or vector as a list of strings; an empty one is an empty list."""
    items = column.str.split(header.set_separator).list.eval(unescaped(pl.element()))
    return (
        pl.when(column == header.empty)
        .then(pl.lit([], pl.List(pl.String)))
        .when(column.is_not_null())
        .then(items)
    )


def unescaped(column: pl.Expr) -> pl.Expr:
    """Zeek's escapes resolved; one value at a time, for they are few."""
    escaped = column.str.contains("\\", literal=True)
    resolved = pl.when(escaped).then(column).map_elements(unescape, return_dtype=pl.String)
    return pl.when(escaped).then(resolved).otherwise(column)


def comments(data: bytes) -> Iterator[int]:
    """Starts of the lines whose first visible character is #."""
    position = data.find(b"#")
    while position >= 0:
        begin = data.rfind(b"\n", 0, position) + 1
        if not data[begin:position].strip(_BLANK):
            yield begin
        # What follows on this line is no comment; going on behind it keeps this linear.
        end = data.find(b"\n", position)
        position = -1 if end < 0 else data.find(b"#", end)


def is_header_row(line: bytes) -> bool:
    names = {field_name(name) for name in decoded(line.strip(b"\r\n")).lstrip("\ufeff").split("\t")}
    return {"ts", "id.orig_h", "id.resp_h"} <= names


def directive(line: bytes, header: Header) -> Header:
    """The header after one more of its lines; other comments change nothing."""
    content = decoded(line.strip(b"\r\n").lstrip(_BLANK))
    if not content.startswith("#"):
        names = tuple(field_name(name) for name in content.split("\t"))
        return Header(header.dataset, fields=names, plain=True)
    if content.startswith("#separator"):
        value = unescape(content[len("#separator") :].strip(" \t"))
        # A new header begins here, and takes nothing over from the one before.
        return Header(header.dataset, separator=value or "\t")
    name, _, rest = content.partition(header.separator)
    match name:
        case "#set_separator":
            return replace(header, set_separator=unescape(rest) or ",")
        case "#empty_field":
            return replace(header, empty=unescape(rest))
        case "#unset_field":
            return replace(header, unset=unescape(rest))
        case "#path":
            dataset = dataset_of(rest)
            if dataset is None:
                return replace(header, foreign=rest)
            return replace(header, dataset=dataset, foreign="")
        case "#fields":
            return _fields(header, rest)
        case "#types":
            return replace(header, types=tuple(_types(rest, header)))
    return header


def _types(rest: str, header: Header) -> list[str]:
    return rest.replace(_JOINT, header.separator).split(header.separator)


def _fields(header: Header, rest: str) -> Header:
    names = rest.replace(_JOINT, header.separator).split(header.separator)
    return replace(
        header,
        fields=tuple(field_name(name) for name in names),
        plain=False,
        joined=_JOINT in rest,
    )


def read_header(head: bytes) -> Header | None:
    """The header that the first lines make; None when they make none."""
    header = Header(dataset="")
    first = head.lstrip(_BLANK).partition(b"\n")[0]
    if not first.startswith(b"#"):
        if b"\t" in first and is_header_row(first):
            return directive(first, Header(DATASETS["conn"]))
        return None
    for begin in comments(head[:65536]):
        header = directive(head[begin : head.find(b"\n", begin) % (len(head) + 1)], header)
        if header.fields and header.types:
            break
    if header.fields and not header.dataset and not header.foreign:
        header = replace(header, dataset=DATASETS["conn"])
    return header if header.fields else None
