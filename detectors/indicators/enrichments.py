"""What an alert says of the indicators behind it: objects of ECS `threat.enrichments`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from connwatch.alert import iso

from .match import Indicators

#: kind of an indicator -> ECS indicator.type
_TYPES: Final = {"domain": "domain-name", "port": "port"}
_MATCHED: Final = "indicator_match_rule"


def enrichments(
    event: Mapping[str, Any], found: Iterable[tuple[str, int]], indicators: Indicators
) -> list[dict[str, Any]]:
    """One nested object per field and indicator that the event matched, in the order given.

    event: its columns by name. found: field and indicator of its rows in what `match` returned.
    indicator.ip is an address only; a network stands in indicator.name, as every value does.
    first_seen is valid_from. What the list does not give is left out.
    """
    return [
        enrichment(indicators.entries.row(indicator, named=True), field, atomic(event.get(field)))
        for field, indicator in found
    ]


def enrichment(entry: Mapping[str, Any], field: str, seen: str | None) -> dict[str, Any]:
    """One object: what the list says (a row of `ENTRY_SCHEMA`), in which field of an event, and
    the field's value as text."""
    matched = {"atomic": seen, "field": field, "type": _MATCHED, "id": entry["id"]}
    return {
        "indicator": _indicator(entry),
        "matched": {name: value for name, value in matched.items() if value is not None},
    }


def atomic(value: object) -> str | None:
    """A value of an event as text."""
    if value is None:
        return None
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _indicator(entry: Mapping[str, Any]) -> dict[str, Any]:
    kind, begins = entry["kind"], entry["valid_from"]
    made = {
        "type": _TYPES.get(kind) or f"ipv{entry['version']}-addr",
        "name": entry["value"],
        "ip": entry["value"] if kind == "address" else None,
        "port": entry["port"],
        "url": {"domain": entry["value"]} if kind == "domain" else None,
        "provider": entry["provider"],
        "reference": entry["reference"],
        "description": entry["description"],
        "confidence": entry["confidence"],
        "first_seen": None if begins is None else iso(begins),
    }
    return {name: value for name, value in made.items() if value is not None}
