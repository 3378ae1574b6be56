"""Rows of a snapshot become events; a row that cannot be true is rejected.

Every tool's reader ends here, so a socket means the same whichever tool printed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import polars as pl
import polars_hash as plh

from connwatch.schema import STRINGS, UTC, conform, empty

from ..protocols import NUMBERS, PROTOCOLS
from ..rejects import reject_rows
from ..zeek_events import Origin
from .ends import ANYWHERE, PORT, ends

_S: Final = pl.String()
_I: Final = pl.Int64()

#: What a reader tells of one socket. line, offset: of its first line; lines: how many it has.
#: netid: kind of socket in the tool's word; state: one of `states`, null: none shown. laddr, paddr:
#: addresses as shown, with scope and brackets; lport, pport: ports as shown; null: no such end.
#: path: of the local end, where it is no address. extra: JSON object. field, fault: what makes the
#: record a reject, and in which field. Columns may be missing; all values may be null.
ROW: Final[dict[str, pl.DataType]] = {
    "line": _I, "offset": _I, "lines": _I, "raw": _S, "netid": _S, "state": _S,
    "recv": _I, "send": _I, "local": _S, "peer": _S,
    "laddr": _S, "lport": _S, "paddr": _S, "pport": _S,
    "cut": STRINGS, "interface": _S, "pid": _I, "name": _S, "processes": STRINGS,
    "uid": _S, "user": _S, "inode": _I, "cookie": _S, "timer": _S,
    "bytes_sent": _I, "bytes_acked": _I, "bytes_received": _I, "segments_sent": _I,
    "segments_received": _I, "retransmits": _I, "rtt": _I, "cwnd": _I, "last_sent": _I,
    "last_received": _I, "extra": _S, "field": _S, "fault": _S,
}  # fmt: skip
#: columns of a row that are columns of the schema as they are
_PLAIN: Final = {
    "process.pid": "pid", "process.name": "name", "user.id": "uid", "user.name": "user",
    "socket.type": "netid", "socket.state": "state", "socket.local": "local", "socket.peer": "peer",
    "socket.truncated": "cut", "socket.recv_queue": "recv", "socket.send_queue": "send",
    "socket.inode": "inode", "socket.cookie": "cookie", "socket.processes": "processes",
    "socket.timer": "timer", "connwatch.extra": "extra",
    **{f"socket.{name}": name for name in list(ROW)[-13:-3]},
}  # fmt: skip
_BY_NUMBER: Final = {str(number): name for number, name in PROTOCOLS.items()}
#: transport by the word for the kind of socket, without 4, 6 or 46 at its end
_TRANSPORTS: Final = {
    "tcp": "tcp", "mptcp": "tcp", "udp": "udp", "udpl": "udplite", "udplite": "udplite",
    "sctp": "sctp", "dccp": "dccp",
}  # fmt: skip
_FAMILIES: Final = {
    "u_str": "unix", "u_dgr": "unix", "u_seq": "unix", "unix": "unix", "nl": "netlink",
    "netlink": "netlink", "p_raw": "packet", "p_dgr": "packet", "v_str": "vsock", "v_dgr": "vsock",
    "xdp": "xdp", "vsock": "vsock", "kevt": "kernel", "kctl": "kernel", "systm": "kernel",
    "tipc": "tipc", "ti_st": "tipc", "ti_dg": "tipc", "ti_rd": "tipc", "ti_sq": "tipc",
    "???": "unknown",
}  # fmt: skip
#: kinds of socket whose ports are numbers of protocols, without 4, 6 or 46 at their end
_RAW: Final = frozenset({"raw", "icmp", "icm", "ip", "div"})
#: a port below this is a service's where nothing else tells the two ends apart
_SERVICE: Final = 1024

_NULLS: Final = {name: pl.lit(None, dtype).alias(name) for name, dtype in ROW.items()}
_NETWORK: Final = pl.col("_family").is_null()
_PEERLESS: Final = pl.col("paddr").is_null() | pl.any_horizontal(
    pl.col("paddr") == "*", *(pl.col("peer_ip") == one for one in ANYWHERE)
).fill_null(value=False)
_LISTENS: Final = _NETWORK & (pl.col("state") == "listen") & pl.col("local_port").is_not_null()
#: netstat shows no state for what is neither bound to a peer nor waits for one
_STATE: Final = (
    pl.when(
        (
            _NETWORK
            & pl.col("peerless")
            & pl.col("state").is_null()
            & (pl.col("transport") != "tcp")
        ).fill_null(value=False)
    )
    .then(pl.lit("unconnected"))
    .otherwise("state")
)


def make(
    rows: pl.DataFrame, lines: pl.DataFrame, origin: Origin, snapshots: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The events and the rejects of rows (`ROW`, and shot: the number of their snapshot); a
    record of several lines is as many rejects.

    lines: columns raw, line, offset of the lines that they are made of. snapshots: columns shot,
    id, time (µs since the epoch), clock and host, as the schema has them.
    """
    if rows.is_empty():
        return empty(), reject_rows()
    rows = _judged(ends(_typed(rows)))
    bad = rows.filter(pl.col("fault").is_not_null())
    rejects = rejected(bad, lines, origin)
    good = rows.filter(pl.col("fault").is_null()) if bad.height else rows
    good = good.join(snapshots, on="shot", how="left", maintain_order="left")
    return _events(_with_roles(good), origin), rejects


