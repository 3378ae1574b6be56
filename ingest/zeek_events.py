"""Records of Zeek's connection logs become events; a record that cannot be true is rejected.

Both readers (`zeek_tsv`, `zeek_json`) end here, so a record means the same in either form.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import polars as pl
import polars_hash as plh

from connwatch.schema import UTC, conform, empty

from .addresses import canonical
from .rejects import reject_rows
from .zeek import FIELDS, REQUIRED
from .zeek_transport import of_transport

_LATEST: Final = 4_102_444_800_000_000  # 2100-01-01 in µs: later is a broken clock or a wrong unit
#: headers of which it is kept what their fields ask for; there are few
_HEADERS: Final = 64


@dataclass(frozen=True, slots=True)
class Origin:
    """Where records come from; `sensor` is the user's label or empty."""

    path: str
    dataset: str
    sensor: str
    format: str


@dataclass(frozen=True, slots=True)
class Records:
    """Records of one block, row by row.

    fields: a subset of `zeek.FIELDS`, typed as `zeek.TYPES` says. raw: the line. line, offset:
    Int64. extra: JSON text of the fields that the schema does not know, or None.
    """

    fields: pl.DataFrame
    raw: pl.Series
    line: pl.Series
    offset: pl.Series
    extra: pl.Series | None = None

    def filter(self, keep: pl.Series) -> Records:
        return Records(
            self.fields.filter(keep),
            self.raw.filter(keep),
            self.line.filter(keep),
            self.offset.filter(keep),
            None if self.extra is None else self.extra.filter(keep),
        )


