"""Rules: loaded, checked, and matched against a batch of events all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from connwatch.contracts import MATCH_SCHEMA
from connwatch.errors import RuleError
from connwatch.schema import DERIVED, STORED

from .fold import Folding
from .sigma.tree import Node
from .sigma.values import LOWER, NUMBER, SIX, helpers

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


@dataclass(frozen=True, slots=True)
class RuleSet:
    """rules: those that run, by key. errors: files or rules that cannot be used; the rest runs."""

    rules: tuple[Rule, ...] = ()
    disabled: tuple[Rule, ...] = ()
    errors: tuple[RuleError, ...] = ()
    unfed: tuple[Unfed, ...] = ()

    @property
    def by_key(self) -> dict[str, Rule]:
        return {rule.key: rule for rule in self.rules}

    @property
    def foldings(self) -> dict[str, Folding]:
        """How each rule's hits are folded into alerts."""
        return {rule.key: Folding(rule.group_by, rule.suppress) for rule in self.rules}


def load_rules(paths: Sequence[Path]) -> RuleSet:
    """The rules in these files and folders. RuleError for a path that does not exist."""
    from .sigma.load import load

    return load(paths)


def prepare(events: pl.DataFrame, rules: Sequence[Rule]) -> pl.DataFrame:
    """`events` with the columns that the rules read beside the stored ones, each made once."""
    needed = {root for rule in rules for root in rule.node.expr.meta.root_names()}
    derived = sorted(name for name in _plain(needed) if name in DERIVED)
    made = events.with_columns(DERIVED[name].alias(name) for name in derived)
    return made.with_columns(helpers(needed))


def _plain(names: set[str]) -> set[str]:
    return {name.removeprefix(LOWER).removeprefix(NUMBER).removeprefix(SIX) for name in names}


def match(ruleset: RuleSet, events: pl.DataFrame) -> pl.DataFrame:
    """Which rule matches which row (`MATCH_SCHEMA`), by rule and row."""
    rules = ruleset.rules
    if not rules or events.is_empty():
        return pl.DataFrame(schema=MATCH_SCHEMA)
    present = frozenset(events["event.dataset"].unique())
    chosen = [rule for rule in rules if rule.datasets & present]
    if not chosen:
        return pl.DataFrame(schema=MATCH_SCHEMA)
    frame = prepare(events, chosen)
    found = frame.select(
        (
            rule.node.expr
            if present <= rule.datasets
            else rule.node.expr & pl.col("event.dataset").is_in(sorted(rule.datasets))
        )
        .arg_true()
        .implode()
        .alias(rule.key)
        for rule in chosen
    )
    rows = [
        pl.DataFrame({"rule": pl.Series([rule.key]).new_from_index(0, len(hits)), "row": hits})
        for rule in chosen
        if len(hits := found[rule.key][0])
    ]
    if not rows:
        return pl.DataFrame(schema=MATCH_SCHEMA)
    return pl.concat(rows).cast({"row": pl.UInt32})


def check_columns(names: Sequence[str]) -> str | None:
    """The first of these names that is no column of the schema."""
    return next((name for name in names if name not in STORED and name not in DERIVED), None)
