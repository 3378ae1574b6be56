"""Columns of the schema from which documents are put together cheaply, as the schema has them."""

from __future__ import annotations

from typing import Final

import polars as pl

from connwatch.schema import COLUMNS, DERIVED

#: stored columns that take few values in a batch; others may be anything
FEW: Final = frozenset(
    {
        "event.dataset",
        "log.file.path",
        "network.transport",
        "network.iana_number",
        "network.direction",
        "observer.name",
        "labels",
        "host.name",
        "socket.role",
        "socket.family",
        "socket.type",
        "socket.state",
        "socket.state_before",
        "socket.change",
        "socket.change_reason",
        "socket.snapshot.id",
        "socket.snapshot.clock",
        "zeek.connection.state",
        "zeek.connection.service",
        "zeek.connection.local_orig",
        "zeek.connection.local_resp",
        "zeek.connection.icmp.type",
        "zeek.connection.icmp.code",
        "zeek.connection.vlan",
        "zeek.connection.inner_vlan",
        "zeek.connection.label",
        "zeek.connection.detailed_label",
    }
)


def _roots(name: str) -> frozenset[str]:
    """The stored columns that a column comes from."""
    return frozenset(DERIVED[name].meta.root_names()) if name in DERIVED else frozenset({name})


#: columns that come from such ones alone, and all others
TOGETHER: Final = tuple(column.name for column in COLUMNS if _roots(column.name) <= FEW)
APART: Final = tuple(column.name for column in COLUMNS if column.name not in TOGETHER)


def _same(name: str) -> tuple[str, ...]:
    """The stored column that a derived one is a copy of, and the one that takes its place where it
    has no value, if there is such a one; empty for any other column."""
    roots = DERIVED[name].meta.root_names() if name in DERIVED else []
    if len(roots) in (1, 2) and DERIVED[name].meta.eq(
        pl.coalesce(roots) if roots[1:] else pl.col(roots[0])
    ):
        return tuple(roots)
    return ()


def _both(name: str) -> tuple[str, ...]:
    """The two stored text columns that a derived list puts together, as far as they have values;
    empty for any other column."""
    roots = DERIVED[name].meta.root_names() if name in DERIVED else []
    if len(roots) == 2 and DERIVED[name].meta.eq(pl.concat_list(roots).list.drop_nulls()):
        return tuple(roots)
    return ()


#: what `_same` and `_both` say of these
COPIES: Final = {name: same for name in APART if (same := _same(name))}
PAIRS: Final = {name: both for name in APART if (both := _both(name))}
