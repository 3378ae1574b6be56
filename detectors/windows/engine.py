"""Rules over many records, batch by batch: the records that windows still see, and what fires.

`correlate` is a pure function of a batch, of what single rules matched in it, and of the state
before. A record for which the condition of a window holds *fires*; it and all records of its window
are hits. A record is a hit once: for the first record that fires and sees it. So hits, and the
alerts that they are folded into, do not depend on where a batch ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from connwatch.schema import DERIVED

from .arrays import Hashes, Positions
from .held import Correlated, Held, hashed, joined
from .items import Items
from .prospects import prospects
from .records import Records
from .sightings import Hits, first_sightings, seen, told
from .spec import METRICS, Flags, Window

if TYPE_CHECKING:
    from ..witnesses.counting import Counting  # it is built of parts of this folder

#: items that the windows of one rule may hold; the oldest of more are forgotten, and counted
CAP: Final = 250_000
#: items from which on it is worth while to forget those that change nothing
THINNED: Final = 50_000
#: numbers of records, for each of those that are kept, up to which a flag for each costs less than
#: looking them up
_DENSE: Final = 16

_NONE: Final = pl.DataFrame()
_TIME: Final = "connwatch.log_time"


@dataclass(frozen=True, slots=True)
class State:
    """What the next batch must know of those before it.

    items: by rule key, what its windows still see. records: those records (and some others), each
    once. next: number of the next record. forgotten: items that the cap took away, by rule key.
    """

    items: Mapping[str, Held] = field(default_factory=dict)
    records: Records = field(default_factory=Records)
    next: int = 0
    forgotten: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """sightings: one row per rule and record that is a hit, rule after rule, in each group after
    group, and there in the order of by and order: rule, group (JSON text), fired and by (log time
    and number of the record that it is a hit for), window (position of the window that fired
    there), value (what that window measured, at the record that fired; else null), counted (the
    record's own counted values, null where none are), order (number of the record), at (its row in
    records). records: the columns kept (and others), of the hits (and of others)."""

    sightings: pl.DataFrame
    records: pl.DataFrame
    state: State

    @property
    def hits(self) -> pl.DataFrame:
        """The sightings with the columns kept of their records, by rule in the records' order."""
        if self.sightings.is_empty():
            return self.sightings
        found = self.sightings.sort("rule", "order")
        return pl.concat([self.records[found["at"]], found.drop("at")], how="horizontal")


def correlate(
    rules: Sequence[Correlated],
    events: pl.DataFrame,
    matches: pl.DataFrame,
    state: State,
    keep: Sequence[str],
    *,
    cap: int | None = None,
    counting: Counting | None = None,
) -> Found:
    """Carry all rules on over one batch.

    rules: those that others count before these others. events: stored columns, in log-time order.
    matches: `MATCH_SCHEMA`. keep: stored columns that hits shall have.
    cap: items that the windows of one rule may hold. counting: of records of one flow, which
    count (None: all).
    """
    most = CAP if cap is None else cap
    if not rules or events.is_empty():
        return Found(_NONE, _NONE, state)
    batch = Batch(rules, events, matches, state, keep, counting)
    items, forgotten = {}, dict(state.forgotten)
    hits: list[Hits] = []
    for rule in rules:
        found, left = batch.step(rule, state.items.get(rule.key))
        if len(left) > most:
            forgotten[rule.key] = forgotten.get(rule.key, 0) + len(left) - most
            left = left.take(slice(len(left) - most, None))
        items[rule.key] = left
        if rule.alerts and found is not None:
            hits.append(found)
    records = batch.seen_by(items.values())
    following = state.next + events.height
    after = State(items, records, following, forgotten)
    if not hits:
        return Found(_NONE, _NONE, after)
    return Found(*batch.told(hits), after)


