"""Rows of the table of flows: how each began, and what was counted."""

from __future__ import annotations

import numpy as np
import polars as pl

from ..sockets.rows import hashed
from .machine import BAD, CLOSED
from .packets import NIL, UDP, Flags, Ints, Packets
from .split import Split, ends_of
from .table import FIRST, column


def filled(
    kept: pl.DataFrame,
    packets: Packets,
    bits: Ints,
    cut: Split,
    table: pl.DataFrame,
    prefix: str,
) -> pl.DataFrame:
    """A row for each flow of `cut`, without what sequence numbers and history
    tell.

    kept: the packets, as `sort` got them. table: the flows that were open.
    """
    flow, count = cut.flow, len(cut.conv)
    good = (bits & BAD) == 0
    counted = good | (packets.number == UDP)  # as Zeek does
    columns: dict[str, Ints] = {"state": cut.state, "until": cut.until}
    for side, mine in (("x", packets.from_x), ("y", ~packets.from_x)):
        which = counted & mine
        for name, values in (("bytes", packets.size), ("payload", packets.length)):
            missing = "unsized" if name == "bytes" else "unmeasured"
            told = which & (values >= 0) & (good | (name == "bytes"))
            columns[f"{side}_{name}"] = _sum(flow[told], count, values[told])
            columns[f"{side}_{missing}"] = _sum(flow[which & (values < 0)], count)
        columns[f"{side}_packets"] = _sum(flow[which], count)
    columns = {
        name: values if name in ("state", "until") else values + column(table, name, cut.carried)
        for name, values in columns.items()
    }
    columns["last"] = _last(packets, cut, good, table)
    mute = column(table, "mute", cut.carried)
    columns["mute"] = mute | (_sum(flow[packets.mute], count) > 0)
    return _first(kept, packets, cut, table, prefix).with_columns(
        **{name: pl.Series(values) for name, values in columns.items()}
    )


def _sum(flow: Ints, count: int, values: Ints | None = None) -> Ints:
    weights = None if values is None else values.astype(np.float64)
    return np.bincount(flow, weights, minlength=count).astype(np.int64)


def _last(packets: Packets, cut: Split, good: Flags, table: pl.DataFrame) -> Ints:
    """The time of each flow's last packet; behind the close of both ends none counts."""
    shut = (ends_of(cut.before, x=True) >= CLOSED) & (ends_of(cut.before, x=False) >= CLOSED)
    shut[packets.tcp :] = False
    last = column(table, "last", cut.carried)
    begun = cut.first != NIL
    last[begun] = packets.time[cut.first[begun]]
    which = good & ~shut
    np.maximum.at(last, cut.flow[which], packets.time[which])
    return last


def _first(
    kept: pl.DataFrame, packets: Packets, cut: Split, table: pl.DataFrame, prefix: str
) -> pl.DataFrame:
    """The columns FIRST of all flows."""
    begun = cut.first != NIL
    first = cut.first[begun]
    rows = kept[packets.place[first]]
    ordinal = _ordinals(packets, cut, table)
    from_x = pl.Series(packets.from_x[first])
    made = _begun(rows, from_x).with_columns(ordinal=pl.Series(ordinal[begun]))
    told = pl.concat_str(
        pl.lit(f"{prefix}\0"), "depth", pl.lit("\0"), "ordinal", pl.lit("\0"), "raw"
    )
    made = made.with_columns(id=hashed(told)).select(
        pl.col(name).cast(dtype) for name, dtype in FIRST.items()
    )
    old = table.select(*FIRST)[cut.carried[~begun]]
    place = np.empty(len(begun), np.int64)
    place[~begun], place[begun] = np.arange(old.height), np.arange(made.height) + old.height
    both: pl.DataFrame = pl.concat([old, made])[place]
    return both


def _ordinals(packets: Packets, cut: Split, table: pl.DataFrame) -> Ints:
    """Which of the flows of their conversation that begin at the same time they are, one behind the
    other, from 0: their first packets may look the same."""
    rows = np.arange(len(cut.conv))
    begun = cut.first != NIL
    start = column(table, "start", cut.carried)
    start[begun] = packets.time[cut.first[begun]]
    run = np.ones(len(rows), bool)
    run[1:] = (cut.conv[1:] != cut.conv[:-1]) | (start[1:] != start[:-1])
    run[1:] |= cut.end[:-1] == cut.until[:-1]  # time has passed
    head = np.maximum.accumulate(np.where(run, rows, 0))
    made: Ints = rows - head + column(table, "ordinal", cut.carried)[head]
    return made


def _begun(rows: pl.DataFrame, from_x: pl.Series) -> pl.DataFrame:
    """Columns of FIRST, and raw, of flows by their first packets. from_x: whether the end x of the
    conversation sent it."""
    sender = {"x": "x", "x_port": "x_port", "x_mac": "src_mac"}
    receiver = {"x": "y", "x_port": "y_port", "x_mac": "dst_mac"}
    columns = {}
    for name in sender:
        mine, other = pl.col(sender[name]), pl.col(receiver[name])
        columns[name] = pl.when("by_x").then(mine).otherwise(other)
        columns[f"y{name[1:]}"] = pl.when("by_x").then(other).otherwise(mine)
    source, target = pl.col("src").is_null(), pl.col("dst").is_null()
    return rows.with_columns(by_x=from_x).select(
        **columns,
        x_name=pl.when("by_x").then(source).otherwise(target),
        y_name=pl.when("by_x").then(target).otherwise(source),
        number="number",
        one_way="one_way",
        transport="transport",
        start="time",
        line="line",
        offset="offset",
        depth="depth",
        vlan=pl.col("vlans").list.get(0, null_on_oob=True),
        inner_vlan=pl.col("vlans").list.get(1, null_on_oob=True),
        raw="raw",
    )
