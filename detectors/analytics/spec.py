"""What a type of analytic is made of: named counts, each a window over named columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..windows.spec import Measure


@dataclass(frozen=True, slots=True)
class Count:
    """One thing to count. group: columns whose values are counted apart. fields: columns whose
    different values are counted, or that are added up; none: records are. unit: of the threshold,
    a number, or a span of time that is compared in ns. meaning: one line for the documentation."""

    measure: Measure
    group: tuple[str, ...]
    fields: tuple[str, ...]
    meaning: str
    unit: Literal["number", "span"] = "number"


@dataclass(frozen=True, slots=True)
class Analytic:
    """A type of analytic. by: what its alerts are grouped by, unless a rule says otherwise. actor:
    the side that is to blame, source or destination. counts: by the name of their threshold."""

    type: str
    meaning: str
    by: tuple[str, ...]
    actor: Literal["source", "destination"]
    counts: Mapping[str, Count]