def make(records: Records, origin: Origin) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The events and the rejects of `records`."""
    addresses: dict[str, pl.Series] = {
        name: canonical(records.fields[name])
        for name in ("id.orig_h", "id.resp_h")
        if name in records.fields.columns
    }
    if _is_clean(records.fields, addresses):
        return _events(records, addresses, origin), reject_rows()
    faults = list(_faults(records.fields, addresses))
    field: pl.Expr = pl.lit(None, pl.String)
    reason: pl.Expr = pl.lit(None, pl.String)
    marked = records.fields.with_columns(
        wrong.alias(f"_{number}") for number, (wrong, _, _) in enumerate(faults)
    )
    for number, (_, name, text) in reversed(list(enumerate(faults))):
        field = pl.when(f"_{number}").then(pl.lit(name)).otherwise(field)
        reason = pl.when(f"_{number}").then(text).otherwise(reason)
    found = marked.select(field=field, reason=reason)
    bad = found["reason"].is_not_null()
    wrong = records.filter(bad)
    rejects = reject_rows(
        path=origin.path,
        line=wrong.line,
        offset=wrong.offset,
        format_name=origin.format,
        field=found["field"].filter(bad),
        reason=found["reason"].filter(bad),
        raw=wrong.raw,
    )
    good = {name: column.filter(~bad) for name, column in addresses.items()}
    return _events(records.filter(~bad), good, origin), rejects


def _is_clean(fields: pl.DataFrame, addresses: dict[str, pl.Series]) -> bool:
    """Whether there are none of `_faults`."""
    if any(name not in fields.columns or fields[name].null_count() for name in REQUIRED):
        return False
    if any(column.null_count() > fields[name].null_count() for name, column in addresses.items()):
        return False
    return not any(fields.select_seq(_any_beyond(tuple(fields.columns))).row(0))


def _faults(
    fields: pl.DataFrame, addresses: dict[str, pl.Series]
) -> Iterator[tuple[pl.Series, str, pl.Expr]]:
    """What may be wrong with a typed record: (rows, field, reason), the weightiest first."""
    for name in REQUIRED:
        if name not in fields.columns:
            yield pl.repeat(True, fields.height, eager=True), name, pl.lit("is not set")
        elif fields[name].null_count():
            yield fields[name].is_null(), name, pl.lit("is not set")
    limits = _limits(tuple(fields.columns))
    for wrong, name, reason in limits:
        if name == "ts":
            yield fields.select_seq(wrong).to_series(), name, reason
    for name, column in addresses.items():
        if column.null_count() > fields[name].null_count():
            rows = column.is_null() & fields[name].is_not_null()
            yield rows, name, pl.format("'{}' is not an IP address", pl.col(name))
    for wrong, name, reason in limits:
        if name != "ts":
            yield fields.select_seq(wrong).to_series(), name, reason


@lru_cache(maxsize=_HEADERS)
def _limits(names: tuple[str, ...]) -> tuple[tuple[pl.Expr, str, pl.Expr], ...]:
    """What a value of each of these fields may not be: (condition, field, reason)."""
    most = {"ip_proto": 255, "vlan": 4095, "inner_vlan": 4095}
    found: list[tuple[pl.Expr, str, pl.Expr]] = []
    for name in names:
        kind = FIELDS[name][1]
        value, text = pl.col(name), pl.col(name).cast(pl.String)
        if name == "ts":
            wrong = (value < 0) | (value >= _LATEST)
            found.append((wrong, name, pl.lit("is not a time between 1970 and 2100")))
        elif kind == "port":
            wrong = (value < 0) | (value > 65535)
            found.append((wrong, name, pl.format("{} is not a port (0 to 65535)", text)))
        elif kind == "count":
            found.append((value < 0, name, pl.format("{} is negative", text)))
            if limit := most.get(name):
                reason = pl.format("{} is above {}", text, pl.lit(limit))
                found.append((value > limit, name, reason))
        elif kind == "interval":
            seconds = (value / 1_000_000).cast(pl.String)
            found.append((value < 0, name, pl.format("{} s is negative", seconds)))
            if "ts" in names:
                late = value + pl.col("ts") >= _LATEST
                found.append((late, name, pl.format("{} s ends after the year 2100", seconds)))
    return tuple(found)


@lru_cache(maxsize=_HEADERS)
def _any_beyond(names: tuple[str, ...]) -> list[pl.Expr]:
    """Whether any value is one of those that it may not be; null is none of them."""
    wrong = (wrong for wrong, _, _ in _limits(names))
    return [one.any().alias(str(number)) for number, one in enumerate(wrong)]


def _events(records: Records, addresses: dict[str, pl.Series], origin: Origin) -> pl.DataFrame:
    if not addresses or records.fields.is_empty():
        return empty()
    # Not all at once: columns cut at other places would be put together for that.
    frame = records.fields.with_columns_seq(
        *(column.alias(name) for name, column in addresses.items()),
        records.raw.alias("_raw"),
        records.line.alias("_line"),
        records.offset.alias("_offset"),
    )
    has = {field.name for field in records.fields if field.null_count() < len(field)}
    plain = {
        column: pl.col(name)
        for name, (column, kind) in FIELDS.items()
        if name in has and kind in ("string", "count", "addr", "bool")
    }
    columns: dict[str, pl.Expr] = {
        **plain,
        "@timestamp": pl.col("ts").cast(UTC),
        "event.id": event_id(origin),
        "event.dataset": pl.lit(origin.dataset),
        "event.sequence": pl.col("_line"),
        "log.file.path": pl.lit(origin.path),
        "log.offset": pl.col("_offset"),
        **{name: pl.lit(column) for name, column in of_transport(frame).items()},
    }
    if origin.sensor:
        columns["observer.name"] = pl.lit(origin.sensor)
    if "duration" in has:
        columns["event.duration"] = pl.col("duration") * 1000
    if "tunnel_parents" in has:
        parents = pl.col("tunnel_parents")
        columns["zeek.connection.tunnel_parents"] = pl.when(parents.list.len() > 0).then(parents)
    for name, column in (("orig_l2_addr", "source.mac"), ("resp_l2_addr", "destination.mac")):
        if name in has:
            columns[column] = (
                pl.col(name).str.to_uppercase().str.replace_all(":", "-", literal=True)
            )
    for name in ("zeek.connection.vlan", "zeek.connection.inner_vlan"):
        if name in columns:
            columns[name] = columns[name].cast(pl.Int64)
    if records.extra is not None:
        columns["connwatch.extra"] = pl.lit(records.extra)
    return conform(frame.select_seq(expr.alias(name) for name, expr in columns.items()))


def event_id(origin: Origin) -> pl.Expr:
    """128 bits of hash over dataset, sensor and raw line (`_raw`), as 32 hex digits."""
    prefix = f"{origin.dataset}\x00{origin.sensor}\x00"
    digest = plh.concat_str(pl.lit(prefix), "_raw").nchash.xxh3_128(
        return_binary=True, byte_order="big"
    )
    hexed: pl.Expr = digest.bin.encode("hex")
    return hexed
