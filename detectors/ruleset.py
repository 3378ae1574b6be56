"""Rules: loaded, checked, and matched against a batch of events all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import polars as pl

from connwatch.contracts import MATCH_SCHEMA
from connwatch.errors import RuleError

from .fold import Folding
from .sigma.evaluate import Evaluation, Plan, plan
from .sigma.tree import Node

HOUR = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, ready to run. suppress: µs. where: file:line. node: its condition."""

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
    node: Node = field(repr=False)


@dataclass(frozen=True, slots=True)
class Unfed:
    """A rule that is right but cannot run here, and why."""

    title: str
    where: str
    reason: str


@dataclass(frozen=True)
class RuleSet:
    """rules: those that run, by key. errors: files or rules that cannot be used; the rest runs."""

    rules: tuple[Rule, ...] = ()
    disabled: tuple[Rule, ...] = ()
    errors: tuple[RuleError, ...] = ()
    unfed: tuple[Unfed, ...] = ()

    @property
    def by_key(self) -> dict[str, Rule]:
        return {rule.key: rule for rule in self.rules}

    @cached_property
    def plan(self) -> Plan:
        """The conditions of `rules`, in their order."""
        return plan(rule.node for rule in self.rules)

    @property
    def foldings(self) -> dict[str, Folding]:
        """How each rule's hits are folded into alerts."""
        return {rule.key: Folding(rule.group_by, rule.suppress) for rule in self.rules}


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
    evaluation = Evaluation(events, ruleset.plan)
    rows: list[pl.DataFrame] = []
    for rule, condition in zip(rules, ruleset.plan.conditions, strict=True):
        if not rule.datasets & present:
            continue
        outcome = evaluation.outcome(condition)
        if not present <= rule.datasets and outcome is not False:
            fed = events["event.dataset"].is_in(sorted(rule.datasets))
            outcome = fed if outcome is True else outcome & fed
        if outcome is False:
            continue
        hits = _every_row(events) if outcome is True else outcome.arg_true()
        if len(hits):
            named = pl.Series("rule", [rule.key]).new_from_index(0, len(hits))
            rows.append(pl.DataFrame({"rule": named, "row": hits}))
    return pl.concat(rows) if rows else pl.DataFrame(schema=MATCH_SCHEMA)


def _every_row(events: pl.DataFrame) -> pl.Series:
    return pl.int_range(events.height, dtype=pl.UInt32, eager=True)
