"""Alert documents: nested ECS, with the rule, the group and the evidence.

A document is a function of the rule and of one row of `fold.ALERT_SCHEMA`; its shape is described
in docs/alerts.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple, Protocol

import polars as pl

from connwatch.alert import KEPT, SEVERITY, Document, Written, natural, quoted
from connwatch.schema import ECS_VERSION, STORED

from .fold import EVIDENCE
from .listed import enrichments, places
from .ruleset import Correlation
from .windows.held import Correlated
from .windows.spec import Presence

#: ATT&CK tactics: tag -> (id, name)
TACTICS: Final = {
    "reconnaissance": ("TA0043", "Reconnaissance"),
    "resource_development": ("TA0042", "Resource Development"),
    "initial_access": ("TA0001", "Initial Access"),
    "execution": ("TA0002", "Execution"),
    "persistence": ("TA0003", "Persistence"),
    "privilege_escalation": ("TA0004", "Privilege Escalation"),
    "defense_evasion": ("TA0005", "Defense Evasion"),
    "credential_access": ("TA0006", "Credential Access"),
    "discovery": ("TA0007", "Discovery"),
    "lateral_movement": ("TA0008", "Lateral Movement"),
    "collection": ("TA0009", "Collection"),
    "command_and_control": ("TA0011", "Command and Control"),
    "exfiltration": ("TA0010", "Exfiltration"),
    "impact": ("TA0040", "Impact"),
}
_TECHNIQUE: Final = re.compile(r"^attack\.(t\d{4})(\.\d{3})?$", re.IGNORECASE)
#: values that a message lists
_LISTED: Final = 10
#: of entries of lists, what a message may name
_OF_LISTS: Final = ("indicator", "provider")
_PLACEHOLDER: Final = re.compile(r"\{([^{}]+)\}")
#: alerts that are written at once
_AT_ONCE: Final = 256
_TIME: Final = "%Y-%m-%dT%H:%M:%S%.6fZ"
#: an empty field in what `struct.json_encode` writes; inside a text its quotes have backslashes
_NULLS: Final = r',"[a-z_.]+":null'
#: fields that an alert shows when all of its evidence has the same
_SIDES: Final = ("source.ip", "source.port", "destination.ip", "destination.port")
#: parts of every document
_ECS: Final = quoted({"ecs": {"version": ECS_VERSION}})[1:-1]
_EVENT: Final = quoted(
    {
        "kind": "alert",
        "category": ["network", "intrusion_detection"],
        "type": ["info"],
        "dataset": "connwatch.alerts",
        "module": "connwatch",
    }
)[1:-1]


class Describing(Protocol):
    """What a document says of a rule; `suppress` in microseconds."""

    @property
    def key(self) -> str: ...
    @property
    def id(self) -> str | None: ...
    @property
    def title(self) -> str: ...
    @property
    def description(self) -> str | None: ...
    @property
    def level(self) -> str: ...
    @property
    def tags(self) -> tuple[str, ...]: ...
    @property
    def author(self) -> str | None: ...
    @property
    def references(self) -> tuple[str, ...]: ...
    @property
    def falsepositives(self) -> tuple[str, ...]: ...
    @property
    def message(self) -> str | None: ...
    @property
    def suppress(self) -> int: ...


class _Row(NamedTuple):
    """What of an alert is put together in Python: times as text, `*_us` in microseconds.

    events: the evidence, JSON objects and commas. The four of `_SIDES`: what all of the evidence
    shares. addresses: every address in it, once. named: what messages name of the first event.
    window to counted: None for a rule about one record; shown: what lists say, None without lists.
    """

    alert: str
    rule: str
    group: str
    hits: int
    first: str
    last: str
    fired: str
    first_us: int
    last_us: int
    events: str
    source_ip: str | None
    source_port: int | None
    destination_ip: str | None
    destination_port: int | None
    addresses: list[str]
    named: Mapping[str, Any] | None
    window: Any
    value: Any
    peak: Any
    counted: Any
    shown: Any


def documents(alerts: pl.DataFrame, rules: Mapping[str, Describing]) -> list[Document]:
    """One document per row of `alerts` (`fold.ALERT_SCHEMA`); rules by key."""
    return [one.document() for one in written(alerts, rules)]


def written(alerts: pl.DataFrame, rules: Mapping[str, Describing]) -> list[Written]:
    """The same documents as JSON text: one of every alert that grew, in every batch.

    Columns make what is large, the evidence; Python puts the small parts around it. Of so many
    at once that this takes little room.
    """
    if alerts.is_empty():
        return []
    said = {key: _Said(rules[key]) for key in alerts["rule"].unique()}
    named = tuple(name for name in EVIDENCE if any(name in one.names for one in said.values()))
    return [
        said[row[1]].document(_Row._make(row))
        for part in alerts.iter_slices(_AT_ONCE)
        for row in _rows(part, named).iter_rows()
    ]


def _rows(alerts: pl.DataFrame, named: tuple[str, ...]) -> pl.DataFrame:
    """`_Row` of each alert; named: fields that messages name."""
    return alerts.select(_columns(named))


@lru_cache(maxsize=64)
def _columns(named: tuple[str, ...]) -> list[pl.Expr]:
    return [
        *(pl.col(name) for name in ("alert", "rule", "group")),
        pl.col("count").alias("hits"),
        pl.col("first", "last", "fired").dt.strftime(_TIME),
        pl.col("first", "last").dt.epoch("us").name.suffix("_us"),
        _events().alias("events"),
        *(_shared(name).alias(name.replace(".", "_")) for name in _SIDES),
        _addresses().alias("addresses"),
        _first(named).alias("named"),
        *(pl.col(name) for name in ("window", "value", "peak", "counted", "shown")),
    ]


def _events() -> pl.Expr:
    """The evidence as JSON objects with commas between them, nulls left out.

    The last events may be among the first ones; both are in order, so what is left is too.
    """
    times = (pl.field(name).dt.strftime(_TIME) for name in ("connwatch.log_time", "@timestamp"))
    shown = pl.element().struct.with_fields(*times).struct.json_encode()
    shown = shown.str.replace_all(_NULLS, "")
    more = (pl.col("count") - pl.col("head").list.len()).clip(0, KEPT)
    return pl.concat_str(
        pl.col("head").list.eval(shown).list.join(","),
        pl.when(more > 0).then(pl.col("tail").list.eval(shown).list.tail(more).list.join(",")),
        separator=",",
        ignore_nulls=True,
    )


def _all(end: str, name: str) -> pl.Expr:
    """One field of the first or last events, as a list."""
    return pl.col(end).list.eval(pl.element().struct.field(name))


def _shared(name: str) -> pl.Expr:
    """The value of a field that all of the evidence has, else null."""
    head, tail = _all("head", name), _all("tail", name)
    one = head.list.first()
    alone = (head.list.n_unique() == 1) & (tail.list.n_unique() == 1) & (tail.list.first() == one)
    return pl.when(alone).then(one)


def _addresses() -> pl.Expr:
    sides = ("source.ip", "destination.ip")
    every = pl.concat_list(_all(end, name) for end in ("head", "tail") for name in sides)
    return every.list.unique().list.drop_nulls()


def _first(names: Sequence[str]) -> pl.Expr:
    """Fields of the first event, times as text; null when none is wanted."""
    if not names:
        return pl.lit(None)
    event = pl.col("head").list.first().struct
    return pl.struct(
        event.field(name).dt.strftime(_TIME).alias(name)
        if STORED[name].is_temporal()
        else event.field(name)
        for name in names
    )


class _Said:
    """What a rule says in each of its alerts: what never changes as JSON, its message in pieces."""

    def __init__(self, rule: Describing) -> None:
        severity = SEVERITY.get(rule.level, SEVERITY["medium"])
        self._rule = rule
        self._windows = rule.windows if isinstance(rule, Correlation) else None
        self._message = _PLACEHOLDER.split(_template(rule))
        self._severity = f'"severity":{severity},"risk_score":{float(severity)}'
        self._described = quoted(_described(rule))
        self._level, self._key = quoted(rule.level), quoted(rule.key)
        self._tactics = _threat(rule.tags)
        self._threat = _threatening(self._tactics)

    @property
    def names(self) -> frozenset[str]:
        """What the message names, each between two pieces of it."""
        return frozenset(self._message[1::2])

    def document(self, row: _Row) -> Written:
        """One alert's document; the order of its keys is the one of docs/alerts.md."""
        group = json.loads(row.group)
        values = _values(row, self._windows) if self._windows else {}
        threat = self._threat
        if row.shown:
            values["lists"] = places(row.shown)
            threat = _threatening({**self._tactics, "enrichments": enrichments(row.shown)})
        measured = f'"values":{quoted(values)},' if values else ""
        message = self._filled(row, group, values)
        text = (
            f'{{"@timestamp":"{row.first}",{_ECS},'
            f'"event":{{"id":"{row.alert}",{_EVENT},'
            f'"start":"{row.first}","end":"{row.last}",{self._severity}}},'
            f'"message":{quoted(message)},"rule":{self._described},'
            f'"connwatch":{{"level":{self._level},"status":"open","count":{row.hits},'
            f'"group":{row.group},"evidence":[{row.events}],{measured}'
            f'"key":{{"rule":{self._key},"group":{quoted(row.group)},'
            f'"suppress_us":{self._rule.suppress}}}}},'
            f"{_sides(row, group)}{threat}}}"
        )
        return Written(
            text,
            row.alert,
            row.rule,
            row.group,
            start=row.first_us,
            end=row.last_us,
            suppress=self._rule.suppress,
            count=row.hits,
            lists=bool(row.shown),
        )

    def _filled(self, row: _Row, group: Mapping[str, Any], values: Mapping[str, Any]) -> str:
        """The message with the values of the first event; of windows without one, a plain one."""
        if self._windows and not self._rule.message:
            who = ", ".join(f"{name} {one}" for name, one in group.items())
            what = " ".join((values["measure"], *values.get("fields", ())))
            return f"{self._rule.title}: {who + ': ' if who else ''}{what} {values['peak']}"
        known = {**(row.named or {}), **group, **_told(values, row.hits)}
        pieces = list(self._message)
        pieces[1::2] = [_plain(known.get(name), values.get("peak")) for name in pieces[1::2]]
        return "".join(pieces)


