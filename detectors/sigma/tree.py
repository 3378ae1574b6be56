"""A rule's condition as a tree of our own: what it says in words, and as a Polars expression.

Sigma's meaning of a missing field: an atom about it is false, so `not` of that atom is true. Every
expression here is therefore Boolean and never null.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import polars as pl


@dataclass(frozen=True, slots=True)
class Atom:
    """One comparison. columns: the schema columns it reads."""

    text: str
    columns: tuple[str, ...]
    expr: pl.Expr


@dataclass(frozen=True, slots=True)
class Branch:
    """and, or, not over other nodes."""

    kind: Literal["and", "or", "not"]
    children: tuple[Node, ...]

    @property
    def text(self) -> str:
        return {"and": "all of", "or": "one of", "not": "not"}[self.kind]

    @property
    def expr(self) -> pl.Expr:
        parts = [child.expr for child in self.children]
        if self.kind == "not":
            return ~parts[0]
        if len(parts) == 1:
            return parts[0]
        return pl.all_horizontal(parts) if self.kind == "and" else pl.any_horizontal(parts)


Node = Atom | Branch


def columns(node: Node) -> Iterator[str]:
    """Every schema column that a tree reads."""
    if isinstance(node, Atom):
        yield from node.columns
    else:
        for child in node.children:
            yield from columns(child)
