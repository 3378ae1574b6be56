"""Component templates and index templates, made from the schema and from the fields of alerts.

What is saved here was measured (`python -m benchmarks.elastic size`: 425 bytes an event with all of
it, 640 without, of 1,327 that are sent):

* times are `date_nanos`: `date` has milliseconds, so that searching and sorting by the microseconds
  that we have would be wrong. It costs two bytes in a hundred.
* a field that is not in `INDEXED` has doc values only: it is searched, sorted and counted as any
  other, by going through the values. An index for each would be a fifth more.
* stored fields are compressed well; without that, a third more.
* documents of an index are sorted by time, newest first, so that the newest are found without
  looking at the others. It costs no room.
* `_source` is kept as it was sent. A synthetic one takes a third less, but needs a licence, sorts
  lists and drops what occurs twice in them (`related.ip` of a host that talks to itself), writes
  addresses in another way, and numbers of unknown fields as text.

Values that do not fit a field's type are ignored there and stay in the document. Only field types
that every server has are used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from connwatch.query.documents import ALERT_FIELDS
from connwatch.schema import COLUMNS, ECS_VERSION, OBJECTS

from .layout import Layout

#: of what the templates say; a program refuses those of a later one
VERSION: Final = 1
#: characters up to which a value of unknown fields can be searched (`fitting` has the names' part)
IGNORED: Final = 3_500
#: the same for the texts of alerts: always less than 32,766 bytes
IGNORED_TEXT: Final = 8_191
#: templates of others for the same names have less
PRIORITY: Final = 300

#: event fields that people look for by value, among many: these have an index of their own
INDEXED: Final = frozenset(
    {
        "@timestamp",
        "event.dataset",
        "source.ip",
        "source.port",
        "destination.ip",
        "destination.port",
        "network.community_id",
        "network.transport",
        "network.protocol",
        "observer.name",
        "related.ip",
        "zeek.session_id",
        "zeek.connection.state",
        "zeek.connection.history",
        "zeek.connection.service",
        "zeek.connection.tunnel_parents",
        "connwatch.extra",
        "labels",
    }
)

_TYPES: Final[dict[str, dict[str, Any]]] = {
    "date": {"type": "date_nanos"},
    "object": {"type": "flattened", "ignore_above": IGNORED},
    "flattened": {"type": "flattened", "ignore_above": IGNORED},
    "match_only_text": {"type": "text", "norms": False},
}

#: fields of alert documents that queries know from the documents themselves
_ALERTS_TOO: Final[dict[str, str]] = {
    "connwatch.key.group": "keyword",
    "connwatch.key.rule": "keyword",
    "connwatch.key.suppress_us": "long",
    "connwatch.processes.candidates": "keyword",
    "connwatch.processes.events": "long",
    "connwatch.processes.host": "keyword",
    "connwatch.processes.name": "keyword",
    "connwatch.processes.pid": "long",
    "connwatch.processes.reason": "keyword",
    "connwatch.processes.side": "keyword",
    "connwatch.processes.user": "keyword",
    "connwatch.processes.verdict": "keyword",
    "connwatch.values.condition": "keyword",
    "connwatch.values.counted": "keyword",
    "connwatch.values.fields": "keyword",
    "connwatch.values.fired": "date",
    "connwatch.values.measure": "keyword",
    "connwatch.values.peak": "double",
    "connwatch.values.rules": "keyword",
    "connwatch.values.timespan_seconds": "long",
    "connwatch.values.value": "double",
    "connwatch.values.window": "keyword",
    "connwatch.witnesses.@timestamp": "date",
    "connwatch.witnesses.event.dataset": "keyword",
    "connwatch.witnesses.event.id": "keyword",
    "connwatch.witnesses.event.sequence": "long",
    "connwatch.witnesses.log.file.path": "keyword",
    "connwatch.witnesses.log.offset": "long",
    "connwatch.witnesses.observer.name": "keyword",
    "connwatch.witnesses.of": "keyword",
    "connwatch.witnesses.process.name": "keyword",
    "connwatch.witnesses.process.pid": "long",
    "ecs.version": "keyword",
    "event.module": "keyword",
    "event.type": "keyword",
    "rule.author": "keyword",
    "rule.reference": "keyword",
    "rule.ruleset": "keyword",
}
#: objects whose names are ours, and may be more than those above: numbers and texts as they come
_OPEN: Final = ("connwatch.values", "threat.enrichments")


def field(es: str) -> dict[str, Any]:
    """The mapping of a field of a type of the schema."""
    return dict(_TYPES.get(es, {"type": es}))


def event_mappings(layout: Layout) -> dict[str, Any]:
    """The mapping of events: every column of the schema."""
    fields = {}
    for column in COLUMNS:
        fields[column.name] = field(column.es)
        if column.name not in INDEXED:
            fields[column.name]["index"] = False
    return _mappings(layout, fields)


def alert_mappings(layout: Layout) -> dict[str, Any]:
    """The mapping of alerts; `connwatch.group` and `connwatch.evidence` have the events' fields."""
    types = {name: es for name, (_, es) in ALERT_FIELDS.items()} | _ALERTS_TOO
    for column in COLUMNS:
        if column.name not in OBJECTS:
            for place in ("connwatch.group", "connwatch.evidence"):
                types[f"{place}.{column.name}"] = column.es
    fields = {name: field(es) for name, es in types.items()}
    for one in fields.values():
        if one["type"] == "keyword":
            one["ignore_above"] = IGNORED_TEXT
    mappings = _mappings(layout, fields)
    for path in _OPEN:
        _at(mappings, path)["dynamic"] = "true"
    text = {"type": "keyword", "ignore_above": IGNORED_TEXT}
    mappings["dynamic_templates"] = [
        {name: {"match_mapping_type": name, "mapping": {"type": "double"}}}
        for name in ("long", "double")
    ] + [{"string": {"match_mapping_type": "string", "mapping": text}}]
    mappings["date_detection"] = False
    return mappings


