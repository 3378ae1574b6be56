"""Events that a rule must hit and events that it must miss, beside the rule.

`NAME.yml` has its cases in `NAME.events.yml`:

    hits:
      - name: a session to port 31337
        event: {source.ip: 10.0.0.5, destination.ip: 203.0.113.9, destination.port: 31337}
    misses:
      - name: …
        event: …

An event is stored columns of the schema; what a case leaves out of the columns that are never null
has the values of `DEFAULTS`. A case of a rule about many records is a short log, in `events`: each
entry is an event, and how often it comes (`times`, once), how far apart (`every`, 1s), when it
begins (`at`, 0s after the beginning), and values that grow by one each time (`count`):

      - name: twenty ports of one host
        events:
          - {event: {zeek.connection.state: S0}, times: 20, every: 3s, count: {destination.port: 1}}

So may be one of a rule about one record that several witnesses of a connection meet together: these
have one `network.community_id`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import polars as pl
import yaml

from connwatch.errors import RuleError
from connwatch.schema import STORED, conform

from .ruleset import Described, RuleSet, match
from .windows.engine import State, correlate
from .witnesses.counting import Counting
from .witnesses.flows import Flows
from .witnesses.united import Uniting

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
    """Events in the order of their time, and whether the rule must match."""

    name: str
    hit: bool
    events: Sequence[Mapping[str, Any]]


def cases_path(rule: Described) -> Path:
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
        Case(str(one.get("name")), key == "hits", _events(one, path))
        for key in ("hits", "misses")
        for one in content.get(key) or ()
    ]


def _events(case: Mapping[str, Any], path: Path) -> Sequence[Mapping[str, Any]]:
    where = f"{path}, case {case.get('name')!r}"
    if set(case) == {"name", "event"}:
        return [_event(case["event"], where)]
    if set(case) != {"name", "events"} or not isinstance(case["events"], list):
        raise RuleError("a case has a name, and one event or a list of events", where=where)
    made = [event for entry in case["events"] for event in _repeated(entry, where)]
    return sorted(made, key=lambda event: event["@timestamp"])


def _repeated(entry: Mapping[str, Any], where: str) -> Iterator[Mapping[str, Any]]:
    """The events of one entry of a short log."""
    unknown = set(entry) - {"event", "times", "every", "at", "count"}
    times, count = entry.get("times", 1), entry.get("count", {})
    if unknown or not isinstance(times, int) or not isinstance(count, dict):
        raise RuleError("an entry has event, times, every, at and count", where=where)
    at, every = (
        _span(entry.get(key, text), where) for key, text in (("at", "0s"), ("every", "1s"))
    )
    event = _event({**entry.get("event", {}), **count}, where)
    for number in range(times):
        moment = _TIME + at + number * every
        grown = {name: _plus(value, number) for name, value in count.items()}
        yield {**event, "@timestamp": moment, "connwatch.log_time": moment, **grown}


def _plus(value: Any, number: int) -> Any:
    return value + number if isinstance(value, int) else str(ip_address(value) + number)


def _span(text: object, where: str) -> timedelta:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", str(text))
    if found is None:
        raise RuleError(f"{text!r} is no span of time such as 30s, 5m or 1.5h", where=where)
    return timedelta(seconds=float(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]])


def _event(event: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    for column in event:
        if column not in STORED:
            near = get_close_matches(column, STORED, n=1)
            raise RuleError(
                f"{column!r} is no stored column",
                where=where,
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


def run(ruleset: RuleSet, rule: Described, cases: Sequence[Case]) -> list[bool]:
    """Whether the rule, one of the set's, matches each case's events."""
    only = ruleset.only(rule)
    uniting = Uniting(only)
    return [bool(_hits(only, uniting, frame(case.events))) for case in cases]


def _hits(only: RuleSet, uniting: Uniting, events: pl.DataFrame) -> int:
    """How many hits the one rule of a set has in a short log."""
    events = events.with_columns(
        pl.Series("event.id", [f"{number:032x}" for number in range(events.height)])
    )
    matches = match(only, events)
    if uniting:
        matches = uniting.matches(events, matches, Counting(events, Flows()))
    found = correlate(only.correlated, events, matches, State(), ("event.id",))
    return found.hits.height + matches.filter(pl.col("rule").is_in([*only.alerting])).height
