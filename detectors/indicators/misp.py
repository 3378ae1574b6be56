"""MISP JSON: the attributes of exported events, and of the objects in them.

    {"Event": {"info": "Campaign", "Orgc": {"name": "CERT"}, "Attribute": [
      {"type": "ip-dst|port", "value": "203.0.113.7|443", "to_ids": true, "uuid": "…"}]}}

Also {"response": [{"Event": …}, …]}, {"response": {"Attribute": […]}} and a list of events. An
attribute is taken when MISP says that it is for detection (`to_ids`); `ListOptions.all_attributes`
takes the others too. MISP does not say when an attribute ceases to be valid: validity is open.
https://www.misp-standard.org/rfc/misp-standard-core.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import polars as pl

from .table import ListOptions, clean, raw_rows, shown

#: attribute types -> what each half of their value (left and right of |) is
TYPES: Final[dict[str, tuple[str, ...]]] = {
    "ip-src": ("address",),
    "ip-dst": ("address",),
    "ip-src|port": ("address", "port"),
    "ip-dst|port": ("address", "port"),
    "domain": ("domain",),
    "hostname": ("domain",),
    "domain|ip": ("domain", "address"),
    "hostname|port": ("domain", "port"),
    "port": ("port",),
}


def take(document: object, options: ListOptions) -> pl.DataFrame:
    """The entries of an export as `RAW_SCHEMA`."""
    return raw_rows(
        row
        for where, event in _events(document)
        for place, attribute in _attributes(where, event)
        for row in _rows(place, attribute, event, options)
    )


def is_misp(document: object) -> bool:
    """Whether a JSON document looks like an export."""
    return next(_events(document), None) is not None


def _events(document: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Where each event stands, and the event; loose attributes are an event without a name."""
    where, inner = "", document
    if isinstance(document, dict) and isinstance(document.get("response"), list | dict):
        where, inner = "response", document["response"]
    if isinstance(inner, list):
        for at, one in enumerate(inner):
            if isinstance(one, dict) and isinstance(one.get("Event"), dict):
                yield f"{where}[{at}].Event", one["Event"]
    elif isinstance(inner, dict) and isinstance(inner.get("Event"), dict):
        yield f"{where}.Event".lstrip("."), inner["Event"]
    elif isinstance(inner, dict) and isinstance(inner.get("Attribute"), list):
        yield where, inner


def _attributes(where: str, event: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    dot = "." if where else ""
    for at, one in enumerate(_list(event, "Attribute")):
        yield f"{where}{dot}Attribute[{at}]", one
    for at, thing in enumerate(_list(event, "Object")):
        if isinstance(thing, dict):
            for inner, one in enumerate(_list(thing, "Attribute")):
                yield f"{where}{dot}Object[{at}].Attribute[{inner}]", one


def _rows(
    where: str, one: object, event: Mapping[str, Any], options: ListOptions
) -> Iterator[dict[str, Any]]:
    if not isinstance(one, dict) or not isinstance(one.get("value"), str):
        yield {"entry": where, "text": shown(one), "reason": "not an attribute"}
        return
    own_event = one.get("Event") if isinstance(one.get("Event"), dict) else event
    common = {
        "entry": where,
        "provider": _text(own_event, "Orgc", "name") or _text(own_event, "Org", "name"),
        "description": _text(one, "comment") or _text(own_event, "info"),
        "type": _text(one, "type"),
        "id": _text(one, "uuid"),
    }
    value = clean(one["value"])
    kinds = TYPES.get(shown(one.get("type")))
    reason = _unused(one, kinds, options)
    parts = value.split("|")
    if reason is None and kinds is not None and len(parts) != len(kinds):
        reason = f"{len(parts)} values, where the type has {len(kinds)}"
    if reason is not None or kinds is None:
        yield {**common, "text": value, "reason": reason}
        return
    if kinds[-1] == "port" and len(kinds) == 2:
        yield {**common, "text": parts[0], "want": kinds[0], "port": parts[1]}
        return
    for kind, part in zip(kinds, parts, strict=True):
        yield {**common, "text": part, "want": kind}


def _unused(
    one: Mapping[str, Any], kinds: tuple[str, ...] | None, options: ListOptions
) -> str | None:
    if kinds is None:
        return f"type {shown(one.get('type'))} is not in connection logs"
    if one.get("deleted") in (True, "1", 1):
        return "deleted"
    if not options.all_attributes and one.get("to_ids") not in (True, "1", 1):
        return "not for detection (to_ids)"
    return None


def _list(one: Mapping[str, Any], key: str) -> list[object]:
    value = one.get(key)
    return value if isinstance(value, list) else []


def _text(one: object, *keys: str) -> str | None:
    for key in keys:
        one = one.get(key) if isinstance(one, dict) else None
    return clean(one) if isinstance(one, str) and one else None
