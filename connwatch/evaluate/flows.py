"""Labels from a CSV of flows: 5-tuple and time span of each, and its label.

A row fits an event when all that it names is equal, in either direction (tools differ in whom
they take for the originator), and the two overlap in time. What a row leaves empty may be
anything; one address it must have.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any, Final

import polars as pl

from connwatch.errors import ConfigError, QueryError
from connwatch.query import parse_span
from connwatch.schema import DERIVED, UTC

from .labels import Labeller

#: what a column of the file is -> names that it goes by, in lower case
_NAMES: Final[dict[str, tuple[str, ...]]] = {
    "first": (
        *("start", "first", "ts", "timestamp", "@timestamp", "event.start"),
        *("starttime", "start_time", "first_seen", "stime"),
    ),
    "last": ("end", "last", "event.end", "endtime", "end_time", "last_seen", "ltime"),
    "seconds": ("duration", "dur", "seconds"),
    "source.ip": (
        *("source.ip", "id.orig_h", "src_ip", "srcip", "src", "saddr", "srcaddr"),
        *("source ip", "source"),
    ),
    "source.port": ("source.port", "id.orig_p", "src_port", "srcport", "sport", "source port"),
    "destination.ip": (
        *("destination.ip", "id.resp_h", "dst_ip", "dest_ip", "dstip", "dst", "daddr", "dstaddr"),
        *("destination ip", "destination"),
    ),
    "destination.port": (
        *("destination.port", "id.resp_p", "dst_port", "dest_port", "dstport", "dport"),
        "destination port",
    ),
    "network.transport": ("network.transport", "proto", "protocol"),
    "label": ("label", "class", "attack"),
    "detail": ("detail", "detailed_label", "detailed-label", "detailedlabel", "attack_cat"),
}
_PROTOCOLS: Final = {"1": "icmp", "6": "tcp", "17": "udp", "58": "ipv6-icmp", "icmp6": "ipv6-icmp"}
_KEYS: Final = (
    "source.ip", "source.port", "destination.ip", "destination.port", "network.transport",
)  # fmt: skip
_TURNED: Final = {
    "source.ip": "destination.ip", "source.port": "destination.port",
    "destination.ip": "source.ip", "destination.port": "source.port",
}  # fmt: skip
#: pairs of event and row that are compared at once: those of one pair of hosts multiply
_PAIRS: Final = 4_000_000
#: minutes that a span may touch to be looked up by them
_MINUTES: Final = 60


def flow_labels(path: Path, data: bytes, now: datetime, slack: float, rest: str | None) -> Labeller:
    """The labeller of a CSV file; see `label_files.by_file`."""
    flows = _read(path, data, now, timedelta(seconds=slack))

    def labeller(events: pl.LazyFrame) -> pl.LazyFrame:
        wanted = events.select(
            "event.id", "@timestamp", "connwatch.log_time", *_KEYS, end=DERIVED["event.end"]
        ).collect()
        rows = _fitting(wanted, flows)
        return (
            wanted.lazy()
            .join(rows.lazy(), on="event.id", how="left")
            .join(flows.lazy().select("row", "label", "detail"), on="row", how="left")
            .with_columns(
                label=pl.when(pl.col("row").is_null()).then(pl.lit(rest)).otherwise("label")
            )
        )

    return labeller


_SIDES: Final = ("source", "destination")
#: seconds that a flow may last: a hundred years
_LONGEST: Final = 3.2e9
_FITS: Final = {"event.id": pl.String(), "row": pl.UInt32()}


def _fitting(events: pl.DataFrame, flows: pl.DataFrame) -> pl.DataFrame:
    """The first row that fits each event: event.id, row; events without one are left out."""
    found = [pl.DataFrame(schema=_FITS)]
    given = pl.concat_str(pl.col(key).is_null().cast(pl.Int8) for key in _KEYS)
    for part in flows.with_columns(given=given).partition_by("given"):
        keys = [key for key in _KEYS if part[key][0] is not None]
        brief, rows = _brief(part.select("row", "first", "last", *keys), "first", "last")
        for turned in (False, True):
            own = [_TURNED.get(key, key) if turned else key for key in keys]
            sides = events.select("event.id", "@timestamp", "end", *own)
            sides = sides.rename(dict(zip(own, keys, strict=True)))
            short, long = _brief(sides, "@timestamp", "end")
            found.extend(_pairs(short, brief, [*keys, "minute"]))
            found.extend(_pairs(long, brief, keys))
            found.extend(_pairs(sides, rows, keys))
    return pl.concat(found).group_by("event.id").agg(pl.col("row").min())


def _brief(spans: pl.DataFrame, first: str, last: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Spans of at most `_MINUTES`, once for each minute that they touch; and all others.

    Two spans that overlap touch the same minute: a key that keeps long lists of flows between the
    same two hosts from being compared each with each.
    """
    begin, end = (pl.col(name).dt.epoch("s") // 60 for name in (first, last))
    short = (end - begin < _MINUTES).fill_null(value=False)
    touched = spans.filter(short).with_columns(minute=pl.int_ranges(begin, end + 1))
    return touched.explode("minute"), spans.filter(~short)


def _pairs(events: pl.DataFrame, rows: pl.DataFrame, keys: list[str]) -> Iterator[pl.DataFrame]:
    """For each event the first of the rows with its keys that overlaps it in time."""
    often = rows.group_by(keys).agg(rows=pl.len().cast(pl.Int64))
    share = (pl.col("rows").cum_sum() // _PAIRS).alias("share")
    for some in events.join(often, on=keys).with_columns(share).partition_by("share"):
        yield (
            some.join(rows, on=keys)
            .filter(pl.col("first").is_null() | (pl.col("first") <= pl.col("end")))
            .filter(pl.col("last").is_null() | (pl.col("last") >= pl.col("@timestamp")))
            .group_by("event.id")
            .agg(pl.col("row").min())
        )


def _read(path: Path, data: bytes, now: datetime, slack: timedelta) -> pl.DataFrame:
    """row, first, last, the keys, label, detail: one row per line of the file."""
    try:
        table = pl.read_csv(io.BytesIO(data), infer_schema=False)
    except (pl.exceptions.PolarsError, UnicodeDecodeError) as error:
        reason = str(error).split("\n", 1)[0]
        raise ConfigError(f"is not CSV: {reason}", where=str(path)) from None
    columns = _columns(path, table.columns)
    text = table.select(
        pl.col(columns[name]).str.strip_chars().replace(["", "-"], None).alias(name)
        if name in columns
        else pl.lit(None, pl.String).alias(name)
        for name in _NAMES
    ).with_row_index("row")
    text = text.filter(~pl.all_horizontal(pl.col(name).is_null() for name in _NAMES))  # blank lines
    reader = _Reader(path, now, text["row"] + 2)
    first, last = reader.times(text["first"], begin=True), reader.times(text["last"], begin=False)
    told = reader.times(text["first"].alias("told"), begin=False)
    seconds = reader.mapped(text["seconds"], _seconds, pl.Float64(), "a number of seconds")
    protocol = reader.mapped(text["network.transport"], _protocol, pl.String(), "a protocol")
    read = text.with_columns(
        first,
        last,
        told,
        seconds,
        protocol,
        *(reader.mapped(text[f"{s}.ip"], _address, pl.String(), "an address") for s in _SIDES),
        *(reader.mapped(text[f"{s}.port"], _port, pl.Int64(), "a port") for s in _SIDES),
    )
    reader.check(read)
    ended = pl.col("told") + pl.duration(microseconds=pl.col("seconds").fill_null(0) * 1_000_000)
    icmp = pl.col("network.transport").is_in(["icmp", "ipv6-icmp"])  # its ports are types and codes
    return read.select(
        "row",
        pl.col("first") - slack,
        pl.coalesce("last", ended).alias("last") + slack,
        "source.ip",
        "destination.ip",
        *(
            pl.when(~icmp.fill_null(value=False)).then(f"{side}.port").alias(f"{side}.port")
            for side in _SIDES
        ),
        "network.transport",
        "label",
        "detail",
    )


def _columns(path: Path, header: list[str]) -> dict[str, str]:
    """What a column is -> its name in the file."""
    lowered = {name.strip().lower(): name for name in reversed(header)}
    found = {}
    for name, aliases in _NAMES.items():
        for alias in aliases:
            if alias in lowered:
                found[name] = lowered[alias]
                break
    for name in ("label", "source.ip"):
        if name not in found:
            raise ConfigError(
                f"has no column for {name}",
                where=f"{path}:1",
                hint=f"name it one of {', '.join(_NAMES[name])}",
            )
    return found


def _protocol(text: str) -> str:
    return _PROTOCOLS.get(text.lower(), text.lower())


def _address(text: str) -> str:
    address = ip_address(text)
    return str(address.ipv4_mapped or address if isinstance(address, IPv6Address) else address)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= _LONGEST:
        raise ValueError
    return seconds


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError
    return port


class _Reader:
    """Turns a column's text into values; says in which line one cannot be read."""

    def __init__(self, path: Path, now: datetime, lines: pl.Series) -> None:
        self._path, self._now, self._lines = path, now, lines

    def times(self, column: pl.Series, *, begin: bool) -> pl.Series:
        """Times as people write them; of a span (a day, a second) its begin or its last instant."""

        def moment(text: str) -> datetime:
            first, after = parse_span(text, self._now)
            return first if begin else after - timedelta(microseconds=1)

        return self.mapped(column, moment, UTC, "a time")

    def mapped(
        self, column: pl.Series, convert: Callable[[str], Any], dtype: pl.DataType, what: str
    ) -> pl.Series:
        """Each different value is converted once: people's forms of a time are read in Python."""
        known: dict[str, Any] = {}
        for text in column.drop_nulls().unique(maintain_order=True):
            try:
                known[text] = convert(text)
            except QueryError as error:
                raise self._error(column, text, error.message, error.hint) from None
            except ValueError:
                raise self._error(column, text, f"{text!r} is not {what}", None) from None
        return column.replace_strict(known, default=None, return_dtype=dtype)

    def _error(self, column: pl.Series, text: str, said: str, hint: str | None) -> ConfigError:
        line = self._lines[int((column == text).arg_true()[0])]
        return ConfigError(f"{column.name}: {said}", where=f"{self._path}:{line}", hint=hint)

    def check(self, flows: pl.DataFrame) -> None:
        """Every row needs an address, and ends after it begins."""
        nothing = flows["source.ip"].is_null() & flows["destination.ip"].is_null()
        turned = (flows["last"] < flows["first"]).fill_null(value=False)
        for wrong, what in ((nothing, "has no address"), (turned, "ends before it begins")):
            if wrong.any():
                line = self._lines[int(wrong.arg_true()[0])]
                raise ConfigError(what, where=f"{self._path}:{line}")
