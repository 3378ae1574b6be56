"""The flows that are open, as one table: a row for each, and all that must be known to go on."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from .history import AGAIN, SCALED
from .packets import NIL, Ints

_S: Final = pl.String()
_I: Final = pl.Int64()
_B: Final = pl.Boolean()

#: what a flow begins with: its ends (see `packets.relevant`), and whether they are names; where its
#: first packet is, and the id of the event that it will be.
FIRST: Final[dict[str, pl.DataType]] = {
    "x": _S, "x_port": _I, "y": _S, "y_port": _I, "number": _I, "one_way": _B,
    "x_name": _B, "y_name": _B, "transport": _S, "start": _I, "line": _I, "offset": _I,
    "depth": _I, "x_mac": _S, "y_mac": _S, "vlan": _I, "inner_vlan": _I, "id": _S, "ordinal": _I,
}  # fmt: skip
#: of each end (x_…, y_…). packets, bytes, payload: so far; unsized, unmeasured: packets of which
#: the text does not tell bytes or payload. The rest: `sequence.Side`, `sequence.Base`.
SIDE: Final = (
    "packets", "bytes", "payload", "unsized", "unmeasured", "raw", "rel", "sent", "acked", "seen",
    "fin", "base", "start",
)  # fmt: skip
#: state: see `machine`. last: time of the last packet that counts, µs. until: the packets' clock at
#: which it is over. mode, known: `sequence.Base`. mute: TCP's flags were not shown. x_holes,
#: y_holes: `gaps.Holes`, one number behind the other.
OPEN: Final[dict[str, pl.DataType]] = {
    **FIRST,
    "state": _I, "last": _I, "until": _I, "mode": _I, "known": _B, "mute": _B, "missed": _I,
    "history": _S,
    **{f"{side}_{name}": _I for side in "xy" for name in SIDE},
    "x_holes": pl.List(_I), "y_holes": pl.List(_I),
    **{f"count_{number}": _I for number in range(len(SCALED))},
    **{f"last_{number}": _I for number in range(len(AGAIN))},
}  # fmt: skip
#: what is told of a flow; the rest is there to go on with it
TOLD: Final = (
    *FIRST, "state", "last", "mute", "missed", "history",
    *(
        f"{side}_{name}"
        for side in "xy"
        for name in (*SIDE[:6], "sent", "acked", "fin")
    ),
)  # fmt: skip
#: of a flow without a packet so far
NEW: Final[dict[str, int]] = {
    **dict.fromkeys((f"{side}_{name}" for side in "xy" for name in SIDE), 0),
    **{f"{side}_{name}": NIL for side in "xy" for name in ("raw", "base", "start")},
    **dict.fromkeys((f"count_{number}" for number in range(len(SCALED))), 0),
    **dict.fromkeys((f"last_{number}" for number in range(len(AGAIN))), NIL),
    "mode": NIL, "last": -(1 << 62), "missed": 0,
}  # fmt: skip


def column(table: pl.DataFrame, name: str, carried: Ints) -> Ints:
    """The values of a numeric column by flow. carried: by flow, its row in the table, or NIL."""
    made = np.full(len(carried), NEW.get(name, 0), np.int64)
    old = carried != NIL
    if old.any():
        made[old] = table[name].cast(pl.Int64).to_numpy()[carried[old]]
    return made


def alone(frame: pl.DataFrame) -> pl.DataFrame:
    """The same rows with texts of their own. Those that were cut out of a block's text would keep
    all of it in memory; texts that are put together anew stand by themselves."""
    return frame.with_columns(pl.col(pl.String) + pl.lit(""))
