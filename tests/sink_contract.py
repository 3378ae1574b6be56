"""What every sink promises; a sink's tests call `check_sink` with a way to make one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import polars as pl

from connwatch.contracts import HIT_SCHEMA, REJECT_SCHEMA, Delivery, Sink
from connwatch.detectors.cases import frame
from connwatch.schema import empty

Make = Callable[[], AbstractContextManager[Any]]


def events(numbers: range | list[int], day: int = 20) -> pl.DataFrame:
    """One event a number, a second apart: same number, same event."""
    if not numbers:
        return empty()
    made = frame(
        [{"event.id": f"{number:032x}", "source.port": number % 65536} for number in numbers]
    )
    offset = pl.Series([number * 1_000_000 for number in numbers], dtype=pl.Int64)
    base = pl.datetime(2026, 11, day, time_zone="UTC", time_unit="us")
    time = base + pl.duration(microseconds=pl.lit(offset))
    return made.with_columns(time.alias("@timestamp"), time.alias("connwatch.log_time"))


def delivery(rows: pl.DataFrame, **parts: Any) -> Delivery:
    return Delivery(
        rows,
        parts.get("hits", pl.DataFrame(schema=HIT_SCHEMA)),
        parts.get("alerts", ()),
        parts.get("rejects", pl.DataFrame(schema=REJECT_SCHEMA)),
    )


def check_sink(make: Make) -> None:
    """A delivery has a fate for every row; what was stored is known the next time."""
    with make() as sink:
        _check_fates(sink)
    with make() as again:
        receipt = again.write(delivery(events(range(5))))
        assert receipt.fates.to_list() == ["known"] * 5
        assert receipt.done


def _check_fates(sink: Sink) -> None:
    assert sink.name
    first = sink.write(delivery(events(range(3))))
    assert first.fates.to_list() == ["stored"] * 3
    assert (first.stored, first.known, first.done) == (3, 0, True)
    second = sink.write(delivery(events(range(1, 5))))
    assert second.fates.to_list() == ["known", "known", "stored", "stored"]
    assert sink.write(delivery(events([]))).fates.len() == 0
