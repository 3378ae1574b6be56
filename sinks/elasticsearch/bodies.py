"""Bodies of bulk requests: events to be created, alerts to be put or removed.

A body is lines of JSON (`application/vnd.elasticsearch+x-ndjson`), made in columns, and never much
longer than it may be. Each knows which rows of the frame it has, as the server answers in the
order of the lines.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from connwatch.alert import Written, quoted

from .documents import pieces, written
from .layout import Layout
from .values import Piece

#: bytes of a body; a server refuses more than 100 MB, and is fastest with a few
LIMIT: Final = 5_000_000
#: indices that one body goes to: each costs the server a shard's own request and sync. Of 20,000
#: events of 200 days, index by index, 10,800/s were taken with 32, 8,700/s with all in a body
INDICES: Final = 32
#: events that are written at once: enough that columns are fast, and a few tens of megabytes
PART: Final = 32_000
#: and at first, so that a server soon has something to do
_FIRST: Final = 2_000


@dataclass(frozen=True, slots=True)
class Body:
    """One request's body.

    data: lines, or these as gzip. first: row of the frame (or place in the list) that its first
    document is; count: how many it has, in order. size: bytes before gzip.
    """

    data: bytes
    first: int
    count: int
    size: int


def event_bodies(
    events: pl.DataFrame,
    layout: Layout,
    *,
    limit: int = LIMIT,
    indices: int = INDICES,
    gzip: bool = False,
) -> Iterator[Body]:
    """Bodies that create these events, each under its `event.id`.

    events: the schema's stored columns. limit: bytes of a body before gzip; one document that is
    longer is a body alone. indices: that a body goes to, at most, where the events of each stand
    together.
    """
    first, rows = 0, _FIRST
    while first < events.height:
        part = events.slice(first, rows)
        one = layout.one_index(part)
        places = layout.event_indices(part) if one is None else one
        lines = event_lines(part, places)
        ends = lines.str.len_bytes().cast(pl.Int64).cum_sum().to_numpy()
        runs = None if isinstance(places, str) else places.rle_id().to_numpy()
        for begin, end in _cuts(ends, limit, runs, indices):
            data = lines[begin:end].str.join("").cast(pl.Binary).item()
            yield _body(data, first + begin, end - begin, gzip=gzip)
        first, rows = first + rows, min(4 * rows, PART)


def event_lines(events: pl.DataFrame, places: str | pl.Series) -> pl.Series:
    """The two lines of each event: what to do with it, and the document. places: the index of all
    of them, or of each."""
    index: Piece = quoted(places)[1:-1] if isinstance(places, str) else places
    parts: list[Piece] = ['{"create":{"_index":"', index, '","_id":"', events["event.id"], '"}}\n']
    parts = [*parts, *pieces(events), "\n"]
    return written(parts, events.height)


@dataclass(frozen=True, slots=True)
class Alert:
    """What is to be done with an alert: put its document into an index, or (None) remove it.

    status: the document's status is an analyst's word, said here, and takes the place of the
    server's.
    """

    id: str
    index: str
    document: Mapping[str, Any] | None
    status: bool = False


def alert_bodies(
    alerts: Iterable[Alert], *, limit: int = LIMIT, gzip: bool = False
) -> Iterator[Body]:
    """Bodies that bring alerts up to date, in order. limit and gzip: as of `event_bodies`."""
    lines = list(map(alert_lines, alerts))
    ends = np.cumsum([len(line) for line in lines], dtype=np.int64)
    for begin, end in _cuts(ends, limit):
        yield _body(b"".join(lines[begin:end]), begin, end - begin, gzip=gzip)


def alert_lines(alert: Alert) -> bytes:
    """The lines of one alert: an update that creates it where it is not there, or a removal.

    An update leaves the status that the server has, unless `alert.status`. Objects are merged
    there, so what an alert may lose as it grows is said to be null.
    """
    place = {"_index": alert.index, "_id": alert.id}
    if alert.document is None:
        return f"{quoted({'delete': place})}\n".encode()
    whole = alert.document
    own = {k: v for k, v in whole["connwatch"].items() if k != "status" or alert.status}
    grown = {**whole, "connwatch": own}
    for name, fields in _LOST.items():
        if name in _SIDES or "processes" in own:
            grown[name] = {**dict.fromkeys(fields), **whole.get(name, {})}
    upsert = whole.text if isinstance(whole, Written) else quoted(whole)
    return (
        f"{quoted({'update': {**place, 'retry_on_conflict': 3}})}\n"
        f'{{"doc":{quoted(grown)},"upsert":{upsert}}}\n'
    ).encode("utf-8", "replace")


#: what an alert shows as long as all of its evidence has the same
_SIDES: Final = ("source", "destination")
#: what it may lose as it grows: that, and the process while one alone is sure
_LOST: Final = {
    **dict.fromkeys(_SIDES, ("ip", "port")),
    "process": ("pid", "name"),
    "user": ("id", "name"),
    "host": ("name",),
}


def _cuts(
    ends: npt.NDArray[np.int64],
    limit: int,
    runs: npt.NDArray[np.uint32] | None = None,
    most: int = INDICES,
) -> Iterator[tuple[int, int]]:
    """Where bodies begin and end: as many lines as are no longer than `limit`, but at least one.

    ends: where each line ends, if all were one text. runs: number of the run of lines of one index
    that each is in, of which a body has `most`; None: all are of one index.
    """
    begin, before = 0, 0
    while begin < len(ends):
        end = int(np.searchsorted(ends, before + limit, side="right"))
        if runs is not None:
            end = min(end, int(np.searchsorted(runs, runs[begin] + most, side="left")))
        end = max(begin + 1, end)
        yield begin, end
        begin, before = end, int(ends[end - 1])


def _body(data: bytes, first: int, count: int, *, gzip: bool) -> Body:
    return Body(compressed(data) if gzip else data, first, count, len(data))


def compressed(data: bytes) -> bytes:
    """gzip at its fastest, and the same bytes for the same data."""
    packer = zlib.compressobj(1, wbits=31)
    return packer.compress(data) + packer.flush()
