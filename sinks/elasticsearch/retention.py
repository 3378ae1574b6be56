"""How long events and alerts are kept: lifecycle policies where the server has these, else whole
indices that are deleted (`expired`, `drop`).

Either way an index goes when its last day is so many days past, whenever it was written. The
exception: a policy counts from the making of an index where these are monthly, as no server reads a
month from a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from connwatch.errors import ConfigError

from .client import Server, refusal, segment
from .layout import Layout
from .mappings import VERSION

JSON: Final = {"content-type": "application/json", "accept": "application/json"}


@dataclass(frozen=True, slots=True)
class Retention:
    """How many days events and alerts are kept; None: for ever."""

    events: int | None = None
    alerts: int | None = None

    def __post_init__(self) -> None:
        for name, days in (("events", self.events), ("alerts", self.alerts)):
            if days is not None and days < 1:
                raise ConfigError(f"{days} days is no time to keep {name}", hint="at least 1 day")

    def days(self, layout: Layout, family: str) -> int | None:
        return self.events if family == layout.events else self.alerts


def expired(server: Server, layout: Layout, retention: Retention, today: date) -> list[str]:
    """The indices whose last day (UTC) is more than the days to keep before `today`."""
    found = []
    for family in layout.families:
        days = retention.days(layout, family)
        if days is None:
            continue
        oldest = today - timedelta(days=days)
        for name in index_names(server, layout, [family]):
            last = layout.last_day(name)
            if last is not None and last < oldest:
                found.append(name)
    return sorted(found)


def drop(server: Server, names: Iterable[str]) -> list[str]:
    """Delete these indices, one by one; those that are gone already are no error."""
    gone = []
    for name in names:
        if "*" in name or "," in name:
            raise ValueError(f"{name!r} is not the name of one index")
        answer = server.perform("DELETE", f"/{segment(name)}", headers=JSON)
        if answer.ok:
            gone.append(name)
        elif answer.status != 404:
            raise refusal(answer, f"DELETE /{name}")
    return gone


def policy_name(family: str) -> str:
    return f"{family}-retention"


def has_lifecycle(server: Server) -> bool:
    """Whether the server has lifecycle policies (ILM)."""
    answer = server.perform("GET", "/_ilm/status", headers=JSON)
    if answer.status in (401, 403):
        raise refusal(answer, "GET /_ilm/status")
    return answer.ok


def policies(layout: Layout, retention: Retention) -> dict[str, dict[str, Any]]:
    """The body of each family's policy, of those that have one."""
    found = {}
    for family in layout.families:
        days = retention.days(layout, family)
        if days is not None:
            # An index of a day is whole at its end: a day after the date in its name.
            phase = {"min_age": f"{days + 1}d", "actions": {"delete": {}}}
            found[family] = {
                "policy": {
                    "phases": {"hot": {"min_age": "0ms", "actions": {}}, "delete": phase},
                    "_meta": {"product": "connwatch", "version": VERSION},
                }
            }
    return found


def policy_settings(layout: Layout, family: str) -> dict[str, Any]:
    found: dict[str, Any] = {"name": policy_name(family)}
    if layout.routing == "day":
        found["parse_origination_date"] = True
    return found


def index_names(server: Server, layout: Layout, families: Sequence[str] | None = None) -> list[str]:
    """The indices of families that are ours by their names."""
    patterns = ",".join(f"{family}-*" for family in families or layout.families)
    path = f"/{segment(patterns)}?expand_wildcards=all&filter_path=*.settings.index.uuid"
    return sorted(name for name in got(server, path) or {} if layout.last_day(name))


def got(server: Server, path: str) -> Any:
    """What is at a path; None: nothing."""
    answer = server.perform("GET", path, headers=JSON)
    if answer.status == 404:
        return None
    if not answer.ok:
        raise refusal(answer, f"GET {path}")
    return answer.body
