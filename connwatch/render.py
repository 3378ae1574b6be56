"""What the program prints: tables for people, JSON and CSV for programs.

Log content is hostile: `safe` stands between it and a terminal. JSON escapes control characters by
itself.
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
from connwatch.schema import STRINGS, UTC, expand

#: C0 and C1 controls, DEL, and the characters that change the direction of text
_HARMFUL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_BATCH: Final = 10_000


def safe(text: object) -> str:
    r"""Text that a terminal shows as it is: control and direction characters as \xHH or \uHHHH."""

    def shown(found: re.Match[str]) -> str:
        code = ord(found.group())
        return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"

    return _HARMFUL.sub(shown, str(text))


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

    A name that is both a value and the beginning of others keeps its dotted form.
    """
    document: dict[str, Any] = {}
    for name, value in row.items():
        if value is None:
            continue
        if isinstance(value, datetime):
            value = iso(value)
        elif name == "connwatch.extra":
            value = json.loads(value)
        here = document
        *path, last = name.split(".")
        for step in path:
            inner = here.setdefault(step, {})
            if not isinstance(inner, dict):
                break
            here = inner
        else:
            here[last] = value
            continue
        document[name] = value
    return document


def ndjson(frame: pl.DataFrame) -> Iterator[str]:
    """Whole events, derived columns included, as one nested JSON document a line."""
    for start in range(0, frame.height, _BATCH):
        for row in expand(frame.slice(start, _BATCH)).iter_rows(named=True):
            yield to_json(nested(row))


def to_json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def as_csv(frame: pl.DataFrame) -> Iterator[str]:
    """A header and one line a row; lists joined by |, times as ISO 8601."""
    plain = frame.with_columns(
        pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
        if dtype == UTC
        else pl.col(name).list.join("|")
        for name, dtype in frame.schema.items()
        if dtype in (UTC, STRINGS)
    )
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(plain.columns)
    for row in plain.iter_rows():
        writer.writerow(row)
    yield buffer.getvalue().rstrip("\n")
