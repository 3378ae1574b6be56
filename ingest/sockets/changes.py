"""What happened between the snapshots of a stream: sockets opened, closed, reused, changed.

Rows say how they differ from the snapshot before (socket.change and others). A connection that is
not shown any more, or that goes on for an hour (`EVERY`), is summed up in an event TOOL.flow; a
listener that is gone in one of TOOL.closed. Such events come once the snapshot that tells of them
is complete: before the first row of the next one, or at the stream's end.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import polars as pl
import polars_hash as plh

from connwatch.schema import STORED, UTC, conform, empty

from .compare import COUNTERS, REMEMBERED, observations
from .moments import Scopes
from .rows import hashed
from .seen import FIRST, ROWS, Seen

LISTENER: Final = ".listener"
FLOW: Final = ".flow"
CLOSED: Final = ".closed"
#: µs of log time after which a connection that goes on is told of again
EVERY: Final = 3_600_000_000
#: rows of one moment that are compared; what comes behind them is not
LIMIT: Final = 250_000
_LOG_TIME: Final = "connwatch.log_time"
_COMPARED: Final = ("client", "server", "listener", "unconnected")
#: columns of an event that sums up: from the first row, …
_ENDS: Final = (
    "event.id", "event.dataset", "source.ip", "source.domain", "source.port", "destination.ip",
    "destination.domain", "destination.port", "network.transport", "network.iana_number",
    "observer.name", "host.name", "socket.role", "socket.family", "socket.type", "socket.local",
    "socket.peer", "socket.interface",
)  # fmt: skip
#: … from the last one, and from the last one that shows them
_LAST: Final = (
    "log.file.path", "log.offset", "event.sequence", "socket.state", "socket.recv_queue",
    "socket.send_queue", "socket.timer", "socket.snapshot.clock",
)  # fmt: skip
_SHOWN: Final = {
    "process_at": ("process.pid", "process.name", "socket.processes"),
    "user_at": ("user.id", "user.name"),
    "inode_at": ("socket.inode", "socket.cookie"),
    "counted_at": (
        *COUNTERS.values(), "socket.bytes_acked", "socket.retransmits", "socket.rtt",
    ),
}  # fmt: skip
_WIDE: Final = (*_ENDS, *_LAST, *(name for names in _SHOWN.values() for name in names))
_OPEN: Final = REMEMBERED | {name: STORED[name] for name in _WIDE}
_DUE: Final = "_due"
_WAITING: Final = {**STORED, _DUE: pl.Int64()}


class Changes:
    """The sockets that a stream shows. untracked: rows that were not compared (`LIMIT`)."""

    def __init__(self, every: int = EVERY) -> None:
        self.untracked = 0
        self._every = every
        self._seen = Seen()
        self._scopes = Scopes()
        self._in_moment = 0
        self._open = pl.DataFrame(schema=_OPEN)
        self._waiting = pl.DataFrame(schema=_WAITING)
        self._log_time: int | None = None

    @property
    def used(self) -> bool:
        """Whether this is a stream of socket tables."""
        return self._scopes.last is not None

    def step(self, events: pl.DataFrame) -> pl.DataFrame:
        """The events with what changed, and those that sum up among them; their log time is that of
        the row before which they stand. In the order of the stream, log time filled; which rows
        come together makes no difference."""
        if events.is_empty():
            return events
        if not bool(events["event.dataset"].str.ends_with(ROWS).any()):
            return events  # another kind of log
        events = self._seen.mark(events)
        moments = self._moments(events)
        self._log_time = events.select(pl.col(_LOG_TIME).dt.epoch("us").last()).item()
        rows = self._rows(events, moments)
        made, of_rows = self._compared(events, rows, int(moments[-1]))
        marked = _marked(events, rows, made, of_rows)
        due = self._due(int(moments[-1]))
        if due.is_empty():
            return marked
        place = moments.search_sorted(due[_DUE], "right")
        due = due.drop(_DUE).with_columns(events[_LOG_TIME].gather(place))
        # Behind the rows before that place, before the row there.
        order = np.concatenate([place.to_numpy() * 2, np.arange(events.height) * 2 + 1])
        both = pl.concat([due, marked])
        return both.select(pl.all().gather(pl.Series(np.argsort(order, kind="stable"))))

    def flush(self) -> pl.DataFrame:
        """The events that the last snapshot tells of: no more of it is to come."""
        if self._scopes.last is None:
            return empty()
        last = self._scopes.last[0] + 1
        self._compared(empty(), _NO_ROWS, last)
        due = self._due(last).drop(_DUE)
        return due.with_columns(pl.lit(self._log_time, pl.Int64).cast(UTC).alias(_LOG_TIME))

    def saved(self) -> dict[str, Any]:
        """All that is remembered, as JSON values."""
        return {
            "seen": self._seen.saved(),
            "scopes": self._scopes.saved(),
            "in_moment": self._in_moment,
            "log_time": self._log_time,
            "untracked": self.untracked,
            "open": _plain(self._open),
            "waiting": _plain(self._waiting),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on with what `saved` gave."""
        self._seen.restore(saved["seen"])
        self._scopes = Scopes.restored(saved["scopes"])
        self._in_moment, self._log_time = saved["in_moment"], saved["log_time"]
        self.untracked = saved["untracked"]
        self._open = _frame(saved["open"], _OPEN)
        self._waiting = _frame(saved["waiting"], _WAITING)

    def _moments(self, events: pl.DataFrame) -> pl.Series:
        before = self._scopes.last
        moments = self._scopes.numbers(events["@timestamp"].dt.epoch("us"))
        if before is None or int(moments[0]) != before[0]:
            self._in_moment = 0
        return moments

    def _rows(self, events: pl.DataFrame, moments: pl.Series) -> pl.DataFrame:
        """The rows that are compared, as `observations` wants them, and place in `events`."""
        cut = pl.col("socket.truncated")
        hidden = (cut.list.contains("local") | cut.list.contains("peer")).fill_null(value=False)
        compared = pl.col("socket.role").is_in(_COMPARED) & pl.col("socket.local").is_not_null()
        rows = events.select(
            moments,
            key=_key(),
            connection=pl.col("socket.role").is_in(["client", "server"]),
            scope=pl.col("network.transport").fill_null(""),
            time=pl.col("@timestamp").dt.epoch("us"),
            inode="socket.inode",
            state="socket.state",
            named=pl.col("process.pid").is_not_null() | pl.col("process.name").is_not_null(),
            owned=pl.col("user.id").is_not_null() | pl.col("user.name").is_not_null(),
            place=pl.int_range(pl.len(), dtype=pl.UInt32),
            wanted=(compared & ~hidden).fill_null(value=False),
            **{name: pl.col(column) for name, column in COUNTERS.items()},
        ).filter("wanted")
        first, last = int(moments[0]), int(moments[-1])
        if rows.height + self._in_moment > LIMIT:
            number = pl.int_range(1, pl.len() + 1).over("moment") + pl.when(
                pl.col("moment") == first
            ).then(self._in_moment).otherwise(0)
            kept = rows.filter(number <= LIMIT)
            self.untracked += rows.height - kept.height
        else:
            kept = rows
        here = int((rows["moment"] == last).sum())
        self._in_moment = here + (self._in_moment if first == last else 0)
        return kept

    def _compared(
        self, events: pl.DataFrame, rows: pl.DataFrame, last: int
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The observations and those of the rows; what they come to waits until it is due, and what
        is open is remembered. last: the moment that may still be incomplete."""
        covered = self._scopes.covered(rows)
        wide = self._open.select(_WIDE)
        if rows.height:
            new = events.select(_WIDE)
            if rows.height < events.height:
                new = new.select(pl.all().gather(rows["place"]))
            wide = pl.concat([wide, new])
        seen, of_rows = observations(self._open.select(list(REMEMBERED)), rows, covered)
        seen = _ended(seen, covered, last).with_columns(
            wide["event.id"].gather(seen["first_at"]).alias("life")
        )
        summed = pl.concat([_endings(seen), _updates(seen, self._every)])
        if summed.height:
            self._waiting = pl.concat([self._waiting, _summed(summed, wide)])
        self._open = _remembered(seen.filter(pl.col("last") & ~pl.col("over")), wide)
        return seen, of_rows

    def _due(self, last: int) -> pl.DataFrame:
        """What waited for moments before `last` to be complete, in order."""
        waiting = self._waiting
        if waiting.is_empty():
            return waiting
        due = waiting.filter(pl.col(_DUE) < last)
        self._waiting = waiting.filter(pl.col(_DUE) >= last)
        return due.sort(_DUE, "socket.first_seen", "socket.instance", "socket.change")


def _key() -> pl.Expr:
    """What a socket keeps as long as it lives: host, transport, and both ends as shown."""
    parts = [
        pl.col(name).fill_null("")
        for name in ("host.name", "network.transport", "socket.local", "socket.peer")
    ]
    # A hash that stays what it is: a run remembers it.
    key: pl.Expr = plh.concat_str(*parts, separator="\x00").nchash.xxh3_64()
    return key


def _ended(seen: pl.DataFrame, covered: pl.DataFrame, last: int) -> pl.DataFrame:
    """With last: whether it is the last observation of its socket; replaced: another one took its
    ends, for the reason follower; closing, closed_before: moment and time at which the socket is
    not shown any more; over: whether that is certain, since all of that moment was read."""
    following = covered.select(
        "scope", rank=pl.col("rank") - 1, closing="moment", closed_before="time"
    )
    follows = (pl.col("key") == pl.col("key").shift(-1)) & (
        pl.col("rank").shift(-1) == pl.col("rank") + 1
    )
    other = pl.col("starts").shift(-1)
    seen = seen.join(following, on=["scope", "rank"], how="left", maintain_order="left")
    seen = seen.with_columns(
        last=~(follows & ~other).fill_null(value=False),
        replaced=(follows & other).fill_null(value=False),
        follower=pl.col("reason").shift(-1),
    )
    over = pl.col("last") & (pl.col("replaced") | (pl.col("closing") < last))
    return seen.with_columns(over=over.fill_null(value=False))


def _endings(seen: pl.DataFrame) -> pl.DataFrame:
    """The last observations of sockets that are no more, and the moment that tells it (due)."""
    return seen.filter("over").with_columns(
        due="closing",
        change=pl.when("replaced").then(pl.lit("replaced")).otherwise(pl.lit("closed")),
        reason=pl.when("replaced").then("follower"),
    )


def _updates(seen: pl.DataFrame, every: int) -> pl.DataFrame:
    """The observations at which a connection is `every` µs older than when it was told of last."""
    goes_on = pl.col("connection") & ~pl.col("starts") & ~pl.col("old")
    periods = (pl.col("time") - pl.col("first")) // every
    before = (pl.col("time").shift(1) - pl.col("first")) // every
    return seen.filter(goes_on & (periods > before)).with_columns(
        due="moment",
        change=pl.lit("open"),
        reason=pl.lit(None, pl.String),
        closed_before=pl.lit(None, pl.Int64),
    )


def _lives(seen: pl.DataFrame, wide: pl.DataFrame) -> pl.DataFrame:
    """The columns of `_WIDE` of each of these observations' sockets."""
    parts = [
        wide.select(pl.col(_ENDS).gather(seen["first_at"])),
        wide.select(pl.col(_LAST).gather(seen["at"])),
        *(
            wide.select(pl.col(names).gather(seen[place]))
            for place, names in _SHOWN.items()
        ),
    ]  # fmt: skip
    return pl.concat(parts, how="horizontal")


def _remembered(still: pl.DataFrame, wide: pl.DataFrame) -> pl.DataFrame:
    known = still.with_columns(pl.col(f"known_{name}").alias(name) for name in COUNTERS)
    return pl.concat([known.select(list(REMEMBERED)), _lives(still, wide)], how="horizontal")


def _summed(seen: pl.DataFrame, wide: pl.DataFrame) -> pl.DataFrame:
    """Events that sum up sockets, as of these observations, and when they are due."""
    lives = pl.concat([_lives(seen, wide), seen], how="horizontal")
    life = pl.col("event.id")
    tool = pl.col("event.dataset").str.replace(r"\.[a-z]+$", "")
    when = pl.coalesce("closed_before", "time").cast(pl.String)
    passed = pl.max_horizontal(pl.col("time") - pl.col("first"), 0)
    made = lives.select(
        *(name for name in _WIDE if name not in ("event.id", "event.dataset")),
        hashed(pl.concat_str(life, "change", when, separator="\x00")).alias("event.id"),
        pl.concat_str(
            tool, pl.when("connection").then(pl.lit(FLOW)).otherwise(pl.lit(CLOSED))
        ).alias("event.dataset"),
        pl.col("first").cast(UTC).alias("@timestamp"),
        (passed * 1000).alias("event.duration"),
        pl.col("change").alias("socket.change"),
        pl.col("reason").alias("socket.change_reason"),
        life.alias("socket.instance"),
        pl.col("first").cast(UTC).alias("socket.first_seen"),
        pl.col("after").cast(UTC).alias("socket.opened_after"),
        pl.col("closed_before").cast(UTC).alias("socket.closed_before"),
        pl.col("shown").alias("socket.snapshot.count"),
        pl.col("missed").replace(0, None).alias("socket.snapshot.missed"),
        *(
            (pl.col(f"known_{name}") - pl.col(f"from_{name}")).alias(_delta(column))
            for name, column in COUNTERS.items()
        ),
    )
    return conform(made).with_columns(seen["due"].alias(_DUE))


def _delta(column: str) -> str:
    return column.replace("socket.", "socket.delta.")


def _marked(
    events: pl.DataFrame, rows: pl.DataFrame, seen: pl.DataFrame, of_rows: pl.DataFrame
) -> pl.DataFrame:
    """The events with what their observations say."""
    number = of_rows["number"]
    leads = of_rows["leads"]
    told = seen.select(
        pl.col("change", "reason", "state_before", "first", "after", "gap", "life", "connection")
        .gather(number),
        **{
            name: pl.when(pl.lit(leads)).then(pl.col(f"delta_{name}").gather(number))
            for name in COUNTERS
        },
    ).with_columns(rows["place"], leads)  # fmt: skip
    if told.height < events.height:
        every = pl.DataFrame({"place": pl.int_range(events.height, dtype=pl.UInt32, eager=True)})
        told = every.join(told, on="place", how="left", maintain_order="left")
    new = pl.lit(told["change"].is_in(["first", "opened", "reused"]) & told["leads"])
    connection = pl.lit(told["connection"])
    # Both rows of a connection that a host has with itself are one to rules.
    twin = (pl.col("socket.role") == "server") & (pl.col("source.ip") == pl.col("destination.ip"))
    name = pl.col("event.dataset")
    # It was shown before, though not in the last moment: that was one of another protocol.
    as_before = told["change"].is_null() | (told["change"] == "state")
    same = pl.lit(told["life"].is_not_null() & as_before)
    reused = pl.lit(told["change"] == "reused") & new & connection & ~twin.fill_null(value=False)
    return events.with_columns(
        pl.when(new & ~connection)
        .then(name.str.replace(rf"\{ROWS}$", LISTENER))
        .when(reused & pl.all_horizontal(pl.col("source.ip", "destination.ip").is_not_null()))
        .then(name.str.replace(rf"\{ROWS}$", FIRST))
        .when(same)
        .then(name.str.replace(rf"\{FIRST}$", ROWS))
        .otherwise(name)
        .alias("event.dataset"),
        told["change"].alias("socket.change"),
        told["reason"].alias("socket.change_reason"),
        told["state_before"].alias("socket.state_before"),
        told["life"].alias("socket.instance"),
        told["first"].cast(UTC).alias("socket.first_seen"),
        told["after"].cast(UTC).alias("socket.opened_after"),
        told["gap"].replace(0, None).alias("socket.snapshot.missed"),
        *(told[name].alias(_delta(column)) for name, column in COUNTERS.items()),
    )


_NO_ROWS: Final = pl.DataFrame(
    schema={
        **{n: REMEMBERED[n] for n in ("key", "connection", "scope", "moment", "time", "state")},
        **{n: REMEMBERED[n] for n in COUNTERS},
        "inode": pl.Int64(), "named": pl.Boolean(), "owned": pl.Boolean(), "place": pl.UInt32(),
    }
)  # fmt: skip


def _plain(frame: pl.DataFrame) -> str:
    """A frame as text: Arrow's file format, compressed. JSON would be three times as large."""
    buffer = io.BytesIO()
    frame.write_ipc(buffer, compression="zstd")
    return base64.b64encode(buffer.getvalue()).decode()


def _frame(saved: str, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """The frame that `_plain` was given, with the columns that there are now."""
    frame = pl.read_ipc(io.BytesIO(base64.b64decode(saved)))
    missing = [pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in frame]
    return frame.with_columns(missing).select(pl.col(name).cast(schema[name]) for name in schema)
