"""Why a rule matches an event, or does not: every part of its condition with its outcome."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from ..listed import Listed
from ..ruleset import Rule
from .evaluate import prepare
from .tree import Atom, Node


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a condition. outcome: None if its fields have no value. values: of the event."""

    depth: int
    text: str
    outcome: bool | None
    values: dict[str, object]


def explain(rule: Rule, event: pl.DataFrame) -> list[Part]:
    """The parts of a rule's condition for one event (a frame of one row), from the whole down."""
    parts = explain_node(rule.node, event)
    return parts if rule.listed is None else [*parts, *_listed(rule.listed, event)]


def explain_node(node: Node, event: pl.DataFrame, depth: int = 0) -> list[Part]:
    """The same of a condition alone; depth: of the whole."""
    return list(_parts(node, prepare(event, [node.expr]), depth))


def _listed(listed: Listed, event: pl.DataFrame) -> Iterator[Part]:
    """What lists say of the event, beside the condition."""
    rows = pl.Series([0], dtype=pl.UInt32)
    found = listed.found(event, rows).sort("field", "atomic")
    values: dict[str, object] = dict(found.select("field", "atomic").iter_rows())
    yield Part(0, "shows an indicator of the lists", bool(values), values)
    if values and listed.allow is not None:
        yield Part(0, "is not on the allow-list", len(listed.hits(event, rows)) == 1, {})


def _parts(node: Node, frame: pl.DataFrame, depth: int) -> Iterator[Part]:
    outcome = bool(frame.select(node.expr.alias("outcome")).item())
    if isinstance(node, Atom):
        values = {} if len(node.columns) > 3 else frame.select(node.columns).row(0, named=True)
        missing = bool(values) and all(value is None for value in values.values())
        yield Part(depth, node.text, None if missing and not outcome else outcome, values)
        return
    yield Part(depth, node.text, outcome, {})
    for child in node.children:
        yield from _parts(child, frame, depth + 1)
