"""Packets and frames as events of the schema."""

from __future__ import annotations

from typing import Final

import polars as pl

from connwatch.schema import UTC, conform

from ..extra import member, whole
from ..sockets.rows import hashed
from ..zeek_events import Origin
from .payload import payloads
from .reader import Read

FRAMES: Final = "tcpdump.frame"
_S: Final = pl.String()
_I: Final = pl.Int64()


def events_of(read: Read, origin: Origin) -> pl.DataFrame:
    """The events of what was read, in file order."""
    parts = [packet_events(read.packets, origin), frame_events(read.frames, origin)]
    made = [part for part in parts if part.height]
    if len(made) == 1:
        return made[0]
    return pl.concat(made or parts[:1]).sort("event.sequence", maintain_order=True)


def packet_events(packets: pl.DataFrame, origin: Origin) -> pl.DataFrame:
    """One event per packet (`PACKET`)."""
    vlan = pl.col("vlans").list
    carried = payloads(packets)
    columns = {
        **_common(origin, origin.dataset, pl.col("depth").cast(_S)),
        "source.ip": pl.col("src"),
        "source.domain": pl.col("src_name"),
        "source.port": pl.col("sport"),
        "source.bytes": pl.col("size"),
        "source.packets": pl.lit(1, _I),
        "source.mac": pl.col("src_mac"),
        "destination.ip": pl.col("dst"),
        "destination.domain": pl.col("dst_name"),
        "destination.port": pl.col("dport"),
        "destination.mac": pl.col("dst_mac"),
        "network.transport": pl.col("transport"),
        "network.iana_number": pl.col("number").cast(_S),
        "zeek.connection.orig_bytes": pl.col("payload"),
        "zeek.connection.service": pl.col("application"),
        "zeek.connection.icmp.type": pl.col("icmp_type"),
        "zeek.connection.icmp.code": pl.col("icmp_code"),
        "zeek.connection.vlan": vlan.get(0, null_on_oob=True),
        "zeek.connection.inner_vlan": vlan.get(1, null_on_oob=True),
        "connwatch.extra": _extra("flags", "interface", "way"),
    }
    made = packets.select(expr.alias(name) for name, expr in columns.items())
    return conform(made.with_columns(carried.get_columns()))


def frame_events(frames: pl.DataFrame, origin: Origin) -> pl.DataFrame:
    """One event per frame (`FRAME`): no flow, so no transport, and no rule counts it as one."""
    vlan = pl.col("vlans").list
    columns = {
        **_common(origin, FRAMES, pl.lit("")),
        "source.ip": pl.col("src"),
        "source.mac": pl.col("src_mac"),
        "destination.ip": pl.col("dst"),
        "destination.mac": pl.col("dst_mac"),
        "zeek.connection.vlan": vlan.get(0, null_on_oob=True),
        "zeek.connection.inner_vlan": vlan.get(1, null_on_oob=True),
        "connwatch.extra": _extra("protocol", "operation", "interface", "way"),
    }
    return conform(frames.select(expr.alias(name) for name, expr in columns.items()))


def _common(origin: Origin, dataset: str, part: pl.Expr) -> dict[str, pl.Expr]:
    columns = {
        "@timestamp": pl.col("time").cast(UTC),
        "event.id": _ids(origin, dataset, part),
        "event.dataset": pl.lit(dataset),
        "event.sequence": pl.col("line"),
        "log.file.path": pl.lit(origin.path),
        "log.offset": pl.col("offset"),
    }
    if origin.sensor:
        columns["observer.name"] = pl.lit(origin.sensor)
    return columns


def _ids(origin: Origin, dataset: str, part: pl.Expr) -> pl.Expr:
    """128 bits of hash over dataset, sensor, raw record, its place, and which packet in it it is.

    The place tells records apart that are printed alike: without times (-t) or with offsets (-ttt)
    these are many.
    """
    prefix = pl.lit(f"{dataset}\x00{origin.sensor}\x00")
    place = pl.col("offset").cast(_S)
    return hashed(pl.concat_str(prefix, place, pl.lit("\x00"), part, pl.lit("\x00"), "raw"))


def _extra(*names: str) -> pl.Expr:
    return whole([member(pl.col(name).cast(_S), name) for name in names])
