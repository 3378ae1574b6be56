"""The one event schema: every column of an event, and the only door into it.

`COLUMNS` is the literal. A column is either *stored* (a parser or an enrichment fills it and the
stores keep it) or *derived* (`derive` computes it from stored columns whenever somebody asks for
it: `expand`). Deriving costs nothing until it is asked for, and cannot contradict what it comes
from.

`conform(frame)` is the way in for parsers: it adds the stored columns that are missing as nulls,
puts all into the order below and refuses a name or a type that is not here. Names are ECS 9 names;
Zeek's own fields have the names of Elastic's Zeek integration; fields of our own stand under
`connwatch.`, `zeek.connection.` or `socket.`. `docs/schema.md` is generated from this file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

import polars as pl

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)

ECS_VERSION: Final = "9.5.0"

UTC = pl.Datetime("us", "UTC")
STRINGS = pl.List(pl.String)

#: Zeek's conn_state -> (what happened, ECS event.type values, event.action)
STATES: Final[dict[str, tuple[str, tuple[str, ...], str]]] = {
    "S0": ("attempt without any answer", ("connection", "start"), "connection_attempted"),
    "S1": ("established, not ended yet", ("connection", "start"), "connection_established"),
    "SF": (
        "established and ended in the normal way",
        ("connection", "start", "end"),
        "connection_finished",
    ),
    "REJ": ("attempt rejected", ("connection", "start", "denied"), "connection_rejected"),
    "S2": (
        "established, originator closed, responder did not answer the close",
        ("connection", "info"),
        "connection_half_closed",
    ),
    "S3": (
        "established, responder closed, originator did not answer the close",
        ("connection", "info"),
        "connection_half_closed",
    ),
    "RSTO": ("established, aborted by the originator", ("connection", "info"), "connection_reset"),
    "RSTR": ("aborted by the responder", ("connection", "info"), "connection_reset"),
    "RSTOS0": (
        "originator sent SYN then RST, no SYN-ACK seen",
        ("connection", "info"),
        "connection_attempted",
    ),
    "RSTRH": (
        "responder sent SYN-ACK then RST, no SYN seen",
        ("connection", "info"),
        "connection_reset",
    ),
    "SH": (
        "originator sent SYN then FIN, no SYN-ACK seen (half open)",
        ("connection", "info"),
        "connection_half_open",
    ),
    "SHR": (
        "responder sent SYN-ACK then FIN, no SYN seen",
        ("connection", "info"),
        "connection_half_open",
    ),
    "OTH": ("midstream traffic, no SYN seen", ("connection", "info"), "connection_midstream"),
}
#: states of a socket whose connection was made
OPEN: Final = (
    "established",
    "fin_wait1",
    "fin_wait2",
    "close_wait",
    "last_ack",
    "closing",
    "time_wait",
)
#: what became of a socket -> event.action
CHANGES: Final[dict[str, str]] = {
    "opened": "socket_opened",
    "reused": "socket_reused",
    "state": "socket_changed",
    "closed": "socket_closed",
    "replaced": "socket_replaced",
    "open": "socket_updated",
}
_ESTABLISHED = ("S1", "SF", "S2", "S3", "RSTO", "RSTR")
_FAILED = ("S0", "REJ", "RSTOS0", "SH")

_state = pl.col("zeek.connection.state")


def _strings(*values: str) -> pl.Expr:
    return pl.lit(pl.Series([list(values)], dtype=STRINGS)).first()


def _event_type() -> pl.Expr:
    by_types: dict[tuple[str, ...], list[str]] = {}
    for state, (_, types, _action) in STATES.items():
        by_types.setdefault(types, []).append(state)
    lone = pl.col("socket.role").is_not_null() & ~_connected().fill_null(value=False)
    change = pl.col("socket.change")
    begins, ends = change.is_in(["opened", "reused"]), change.is_in(["closed", "replaced"])
    what = pl.when(begins).then(pl.lit("start")).when(ends).then(pl.lit("end"))
    words = what.otherwise(pl.lit("info")).cast(pl.String)
    alone, both = pl.concat_list(words), pl.concat_list(pl.lit("connection"), words)
    expr: pl.Expr = pl.when(lone).then(alone).otherwise(both)
    for types, states in by_types.items():
        expr = pl.when(_state.is_in(states)).then(_strings(*types)).otherwise(expr)
    return expr


def _event_outcome() -> pl.Expr:
    tcp = pl.col("network.transport") == "tcp"
    return (
        pl.when(_state.is_in(_ESTABLISHED) | pl.col("socket.state").is_in(OPEN))
        .then(pl.lit("success"))
        .when(_state.is_in(_FAILED) & tcp)
        .then(pl.lit("failure"))
        .otherwise(pl.lit("unknown"))
    )


def _connected() -> pl.Expr:
    """Whether a row of a socket table is one of a connection: it has two ends."""
    return pl.col("socket.role").is_in(["client", "server"])


def sums_up() -> pl.Expr:
    """Whether an event sums up rows of socket tables, and is the record of no line itself."""
    return pl.col("socket.role").is_not_null() & pl.col("socket.snapshot.id").is_null()


def _action() -> pl.Expr:
    shown = pl.when(pl.col("socket.role").is_not_null()).then(pl.lit("socket_state"))
    changed = pl.col("socket.change").replace_strict(
        list(CHANGES), list(CHANGES.values()), default=None, return_dtype=pl.String
    )
    return pl.coalesce(_by_state(2), changed, shown)


def _kind() -> pl.Expr:
    row = pl.col("socket.snapshot.id").is_not_null()
    return pl.when(row).then(pl.lit("state")).otherwise(pl.lit("event"))


def _network_type() -> pl.Expr:
    address = pl.coalesce("source.ip", "destination.ip")
    six = address.str.contains(":", literal=True)
    return pl.when(six).then(pl.lit("ipv6")).when(~six).then(pl.lit("ipv4"))


def _by_state(index: int) -> pl.Expr:
    names = list(STATES)
    return _state.replace_strict(
        names, [STATES[name][index] for name in names], default=None, return_dtype=pl.String
    )


def _sum(left: str, right: str) -> pl.Expr:
    return (
        pl.sum_horizontal(left, right, ignore_nulls=True)
        .replace(0, None)
        .fill_null(pl.when(pl.col(left).is_not_null() | pl.col(right).is_not_null()).then(0))
    )


def _list_items(name: str) -> pl.Expr:
    return pl.col(name).str.split(",")


def _protocol() -> pl.Expr:
    # Zeek 7 writes an analyzer that gave up as "-name" behind the name it had confirmed.
    services = _list_items("zeek.connection.service")
    return services.list.eval(pl.element().filter(~pl.element().str.starts_with("-"))).list.first()


def _module() -> pl.Expr:
    return pl.col("event.dataset").str.split(".").list.first()


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    dtype: Polars type in a frame. es: Elasticsearch type of the mapping. unit: of numbers and
    times, "" where there is none. null: what null means. meaning: one line. derive: expression
    over stored columns; None for a stored column.
    """

    name: str
    dtype: pl.DataType
    es: str
    unit: str
    null: str
    meaning: str
    derive: pl.Expr | None = None


