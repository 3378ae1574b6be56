"""Alert documents as every part of the house handles them: their evidence, union and digest.

The shape is described in docs/alerts.md. `detectors.alerts` makes documents, stores keep and join
them, the command line compares them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from socket import AF_INET, inet_pton
from typing import Any, Final

#: Sigma level -> event.severity and event.risk_score, as Kibana counts them
SEVERITY: Final = {"informational": 1, "low": 21, "medium": 47, "high": 73, "critical": 99}

#: hits kept at either end of an alert's evidence
KEPT: Final = 5

#: counted values that an alert lists
COUNTED: Final = 50

#: different indicators of lists that an alert names
ENRICHMENTS: Final = 20

Document = dict[str, Any]

_EPOCH: Final = datetime.fromtimestamp(0, UTC)


_DIGITS: Final = re.compile(r"([0-9]+)")

#: texts and small values as JSON, and whole documents
quoted: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Written(Mapping[str, Any]):
    """A document as JSON text, read only when somebody looks inside.

    text: the document. What a store asks of every one stands beside: id, rule (its key), group
    (its JSON text), start and end (log time of the first and last hit) and suppress, all in
    microseconds, count, and lists: whether lists say something of it. It is never changed.
    """

    __slots__ = (
        "_document", "count", "end", "group", "id", "lists", "rule", "start", "suppress", "text",
    )  # fmt: skip

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
        lists: bool = False,
    ) -> None:
        self.text, self.id, self.rule, self.group = text, alert, rule, group
        self.start, self.end, self.suppress, self.count = start, end, suppress, count
        self.lists = lists
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
            lists="lists" in own.get("values", {}),
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
    names = ("source.ip", "destination.ip")
    found["related"] = {"ip": sorted({e[name] for e in shown for name in names if name in e})}
    return found


def joined(
    documents: Sequence[Document], count: int, shown: Mapping[str, int] | None = None
) -> Document:
    """One document of several that turn out to be one alert of one rule and group.

    Id, message, rule and status are those of the one that began first (ties by id). shown: how many
    hits that the others do not have showed an indicator of a list (by `indicator_key`), where
    hits of the first document may be hits of the others too.
    """
    ordered = sorted(documents, key=lambda d: (d["event"]["start"], d["event"]["id"]))
    first = ordered[0]
    own = dict(first["connwatch"])
    own["count"] = count
    own["evidence"] = evidence(e for d in ordered for e in d["connwatch"]["evidence"])
    union = {**first, "connwatch": own, "event": dict(first["event"])}
    union["event"]["end"] = max(d["event"]["end"] for d in ordered)
    if "lists" in own.get("values", {}):
        _unite_lists(union, documents, shown or {})
    elif "values" in own:
        own["values"] = _values([d["connwatch"]["values"] for d in ordered])
    for name in ("source", "destination", "related"):
        union.pop(name, None)
    union.update(sides(own["evidence"], own["group"]))
    return union


def united(document: Document, there: Document) -> Document:
    """One document of two that tell of one alert, where nobody knows which hits both count: the
    count is the larger one. What says no more than the other is nothing new; status as in
    `there`, unless nothing was said of it."""
    own, others = document["connwatch"], there["connwatch"]
    said = [one["status"] for one in (others, own) if one["status"] != "open"]
    if _covers(there, document):
        union = there
    elif _covers(document, there) or ("values" in own) != ("values" in others):
        union = document
    elif "lists" in own.get("values", {}) or "lists" in others.get("values", {}):
        union = max(document, there, key=lambda one: one["connwatch"]["count"])
    else:
        union = joined([document, there], max(own["count"], others["count"]))
    return {**union, "connwatch": {**union["connwatch"], "status": said[0] if said else "open"}}


def _covers(one: Document, other: Document) -> bool:
    """Whether an alert has all that is told of another."""
    event, its = one["event"], other["event"]
    return bool(
        event["start"] <= its["start"]
        and event["end"] >= its["end"]
        and one["connwatch"]["count"] >= other["connwatch"]["count"]
    )


def _values(several: list[Document]) -> Document:
    """What windows measured in alerts that are one: what fired first, and the most of all."""
    own = dict(several[0])
    own["peak"] = max(one["peak"] for one in several)
    counted = {value for one in several for value in one.get("counted", ())}
    if counted:
        own["counted"] = natural(sorted(counted, key=lambda text: (len(text), text))[:COUNTED])
    return own


def _unite_lists(union: Document, documents: Sequence[Document], shown: Mapping[str, int]) -> None:
    """What the lists said of alerts that are one: each different indicator once, in their order.

    The count of one that the others do not name is what the first document counted.
    """
    counts: dict[str, int] = {}
    told: dict[str, tuple[str, Document, Document]] = {}
    first, others = documents[0], documents[1:]
    for document in (*others, first):
        lists = document["connwatch"]["values"]["lists"]
        for place, enrichment in zip(lists, document["threat"]["enrichments"], strict=True):
            key = indicator_key(place)
            if document is first:
                counts[key] = max(counts.get(key, 0) + shown.get(key, 0), place["count"])
            else:
                counts[key] = counts.get(key, 0) + place["count"]
            one = (json.dumps(enrichment, sort_keys=True), place, enrichment)
            told[key] = min(told.get(key, one), one, key=lambda each: each[0])
    chosen = sorted(told, key=lambda key: _place_order(told[key][1]))[:ENRICHMENTS]
    own = union["connwatch"]
    own["values"] = {
        **own["values"],
        "lists": [{**told[key][1], "count": counts[key]} for key in chosen],
    }
    union["threat"] = {**union["threat"], "enrichments": [told[key][2] for key in chosen]}


#: what makes an indicator of `connwatch.values.lists` itself, in the order in which they are listed
_ITSELF: Final = ("indicator", "port", "valid_from", "valid_until", "provider")


def indicator_key(place: Mapping[str, Any]) -> str:
    """What makes an indicator of a list itself, as text: value, port, validity and provider."""
    return json.dumps([place.get(name) for name in _ITSELF])


def _place_order(place: Document) -> tuple[Any, ...]:
    port = place.get("port")
    values = (place.get(name) or "" for name in _ITSELF if name != "port")
    indicator, *rest = values
    return (indicator, -1 if port is None else port, *rest)


def natural(values: Iterable[str]) -> list[str]:
    """Texts in order, numbers in them by size: 22, 80, 443."""
    texts = list(values)
    try:  # the same order, found sooner
        return sorted(texts, key=partial(inet_pton, AF_INET))
    except OSError:
        return sorted(texts, key=_parts)


@lru_cache(maxsize=2**14)  # an alert that grows counts the same values again and again
def _parts(text: str) -> tuple[tuple[int, int, str], ...]:
    """No part becomes a number: one with thousands of digits would be refused."""
    pieces = _DIGITS.split(text)
    pieces[1::2] = [piece.lstrip("0") for piece in pieces[1::2]]
    return tuple(
        (0, len(piece), piece) if place % 2 else (1, 0, piece) for place, piece in enumerate(pieces)
    )


#: what a document says of one process alone
_PROCESS: Final = ("process", "user", "host")
#: what it says of processes, and of who else tells of its events
_LEARNED: Final = ("processes", "witnesses")


def with_learned(document: Document, told: Mapping[str, Any]) -> Document:
    """A document with what other records tell of its events, in the place of what it said of that.

    told: `processes` behind them and `witnesses`, lists; `process`, `user` and `host` where one
    process alone is sure. What is not there, the document does not say.
    """
    made = {name: value for name, value in document.items() if name not in _PROCESS}
    own = {name: value for name, value in document["connwatch"].items() if name not in _LEARNED}
    made["connwatch"] = {**own, **{name: told[name] for name in _LEARNED if name in told}}
    return {**made, **{name: told[name] for name in _PROCESS if name in told}}


def parted(document: Document) -> tuple[Document, Document | None]:
    """A document without what other records tell of its events, and that; None: nothing."""
    own = dict(document["connwatch"])
    told = {name: own.pop(name) for name in _LEARNED if name in own}
    if not told:
        return document, None
    told |= {name: document[name] for name in _PROCESS if name in document}
    rest = {name: value for name, value in document.items() if name not in _PROCESS}
    return {**rest, "connwatch": own}, told


def fired(document: Mapping[str, Any]) -> str:
    """When an alert fired first: log time; what windows saw before belongs to it too."""
    begun: str = document["connwatch"].get("values", {}).get("fired", document["event"]["start"])
    return begun


def fingerprint(document: Mapping[str, Any]) -> str:
    """What makes an alert the same alert, as text: never a path, a line, an offset or a status.

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
            _fixed(own.get("values")),
        ],
        sort_keys=True,
        ensure_ascii=False,
        separators=(",", ":"),
    )


def _fixed(values: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The values without the places of entries in lists."""
    if values is None or "lists" not in values:
        return values
    places = [
        {name: value for name, value in one.items() if name not in ("file", "line", "entry")}
        for one in values["lists"]
    ]
    return {**values, "lists": places}


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
