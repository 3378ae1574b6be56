"""What a rule's windows held at every record, whether it fired there or not.

The arithmetic is the engine's, over all records at once: where `trace` says that a record fires,
the engine says so too. What is lacking is a number, so that the nearest record can be found: for
a threshold how far the measure is from it, for a condition on rules how many of them are not there
and should be, or are and should not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from connwatch.schema import UTC

from .engine import Batch, State
from .entity import Entity, stored
from .held import Correlated, Held
from .items import Items
from .measure import fires, measured
from .spec import Flags, Numbers, Presence, Window

if TYPE_CHECKING:
    from ..witnesses.counting import Counting  # it is built of parts of this folder

#: One row per window, group and record that the window counts (several where a record matches
#: several base rules). group: hash of the group's values. record: row of the events. base: position
#: of the base rule. closes: whether this is the record's last row of its group; the other columns
#: are meant to be read there. value: what the window measures. fires: whether the condition holds.
#: lacking: how far it is from holding; below or at zero where it does.
ITEMS: Final[dict[str, pl.DataType]] = {
    "window": pl.UInt8(),
    "group": pl.UInt64(),
    "record": pl.Int64(),
    "base": pl.UInt8(),
    "connwatch.log_time": UTC,
    "closes": pl.Boolean(),
    "value": pl.Float64(),
    "fires": pl.Boolean(),
    "lacking": pl.Float64(),
}


@dataclass(frozen=True, slots=True)
class Taken:
    """The records of one base rule that concern the entity, as one window takes them.

    records: how many. left_out: how many of them have no value in a field of the group or in one
    that is counted, and missing: how many have none in each of these.
    """

    window: int
    base: int
    records: int
    left_out: int
    missing: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Trace:
    """items: `ITEMS`, of the groups that concern the entity, by window, group and record. since:
    log time from which on records are told of; earlier ones only stand in windows."""

    items: pl.DataFrame
    taken: tuple[Taken, ...]
    since: datetime | None = None

    def records(self, place: int) -> pl.DataFrame:
        """One row per group and record of one window."""
        found = self.items.filter(pl.col("window") == place, "closes")
        return found.filter(_from(self.since))


@dataclass(frozen=True, slots=True)
class Near:
    """How close one group came. group: its values by field. key: of the group in `ITEMS`. record,
    time: where it came closest (where it went furthest, if it fired), first where several did;
    value and lacking there. records: of the group. fired: in how many of them the condition held,
    since: log time of the first of these."""

    window: int
    key: int
    group: Mapping[str, Any]
    record: int
    time: datetime
    value: float
    lacking: float
    records: int
    fired: int
    since: datetime | None


def trace(
    rules: Sequence[Correlated],
    key: str,
    events: pl.DataFrame,
    matches: pl.DataFrame,
    entity: Entity | None = None,
    *,
    since: datetime | None = None,
    counting: Counting | None = None,
) -> Trace:
    """What the windows of the rule `key` held at every record.

    rules: as for `correlate`; those before the rule are run for what it counts of them. events:
    the stored columns that these read, in log-time order. matches: `MATCH_SCHEMA`. entity: None
    for all groups. since: as in `Trace`. counting: as for `correlate`.
    """
    place = next(place for place, rule in enumerate(rules) if rule.key == key)
    target = rules[place]
    asked = entity or Entity()
    keep = {
        name
        for window in range(len(target.windows))
        for base in range(len(target.bases))
        for name in asked.columns(target, window, base)
    }
    batch = Batch(rules[: place + 1], events, matches, State(), sorted(keep), counting)
    for rule in rules[:place]:
        batch.step(rule, None)
    items = batch.items(target)
    parts = [pl.DataFrame(schema=ITEMS)]
    for number in range(len(target.windows)):
        found = _traced(target, number, batch, items)
        if found.height:
            parts.append(_concerning(asked, target, number, found, batch.counted))
    told = events.select(_from(since).alias("told")).with_row_index("record")
    rows = told.filter("told")["record"].cast(pl.Int64)
    return Trace(pl.concat(parts), tuple(_taken(asked, target, batch, rows)), since)


def _from(since: datetime | None) -> pl.Expr:
    time = pl.col("connwatch.log_time")
    return time.is_not_null() if since is None else time >= pl.lit(since)


def _traced(rule: Correlated, place: int, batch: Batch, items: Held) -> pl.DataFrame:
    """The items of one window with what it measures at each."""
    at = np.flatnonzero(items.part[place])
    if not len(at):
        return pl.DataFrame(schema=ITEMS)
    window = rule.windows[place]
    arranged = batch.arranged(place, window, items, at)
    found = measured(window, arranged)
    firing = fires(window, arranged, found)
    return pl.DataFrame(
        {
            "window": np.full(len(arranged), place, dtype=np.uint8),
            "group": arranged.group,
            "record": arranged.record,
            "base": arranged.base,
            "connwatch.log_time": pl.Series(arranged.time).cast(UTC),
            "closes": arranged.closes,
            "value": found,
            "fires": firing,
            "lacking": _lacking(window, arranged, found, firing),
        },
        schema=ITEMS,
    )


def _lacking(window: Window, items: Items, found: Numbers, firing: Flags) -> Numbers:
    """How far each item is from firing."""
    condition = window.condition
    if isinstance(condition, Presence):
        there = [_there(window, base, items) for base in range(len(window.group_by))]
        # Where all are there and it still does not hold, they came in another order.
        away = np.maximum(_away(condition, there), 0.5)
        return np.where(firing, 0.0, away)
    away = found - condition.number
    if condition.operator in ("gte", "gt"):
        return -away
    if condition.operator in ("lte", "lt"):
        return away
    return np.abs(away) if condition.operator == "eq" else (away == 0).astype(np.float64)


def _there(window: Window, base: int, items: Items) -> Flags:
    """Whether the window of each item has records of a base rule."""
    alone = replace(window, measure="temporal", condition=Presence("rule", base=base))
    found: Flags = measured(alone, items) > 0
    return found


def _away(condition: Presence, there: Sequence[Flags], wanted: bool = True) -> Numbers:
    """How many rules would have to come or to go for a condition to hold (or not to, if it is not
    wanted)."""
    if condition.kind == "rule":
        missing: Flags = there[condition.base] != wanted
        return missing.astype(np.float64)
    if condition.kind == "not":
        return _away(condition.parts[0], there, not wanted)
    parts = [_away(part, there, wanted) for part in condition.parts]
    every = (condition.kind == "and") is wanted
    found: Numbers = np.add.reduce(parts) if every else np.minimum.reduce(parts)
    return found


def _concerning(
    entity: Entity, rule: Correlated, place: int, found: pl.DataFrame, records: pl.DataFrame
) -> pl.DataFrame:
    """The items of the groups that concern the entity."""
    own = pl.any_horizontal(
        (pl.col("base") == base) & entity.concerned(rule, place, base)
        for base in range(len(rule.bases))
    )
    whole = found.join(records, on="record", how="left", maintain_order="left")
    return whole.filter(own.any().over("group")).select(list(ITEMS))


def _taken(entity: Entity, rule: Correlated, batch: Batch, told: pl.Series) -> list[Taken]:
    """What each window takes of each base rule, and leaves out; of the records told of."""
    found = []
    records = batch.counted.filter(pl.col("record").is_in(told.implode()))
    for base, key in enumerate(rule.bases):
        rows = pl.Series(batch.rows.get(key, ()), dtype=pl.Int64)
        mine = records.filter(pl.col("record").is_in(rows.implode()))
        for place, window in enumerate(rule.windows):
            here = mine.filter(entity.concerned(rule, place, base))
            needed = list(dict.fromkeys((*window.group_by[base], *window.fields[base])))
            absent = {name: here[name].null_count() for name in needed}
            missing = {name: number for name, number in absent.items() if number}
            without = here.filter(pl.any_horizontal(pl.col(needed).is_null())) if needed else None
            left_out = 0 if without is None else without.height
            found.append(Taken(place, base, here.height, left_out, missing))
    return found


def nearest(
    rule: Correlated, traced: Trace, events: pl.DataFrame, place: int, limit: int = 5
) -> list[Near]:
    """The groups of one window that came closest, the closest first (ties: the earliest).

    events: those that were traced.
    """
    groups = (
        traced.records(place)
        .sort("lacking", "record")
        .group_by("group", maintain_order=True)
        .agg(
            pl.col("record", "base", "connwatch.log_time", "value", "lacking").first(),
            records=pl.len(),
            fired=pl.col("fires").sum(),
            since=pl.col("connwatch.log_time").filter("fires").min(),
        )
        .head(limit)
    )
    return [
        Near(
            place,
            row["group"],
            group_values(rule, place, row["base"], events[row["record"]]),
            row["record"],
            row["connwatch.log_time"],
            row["value"],
            row["lacking"],
            row["records"],
            row["fired"],
            row["since"],
        )
        for row in groups.iter_rows(named=True)
    ]


def group_values(rule: Correlated, place: int, base: int, event: pl.DataFrame) -> dict[str, Any]:
    """The group that an event belongs to in one window, by the names that the rule has for it."""
    columns = rule.windows[place].group_by[base]
    names = rule.group if columns == rule.group_by[base] else columns
    row = event.select(stored(column).alias(str(n)) for n, column in enumerate(columns))
    return dict(zip(names, row.row(0), strict=True)) if columns else {}


def inside(rule: Correlated, traced: Trace, near: Near) -> pl.DataFrame:
    """The items (`ITEMS`) of the window that ends at a group's nearest record."""
    timespan = rule.windows[near.window].timespan
    time = pl.col("connwatch.log_time")
    return traced.items.filter(
        pl.col("window") == near.window,
        pl.col("group") == near.key,
        pl.col("record") <= near.record,
        time > pl.lit(near.time) - pl.duration(microseconds=timespan),
    )
