"""Alert documents: nested ECS, with the rule, the group and the evidence.

A document is a function of the rule and of one row of `fold.ALERT_SCHEMA`; its shape is described
in docs/alerts.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final, Protocol

import polars as pl

from connwatch.alert import SEVERITY, Document, natural, sides
from connwatch.schema import ECS_VERSION

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
_PLACEHOLDER: Final = re.compile(r"\{([^{}]+)\}")


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


def documents(alerts: pl.DataFrame, rules: Mapping[str, Describing]) -> list[Document]:
    """One document per row of `alerts` (`fold.ALERT_SCHEMA`); rules by key."""
    time = "%Y-%m-%dT%H:%M:%S%.6fZ"
    shown = pl.element().struct.with_fields(
        *(pl.field(name).dt.strftime(time) for name in ("connwatch.log_time", "@timestamp"))
    )
    rows = alerts.select(
        "alert",
        "rule",
        "group",
        "count",
        "window",
        "value",
        "peak",
        "counted",
        pl.col("first", "last", "fired").dt.strftime(time),
        evidence=pl.concat_list("head", "tail").list.eval(shown),
    )
    return [_document(row, rules[row["rule"]]) for row in rows.iter_rows(named=True)]


def _document(row: Mapping[str, Any], rule: Describing) -> Document:
    # The last events may be among the first ones; both are in order, so what is left is too.
    listed = [_plain(event) for event in {e["event.id"]: e for e in row["evidence"]}.values()]
    group = json.loads(row["group"])
    values = _values(row, rule.windows) if isinstance(rule, Correlation) else {}
    severity = SEVERITY.get(rule.level, SEVERITY["medium"])
    first = row["first"]
    document: Document = {
        "@timestamp": first,
        "ecs": {"version": ECS_VERSION},
        "event": {
            "id": row["alert"],
            "kind": "alert",
            "category": ["network", "intrusion_detection"],
            "type": ["info"],
            "dataset": "connwatch.alerts",
            "module": "connwatch",
            "start": first,
            "end": row["last"],
            "severity": severity,
            "risk_score": float(severity),
        },
        "message": _message(rule, listed[0], group, {**values, "count": row["count"]}),
        "rule": _rule(rule),
        "connwatch": {
            "level": rule.level,
            "status": "open",
            "count": row["count"],
            "group": group,
            "evidence": listed,
            **({"values": values} if values else {}),
            "key": {"rule": row["rule"], "group": row["group"], "suppress_us": rule.suppress},
        },
    }
    document.update(sides(listed, group))
    threat = _threat(rule.tags)
    if threat:
        document["threat"] = threat
    return document


def _plain(event: Mapping[str, Any]) -> Document:
    """One event of the evidence: flat field names, nulls left out."""
    return {name: value for name, value in event.items() if value is not None}


def _rule(rule: Describing) -> dict[str, Any]:
    fields = {
        "id": rule.id or rule.key,
        "name": rule.title,
        "description": rule.description,
        "author": [rule.author] if rule.author else None,
        "reference": rule.references[0] if rule.references else None,
        "ruleset": "connwatch",
    }
    return {name: value for name, value in fields.items() if value is not None}


def _values(row: Mapping[str, Any], rule: Correlated) -> Document:
    """What the window that fired first measured, and how."""
    found: dict[str, Any] = {
        **asked(rule, row["window"]),
        "fired": row["fired"],
        "value": _plain_number(row["value"]),
        "peak": _plain_number(row["peak"]),
        "counted": natural(row["counted"]) if row["counted"] else None,
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


def _plain_number(value: float) -> float | int:
    return int(value) if value.is_integer() else value


def _message(
    rule: Describing,
    event: Mapping[str, Any],
    group: Mapping[str, Any],
    values: Mapping[str, Any],
) -> str:
    """The rule's message with the values of the first event filled in; a plain one otherwise."""
    known = {**event, **group, **values}

    def value(found: re.Match[str]) -> str:
        filled = known.get(found.group(1))
        if isinstance(filled, list):
            number = max(len(filled), int(values["peak"]))
            more = f" and {number - _LISTED} more" if number > _LISTED else ""
            return ", ".join(map(str, filled[:_LISTED])) + more
        return "unknown" if filled is None else str(filled)

    if rule.message:
        return _PLACEHOLDER.sub(value, rule.message)
    if "measure" not in values:
        return _PLACEHOLDER.sub(value, f"{rule.title}: {{source.ip}} to {{destination.ip}}")
    who = ", ".join(f"{name} {one}" for name, one in group.items())
    what = " ".join((values["measure"], *values.get("fields", ())))
    return f"{rule.title}: {who + ': ' if who else ''}{what} {values['peak']}"


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