class Batch:
    """One batch on its way through the rules. rows: by rule key, those of the batch that a rule
    matched or that fired for it."""

    def __init__(
        self,
        rules: Sequence[Correlated],
        events: pl.DataFrame,
        matches: pl.DataFrame,
        state: State,
        keep: Sequence[str],
        counting: Counting | None = None,
    ) -> None:
        self._counting = counting
        self._first, self._height = state.next, events.height
        self.rows = {
            str(rule): part["row"].to_numpy().astype(np.int64)
            for (rule,), part in matches.partition_by("rule", as_dict=True).items()
        }
        fed = [base for rule in rules for base in rule.bases if base in self.rows]
        used = np.zeros(events.height, dtype=np.bool_)
        for base in fed:
            used[self.rows[base]] = True
        columns = kept_columns(rules, keep)
        self._columns = [DERIVED.get(name, pl.col(name)).alias(name) for name in columns]
        read = {name for column in self._columns for name in column.meta.root_names()}
        self._events = events.select(sorted(read))
        if not used.all():
            self._events = self._events.filter(pl.Series(used))
        #: of each row of the batch, its place among those that rules count
        self._place = np.cumsum(used) - 1
        self._numbers = np.flatnonzero(used) + state.next
        times = events[_TIME].to_physical().to_numpy()
        self._times, self._now = times[used], int(times[-1]) if len(times) else 0
        rows = len(self._times)
        nothing = np.zeros(rows, dtype=np.uint64), np.ones(rows, dtype=np.bool_)
        self._hashes: dict[tuple[str, ...], tuple[Hashes, Flags]] = {(): nothing}
        self._records = state.records
        self._known, self._known_times = state.records.numbers, state.records.times
        self._sinces: dict[int, Positions] = {}

    def step(self, rule: Correlated, held: Held | None) -> tuple[Hits | None, Held]:
        """The hits of one rule, and the items that its windows still see."""
        new = self.items(rule)
        if not len(new):
            return None, self._left(rule, held or new)
        items = new if held is None else held.followed_by(new)
        sightings = []
        for place, window in enumerate(rule.windows):
            at = prospects(window, items, place, len(items) - len(new))
            if len(at):
                found = seen(place, window, items, self.arranged(place, window, items, at))
                sightings += [] if found is None else [found]
        if not sightings:
            return None, self._left(rule, items)
        fired = np.zeros(self._height, dtype=np.bool_)
        for one in sightings:
            fired[one.by - self._first] = True
        self.rows[rule.key] = np.flatnonzero(fired)
        alone = len(rule.windows) == 1 and rule.windows[0].group_by == rule.group_by
        first = first_sightings(items, sightings, alone)
        items.mark(first.at)
        if not rule.alerts:
            return None, self._left(rule, items)
        record = items.record[first.at]
        told_of = Hits(
            rule, record, items.base[first.at], items.alert[first.at], first, self._rows(record)
        )
        return told_of, self._left(rule, items)

    def told(self, several: Sequence[Hits]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Sightings and records as `Found` has them; of the records before, only hits."""
        before = len(self._known)
        wanted = np.zeros(before + len(self._numbers), dtype=np.bool_)
        for one in several:
            wanted[one.rows] = True
        wanted[before:] = True
        place = np.cumsum(wanted) - 1
        records = pl.concat([*self._records.taken(wanted[:before]), self.counted])
        found = [told(one, records, place[one.rows]) for one in several]
        return pl.concat(found), records

    def seen_by(self, items: Iterable[Held]) -> Records:
        """The records that windows still see, and some others."""
        before = len(self._known)
        first = int(self._known[0]) if before else self._first
        if self._first - first <= _DENSE * before:
            numbered = np.zeros(self._first - first + self._height, dtype=np.bool_)
            for one in items:
                numbered[one.record - first] = True
            old, fresh = numbered[self._known - first], numbered[self._numbers - first]
        else:
            rows = np.zeros(before + len(self._numbers), dtype=np.bool_)
            for one in items:
                rows[self._rows(one.record)] = True
            old, fresh = rows[:before], rows[before:]
        new = self._kept_of_batch(fresh)
        return self._records.without(old).followed_by(new, self._height)

    @cached_property
    def counted(self) -> pl.DataFrame:
        """What is kept of the counted records of the batch."""
        return self._kept_of_batch(np.ones(len(self._numbers), dtype=np.bool_))

    def _kept_of_batch(self, wanted: Flags) -> pl.DataFrame:
        events = self._events if wanted.all() else self._events.filter(pl.Series(wanted))
        return events.select(*self._columns, pl.Series("record", self._numbers[wanted]))

    def items(self, rule: Correlated) -> Held:
        """The batch's items of a rule, in the order of the records."""
        parts = [
            self._ready(rule, base, self.rows[key])
            for base, key in enumerate(rule.bases)
            if key in self.rows
        ]
        if not parts:
            return Held.none(rule)
        if len(parts) == 1:
            return parts[0]
        both = reduce(Held.followed_by, parts)
        return both.take(np.lexsort((both.base, both.record)))

    def _ready(self, rule: Correlated, base: int, rows: Positions) -> Held:
        """Items of one base rule, which matched these rows."""
        at = self._place[rows]
        alert, _ = self._hash(rule.group_by[base])
        own = alert[at]
        groups, values, parts = [], [], []
        for place, window in enumerate(rule.windows):
            fields = window.fields[base]
            group, part = self._hash(window.group_by[base])
            if window.measure in METRICS:
                numbers = self._column(fields[0])
                value = numbers.fill_null(0).cast(pl.Int64).to_numpy()
                part = part & numbers.is_not_null().to_numpy()
            elif window.measure == "value_count":
                value, part = self._hash((*window.group_by[base], *fields))
            else:
                value = np.zeros(len(group), dtype=np.int64)
            value, part = value[at], part[at]
            if self._counting is not None:
                name = f"{rule.key}\x00{place}\x00{base}"
                if window.measure == "value_sum":
                    value, part = self._counting.growth(name, rows, value, part)
                else:
                    part = self._counting.first(name, rows, part)
            groups.append(own if group is alert else group[at])
            values.append(value)
            parts.append(part)
        found = Held(
            self._numbers[at],
            self._times[at],
            np.full(len(at), base, dtype=np.uint8),
            np.zeros(len(at), dtype=np.bool_),
            own,
            tuple(groups),
            tuple(values),
            tuple(parts),
        )
        takes_part = np.logical_or.reduce(parts)
        return found if takes_part.all() else found.take(np.flatnonzero(takes_part))

    def _hash(self, columns: tuple[str, ...]) -> tuple[Hashes, Flags]:
        """64 bits that tell the values of columns from others, and whether there are values."""
        names = tuple(dict.fromkeys(columns))
        if names not in self._hashes:
            if len(names) == 1:
                self._hashes[names] = hashed(self._column(names[0]))
            else:
                self._hashes[names] = joined([self._hash((name,)) for name in names])
        return self._hashes[names]

    def _column(self, name: str) -> pl.Series:
        return self._events.select(DERIVED.get(name, pl.col(name))).to_series()

    def _left(self, rule: Correlated, items: Held) -> Held:
        """What a later record can still see."""
        first = int(np.searchsorted(items.time, self._now - rule.timespan, side="right"))
        left = items.take(slice(first, None)) if first else items
        if len(left) < THINNED:
            return left
        needed = [left.latest(place, window) for place, window in enumerate(rule.windows)]
        wanted = np.logical_or.reduce(needed)
        return left if wanted.all() else left.take(np.flatnonzero(wanted))

    def arranged(self, place: int, window: Window, held: Held, at: Positions) -> Items:
        """Items at positions in `held`, as the arithmetic of one window wants them."""
        old = int(np.searchsorted(held.record, self._first))
        since = self._since(window.timespan)
        rows = self._place[held.record[old:] - self._first]
        return Items(held, place, at, since[rows])

    def _since(self, timespan: int) -> Positions:
        """Of each counted record of the batch the number of the first record that a window sees
        there."""
        if timespan not in self._sinces:
            times = np.concatenate((self._known_times, self._times))
            numbers = np.concatenate((self._known, self._numbers))
            first = np.searchsorted(times, self._times - timespan, side="right")
            self._sinces[timespan] = numbers[first]
        return self._sinces[timespan]

    def _rows(self, numbers: Positions) -> Positions:
        """Where records with these numbers stand: those of batches before, then the counted ones
        of this one."""
        rows: Positions = self._place[np.maximum(numbers - self._first, 0)] + len(self._known)
        old = np.flatnonzero(numbers < self._first)
        rows[old] = np.searchsorted(self._known, numbers[old])
        return rows


def kept_columns(rules: Sequence[Correlated], keep: Sequence[str]) -> list[str]:
    """The columns that are kept of records which windows see."""
    return sorted({name for rule in rules for name in rule.columns}.union(keep, {_TIME}))
