"""Queries that the program asks by itself, without a text that they were read from."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from .tree import Compare, Match, Node, Not, Text

#: what relative times of a query refer to: there are none in these
NO_TIME: Final = datetime(2000, 1, 1, tzinfo=UTC)


def there(name: str) -> Node:
    """A field has a value."""
    return Match(Text((name,)), Text(("", "")))


def without(name: str) -> Node:
    """A field has none."""
    return Not(there(name))


def equal(name: str, value: Any) -> Node:
    """A field has this value, or has it among others."""
    return Match(Text((name,)), Text((str(value),), quoted=True))


def begins(name: str, text: str) -> Node:
    """The value of a field begins with a text."""
    return Match(Text((name,)), Text((text, "")))


def compared(name: str, operator: str, value: Any) -> Node:
    """A field's value stands on one side of this one; the operator is one of > >= < <=."""
    return Compare(Text((name,)), operator, Text((str(value),), quoted=True))
