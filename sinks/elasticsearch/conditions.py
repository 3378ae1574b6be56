"""A value against a field: what `connwatch.query.conditions` means, in query DSL.

A value that the field's type cannot hold is an UnfitError, as there. Fields are compared by the
values that are indexed; where those say too little, the answer has two different bounds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Any, Final

from connwatch.alert import iso
from connwatch.query.addresses import Network
from connwatch.query.conditions import FLOATS, INTEGERS, UnfitError, boolean, decimal, network
from connwatch.query.fields import Field
from connwatch.query.times import parse_span
from connwatch.query.tree import Text
from connwatch.schema import OBJECTS

from .dsl import NONE, Bounds, Dsl, all_of, any_of, between, exists, none_of, term
from .fitting import LONGEST
from .words import words

#: fields of addresses -> their texts, as records have them
ADDRESSES: Final[dict[str, str]] = {
    "source.ip": "source.address",
    "destination.ip": "destination.address",
}
#: lists that are made of other fields
_MADE_OF: Final[dict[str, tuple[str, ...]]] = {"related.ip": ("source.ip", "destination.ip")}
#: what `long` and `integer` hold
_WHOLE: Final = {"long": 63, "integer": 31}
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_V4: Final = {"gte": str(IPv4Address(0)), "lte": "255.255.255.255"}
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(2262, 4, 11, 23, 47, 16, tzinfo=UTC)
#: a pattern of more parts or characters asks too much of a server
_MOST_PARTS: Final = 8
_MOST_CHARACTERS: Final = 400
_OPERATORS: Final = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}


def there(field: Field) -> Bounds:
    """Where the field has a value."""
    if field.path is None or len(field.path) == 1:
        return Bounds.exactly(exists(_place(field)))
    return Bounds(NONE, exists(field.name))


def equals(field: Field, value: Text, now: datetime) -> Bounds:
    """Where the field has the value (`value` is not `*` alone)."""
    name = field.name
    if field.es == "keyword":
        return _keyword(field, value)
    if value.wild:
        raise UnfitError("wildcards are for text")
    text = value.parts[0].strip()
    if field.es == "ip":
        return Bounds.exactly(_within(name, network(text)))
    if field.es == "date":
        start, end = parse_span(text, now)
        return Bounds.exactly(span(name, start, end))
    if field.es == "boolean":
        return Bounds.exactly(term(name, boolean(text)))
    if field.es in INTEGERS:
        whole = decimal(text)
        limit = 2 ** _WHOLE[field.es]
        if not -limit <= whole < limit or whole != whole.to_integral_value():
            return Bounds.exactly(NONE)
        return Bounds.exactly(term(name, int(whole)))
    raise UnfitError(f"a field of type {field.es} cannot be searched")


def compares(field: Field, operator: str, value: Text, now: datetime) -> Bounds:
    """Where the field is > >= < <= the value."""
    if value.wild:
        raise UnfitError("a comparison takes one value, not a wildcard")
    text, name, key = value.parts[0], field.name, _OPERATORS[operator]
    if field.es == "keyword":
        _not_cut(text)
        if field.name not in OBJECTS:
            return Bounds.exactly(between(name, **{key: text}))
        return _inside(field, between(name, **{key: text}), None)
    text = text.strip()
    if field.es == "ip":
        if "/" in text:
            raise UnfitError("a comparison takes one address, not a network")
        return Bounds.exactly(between(name, **{key: _unscoped(network(text).network_address)}))
    if field.es == "date":
        start, end = parse_span(text, now)
        if operator in (">", "<="):
            return Bounds.exactly(span(name, *((end, None) if operator == ">" else (None, end))))
        return Bounds.exactly(span(name, *((start, None) if operator == ">=" else (None, start))))
    if field.es in INTEGERS:
        return Bounds.exactly(_whole(name, field.es, operator, decimal(text)))
    raise UnfitError(f"a field of type {field.es} has no order")


def anywhere(field: Field, value: Text, now: datetime) -> Bounds:
    """Where a bare value is found in the field: as words of a text, as a whole number or address.
    UnfitError: nowhere."""
    if field.es == "keyword":
        if field.path is None:
            return words(field.name, value)
        raise UnfitError("a bare value is looked for in whole columns")
    if field.es == "ip" or field.es in INTEGERS | FLOATS:
        return equals(field, value, now)
    raise UnfitError("a bare value is not looked for here")


def span(name: str, start: datetime | None, end: datetime | None) -> Dsl:
    """Times from `start` (inclusive) to `end` (exclusive); None: without end. Others than those
    from 1970 to 2262 are not indexed."""
    if (end is not None and end <= _FIRST) or (start is not None and start > _LAST):
        return NONE
    bounds: dict[str, Any] = {}
    if start is not None and start > _FIRST:
        bounds["gte"] = iso(start.astimezone(UTC))
    if end is not None and end <= _LAST:
        bounds["lt"] = iso(end.astimezone(UTC))
    return between(name, **bounds, format="strict_date_optional_time") if bounds else exists(name)


def _keyword(field: Field, value: Text) -> Bounds:
    for part in value.parts:
        _not_cut(part)
    name = field.name
    found = _glob(name, value) if value.wild else Bounds.exactly(term(name, value.parts[0]))
    if field.path is None:
        return found
    place = _place(field)
    if not value.wild:
        return _inside(field, found.possible, term(place, value.parts[0]))
    first, *rest = value.parts
    known = {"prefix": {place: {"value": first}}} if not any(rest) else None
    return _inside(field, found.possible, known)


def _inside(field: Field, anywhere: Dsl, known: Dsl | None) -> Bounds:
    """A condition on a name inside a column of objects. anywhere: on any value there. known: on
    this name alone, if a server can be asked that."""
    if field.path is None:
        return Bounds.exactly(anywhere)
    if len(field.path) > 1:  # names cannot be asked for by a pattern
        return Bounds(NONE, anywhere)
    if known is not None:
        return Bounds.exactly(known)
    return Bounds(NONE, all_of([exists(_place(field)), anywhere]))


def _place(field: Field) -> str:
    return field.name if field.path is None else f"{field.name}.{field.path[0]}"


def _glob(name: str, value: Text) -> Bounds:
    parts = value.parts
    if len(parts) > _MOST_PARTS or sum(map(len, parts)) > _MOST_CHARACTERS:
        return Bounds(NONE, wildcard(name, (parts[0][:_MOST_CHARACTERS], "")))
    return Bounds.exactly(wildcard(name, parts))


def wildcard(name: str, parts: tuple[str, ...]) -> Dsl:
    """Where the whole value is these parts with anything between them."""
    if not any(parts):
        return exists(name)
    escaped = ("".join(f"\\{c}" if c in "\\*?" else c for c in part) for part in parts)
    return {"wildcard": {name: {"value": "*".join(escaped)}}}


def _not_cut(text: str) -> None:
    if len(text.encode()) > LONGEST:
        raise UnfitError(
            f"Elasticsearch holds {LONGEST:,} bytes of a value", "look for its beginning: VALUE*"
        )


def _within(name: str, wanted: Network) -> Dsl:
    if name in _MADE_OF:
        return any_of(_within(one, wanted) for one in _MADE_OF[name])
    address = wanted.network_address
    if isinstance(wanted, IPv6Network) and isinstance(address, IPv6Address):
        if wanted.num_addresses == 1 and name in ADDRESSES:
            # A zone (%eth0) is not indexed as part of the address.
            return all_of([term(name, _unscoped(address)), term(ADDRESSES[name], str(address))])
        found = term(name, f"{_unscoped(address)}/{wanted.prefixlen}")
        if wanted.overlaps(_MAPPED):
            # There IPv4 addresses are those that they are mapped to.
            return all_of([found, none_of(between(name, **_V4))])
        return found
    return term(name, str(address) if wanted.num_addresses == 1 else str(wanted))


def _unscoped(address: Any) -> str:
    """The text of an address, without its zone."""
    return str(type(address)(int(address)))


def _whole(name: str, es: str, operator: str, bound: Decimal) -> Dsl:
    limit = 2 ** _WHOLE[es]
    if bound >= limit:
        return exists(name) if operator in ("<", "<=") else NONE
    if bound < -limit:
        return exists(name) if operator in (">", ">=") else NONE
    if bound == bound.to_integral_value():
        return between(name, **{_OPERATORS[operator]: int(bound)})
    if operator in (">", ">="):
        up = int(bound.to_integral_value(ROUND_CEILING))
        return between(name, gte=up) if up < limit else NONE
    return between(name, lte=int(bound.to_integral_value(ROUND_FLOOR)))
