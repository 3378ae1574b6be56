"""Rules about one record whose condition no single record can meet: met by a connection.

Of each connection it is noted which claims of such a condition (`told`) a record of it met. What
was met stays met, so the condition holds of a connection or not whatever the order of its records;
the record with which it comes to hold is the hit. A rule whose condition one kind of record can
meet, or whose log source names a product, is not asked again, and neither is one with lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Final

import numpy as np
import polars as pl

from connwatch.contracts import MATCH_SCHEMA

from ..ruleset import Rule, RuleSet
from ..sigma.evaluate import Evaluation, plan
from ..windows.arrays import Positions
from .counting import Counting
from .told import Claim, Joint, Part, apart, claims, mixes

_NO_ROWS: Final[Positions] = np.empty(0, dtype=np.int64)


def whole(rule: Rule) -> Joint | None:
    """The condition of a rule, taken apart; None: each record is looked at by itself."""
    if rule.product or rule.listed is not None:
        return None
    part = apart(rule.node, rule.datasets)
    return part if isinstance(part, Joint) and mixes(part) else None


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule that records of a connection may meet together."""

    key: str
    part: Joint


class Uniting:
    """Those rules of a set that records of a connection may meet together; false: there is none."""

    def __init__(self, rules: RuleSet) -> None:
        running = [rule for rule in rules.running if isinstance(rule, Rule)]
        taken = [(rule.key, whole(rule)) for rule in running]
        self._rules = tuple(_Rule(key, part) for key, part in taken if part is not None)
        by_place = {one.place: one for rule in self._rules for one in claims(rule.part)}
        self._claims = tuple(by_place.values())
        self._plan = plan(claim.node for claim in self._claims)

    def __bool__(self) -> bool:
        return bool(self._rules)

    def matches(
        self,
        events: pl.DataFrame,
        matches: pl.DataFrame,
        counting: Counting,
        passed: pl.Series | None = None,
    ) -> pl.DataFrame:
        """`MATCH_SCHEMA`: the matches of a batch, and of each connection the record with which it
        met a rule. passed: whether no rule is asked of a record."""
        since = self._since(events, counting, passed)
        keys, rows = [], []
        for rule in self._rules:
            met = _folded(rule.part, since)
            hits = np.unique(met[(met >= 0) & (met < events.height)])
            keys += [rule.key] * len(hits)
            rows.append(hits)
        if not keys:
            return matches
        more = pl.DataFrame({"rule": keys, "row": np.concatenate(rows)}, schema=MATCH_SCHEMA)
        mine = pl.col("rule").is_in(more["rule"].unique().implode())
        both = pl.concat([matches.filter(mine), more]).unique().sort("rule", "row")
        return pl.concat([matches.filter(~mine), both])

    def _since(
        self, events: pl.DataFrame, counting: Counting, passed: pl.Series | None
    ) -> Mapping[str, Positions]:
        """By claim since which record the connections that several tell of met it."""
        present = frozenset(events["event.dataset"].unique())
        asked = [at for at, claim in enumerate(self._claims) if claim.tellers & present]
        evaluation = Evaluation(events, self._plan, asked)
        fed: dict[frozenset[str], pl.Series] = {}
        since = {}
        for at, claim in enumerate(self._claims):
            here = bool(claim.tellers & present)
            outcome = here and evaluation.outcome(self._plan.conditions[at])
            if claim.tellers not in fed:
                told = events["event.dataset"].is_in(sorted(claim.tellers))
                fed[claim.tellers] = told if passed is None else told & ~passed
            rows = _NO_ROWS
            if outcome is not False:
                rows = (fed[claim.tellers] & outcome).arg_true().to_numpy().astype(np.int64)
            since[claim.place] = counting.noted(claim.place, rows)
        return since


def _folded(part: Part, since: Mapping[str, Positions]) -> Positions:
    """Since which record connections met a condition."""
    if isinstance(part, Claim):
        return since[part.place]
    least = np.minimum if part.kind == "or" else np.maximum
    return reduce(least, (_folded(one, since) for one in part.parts))
