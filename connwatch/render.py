"""What the program prints: tables for people, JSON and CSV for programs.

Log content is hostile: `safe` stands between it and a terminal. In JSON the same characters are
written as escapes, so that they mean the same to a program and nothing to a terminal.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TextIO

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from connwatch.alert import iso
from connwatch.schema import BY_NAME, COLUMNS, OBJECTS, STRINGS, UTC, expand

#: C0 and C1 controls, DEL, characters that are invisible or change the direction of text, halves
#: of surrogate pairs, which file names that are not UTF-8 have and no output takes
_HARMFUL: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
_ESCAPES: Final = {
    chr(code): f"\\u{code:04x}" for code in (*range(0x2070), 0xFEFF) if _HARMFUL.match(chr(code))
}
_TEXT_ESCAPES: Final = {**_ESCAPES, '"': '\\"', "\\": "\\\\"}
_ISO: Final = "%Y-%m-%dT%H:%M:%S%.6fZ"
_BATCH: Final = 10_000


def safe(text: object) -> str:
    r"""Text that a terminal shows as it is: control and direction characters as \xHH or \uHHHH."""

    def shown(found: re.Match[str]) -> str:
        code = ord(found.group())
        return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"

    return _HARMFUL.sub(shown, str(text))


def safe_lines(text: object) -> str:
    """Text of several lines, each of them safe."""
    return "\n".join(safe(line) for line in str(text).split("\n"))


def console(stream: TextIO | None = None) -> Console:
    """A console for tables: colour only on a terminal and without NO_COLOR; into a pipe as wide as
    its content."""
    target = sys.stdout if stream is None else stream
    terminal = target.isatty()
    width = None if terminal else 10_000
    return Console(
        file=target,
        width=width,
        no_color=bool(os.environ.get("NO_COLOR")) or not terminal,
        highlight=False,
        emoji=False,
        markup=False,
        soft_wrap=not terminal,
    )


def table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()
) -> Table:
    """A table of plain text; the columns named in `right` are numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        made.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(safe("" if cell is None else cell)) for cell in row))
    return made


def number(value: float) -> str:
    return f"{value:,.0f}"


def size(value: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def moment(text: str | None) -> str:
    """A document's time to the second, for a table."""
    return "" if text is None else text[:19].replace("T", " ")


def nested(row: Mapping[str, Any]) -> dict[str, Any]:
    """A flat record as a nested document: nulls left out, times as ISO 8601.

    Where a name is both a value and the beginning of others, the others keep their dotted form.
    """
    present = {name: value for name, value in row.items() if value is not None}
    document: dict[str, Any] = {}
    for name, value in present.items():
        if isinstance(value, datetime):
            value = iso(value)
        elif name in OBJECTS:
            value = json.loads(value)
        *path, last = name.split(".")
        if any(".".join(path[: end + 1]) in present for end in range(len(path))):
            document[name] = value
            continue
        here = document
        for step in path:
            here = here.setdefault(step, {})
        here[last] = value
    return document


def ndjson(frame: pl.DataFrame) -> Iterator[str]:
    """Whole events, derived columns included, as one nested JSON document a line."""
    names = {column.name: column.name for column in COLUMNS}
    tree = nested({name: f'"{name}"' if name in OBJECTS else name for name in names})
    lines = _object(tree).fill_null("{}")
    for start in range(0, frame.height, _BATCH):
        yield from expand(frame.slice(start, _BATCH)).select(lines).to_series()


def _object(tree: Mapping[str, Any]) -> pl.Expr:
    """JSON text of the columns in a tree of names; null where all of them are."""
    members = [
        pl.lit(f'"{name}":') + (_json(below) if isinstance(below, str) else _object(below))
        for name, below in tree.items()
    ]
    inside = pl.concat_str(members, separator=",", ignore_nulls=True)
    # Named once: an expression that stands in two places is computed twice, at every level.
    return (pl.lit("{") + inside + pl.lit("}")).replace("{}", None)


def _json(name: str) -> pl.Expr:
    """JSON text of a column of the schema."""
    column, dtype = pl.col(name), BY_NAME[name].dtype
    if name in OBJECTS:
        return _escaped(column, _ESCAPES)
    if dtype == UTC:
        return pl.lit('"') + column.dt.strftime(_ISO) + pl.lit('"')
    if dtype == pl.String:
        return _quoted(column)
    if dtype == STRINGS:
        items = column.list.eval(_quoted(pl.element())).list.join(",")
        return pl.lit("[") + items + pl.lit("]")
    return column.cast(pl.String)


def _quoted(text: pl.Expr) -> pl.Expr:
    return pl.lit('"') + _escaped(text, _TEXT_ESCAPES) + pl.lit('"')


def _escaped(text: pl.Expr, escapes: Mapping[str, str]) -> pl.Expr:
    return text.str.replace_many(list(escapes), list(escapes.values()))


def to_json(value: object, *, indent: int | None = None) -> str:
    """JSON text that does nothing to a terminal; on one line unless `indent` is given."""
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, ensure_ascii=False, indent=indent, separators=separators)
    if indent is not None:  # these newlines are ours: text has its own as \n already
        return "\n".join(_json_escaped(line) for line in text.split("\n"))
    return _json_escaped(text)


def _json_escaped(text: str) -> str:
    return _HARMFUL.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def as_csv(frame: pl.DataFrame, stream: TextIO | None = None) -> Iterator[str]:
    """A header and one line a row; lists joined by |, times as ISO 8601.

    stream: where it will be written. Text is left as it is for a program, made safe on a terminal.
    """
    terminal = (sys.stdout if stream is None else stream).isatty()
    plain = frame.with_columns(
        pl.col(name).dt.strftime(_ISO) if dtype == UTC else pl.col(name).list.join("|")
        for name, dtype in frame.schema.items()
        if dtype in (UTC, STRINGS)
    )
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(plain.columns)
    for row in plain.iter_rows():
        writer.writerow([safe(v) if isinstance(v, str) else v for v in row] if terminal else row)
    yield buffer.getvalue().rstrip("\n")