def rejected(bad: pl.DataFrame, lines: pl.DataFrame, origin: Origin) -> pl.DataFrame:
    """Every line of these records (line, lines, field, fault) as a reject."""
    if bad.is_empty():
        return reject_rows()
    numbers = bad.select(
        pl.int_ranges("line", pl.col("line") + pl.col("lines")).alias("line"), "field", "fault"
    ).explode("line", empty_as_null=False, keep_nulls=False)
    told = numbers.join(lines.select("line", "offset", "raw"), on="line", maintain_order="left")
    return reject_rows(
        path=origin.path,
        line=told["line"],
        offset=told["offset"],
        format_name=origin.format,
        field=told["field"],
        reason=told["fault"],
        raw=told["raw"],
    )


def _typed(rows: pl.DataFrame) -> pl.DataFrame:
    """All columns of `ROW`, and what netid tells: family, transport, and israw: whether ports are
    numbers of protocols."""
    rows = rows.with_columns(null for name, null in _NULLS.items() if name not in rows)
    kinds = rows["netid"].unique().to_list()
    bases = {
        kind: kind if kind in _FAMILIES else kind.lower().rstrip("v46")
        for kind in kinds
        if kind is not None
    }
    transports = {kind: _TRANSPORTS.get(base) for kind, base in bases.items()}
    raw = {kind: base in _RAW for kind, base in bases.items()}
    return rows.with_columns(
        _family=_of_kind(kinds, _FAMILIES, _S),
        transport=_of_kind(kinds, transports, _S),
        israw=_of_kind(kinds, raw, pl.Boolean()).fill_null(value=False),
    )


def _of_kind(kinds: list[str | None], words: Mapping[str, Any], dtype: pl.DataType) -> pl.Expr:
    """What these words say of netid, whose values are `kinds`: mostly one."""
    if len(kinds) == 1:
        return pl.lit(None if kinds[0] is None else words.get(kinds[0]), dtype)
    return pl.col("netid").replace_strict(words, default=None, return_dtype=dtype)


def _judged(rows: pl.DataFrame) -> pl.DataFrame:
    """With field and fault of what cannot be true; a reader's own come first."""
    if not any(
        rows[f"{side}_odd"].any() or (rows[f"{side}_port"] > PORT).any()
        for side in ("local", "peer")
    ):
        return rows
    field, fault = pl.col("field"), pl.col("fault")
    inside = pl.col("_family").is_null()
    for side, address, port in (("local", "laddr", "lport"), ("peer", "paddr", "pport")):
        odd = inside & pl.col(f"{side}_odd")
        wrong = inside & (pl.col(f"{side}_port") > PORT)
        for bad, name, reason in (
            (odd, address, pl.format("'{}' is no address and no name", pl.col(address))),
            (wrong, port, pl.format("{} is not a port (0 to 65535)", pl.col(port))),
        ):
            told = fault.is_null() & bad.fill_null(value=False)
            label = side if name == address else f"{side} port"
            field = pl.when(told).then(pl.lit(label)).otherwise(field)
            fault = pl.when(told).then(reason).otherwise(fault)
    return rows.with_columns(field=field, fault=fault)


def _with_roles(rows: pl.DataFrame) -> pl.DataFrame:
    """With `role`, and `peerless`: whether there is nothing at the other end."""
    rows = rows.with_columns(peerless=_PEERLESS)
    if rows["state"].null_count():
        rows = rows.with_columns(state=_STATE)
    listening = rows.filter(_LISTENS)
    low = (pl.col("local_port") < _SERVICE) & (pl.col("peer_port") >= _SERVICE)
    accepted = low if listening.is_empty() else _accepted(listening, low)
    by_state = pl.any_horizontal(pl.col("state") == one for one in ("syn_recv", "new_syn_recv"))
    server = by_state | (
        accepted.fill_null(value=False) & (pl.col("state") != "syn_sent").fill_null(value=True)
    )
    return rows.with_columns(
        role=pl.when(~_NETWORK)
        .then(pl.lit("local"))
        .when("peerless")
        .then(
            pl.when(pl.col("state") == "listen")
            .then(pl.lit("listener"))
            .otherwise(pl.lit("unconnected"))
        )
        .when(server.fill_null(value=False))
        .then(pl.lit("server"))
        .otherwise(pl.lit("client"))
    )


def _accepted(listening: pl.DataFrame, low: pl.Expr) -> pl.Expr:
    """Whether a socket's door is one of those at which these rows listen; `low` in snapshots where
    none do."""
    anywhere = pl.col("local_ip").is_in(ANYWHERE) | pl.col("local_ip").is_null()
    wild = listening.filter(anywhere).select(_door()).to_series().unique()
    bound = listening.filter(~anywhere).select(_door(address=True)).to_series().unique()
    accepted = _door().is_in(wild.implode()) | _door(address=True).is_in(bound.implode())
    told = pl.col("shot").is_in(listening["shot"].unique().implode())
    return pl.when(told).then(accepted).otherwise(low)


