"""Field maps: which datasets feed a log source, and what its fields are called here.

The maps are data (`rules/fields/*.yml`), so that unmodified rules from elsewhere run.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fractions import Fraction
from functools import cache
from importlib.resources import files
from typing import Any, Final

import yaml

from connwatch.errors import RuleError
from connwatch.schema import BY_NAME

_KEYS: Final = frozenset({"logsources", "datasets", "fields"})
_TARGET_KEYS: Final = frozenset({"column", "scale", "values"})
#: what a column of 64 bits cannot hold any more, and the largest float
_BEYOND: Final = 2**63
_LARGEST: Final = sys.float_info.max


class UnfedError(Exception):
    """No source can feed the rule; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a rule's field is here. scale: the rule's number times it is the column's. values: the
    rule's text (lower case) -> the column's texts."""

    column: str
    scale: int = 1
    values: Mapping[str, tuple[str, ...]] | None = None

    def own(self, number: float) -> int | float:
        """A rule's number in the unit of the column: an int where it is whole and has 64 bits at
        most. 0.067 s are 67,000,000 ns, which the product of floats is not."""
        if not math.isfinite(number):
            return number
        exact = Fraction(str(number)) * self.scale
        if exact.denominator == 1 and -_BEYOND <= exact < _BEYOND:
            return int(exact)
        return float(exact) if abs(exact) <= _LARGEST else math.inf if exact > 0 else -math.inf


@dataclass(frozen=True, slots=True)
class FieldMap:
    """One file under `rules/fields`."""

    logsources: tuple[Mapping[str, str], ...]
    datasets: frozenset[str]
    fields: Mapping[str, Target]

    def target(self, field: str) -> Target | None:
        """The field here; None when no parser emits it."""
        if field in self.fields:
            return self.fields[field]
        return Target(field) if field in BY_NAME else None

    def known(self, field: str) -> Target:
        """The field here; UnfedError when no parser emits it."""
        target = self.target(field)
        if target is None:
            near = self.suggestion(field)
            hint = f" (did you mean {near}?)" if near else ""
            raise UnfedError(f"no record here has the field {field!r}{hint}")
        return target

    def suggestion(self, field: str) -> str | None:
        """A known field with a name like this one."""
        near = get_close_matches(field, [*self.fields, *BY_NAME], n=1, cutoff=0.75)
        return near[0] if near else None


@cache
def field_maps() -> tuple[FieldMap, ...]:
    """The maps that come with the program."""
    folder = files("connwatch.rules") / "fields"
    found = sorted((item for item in folder.iterdir() if item.name.endswith(".yml")), key=str)
    return tuple(read_map(item.read_text(encoding="utf-8"), item.name) for item in found)


def read_map(text: str, name: str) -> FieldMap:
    """A field map; RuleError names what is wrong with it."""
    content = yaml.safe_load(text)
    if not isinstance(content, dict) or (unknown := set(content) - _KEYS):
        raise RuleError(f"unknown keys {sorted(unknown)}", where=name)
    fields = {field: _target(field, spec, name) for field, spec in content["fields"].items()}
    return FieldMap(tuple(content["logsources"]), frozenset(content["datasets"]), fields)


def _target(field: str, spec: str | Mapping[str, Any], name: str) -> Target:
    if isinstance(spec, str):
        spec = {"column": spec}
    if set(spec) - _TARGET_KEYS or spec.get("column") not in BY_NAME:
        raise RuleError(f"field {field!r} is mapped to no column of the schema", where=name)
    values = spec.get("values")
    return Target(
        spec["column"],
        spec.get("scale", 1),
        None
        if values is None
        else {
            str(old).lower(): (new,) if isinstance(new, str) else tuple(new)
            for old, new in values.items()
        },
    )


def map_for(logsource: Mapping[str, str | None], maps: Sequence[FieldMap]) -> FieldMap | None:
    """The map for a rule's log source, the one that says most about it; None: nothing feeds it.

    Keys that no map speaks of (a product such as `product: fortigate` beside `category: firewall`)
    do not matter, but a service that no map knows is another kind of log.
    """
    best: tuple[int, FieldMap] | None = None
    for one in maps:
        for wanted in one.logsources:
            if any(logsource.get(key) != value for key, value in wanted.items()):
                continue
            service = logsource.get("service")
            if service is not None and "service" not in wanted:
                continue
            if best is None or len(wanted) > best[0]:
                best = (len(wanted), one)
    return best[1] if best else None
