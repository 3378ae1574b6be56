"""Alert documents as every part of the house handles them: their evidence, union and digest.

The shape is described in docs/alerts.md. `detectors.alerts` makes documents, stores keep and join
them, the command line compares them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

#: Sigma level -> event.severity and event.risk_score, as Kibana counts them
SEVERITY: Final = {"informational": 1, "low": 21, "medium": 47, "high": 73, "critical": 99}

#: hits kept at either end of an alert's evidence
KEPT: Final = 5

#: counted values that an alert lists
COUNTED: Final = 50

Document = dict[str, Any]

_EPOCH: Final = datetime.fromtimestamp(0, UTC)


#: texts and small values as JSON, and whole documents
quoted: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Written(Mapping[str, Any]):
    """A document as JSON text, read only when somebody looks inside.

    text: the document. What a store asks of every one stands beside: id, rule (its key), group
    (its JSON text), start and end (log time of the first and last hit) and suppress, all in
    microseconds, and count. It is never changed.
    """

    __slots__ = ("_document", "count", "end", "group", "id", "rule", "start", "suppress", "text")

    def __init__(
        self,
        text: str,
        alert: str,
        rule: str,
        group: str,
        *,
        start: int,
        end: int,
        suppress: int,
        count: int,
    ) -> None:
        self.text, self.id, self.rule, self.group = text, alert, rule, group
        self.start, self.end, self.suppress, self.count = start, end, suppress, count
        self._document: Document | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Written:
        """A document that is JSON values as text."""
        if isinstance(document, cls):
            return document
        own, event = document["connwatch"], document["event"]
        key = own["key"]
        return cls(
            quoted(document),
            event["id"],
            key["rule"],
            key["group"],
            start=micros(event["start"]),
            end=micros(event["end"]),
            suppress=key["suppress_us"],
            count=own["count"],
        )

    def document(self) -> Document:
        """A copy of its own for the caller, who may change it."""
        read: Document = json.loads(self.text)
        return read

    def __getitem__(self, name: str) -> Any:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def _read(self) -> Document:
        if self._document is None:
            self._document = self.document()
        return self._document


def micros(text: str) -> int:
    """A document's time as microseconds since the epoch."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC with microseconds, as every time in a document is written."""
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def evidence(events: Iterable[Mapping[str, Any]]) -> list[Document]:
    """The first and the last `KEPT` of these events by log time (ties by id), each once.

    events: of the evidence of one alert or of several that are one.
    """
    unique = {event["event.id"]: dict(event) for event in events}
    ordered = sorted(unique.values(), key=lambda e: (e["connwatch.log_time"], e["event.id"]))
    return ordered if len(ordered) <= 2 * KEPT else ordered[:KEPT] + ordered[-KEPT:]


def sides(events: Iterable[Mapping[str, Any]], group: Mapping[str, Any]) -> Document:
    """source, destination and related of a document: what its evidence has in common."""
    shown = list(events)
    found: Document = {}
    for side in ("source", "destination"):
        fields = {}
        for name in ("ip", "port"):
            values = {event.get(f"{side}.{name}") for event in shown}
            if len(values) == 1 and None not in values:
                fields[name] = values.pop()
        if group.get(f"{side}.ip") is not None:
            fields["ip"] = group[f"{side}.ip"]
        if fields:
            found[side] = fields
    found["related"] = {
        "ip": sorted({event[f"{side}.ip"] for event in shown for side in ("source", "destination")})
    }
    return found


def joined(documents: Iterable[Document], count: int) -> Document:
    """One document of several that turn out to be one alert of one rule and group.

    Id, message, rule and status are those of the one that began first (ties by id).
    """
    ordered = sorted(documents, key=lambda d: (d["event"]["start"], d["event"]["id"]))
    first = ordered[0]
    own = dict(first["connwatch"])
    own["count"] = count
    own["evidence"] = evidence(e for d in ordered for e in d["connwatch"]["evidence"])
    union = {**first, "connwatch": own, "event": dict(first["event"])}
    union["event"]["end"] = max(d["event"]["end"] for d in ordered)
    if "values" in own:
        own["values"] = _values([d["connwatch"]["values"] for d in ordered])
    for name in ("source", "destination", "related"):
        union.pop(name, None)
    union.update(sides(own["evidence"], own["group"]))
    return union


def _values(several: list[Document]) -> Document:
    """What windows measured in alerts that are one: what fired first, and the most of all."""
    own = dict(several[0])
    own["peak"] = max(one["peak"] for one in several)
    counted = {value for one in several for value in one.get("counted", ())}
    if counted:
        own["counted"] = natural(sorted(counted, key=lambda text: (len(text), text))[:COUNTED])
    return own


def natural(values: Iterable[str]) -> list[str]:
    """Texts in order, numbers in them by size: 22, 80, 443."""
    return sorted(values, key=_parts)


@lru_cache(maxsize=2**14)  # an alert that grows counts the same values again and again
def _parts(text: str) -> tuple[tuple[int, int, str], ...]:
    return tuple(
        (0, int(part), "") if part.isdecimal() else (1, 0, part)
        for part in re.split(r"([0-9]+)", text)
    )


def fired(document: Mapping[str, Any]) -> str:
    """When an alert fired first: log time; what windows saw before belongs to it too."""
    begun: str = document["connwatch"].get("values", {}).get("fired", document["event"]["start"])
    return begun


def fingerprint(document: Mapping[str, Any]) -> str:
    """What makes an alert the same alert, as text: never a path, an offset or a status.

    Id, rule, group, times, count, level, message and the ids of the evidence.
    """
    own = document["connwatch"]
    return json.dumps(
        [
            document["event"]["id"],
            document["rule"]["id"],
            own["group"],
            document["event"]["start"],
            document["event"]["end"],
            own["count"],
            own["level"],
            document["message"],
            [event["event.id"] for event in own["evidence"]],
            own.get("values"),
        ],
        sort_keys=True,
        ensure_ascii=False,
        separators=(",", ":"),
    )


class Digest:
    """One SHA-256 over a set of alerts, whatever the order in which they come."""

    def __init__(self) -> None:
        self._each: list[bytes] = []

    def add(self, document: Mapping[str, Any]) -> None:
        self._each.append(hashlib.sha256(fingerprint(document).encode()).digest())

    def hexdigest(self) -> str:
        return hashlib.sha256(b"".join(sorted(self._each))).hexdigest()


def digest(documents: Iterable[Mapping[str, Any]]) -> str:
    """The digest of a set of alerts, 64 hex digits."""
    total = Digest()
    for document in documents:
        total.add(document)
    return total.hexdigest()
