"""What fires in a window and which items it sees; and what is told of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from connwatch.contracts import group_key
from connwatch.schema import UTC

from .arrays import Hashes, Positions, changes
from .held import Correlated, Held
from .items import Items
from .measure import fires, measured
from .spec import Numbers, Window

Small = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sightings:
    """Items that a record of this batch sees as it fires, each with the first that does: positions
    in `Held`, and of that record its number, time, window, and what was measured (NaN unless it is
    the item's own)."""

    at: Positions
    by: Positions
    fired: Positions
    window: Small
    value: Numbers


def seen(place: int, window: Window, held: Held, items: Items) -> Sightings | None:
    """What fires in one window, and what it sees that is not a hit yet."""
    found = measured(window, items)
    firing = fires(window, items, found) & items.fresh
    positions = np.flatnonzero(firing)
    if not len(positions):
        return None
    following: Positions = np.cumsum(firing) - firing
    exists = following < len(positions)
    fire = positions[np.where(exists, following, 0)]
    hit = exists & (items.starts[fire] <= np.arange(len(items))) & ~held.hit[items.at]
    at, fire = items.at[hit], fire[hit]
    by = held.record[items.at[fire]]
    return Sightings(
        at,
        by,
        held.time[items.at[fire]],
        np.full(len(fire), place, dtype=np.uint8),
        np.where(by == held.record[at], found[fire], np.nan),
    )


def first_sightings(items: Held, several: Sequence[Sightings], alone: bool) -> Sightings:
    """Of each record and group the first record that fired and sees it, group after group, by that
    record and their own. alone: the only window has the groups of the alerts."""
    if alone and not items.base.any():
        return several[0]
    joined = [
        np.concatenate([getattr(one, name) for one in several])
        for name in ("at", "by", "fired", "window", "value")
    ]
    at, by, _, window, _ = joined
    record, alert, base = items.record[at], items.alert[at], items.base[at]
    order = np.lexsort((base, window, by, record, alert))
    record, alert = record[order], alert[order]
    order = order[changes(record) | changes(alert)]
    order = order[np.lexsort((items.record[at[order]], by[order], items.alert[at[order]]))]
    return Sightings(*(column[order] for column in joined))


@dataclass(frozen=True, slots=True)
class Hits:
    """The hits of one rule in one batch. record, base, alert: of their items (`held.Held`). rows:
    of the records before, followed by the counted ones of the batch."""

    rule: Correlated
    record: Positions
    base: Small
    alert: Hashes
    sightings: Sightings
    rows: Positions


def told(hits: Hits, records: pl.DataFrame, rows: Positions) -> pl.DataFrame:
    """Sightings as `engine.Found` has them; rows: of `records`, for each."""
    rule, first = hits.rule, hits.sightings
    return pl.DataFrame(
        {
            "group": _groups(rule, records, rows, hits.base, hits.alert),
            "fired": pl.Series(first.fired).cast(UTC),
            "by": first.by,
            "window": first.window,
            "value": pl.Series(first.value).fill_nan(None),
            "counted": _counted(rule, records, rows, hits.base, first.window),
            "order": hits.record,
            "at": rows,
        }
    ).select(pl.lit(rule.key).alias("rule"), pl.all())


def _groups(
    rule: Correlated,
    records: pl.DataFrame,
    rows: Positions,
    bases: Small,
    alert: Hashes,
) -> pl.Series:
    """The group of each hit as JSON text, made once for each group."""
    if not rule.group:
        return pl.repeat("{}", len(rows), eager=True)
    fresh = changes(alert)
    one = records[rows[fresh]]
    of = pl.Series(bases[fresh])
    texts = pl.Series([None] * one.height, dtype=pl.String)
    for base, columns in enumerate(rule.group_by):
        fields = [pl.col(c).alias(name) for c, name in zip(columns, rule.group, strict=True)]
        made = one.select(fields).select(group_key(rule.group)).to_series()
        texts = texts.zip_with(of != base, made)
    return texts[np.cumsum(fresh) - 1]


def _counted(
    rule: Correlated,
    records: pl.DataFrame,
    rows: Positions,
    bases: Small,
    windows: Small,
) -> pl.Series:
    """The values of each hit that its window counts, as text."""
    found = pl.Series([None], dtype=pl.String).new_from_index(0, len(rows))
    for place, window in enumerate(rule.windows):
        if window.measure != "value_count":
            continue
        for base, fields in enumerate(window.fields):
            here = (windows == place) & (bases == base)
            if here.any():
                own = pl.DataFrame([records[name].gather(rows) for name in fields])
                texts = own.select(pl.concat_str(fields, separator=" ")).to_series()
                found = texts if here.all() else found.zip_with(pl.Series(~here), texts)
    return found
