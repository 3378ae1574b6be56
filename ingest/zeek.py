r"""Zeek's connection logs (conn, conn_long, open_conn): what its fields mean in the schema.

    #separator \x09
    #set_separator	,
    #empty_field	(empty)
    #unset_field	-
    #path	conn
    #fields	ts	uid	id.orig_h	id.orig_p	id.resp_h	id.resp_p	proto	…
    #types	time	string	addr	port	addr	port	enum	string	interval	…
    1517336042.090842	Ci85EB2YjUI9a2eql6	10.55.182.100	14291	10.233.233.5	80	tcp	…

and the same as JSON, one object a line. Field meanings: Zeek's base/protocols/conn/main.zeek.
`zeek_tsv` and `zeek_json` read lines into a *record frame*, one typed column per Zeek field;
`zeek_events` checks it and makes events of it. Both readers take names and kinds from here.
"""

from __future__ import annotations

from typing import Final, Literal

import polars as pl

#: time and interval: µs as integers; set: list of strings
Kind = Literal["time", "interval", "count", "port", "addr", "string", "bool", "set"]

#: Zeek field -> (schema column, kind). Ports and proto are worked on in `zeek_events`.
FIELDS: Final[dict[str, tuple[str, Kind]]] = {
    "ts": ("@timestamp", "time"),
    "uid": ("zeek.session_id", "string"),
    "id.orig_h": ("source.ip", "addr"),
    "id.orig_p": ("source.port", "port"),
    "id.resp_h": ("destination.ip", "addr"),
    "id.resp_p": ("destination.port", "port"),
    "proto": ("network.transport", "string"),
    "service": ("zeek.connection.service", "string"),
    "duration": ("event.duration", "interval"),
    "orig_bytes": ("zeek.connection.orig_bytes", "count"),
    "resp_bytes": ("zeek.connection.resp_bytes", "count"),
    "conn_state": ("zeek.connection.state", "string"),
    "local_orig": ("zeek.connection.local_orig", "bool"),
    "local_resp": ("zeek.connection.local_resp", "bool"),
    "missed_bytes": ("zeek.connection.missed_bytes", "count"),
    "history": ("zeek.connection.history", "string"),
    "orig_pkts": ("source.packets", "count"),
    "orig_ip_bytes": ("source.bytes", "count"),
    "resp_pkts": ("destination.packets", "count"),
    "resp_ip_bytes": ("destination.bytes", "count"),
    "tunnel_parents": ("zeek.connection.tunnel_parents", "set"),
    "ip_proto": ("network.iana_number", "count"),
    "community_id": ("network.community_id", "string"),
    "vlan": ("zeek.connection.vlan", "count"),
    "inner_vlan": ("zeek.connection.inner_vlan", "count"),
    "orig_l2_addr": ("source.mac", "string"),
    "resp_l2_addr": ("destination.mac", "string"),
    "label": ("zeek.connection.label", "string"),
    "detailed-label": ("zeek.connection.detailed_label", "string"),
}

#: Other names of the same fields: other scope separators, the usual field-name maps, data sets.
ALIASES: Final[dict[str, str]] = {
    "id_orig_h": "id.orig_h",
    "id_orig_p": "id.orig_p",
    "id_resp_h": "id.resp_h",
    "id_resp_p": "id.resp_p",
    "src": "id.orig_h",
    "src_ip": "id.orig_h",
    "src_port": "id.orig_p",
    "dst": "id.resp_h",
    "dst_ip": "id.resp_h",
    "dst_port": "id.resp_p",
    "detailedlabel": "detailed-label",
    "detailed_label": "detailed-label",
}

#: A log without these is no log of connections; a record without them is rejected.
REQUIRED: Final = ("ts", "id.orig_h", "id.resp_h", "proto")

#: Zeek's name of the log (#path, _path) -> dataset
DATASETS: Final[dict[str, str]] = {
    "conn": "zeek.connection",
    "conn_long": "zeek.conn_long",
    "open_conn": "zeek.open_conn",
}

TYPES: Final[dict[Kind, pl.DataType]] = {
    "time": pl.Int64(),
    "interval": pl.Int64(),
    "count": pl.Int64(),
    "port": pl.Int64(),
    "addr": pl.String(),
    "string": pl.String(),
    "bool": pl.Boolean(),
    "set": pl.List(pl.String),
}


def field_name(name: str) -> str:
    """The name in `FIELDS` of a field as a log calls it; unknown names stay."""
    return ALIASES.get(name, name)


def dataset_of(log: str) -> str | None:
    """The dataset of Zeek's log of this name; None when it holds no connections.

    Names of filtered copies count for what they are: conn-worked, conn_1 and conn are one.
    """
    if log in DATASETS:
        return DATASETS[log]
    base = log.replace("-", "_").rsplit(".", 1)[-1]
    for name in ("conn_long", "open_conn", "conn"):
        if base == name or (base.startswith(f"{name}_") and base != "conn_summary"):
            return DATASETS[name]
    return None
