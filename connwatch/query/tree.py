"""The one tree a KQL query becomes, whatever it is compiled to.

    Query           the whole: its root and the text it was read from
    ├── Everything  the empty query
    ├── Match       field: value, or a bare value (no field)
    ├── Compare     field > value, >=, <, <=
    ├── Not, And, Or
    └── Nested      field: { … }

Nodes are values: equal when they mean the same, wherever they stood in the text (`at` is left out
of comparisons).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

_SPECIAL: Final = re.compile(r'[\\():<>"*{}]')
_KEYWORD: Final = re.compile(r"(?i)(?<![^ ])(and|or|not)(?![^ ])")


@dataclass(frozen=True, slots=True)
class Text:
    """A field name or a value.

    parts: the literal text between the `*` wildcards; a single part has no wildcard. quoted: it
    stood in quotes. at: its first character in the query, from 0.
    """

    parts: tuple[str, ...]
    quoted: bool = False
    at: int = field(default=0, compare=False)

    @property
    def wild(self) -> bool:
        return len(self.parts) > 1

    @property
    def any(self) -> bool:
        """Nothing but wildcards: `*`."""
        return self.wild and not "".join(self.parts)

    def __str__(self) -> str:
        return "*".join(self.parts)


@dataclass(frozen=True, slots=True)
class Everything:
    """Matches every record."""


@dataclass(frozen=True, slots=True)
class Match:
    """`field: value`; without a field the value is looked for everywhere."""

    field: Text | None
    value: Text


@dataclass(frozen=True, slots=True)
class Compare:
    """`field operator value`; the operator is one of > >= < <=."""

    field: Text
    operator: str
    value: Text


@dataclass(frozen=True, slots=True)
class Not:
    query: Node


@dataclass(frozen=True, slots=True)
class And:
    queries: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    queries: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Nested:
    """`field: { query }`: the conditions hold within one nested object."""

    field: Text
    query: Node


Node: TypeAlias = Everything | Match | Compare | Not | And | Or | Nested


@dataclass(frozen=True, slots=True)
class Query:
    """A query as read. source: the text that positions (`Text.at`) refer to."""

    root: Node
    source: str = field(default="", compare=False)


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below."""
    if isinstance(node, And | Or):
        return node.queries
    if isinstance(node, Not | Nested):
        return (node.query,)
    return ()


def levels(root: Node) -> Iterator[tuple[Node, ...]]:
    """The tree, level by level, without recursion."""
    level: tuple[Node, ...] = (root,)
    while level:
        yield level
        level = tuple(child for node in level for child in children(node))


def to_kql(node: Query | Node) -> str:
    """KQL text that reads back as an equal tree."""
    match node:
        case Query():
            return to_kql(node.root)
        case Everything():
            return ""
        case Match(name, value):
            return _text(value) if name is None else f"{_text(name)}: {_text(value)}"
        case Compare(name, operator, value):
            return f"{_text(name)} {operator} {_text(value)}"
        case Not(query):
            return f"not {_operand(query)}"
        case And(queries):
            return " and ".join(map(_operand, queries))
        case Or(queries):
            return " or ".join(map(_operand, queries))
        case Nested(name, query):
            return f"{_text(name)}: {{ {to_kql(query)} }}"


def _operand(node: Node) -> str:
    return f"({to_kql(node)})" if isinstance(node, And | Or) else to_kql(node)


def _text(text: Text) -> str:
    if text.quoted:
        return '"' + text.parts[0].replace("\\", "\\\\").replace('"', '\\"') + '"'
    written = "*".join(_unquoted(part) for part in text.parts)
    written = _KEYWORD.sub(r"\\\1", written)
    inner = written.strip(" ")
    before = len(written) - len(written.lstrip(" "))
    return "\\u0020" * before + inner + "\\u0020" * (len(written) - before - len(inner))


def _unquoted(part: str) -> str:
    # Blanks other than a space are written by number: \n before "ot" would read as \not.
    escaped = _SPECIAL.sub(r"\\\g<0>", part)
    return re.sub("[\t\r\n\u00a0]", lambda blank: f"\\u{ord(blank[0]):04x}", escaped)
