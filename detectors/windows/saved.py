"""The state of windows as frames, to be stored and taken up again.

A rule's items are taken up only by a rule that counts the same: `marks` tells, by rule key, what a
rule counts and how.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import polars as pl

from connwatch.schema import DERIVED, empty

from .engine import State, kept_columns
from .held import Correlated, Held
from .records import Records

_ITEMS: Final = "items/"
_RECORDS: Final = "records"
_PLAIN: Final = ("record", "time", "base", "hit", "alert")
_BY_WINDOW: Final = ("group", "value", "part")


def to_frames(state: State) -> Iterator[tuple[str, pl.DataFrame]]:
    """Frames with their names, each made when its turn comes."""
    for key, held in state.items.items():
        if len(held):
            yield _ITEMS + key, _frame(held)
    for place, part in enumerate(state.records.parts):
        yield f"{_RECORDS}{place}", part


def about(state: State, marks: Mapping[str, str]) -> dict[str, Any]:
    """JSON values that belong to the frames."""
    return {
        "next": state.next,
        "forgotten": dict(state.forgotten),
        "marks": {key: marks[key] for key in state.items if key in marks},
    }


def from_frames(
    rules: Sequence[Correlated],
    keep: Sequence[str],
    frames: Mapping[str, pl.DataFrame],
    told: Mapping[str, Any],
    marks: Mapping[str, str],
) -> State:
    """The state for these rules; one that was changed since, or is new, begins with nothing.

    keep: as for `engine.correlate`. told: what `about` said.
    """
    items = {}
    for rule in rules:
        same = told["marks"].get(rule.key) == marks[rule.key]
        frame = frames.get(_ITEMS + rule.key)
        if same and frame is not None:
            items[rule.key] = _held(rule, frame)
    kept = {key: lost for key, lost in told["forgotten"].items() if key in marks}
    columns = kept_columns(rules, keep)
    records = Records(tuple(_with_columns(part, columns) for part in _parts(frames)))
    seen = [held.record for held in items.values()]
    numbers = np.unique(np.concatenate(seen)) if seen else np.empty(0, dtype=np.int64)
    records = records.without(np.isin(records.numbers, numbers))
    return State(items, records, told["next"], kept)


def _parts(frames: Mapping[str, pl.DataFrame]) -> list[pl.DataFrame]:
    """The parts of the records, in their order."""
    names = [name for name in frames if name.startswith(_RECORDS)]
    return [
        frames[name] for name in sorted(names, key=lambda name: int(name[len(_RECORDS) :] or 0))
    ]


def _with_columns(records: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Records with these columns; one that was not kept when they were met has no values."""
    types = empty().select(DERIVED.get(name, pl.col(name)).alias(name) for name in names).schema
    return records.select(
        *(
            pl.col(name) if name in records.columns else pl.lit(None, types[name]).alias(name)
            for name in names
        ),
        "record",
    )


def _frame(held: Held) -> pl.DataFrame:
    columns = {name: getattr(held, name) for name in _PLAIN}
    for name in _BY_WINDOW:
        for place, array in enumerate(getattr(held, name)):
            columns[f"{name}{place}"] = array
    return pl.DataFrame(columns)


def _held(rule: Correlated, frame: pl.DataFrame) -> Held:
    def array(name: str) -> Any:
        return frame[name].to_numpy().copy()

    several = [
        tuple(array(f"{name}{place}") for place in range(len(rule.windows))) for name in _BY_WINDOW
    ]
    return Held(*(array(name) for name in _PLAIN), *several).sharing()
