"""Which flow each record tells of, and which records count.

`Counting` is one batch on its way through the rules.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np
import polars as pl

from ..windows.arrays import Hashes, Positions, stable_order
from ..windows.spec import Flags
from .flows import CAP, HOLD, Flows, kept
from .records import LATE, SLACK, Records

#: µs by which the clocks of two witnesses may differ; as `connwatch.attribution` has it
TOLERANCE: Final = 250_000
#: µs that may lie between two records of one connection
REACH: Final = TOLERANCE + SLACK + LATE
#: latest flows of one Community ID that a record may belong to: more would make hostile logs slow
_CANDIDATES: Final = 32
#: what was counted of a flow: all that there will be, or nothing
_WHOLE: Final = np.iinfo(np.int64).max
_NONE: Final = -1


class Counting:
    """One batch, and what of it counts. It is asked once for each place where something counts."""

    def __init__(self, events: pl.DataFrame, before: Flows, *, cap: int = CAP) -> None:
        """events: stored columns, in log-time order."""
        self._before, self._cap = before, cap
        batch = self._batch = Records(events, before.witnesses)
        self._now = int(batch.time[-1]) if len(batch.time) else None
        self._start = np.concatenate((before.start, batch.start))
        self._end = np.concatenate((before.end, batch.end))
        self._slack = np.concatenate((before.slack, batch.slack))
        self._seen = np.concatenate((before.seen, batch.time))
        bits = np.uint64(1) << batch.witness.astype(np.uint64)
        self._told = np.concatenate((before.told, bits))
        flow, shared = self._linked()
        self._leads = np.flatnonzero(flow == np.arange(len(flow)) + len(before))
        flow = np.where(
            flow < len(before),
            flow,
            len(before) + np.searchsorted(self._leads, flow - len(before)),
        )
        #: by row of the batch: its flow, those before first (-1: it tells of none), whether another
        #: record tells of that too, and whether it tells all
        self._flow = np.full(events.height, _NONE, dtype=np.int64)
        self._flow[batch.rows] = flow
        self._shared = np.zeros(events.height, dtype=np.bool_)
        self._shared[batch.rows] = shared
        self._final = np.ones(events.height, dtype=np.bool_)
        self._final[batch.rows] = batch.final
        self._size = len(before) + len(self._leads)
        self._places = {place: number for number, place in enumerate(before.places)}
        words = before.counted.shape[1]
        self._counted = np.zeros((self._size, words), dtype=np.uint64)
        self._counted[: len(before)] = before.counted
        self._numbers = {
            place: np.concatenate((one, np.full(len(self._leads), _NONE, dtype=np.int64)))
            for place, one in before.numbers.items()
        }

    @property
    def flows(self) -> Positions:
        """Of each row of the batch the number of its flow; -1: it tells of none."""
        return self._flow

    def first(self, place: str, rows: Positions, part: Flags) -> Flags:
        """Which of these rows (ascending) count in a place; part: those that could."""
        if not len(self._batch.rows):
            return part
        word, mask = self._bit(place)
        flow = self._flow[rows]
        mine = part & (flow >= 0)
        at = np.flatnonzero(mine & self._shared[rows])
        found = part
        if len(at):
            found = part.copy()
            found[at] = _firsts(flow[at]) & (self._counted[flow[at], word] & mask == 0)
        own = flow[mine]
        self._counted[own, word] |= mask
        return found

    def growth(
        self, place: str, rows: Positions, values: Positions, part: Flags
    ) -> tuple[Positions, Flags]:
        """What each row adds to a sum, and which of them do: of a flow that was told of before it
        ended, what came since."""
        if not len(self._batch.rows):
            return values, part
        if place not in self._numbers:
            self._numbers[place] = np.full(self._size, _NONE, dtype=np.int64)
        told = self._numbers[place] = self._numbers[place].copy()
        flow = self._flow[rows]
        at = np.flatnonzero(part & (flow >= 0))
        whole = np.where(self._final[rows[at]], _WHOLE, values[at])
        shared = self._shared[rows[at]]
        alone = at[~shared]
        told[flow[alone]] = whole[~shared]
        several, whole = at[shared], whole[shared]
        if not len(several):
            return values, part
        order = stable_order(flow[several].astype(np.uint64))
        several, whole = several[order], whole[order]
        frame = pl.DataFrame({"flow": flow[several], "whole": whole})
        most = frame.select(pl.col("whole").cum_max().shift().over("flow").fill_null(_NONE))
        before = np.maximum(most.to_series().to_numpy(), told[flow[several]])
        np.maximum.at(told, flow[several], whole)
        values, part = values.copy(), part.copy()
        values[several] = np.where(
            before == _NONE, values[several], np.maximum(values[several] - np.maximum(before, 0), 0)
        )
        part[several] = (before == _NONE) | (values[several] > 0)
        return values, part

    def once(self, matches: pl.DataFrame, rules: frozenset[str]) -> pl.DataFrame:
        """`MATCH_SCHEMA`: of these rules about one record, what counts."""
        own = matches.filter(pl.col("rule").is_in(list(rules)))
        if own.is_empty() or not len(self._batch.rows):
            return own
        kept = [
            part.filter(pl.Series(self.first(str(rule), rows, np.ones(len(rows), dtype=np.bool_))))
            for (rule,), part in own.partition_by("rule", as_dict=True, maintain_order=True).items()
            for rows in [part["row"].to_numpy().astype(np.int64)]
        ]
        return pl.concat(kept)

    @cached_property
    def _several(self) -> Positions:
        """The flows of this batch that several records tell of."""
        return np.unique(self._flow[self._shared])

    def noted(self, place: str, rows: Positions) -> Positions:
        """Note that these rows (ascending) say something of their flows. Of each flow of this batch
        that several records tell of: the first row that says so, -1 if one before this batch did,
        the number of rows if none has."""
        said = np.full(len(self._several), len(self._flow), dtype=np.int64)
        if not len(self._batch.rows):
            return said
        word, mask = self._bit(place)
        rows = rows[self._flow[rows] >= 0]
        flow = self._flow[rows]
        shared = self._shared[rows]
        np.minimum.at(said, np.searchsorted(self._several, flow[shared]), rows[shared])
        said[self._counted[self._several, word] & mask != 0] = _NONE
        self._counted[flow, word] |= mask
        return said

    def after(self) -> Flows:
        """What the next batch must know."""
        before, leads = self._before, self._leads
        if self._now is None:
            return before
        old = len(before)
        order = stable_order(self._batch.key[leads])
        at = np.searchsorted(before.key, self._batch.key[leads][order], side="right")
        # The new flows in their places: among all rows of the batch, and among its flows.
        rows = np.insert(np.arange(old), at, old + leads[order])
        flows = np.insert(np.arange(old), at, old + order)
        still, lost = kept(self._seen[rows], self._now, self._cap)
        if still is not None:
            rows, flows = rows[still], flows[still]
        several = len(self._batch.witnesses) > 1
        return Flows(
            np.concatenate((before.key, self._batch.key))[rows],
            self._start[rows],
            self._end[rows],
            self._slack[rows],
            self._seen[rows],
            self._told[rows],
            self._counted[flows],
            {place: one[flows] for place, one in self._numbers.items()},
            tuple(self._places),
            self._batch.witnesses,
            before.forgotten + (lost if several else 0),
        )

    def _bit(self, place: str) -> tuple[int, np.uint64]:
        """Where it is written down whether a flow was counted in a place."""
        number = self._places.setdefault(place, len(self._places))
        word, bit = divmod(number, 64)
        if word >= self._counted.shape[1]:
            more = np.zeros((self._size, word + 1 - self._counted.shape[1]), dtype=np.uint64)
            self._counted = np.concatenate((self._counted, more), axis=1)
        return word, np.uint64(1 << bit)

    def _linked(self) -> tuple[Positions, Flags]:
        """Of each record the flow it belongs to: its place among those before, or behind them the
        place of the record that began it; and whether others tell of it too."""
        batch, before = self._batch, self._before
        rows = len(batch.key)
        flow = np.arange(rows) + len(before)
        shared = np.zeros(rows, dtype=np.bool_)
        order = stable_order(batch.key)
        ascending = batch.key[order]
        again = ascending[1:] == ascending[:-1]
        several = _among(ascending, before.key)
        several[1:] |= again
        several[:-1] |= again
        contended = np.sort(self._joinable(order[several]))
        low = np.searchsorted(before.key, batch.key[contended], side="left").tolist()
        high = np.searchsorted(before.key, batch.key[contended], side="right").tolist()
        known: dict[int, list[int]] = {}
        # Row by row: what a record belongs to depends on what those before it belong to. Only
        # records whose Community ID others have come here, and may tell of the same flow as these.
        for row, first, end in zip(contended.tolist(), low, high, strict=True):
            key = int(batch.key[row])
            candidates = known.get(key)
            if candidates is None:
                candidates = known[key] = list(range(max(first, end - _CANDIDATES), end))
            own = self._nearest(row, candidates)
            if own is None:
                candidates.append(len(before) + row)
                del candidates[:-_CANDIDATES]
                continue
            flow[row] = own
            shared[row] = True
            if own >= len(before):
                shared[own - len(before)] = True
            self._join(row, own)
        return flow, shared

    def _joinable(self, rows: Positions) -> Positions:
        """Of these records, which stand by Community ID, those that may belong to another's flow:
        of a Community ID that one witness alone tells of, each flow once, none does."""
        batch, before = self._batch, self._before
        if not len(rows):
            return rows
        key = batch.key[rows]
        heads = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
        told = np.bitwise_or.reduceat(self._told[len(before) + rows], heads)
        again = np.logical_or.reduceat(batch.again[rows], heads)
        low = np.searchsorted(before.key, key[heads], side="left")
        high = np.searchsorted(before.key, key[heads], side="right")
        known = np.flatnonzero(low < high)
        if len(known):
            # From each first one to behind its last, every other part being what lies between.
            ends = np.column_stack((low[known], high[known])).ravel()
            parts = np.bitwise_or.reduceat(np.append(before.told, np.uint64(0)), ends)
            told[known] |= parts[::2]
        several = (told & (told - np.uint64(1))) != 0
        sizes = np.diff(heads, append=len(rows))
        made: Positions = rows[np.repeat(several | again, sizes)]
        return made

    def _nearest(self, row: int, candidates: list[int]) -> int | None:
        """Of flows the one that a record tells of: the nearest in time, by their beginning where
        several are."""
        batch = self._batch
        start, end, time = int(batch.start[row]), int(batch.end[row]), int(batch.time[row])
        again, bit = bool(batch.again[row]), 1 << int(batch.witness[row])
        slack = int(batch.slack[row])
        best, least = None, (0, 0)
        for one in candidates:
            own = int(self._told[one]) & bit
            if (own and not again) or int(self._seen[one]) + HOLD < time:
                continue
            begun = int(self._start[one])
            apart = max(start - int(self._end[one]), begun - end, 0)
            if apart > (0 if own else TOLERANCE + max(slack, int(self._slack[one]))):
                continue
            away = apart, abs(start - begun)
            if best is None or away < least:
                best, least = one, away
        return best

    def _join(self, row: int, own: int) -> None:
        """Let a flow know of one more record."""
        at = len(self._before) + row
        self._start[own] = min(self._start[own], self._start[at])
        self._end[own] = max(self._end[own], self._end[at])
        self._slack[own] = min(self._slack[own], self._slack[at])
        self._seen[own] = self._seen[at]
        self._told[own] |= self._told[at]


def _among(ascending: Hashes, known: Hashes) -> Flags:
    """Which of these are among others, both in ascending order."""
    at = np.searchsorted(known, ascending)
    found = at < len(known)
    found[found] = known[at[found]] == ascending[found]
    return found


def _firsts(flows: Positions) -> Flags:
    """Whether each is the first of its flow."""
    found = np.zeros(len(flows), dtype=np.bool_)
    found[np.unique(flows, return_index=True)[1]] = True
    return found
