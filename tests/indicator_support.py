"""Lists of indicators and events to match, for the tests of them."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from connwatch.detectors.indicators import (
    FOUND_SCHEMA,
    Fields,
    IndicatorList,
    Indicators,
    ListOptions,
    match,
    read_list,
)
from connwatch.schema import UTC as UTC_COLUMN


def listed(folder: Path, text: str | bytes | object, **options: Any) -> IndicatorList:
    """What is read from a file with this text, or this as JSON."""
    path = folder / "feed.list"
    if isinstance(text, str):
        path.write_text(text, encoding="utf-8", newline="")
    elif isinstance(text, bytes):
        path.write_bytes(text)
    else:
        path.write_text(json.dumps(text), encoding="utf-8")
    return read_list(path, ListOptions(**options))


def values(read: IndicatorList) -> list[tuple[Any, ...]]:
    return read.entries.select("kind", "value", "port").rows()


def reasons(read: IndicatorList) -> list[tuple[Any, ...]]:
    return read.rejects.select("line", "reason").rows()


A, N, D, P = "address", "network", "domain", "port"
NOT_ONE = "not an address, network, port or domain name"
ONE_LABEL = "a name of one label, which would match everything beneath it"

START = datetime(2026, 1, 1, tzinfo=UTC)
FIELDS = Fields(names=("dns.question.name",))


def events(*rows: tuple[Any, ...]) -> pl.DataFrame:
    """Rows of seconds since START, source, its port, destination, its port, name."""
    names = [
        "at",
        "source.ip",
        "source.port",
        "destination.ip",
        "destination.port",
        FIELDS.names[0],
    ]
    types = [pl.Int64, pl.String, pl.Int64, pl.String, pl.Int64, pl.String]
    frame = pl.DataFrame(rows, schema=dict(zip(names, types, strict=True)), orient="row")
    time = pl.lit(START).cast(UTC_COLUMN) + pl.duration(seconds="at")
    return frame.with_columns(time.alias("@timestamp")).drop("at")


def indicators(folder: Path, *rows: tuple[str, object, object, object]) -> Indicators:
    """Rows of value, port, and the seconds since START from and until which they are valid."""
    path = folder / "list.csv"

    def time(seconds: object) -> object:
        return (
            None if seconds is None else (START + timedelta(seconds=int(str(seconds)))).isoformat()
        )

    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["indicator", "port", "valid_from", "valid_until"])
        writer.writerows((v, p, time(begin), time(end)) for v, p, begin, end in rows)
    return Indicators.of(read_list(path).entries)


def always(folder: Path, *values: str) -> Indicators:
    return indicators(folder, *((value, None, None, None) for value in values))


def found(frame: pl.DataFrame, listed: Indicators) -> list[tuple[Any, ...]]:
    result = match(frame, listed, FIELDS)
    assert result.schema == pl.Schema(FOUND_SCHEMA)
    return result.rows()


EVENT = (0, "10.0.0.1", 50000, "203.0.113.7", 443, "www.bad.example")
