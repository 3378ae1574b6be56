"""Why a connection meets a rule, or does not: each part of its condition, and who says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from ..sigma.evaluate import prepare
from ..sigma.explain import Part as Said
from ..sigma.explain import explain_node
from ..sigma.tree import Atom, Node
from .told import Claim, Part


@dataclass(frozen=True, slots=True)
class Told:
    """A part of a condition. by: row of the record that it is told of; None: of none."""

    part: Said
    by: int | None


def explain_together(part: Part, records: pl.DataFrame, depth: int = 0) -> list[Told]:
    """The parts of a condition for the records of one connection, in their order, from the whole
    down: of tests that are made together those of the first record that meets them all, else of
    the first that could."""
    if isinstance(part, Claim):
        return list(_claim(part, records, depth))
    below = [explain_together(one, records, depth + 1) for one in part.parts]
    every = all if part.kind == "and" else any
    words = "all of" if part.kind == "and" else "one of"
    own = Told(Said(depth, words, every(bool(one[0].part.outcome) for one in below), {}), None)
    return [own, *(one for parts in below for one in parts)]


def _claim(claim: Claim, records: pl.DataFrame, depth: int) -> Iterator[Told]:
    able = records["event.dataset"].is_in(sorted(claim.tellers)).to_numpy()
    if not able.any():
        for said in _untold(claim.node, depth):
            yield Told(said, None)
        return
    made = prepare(records, [claim.node.expr]).with_columns(holds=claim.node.expr)
    says = made["holds"].to_numpy() & able
    by = int(np.argmax(says if says.any() else able))
    for said in explain_node(claim.node, records[by], depth):
        yield Told(said, by)


def _untold(node: Node, depth: int) -> Iterator[Said]:
    """The parts of a condition of which no record could tell."""
    yield Said(depth, node.text, None, {})
    if not isinstance(node, Atom):
        for child in node.children:
            yield from _untold(child, depth + 1)
