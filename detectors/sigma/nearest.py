"""How far each record is from what a rule about one record asks for."""

from __future__ import annotations

from functools import reduce
from operator import add

import polars as pl

from ..ruleset import Rule
from .evaluate import prepare
from .tree import Atom, Node


def lacking(rule: Rule, events: pl.DataFrame) -> pl.Series:
    """How many comparisons of the condition would have to come out differently, at the least, for
    each record to match; 0 for those that do. That lists name the record counts as one of them.

    events: stored columns. What the rule does not apply to (`Rule.datasets`) is not looked at.
    """
    frame = prepare(events, [rule.node.expr])
    found = frame.with_columns(lacking=_away(rule.node, wanted=True))["lacking"]
    if rule.listed is not None:
        every = pl.int_range(events.height, dtype=pl.UInt32, eager=True)
        found += (~every.is_in(rule.listed.hits(events, every).implode())).cast(pl.Int32)
    return found.alias("lacking")


def _away(node: Node, *, wanted: bool) -> pl.Expr:
    if isinstance(node, Atom):
        return _unlike(node.expr, wanted)
    if node.kind == "not":
        return _away(node.children[0], wanted=not wanted)
    values: dict[str, list[object]] = {}
    parts = []
    for child in node.children:
        # Of many values of one column one at most is there: they are looked up at once.
        if node.kind == "or" and isinstance(child, Atom) and child.equals is not None:
            values.setdefault(child.equals[0], []).append(child.equals[1])
        else:
            parts.append(_away(child, wanted=wanted))
    for name, known in values.items():
        parts.append(_unlike(pl.col(name).is_in(known).fill_null(value=False), wanted))
    if (node.kind == "and") is wanted:
        return reduce(add, parts)
    return pl.min_horizontal(parts)


def _unlike(outcome: pl.Expr, wanted: bool) -> pl.Expr:
    return (~outcome if wanted else outcome).cast(pl.Int32)
