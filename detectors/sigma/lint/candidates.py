"""Values that can tell whether conditions hold: frames of candidates, group by group."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable
from typing import Final

import polars as pl

from connwatch.schema import DERIVED, STORED

from ..values import canonical, helpers
from .columns import BEHIND, LETTERS, bounds, numeric
from .formula import Comparison, networks, number, texts

ADDRESSES: Final = frozenset({"source.ip", "destination.ip"})
#: a text, and addresses, that no rule names
_OTHER: Final = "\x00another"
_OTHERS: Final = ("192.0.2.173", "2001:db8:ad::ad")


def candidates(group: str, named: Iterable[Comparison]) -> pl.DataFrame | None:
    """Values of a group's stored column that comparisons name, their neighbours, one that nothing
    names, and none. None for groups that have no such column."""
    if numeric(group):
        return _numbers(group, named)
    if group in ADDRESSES:
        found = {*_OTHERS}
        for one in named:
            said = texts(one.value)
            found.update(t for text in said for t in (text, text.lower(), canonical(text)))
            found.update(edge for network in networks(one.value) for edge in _edges(network))
    else:
        found = {"", _OTHER}
        for one in named:
            for text in texts(one.value):
                found.update((text, text.lower(), text.upper(), text.title()))
    name = BEHIND.get(group, group)
    letters = LETTERS.get(name)
    if letters is not None:
        found = {one for one in found if one == _OTHER or all(map(letters.allowed, one))}
    if STORED.get(name) != pl.String():
        return None
    return pl.DataFrame({name: [*sorted(found), None]}, schema={name: pl.String()})


def _numbers(group: str, named: Iterable[Comparison]) -> pl.DataFrame:
    low, high = bounds(group)
    found = {low, low + 1, high - 1, high}
    for one in named:
        value = number(one)
        if value is not None and math.isfinite(value):
            whole = math.floor(value)
            found.update(n for n in (whole - 1, whole, whole + 1, whole + 2) if low <= n <= high)
    return pl.DataFrame({group: [*sorted(found), None]}, schema={group: pl.Int64()})


def _edges(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> Iterable[str]:
    """The addresses at which being in a network changes."""
    first, last = int(network.network_address), int(network.broadcast_address)
    kind = ipaddress.IPv4Address if network.version == 4 else ipaddress.IPv6Address
    for place in (first - 1, first, last, last + 1):
        if 0 <= place < 2**network.max_prefixlen:
            yield str(kind(place))


def evaluated(frame: pl.DataFrame, expr: pl.Expr) -> pl.Series:
    """An expression over candidates; derived columns not among these are computed."""
    missing = set(expr.meta.root_names()) - {*frame.columns}
    bases = {name.rpartition(":")[2] for name in missing}
    behind = {one for name in bases & DERIVED.keys() for one in DERIVED[name].meta.root_names()}
    # What else a derived column comes from (a socket's state, a name for an address) is not set.
    frame = frame.with_columns(
        pl.lit(None, STORED[name]).alias(name) for name in sorted(behind - {*frame.columns})
    )
    made = frame.with_columns(DERIVED[name].alias(name) for name in missing if name in DERIVED)
    lowered = made.with_columns(
        DERIVED[base].alias(base)
        for name in missing
        if (base := name.partition(":")[2]) in DERIVED and base not in made.columns
    )
    return lowered.with_columns(helpers(missing)).select(expr.alias("found"))["found"]
