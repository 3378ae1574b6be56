"""Small parts of the store: frames of few rows, in the catalogue until there are enough of them.

A file costs two syncs and a name; a commit of fifty events with their hits and keys would cost
eight. So what is small is a row of the catalogue, in the same transaction as everything else, and
`tidy` puts many such rows into one file. `data` is an Arrow IPC stream, compressed with zstd.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import polars as pl
import zstandard

from connwatch.contracts import HIT_SCHEMA
from connwatch.errors import StoreDamagedError
from connwatch.schema import STORED

#: rows up to which a frame is small, by kind
ROWS: Final = {"events": 2_000, "hits": 5_000, "event-keys": 20_000, "hit-keys": 20_000}
#: bytes up to which its data is
BYTES: Final = 2 << 20
#: what a frame of each kind has
SCHEMAS: Final[Mapping[str, Mapping[str, pl.DataType]]] = {
    "events": STORED,
    "hits": HIT_SCHEMA,
    "event-keys": {"hi": pl.UInt64(), "lo": pl.UInt64()},
    "hit-keys": {"hi": pl.UInt64(), "lo": pl.UInt64()},
}


@dataclass(frozen=True, slots=True)
class Small:
    """One small part; number: of its row in the catalogue, the rest as of `files.Stored`."""

    number: int | None
    kind: str
    day: str | None
    rows: int
    crc: int
    first: int
    last: int
    data: bytes

    def insert(self, database: sqlite3.Connection) -> None:
        database.execute(
            "INSERT INTO small (kind, day, rows, crc, first, last, data)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self.kind, self.day, self.rows, self.crc, self.first, self.last, self.data),
        )

    @property
    def problem(self) -> str | None:
        """What is wrong with its data, in words; None when nothing is."""
        if zlib.crc32(self.data) != self.crc:
            return f"catalogue.sqlite: part {self.number} of {self.kind} has changed"
        return None

    def frame(self) -> pl.DataFrame:
        if (problem := self.problem) is not None:
            raise StoreDamagedError(problem, hint="connwatch store verify names what is damaged")
        return pl.read_ipc_stream(BytesIO(zstandard.ZstdDecompressor().decompress(self.data)))


def small(kind: str, day: str | None, frame: pl.DataFrame, first: int, last: int) -> Small | None:
    """A frame as a small part; None when it is too large for one."""
    if frame.height > ROWS[kind]:
        return None
    plain = BytesIO()
    frame.write_ipc_stream(plain)
    data = zstandard.ZstdCompressor(level=1).compress(plain.getbuffer())
    if len(data) > BYTES:
        return None
    return Small(None, kind, day, frame.height, zlib.crc32(data), first, last, data)


def parts(database: sqlite3.Connection, kind: str, first: int, last: int) -> list[Small]:
    """The small parts of a kind that overlap a span of @timestamp, in the order of their commits.

    To be read in one transaction with the list of files: `tidy` moves rows from here to there.
    """
    if database.execute("PRAGMA user_version").fetchone()[0] < 2:
        return []  # a store that no writer of this version has opened yet
    rows = database.execute(
        "SELECT id, kind, day, rows, crc, first, last, data FROM small"
        " WHERE kind = ? AND first <= ? AND last >= ? ORDER BY id",
        (kind, last, first),
    )
    return [Small(*row) for row in rows]


def together(kind: str, found: Sequence[Small]) -> pl.DataFrame:
    """The rows of small parts, with the columns of their kind."""
    schema = SCHEMAS[kind]
    frames = [pl.DataFrame(schema=schema), *(one.frame() for one in found)]
    return pl.concat(frames, how="diagonal").select(list(schema))