def _template(rule: Describing) -> str:
    return rule.message or f"{rule.title}: {{source.ip}} to {{destination.ip}}"


def _plain(value: object, peak: float | None) -> str:
    """A value as a message shows it; of counted ones the first, and how many more there are."""
    if isinstance(value, list):
        number = max(len(value), int(peak or 0))
        more = f" and {number - _LISTED} more" if number > _LISTED else ""
        return ", ".join(map(str, value[:_LISTED])) + more
    return "unknown" if value is None else str(value)


def _sides(row: _Row, group: Mapping[str, Any]) -> str:
    """As `connwatch.alert.sides`, of what the columns found: members of a JSON object."""
    found = ""
    for side, ip, port in (
        ("source", row.source_ip, row.source_port),
        ("destination", row.destination_ip, row.destination_port),
    ):
        grouped = group.get(f"{side}.ip")
        ip = ip if grouped is None else grouped
        fields = [] if ip is None else [f'"ip":{quoted(ip)}']
        fields += [] if port is None else [f'"port":{port}']
        if fields:
            found += f'"{side}":{{{",".join(fields)}}},'
    addresses = ",".join(map(quoted, sorted(row.addresses)))
    return f'{found}"related":{{"ip":[{addresses}]}}'


def _described(rule: Describing) -> dict[str, Any]:
    fields = {
        "id": rule.id or rule.key,
        "name": rule.title,
        "description": rule.description,
        "author": [rule.author] if rule.author else None,
        "reference": rule.references[0] if rule.references else None,
        "ruleset": "connwatch",
    }
    return {name: value for name, value in fields.items() if value is not None}


