"""Rules at work on batches of events: match, count and fold, with what they carry along.

Replay and live operation use this one; what comes out depends on the records and their order
alone, not on where batches end.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import polars as pl

from connwatch.alert import Written
from connwatch.contracts import MATCH_SCHEMA
from connwatch.detectors import fold
from connwatch.detectors.alerts import written
from connwatch.detectors.indicators import Lists, allowed
from connwatch.detectors.listed import unread
from connwatch.detectors.ruleset import RuleSet, match
from connwatch.detectors.windows.engine import State, correlate
from connwatch.detectors.witnesses.counting import Counting
from connwatch.detectors.witnesses.flows import Flows
from connwatch.detectors.witnesses.united import Uniting


@dataclass(frozen=True, slots=True)
class Detected:
    """What one batch came to. allowed: records that no rule was asked of. early: alerts closed
    because too many were open. before, touched, after: rows of `fold.ALERT_SCHEMA`, of the alerts
    open before, of those touched, and of those open now."""

    hits: pl.DataFrame
    shown: pl.DataFrame
    allowed: int
    early: int
    before: pl.DataFrame
    touched: pl.DataFrame
    after: pl.DataFrame

    @property
    def closed(self) -> pl.DataFrame:
        """Rows of `fold.ALERT_SCHEMA` to which nothing can be added any more."""
        both = pl.concat([self.before, self.touched])
        closed = both.join(self.after, on="alert", how="anti")
        return newest(closed)

    @property
    def spans(self) -> pl.DataFrame:
        """`SPAN_SCHEMA` of the alerts touched."""
        return newest(self.touched).select(
            *("alert", "rule", "group"),
            *(pl.col("first").alias("start"), pl.col("last").alias("end")),
            (pl.col("shown").list.len().fill_null(0) > 0).alias("lists"),
        )


def newest(alerts: pl.DataFrame) -> pl.DataFrame:
    """Of each alert the last row."""
    return alerts.unique("alert", keep="last", maintain_order=True)


class Detection:
    """Rules, and what they know of the records before. allow: what no rule matches. items: how
    many records or values the windows of one rule may hold (None: `engine.CAP`). most: how many
    alerts may be open; of more, those with the oldest hits are closed early, and what comes of
    their groups later is another alert (None: any number). one_witness: one log alone tells of
    connections, as far as its beginning shows; until that turns out wrong, nothing is remembered to
    find which records tell of the same one."""

    def __init__(
        self,
        rules: RuleSet,
        allow: Lists | None = None,
        *,
        items: int | None = None,
        most: int | None = None,
        one_witness: bool = False,
    ) -> None:
        self.rules = rules
        self._items, self._most = items, most
        self.open = fold.begin()
        self.windows = State()
        self.flows = Flows()
        self._one_witness = one_witness
        #: dataset of all records, while one log alone tells of connections
        self.only: str | None = None
        self._allow = allow
        self._by_key = rules.by_key
        self._foldings = rules.foldings
        self._correlated = rules.correlated

    @cached_property
    def _uniting(self) -> Uniting:
        """Of many rules it takes a while to make, and only records of several logs want it."""
        return Uniting(self.rules)

    def notes(self) -> list[str]:
        """What is to be said of the rules and lists before they run."""
        return [*self.rules.notes, *(unread(self._allow) if self._allow is not None else ())]

    def step(self, events: pl.DataFrame, *, late: bool = False) -> Detected:
        """Ask every rule of a batch: stored columns, in log-time order and not before the batch
        before. late: records that came too late for windows; only rules about one record see
        them."""
        matches, passed = self._matches(events)
        counting = self._counting(events)
        found = None
        if not late:
            found = correlate(
                self._correlated,
                events,
                matches,
                self.windows,
                fold.EVIDENCE,
                cap=self._items,
                counting=counting,
            )
            self.windows = found.state
        if counting is not None:
            if self._uniting:
                matches = self._uniting.matches(events, matches, counting, passed)
            matches = counting.once(matches, frozenset(self._foldings))
            self.flows = counting.after()
        folded = fold.fold(events, matches, self._foldings, self.open, found)
        still = folded.state if self._most is None else fold.latest(folded.state, self._most)
        before, self.open = self.open, still
        return Detected(
            folded.hits,
            folded.shown,
            0 if passed is None else int(passed.sum()),
            folded.state.height - still.height,
            before,
            folded.alerts,
            still,
        )

    def written(self, alerts: pl.DataFrame) -> list[Written]:
        """Documents of rows of `fold.ALERT_SCHEMA`."""
        return written(alerts, self._by_key)

    def forgotten(self) -> dict[str, int]:
        """By title, how many records a rule let go of though it still counted them."""
        titles = {rule.key: rule.title for rule in self.rules.every}
        return {titles[key]: lost for key, lost in self.windows.forgotten.items()}

    def forgotten_notes(self) -> list[str]:
        """The same as it is to be said, and how many flows were forgotten."""
        notes = [forgotten_note(*one) for one in self.forgotten().items()]
        lost = self.flows.forgotten
        return [*notes, forgotten_flows_note(lost)] if lost else notes

    def _counting(self, events: pl.DataFrame) -> Counting | None:
        """What of a batch counts; None: all."""
        if events.is_empty():
            return None
        if self._one_witness:
            dataset = events["event.dataset"]
            self.only = self.only or dataset[0]
            self._one_witness = bool((dataset == self.only).all())
        if self._one_witness:
            return None
        self.only = None
        return Counting(events, self.flows)

    def link_on(self, flows: Flows, only: str | None) -> None:
        """Take up what was remembered of flows, and the dataset of all records before, if there was
        one alone."""
        self.flows, self.only = flows, only
        self._one_witness = self._one_witness and (only is not None or not len(flows))

    def _matches(self, events: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series | None]:
        """The matches of records that have nothing on the allow-list, and which have (None: none
        does)."""
        if events.is_empty():
            return _NO_MATCHES, None
        matches = match(self.rules, events)
        if self._allow is None:
            return matches, None
        passed = allowed(events, self._allow.indicators)
        rows = passed.arg_true()
        return matches.filter(~pl.col("row").is_in(rows.implode())), passed


def forgotten_note(title: str, lost: int) -> str:
    """What is to be said of such a rule."""
    return f"the rule {title!r} counts more than it may hold: {lost} records left it early"


def forgotten_flows_note(lost: int) -> str:
    """What is to be said of flows that were forgotten."""
    return (
        f"there are more connections than may be remembered: of {lost} another log counts again"
        " what it tells"
    )


_NO_MATCHES: Final = pl.DataFrame(schema=MATCH_SCHEMA)
