"""Reading a list of indicators: its format is recognised by content.

`FORMATS` names them. A file that cannot be read at all is an InputError; an entry that cannot be
used is a reject with its place and reason, and loses nothing but itself.
"""

from __future__ import annotations

import codecs
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import polars as pl

from connwatch.errors import ConfigError, InputError

from . import csv_table, misp, plain, stix
from .resolve import resolve
from .table import RAW_SCHEMA, ListOptions, clean, raw_rows

#: bytes of a list that are read; larger files are refused
MAX_BYTES: Final = 1 << 30
#: lines in which a header is looked for
_HEAD: Final = 1000

#: what is known of a file without reading it: time of change (ns), size, inode
Stamp: TypeAlias = tuple[int, int, int]

FORMATS: Final = {
    "plain": "text, one indicator a line",
    "csv": "separated values with a header; Zeek's intelligence files",
    "stix": "STIX 2.1 bundle or TAXII envelope",
    "misp": "MISP events or attributes as JSON",
}


@dataclass(frozen=True, slots=True)
class IndicatorList:
    """One file as read. entries: `ENTRY_SCHEMA`. rejects: `REJECT_SCHEMA`. stamp: of the file when
    it was opened."""

    path: str
    format: str
    entries: pl.DataFrame
    rejects: pl.DataFrame
    stamp: Stamp


def read_list(path: Path, options: ListOptions | None = None) -> IndicatorList:
    """The list in a file. InputError where the file cannot be opened, is of no known format, or
    holds entries of which none can be used; ConfigError where `options.columns` do not fit."""
    chosen = options or ListOptions()
    data, stamp = _contents(path)
    text = _text(data, path)
    try:
        name, raw = _taken(text, chosen)
    except InputError as error:
        raise InputError(error.message, where=str(path), hint=error.hint) from error
    except ConfigError as error:
        raise ConfigError(error.message, where=str(path), hint=error.hint) from error
    entries, rejects = resolve(raw, clean(str(path)), chosen.provider or clean(path.stem))
    if entries.is_empty() and rejects.height:
        line, entry, reason = rejects.select("line", "entry", "reason").row(0)
        raise InputError(
            f"none of {rejects.height} entries can be used; the first, at "
            f"{entry if line is None else f'line {line}'}: {reason}",
            where=str(path),
            hint=f"lists are {', '.join(FORMATS.values())}",
        )
    return IndicatorList(str(path), name, entries, rejects, stamp)


def inline(rows: Sequence[Mapping[str, Any]], file: str, provider: str) -> IndicatorList:
    """Entries that stand in another file, such as a rule: mappings of `indicator`, `line` and what
    a list can say of it, all text but the line. ConfigError for a key that is none of these."""
    known = {"indicator", *RAW_SCHEMA} - {"text", "want", "entry", "reason"}
    for row in rows:
        for key in row:
            if key not in known:
                names = ", ".join(sorted(known - {"line"}))
                raise ConfigError(f"unknown key {key!r}", hint=f"an entry has {names}")
    raw = raw_rows({"text": row.get("indicator"), **row} for row in rows)
    entries, rejects = resolve(raw, clean(file), provider)
    return IndicatorList(file, "inline", entries, rejects, (0, 0, 0))


def stamp_of(status: os.stat_result) -> Stamp:
    return status.st_mtime_ns, status.st_size, status.st_ino


def _contents(path: Path) -> tuple[bytes, Stamp]:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(error.strerror or str(error), where=str(path)) from error
    if len(data) > MAX_BYTES:
        raise InputError(f"larger than {MAX_BYTES:,} bytes", where=str(path), hint="split the list")
    return data, stamp_of(status)


def _text(data: bytes, path: Path) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace")
    if b"\0" in data[:65_536] or data.startswith(b"\x1f\x8b"):
        raise InputError(
            "not a text file", where=str(path), hint="lists are read as they are: decompress it"
        )
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "backslashreplace")


def _taken(text: str, options: ListOptions) -> tuple[str, pl.DataFrame]:
    """The format of a text and its entries as `RAW_SCHEMA`."""
    if not options.columns and _is_json(text):
        return _from_json(_parsed(text), options)
    lines = (
        pl.Series("text", [text], dtype=pl.String)
        .str.split("\n")
        .explode()
        .str.strip_chars_end("\r")
        .to_frame()
        .with_row_index("line", 1)
        .select(pl.col("line").cast(pl.Int64), "text")
    )
    header = csv_table.header(lines.head(_HEAD), options.columns)
    if header is not None:
        return "csv", csv_table.take(lines, header)
    return "plain", plain.take(lines, options)


def _is_json(text: str) -> bool:
    """Whether it begins as an object or a list of objects, which no address in brackets does."""
    head = text[:4096].lstrip()
    return head.startswith("{") or (head.startswith("[") and head[1:].lstrip()[:1] in ("{", "]"))


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise InputError("JSON that is nested too deeply") from error
    except ValueError as error:
        raise InputError(f"JSON that cannot be read: {error}") from error


def _from_json(document: Any, options: ListOptions) -> tuple[str, pl.DataFrame]:
    readers: tuple[tuple[str, bool, Callable[[Any, ListOptions], pl.DataFrame]], ...] = (
        ("misp", misp.is_misp(document), misp.take),
        ("stix", isinstance(document, dict) and "objects" in document, stix.take),
    )
    for name, fits, take in readers:
        if fits:
            return name, take(document, options)
    if isinstance(document, dict) and document.get("type") == "bundle":
        return "stix", stix.take(document, options)
    raise InputError(
        "JSON that is neither a STIX bundle nor a MISP export",
        hint="a bundle has the key objects, an export Event, response or Attribute",
    )
