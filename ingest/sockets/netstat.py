"""Sockets as netstat prints them: net-tools, BusyBox, BSD and macOS, Windows.

    Active Internet connections (servers and established)
    Proto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name
    tcp        0      0 0.0.0.0:22              0.0.0.0:*               LISTEN      812/sshd
    tcp4       0      0 192.168.1.5.49210       140.82.113.26.443       ESTABLISHED
      TCP    [fe80::1%9]:139        [::]:0                 ABHÖREN         4

Windows is read by position and state, whatever language its headers are in. Addresses are cut to
fit their columns: by net-tools and BusyBox at 23 characters, by BSD at 16 and at the column's end.
"""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from .netstat_exact import record
from .netstat_words import STATES
from .rows import ROW
from .tool import Tool

_INET: Final = r"Proto\s+Recv-Q\s+Send-Q\s+Local Address\s+Foreign Address.*"
_UNIX: Final = r"Proto\s+RefCnt\s+Flags\s+Type\s+State\s+I-Node\s+.*Path"
_BSD: Final = rf"(?:Tcpcb|PCB|Socket|pcb)\s+(?:Flowhash\s+)?{_INET}"
_BSD_UNIX: Final = r"Address\s+Type\s+Recv-Q\s+Send-Q\s+Inode\s+Conn\s+Refs\s+Nextref\s+Addr"
_KERNEL: Final = (
    r"(?:pcb\s+)?(?:Socket\s+)?Proto\s+Recv-Q\s+Send-Q\s+(?:vendor|unit)\s.*"
    r"|(?:kctlref\s+)?id\s+(?:unit\s+)?flags\s+pcbcount\s+rcvbuf\s+sndbuf\s+name"
    r"|Proto/ID\s+Flags\s+Local Address\s+Foreign Address\s.*"
)
#: in any language: names of columns, no digits, colons or brackets, two spaces between them
_WINDOWS: Final = (
    r" {1,4}[^\s0-9:\[\]()]+(?: [^\s0-9:\[\]()]+)? {2,}[^0-9:\[\]]*[^\s0-9:\[\]] {2,}[^0-9:\[\]]+"
)
_KINDS: Final = r"(?:tcp|udp|udpl|udplite|raw|sctp|dccp|icmp|icm|ip|div)(?:46|4|6)?"
_NUMBERS: Final = r"[0-9]{1,18} +[0-9]{1,18}"
ROWS: Final = (
    rf"^\s*{_KINDS}\s+{_NUMBERS}\s+\S+\s+\S",
    r"^\s*unix\s+[0-9]+\s+\[.{0,30}\]\s+\S",
    rf"^[0-9a-f]{{8,16}}\s+(?:[0-9a-f]{{1,8}}\s+)?{_KINDS}\s+{_NUMBERS}\s+\S+\s+\S",
    rf"^[0-9a-f]{{8,16}}\s+(?:stream|dgram|seqpac|seqpacket)\s+{_NUMBERS}\s+\S",
    rf"^(?:[0-9a-f]{{8,16}}\s+)?(?:kevt|kctl|systm)\s+{_NUMBERS}\s",
    r"^\s*(?:TCP|UDP|TCPv6|UDPv6)\s+\S+:\S+\s+\S+:\S+",
)
_ROW: Final = "|".join(f"(?:{one})" for one in ROWS)
_V4: Final = r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}"
_END: Final = rf"(?:{_V4}|[0-9a-f]*:[0-9a-f:.]*):(?:[0-9]{{1,5}}|\*)"
_PLAIN: Final = (
    "LISTEN|ESTABLISHED|TIME_WAIT|CLOSE_WAIT|SYN_SENT|SYN_RECV|FIN_WAIT1|FIN_WAIT2|LAST_ACK|CLOSING"
)
#: what needs no care: net-tools and BusyBox with numbers, and at most a process behind them
_QUICK: Final = (
    rf"^(?:tcp|udp)6? +{_NUMBERS} +{_END} +{_END}(?: +(?:{_PLAIN}))?"
    r"(?: +(?:[0-9]{1,9}/[A-Za-z0-9_.@+-]{1,7}|-))?$"
)
#: columns at which net-tools and BusyBox cut an end
WIDTH: Final = 23


