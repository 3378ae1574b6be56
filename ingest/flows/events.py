"""Flows as events of the schema, roles turned as Zeek has them."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from connwatch.schema import UTC, conform, empty

from ..sockets.rows import hashed
from ..zeek_events import Origin
from .arrays import NIL
from .machine import NONE, asks_history, conn_state
from .packets import ICMP, ICMP6, TCP, UDP

#: the dataset of a flow that is over, and of a report of one that goes on
OVER: Final = "tcpdump.connection"
GOES_ON: Final = "tcpdump.open_connection"
_I: Final = pl.Int64()
#: what stands for a state of flows of UDP: behind those of TCP
_UDP: Final = 257
_S: Final = pl.String()
_SIDES: Final = (("x", "orig"), ("y", "resp"))


def events(flows: pl.DataFrame, origin: Origin) -> pl.DataFrame:
    """One event for each flow (`table.FLOW`), in order."""
    if flows.is_empty():
        return empty()
    flows = _turned(flows)
    flows = flows.with_columns(
        lasted=pl.max_horizontal(pl.col("last") - pl.col("start"), 0),
        icmp=pl.col("number").is_in([ICMP, ICMP6]),
        ported=pl.col("number").is_in([TCP, UDP]) | pl.col("orig_port").gt(0),
        **_payload(),
    )
    flows = flows.with_columns(_states(flows).alias("conn_state"))
    shown = ~pl.col("mute").cast(pl.Boolean)
    lasted = pl.col("lasted") > 0
    port = pl.col("ported") & ~pl.col("icmp")
    columns: dict[str, pl.Expr] = {
        "@timestamp": pl.col("start").cast(UTC),
        "event.id": pl.col("id") if flows["over"].all() else _ids(),
        "event.dataset": pl.when("over").then(pl.lit(OVER)).otherwise(pl.lit(GOES_ON)),
        "event.duration": pl.when(lasted).then(pl.col("lasted") * 1000),
        "event.sequence": pl.col("line"),
        "log.file.path": pl.lit(origin.path),
        "log.offset": pl.col("offset"),
        "network.transport": pl.coalesce("transport", pl.lit("unknown")),
        "network.iana_number": pl.col("number").cast(_S),
        "zeek.session_id": pl.when(~pl.col("over")).then("id"),
        "zeek.connection.state": pl.when(shown).then("conn_state"),
        "zeek.connection.history": pl.when(shown & (pl.col("history") != "")).then("history"),
        "zeek.connection.missed_bytes": pl.when(shown).then("missed"),
        "zeek.connection.icmp.type": pl.when("icmp").then(_known("orig_port")),
        "zeek.connection.icmp.code": pl.when("icmp").then(_known("resp_port")),
        "zeek.connection.vlan": pl.col("vlan"),
        "zeek.connection.inner_vlan": pl.col("inner_vlan"),
    }
    for side, end in (("orig", "source"), ("resp", "destination")):
        name = pl.col(f"{side}_name")
        sized = pl.col(f"{side}_unsized") == 0
        columns |= {
            f"{end}.ip": pl.when(~name).then(side),
            f"{end}.domain": pl.when(name).then(side),
            f"{end}.port": pl.when(port).then(f"{side}_port"),
            f"{end}.bytes": pl.when(sized).then(f"{side}_bytes"),
            f"{end}.packets": pl.col(f"{side}_packets"),
            f"{end}.mac": _mac(flows[f"{side}_mac"]),
            f"zeek.connection.{side}_bytes": pl.when(lasted).then(f"{side}_size"),
        }
    if origin.sensor:
        columns["observer.name"] = pl.lit(origin.sensor)
    return conform(flows.select(expr.alias(name) for name, expr in columns.items()))


def _mac(column: pl.Series) -> pl.Expr:
    """As the schema writes them; mostly there is none."""
    if column.null_count() == len(column):
        return pl.lit(None, _S)
    return pl.col(column.name).str.to_uppercase().str.replace_all(":", "-")


def _known(name: str) -> pl.Expr:
    return pl.when(pl.col(name) != NIL).then(name)


def _turned(flows: pl.DataFrame) -> pl.DataFrame:
    """The columns of the ends x and y as those of originator and responder."""
    by_x = ((pl.col("state") - 1) // 64) % 2 == 1
    names = [name[2:] for name in flows.columns if name.startswith("x_")]
    if flows.select(by_x.all()).item():
        turned = {f"{end}_{name}": f"{side}_{name}" for name in names for end, side in _SIDES}
        return flows.rename({"x": "orig", "y": "resp", **turned})
    made = {}
    for name in ("", *(f"_{one}" for one in names)):
        x, y = pl.col(f"x{name}"), pl.col(f"y{name}")
        made[f"orig{name}"] = pl.when(by_x).then(x).otherwise(y)
        made[f"resp{name}"] = pl.when(by_x).then(y).otherwise(x)
    return flows.with_columns(**made)


def _payload() -> dict[str, pl.Expr]:
    """orig_size, resp_size: payload bytes, of TCP by sequence numbers; null: the text does not
    tell."""
    made = {}
    for side in ("orig", "resp"):
        reach = pl.max_horizontal(f"{side}_sent", f"{side}_acked") - 1
        closed = pl.when((pl.col(f"{side}_fin") > 0) & (reach > 0)).then(1).otherwise(0)
        numbered = pl.max_horizontal(reach - closed, 0)
        measured = pl.when(pl.col(f"{side}_unmeasured") == 0).then(f"{side}_payload")
        # Without a number there was no payload; or none is shown (-q).
        by_number = pl.when(pl.col(f"{side}_raw") != NIL).then(numbered)
        none = pl.when(pl.col(f"{side}_payload") == 0).then(0)
        made[f"{side}_size"] = (
            pl.when(pl.col("number") == TCP)
            .then(pl.coalesce(by_number, none))
            .otherwise(pl.coalesce(measured, pl.lit(None, _I)))
        )
    return made


def _states(flows: pl.DataFrame) -> pl.Series:
    """conn_state, by the few different things that tell it."""
    number, history = flows["number"].to_numpy(), flows["history"]
    tcp, udp = number == TCP, number == UDP
    heard = []
    for name, letter in (("orig", "D"), ("resp", "d")):
        sent = (flows[f"{name}_size"].fill_null(0) > 0).to_numpy()
        shown = history.str.contains(letter, literal=True).to_numpy() if udp.any() else sent
        heard.append(np.where(udp, shown, sent))
    state = np.where(tcp, flows["state"].to_numpy(), np.where(udp, _UDP, NONE))
    kind = state << 2 | heard[0] << 1 | heard[1]
    names = ["OTH"] * (int(kind.max()) + 1)
    for known in np.flatnonzero(np.bincount(kind)).tolist():
        names[known] = _named(known, "")
    made = pl.Series(names).gather(kind)
    asked = np.flatnonzero(tcp & asks_history(state))
    if len(asked):
        told = zip(kind[asked].tolist(), history.gather(asked), strict=True)
        made = made.scatter(asked, [_named(known, text) for known, text in told])
    return made


def _named(kind: int, history: str) -> str:
    """conn_state. kind: the state, and whether originator and responder sent payload."""
    state, sizes = kind >> 2, (bool(kind & 2), bool(kind & 1))
    if state == _UDP:
        return {(True, True): "SF", (True, False): "S0", (False, True): "SHR"}.get(sizes, "OTH")
    return conn_state(state, sizes, history) if state != NONE else "OTH"


def _ids() -> pl.Expr:
    """The flow's; of a report one of its own, by the hour of it."""
    report = pl.concat_str("id", pl.lit("\0"), pl.col("end").cast(_S))
    return pl.when("over").then("id").otherwise(hashed(report))
