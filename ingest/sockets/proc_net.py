"""Sockets as the files of /proc/net show them.

    sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:46A0 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 263447 …

Addresses are words of the machine, in its byte order; ports are not. Source: Linux,
net/ipv4/tcp_ipv4.c, net/ipv4/udp.c, net/ipv4/raw.c, net/unix/af_unix.c, net/netlink/af_netlink.c.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

import polars as pl

from .tool import Tool

_SL: Final = r"\s*sl\s+local_address\s+rem(?:ote)?_address\s+st\s+tx_queue\s+rx_queue\s.*"
_UNIX: Final = r"Num\s+RefCount\s+Protocol\s+Flags\s+Type\s+St\s+Inode\s+Path"
_NETLINK: Final = r"sk\s+Eth\s+Pid\s+Groups\s+Rmem\s+Wmem\s+Dump\s+Locks\s+Drops\s+Inode"
_PACKET: Final = r"sk\s+RefCnt\s+Type\s+Proto\s+Iface\s+R\s+Rmem\s+User\s+Inode"
_END: Final = "(?:[0-9A-Fa-f]{8}|[0-9A-Fa-f]{32}):[0-9A-Fa-f]{4}"
_ROW: Final = (
    rf"^\s*[0-9]+: {_END} {_END} [0-9A-Fa-f]{{2}} [0-9A-Fa-f]{{8}}:[0-9A-Fa-f]{{8}}"
    r" [0-9A-Fa-f]{2}:[0-9A-Fa-f]{8} [0-9A-Fa-f]{8} +[0-9]{1,10} +[0-9]{1,10} +[0-9]{1,18}(?: .*)?$"
)
_UNIX_ROW: Final = (
    r"^[0-9A-Fa-f]{8,16}: [0-9A-Fa-f]{8} [0-9A-Fa-f]{8} [0-9A-Fa-f]{8} [0-9A-Fa-f]{4}"
    r" [0-9A-Fa-f]{2} +[0-9]{1,18}(?: .*)?$"
)
_NETLINK_ROW: Final = (
    r"^[0-9A-Fa-f]{8,16} +[0-9]{1,3} +-?[0-9]{1,10} +[0-9A-Fa-f]{8}(?: +-?[0-9]{1,18}){6}$"
)
_PACKET_ROW: Final = (
    r"^[0-9A-Fa-f]{8,16} +[0-9]{1,10} +[0-9]{1,4} +[0-9A-Fa-f]{4} +[0-9]{1,10}(?: +[0-9]{1,18}){4}$"
)
_FILE: Final = re.compile(r"(?:net/|==> (?:.*/)?)(tcp6?|udp6?|udplite6?|raw6?|icmp6?)\b")

_STATES: Final = {
    "01": "established", "02": "syn_sent", "03": "syn_recv", "04": "fin_wait1", "05": "fin_wait2",
    "06": "time_wait", "07": "unconnected", "08": "close_wait", "09": "last_ack", "0A": "listen",
    "0B": "closing", "0C": "new_syn_recv", "0D": "bound_inactive",
}  # fmt: skip
_TIMERS: Final = {"01": "on", "02": "keepalive", "03": "timewait", "04": "probe"}
_UNIX_KINDS: Final = {"0001": "u_str", "0002": "u_dgr", "0005": "u_seq"}
_UNIX_STATES: Final = {
    "01": "unconnected", "02": "connecting", "03": "established", "04": "disconnecting",
}  # fmt: skip
_UNIX_LISTENS: Final = 0x10000
_S: Final = pl.String


class _ProcNet(Tool):
    name = "proc_net"
    header = rf"^(?:{_SL}|{_UNIX}|{_NETLINK}|{_PACKET})$"
    comment = "^$"
    row = "|".join((_ROW, _UNIX_ROW, _NETLINK_ROW, _PACKET_ROW))
    title = (
        r"^(?:==> |[#$=*+>~\[(-]|cat |/|[\w.-]+@[\w.-]+[:~ ])"
        r"(?:.*proc/|proc/)(?:[0-9]+/|self/)?net/(?:tcp|udp|udplite|raw|icmp|unix|netlink|packet)6?\b[^|]*$"
    )

    def rows(self, lines: pl.DataFrame, header: str, title: str) -> pl.DataFrame:
        """As `Tool.rows` says."""
        text = lines["text"]
        parts = []
        rest = pl.repeat(True, lines.height, eager=True)
        for pattern, read in (
            (_ROW, lambda rows: _network(rows, _kind(header, title))),
            (_UNIX_ROW, _unix),
            (_NETLINK_ROW, _netlink),
            (_PACKET_ROW, _packet),
        ):
            here = rest & text.str.contains(pattern)
            if here.any():
                parts.append(read(lines.filter(here)))
                rest &= ~here
        if rest.any():
            bad = lines.filter(rest).select("line", "offset", "raw", lines=pl.lit(1, pl.Int64))
            parts.append(bad.with_columns(fault=pl.lit("is no line of a file of /proc/net")))
        return pl.concat(parts, how="diagonal").sort("line")


def _kind(header: str, title: str) -> str:
    """tcp, udp or raw: as the file above it is named, else by the header, which has columns of its
    own for tcp, and another margin for udp than for raw where addresses are short."""
    if found := _FILE.search(title):
        return found[1].rstrip("6")
    if "drops" not in header:
        return "tcp"
    if "rem_address" in header and header.startswith("  sl"):
        return "raw"
    return "udp"


def _tokens(lines: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """Columns of these names, null where a line has fewer words; all the rest is in the last."""
    parts = (
        pl.col("text")
        .str.strip_chars_start()
        .str.replace_all(" +", " ")
        .str.splitn(" ", len(names))
    )
    return lines.select(
        "line",
        "offset",
        "raw",
        "shot",
        parts.struct.rename_fields(names).alias("p"),
        lines=pl.lit(1, pl.Int64),
    ).unnest("p")


def _json(*columns: str | pl.Expr) -> pl.Expr:
    return pl.struct(*columns).struct.json_encode().alias("extra")


def _hex(name: str) -> pl.Expr:
    return pl.col(name).str.to_integer(base=16, dtype=pl.Int64)


def _network(lines: pl.DataFrame, kind: str) -> pl.DataFrame:
    names = ["sl", "l", "r", "st", "queues", "tr", "retransmits", "uid", "timeout", "inode", "rest"]
    frame = _tokens(lines, names)
    # All of them are as wide as `_ROW` says.
    frame = frame.with_columns(
        *(pl.col(side).str.head(-5).str.to_uppercase().alias(f"{side}0") for side in ("l", "r")),
        *(pl.col(side).str.tail(4).alias(f"{side}1") for side in ("l", "r")),
        send=pl.col("queues").str.head(8),
        recv=pl.col("queues").str.tail(8),
        tr0=pl.col("tr").str.head(2),
        tr1=pl.col("tr").str.tail(8),
        st=pl.col("st").str.to_uppercase(),
    )
    frame = _addresses(frame)
    six = pl.col("l0").str.len_bytes() > 8
    frame = frame.with_columns(
        *(_hex(f"{side}1").cast(_S).alias(to) for side, to in (("l", "lport"), ("r", "pport"))),
        *(_hex(name).alias(name) for name in ("recv", "send", "tr1", "retransmits")),
        netid=pl.when(six).then(pl.lit(f"{kind}6")).otherwise(pl.lit(kind)),
        state=pl.col("st").replace_strict(_STATES, default=None, return_dtype=_S),
    )
    left = (pl.col("tr1") / 100).cast(_S)
    return frame.select(
        "line", "offset", "raw", "lines", "netid", "state", "recv", "send", "laddr", "lport",
        "paddr",
        "pport", "uid",
        _shown("laddr", "lport").alias("local"),
        _shown("paddr", "pport").alias("peer"),
        pl.col("inode").cast(pl.Int64).replace(0, None),
        pl.when(pl.col("tr0") != "00").then(
            pl.format("{},{}sec,{}", pl.col("tr0").replace(_TIMERS), left, "retransmits")
        ).alias("timer"),
        pl.when(pl.col("state").is_null()).then(pl.format("{} is no state", "st")).alias("fault"),
        pl.when(pl.col("state").is_null()).then(pl.lit("st")).alias("field"),
        _json(pl.col("sl").str.strip_chars(":"), "timeout", "rest"),
    )  # fmt: skip


def _shown(address: str, port: str) -> pl.Expr:
    """As ss would show it."""
    six = pl.col(address).str.contains(":", literal=True)
    bare = pl.when(six).then(pl.format("[{}]", address)).otherwise(address)
    return pl.concat_str(
        bare, pl.lit(":"), pl.when(pl.col(port) == "0").then(pl.lit("*")).otherwise(port)
    )


def _addresses(frame: pl.DataFrame) -> pl.DataFrame:
    """With laddr and paddr as text, in the byte order of each snapshot's host."""
    frame = frame.with_columns(
        pl.col(f"{side}0").str.head(8).str.to_integer(base=16, dtype=pl.Int64).alias(f"{side}_")
        for side in ("l", "r")
    ).with_columns(
        (pl.col(f"{side}_") // 256 ** (3 - at) % 256).alias(f"{side}{at}_")
        for side in ("l", "r")
        for at in range(4)
    )
    leans = sum(
        (
            _usual(f"{side}0_", f"{side}1_") - _usual(f"{side}3_", f"{side}2_")
            for side in ("l", "r")
        ),
        pl.lit(0),
    )
    six = pl.col("l0").str.len_bytes() > 8
    words = leans
    made: dict[str, str] = {}
    if frame.select(six.any()).item():
        texts = pl.concat([frame["l0"], frame["r0"]]).unique()
        long = {one: _leans(one) for one in texts.filter(texts.str.len_bytes() > 8)}
        own = sum(
            (
                pl.col(f"{side}0").replace_strict(long, default=0, return_dtype=pl.Int64)
                for side in ("l", "r")
            ),
            pl.lit(0),
        )
        words = pl.when(six).then(own).otherwise(leans)
        made = {f"{o} {one}": _address(one, o) for o in ("big", "little") for one in long}
    frame = frame.with_columns(big=words.sum().over("shot") > 0)
    order = pl.when("big").then(pl.lit("big ")).otherwise(pl.lit("little "))
    columns = []
    for side, name in (("l", "laddr"), ("r", "paddr")):
        octets = [pl.col(f"{side}{at}_").cast(_S) for at in range(4)]
        little, big = (pl.concat_str(part, separator=".") for part in (octets[::-1], octets))
        four = pl.when("big").then(big).otherwise(little)
        if made:
            text = (order + pl.col(f"{side}0")).replace_strict(made, default=None, return_dtype=_S)
            four = pl.when(six).then(text).otherwise(four)
        columns.append(four.alias(name))
    return frame.with_columns(columns)


def _address(text: str, order: str) -> str:
    data = bytes.fromhex(text)
    if order == "little":
        data = b"".join(data[at : at + 4][::-1] for at in range(0, len(data), 4))
    return str(ipaddress.IPv6Address(data))


def _usual(first: str, second: str) -> pl.Expr:
    """1 for IPv4 addresses that hosts have, by their first bytes: private, loopback, link-local."""
    one, two = pl.col(first), pl.col(second)
    return (
        one.is_in([10, 127])
        | ((one == 172) & two.is_between(16, 31))
        | ((one == 192) & (two == 168))
        | ((one == 169) & (two == 254))
    ).cast(pl.Int64)


def _leans(text: str) -> int:
    """1 if this IPv6 address is one that hosts have when read as big-endian and is none when read
    as little-endian, -1 the other way round, else 0."""
    big, little = (ipaddress.IPv6Address(_address(text, order)) for order in ("big", "little"))
    return _usual_six(big) - _usual_six(little)


def _usual_six(one: ipaddress.IPv6Address) -> int:
    if one.ipv4_mapped:
        return 1
    return int(one.is_loopback or one.is_link_local or one.packed[0] >> 5 == 1)


def _unix(lines: pl.DataFrame) -> pl.DataFrame:
    names = ["num", "references", "protocol", "flags", "type", "st", "inode", "tail"]
    # A path may have spaces of any number.
    path = lines["text"].str.extract(r"^(?:\S+ ){6} *[0-9]+ (.*)$")
    frame = _tokens(lines, names).with_columns(pl.col("inode").cast(pl.Int64), path=path)
    listens = (_hex("flags") & _UNIX_LISTENS) != 0
    state = pl.col("st").replace_strict(_UNIX_STATES, default=None, return_dtype=_S)
    return frame.select(
        "line", "offset", "raw", "lines",
        pl.col("inode").replace(0, None),
        pl.col("type").replace_strict(_UNIX_KINDS, default="unix", return_dtype=_S).alias("netid"),
        pl.when(listens).then(pl.lit("listen")).otherwise(state).alias("state"),
        pl.concat_str(pl.col("path").fill_null("*"), pl.lit(" "), pl.col("inode")).alias("local"),
        _json("num", "references", "protocol", "flags", "type"),
    )  # fmt: skip


def _netlink(lines: pl.DataFrame) -> pl.DataFrame:
    names = ["sk", "eth", "pid", "groups", "rmem", "wmem", "dump", "locks", "drops", "inode"]
    frame = _tokens(lines, names)
    return frame.select(
        "line", "offset", "raw", "lines",
        pl.col("inode").cast(pl.Int64).replace(0, None),
        pl.lit("nl").alias("netid"),
        pl.col("rmem").cast(pl.Int64).alias("recv"),
        pl.col("wmem").cast(pl.Int64).alias("send"),
        pl.format("{}:{}", "eth", "pid").alias("local"),
        _json("sk", "groups", "dump", "locks", "drops"),
    )  # fmt: skip


def _packet(lines: pl.DataFrame) -> pl.DataFrame:
    names = ["sk", "references", "type", "proto", "interface", "running", "rmem", "uid", "inode"]
    frame = _tokens(lines, names)
    kind = pl.when(pl.col("type") == "2").then(pl.lit("p_dgr")).otherwise(pl.lit("p_raw"))
    return frame.select(
        "line", "offset", "raw", "lines", "interface", "uid",
        pl.col("inode").cast(pl.Int64).replace(0, None),
        kind.alias("netid"),
        pl.col("rmem").cast(pl.Int64).alias("recv"),
        pl.format("{}:{}", "proto", "interface").alias("local"),
        _json("sk", "references", "type", "running"),
    )  # fmt: skip


TOOL: Final = _ProcNet()
