"""A rule's condition as a tree of our own: what it says in words, and as a Polars expression.

Sigma's meaning of a missing field: an atom about it is false, so `not` of that atom is true. Every
expression here is therefore Boolean and never null.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

import polars as pl


@dataclass(frozen=True, slots=True)
class Atom:
    """One comparison. columns: the schema columns it reads. equals: column of the prepared frame
    and value, where it is nothing but their equality. key: the comparison itself, so that rules
    which make the same one share its outcome."""

    text: str
    columns: tuple[str, ...]
    expr: pl.Expr
    equals: tuple[str, object] | None = None
    key: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", self.expr.meta.serialize())


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
        if self.kind == "not":
            return ~self.children[0].expr
        if self.kind == "and":
            return _all([child.expr for child in self.children])
        return _any(self.children)


Node = Atom | Branch


def _all(parts: list[pl.Expr]) -> pl.Expr:
    return parts[0] if len(parts) == 1 else pl.all_horizontal(parts)


def _any(children: Sequence[Node]) -> pl.Expr:
    """One of several; many values of one column are looked up at once."""
    values: dict[str, list[object]] = {}
    rest: list[pl.Expr] = []
    for child in children:
        if isinstance(child, Atom) and child.equals is not None:
            values.setdefault(child.equals[0], []).append(child.equals[1])
        else:
            rest.append(child.expr)
    parts = [pl.col(name).is_in(wanted).fill_null(value=False) for name, wanted in values.items()]
    return (parts + rest)[0] if len(parts) + len(rest) == 1 else pl.any_horizontal(parts + rest)


def columns(node: Node) -> Iterator[str]:
    """Every schema column that a tree reads."""
    if isinstance(node, Atom):
        yield from node.columns
    else:
        for child in node.children:
            yield from columns(child)


def mark(node: Node) -> str:
    """What tells a condition from others: the same text, the same comparisons."""
    if isinstance(node, Atom):
        return sha256(node.key).hexdigest()
    return f"{node.kind}({' '.join(mark(child) for child in node.children)})"
