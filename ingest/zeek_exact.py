"""Records of a Zeek text log, read as text and converted column by column.

The meaning of `zeek_tsv.fast` for any bytes: a field that cannot be read rejects its record only,
and the reject names the field.
"""

from __future__ import annotations

import polars as pl

from .extra import as_json
from .lines import split_lines
from .rejects import reject_rows
from .zeek import TYPES, Kind
from .zeek_events import Origin, Records, make
from .zeek_header import Header, set_items, unescaped
from .zeek_unknown import unknown_member

#: seconds beyond this are no time that a log can hold, and would not fit µs as an integer
SECONDS: float = 1e12


def exact(
    data: bytes, line: int, offset: int, header: Header, origin: Origin
) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Events, rejects and the number of blank lines of a run of record lines."""
    every = split_lines(data, line, offset)
    rows = every.filter(pl.col("raw").str.strip_chars(" \t\ufeff") != "")
    texts, width = _texts(rows["raw"], header)
    known, faults = _known(texts, header)
    nul = rows["raw"].str.contains("\x00", literal=True)
    faults = [
        (nul, None, pl.lit("holds a NUL byte")),
        (
            width != len(header.fields),
            None,
            pl.format("has {} fields, the header names {}", width, pl.lit(len(header.fields))),
        ),
        *faults,
    ]
    field: pl.Expr = pl.lit(None, pl.String)
    reason: pl.Expr = pl.lit(None, pl.String)
    for wrong, name, text in reversed(faults):
        field = pl.when(wrong).then(pl.lit(name, pl.String)).otherwise(field)
        reason = pl.when(wrong).then(text).otherwise(reason)
    found = texts.select(field=field, reason=reason)
    bad = found["reason"].is_not_null()
    extra = as_json(
        texts,
        [
            unknown_member(pl.col(name), name, header.declared(index), header)
            for index, name in enumerate(header.fields)
            if header.kind(name) is None
        ],
    )
    records = Records(known, rows["raw"], rows["line"], rows["offset"], extra).filter(~bad)
    events, untrue = make(records, origin)
    broken = rows.filter(bad)
    unread = reject_rows(
        path=origin.path,
        line=broken["line"],
        offset=broken["offset"],
        format_name=origin.format,
        field=found["field"].filter(bad),
        reason=found["reason"].filter(bad),
        raw=broken["raw"],
    )
    return events, pl.concat([unread, untrue]).sort("line"), every.height - rows.height


def _texts(raw: pl.Series, header: Header) -> tuple[pl.DataFrame, pl.Series]:
    """One text column per field, unset ones null; and how many fields each line has."""
    if header.joined:
        raw = raw.str.replace_all("   ", header.separator, literal=True)
    parts = raw.str.split(header.separator)
    unset = ["", header.unset]
    columns = [
        pl.lit(parts).list.get(index, null_on_oob=True).alias(name)
        for index, name in enumerate(header.fields)
    ]
    texts = pl.DataFrame({"raw": raw}).select(columns)
    texts = texts.select(pl.when(~pl.col(name).is_in(unset)).then(name) for name in texts.columns)
    return texts, parts.list.len()


def _known(
    texts: pl.DataFrame, header: Header
) -> tuple[pl.DataFrame, list[tuple[pl.Series, str | None, pl.Expr]]]:
    """The schema's fields, typed, and what could not be read: (rows, field, reason)."""
    known: dict[str, pl.Series] = {}
    faults: list[tuple[pl.Series, str | None, pl.Expr]] = []
    for name in header.fields:
        kind = header.kind(name)
        if kind is None:
            continue
        value = _value(texts[name], kind, header)
        known[name] = value
        if kind in ("time", "interval", "count", "port", "bool"):
            wanted = {"bool": "T or F", "time": "a time", "interval": "a duration in seconds"}
            what = wanted.get(kind, "a number")
            wrong = value.is_null() & texts[name].is_not_null()
            faults.append((wrong, name, pl.format("'{}' is not " + what, pl.col(name))))
    return pl.DataFrame(known), faults


def _value(text: pl.Series, kind: Kind, header: Header) -> pl.Series:
    """The typed column; null where the text is null or cannot be read."""
    frame = text.to_frame("t")
    column = pl.col("t")
    if kind in ("time", "interval"):
        seconds = column.str.strip_chars(" ").cast(pl.Float64, strict=False)
        sound = seconds.is_finite() & (seconds.abs() < SECONDS)
        value = pl.when(sound).then((seconds * 1_000_000).round()).cast(TYPES[kind])
    elif kind in ("count", "port"):
        value = column.str.strip_chars(" ").cast(pl.Int64, strict=False)
    elif kind == "bool":
        value = column.replace_strict({"T": True, "F": False}, default=None)
    elif kind == "set":
        value = set_items(column, header)
    else:
        value = unescaped(column.replace({header.empty: ""}))
    return frame.select(value.cast(TYPES[kind]).alias(text.name)).to_series()
