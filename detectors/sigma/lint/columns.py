"""What the columns of the schema can hold: the values, the range, the letters; which go together.

Zeek's facts here: a connection's state is that of base/protocols/conn/main.zeek, where only TCP has
all thirteen; service names are written in lower case.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

import polars as pl

from connwatch.schema import BY_NAME, DERIVED, STATES, STORED, STRINGS
from connwatch.schema import UTC as TIME

from ..fields import field_maps

#: the largest number that a column can have (64 bits)
LARGEST: Final = 2**63 - 1

#: what parsers write into network.transport, beside `unknown`
TRANSPORTS: Final = (
    "tcp", "udp", "icmp", "ipv6-icmp", "igmp", "ipv4", "dccp", "ipv6", "rsvp", "gre", "esp", "ah",
    "eigrp", "ospf", "pim", "ipcomp", "vrrp", "l2tp", "sctp", "udplite", "unknown",
)  # fmt: skip
#: those that always have ports
PORTED: Final = ("tcp", "udp", "sctp", "dccp", "udplite")
#: connection states of what is not TCP: Zeek knows only who sent something
STATELESS: Final = ("S0", "SF", "SHR", "OTH")

_LOWEST: Final = {"source.port": 0, "destination.port": 0}
_HIGHEST: Final = {
    "source.port": 65_535,
    "destination.port": 65_535,
    "zeek.connection.icmp.type": 255,
    "zeek.connection.icmp.code": 255,
    "zeek.connection.vlan": 4_095,
    "zeek.connection.inner_vlan": 4_095,
}

#: columns whose values depend on one another, and the column that names them
_TOGETHER: Final = {
    "network.transport": "flow",
    "zeek.connection.state": "flow",
    "zeek.connection.state_message": "flow",
    "event.type": "flow",
    "event.action": "flow",
    "event.outcome": "flow",
    "event.dataset": "dataset",
    "event.module": "dataset",
    "observer.product": "dataset",
    "source.ip": "source.ip",
    "source.address": "source.ip",
    "network.type": "source.ip",
    "destination.ip": "destination.ip",
    "destination.address": "destination.ip",
    "zeek.connection.service": "service",
    "network.protocol": "service",
    "zeek.connection.vlan": "vlan",
    "network.vlan.id": "vlan",
    "zeek.connection.inner_vlan": "inner vlan",
    "network.inner.vlan.id": "inner vlan",
    "@timestamp": "@timestamp",
    "event.start": "@timestamp",
}
#: the stored column behind each such group that has one
BEHIND: Final = {
    "source.ip": "source.ip",
    "destination.ip": "destination.ip",
    "service": "zeek.connection.service",
}


@dataclass(frozen=True, slots=True)
class Letters:
    """The characters that a column's text is made of."""

    allowed: Callable[[str], bool]
    said: str


def _of(chars: str, said: str) -> Letters:
    return Letters(frozenset(chars).__contains__, said)


_ADDRESS: Final = _of(string.digits + "abcdef:.", "an address has 0-9, a-f, dots and colons")
_LOWER: Final = Letters(lambda char: char == char.lower(), "its text is in lower case")
_MAC: Final = _of(string.digits + "ABCDEF-", "link addresses are AA-BB-CC-DD-EE-FF")
_HISTORY: Final = "shadfrcgtwiqx"
LETTERS: Final[Mapping[str, Letters]] = {
    **{name: _ADDRESS for name, column in BY_NAME.items() if column.es == "ip"},
    **dict.fromkeys(("source.address", "destination.address"), _ADDRESS),
    **dict.fromkeys(("source.mac", "destination.mac"), _MAC),
    **dict.fromkeys(("zeek.connection.service", "network.protocol"), _LOWER),
    "event.id": _of(string.digits + "abcdef", "an id is 32 of 0-9 and a-f"),
    "network.iana_number": _of(string.digits, "it is a number"),
    "network.community_id": _of(
        string.ascii_letters + string.digits + "+/=:", "an id is 1: and base64"
    ),
    "zeek.connection.history": _of(
        _HISTORY + _HISTORY.upper() + "^",
        f"Zeek's letters are {' '.join(_HISTORY)}, large or small, and ^",
    ),
    **{
        name: _of(string.digits + "-", "it is a number")
        for name, column in BY_NAME.items()
        if column.dtype == pl.Int64()
    },
}


def group_of(column: str) -> str:
    """The name of the group of columns that a column's values depend on: often itself."""
    return _TOGETHER.get(column, column)


def numeric(group: str) -> bool:
    """Whether a group is one column of numbers, too many to be listed."""
    column = BY_NAME.get(group)
    return column is not None and column.dtype == pl.Int64() and listed(group) is None


def bounds(column: str) -> tuple[int, int]:
    """The least and the greatest number of a column. Nothing that is counted is negative."""
    return _LOWEST.get(column, 0), _HIGHEST.get(column, LARGEST)


def range_said(column: str) -> str:
    low, high = bounds(column)
    return f"between {low} and {high}" if high < LARGEST else "never negative"


@cache
def listed(group: str) -> pl.DataFrame | None:
    """Every combination of values that the stored columns of a group can have; None if these
    cannot be listed."""
    if group == "flow":
        return _flows()
    if group == "dataset":
        return _column("event.dataset", sorted({d for one in field_maps() for d in one.datasets}))
    if group == "vlan":
        return _numbers("zeek.connection.vlan")
    if group == "inner vlan":
        return _numbers("zeek.connection.inner_vlan")
    if group in _HIGHEST:
        return _numbers(group)
    if group == "network.direction":
        return _column(group, ["inbound", "outbound", "internal", "external"])
    column = BY_NAME.get(group)
    if column is not None and column.dtype == pl.Boolean():
        return _column(group, [True, False, None])
    if group == "event.kind":
        return _column(group, ["event", "state"])
    if group in ("event.category", "observer.type", "ecs.version"):
        return pl.DataFrame({"event.sequence": [1]}).select(DERIVED[group].alias(group))
    return _moments(group)


def _column(name: str, values: Iterable[Any]) -> pl.DataFrame:
    return pl.DataFrame({name: list(values)}, schema={name: BY_NAME[name].dtype})


def _numbers(name: str) -> pl.DataFrame:
    low, high = bounds(name)
    return _column(name, [*range(low, high + 1), None])


def _flows() -> pl.DataFrame:
    rows = [
        (transport, state)
        for transport in TRANSPORTS
        for state in (*(STATES if transport == "tcp" else STATELESS), None)
    ]
    names = ("network.transport", "zeek.connection.state")
    return pl.DataFrame(rows, schema={name: STORED[name] for name in names}, orient="row")


#: parts of a time: any of them has all its values in these steps from the first of January 2020,
#: a leap year with 53 weeks
_STEPS: Final = {
    "minute": (timedelta(minutes=1), 60),
    "hour": (timedelta(hours=1), 24),
    "day": (timedelta(days=1), 31),
    "week": (timedelta(days=1), 366),
    "month": (timedelta(days=28), 14),
    "year": (timedelta(days=366), 90),
}


def _moments(group: str) -> pl.DataFrame | None:
    """Times that have every value of a part of them: the group is `column#part`."""
    name, sign, part = group.partition("#")
    if not sign:
        return None
    first = datetime(1990 if part == "year" else 2020, 1, 1, tzinfo=UTC)
    step, number = _STEPS[part]
    return pl.DataFrame(
        {name: [first + step * count for count in range(number)]}, schema={name: TIME}
    )


def holds_lists(column: str) -> bool:
    return BY_NAME[column].dtype == STRINGS
