"""A parsed Sigma rule becomes a tree of conditions over the schema's columns."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import polars as pl
from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.rule import SigmaRule
from sigma.types import SigmaNumber, SigmaRegularExpression, SigmaString, SigmaType, SpecialChars

from connwatch.errors import RuleError
from connwatch.schema import STORED, STRINGS

from .fields import FieldMap, Target
from .tree import Atom, Branch, Node
from .values import equality, test

#: text columns in which a keyword is looked for; where a record was read is not part of it
_SEARCHED: Final = tuple(
    name
    for name, dtype in STORED.items()
    if dtype in (pl.String(), STRINGS)
    and name not in ("event.id", "log.file.path", "network.community_id")
)
_NUMBERS: Final = tuple(
    name
    for name, dtype in STORED.items()
    if dtype == pl.Int64() and name not in ("log.offset", "event.sequence")
)


def compile_rule(rule: SigmaRule, fields: FieldMap) -> Node:
    """The rule's condition; of several conditions any. UnfedError for a field nobody emits."""
    nodes = []
    for condition in rule.detection.parsed_condition:
        parsed = condition.parsed
        if parsed is None:
            raise RuleError("the condition says nothing")
        nodes.append(_node(parsed, fields))
    return nodes[0] if len(nodes) == 1 else Branch("or", tuple(nodes))


def _node(condition: Any, fields: FieldMap) -> Node:
    kind = _KINDS.get(type(condition))
    if kind is None:
        raise RuleError(f"a condition of the kind {type(condition).__name__} cannot be matched")
    return kind(condition, fields)


def _branch(kind: Any, condition: Any, fields: FieldMap) -> Node:
    children = tuple(_node(part, fields) for part in condition.args if part is not None)
    if kind == "not" and not children:
        raise RuleError("the condition says nothing after 'not'")
    return Branch(kind, children)


def _field(condition: ConditionFieldEqualsValueExpression, fields: FieldMap) -> Node:
    name = condition.field
    target = fields.known(name)
    try:
        words, expr = test(target, condition.value, fields)
    except RuleError as error:
        raise RuleError(f"field {name!r}: {error.message}", hint=error.hint) from None
    return Atom(
        f"{name} {words}",
        (target.column,),
        expr.fill_null(value=False),
        equality(target, condition.value),
    )


def _keyword(condition: ConditionValueExpression, fields: FieldMap) -> Node:
    """A value without a field: somewhere in the record."""
    value: SigmaType = condition.value
    searched = _SEARCHED
    if isinstance(value, SigmaNumber):
        searched = _NUMBERS
    elif isinstance(value, SigmaString):
        value = _around(value)
    elif not isinstance(value, SigmaRegularExpression):
        raise RuleError("a value without a field must be text, a number or a regular expression")
    found = [test(Target(name), value, fields)[1].fill_null(value=False) for name in searched]
    return Atom(f"anywhere: {condition.value}", searched, pl.any_horizontal(found))


def _around(value: SigmaString) -> SigmaString:
    many = SpecialChars.WILDCARD_MULTI
    if not value.startswith(many):
        value = many + value
    return value if value.endswith(many) else value + many


_KINDS: Final[dict[type, Callable[[Any, FieldMap], Node]]] = {
    ConditionAND: partial(_branch, "and"),
    ConditionOR: partial(_branch, "or"),
    ConditionNOT: partial(_branch, "not"),
    ConditionFieldEqualsValueExpression: _field,
    ConditionValueExpression: _keyword,
}
