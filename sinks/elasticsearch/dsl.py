"""Pieces of query DSL, and what is known of conditions that a server cannot decide alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Dsl: TypeAlias = dict[str, Any]

ALL: Final[Dsl] = {"match_all": {}}
NONE: Final[Dsl] = {"match_none": {}}


@dataclass(frozen=True, slots=True)
class Bounds:
    """A condition from both sides: documents that match `certain` fulfil it, and all that fulfil
    it match `possible`. Where both are the same, the server decides."""

    certain: Dsl
    possible: Dsl

    @classmethod
    def exactly(cls, dsl: Dsl) -> Bounds:
        return cls(dsl, dsl)


#: nothing is known
OPEN: Final = Bounds(NONE, ALL)


def both(parts: Iterable[Bounds]) -> Bounds:
    """All of them."""
    every = list(parts)
    return Bounds(
        all_of(one.certain for one in every), all_of(one.possible for one in every)
    )  # fmt: skip


def either(parts: Iterable[Bounds]) -> Bounds:
    """Any of them."""
    every = list(parts)
    return Bounds(
        any_of(one.certain for one in every), any_of(one.possible for one in every)
    )  # fmt: skip


def negated(one: Bounds) -> Bounds:
    return Bounds(none_of(one.possible), none_of(one.certain))


def all_of(parts: Iterable[Dsl]) -> Dsl:
    found: list[Dsl] = []
    for part in parts:
        inner = part.get("bool", {})
        if part == NONE:
            return NONE
        if inner.keys() == {"filter"}:
            found += inner["filter"]
        elif part != ALL:
            found.append(part)
    if len(found) < 2:
        return found[0] if found else ALL
    return {"bool": {"filter": found}}


def any_of(parts: Iterable[Dsl]) -> Dsl:
    """Single values of one field become one list: a server takes few clauses, and long lists."""
    found: list[Dsl] = []
    values: dict[str, list[Any]] = {}
    for part in parts:
        inner = part.get("bool", {})
        if part == ALL:
            return ALL
        for one in inner.get("should", [part]):
            if "term" in one:
                ((name, value),) = one["term"].items()
                values.setdefault(name, []).append(value)
            elif "terms" in one:
                ((name, several),) = one["terms"].items()
                values.setdefault(name, []).extend(several)
            elif one != NONE:
                found.append(one)
    for name, several in values.items():
        found.append(term(name, several[0]) if len(several) == 1 else {"terms": {name: several}})
    if len(found) < 2:
        return found[0] if found else NONE
    return {"bool": {"should": found, "minimum_should_match": 1}}


def none_of(part: Dsl) -> Dsl:
    if part in (ALL, NONE):
        return NONE if part == ALL else ALL
    inner = part.get("bool", {})
    if inner.keys() == {"must_not"} and len(inner["must_not"]) == 1:
        return dict(inner["must_not"][0])
    return {"bool": {"must_not": [part]}}


def term(name: str, value: Any) -> Dsl:
    return {"term": {name: value}}


def exists(name: str) -> Dsl:
    return {"exists": {"field": name}}


def between(name: str, **bounds: Any) -> Dsl:
    """bounds: gt, gte, lt, lte."""
    return {"range": {name: bounds}}


def clauses(dsl: Dsl) -> int:
    """How many conditions a query has."""
    inner = dsl.get("bool")
    if inner is None:
        return 1
    return sum(
        clauses(one) for key in ("filter", "should", "must_not") for one in inner.get(key, ())
    )