_NEVER = "never null"
_NOT_LOGGED = "not logged"
#: rules see connections alone (`rules/fields/connection.yml`), and these have both ends
_NO_END = f"{_NEVER} of a connection that feeds rules; socket table: no such end, or a name or a cut address in its place"
_NOT_SHOWN = "not shown"
_NO_DUMP = "no packet, or its bytes are not shown"
_NOT_COUNTED = "not shown, or nothing to compare with"
_S = pl.String()
_I = pl.Int64()

# fmt: off
COLUMNS: Final[tuple[Column, ...]] = (
    # -- time, identity, position -------------------------------------------------------------
    Column("@timestamp", UTC, "date", "µs UTC", _NEVER, "Start of the flow: the record's own time."),
    Column("event.start", UTC, "date", "µs UTC", _NEVER, "Start of the flow.", pl.col("@timestamp")),
    Column(
        "event.end", UTC, "date", "µs UTC", _NEVER,
        "End of the flow: start plus duration; the start where no duration was logged.",
        pl.col("@timestamp") + pl.duration(microseconds=pl.col("event.duration").fill_null(0) // 1000),
    ),
    Column("event.duration", _I, "long", "ns", "not logged: a single packet was seen", "Length of the flow."),
    Column(
        "connwatch.log_time", UTC, "date", "µs UTC", _NEVER,
        "Log time: running maximum of event.end in the record's stream; drives windows and folding.",
    ),
    Column("event.id", _S, "keyword", "", _NEVER, "128-bit content hash of dataset, sensor and raw record, 32 hex digits."),
    Column("event.dataset", _S, "keyword", "", _NEVER, "What the record is: zeek.connection, zeek.conn_long, zeek.open_conn; of tcpdump's text tcpdump.connection for a flow, tcpdump.open_connection for the hourly report of one that goes on, tcpdump.frame for what is no IP packet, and tcpdump.packet where packets are asked for; of socket tables, TOOL being ss, netstat or proc_net: TOOL.connection and TOOL.listener for the row that shows a connection or a listener first, TOOL.socket for all other rows; TOOL.flow sums up a connection that was closed or goes on, TOOL.closed a listener that is gone."),
    Column("event.module", _S, "keyword", "", _NEVER, "What wrote the record.", _module()),
    Column("event.kind", _S, "keyword", "", _NEVER, "event for a record of a log and for what sums up rows; state for a row of a socket table.", _kind()),
    Column("event.category", STRINGS, "keyword", "", _NEVER, "Always network.", _strings("network")),
    Column("event.type", STRINGS, "keyword", "", _NEVER, "connection, and start, end, denied or info by state; without connection for a socket that has none.", _event_type()),
    Column("event.action", _S, "keyword", "", "state not logged", "What happened, by connection state; of a socket socket_state, socket_opened, socket_reused, socket_changed, socket_closed, socket_replaced, socket_updated, by socket.change.", _action()),
    Column("event.outcome", _S, "keyword", "", _NEVER, "success if established, failure if TCP was not, else unknown.", _event_outcome()),
    Column("event.sequence", _I, "long", "lines", _NEVER, "Record number: the record's (first) line in its file, from 1; of a flow, its first packet's."),
    Column("log.file.path", _S, "keyword", "", _NEVER, "File the record was first read from, as given."),
    Column("log.offset", _I, "long", "bytes", _NEVER, "Where its line starts in the (decompressed) file."),
    Column("ecs.version", _S, "keyword", "", _NEVER, "ECS version of these names.", pl.lit(ECS_VERSION)),
    # -- originator ---------------------------------------------------------------------------
    Column("source.ip", _S, "ip", "", _NO_END, "Originator of the flow; of a socket table see socket.role."),
    Column("source.address", _S, "keyword", "", f"{_NEVER} of a connection that feeds rules; no such end", "source.ip, or else source.domain.", pl.coalesce("source.ip", "source.domain")),
    Column("source.domain", _S, "keyword", "", "an address was logged", "Name that the tool wrote in place of the address."),
    Column("source.port", _I, "long", "", "no ports (ICMP and other protocols)", "Originator's port."),
    Column("source.bytes", _I, "long", "bytes", _NOT_LOGGED, "IP bytes sent by the originator, headers included."),
    Column("source.packets", _I, "long", "packets", _NOT_LOGGED, "Packets sent by the originator."),
    Column("source.mac", _S, "keyword", "", _NOT_LOGGED, "Originator's link address, AA-BB-CC-DD-EE-FF."),
    # -- responder ----------------------------------------------------------------------------
    Column("destination.ip", _S, "ip", "", _NO_END, "Responder of the flow; of a socket table see socket.role."),
    Column("destination.address", _S, "keyword", "", f"{_NEVER} of a connection that feeds rules; no such end", "destination.ip, or else destination.domain.", pl.coalesce("destination.ip", "destination.domain")),
    Column("destination.domain", _S, "keyword", "", "an address was logged", "Name that the tool wrote in place of the address."),
    Column("destination.port", _I, "long", "", "no ports (ICMP and other protocols)", "Responder's port."),
    Column("destination.bytes", _I, "long", "bytes", _NOT_LOGGED, "IP bytes sent by the responder, headers included."),
    Column("destination.packets", _I, "long", "packets", _NOT_LOGGED, "Packets sent by the responder."),
    Column("destination.mac", _S, "keyword", "", _NOT_LOGGED, "Responder's link address, AA-BB-CC-DD-EE-FF."),
    # -- network ------------------------------------------------------------------------------
    Column("network.transport", _S, "keyword", "", f"{_NEVER} of a connection that feeds rules; a socket outside IP (unix, netlink, …)", "tcp, udp, icmp, ipv6-icmp, or another protocol's name."),
    Column("network.iana_number", _S, "keyword", "", "protocol without a known number", "IP protocol number."),
    Column("network.type", _S, "keyword", "", f"{_NEVER} of a connection that feeds rules; no address", "ipv4 or ipv6.", _network_type()),
    Column("network.protocol", _S, "keyword", "", "no application protocol recognised", "First application protocol that Zeek confirmed.", _protocol()),
    Column("network.bytes", _I, "long", "bytes", "neither side logged", "IP bytes of both sides.", _sum("source.bytes", "destination.bytes")),
    Column("network.packets", _I, "long", "packets", "neither side logged", "Packets of both sides.", _sum("source.packets", "destination.packets")),
    Column("network.direction", _S, "keyword", "", f"{_NEVER} of a connection that feeds rules; an end without address", "inbound, outbound, internal or external, by home networks or Zeek's local flags."),
    Column("network.community_id", _S, "keyword", "", "protocol without a known number; an end without address", "Community ID v1, seed 0."),
    Column("network.vlan.id", _S, "keyword", "", _NOT_LOGGED, "Outer VLAN.", pl.col("zeek.connection.vlan").cast(pl.String)),
    Column("network.inner.vlan.id", _S, "keyword", "", _NOT_LOGGED, "Inner VLAN (QinQ).", pl.col("zeek.connection.inner_vlan").cast(pl.String)),
    Column("related.ip", STRINGS, "ip", "", _NEVER, "Both addresses, as far as there are any.", pl.concat_list("source.ip", "destination.ip").list.drop_nulls()),
    # -- observer -----------------------------------------------------------------------------
    Column("observer.name", _S, "keyword", "", "no sensor label given", "Sensor label given by the user."),
    Column("observer.type", _S, "keyword", "", _NEVER, "Always sensor.", pl.lit("sensor")),
    Column("observer.product", _S, "keyword", "", _NEVER, "Program that saw the flow.", _module()),
    Column("labels", _S, "object", "", "no labels given", "Labels of the source, given by the user: a JSON object from name to value."),
    # -- socket tables ------------------------------------------------------------------------
    Column("host.name", _S, "keyword", "", "the file does not say it", "Host of a socket table, from a prompt or from `watch` in the file."),
    Column("process.pid", _I, "long", "", _NOT_SHOWN, "Process that holds the socket; the first one shown."),
    Column("process.name", _S, "keyword", "", _NOT_SHOWN, "Its name as shown, which may be cut (15 bytes in Linux, fewer in netstat)."),
    Column("user.id", _S, "keyword", "", "not shown; ss does not show 0", "User of the socket, by number."),
    Column("user.name", _S, "keyword", "", _NOT_SHOWN, "User of the socket, by name."),
    Column("socket.role", _S, "keyword", "", "not a socket table", "What the local end is: listener, unconnected and server are the destination, client is the source; local: no network."),
    Column("socket.family", _S, "keyword", "", "not a socket table", "inet, inet6, unix, netlink, packet, vsock or another; inet where both are possible."),
    Column("socket.type", _S, "keyword", "", "not a socket table", "Kind of socket as the tool names it: tcp, udp6, u_str, nl, …"),
    Column("socket.state", _S, "keyword", "", "no state shown", "State, as the same word for every tool: listen, established, time_wait, unconnected, …"),
    Column("socket.local", _S, "keyword", "", "not a socket table", "Local end as shown: address, scope, port; path and number for unix."),
    Column("socket.peer", _S, "keyword", "", _NOT_SHOWN, "Peer as shown."),
    Column("socket.interface", _S, "keyword", "", _NOT_SHOWN, "Interface that the socket is bound to, or scope of its address."),
    Column("socket.truncated", STRINGS, "keyword", "", "nothing was cut", "What the tool cut short to fit its columns: local, peer, process."),
    Column("socket.recv_queue", _I, "long", "bytes", _NOT_SHOWN, "Bytes not read yet; of a listener: connections not accepted yet."),
    Column("socket.send_queue", _I, "long", "bytes", _NOT_SHOWN, "Bytes not acknowledged; of a listener in ss: the most that may wait."),
    Column("socket.inode", _I, "long", "", "not shown, or none", "Inode of the socket."),
    Column("socket.cookie", _S, "keyword", "", _NOT_SHOWN, "The kernel's number of the socket, hex (sk: in ss)."),
    Column("socket.processes", STRINGS, "keyword", "", _NOT_SHOWN, "Every process that holds the socket: PID/name, with fd=N behind it where shown."),
    Column("socket.timer", _S, "keyword", "", _NOT_SHOWN, "Timer as shown: name, time left, retransmissions."),
    Column("socket.bytes_sent", _I, "long", "bytes", _NOT_SHOWN, "Payload bytes sent, retransmissions included."),
    Column("socket.bytes_acked", _I, "long", "bytes", _NOT_SHOWN, "Payload bytes that the peer acknowledged; the SYN counts as one."),
    Column("socket.bytes_received", _I, "long", "bytes", _NOT_SHOWN, "Payload bytes received."),
    Column("socket.segments_sent", _I, "long", "packets", _NOT_SHOWN, "Segments sent."),
    Column("socket.segments_received", _I, "long", "packets", _NOT_SHOWN, "Segments received."),
    Column("socket.retransmits", _I, "long", "packets", "not shown, or none", "Segments retransmitted in all."),
    Column("socket.rtt", _I, "long", "µs", _NOT_SHOWN, "Smoothed round-trip time."),
    Column("socket.cwnd", _I, "long", "packets", _NOT_SHOWN, "Congestion window."),
    Column("socket.last_sent", _I, "long", "ms", _NOT_SHOWN, "Time since the last payload was sent."),
    Column("socket.last_received", _I, "long", "ms", _NOT_SHOWN, "Time since the last payload was received."),
    Column("socket.snapshot.id", _S, "keyword", "", "not a socket table", "Snapshot that the row is of: hash of its lines and its time, 32 hex digits."),
    Column("socket.snapshot.count", _I, "long", "snapshots", "a row of a socket table", "Snapshots that showed it, in an event that sums them up."),
    Column("socket.snapshot.missed", _I, "long", "snapshots", "none", "Snapshots that seem to be missing, by their usual interval: just before this row; in an event that sums up: since the socket was first seen."),
    Column("socket.change", _S, "keyword", "", "shown as before, or not compared", "Against the snapshot before: first (there is none), opened, reused (another socket with the same ends took the place of one), state (another state); of events that sum up: closed, replaced (reused by another), open (an update)."),
    Column("socket.change_reason", _S, "keyword", "", "not reused or replaced", "What tells it: inode (another one), counters (they fell), state (it went back)."),
    Column("socket.instance", _S, "keyword", "", "not compared", "The id of the row that showed this socket first; the same in all its rows and events."),
    Column("socket.state_before", _S, "keyword", "", "the same, or not shown", "State in the snapshot before."),
    Column("socket.first_seen", UTC, "date", "µs UTC", "not compared", "Time of the snapshot that showed it first: it was opened at or before this."),
    Column("socket.opened_after", UTC, "date", "µs UTC", "the first snapshot showed it", "Time of the last snapshot that did not show it: it was opened after this."),
    Column("socket.closed_before", UTC, "date", "µs UTC", "still shown", "Time of the first snapshot that does not show it any more."),
    Column("socket.delta.bytes_sent", _I, "long", "bytes", _NOT_COUNTED, "Payload bytes sent since the snapshot before; in an event that sums up: since it was first seen, or opened."),
    Column("socket.delta.bytes_received", _I, "long", "bytes", _NOT_COUNTED, "Payload bytes received, likewise."),
    Column("socket.delta.segments_sent", _I, "long", "packets", _NOT_COUNTED, "Segments sent, likewise."),
    Column("socket.delta.segments_received", _I, "long", "packets", _NOT_COUNTED, "Segments received, likewise."),
    Column("socket.snapshot.clock", _S, "keyword", "", "not a socket table", "Where its time is from: line (date, watch), name (of the file) or file (when it was written)."),
    # -- Zeek's own ---------------------------------------------------------------------------
    Column("zeek.session_id", _S, "keyword", "", _NOT_LOGGED, "Zeek's uid of the connection; of tcpdump.open_connection the id of the event that the flow will be."),
    Column("zeek.connection.state", _S, "keyword", "", _NOT_LOGGED, "conn_state, one of 13, as Zeek logs it or connwatch finds it from packets."),
    Column("zeek.connection.state_message", _S, "keyword", "", "state not logged", "conn_state in words.", _by_state(0)),
    Column("zeek.connection.history", _S, "keyword", "", _NOT_LOGGED, "Packet history letters, as Zeek logs them or connwatch finds them from packets."),
    Column("zeek.connection.local_orig", pl.Boolean(), "boolean", "", "Zeek does not know its local networks", "Originator is local, says Zeek."),
    Column("zeek.connection.local_resp", pl.Boolean(), "boolean", "", "Zeek does not know its local networks", "Responder is local, says Zeek."),
    Column("zeek.connection.missed_bytes", _I, "long", "bytes", _NOT_LOGGED, "Bytes lost in gaps of the capture."),
    Column("zeek.connection.orig_bytes", _I, "long", "bytes", _NOT_LOGGED, "Payload bytes of the originator."),
    Column("zeek.connection.resp_bytes", _I, "long", "bytes", _NOT_LOGGED, "Payload bytes of the responder."),
    Column("zeek.connection.service", _S, "keyword", "", "no application protocol recognised", "service as logged: comma-separated, -name for one given up."),
    Column("zeek.connection.icmp.type", _I, "integer", "", "not ICMP", "ICMP type, which Zeek logs as originator port."),
    Column("zeek.connection.icmp.code", _I, "integer", "", "not ICMP", "ICMP code, which Zeek logs as responder port."),
    Column("zeek.connection.vlan", _I, "integer", "", _NOT_LOGGED, "Outer VLAN."),
    Column("zeek.connection.inner_vlan", _I, "integer", "", _NOT_LOGGED, "Inner VLAN."),
    Column("zeek.connection.tunnel_parents", STRINGS, "keyword", "", "not tunnelled", "uids of the tunnels around the connection."),
    Column("zeek.connection.label", _S, "keyword", "", "not a labelled log", "Label of a labelled data set."),
    Column("zeek.connection.detailed_label", _S, "keyword", "", "not a labelled log", "Detailed label of a labelled data set."),
    # -- what a packet carries ----------------------------------------------------------------
    Column("connwatch.payload.bytes", _I, "long", "bytes", _NO_DUMP, "What the packet carries behind its transport's header (TCP, UDP, ICMP), else behind IP's, in all, be it shown or not."),
    Column("connwatch.payload.hex", _S, "keyword", "", f"{_NO_DUMP}, or only as text (-A)", "These bytes, as far as tcpdump shows them exactly (-x, -X): two hex digits each, the first 2,048."),
    Column("connwatch.payload.text", _S, "keyword", "", _NO_DUMP, "The same as text, with a dot for every byte that is no printing ASCII."),
    Column("connwatch.payload.flaws", STRINGS, "keyword", "", f"{_NO_DUMP}, or all is there", "What is not whole: limit (it has more bytes than are kept), captured (it has more than are shown: -s), damaged (lines of the dump are missing or wrong; what stands before them is kept), other (the bytes shown hold no header of this packet; none is kept), text (of -A: a dot may be any byte, and carriage returns are lost)."),
    Column("connwatch.extra", _S, "flattened", "", "nothing beyond the schema", "Fields the schema does not know: a JSON object from source name to value."),
)
# fmt: on

#: columns that hold JSON objects as text
OBJECTS: Final = frozenset(
    column.name for column in COLUMNS if column.es in ("object", "flattened")
)
BY_NAME: Final[dict[str, Column]] = {column.name: column for column in COLUMNS}
STORED: Final[dict[str, pl.DataType]] = {c.name: c.dtype for c in COLUMNS if c.derive is None}
DERIVED: Final[dict[str, pl.Expr]] = {c.name: c.derive for c in COLUMNS if c.derive is not None}


_NULLS: Final = {name: pl.lit(None, dtype).alias(name) for name, dtype in STORED.items()}


def conform(frame: pl.DataFrame) -> pl.DataFrame:
    """Give a parser's frame the schema's stored columns, in the schema's order.

    Missing columns become nulls. Raises ValueError for a column that the schema does not know or
    that has another type: that is a bug in the parser, not bad input.
    """
    for name, dtype in frame.schema.items():
        want = STORED.get(name)
        if want is None:
            raise ValueError(f"column {name!r} is not a stored column of the schema")
        if dtype != want:
            raise ValueError(f"column {name!r} has type {dtype}, the schema says {want}")
    has = frozenset(frame.columns)
    return frame.select_seq(name if name in has else null for name, null in _NULLS.items())


def empty() -> pl.DataFrame:
    """A frame of no events with all stored columns."""
    return _EMPTY.clone()


#: made once: a frame of so many columns takes milliseconds, and its copy none
_EMPTY: Final = pl.DataFrame(schema=STORED)


def derived(names: Iterable[str]) -> list[pl.Expr]:
    """The expressions, each aliased, of those of `names` that are derived columns."""
    return [DERIVED[name].alias(name) for name in names if name in DERIVED]


def expand(frame: Frame) -> Frame:
    """All columns, stored and derived, in the schema's order."""
    return frame.select(
        DERIVED[column.name].alias(column.name)
        if column.derive is not None
        else pl.col(column.name)
        for column in COLUMNS
    )
