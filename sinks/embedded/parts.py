"""Frames as parts of the store: small ones, or files."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from .files import Stored, write
from .small import Small, small

_DAY: Final = 86_400_000_000  # microseconds


def events_written(folder: Path, events: pl.DataFrame) -> list[Stored | Small]:
    if events.is_empty():
        return []
    times = events["@timestamp"].to_physical()
    days: Sequence[pl.DataFrame] = [events]
    if int(times.min()) // _DAY != int(times.max()) // _DAY:  # type: ignore[arg-type]
        day = pl.col("@timestamp").dt.date()
        days = events.with_columns(_day=day).partition_by("_day", include_key=False)
    return [stored for part in days for stored in written(folder, "events", part)]


def written(folder: Path, kind: str, frame: pl.DataFrame) -> list[Stored | Small]:
    """A frame with @timestamp as one file; none for an empty one."""
    if frame.is_empty():
        return []
    times = frame["@timestamp"].to_physical()
    first, last = int(times.min()), int(times.max())  # type: ignore[arg-type]
    day = str(_day(first)) if kind == "events" else None
    return [_part(folder, kind, day, frame, first, last)]


def _day(micros: int) -> date:
    return date(1970, 1, 1) + timedelta(days=micros // _DAY)


def keys_written(folder: Path, kind: str, frame: pl.DataFrame | None) -> list[Stored | Small]:
    if frame is None or frame.is_empty():
        return []
    first, last = int(frame["hi"][0]) >> 32, int(frame["hi"][-1]) >> 32
    return [_part(folder, kind, None, frame, first * 1_000_000, last * 1_000_000 + 999_999)]


def _part(
    folder: Path, kind: str, day: str | None, frame: pl.DataFrame, first: int, last: int
) -> Stored | Small:
    """A frame as a small part; or written to a file, if it is too large for one."""
    found = small(kind, day, frame, first, last)
    return write(folder, kind, day, frame, first, last) if found is None else found
