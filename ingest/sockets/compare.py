"""Sockets through the snapshots of a stream, all at once.

Rows are put together by the ends that they show and by moment; one socket after another is told
apart in them by what a socket cannot do: have another inode, count backwards, or go back in its
states. An *observation* is what one moment shows of one pair of ends, which several sockets may
share (SO_REUSEPORT); the first row speaks for them.
"""

from __future__ import annotations

from typing import Final

import polars as pl

_I: Final = pl.Int64()
#: counters that can only grow, as an observation has them and as the schema does
COUNTERS: Final = {
    "sent": "socket.bytes_sent",
    "received": "socket.bytes_received",
    "segments_out": "socket.segments_sent",
    "segments_in": "socket.segments_received",
}
#: What is remembered of a socket that is open. key: of its ends; connection: whether it has two.
#: scope, rank, moment, time (µs): of the snapshot that showed it last. inode_low, inode_high:
#: shown by that one; null: none. known_low, known_high: inodes as shown last. state, counters: as
#: shown last. change, reason, state_before, gap: of the last observation, as socket.change and its
#: like; gap: snapshots missing before it. first, after (µs), shown, missed: socket.first_seen,
#: socket.opened_after, socket.snapshot.count and .missed. from_…: counters from which its
#: differences are counted.
REMEMBERED: Final[dict[str, pl.DataType]] = {
    "key": pl.UInt64(), "connection": pl.Boolean(), "scope": pl.String(), "rank": _I,
    "moment": _I, "time": _I, "inode_low": _I, "inode_high": _I, "known_low": _I,
    "known_high": _I, "state": pl.String(),
    **dict.fromkeys(COUNTERS, _I), "change": pl.String(), "reason": pl.String(),
    "state_before": pl.String(), "gap": _I, "first": _I, "after": _I, "shown": _I, "missed": _I,
    **{f"from_{name}": _I for name in COUNTERS},
}  # fmt: skip
#: how far a connection is in its life; it does not go back
_LEVELS: Final = {
    "syn_sent": 0, "syn_recv": 0, "new_syn_recv": 0, "established": 1, "fin_wait1": 2,
    "fin_wait2": 2, "close_wait": 2, "closing": 2, "last_ack": 2, "time_wait": 3,
}  # fmt: skip
_POS: Final = pl.int_range(pl.len(), dtype=pl.Int64)


