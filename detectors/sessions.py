"""Hits of one rule and group, one after the other: which of them belong to one alert."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

#: whose hits an alert has
KEY: Final = ["rule", "group"]
#: before every time, and far enough from it not to overflow
_NEVER: Final = -(2**62)


def apart_from(state: pl.DataFrame, hits: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The open alerts whose rule and group have hits, and the others: those are many, and stay
    where they are."""
    keys = state.select_seq(KEY).with_row_index("at")
    here = np.zeros(state.height, dtype=np.bool_)
    here[keys.join(hits, on=KEY, how="semi")["at"].to_numpy()] = True
    if not here.any():
        return state.clear(), state
    return state.filter(pl.Series(here)), state.filter(pl.Series(~here))


def in_sessions(
    hits: pl.DataFrame, periods: Mapping[str, int], state: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Hits with the number of their session, and the sessions in that order: rule, group, session,
    whether the session continues an open alert (`joins`), the window of that (`open_window`), the
    first hit that fired, and when.

    hits: rule, group, fired, event.id and others, group after group in the order in which they
    fired. periods: by rule, for how long (µs) a later hit joins. state: open alerts.
    """
    begins = _begins(hits["rule"]) | _begins(hits["group"])
    groups = hits.select_seq(KEY)[np.flatnonzero(begins)]
    before = groups.join(
        state.select_seq(*KEY, open_last="last", open_window="window"),
        on=KEY,
        how="left",
        maintain_order="left",
    ).with_columns(pl.Series("suppress", [periods[rule] for rule in groups["rule"]], pl.Int64))
    group = np.cumsum(begins) - 1
    fired = hits["fired"].to_physical().to_numpy()
    last = before["open_last"].to_physical()
    previous = np.where(begins, last.fill_null(_NEVER).to_numpy()[group], np.roll(fired, 1))
    joins = fired - previous <= before["suppress"].to_numpy()[group]
    opens = begins | ~joins
    marked = hits.with_columns(pl.Series("session", np.cumsum(opens) - 1))
    first = np.flatnonzero(opens)
    sessions = marked.select_seq(*KEY, "session", "fired", opening="event.id")[first]
    return marked, sessions.with_columns(
        pl.Series("joins", joins[first]), before["open_window"][group[first]]
    )


def _begins(values: pl.Series) -> npt.NDArray[np.bool_]:
    """Where a value is another than the one before; none is null."""
    found = np.ones(len(values), dtype=np.bool_)
    found[1:] = (values[1:] != values[:-1]).to_numpy()
    return found