class _Netstat(Tool):
    name = "netstat"
    header = rf"^\s*(?:{_INET}|{_UNIX}|{_BSD}|{_BSD_UNIX}|{_KERNEL})$|^{_WINDOWS}$"
    comment = (
        r"^(?:\(Not all processes could be identified.*"
        r"|\s*will not be shown, you would have to be.*"
        r"|\(No info could be read for.*|netstat: .*|Registered kernel control modules"
        r"|bt_\w+ .*|(?:Proto|Can not obtain ownership information\b.*)|Kernel Interface table)$"
    )
    row = _ROW
    title = (
        r"^Active (?:Internet|UNIX|LOCAL|Multipath|Bluetooth|IPX|A?X\.25|[Kk]ernel|VSOCK).*$"
        r"|^Active Connections$|^Aktive Verbindungen$|^Connexions actives$|^Conexiones activas$"
        r"|^Connessioni attive$|^Conexões ativas$|^Active sockets$|^Активные подключения$"
        r"|^Aktive (?:Internet|Sockets).*$|^Actieve verbindingen$|^Aktiva anslutningar$"
        r"|^Aktywne połączenia$"
    )

    def rows(self, lines: pl.DataFrame, header: str, title: str) -> pl.DataFrame:
        """As `Tool.rows` says."""
        quick = lines["text"].str.contains(_QUICK)
        parts = []
        if quick.any():
            made = _fast(lines.filter(quick))
            cut = _cut(made)
            parts.append(made.filter(~cut).drop("_l", "_p"))
            if cut.any():
                quick &= ~lines["line"].is_in(made.filter(cut)["line"].implode())
        if not quick.all():
            parts.append(exact(lines.filter(~quick), header, lines))
        return pl.concat(parts, how="diagonal").sort("line") if len(parts) > 1 else parts[0]


def _cut(made: pl.DataFrame) -> pl.Series:
    """Ends as long as the column: more of them may have been there."""
    return made.select((pl.col("_l") == WIDTH) | (pl.col("_p") == WIDTH)).to_series()


def _fast(lines: pl.DataFrame) -> pl.DataFrame:
    names = ["netid", "recv", "send", "local", "peer", "first", "second"]
    parts = pl.col("text").str.replace_all(" +", " ").str.splitn(" ", len(names))
    frame = lines.select(
        "line",
        "offset",
        "raw",
        parts.struct.rename_fields(names).alias("p"),
        lines=pl.lit(1, pl.Int64),
    ).unnest("p")
    frame = frame.with_columns(
        pl.col("recv", "send").cast(pl.Int64),
        *(
            pl.col(side).str.split(":").list.last().alias(port)
            for side, port in (("local", "lport"), ("peer", "pport"))
        ),
        state=pl.col("first").replace_strict(STATES, default=None, return_dtype=pl.String),
        _l=pl.col("local").str.len_chars(),
        _p=pl.col("peer").str.len_chars(),
    )
    program = pl.when(pl.col("state").is_null()).then("first").otherwise("second")
    frame = frame.with_columns(
        pl.col(side).str.strip_suffix(pl.col(port)).str.strip_suffix(":").alias(address)
        for side, port, address in (("local", "lport", "laddr"), ("peer", "pport", "paddr"))
    ).with_columns(_program=pl.when(program != "-").then(program))
    if frame["_program"].null_count() < frame.height:
        both = pl.col("_program").str.splitn("/", 2).struct
        frame = frame.with_columns(
            pid=both.field("field_0").cast(pl.Int64),
            name=both.field("field_1"),
            processes=pl.when(pl.col("_program").is_not_null()).then(pl.concat_list("_program")),
        )
    return frame.drop("first", "second", "_program")


def exact(rest: pl.DataFrame, header: str, lines: pl.DataFrame) -> pl.DataFrame:
    """Rows of these lines, one record at a time. lines: all of the section, which tell whether
    columns were cut, and where records of several lines end."""
    ends = pl.col("text").str.extract_all(r"\S+").list.slice(3, 2)
    longer = ends.list.eval(pl.element().str.len_chars()).list.max() > WIDTH
    wide = longer.any().over("shot").fill_null(value=False)
    rest = rest.join(lines.select("line", wide=wide), on="line", maintain_order="left")
    made: list[dict[str, Any]] = []
    columns = ("line", "offset", "raw", "text", "wide")
    for line, offset, raw, text, wide in rest.select(columns).iter_rows():
        one: dict[str, Any] = {"line": line, "offset": offset, "lines": 1, "raw": raw}
        before = made[-1] if made and made[-1]["line"] + made[-1]["lines"] == line else None
        values = record(text, header, before, wide=wide)
        if values is None and before is not None:
            before["lines"] += 1
            before["raw"] += f"\n{raw}"
            continue
        made.append(one | (values or {"fault": "is no socket as netstat prints it"}))
    return pl.DataFrame(made, schema=ROW)


TOOL: Final = _Netstat()
