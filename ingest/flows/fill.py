"""What is told of a flow beside sequence numbers and history: how it began, and its counts."""

from __future__ import annotations

import numpy as np
import polars as pl

from ..sockets.rows import hashed
from .arrays import NIL, Flags, Ints, starts
from .machine import BAD, CLOSED
from .packets import UDP, Kept, Packets
from .split import Split, ends_of
from .table import ROW, TEXTS, alone


def count(packets: Packets, cut: Split, now: Ints) -> None:
    """Add the packets to the numbers of their flows. now: `table.NUMBERS` by flow."""
    flows = len(cut.conv)
    good = (packets.bits & BAD) == 0
    counted = good | (packets.number == UDP)  # as Zeek does
    end = cut.flow * 2 + 1 - packets.from_x
    if not counted.all():
        end, size, length = (one[counted] for one in (end, packets.size, packets.length))
        measured = good[counted]
    else:
        size, length, measured = packets.size, packets.length, good
    told = np.maximum(length, 0) if measured.all() else np.where(measured, np.maximum(length, 0), 0)
    sums = {
        "packets": np.bincount(end, minlength=flows * 2),
        "bytes": np.bincount(end, np.maximum(size, 0), minlength=flows * 2),
        "payload": np.bincount(end, told, minlength=flows * 2),
        "unsized": np.bincount(end[size < 0], minlength=flows * 2),
        "unmeasured": np.bincount(end[length < 0], minlength=flows * 2),
    }
    for name, values in sums.items():
        made = values.astype(np.int64)
        now[ROW[f"x_{name}"]] += made[::2]
        now[ROW[f"y_{name}"]] += made[1::2]
    now[ROW["state"]], now[ROW["until"]] = cut.state, cut.until
    now[ROW["last"]] = _last(packets, cut, good, now[ROW["last"]])
    now[ROW["mute"], cut.flow[packets.mute]] = 1


def _last(packets: Packets, cut: Split, good: Flags, last: Ints) -> Ints:
    """The time of each flow's last packet; behind the close of both ends none counts."""
    begun = np.flatnonzero(cut.first != NIL)
    last = last.copy()
    last[begun] = packets.time[cut.first[begun]]
    counts = good.copy()
    counts[: packets.tcp] &= _open(cut.before[: packets.tcp])
    begins = np.flatnonzero(starts(cut.flow))
    flow = cut.flow[begins]
    latest = np.maximum.reduceat(np.where(counts, packets.time, last[cut.flow]), begins)
    last[flow] = np.maximum(last[flow], latest)
    return last


def _open(state: Ints) -> Flags:
    """Whether not both ends of connections are closed."""
    return (ends_of(state, x=True) < CLOSED) | (ends_of(state, x=False) < CLOSED)


def begin(
    kept: Kept, packets: Packets, cut: Split, now: Ints, prefix: str
) -> tuple[Ints, pl.DataFrame]:
    """Fill in how the flows began that did so with these packets: which ones, and their texts
    (`table.TEXTS` but history).

    now: `table.NUMBERS` by flow.
    """
    begun = np.flatnonzero(cut.first != NIL)
    first = cut.first[begun]
    row, place = packets.row[first], packets.place[first]
    by_x = packets.from_x[first]
    now[ROW["ordinal"]] = _ordinals(packets, cut, now)
    names = (
        "src",
        "dst",
        "src_mac",
        "dst_mac",
        "vlans",
        "transport",
        "raw",
        "depth",
        "offset",
        "line",
    )
    rows = kept.frame.select(names)[place].with_columns(
        by_x=by_x, x=kept.x[place], y=kept.y[place], ordinal=now[ROW["ordinal"], begun]
    )
    made = rows.select(**_texts(prefix), **_numbers())
    sent, received = kept.x_port[row], kept.y_port[row]
    numbers = {
        "x_port": np.where(by_x, sent, received),
        "y_port": np.where(by_x, received, sent),
        "number": packets.number[first],
        "one_way": kept.one_way[row],
        "start": packets.time[first],
        **{name: made[name].to_numpy() for name in _numbers()},
    }
    for name, values in numbers.items():
        now[ROW[name], begun] = values
    return begun, alone(made.select(name for name in TEXTS if name != "history"))


def _turned(sender: str, receiver: str) -> tuple[pl.Expr, pl.Expr]:
    """Columns of the ends x and y."""
    return (
        pl.when("by_x").then(sender).otherwise(receiver),
        pl.when("by_x").then(receiver).otherwise(sender),
    )


def _texts(prefix: str) -> dict[str, pl.Expr]:
    x, y = _turned("x", "y")
    x_mac, y_mac = _turned("src_mac", "dst_mac")
    told = pl.concat_str(
        pl.lit(f"{prefix}\0"), "depth", pl.lit("\0"), "ordinal", pl.lit("\0"), "raw"
    )
    return {
        "x": x, "y": y, "x_mac": x_mac, "y_mac": y_mac, "transport": pl.col("transport"),
        "id": hashed(told),
    }  # fmt: skip


def _numbers() -> dict[str, pl.Expr]:
    named = [pl.col(name).is_null().cast(pl.Int64) for name in ("src", "dst")]
    x_name, y_name = (
        pl.when("by_x").then(one).otherwise(other) for one, other in (named, named[::-1])
    )
    vlan = [pl.col("vlans").list.get(number, null_on_oob=True).fill_null(NIL) for number in (0, 1)]
    return {
        "line": pl.col("line"), "offset": pl.col("offset"), "depth": pl.col("depth"),
        "x_name": x_name, "y_name": y_name, "vlan": vlan[0], "inner_vlan": vlan[1],
    }  # fmt: skip


def _ordinals(packets: Packets, cut: Split, now: Ints) -> Ints:
    """Which of the flows of their conversation that begin at the same time they are, one behind the
    other, from 0: their first packets may look the same."""
    rows = np.arange(len(cut.conv))
    begun = cut.first != NIL
    start = now[ROW["start"]].copy()
    start[begun] = packets.time[cut.first[begun]]
    run = np.ones(len(rows), bool)
    run[1:] = (cut.conv[1:] != cut.conv[:-1]) | (start[1:] != start[:-1])
    run[1:] |= cut.end[:-1] == cut.until[:-1]  # time has passed
    head = np.maximum.accumulate(np.where(run, rows, 0))
    made: Ints = rows - head + now[ROW["ordinal"]][head]
    return made
