"""The processes behind alerts, as their documents say it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from connwatch.alert import Document

#: processes that an alert lists
LISTED: Final = 20
_OF_PROCESS: Final = ("host", "pid", "name", "user")


def with_processes(document: Document, found: Iterable[Mapping[str, Any]]) -> Document:
    """A document with what is known of the processes behind its events.

    found: as `questions.of_alert` gives it. All of it stands in `connwatch.processes`; where one
    process alone is sure, it is `process`, `user` and `host` of the alert too.
    """
    listed = [dict(one) for one in found][:LISTED]
    own = {name: value for name, value in document["connwatch"].items() if name != "processes"}
    made = {
        name: value for name, value in document.items() if name not in ("process", "user", "host")
    }
    if listed:
        own["processes"] = listed
    sure = [one for one in listed if one["verdict"] in ("exact", "bounded")]
    if len({tuple(one.get(name) for name in _OF_PROCESS) for one in sure}) == 1:
        made |= _fields(sure[0])
    return {**made, "connwatch": own}


def _fields(one: Mapping[str, Any]) -> Document:
    process = {name: one[name] for name in ("pid", "name") if name in one}
    user = {"id" if str(one["user"]).isdigit() else "name": one["user"]} if "user" in one else {}
    fields = {"process": process, "user": user, "host": {"name": one.get("host")}}
    return {name: value for name, value in fields.items() if any(value.values())}


def process_lines(found: Iterable[Mapping[str, Any]], count: int) -> Iterator[str]:
    """The same for people; not yet safe. Nothing where no event has anything to do with a host
    that has snapshots. count: events of the alert."""
    listed = list(found)
    if all(one["reason"] in ("other_host", "no_ports") for one in listed):
        return
    for place, one in enumerate(listed):
        title = "process" if place == 0 else ""
        host = f" on {one['host']}" if "host" in one else ""
        user = f", user {one['user']}" if "user" in one else ""
        who = f"{one.get('name', '?')} (pid {one.get('pid', '?')})" if "pid" in one else "not known"
        share = f"{one['events']:,} of {count:,} events"
        yield f"{title:<12} {who}{host}{user}: {share}, {one['verdict']}"
        candidates = f" ({', '.join(one['candidates'])})" if "candidates" in one else ""
        side = f"{one['side']}: " if "side" in one else ""
        yield f"             {side}{one['text']}{candidates}"
