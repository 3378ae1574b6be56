"""Flows by row: all that must be known to go on with those that are open, and to tell of them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from .arrays import NIL, Flags, Ints

#: letters of histories that count how often, and that are written again with another number
SCALED: Final = "CcGgTtWw"
AGAIN: Final = "FfRr"
_S: Final = pl.String()
_I: Final = pl.Int64()
_B: Final = pl.Boolean()

#: of each end (x_…, y_…). packets, bytes, payload: so far; unsized, unmeasured: packets of which
#: the text does not tell bytes or payload. The rest: `sequence.Side`, `sequence.Base`.
SIDE: Final = (
    "packets", "bytes", "payload", "unsized", "unmeasured", "raw", "rel", "sent", "acked", "seen",
    "fin", "base", "start",
)  # fmt: skip
#: addresses, or names in their place; the id of the event that it will be
TEXTS: Final[dict[str, pl.DataType]] = dict.fromkeys(
    ("x", "y", "x_mac", "y_mac", "transport", "id", "history"), _S
)
#: a flow that is over, or is reported. x, y: its ends, x_name, y_name: whether these are names;
#: start, line, offset, depth: of its first packet; state: see `machine`; last: time of the last
#: packet that counts, µs; mute: TCP's flags were not shown; x_packets …: see SIDE. end: the moment
#: of the packets' clock at which it is over or reported; over: False in a report of one that goes
#: on
FLOW: Final[dict[str, pl.DataType]] = {
    "x": _S, "x_port": _I, "y": _S, "y_port": _I, "number": _I, "x_name": _B, "y_name": _B,
    "transport": _S, "start": _I, "line": _I, "offset": _I, "depth": _I, "x_mac": _S, "y_mac": _S,
    "vlan": _I, "inner_vlan": _I, "id": _S, "state": _I, "last": _I, "mute": _B, "missed": _I,
    "history": _S,
    **{
        f"{side}_{name}": _I
        for side in "xy"
        for name in (*SIDE[:6], "sent", "acked", "fin")
    },
    "end": _I, "over": _B,
}  # fmt: skip
_TOLD: Final = tuple(name for name, dtype in FLOW.items() if dtype != _S)
#: of all flows what FLOW has, with whether ends are names; and of those that are open, behind it:
#: of both ends, see SIDE; one_way: see `packets.Kept`; ordinal: see `fill`; serial: its number
#: among all. until: the packets' clock at which it is over. mode, known: `sequence.Base`. shown,
#: count_…, last_…: see `history`.
NUMBERS: Final = (
    *_TOLD, "one_way", "ordinal", "serial", "until", "mode", "known", "shown",
    *(
        name
        for name in (f"{side}_{name}" for side in "xy" for name in SIDE)
        if name not in _TOLD
    ),
    *(f"count_{number}" for number in range(len(SCALED))),
    *(f"last_{number}" for number in range(len(AGAIN))),
)  # fmt: skip
ROW: Final[dict[str, int]] = {name: number for number, name in enumerate(NUMBERS)}
#: of a flow without a packet so far; others 0
_NEW: Final[dict[str, int]] = {
    **{f"{side}_{name}": NIL for side in "xy" for name in ("raw", "base", "start")},
    "x_sent": 1,
    "y_sent": 1,
    **dict.fromkeys((f"last_{number}" for number in range(len(AGAIN))), NIL),
    **dict.fromkeys(("vlan", "inner_vlan", "mode", "end"), NIL),
    "last": -(1 << 62),
}
_BLANK: Final = np.array([[_NEW.get(name, 0)] for name in NUMBERS], np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Flows:
    """numbers: NUMBERS by flows; of those that are over, only what FLOW has. texts: TEXTS, a row
    for each flow."""

    numbers: Ints
    texts: pl.DataFrame

    @staticmethod
    def none() -> Flows:
        return _NONE

    @property
    def height(self) -> int:
        return int(self.numbers.shape[1])

    def __getitem__(self, name: str) -> Ints:
        return self.numbers[ROW[name]]  # type: ignore[no-any-return]

    def rows(self, rows: Ints) -> Flows:
        return Flows(self.numbers.take(rows, axis=1), self.texts[rows])

    def where(self, which: Flags) -> Flows:
        """Those of these flows."""
        rows = np.flatnonzero(which)
        if len(rows) == self.height:
            return self
        return self.rows(rows) if len(rows) else _NONE

    def ended(self, rows: Ints, end: Ints | int, *, over: bool = True) -> Flows:
        """These rows as over, or reported, at this moment."""
        numbers = self.numbers[: len(_TOLD)].take(rows, axis=1)
        numbers[ROW["end"]], numbers[ROW["over"]] = end, over
        return Flows(numbers, self.texts[rows])

    def frame(self) -> pl.DataFrame:
        """As FLOW."""
        return pl.DataFrame([self._column(name, dtype) for name, dtype in FLOW.items()])

    def _column(self, name: str, dtype: pl.DataType) -> pl.Series:
        if name in TEXTS:
            return self.texts[name]
        values = self[name]
        if name in ("vlan", "inner_vlan"):
            if (values == NIL).all():
                return pl.Series(name, [], _I).extend_constant(None, len(values))
            return pl.Series(name, values).set(pl.Series(values == NIL), None)
        return pl.Series(name, values != 0 if dtype == _B else values)

    def saved(self) -> str:
        """As text: open flows are many, and are saved with every commit."""
        numbers = pl.DataFrame(self.numbers.T, schema=NUMBERS[: len(self.numbers)])
        file = io.BytesIO()
        numbers.hstack(self.texts).rechunk().write_ipc(file, compression="zstd")
        return base64.b64encode(file.getvalue()).decode("ascii")

    @classmethod
    def restored(cls, saved: str) -> Flows:
        frame = pl.read_ipc(io.BytesIO(base64.b64decode(saved)))
        numbers = frame.drop(*TEXTS).to_numpy().T
        return cls(np.ascontiguousarray(numbers), frame.select(*TEXTS))


_NONE: Final = Flows(np.zeros((len(NUMBERS), 0), np.int64), pl.DataFrame(schema=TEXTS))


def together(parts: Sequence[Flows]) -> Flows:
    """The flows of all parts, one behind the other."""
    filled = [part for part in parts if part.height]
    if len(filled) < 2:
        return filled[0] if filled else Flows.none()
    return Flows(
        np.concatenate([part.numbers for part in filled], axis=1),
        # Rows are taken out of one piece many times faster than out of several.
        pl.concat([part.texts for part in filled], rechunk=True),
    )


def going_on(flows: Flows, carried: Ints) -> Ints:
    """Numbers of as many flows as `carried` has: of the row that it says, or, NIL, of a flow
    without a packet so far."""
    made = np.empty((len(NUMBERS), len(carried)), np.int64)
    made[:] = _BLANK
    old = np.flatnonzero(carried != NIL)
    made[:, old] = flows.numbers.take(carried[old], axis=1)
    return made


def alone(frame: pl.DataFrame) -> pl.DataFrame:
    """The same rows with texts of their own. Those that were cut out of a block's text would keep
    all of it in memory; texts that are put together anew stand by themselves."""
    return frame.with_columns(pl.col(pl.String) + pl.lit(""))
