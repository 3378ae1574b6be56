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

import numpy as np
import polars as pl
import polars_iptools as ip
from numpy.typing import NDArray

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
    1: "established", 2: "syn_sent", 3: "syn_recv", 4: "fin_wait1", 5: "fin_wait2",
    6: "time_wait", 7: "unconnected", 8: "close_wait", 9: "last_ack", 10: "listen",
    11: "closing", 12: "new_syn_recv", 13: "bound_inactive",
}  # fmt: skip
_TIMERS: Final = {1: "on", 2: "keepalive", 3: "timewait", 4: "probe"}
#: hexadecimal numbers of a line behind its own, as `_ROW` has them, where addresses are short:
#: where they begin, and digits
_FIXED: Final = {
    "local": (0, 8), "lport": (9, 4), "peer": (14, 8), "pport": (23, 4), "st": (28, 2),
    "send": (31, 8), "recv": (40, 8), "tr": (49, 2), "when": (52, 8), "retransmits": (61, 8),
}  # fmt: skip
_PORT, _STATE, _RUNS, _UID = 8, 28, 49, 69
#: user, time-out and inode in columns of the width that the kernel gives them
_PADDED: Final = (
    rf"^ (?:{'|'.join(f' {{{5 - n}}}[0-9]{{{n}}}' for n in range(1, 6))})"
    rf" (?:{'|'.join(f' {{{8 - n}}}[0-9]{{{n}}}' for n in range(1, 9))}) [0-9]"
)
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
            if here.all():
                return read(lines)
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
    parts = pl.col("text").str.strip_chars_start().str.splitn(": ", 2)
    frame = lines.select(
        "line", "offset", "raw", "shot", parts.struct.rename_fields(["sl", "body"]).alias("p")
    ).unnest("p")
    second = pl.col("body").str.find(" ", literal=True) + 1
    wide = frame.select(
        l=pl.col("body").str.slice(_PORT, 1) != ":",
        r=pl.col("body").str.slice(second + _PORT, 1) != ":",
    )
    six = bool(wide["l"].any() or wide["r"].any())
    if six:
        frame = _narrowed(frame.with_columns(wide))
    fixed = _numbers(frame["body"])
    frame = frame.with_columns(fixed).with_columns(_behind(frame["body"]))
    frame = _addresses(frame, six=six)
    netid = pl.when("l").then(pl.lit(f"{kind}6")).otherwise(pl.lit(kind)) if six else pl.lit(kind)
    frame = frame.with_columns(
        pl.col("lport", "pport").cast(_S),
        state=pl.col("st").replace_strict(_STATES, default=None, return_dtype=_S),
    )
    odd = pl.col("state").is_null()
    st = pl.col("body").str.slice(_STATE, 2).str.to_uppercase()
    # Not divided: a column and a single row are rounded in different ways.
    cents = (pl.col("when") % 100).cast(_S).str.zfill(2).str.strip_suffix("0")
    left = pl.concat_str(pl.col("when") // 100, pl.lit("."), cents)
    return frame.select(
        "line", "offset", "raw", "state", "recv", "send", "laddr", "lport", "paddr", "pport", "uid",
        _shown("laddr", "lport", six=six).alias("local"),
        _shown("paddr", "pport", six=six).alias("peer"),
        netid.alias("netid"),
        pl.lit(1, pl.Int64).alias("lines"),
        pl.col("inode").cast(pl.Int64).replace(0, None),
        pl.when(pl.col("tr") != 0).then(
            pl.format("{},{}sec,{}", _timer(), left, "retransmits")
        ).alias("timer"),
        pl.when(odd).then(pl.format("{} is no state", st)).alias("fault"),
        pl.when(odd).then(pl.lit("st")).alias("field"),
        _json("sl", "timeout", "rest"),
    )  # fmt: skip


def _timer() -> pl.Expr:
    """What runs, in words; else its number as shown."""
    number = pl.col("tr")
    words = number.replace_strict(_TIMERS, default=None, return_dtype=_S)
    return words.fill_null(pl.col("body").str.slice(_RUNS, 2))


def _narrowed(frame: pl.DataFrame) -> pl.DataFrame:
    """Long addresses (where l and r say so) in l0 and r0, null for short ones; in body they are cut
    to the first of their words."""
    body = pl.col("body")
    start = pl.col("l").cast(pl.Int64) * 24
    end = pl.col("r").cast(pl.Int64) * 24
    return frame.with_columns(
        pl.when("l").then(body.str.slice(0, 32).str.to_uppercase()).alias("l0"),
        pl.when("r").then(body.str.slice(start + 14, 32).str.to_uppercase()).alias("r0"),
        pl.concat_str(
            body.str.slice(0, 8),
            body.str.slice(start + 8, 14),
            body.str.slice(start + end + 22),
        ).alias("body"),
    )


def _numbers(body: pl.Series) -> pl.DataFrame:
    """The numbers of `_FIXED`."""
    text = body.str.head(_UID).cast(pl.Binary)
    shape = pl.Array(pl.UInt8, _UID)
    letters = text.bin.reinterpret(dtype=shape, endianness="little").to_numpy()
    digits = (letters & 15) + 9 * (letters >> 6)
    made = {}
    for name, (start, width) in _FIXED.items():
        some = digits[:, start : start + width]
        data = np.ascontiguousarray(some[:, 0::2] << 4 | some[:, 1::2])
        made[name] = data.view(f">u{width // 2}")[:, 0].astype(np.int64)
    return pl.DataFrame(made)


def _behind(body: pl.Series) -> pl.DataFrame:
    """Columns uid, timeout, inode and rest: what comes behind the numbers, as text. The kernel
    writes the first two in columns, as long as they fit."""
    rest = body.str.slice(_UID)
    names = ["uid", "timeout", "inode", "rest"]
    if rest.str.contains(_PADDED).all():
        behind = rest.str.slice(16).str.splitn(" ", 2).struct.rename_fields(names[2:])
        made = behind.struct.unnest().with_columns(
            uid=rest.str.slice(1, 5).str.strip_chars_start(" "),
            timeout=rest.str.slice(7, 8).str.strip_chars_start(" "),
        )
        if made["rest"].str.contains("^ |  ").any():
            single = pl.col("rest").str.strip_chars_start(" ").str.replace_all(" +", " ")
            made = made.with_columns(single)
        return made
    words = rest.str.strip_chars_start(" ").str.replace_all(" +", " ").str.splitn(" ", 4)
    return words.struct.rename_fields(names).struct.unnest()


def _shown(address: str, port: str, *, six: bool) -> pl.Expr:
    """As ss would show it."""
    bare = pl.col(address)
    if six:
        colon = bare.str.contains(":", literal=True)
        bare = pl.when(colon).then(pl.format("[{}]", address)).otherwise(address)
    number = pl.when(pl.col(port) == "0").then(pl.lit("*")).otherwise(port)
    return pl.concat_str(bare, pl.lit(":"), number)


def _addresses(frame: pl.DataFrame, *, six: bool) -> pl.DataFrame:
    """With laddr and paddr as text, in the byte order of each snapshot's host."""
    ends = [frame[side].to_numpy().astype(np.uint32) for side in ("local", "peer")]
    leans = sum(_usual(end) - _usual(end.byteswap()) for end in ends)
    made: dict[str, str] = {}
    if six:
        texts = pl.concat([frame["l0"], frame["r0"]]).unique().drop_nulls()
        long = {one: _leans(one) for one in texts}
        own = sum(
            frame[side].replace_strict(long, default=0, return_dtype=pl.Int64).fill_null(0)
            for side in ("l0", "r0")
        )
        leans = np.where(frame["l"], own, leans)
        made = {f"{o} {one}": _address(one, o) for o in ("big", "little") for one in long}
    shot = frame["shot"].to_numpy()
    big = (np.bincount(shot, leans) > 0)[shot]
    order = pl.when(pl.lit(pl.Series(big))).then(pl.lit("big ")).otherwise(pl.lit("little "))
    columns = []
    for side, name, end in (("l", "laddr", ends[0]), ("r", "paddr", ends[1])):
        number = pl.Series(np.where(big, end, end.byteswap()))
        four: pl.Expr = ip.numeric_to_ipv4(pl.lit(number))
        if six:
            text = (order + pl.col(f"{side}0")).replace_strict(made, default=None, return_dtype=_S)
            four = pl.when(pl.col("l")).then(text).otherwise(four)
        columns.append(four.alias(name))
    return frame.with_columns(columns)


def _address(text: str, order: str) -> str:
    data = bytes.fromhex(text)
    if order == "little":
        data = b"".join(data[at : at + 4][::-1] for at in range(0, len(data), 4))
    return str(ipaddress.IPv6Address(data))


def _usual(address: NDArray[np.uint32]) -> NDArray[np.int64]:
    """1 for IPv4 addresses that hosts have, by their first bytes: private, loopback, link-local."""
    one, two = address >> 24, address >> 16
    made = np.zeros(len(address), np.int64)
    made[(one == 10) | (one == 127) | (address >> 20 == 0xAC1)] = 1
    made[(two == 0xC0A8) | (two == 0xA9FE)] = 1
    return made


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