def _mappings(layout: Layout, fields: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    mappings: dict[str, Any] = {"dynamic": "false", "properties": {}}
    for name, one in fields.items():
        *path, last = name.split(".")
        _at(mappings, ".".join(path))["properties"][last] = dict(one)
    mappings["_meta"] = meta(layout)
    return mappings


def _at(mappings: dict[str, Any], path: str) -> dict[str, Any]:
    """The object at a path of a mapping, made if need be."""
    here = mappings
    for step in path.split(".") if path else ():
        here = here["properties"].setdefault(step, {"properties": {}})
    return here


def meta(layout: Layout) -> dict[str, Any]:
    """What templates and indices say of themselves."""
    return {
        "product": "connwatch",
        "version": VERSION,
        "ecs": ECS_VERSION,
        "schema": schema_hash(),
        "routing": layout.routing,
    }


def schema_hash() -> str:
    """Of the fields of events: names, types and which can be searched by value. 12 hex digits."""
    told = [(column.name, column.es, column.name in INDEXED) for column in COLUMNS]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]


def settings(layout: Layout, policy: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The settings of every index; policy: settings that give it to a lifecycle policy."""
    return {
        "index": {
            "number_of_shards": layout.shards,
            "number_of_replicas": layout.replicas,
            "codec": layout.codec,
            "sort": {"field": ["@timestamp"], "order": ["desc"]},
            "mapping": {"ignore_malformed": True},
            **(policy or {}),
        }
    }


def components(layout: Layout, lifecycle: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Component templates by name. lifecycle: settings of each family's policy, by alias."""
    own = {"version": VERSION, "_meta": meta(layout)}
    fields = {layout.events: event_mappings(layout), layout.alerts: alert_mappings(layout)}
    found: dict[str, dict[str, Any]] = {
        layout.settings_component: {"template": {"settings": settings(layout)}, **own}
    }
    for family, mappings in fields.items():
        template: dict[str, Any] = {"mappings": mappings}
        if lifecycle.get(family):
            template["settings"] = {"index": {"lifecycle": lifecycle[family]}}
        found[layout.component(family)] = {"template": template, **own}
    return found


def index_templates(layout: Layout) -> dict[str, dict[str, Any]]:
    """Index templates by name, one a family."""
    return {
        family: {
            "index_patterns": layout.patterns(family),
            "composed_of": [layout.settings_component, layout.component(family)],
            "priority": PRIORITY,
            "template": {"aliases": {family: {}}},
            "version": VERSION,
            "_meta": meta(layout),
        }
        for family in layout.families
    }


def leaves(mappings: Mapping[str, Any], path: str = "") -> dict[str, str]:
    """Field -> type of a mapping; objects are left out."""
    found: dict[str, str] = {}
    for name, one in mappings.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        if "properties" in one:
            found |= leaves(one, here)
        elif one.get("type", "object") != "object":
            found[here] = one["type"]
    return found
