"""Which rows show a connection for the first time.

A table shows a connection as long as it lasts, snapshot after snapshot. Rules that count want each
of them once: the row that shows it first, in its stream, is of the dataset TOOL.connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import polars as pl
import polars_hash as plh

ROWS: Final = ".socket"
FIRST: Final = ".connection"
#: without these it is none that rules can tell from another
_WHOLE: Final = ("network.transport", "source.ip", "destination.ip")
#: what makes a connection; both rows of one that a host has with itself are the same
_KEY: Final = ("host.name", "source.port", "destination.port", *_WHOLE)
_MOMENTS: Final = {"key": pl.UInt64(), "moment": pl.Int64()}


def _key() -> pl.Expr:
    parts = [pl.col(name).cast(pl.String).fill_null("") for name in _KEY]
    # A hash that stays what it is: a run remembers it.
    key: pl.Expr = plh.concat_str(*parts, separator="\x00").nchash.xxh3_64()
    return key.alias("key")


class Seen:
    """The connections of the last two moments of a stream; a moment is a time at which tables were
    printed. A connection that a moment does not show is another one when it is shown again."""

    def __init__(self) -> None:
        self._moments = pl.DataFrame(schema=_MOMENTS)
        self._last: tuple[int, int] | None = None  # number of the last moment, its time

    def saved(self) -> dict[str, Any]:
        """As JSON values."""
        return {"moments": self._moments.to_dict(as_series=False), "last": self._last}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on with what `saved` gave."""
        self._moments = pl.DataFrame(saved["moments"], schema=_MOMENTS)
        self._last = None if saved["last"] is None else (saved["last"][0], saved["last"][1])

    def mark(self, events: pl.DataFrame) -> pl.DataFrame:
        """The events, those that show a connection first as TOOL.connection. In the order of their
        stream; events of other kinds are left as they are."""
        if not events["event.dataset"].str.ends_with(ROWS).any():
            return events
        times = events["@timestamp"].dt.epoch("us")
        number = times.rle_id().cast(pl.Int64)
        if self._last is not None:
            number += self._last[0] + int(times[0] != self._last[1])
        self._last = int(number[-1]), int(times[-1])
        rows = events.select(
            _key(),
            ends=pl.col("socket.role").is_in(["client", "server"])
            & pl.all_horizontal(pl.col(_WHOLE).is_not_null()),
        ).with_columns(number.alias("moment"))
        known = pl.concat([self._moments, rows.filter("ends").select("key", "moment")])
        before = known.with_columns(pl.col("moment") + 1)
        shown = rows.with_row_index("row").filter("ends").unique(["key", "moment"], keep="first")
        # Here and in the moment before; here, in what was read before this.
        first = shown.join(before, on=["key", "moment"], how="anti").join(
            self._moments, on=["key", "moment"], how="anti"
        )
        self._moments = known.filter(pl.col("moment") >= self._last[0] - 1).unique()
        marked = pl.Series(range(events.height), dtype=pl.UInt32).is_in(first["row"].implode())
        name = pl.col("event.dataset").str.replace(r"\.socket$", FIRST)
        return events.with_columns(
            pl.when(pl.lit(marked)).then(name).otherwise("event.dataset").alias("event.dataset")
        )
