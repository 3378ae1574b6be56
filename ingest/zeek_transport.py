"""Transport and ports of Zeek's connections, as the schema has them.

What hangs on the transport alone is found once for each name in a block; there are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from .protocols import NUMBERS, PROTOCOLS

_WITH_PORTS: Final = frozenset({"tcp", "udp", "sctp", "dccp", "udplite"})
_ICMP: Final = frozenset({"icmp", "ipv6-icmp"})
_UNKNOWN: Final = "unknown_transport"
#: field, and where its value goes: a port, or what ICMP has in its place
_PORTS: Final = (
    ("id.orig_p", "source.port", "zeek.connection.icmp.type"),
    ("id.resp_p", "destination.port", "zeek.connection.icmp.code"),
)


def of_transport(records: pl.DataFrame) -> dict[str, pl.Series]:
    """network.transport, network.iana_number, ports, and ICMP's type and code, by column.

    records: Zeek's fields, `proto` never null; what was not logged, or no record has, is left out.
    """
    transport = _transport(records)
    names = transport.unique().to_list()
    code = _codes(transport, names)
    number = _of_each(code, [NUMBERS.get(name) for name in names], pl.String())
    if "ip_proto" in records.columns:
        # Zeek's ip_proto of ICMP is 1 or 58 as well; where it is unset the name decides.
        number = (
            records["ip_proto"].cast(pl.String).zip_with(records["ip_proto"].is_not_null(), number)
        )
    return {
        "network.transport": transport,
        "network.iana_number": number,
        **_ports(records, names, code),
    }


def _transport(records: pl.DataFrame) -> pl.Series:
    """The transport's name, never null: in lower case, ICMP of IPv6 apart, unknown ones by
    ip_proto."""
    proto = records["proto"]
    names = proto.unique().to_list()
    lower = [name.lower() for name in names]
    if not {*lower} & {"icmp", _UNKNOWN}:
        return proto if lower == names else _of_each(_codes(proto, names), lower, pl.String())
    found = pl.col("proto")
    if "icmp" in lower:
        v6 = pl.col("id.orig_h").str.contains(":", literal=True)
        found = pl.when((pl.col("proto") == "icmp") & v6).then(pl.lit("ipv6-icmp")).otherwise(found)
    if _UNKNOWN in lower:
        by_number: pl.Expr = pl.lit("unknown")
        if "ip_proto" in records.columns:
            by_number = pl.col("ip_proto").replace_strict(
                PROTOCOLS, default="unknown", return_dtype=pl.String
            )
        found = pl.when(pl.col("proto") == _UNKNOWN).then(by_number).otherwise(found)
    named = _of_each(_codes(proto, names), lower, pl.String())
    return records.with_columns_seq(named.alias("proto")).select_seq(found).to_series()


def _ports(records: pl.DataFrame, names: list[str], code: pl.Series) -> dict[str, pl.Series]:
    """Ports, and for ICMP the type and code that Zeek writes in their place."""
    if {*names} <= _WITH_PORTS:
        return {port: records[field] for field, port, _ in _PORTS if field in records.columns}
    is_icmp = [name in _ICMP for name in names]
    has_ports = [name in _WITH_PORTS for name in names]
    icmp = _of_each(code, is_icmp, pl.Boolean())
    ported = _of_each(code, has_ports, pl.Boolean())
    columns: dict[str, pl.Series] = {}
    for field, port, other in _PORTS:
        if field not in records.columns:
            continue
        value = records[field]
        nothing = value.clear(len(value))
        columns[port] = value.zip_with(~icmp & (ported | (value > 0)), nothing)
        if any(is_icmp):
            columns[other] = value.zip_with(icmp, nothing)
    return columns


def _codes(values: pl.Series, names: list[str]) -> pl.Series:
    """The place of each value among the different ones."""
    return values.cast(pl.Enum(names)).to_physical()


def _of_each(code: pl.Series, made: Sequence[str | bool | None], dtype: pl.DataType) -> pl.Series:
    return pl.Series(made, dtype=dtype).gather(code)
