"""Rules over many records, batch by batch: the records that windows still see, and what fires.

`correlate` is a pure function of a batch, of what single rules matched in it, and of the state
before. A record for which the condition of a window holds *fires*; it and all records of its window
are hits. A record is a hit once: for the first record that fires and sees it. So hits, and the
alerts that they are folded into, do not depend on where a batch ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl
import polars_hash as plh

from connwatch.contracts import group_key
from connwatch.schema import DERIVED, UTC

from .measure import Items, fires, measured
from .spec import METRICS, Window

#: items that the windows of one rule may hold; the oldest of more are forgotten, and counted
CAP: Final = 1_000_000

_ITEM: Final[dict[str, pl.DataType]] = {
    "record": pl.Int64(),
    "time": pl.Int64(),
    "base": pl.UInt8(),
    "hit": pl.Boolean(),
}


@dataclass(frozen=True, slots=True)
class Correlated:
    """What the engine needs of a rule over many records.

    key: of the rule. bases: keys of the rules that feed it, in its order. windows: any of them
    fires. group: names of the fields of its alerts' group; group_by: their columns, by base.
    alerts: whether it has alerts of its own, or only feeds other rules. names: what the rule calls
    its bases. actor: the side that is to blame, source or destination (None: that is not said).
    """

    key: str
    bases: tuple[str, ...]
    windows: tuple[Window, ...]
    group: tuple[str, ...]
    group_by: tuple[tuple[str, ...], ...]
    alerts: bool = True
    names: tuple[str, ...] = ()
    actor: str | None = None

    @property
    def timespan(self) -> int:
        """Of its longest window, µs."""
        return max(window.timespan for window in self.windows)

    @property
    def columns(self) -> frozenset[str]:
        """Every column that it reads."""
        read = {name for window in self.windows for name in window.columns}
        return frozenset(read | {name for per in self.group_by for name in per})


@dataclass(frozen=True, slots=True)
class State:
    """What the next batch must know of those before it.

    items: by rule key, what its windows still see, in the order of the records. records: those
    records, each once, with its number as `record`. next: number of the next record. forgotten:
    items that the cap took away, by rule key.
    """

    items: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    records: pl.DataFrame | None = None
    next: int = 0
    forgotten: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """hits: one row per rule and record, with the columns kept of it, its rule, group (JSON text),
    fired and by (log time and number of the record that it is a hit for), window (position of the
    window that fired there), value (what that window measured, at the record that fired; else
    null), counted (the record's own counted values, null where none are), order (number of the
    record)."""

    hits: pl.DataFrame
    state: State


def correlate(
    rules: Sequence[Correlated],
    events: pl.DataFrame,
    matches: pl.DataFrame,
    state: State,
    keep: Sequence[str],
) -> Found:
    """Carry all rules on over one batch.

    rules: those that others count before these others. events: stored columns, in log-time order.
    matches: `MATCH_SCHEMA`. keep: stored columns that hits shall have.
    """
    if not rules or events.is_empty():
        return Found(_NO_HITS, state)
    batch = _Batch(rules, events, matches, state, keep)
    items, forgotten, hits = {}, dict(state.forgotten), []
    for rule in rules:
        found, left = batch.step(rule, state.items.get(rule.key))
        if left.height > CAP:
            forgotten[rule.key] = forgotten.get(rule.key, 0) + left.height - CAP
            left = left.tail(CAP)
        items[rule.key] = left
        if rule.alerts and found.height:
            hits.append(found)
    seen = pl.concat([one.select("record") for one in items.values()]).unique()
    records = batch.records.join(seen, on="record", how="semi", maintain_order="left")
    following = state.next + events.height
    found_hits = pl.concat(hits, how="diagonal") if hits else _NO_HITS
    return Found(found_hits, State(items, records, following, forgotten))


class _Batch:
    """One batch on its way through the rules."""

    def __init__(
        self,
        rules: Sequence[Correlated],
        events: pl.DataFrame,
        matches: pl.DataFrame,
        state: State,
        keep: Sequence[str],
    ) -> None:
        self._first = state.next
        self._times = events["connwatch.log_time"].dt.epoch("us")
        self._rows = {
            str(rule): part["row"]
            for (rule,), part in matches.partition_by("rule", as_dict=True).items()
        }
        self._keep = keep
        columns = sorted({name for rule in rules for name in rule.columns}.union(keep))
        fed = {base for rule in rules for base in rule.bases}
        rows = matches.filter(pl.col("rule").is_in(fed))["row"].unique().sort()
        new = events[rows].select(
            *(DERIVED.get(name, pl.col(name)).alias(name) for name in columns),
            record=pl.Series(rows.cast(pl.Int64) + self._first),
        )
        self._new = new
        self.records = new if state.records is None else pl.concat([state.records, new])

    def step(
        self, rule: Correlated, held: pl.DataFrame | None
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The hits of one rule, and the items that its windows still see."""
        new = self._items(rule)
        items = new if held is None else pl.concat([held, new])
        if new.is_empty():
            return _NO_HITS, self._left(rule, items)
        sightings, fired = [], []
        for place, window in enumerate(rule.windows):
            seen = self._window(place, window, items)
            if seen is not None:
                sightings.append(seen)
                fired.append(seen.filter(pl.col("record") == pl.col("by"))["record"])
        if not sightings:
            return _NO_HITS, self._left(rule, items)
        self._rows[rule.key] = (pl.concat(fired).unique().sort() - self._first).cast(pl.UInt32)
        first = (
            pl.concat(sightings)
            .sort("record", "by", "window", "base")
            .unique(["record", "alert"], keep="first", maintain_order=True)
        )
        marks = first.select("record", "alert", mark=pl.lit(value=True))
        items = items.join(marks, on=["record", "alert"], how="left", maintain_order="left")
        items = items.with_columns(hit=pl.col("hit") | pl.col("mark").is_not_null()).drop("mark")
        return self._hits(rule, first), self._left(rule, items)

    def _items(self, rule: Correlated) -> pl.DataFrame:
        """The batch's items of a rule, in the order of the records."""
        parts = []
        for base, key in enumerate(rule.bases):
            rows = self._rows.get(key)
            if rows is not None and len(rows):
                wanted = pl.DataFrame({"record": rows.cast(pl.Int64) + self._first})
                taken = self._new.join(wanted, on="record", how="semi", maintain_order="left")
                parts.append(_ready(rule, base, taken, self._times[taken["record"] - self._first]))
        if not parts:
            return pl.DataFrame(schema=_schema(rule))
        return parts[0] if len(parts) == 1 else pl.concat(parts).sort("record", "base")

    def _left(self, rule: Correlated, items: pl.DataFrame) -> pl.DataFrame:
        """What a later record can still see."""
        return items.filter(pl.col("time") > self._times[-1] - rule.timespan)

    def _window(self, place: int, window: Window, items: pl.DataFrame) -> pl.DataFrame | None:
        """The items that a record of this batch sees as it fires, each with the first that does."""
        taken = taking_part(items, place, self._first)
        if taken.is_empty():
            return None
        arranged = arrange(taken, place)
        found = measured(window, arranged)
        firing = fires(window, arranged, found) & (arranged.record >= self._first)
        positions = np.flatnonzero(firing)
        if not len(positions):
            return None
        following = np.searchsorted(positions, np.arange(len(arranged)))
        exists = following < len(positions)
        fire = positions[np.where(exists, following, 0)]
        hit = exists & (fire < arranged.ends(window.timespan))
        own = arranged.record[fire] == arranged.record
        return (
            taken.sort(f"group{place}", maintain_order=True)
            .select("record", "base", "hit", "alert")
            .with_columns(
                by=pl.Series(arranged.record[fire]),
                fired=pl.Series(arranged.time[fire]),
                window=pl.lit(place, pl.UInt8),
                value=pl.Series(np.where(own, found[fire], np.nan)).fill_nan(None),
                sees=pl.Series(hit),
            )
            .filter(pl.col("sees") & ~pl.col("hit"))
            .drop("sees", "hit")
        )

    def _hits(self, rule: Correlated, first: pl.DataFrame) -> pl.DataFrame:
        """Sightings with what is kept of their records."""
        whole = first.join(self.records, on="record", how="left", maintain_order="left")
        parts = []
        for (base, window), part in whole.partition_by("base", "window", as_dict=True).items():
            columns = rule.group_by[int(base)]
            group = [pl.col(c).alias(name) for c, name in zip(columns, rule.group, strict=True)]
            counted = rule.windows[int(window)].fields[int(base)]
            measure = rule.windows[int(window)].measure
            parts.append(
                part.select(
                    *self._keep,
                    pl.lit(rule.key).alias("rule"),
                    part.select(group).select(group_key(rule.group)).to_series().alias("group")
                    if group
                    else pl.lit("{}").alias("group"),
                    pl.col("fired").cast(UTC),
                    "by",
                    "window",
                    "value",
                    pl.concat_str(counted, separator=" ").alias("counted")
                    if measure == "value_count"
                    else pl.lit(None, pl.String).alias("counted"),
                    pl.col("record").alias("order"),
                )
            )
        return pl.concat(parts).sort("order")


