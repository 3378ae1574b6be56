"""What is told of a flow beside sequence numbers and history: how it began, and its counts."""

from __future__ import annotations

import numpy as np
import polars as pl

from ..sockets.rows import hashed
from .arrays import NIL, Flags, Ints, starts
from .machine import BAD, CLOSED
from .packets import UDP, Kept, Packets
from .split import Split, ends_of
from .table import ROW, TEXTS


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
    sent, received = kept.x_port[row], kept.y_port[row]
    sender, receiver = (_missing(kept.frame[name], place) for name in ("src", "dst"))
    numbers = {
        "x_port": np.where(by_x, sent, received),
        "y_port": np.where(by_x, received, sent),
        "x_name": np.where(by_x, sender, receiver),
        "y_name": np.where(by_x, receiver, sender),
        "number": packets.number[first],
        "one_way": kept.one_way[row],
        "start": packets.time[first],
        "vlan": _tag(kept, place, 0),
        "inner_vlan": _tag(kept, place, 1),
        **{name: kept.values[name][row] for name in ("line", "offset", "depth")},
    }
    for name, values in numbers.items():
        now[ROW[name], begun] = values
    return begun, _texts(kept, place, by_x, now[ROW["ordinal"], begun], prefix)


def _missing(column: pl.Series, place: Ints) -> Flags:
    """Where there is no value."""
    if not column.null_count():
        return np.zeros(len(place), bool)
    return column.is_null().to_numpy()[place]


def _tag(kept: Kept, place: Ints, number: int) -> Ints:
    vlans = kept.frame["vlans"]
    if vlans.null_count() == len(vlans):
        return np.full(len(place), NIL)
    tags: Ints = vlans[place].list.get(number, null_on_oob=True).fill_null(NIL).to_numpy()
    return tags


def _texts(kept: Kept, place: Ints, by_x: Flags, ordinal: Ints, prefix: str) -> pl.DataFrame:
    """place: by flow, row of its first packet. by_x: whether the end x sent it."""
    rows = kept.frame.select("src_mac", "dst_mac", "transport")[place].hstack(
        [kept.x[place].alias("x"), kept.y[place].alias("y"), pl.Series("by_x", by_x)]
    )
    columns: dict[str, pl.Expr] = {}
    for x, sender, y, receiver in (("x", "x", "y", "y"), ("x_mac", "src_mac", "y_mac", "dst_mac")):
        if rows[sender].null_count() + rows[receiver].null_count() == 2 * rows.height:
            columns |= dict.fromkeys((x, y), pl.lit(None, pl.String))
        elif by_x.all():
            columns |= {x: pl.col(sender), y: pl.col(receiver)}
        else:
            columns[x] = pl.when("by_x").then(sender).otherwise(receiver)
            columns[y] = pl.when("by_x").then(receiver).otherwise(sender)
    columns["transport"] = pl.col("transport")
    # Texts of their own: those that were cut out of a block's text would keep all of it in memory.
    own = {name: expr + pl.lit("") for name, expr in columns.items()}
    made = rows.select(**own, id=_ids(kept, place, ordinal, prefix))
    return made.select(name for name in TEXTS if name != "history")


def _ids(kept: Kept, place: Ints, ordinal: Ints, prefix: str) -> pl.Series:
    """128 bits of hash over a flow's first packet, as it is printed. It is worked out in the order
    of the file: texts that lie one behind the other are read many times faster than here and
    there."""
    begins = np.zeros(kept.frame.height, bool)
    begins[place] = True
    at = np.flatnonzero(begins)
    turn = np.empty(len(begins), np.int64)
    turn[place] = ordinal
    rows = kept.frame.select("depth", "raw")[at].with_columns(ordinal=pl.Series(turn[at]))
    nul = pl.lit("\0")
    if rows["depth"].max() == rows["ordinal"].max() == 0:  # as nearly always
        told = pl.concat_str(pl.lit(f"{prefix}\x000\x000\0"), "raw")
    else:
        told = pl.concat_str(pl.lit(f"{prefix}\0"), "depth", nul, "ordinal", nul, "raw")
    ids = rows.select(hashed(told)).to_series()
    turn[at] = np.arange(len(at))
    return ids[turn[place]]


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
