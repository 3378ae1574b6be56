"""Immutable files: written to a temporary name, fsynced, renamed, and then never changed."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from connwatch.errors import StoreError

TEMPORARY: Final = ".part"
#: every @timestamp
EVER: Final = (-(2**62), 2**62)
#: rows of a row group: what a search can leave out as a whole
ROW_GROUP: Final = 131_072
#: bytes: a device with less is full, because a write asks for more at once
_LEAST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """One file as the catalogue lists it; first, last: µs since the epoch, of @timestamp."""

    name: str
    kind: str
    day: str | None
    rows: int
    bytes: int
    crc: int
    first: int
    last: int

    def is_whole(self, path: Path) -> bool:
        """Whether a file has the content that it had when it was written."""
        return checksum(path) == (self.bytes, self.crc)

    def insert(self, database: sqlite3.Connection) -> None:
        database.execute(
            "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.name,
                self.kind,
                self.day,
                self.rows,
                self.bytes,
                self.crc,
                self.first,
                self.last,
            ),
        )


def listed(database: sqlite3.Connection, kind: str, first: int, last: int) -> list[Stored]:
    """The files of a kind that overlap a span of @timestamp, by name."""
    rows = database.execute(
        "SELECT * FROM files WHERE kind = ? AND first <= ? AND last >= ? ORDER BY name",
        (kind, last, first),
    )
    return [Stored(*row) for row in rows]


def write(
    folder: Path, kind: str, day: str | None, frame: pl.DataFrame, first: int, last: int
) -> Stored:
    """Put a frame into a new file; it counts once the catalogue lists it."""
    is_keys = kind.endswith("-keys")
    place = f"events/{day}" if kind == "events" else kind.replace("-", "_")
    name = f"{place}/{uuid.uuid4().hex}.{'arrow' if is_keys else 'parquet'}"

    def save(path: Path) -> None:
        if is_keys:  # uncompressed, so that it can be searched where it lies
            frame.write_ipc(path, compression="uncompressed")
        else:
            # A column without values costs time in every file; reading puts it back.
            valued = [name for name in frame.columns if frame[name].null_count() < frame.height]
            frame.select(valued).write_parquet(
                path, compression="zstd", compression_level=1, row_group_size=ROW_GROUP
            )

    size, crc = _commit_file(folder / name, save)
    return Stored(name, kind, day, frame.height, size, crc, first, last)


def write_whole(folder: Path, kind: str, save: Callable[[Path], None]) -> Stored:
    """A new file of a kind that has no rows; `save` writes it."""
    name = f"{kind}/{uuid.uuid4().hex}"
    size, crc = _commit_file(folder / name, save)
    return Stored(name, kind, None, 0, size, crc, 0, 0)


def _commit_file(path: Path, save: Callable[[Path], None]) -> tuple[int, int]:
    make_folder(path.parent)
    temporary = path.with_suffix(path.suffix + TEMPORARY)
    try:
        try:
            save(temporary)
        except pl.exceptions.ComputeError as error:
            # A footer that finds no room is "Invalid thrift: transport error" to Polars.
            full = no_room(path.parent) or "No space left" in str(error)
            number = errno.ENOSPC if full else errno.EIO
            raise OSError(number, str(error), str(path)) from error
        size, crc = checksum(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return size, crc


def checksum(path: Path) -> tuple[int, int]:
    """Size and CRC-32 of a file."""
    size = crc = 0
    with path.open("rb") as file:
        while part := file.read(1 << 22):
            crc = zlib.crc32(part, crc)
            size += len(part)
    return size, crc


def no_room(folder: Path) -> bool:
    """Whether the device is full, as far as a write that has just failed can be told by it."""
    return shutil.disk_usage(folder).free < _LEAST


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that they outlast a loss of power."""
    if not folder.is_dir():
        if folder.exists():
            raise StoreError(
                "is a file", where=str(folder), hint="a store is a folder of its own: name another"
            )
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
