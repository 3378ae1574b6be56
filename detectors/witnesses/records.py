"""Which records tell of a connection, of which, and who they are the word of."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from connwatch.schema import DERIVED

from ..windows.arrays import Positions
from ..windows.held import hashed
from ..windows.spec import Flags

#: µs by which a row of a socket table may be behind what it shows, and by which it may show a TCP
#: connection before or after its packets
LATE: Final = 1_000_000
SLACK: Final = 600_000_000
#: witnesses that are told apart; further ones are taken for one
_WITNESSES: Final = 63
#: kinds of records that tell of a connection once, and those that may tell of it again
_ONCE: Final = ("connection",)
_AGAIN: Final = ("conn_long", "open_conn", "open_connection", "flow")
#: what makes a witness
_WITNESS: Final = ("event.dataset", "observer.name", "host.name", "socket.role")
#: stored columns that are read of records
COLUMNS: Final = frozenset(
    {
        *_WITNESS, "@timestamp", "event.duration", "connwatch.log_time", "network.community_id",
        "network.transport", "socket.snapshot.id",
    }
)  # fmt: skip


class Records:
    """The records of a batch that tell of connections, as columns of numbers.

    rows: which they are. key, start, end, slack: as in `flows.Flows`. time: log time, µs. again:
    whether its witness may tell of a flow again. final: whether it tells all there will be.
    witness: its number in `witnesses`, the names of all.
    """

    def __init__(self, events: pl.DataFrame, witnesses: tuple[str, ...]) -> None:
        datasets = events["event.dataset"].unique().drop_nulls()
        kinds = {one: one.rsplit(".", 1)[-1] for one in datasets}
        ours = [one for one, kind in kinds.items() if kind in (*_ONCE, *_AGAIN)]
        fed = events["network.community_id"].is_not_null()
        if len(ours) < len(datasets):
            fed = fed & events["event.dataset"].is_in(ours)
        self.rows: Positions = np.flatnonzero(fed.to_numpy())
        told = events if len(self.rows) == events.height else events.filter(fed)
        self.key = hashed(told["network.community_id"])[0]
        self.time = told["connwatch.log_time"].to_physical().to_numpy()
        table = told["socket.role"].is_not_null().to_numpy()
        self.start = told["@timestamp"].to_physical().to_numpy()
        self.end = told.select(DERIVED["event.end"]).to_series().to_physical().to_numpy()
        self.slack: Positions = np.zeros(len(table), dtype=np.int64)
        if table.any():
            row = told["socket.snapshot.id"].is_not_null().to_numpy()
            tcp = (told["network.transport"] == "tcp").fill_null(value=False).to_numpy()
            self.slack = np.where(row & tcp, SLACK, 0)
            self.start = self.start - np.where(table, LATE, 0)
        again = [one for one in ours if kinds[one] in _AGAIN]
        self.again = told["event.dataset"].is_in(again).to_numpy()
        self.final: Flags = ~(self.again | table)
        self.witness, self.witnesses = _numbered(told, witnesses)


def _numbered(
    events: pl.DataFrame, known: tuple[str, ...]
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """The number of each record's witness, and the names of all."""
    name = pl.concat_str([pl.col(part).fill_null("") for part in _WITNESS], separator="\x00")
    texts = events.select(name.alias("name")).to_series()
    every = list(dict.fromkeys([*known, *texts.unique(maintain_order=True)]))
    numbers = {one: min(place, _WITNESSES) for place, one in enumerate(every)}
    found = texts.replace_strict(numbers, return_dtype=pl.Int64)
    return found.to_numpy(), tuple(every)