def taking_part(items: pl.DataFrame, place: int, first: int) -> pl.DataFrame:
    """The items that one of a rule's windows is about, of groups with a record from `first` on."""
    mine = items.filter(pl.col(f"group{place}").is_not_null())
    fresh = mine.filter(pl.col("record") >= first).select(f"group{place}").unique()
    if fresh.height == 0:
        return mine.clear()
    return mine.join(fresh, on=f"group{place}", how="semi", maintain_order="left")


def arrange(taken: pl.DataFrame, place: int) -> Items:
    """Items as the arithmetic of one window wants them, group after group."""
    group, value = f"group{place}", f"value{place}"
    ordered = taken.select(group, "time", "record", "base", value).sort(group, maintain_order=True)
    return Items(*(column.to_numpy() for column in ordered.iter_columns()))


def _ready(rule: Correlated, base: int, taken: pl.DataFrame, times: pl.Series) -> pl.DataFrame:
    """Items of one base rule: their group and value in each window; null where a field is."""
    exprs = [_hash(rule.group_by[base]).alias("alert")]
    for place, window in enumerate(rule.windows):
        fields = window.fields[base]
        if window.measure in METRICS:
            value = pl.col(fields[0]).cast(pl.Int64)
        elif window.measure == "value_count":
            value = _hash(fields)
        else:
            value = pl.lit(0, pl.Int64)
        value = value.alias(f"value{place}")
        group = _hash(window.group_by[base])
        exprs += [
            pl.when(value.is_not_null()).then(group).alias(f"group{place}"),
            value,
        ]
    made = taken.select(
        "record",
        times.alias("time"),
        pl.lit(base, pl.UInt8).alias("base"),
        pl.lit(value=False).alias("hit"),
        *exprs,
    )
    groups = [f"group{place}" for place in range(len(rule.windows))]
    return made.filter(pl.any_horizontal(pl.col(groups).is_not_null()))


def _hash(columns: Sequence[str]) -> pl.Expr:
    """64 bits that tell the values of columns from others; null where one of them is."""
    if not columns:
        return pl.lit(0, pl.UInt64)
    texts = [pl.col(name).cast(pl.String) for name in columns]
    return plh.concat_str(*texts, separator="\x00").nchash.xxh3_64()


def _schema(rule: Correlated) -> dict[str, pl.DataType]:
    found = {**_ITEM, "alert": pl.UInt64()}
    for place, window in enumerate(rule.windows):
        found[f"group{place}"] = pl.UInt64()
        found[f"value{place}"] = pl.UInt64() if window.measure == "value_count" else pl.Int64()
    return found


_NO_HITS: Final = pl.DataFrame()
