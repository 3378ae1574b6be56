"""Events that a rule must hit and events that it must miss, beside the rule.

`NAME.yml` has its cases in `NAME.events.yml`:

    hits:
      - name: a session to port 31337
        event: {source.ip: 10.0.0.5, destination.ip: 203.0.113.9, destination.port: 31337}
    misses:
      - name: …
        event: …

An event is stored columns of the schema; what a case leaves out of the columns that are never null
has the values of `DEFAULTS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import polars as pl
import yaml

from connwatch.errors import RuleError
from connwatch.schema import STORED, conform

from .ruleset import Rule, RuleSet, match

_TIME: Final = datetime(2026, 11, 20, 12, tzinfo=UTC)
DEFAULTS: Final[dict[str, Any]] = {
    "@timestamp": _TIME,
    "connwatch.log_time": _TIME,
    "event.id": "0" * 32,
    "event.dataset": "zeek.connection",
    "event.sequence": 1,
    "log.file.path": "case",
    "log.offset": 0,
    "source.ip": "10.0.0.5",
    "destination.ip": "10.0.0.9",
    "network.transport": "tcp",
    "network.direction": "internal",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One event and whether the rule must match it."""

    name: str
    hit: bool
    event: Mapping[str, Any]


def cases_path(rule: Rule) -> Path:
    """Where a rule's cases are."""
    return Path(rule.where.rsplit(":", 1)[0]).with_suffix(".events.yml")


def load_cases(path: Path) -> list[Case]:
    """The cases of a file; RuleError names what is wrong with one."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise RuleError(f"is not YAML: {error}", where=str(path)) from None
    if not isinstance(content, dict) or set(content) - {"hits", "misses"}:
        raise RuleError("cases are the keys hits and misses", where=str(path))
    return [
        Case(one["name"], key == "hits", _event(one["event"], one["name"], path))
        for key in ("hits", "misses")
        for one in content.get(key) or ()
    ]


def _event(event: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    for column in event:
        if column not in STORED:
            near = get_close_matches(column, STORED, n=1)
            raise RuleError(
                f"case {name!r}: {column!r} is no stored column",
                where=str(path),
                hint=f"did you mean {near[0]!r}?" if near else "connwatch schema lists them",
            )
    return event


def frame(events: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Events of cases as a frame of the schema."""
    rows = [{**DEFAULTS, **event} for event in events]
    names = sorted({name for row in rows for name in row})
    return conform(
        pl.DataFrame(
            {name: pl.Series([row.get(name) for row in rows], dtype=STORED[name]) for name in names}
        )
    )


def run(rule: Rule, cases: Sequence[Case]) -> list[bool]:
    """Whether the rule matches each case's event."""
    if not cases:
        return []
    found = set(match(RuleSet((rule,)), frame([case.event for case in cases]))["row"])
    return [row in found for row in range(len(cases))]