def _door(*, address: bool = False) -> pl.Expr:
    """Where connections are taken: snapshot, transport and port, and the address."""
    parts = [pl.col("shot").cast(_S), pl.col("transport"), pl.col("local_port").cast(_S)]
    return pl.concat_str(*parts, *([pl.col("local_ip")] if address else []), separator=" ")


def _events(rows: pl.DataFrame, origin: Origin) -> pl.DataFrame:
    columns: dict[str, pl.Expr] = {target: pl.col(name) for target, name in _PLAIN.items()}
    columns |= _both_ends(rows) | _protocol(rows)
    address = pl.coalesce("local_ip", "peer_ip")
    six = pl.col("netid").str.contains(r"[^4]6$") | address.str.contains(":", literal=True)
    columns |= {
        "@timestamp": pl.col("time").cast(UTC),
        "event.id": _ids(origin, _repeated(rows)),
        "event.dataset": pl.lit(origin.dataset),
        "event.sequence": pl.col("line"),
        "log.file.path": pl.lit(origin.path),
        "log.offset": pl.col("offset"),
        "socket.role": pl.col("role"),
        "socket.family": pl.coalesce(
            "_family",
            pl.when(six.fill_null(value=False)).then(pl.lit("inet6")).otherwise(pl.lit("inet")),
        ),
        "socket.interface": pl.coalesce("interface", "local_scope", "peer_scope"),
        "socket.snapshot.id": pl.col("id"),
        "socket.snapshot.clock": pl.col("clock"),
        "host.name": pl.col("host"),
    }
    if origin.sensor:
        columns["observer.name"] = pl.lit(origin.sensor)
    return conform(rows.select(expr.alias(name) for name, expr in columns.items()))


def _both_ends(rows: pl.DataFrame) -> dict[str, pl.Expr]:
    """Columns of source and destination; the source is the local end of a client."""
    here = pl.col("role") == "client"
    there = _NETWORK & ~pl.col("peerless")
    columns: dict[str, pl.Expr] = {}
    plain = not (rows["role"] == "local").any() and not rows["israw"].any()
    whole = plain and not rows["peerless"].any()
    for what in ("ip", "domain", "port"):
        ported = ~pl.col("israw") if what == "port" else pl.lit(value=True)
        local: pl.Expr = pl.col(f"local_{what}")
        peer: pl.Expr = pl.col(f"peer_{what}")
        if not plain:
            local = pl.when(_NETWORK & ported).then(local)
        if not whole:
            peer = pl.when(there & ported).then(peer)
        columns[f"source.{what}"] = pl.when(here).then(local).otherwise(peer)
        columns[f"destination.{what}"] = pl.when(here).then(peer).otherwise(local)
    return columns


def _protocol(rows: pl.DataFrame) -> dict[str, pl.Expr]:
    """Columns of the transport: of a raw socket, its port is the number or the name of one."""
    known = rows["transport"].unique()
    transport: pl.Expr = pl.col("transport")
    iana: pl.Expr = (
        pl.lit(NUMBERS.get(known[0] or ""), _S)
        if len(known) == 1
        else transport.replace_strict(NUMBERS, default=None, return_dtype=_S)
    )
    if rows["israw"].any():
        name = pl.col("lport").replace_strict(NUMBERS, default=None, return_dtype=_S)
        number: pl.Expr = pl.when("israw").then(pl.coalesce(name, "lport"))
        by_number = number.replace_strict(_BY_NUMBER, default=None, return_dtype=_S)
        transport = pl.when("israw").then(by_number).otherwise(transport)
        number = number.cast(_I, strict=False).cast(_S)
        iana = pl.when("israw").then(number).otherwise(iana)
    return {"network.transport": transport, "network.iana_number": iana}


def _repeated(rows: pl.DataFrame) -> bool:
    """Whether a snapshot may have the same record twice. Where different ones have the same hash,
    their ordinals are counted for nothing."""
    marks = rows.select(pl.col("shot").hash() ^ pl.col("raw").hash()).to_series()
    return marks.n_unique() < rows.height


def _ids(origin: Origin, repeated: bool) -> pl.Expr:
    """128 bits of hash over dataset, sensor, snapshot, raw record and its ordinal among equals."""
    ordinal = pl.int_range(pl.len()).over("shot", "raw").cast(_S) if repeated else pl.lit("0")
    prefix = pl.lit(f"{origin.dataset}\x00{origin.sensor}\x00")
    return hashed(pl.concat_str(prefix, "id", pl.lit("\x00"), ordinal, pl.lit("\x00"), "raw"))


def hashed(text: pl.Expr) -> pl.Expr:
    """128 bits of hash of a text, as 32 hex digits."""
    digest = plh.concat_str(text).nchash.xxh3_128(return_binary=True, byte_order="big")
    hexed: pl.Expr = digest.bin.encode("hex")
    return hexed