def observations(
    remembered: pl.DataFrame, rows: pl.DataFrame, covered: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What the moments show of each socket, by key and moment, and the observation of every row.

    remembered: `REMEMBERED`. rows: key, connection, scope, moment, time, inode, state, counters,
    named (whether a process is shown), owned (a user). covered: `moments.COVERED`.

    Observations have those of `REMEMBERED` as they are then, at (place of the first row, those of
    `remembered` counted before `rows`), old (whether it is one of these), starts; first_at,
    process_at, user_at, inode_at, counted_at: the place that shows the ends of the socket, its last
    process, …; delta_…: counters since the observation before. The second frame has row, number of
    its observation, and leads (whether it is the observation's first row), by row.
    """
    places = covered.select("scope", "moment", "rank", before="before", gap="missed")
    new = rows.join(places, on=["scope", "moment"], how="left", maintain_order="left")
    new = new.with_columns(inode_low="inode", inode_high="inode", old=False)
    old = remembered.with_columns(old=True)
    every = pl.concat([old, new], how="diagonal").with_columns(at=_POS)
    every = every.sort("key", "moment", "at")
    again = (pl.col("key") == pl.col("key").shift(1)) & (
        pl.col("moment") == pl.col("moment").shift(1)
    )
    every = every.with_columns(leads=~again.fill_null(value=False))
    every = every.with_columns(number=pl.col("leads").cum_sum().cast(pl.UInt32) - 1)
    seen = every.filter("leads")
    if seen.height < every.height:
        span = every.group_by("number", maintain_order=True).agg(
            pl.col("inode_low").min(), pl.col("inode_high").max()
        )
        seen = seen.with_columns(span["inode_low"], span["inode_high"])
    of_rows = every.filter(~pl.col("old")).select(
        "number", "leads", row=pl.col("at") - remembered.height
    )
    return _lives(_told_apart(seen)), of_rows.sort("row")


def _told_apart(seen: pl.DataFrame) -> pl.DataFrame:
    """With starts: whether another socket begins here; reason; and the counters before."""
    old = pl.col("old")
    level = pl.col("state").replace_strict(_LEVELS, default=None, return_dtype=pl.Int64())
    goes_on = (
        ~old
        & (pl.col("key") == pl.col("key").shift(1))
        & (pl.col("rank") == pl.col("rank").shift(1) + 1)
    ).fill_null(value=False)
    seen = seen.with_columns(pos=_POS, level=level, goes_on=goes_on)
    fell = pl.col("goes_on") & (pl.col("level") < pl.col("level").shift(1)).fill_null(value=False)
    # A row of the same moment that is read later must not change what was told of the first one:
    # its own inode is compared with the span of those before.
    seen = seen.with_columns(
        fell=fell,
        starts=~pl.col("goes_on") | fell,
        known_low=pl.coalesce("inode_low", "known_low"),
        known_high=pl.coalesce("inode_high", "known_high"),
        counted=pl.any_horizontal(pl.col(name).is_not_null() for name in COUNTERS),
    )
    # What is known of a socket is forgotten where another one begins, and that it begins is told by
    # what is known: of each socket, one more observation is settled every time.
    while True:
        seen = _compared(seen)
        starts = seen.select(~pl.col("goes_on") | pl.col("fell") | pl.col("other") | pl.col("less"))
        if starts.to_series().equals(seen["starts"]):
            break
        seen = seen.with_columns(starts.to_series().alias("starts"))
    reason = (
        pl.when("other")
        .then(pl.lit("inode"))
        .when("less")
        .then(pl.lit("counters"))
        .when("fell")
        .then(pl.lit("state"))
    )
    return seen.with_columns(reason=pl.when(old).then("reason").otherwise(reason)).with_columns(
        starts=~pl.col("goes_on") | pl.col("reason").is_not_null()
    )


def _compared(seen: pl.DataFrame) -> pl.DataFrame:
    """With other (the inode is another one) and less (a counter fell), if other sockets begin where
    `starts` says; and the counters before."""
    seen = seen.with_columns(start=_last_place(pl.col("starts")))
    seen = seen.with_columns(
        inode_before=_before(pl.col("known_low").is_not_null()),
        before_at=_before(pl.col("counted")),
    )
    low, high = (
        pl.col(name).gather(pl.col("inode_before")) for name in ("known_low", "known_high")
    )
    seen = seen.with_columns(
        *(pl.col(name).gather(pl.col("before_at")).alias(f"before_{name}") for name in COUNTERS),
        other=(~pl.col("inode").is_between(low, high)).fill_null(value=False),
    )
    less = pl.any_horizontal(
        (pl.col(name) < pl.col(f"before_{name}")).fill_null(value=False) for name in COUNTERS
    )
    return seen.with_columns(less=less)


def _last_place(condition: pl.Expr) -> pl.Expr:
    """The last place, up to each one, at which it holds."""
    return pl.when(condition).then("pos").forward_fill()


def _before(condition: pl.Expr) -> pl.Expr:
    """The last place before each one at which it holds, of the same socket as the one before."""
    place = _last_place(condition).shift(1)
    return pl.when(pl.col("goes_on") & (place >= pl.col("start").shift(1))).then(place)


def _lives(seen: pl.DataFrame) -> pl.DataFrame:
    """With what adds up over the observations of one socket."""
    old, opened = pl.col("old"), pl.col("starts") & (pl.col("rank") > 0)
    change = (
        pl.when(old)
        .then("change")
        .when(pl.col("reason").is_not_null())
        .then(pl.lit("reused"))
        .when(opened)
        .then(pl.lit("opened"))
        .when("starts")
        .then(pl.lit("first"))
        .when(pl.col("state") != pl.col("state").shift(1))
        .then(pl.lit("state"))
    )
    same_state = pl.when(old).then("state_before")
    seen = seen.with_columns(
        change=change,
        state_before=same_state.otherwise(
            pl.when(change == "state").then(pl.col("state").shift(1))
        ),
        start=_last_place(pl.col("starts")),
        first=pl.when(old).then("first").otherwise("time"),
        after=pl.when(old).then("after").otherwise("before"),
        shown=pl.when(old).then("shown").otherwise(1),
        missed=pl.when(old).then("missed").otherwise(0),
        sum_missed=pl.when(old).then(0).otherwise("gap").fill_null(0).cum_sum(),
        **{
            f"from_{name}": pl.when(old)
            .then(f"from_{name}")
            .when(opened)
            .then(0)
            .otherwise(name)
            for name in COUNTERS
        },
    )  # fmt: skip
    start = pl.col("start")
    missed = pl.col("missed").gather(start)
    seen = seen.with_columns(
        *(pl.col(name).gather(start) for name in ("first", "after")),
        *(pl.col(f"from_{name}").gather(start) for name in COUNTERS),
        shown=pl.col("shown").gather(start) + pl.col("pos") - start,
        missed=missed + pl.col("sum_missed") - pl.col("sum_missed").gather(start),
        first_at=pl.col("at").gather(start),
        **{
            f"{what}_at": pl.col("at").gather(_known(condition))
            for what, condition in (
                ("process", pl.col("named") | old),
                ("user", pl.col("owned") | old),
                ("inode", pl.col("inode").is_not_null() | old),
                ("counted", pl.col("counted") | old),
            )
        },
    )
    known = _known(pl.col("known_low").is_not_null())
    counted = _known(pl.col("counted"))
    before = {name: pl.when("starts").then(f"from_{name}") for name in COUNTERS}
    return seen.with_columns(
        *(pl.col(name).gather(known) for name in ("known_low", "known_high")),
        *(pl.col(name).gather(counted).alias(f"known_{name}") for name in COUNTERS),
        **{
            f"delta_{name}": pl.when(pl.col("change").ne_missing("first") & ~old).then(
                pl.col(name) - before[name].otherwise(f"before_{name}")
            )
            for name in COUNTERS
        },
    )


def _known(condition: pl.Expr) -> pl.Expr:
    """The last place, up to each one, of the same socket at which it holds; null: none."""
    place = _last_place(condition.fill_null(value=False))
    return pl.when(place >= pl.col("start")).then(place)
