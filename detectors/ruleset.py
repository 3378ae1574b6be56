"""Rules: loaded, checked, and matched against a batch of events all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from connwatch.contracts import MATCH_SCHEMA
from connwatch.errors import ConnwatchError, RuleError

from .fold import Folding
from .indicators import Lists
from .listed import Listed, notes
from .sigma.evaluate import Evaluation, Plan, plan
from .sigma.fields import FieldMap
from .sigma.tree import Node
from .windows.held import Correlated

HOUR = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Described:
    """What every rule says of itself. suppress: µs. group_by: fields of its alerts' group. where:
    file:line. needs: columns that it reads. datasets: what it applies to."""

    key: str
    id: str | None
    title: str
    description: str | None
    level: str
    tags: tuple[str, ...]
    author: str | None
    references: tuple[str, ...]
    falsepositives: tuple[str, ...]
    message: str | None
    suppress: int
    group_by: tuple[str, ...]
    enabled: bool
    where: str
    needs: frozenset[str]
    datasets: frozenset[str]


@dataclass(frozen=True, slots=True)
class Rule(Described):
    """A rule about one record, ready to run. node: its condition. fields: what names it may use.
    listed: lists in which a record for which the condition holds must be found. product: whether
    its log source names one, so that it is about records of that alone."""

    node: Node = field(repr=False)
    fields: FieldMap = field(repr=False)
    listed: Listed | None = field(default=None, repr=False)
    product: bool = False


@dataclass(frozen=True, slots=True)
class Correlation(Described):
    """A rule about many records. windows: what it counts, and of which rules. fields: what names
    rules that count it may use. own: which records it counts, where that is not said by others."""

    windows: Correlated = field(repr=False)
    fields: FieldMap = field(repr=False)
    own: Rule | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Unfed:
    """A rule that is right but cannot run here, and why."""

    title: str
    where: str
    reason: str


@dataclass(frozen=True)
class RuleSet:
    """Rules that can be used, by key, those that others count before these others; and which of
    them alert. errors: files or rules that cannot be used; the rest runs."""

    every: tuple[Rule | Correlation, ...] = ()
    alerting: frozenset[str] = frozenset()
    errors: tuple[RuleError, ...] = ()
    unfed: tuple[Unfed, ...] = ()

    def only(self, *rules: Described) -> RuleSet:
        """The same rules, of which these alert."""
        return replace(self, alerting=frozenset(rule.key for rule in rules))

    def including(self, rule: Rule) -> RuleSet:
        """These rules and one more, which alerts, in the place of one with its key."""
        others = [one for one in self.every if one.key != rule.key]
        singles = [rule, *(one for one in others if isinstance(one, Rule))]
        counting = [one for one in others if isinstance(one, Correlation)]
        every: tuple[Rule | Correlation, ...] = (
            *sorted(singles, key=lambda one: one.key),
            *counting,
        )
        return replace(self, every=every, alerting=self.alerting | {rule.key})

    @cached_property
    def running(self) -> tuple[Rule | Correlation, ...]:
        """All that alert."""
        return tuple(rule for rule in self.every if rule.key in self.alerting)

    @property
    def disabled(self) -> tuple[Rule | Correlation, ...]:
        """Those that are switched off."""
        return tuple(rule for rule in self.every if not rule.enabled)

    @cached_property
    def _needed(self) -> frozenset[str]:
        """The keys of all that alert, and of all that these count."""
        needed = set(self.alerting)
        for rule in reversed(self.every):
            if isinstance(rule, Correlation) and rule.key in needed:
                needed.update(rule.windows.bases)
        return frozenset(needed)

    @cached_property
    def rules(self) -> tuple[Rule, ...]:
        """The rules to ask of every record."""
        needed = (rule for rule in self.every if rule.key in self._needed)
        own = (rule if isinstance(rule, Rule) else rule.own for rule in needed)
        return tuple(rule for rule in own if rule is not None)

    @cached_property
    def correlated(self) -> tuple[Correlated, ...]:
        """What to count, in this order."""
        return tuple(
            replace(rule.windows, alerts=rule.key in self.alerting)
            for rule in self.every
            if isinstance(rule, Correlation) and rule.key in self._needed
        )

    @cached_property
    def plan(self) -> Plan:
        """The conditions of `rules`, in that order."""
        return plan(rule.node for rule in self.rules)

    @property
    def by_key(self) -> dict[str, Rule | Correlation]:
        return {rule.key: rule for rule in self.running}

    @property
    def foldings(self) -> dict[str, Folding]:
        """How each rule's hits are folded into alerts."""
        return {
            rule.key: Folding(
                rule.group_by, rule.suppress, rule.listed if isinstance(rule, Rule) else None
            )
            for rule in self.running
        }

    @property
    def listed(self) -> dict[str, Rule]:
        """Those of the rules to ask that look records up in lists, by key."""
        return {rule.key: rule for rule in self.rules if rule.listed is not None}

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of lists: entries that cannot be used, names that no record has."""
        return tuple(notes({r.title: r.listed for r in self.listed.values() if r.listed}))

    def reload_lists(self) -> bool:
        """Read again the lists that changed on disk; True when any did.

        For a process that runs on, between two batches: what is new holds from the next one. A list
        that cannot be read any more stays as it was, and `list_errors` says why until it can.
        """
        changed = [lists for lists in self._lists if lists.reload_if_changed()]
        return bool(changed)

    @property
    def list_errors(self) -> tuple[ConnwatchError, ...]:
        """Why lists could not be read again."""
        return tuple(error for lists in self._lists for error in lists.errors)

    @property
    def _lists(self) -> tuple[Lists, ...]:
        every = (rule.listed for rule in self.listed.values())
        both = (one for listed in every if listed for one in (listed.lists, listed.allow) if one)
        return tuple({id(one): one for one in both}.values())


def load_rules(paths: Sequence[Path]) -> RuleSet:
    """The rules in these files and folders. RuleError for a path that does not exist."""
    from .sigma.load import load

    return load(paths)


def match(ruleset: RuleSet, events: pl.DataFrame) -> pl.DataFrame:
    """Which rule matches which row (`MATCH_SCHEMA`), by rule and row."""
    rules = ruleset.rules
    if not rules or events.is_empty():
        return pl.DataFrame(schema=MATCH_SCHEMA)
    present = frozenset(events["event.dataset"].unique())
    asked = [place for place, rule in enumerate(rules) if rule.datasets & present]
    evaluation = Evaluation(events, ruleset.plan, asked)
    keys, rows = [], []
    for place in asked:
        rule = rules[place]
        outcome = evaluation.outcome(ruleset.plan.conditions[place])
        if not present <= rule.datasets and outcome is not False:
            fed = events["event.dataset"].is_in(sorted(rule.datasets))
            outcome = fed if outcome is True else outcome & fed
        if outcome is False:
            continue
        hits = _every_row(events) if outcome is True else _rows(outcome)
        if rule.listed is not None and len(hits):
            hits = rule.listed.hits(events, hits)
        if len(hits):
            keys.append(rule.key)
            rows.append(hits)
    if not rows:
        return pl.DataFrame(schema=MATCH_SCHEMA)
    number = np.repeat(np.arange(len(rows)), [len(hits) for hits in rows])
    return pl.DataFrame({"rule": pl.Series(keys, dtype=pl.String)[number], "row": pl.concat(rows)})


def _rows(outcome: pl.Series) -> pl.Series:
    """Where a condition holds. Without nulls NumPy knows it sooner than a query does."""
    if outcome.has_nulls():
        return outcome.arg_true()
    return pl.Series(np.flatnonzero(outcome.to_numpy()).astype(np.uint32))


def _every_row(events: pl.DataFrame) -> pl.Series:
    return pl.int_range(events.height, dtype=pl.UInt32, eager=True)
