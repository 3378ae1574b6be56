"""What the snapshots near a connection prove."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from .sockets import LATE, SECOND

#: verdicts that name a process or several, the surest first
POSITIVE: Final = ("exact", "bounded", "ambiguous")
REASONS: Final[dict[str, str]] = {
    "seen": "the socket was seen alive during the flow",
    "row": "the event itself is of a socket table",
    "around": "the same socket was seen before and after the flow",
    "still_open": "the socket was seen after the flow's last packet, and nothing had closed it",
    "already_open": "the socket was seen before the flow's first packet, and nothing had opened it",
    "listener": "this process listened at the port; the connection's own socket was not seen",
    "several": "several processes had such a socket",
    "several_hosts": "several hosts with this address had such a socket",
    "no_process": "the socket was seen, but the table does not say whose it is",
    "another_socket": "the ports were seen on another socket only, before or after the flow",
    "same_moment": "another flow had the same ports at the moment of the snapshot",
    "over": "the socket was seen only after its end, when it has no process any more",
    "not_shown": "snapshots were taken during the flow and do not show its socket",
    "no_snapshot": "no snapshot of this host tells of the time of the flow",
    "translated": "a socket at another local address has these ports and peer: translated?",
    "other_host": "there are no snapshots of a host with this address",
    "no_ports": "the protocol has no ports",
}
#: what a verdict names
PROCESS: Final = ("pid", "name", "processes", "uid", "user")
#: how long TIME-WAIT may follow the end of a connection: twice the longest life of a segment
_LINGER: Final = 240 * SECOND
#: different sockets that are listed as candidates for one flow
_RUNS: Final = 100


def judged_connections(ends: pl.DataFrame, reach: int) -> pl.DataFrame:
    """What shots at just these two ends prove: verdict, reason, the runs from low to high that are
    candidates, and the shots (one, two) that tell. Ends of which they tell nothing are left out."""
    tcp = pl.col("transport") == "tcp"
    # A connection that began or ended in the flow is not the one seen before or after it.
    older, newer = tcp & pl.col("begun"), tcp & pl.col("closed")
    near_before = pl.col("t_before") >= pl.col("lo") - reach
    near_after = pl.col("t_after") <= pl.col("hi") + reach
    own_before = (pl.col("t_before") >= pl.col("floor")).fill_null(value=True)
    own_after = (pl.col("t_after") <= pl.col("roof")).fill_null(value=True)
    around = ~older & ~newer & (pl.col("run_before") == pl.col("run_after"))
    apart = (pl.col("run_before") != pl.col("run_after")).fill_null(value=False)
    open_after = tcp & ~newer & near_after & own_after
    open_before = tcp & ~older & near_before & own_before
    other = near_before & (older | (apart & near_after))
    return _classed(
        ends,
        (pl.col("inside"), "exact", "seen", "first", "last"),
        (pl.col("contested"), "reused", "same_moment", "any", "any"),
        (around, "bounded", "around", "before", "after"),
        (open_after & ~(apart & open_before), "bounded", "still_open", "after", "after"),
        (open_before & ~apart, "bounded", "already_open", "before", "before"),
        (other, "reused", "another_socket", "before", "before"),
        (newer & near_after, "reused", "another_socket", "after", "after"),
    )


def judged_doors(ends: pl.DataFrame) -> pl.DataFrame:
    """The same of sockets that wait for anybody: they outlive what comes and goes."""
    same = pl.col("run_before") == pl.col("run_after")
    apart = pl.col("run_before") != pl.col("run_after")
    tcp = pl.col("transport") == "tcp"
    return _classed(
        ends,
        (pl.col("inside") & tcp, "bounded", "listener", "first", "last"),
        (pl.col("inside"), "exact", "seen", "first", "last"),
        (same & tcp, "bounded", "listener", "before", "after"),
        (same, "bounded", "around", "before", "after"),
        (apart, "reused", "another_socket", "before", "after"),
    )


def _classed(ends: pl.DataFrame, *cases: tuple[pl.Expr, str, str, str, str]) -> pl.DataFrame:
    """The first case that holds for each end; ends without one are left out."""
    number = pl.lit(None, pl.Int64)
    for place, (holds, *_) in reversed(list(enumerate(cases))):
        number = pl.when(holds.fill_null(value=False)).then(place).otherwise(number)
    held = ends.with_columns(case=number)
    parts = [
        held.filter(pl.col("case") == place).with_columns(
            verdict=pl.lit(verdict), reason=pl.lit(reason),
            low=f"run_{one}", high=f"run_{two}", one=f"shot_{one}", two=f"shot_{two}",
        )
        for place, (_, verdict, reason, one, two) in enumerate(cases)
    ]  # fmt: skip
    return pl.concat(parts)


def settled(levels: Sequence[tuple[pl.DataFrame, pl.DataFrame]]) -> pl.DataFrame:
    """One verdict for each end: of the levels (judged ends, and the shots behind them) the first
    that names somebody, else the first that does not refuse; of several hosts the surest."""
    every = pl.concat(
        _named(judged, shots).with_columns(level=pl.lit(place))
        for place, (judged, shots) in enumerate(levels)
    )
    rank = pl.col("verdict").replace_strict(
        {name: n for n, name in enumerate((*POSITIVE, "none", "reused"))}, return_dtype=pl.Int64
    )
    every = every.with_columns(rank=rank)
    names_nobody = pl.max_horizontal("rank", len(POSITIVE) - 1)
    by_level = every.sort("end", "host", names_nobody, "level").unique(
        ["end", "host"], keep="first", maintain_order=True
    )
    return _one_host(by_level)


def _named(judged: pl.DataFrame, shots: pl.DataFrame) -> pl.DataFrame:
    """Judged ends with the process that they name: pid to user, basis, candidates, rows, label."""
    seen = shots.with_row_index("shot")
    runs = shots.group_by("run").agg(pl.col("who").last())
    several = pl.col("low") != pl.col("high")
    at_once = judged.filter(~several).join(
        seen.select(two="shot", who="who"), on="two", maintain_order="left"
    )
    in_turn = (
        judged.filter(several)
        .with_columns(
            run=pl.int_ranges("low", pl.min_horizontal("high", pl.col("low") + _RUNS) + 1)
        )
        .explode("run", empty_as_null=False, keep_nulls=False)
        .join(runs, on="run")
    )
    each = (
        pl.concat([one.select("row", "who") for one in (at_once, in_turn)])
        .explode("who", empty_as_null=False, keep_nulls=False)
        .unnest("who")
        .sort("row", "pid", "name", "uid", "user", nulls_last=True)
        .unique(["row", "pid", "name"], keep="first", maintain_order=True)
        .with_columns(label=label())
    )
    named = each.group_by("row").agg(
        pl.col("pid", "name", "processes", "uid", "user", "label").first(),
        candidates=pl.col("label"),
        count=pl.len(),
    )
    ids = seen.select("shot", "ids", "role")
    told = (
        judged.select(
            "row", "end", "host", "connection", "first", "verdict", "reason", "one", "two"
        )
        .join(named, on="row", how="left")
        .join(ids.rename({"shot": "one", "ids": "ids_one", "role": "basis"}), on="one")
        .join(ids.select(two="shot", ids_two="ids"), on="two")
    )
    return _weighed(told)


def _weighed(told: pl.DataFrame) -> pl.DataFrame:
    """Several candidates are ambiguous, none is no process; a process is named where it is sure."""
    refused = pl.col("verdict") == "reused"
    nobody, several = pl.col("count").is_null(), pl.col("count") > 1
    weighed = told.with_columns(
        verdict=pl.when(refused)
        .then("verdict")
        .when(nobody)
        .then(pl.lit("none"))
        .when(several)
        .then(pl.lit("ambiguous"))
        .otherwise("verdict"),
        reason=pl.when(refused)
        .then("reason")
        .when(nobody)
        .then(pl.lit("no_process"))
        .when(several)
        .then(pl.lit("several"))
        .otherwise("reason"),
    )
    sure = pl.col("verdict").is_in(["exact", "bounded"])
    return weighed.select(
        "end", "host", "connection", "first", "verdict", "reason", "basis", "label",
        *(pl.when(sure).then(name).alias(name) for name in PROCESS),
        candidates=pl.when(~sure).then("candidates"),
        rows=pl.concat_list("ids_one", "ids_two").list.unique(maintain_order=True),
    )  # fmt: skip


def label() -> pl.Expr:
    """A process in one word: pid/name."""
    pid = pl.col("pid").cast(pl.String).fill_null("?")
    return pl.concat_str(pid, pl.lit("/"), pl.col("name").fill_null("?"))


def _one_host(found: pl.DataFrame) -> pl.DataFrame:
    """Where several hosts have an address, what the surest of them tells; several equally sure ones
    are all candidates."""
    surest = found.filter(pl.col("rank") == pl.col("rank").min().over("end")).sort("end", "host")
    several = (pl.len().over("end") > 1) & pl.col("verdict").is_in(POSITIVE)
    united = surest.with_columns(
        pl.when(several).then(pl.lit("ambiguous")).otherwise("verdict").alias("verdict"),
        pl.when(several).then(pl.lit("several_hosts")).otherwise("reason").alias("reason"),
        *(pl.when(~several).then(name).alias(name) for name in PROCESS),
        candidates=pl.when(several)
        .then(
            pl.format("{} on {}", pl.col("label"), pl.col("host"))
            .implode()
            .over("end", mapping_strategy="join")
        )
        .otherwise("candidates"),
    )
    return united.unique("end", keep="first", maintain_order=True).drop("rank", "level", "label")


def why_none(ends: pl.DataFrame, rows: pl.DataFrame, over: pl.DataFrame) -> pl.DataFrame:
    """Ends of which nothing is known (host: null where no host has the address), with the reason.

    over: ends of connections in TIME-WAIT, with t."""
    found = _covered(_over(ends, over), rows)
    found = _translated(found, rows)
    reason = (
        pl.when("over").then(pl.lit("over"))
        .when("covered").then(pl.lit("not_shown"))
        .when(pl.col("host").is_not_null()).then(pl.lit("no_snapshot"))
        .when(pl.col("candidates").is_not_null()).then(pl.lit("translated"))
        .otherwise(pl.lit("other_host"))
    )  # fmt: skip
    order = ["over", "not_shown", "no_snapshot", "translated", "other_host"]
    return (
        found.select(
            "end", "connection", "first", "host", "candidates",
            verdict=pl.lit("none"), reason=reason,
        )
        .sort("end", pl.col("reason").replace_strict(order, range(len(order))), "host")
        .unique("end", keep="first", maintain_order=True)
    )  # fmt: skip


def _over(ends: pl.DataFrame, over: pl.DataFrame) -> pl.DataFrame:
    """With over: a snapshot shows the connection in TIME-WAIT, and no other one came between."""
    keys = [name for name in over.columns if name != "t"]
    late = (
        ends.select("end", *keys, "lo", "hi", "roof")
        .sort("lo")
        .join_asof(
            over.sort("t"), left_on="lo", right_on="t", by=keys,
            strategy="forward", check_sortedness=False,
        )
        .filter(
            pl.col("t") <= pl.col("hi") + _LINGER,
            (pl.col("t") <= pl.col("roof")).fill_null(value=True),
        )
    )  # fmt: skip
    return ends.with_columns(over=pl.col("end").is_in(late["end"].unique().implode()))


def _covered(ends: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """With covered: a snapshot of the host that shows connections of the transport (for others than
    TCP: any socket of it) was taken while the flow lasted, at least the tolerance from its ends."""
    shown = (pl.col("transport") != "tcp") | pl.col("role").is_in(["client", "server"])
    taken = rows.filter(shown).select("host", "transport", "t").unique().sort("t")
    tolerance = pl.col("hi") - pl.col("e")
    near = (
        ends.select(
            "end", "host", "transport",
            at=pl.col("s") + tolerance, by=pl.col("e") - tolerance - LATE,
        )
        .sort("at")
        .join_asof(
            taken, left_on="at", right_on="t", by=["host", "transport"],
            strategy="forward", check_sortedness=False,
        )
        .filter(pl.col("t") <= pl.col("by"))
    )  # fmt: skip
    return ends.with_columns(covered=pl.col("end").is_in(near["end"].unique().implode()))


def _translated(ends: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """With candidates, where no host has the address: who had a socket with the same port and the
    same peer, but another address, at that time."""
    keys = ["transport", "local_port", "peer_ip", "peer_port"]
    there = rows.select(*keys, "t", "pid", "name", host_there="host")
    hidden = (
        ends.filter(pl.col("host").is_null())
        .select("end", *keys, "lo", "hi")
        .join(there, on=keys)
        .filter(pl.col("t").is_between("lo", "hi"), pl.col("pid").is_not_null())
        .with_columns(told=pl.format("{} on {}", label(), "host_there"))
        .group_by("end")
        .agg(candidates=pl.col("told").unique().sort())
    )  # fmt: skip
    return ends.join(hidden, on="end", how="left", maintain_order="left")
