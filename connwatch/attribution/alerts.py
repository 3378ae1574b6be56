"""The processes behind alerts, as their documents say it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from connwatch.alert import Document

#: processes that an alert lists
LISTED: Final = 20
_OF_PROCESS: Final = ("host", "pid", "name", "user")


def told(document: Document, found: Iterable[Mapping[str, Any]]) -> Document | None:
    """What an alert is to say of the processes behind its events (`alert.with_learned`).

    found: as `questions.summed` gives it; None where it is empty (the events are gone). All of it
    stands in `processes`. Where one process alone is sure, it is `process`, `user` and `host` of
    the alert too, if the alert is about one source and that is the process's end, or about one
    service and that is: a scan is not the matter of the one program that answered.
    """
    listed = [dict(one) for one in found][:LISTED]
    if not listed:
        return None
    sure = [one for one in listed if one["verdict"] in ("exact", "bounded")]
    one_only = len({tuple(one.get(name) for name in (*_OF_PROCESS, "side")) for one in sure}) == 1
    its = one_only and _is_its(document, sure[0]["side"])
    return {"processes": listed, **(_fields(sure[0]) if its else {})}


def _is_its(document: Document, side: str) -> bool:
    """Whether all that an alert lists has one source, or one destination and port."""
    end = document.get(side, {})
    return "ip" in end and (side == "source" or "port" in end)


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