def _values(row: _Row, rule: Correlated) -> Document:
    """What the window that fired first measured, and how."""
    found: dict[str, Any] = {
        **asked(rule, row.window),
        "fired": row.fired,
        "value": _plain_number(row.value),
        "peak": _plain_number(row.peak),
        "counted": natural(row.counted) if row.counted else None,
        "actor": rule.actor,
    }
    return {name: value for name, value in found.items() if value is not None}


def asked(rule: Correlated, place: int) -> Document:
    """What one window of a rule measures, and when that is worth an alert, as documents say it."""
    window = rule.windows[place]
    fields = sorted({name for per in window.fields for name in per})
    condition = window.condition
    found: dict[str, Any] = {
        "window": window.name or None,
        "measure": window.measure,
        "fields": fields or None,
        "rules": list(rule.names) if window.measure.startswith("temporal") else None,
        "condition": condition.text(rule.names)
        if isinstance(condition, Presence)
        else str(condition),
        "timespan_seconds": window.timespan // 1_000_000,
    }
    return {name: value for name, value in found.items() if value is not None}


def _told(values: Mapping[str, Any], count: int) -> Document:
    """What a message may say beside fields: values, the count, and who listed what."""
    lists = values.get("lists")
    if not lists:
        return {**values, "count": count}
    said = {name: list(dict.fromkeys(one[name] for one in lists)) for name in _OF_LISTS}
    return {**values, "count": count, **{name: found for name, found in said.items() if found}}


def _plain_number(value: float) -> float | int:
    return int(value) if value.is_integer() else value


def _threatening(threat: Mapping[str, Any]) -> str:
    """The last member of a document, if there is one."""
    return f',"threat":{quoted(threat)}' if threat else ""


@cache
def _threat(tags: tuple[str, ...]) -> dict[str, Any]:
    tactics, techniques, subtechniques = [], [], []
    for tag in tags:
        name = tag.lower().removeprefix("attack.").replace("-", "_")
        if name in TACTICS:
            tactics.append(TACTICS[name])
        elif technique := _TECHNIQUE.match(tag):
            number = technique.group(1).upper()
            if number not in techniques:
                techniques.append(number)
            if technique.group(2):
                subtechniques.append(number + technique.group(2))
    threat: dict[str, Any] = {}
    if tactics:
        threat["tactic"] = {"id": [t[0] for t in tactics], "name": [t[1] for t in tactics]}
    if techniques:
        threat["technique"] = {"id": techniques}
        if subtechniques:
            threat["technique"]["subtechnique"] = {"id": subtechniques}
    if threat:
        threat["framework"] = "MITRE ATT&CK"
    return threat
