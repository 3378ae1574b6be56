"""Sockets as ss prints them, with any of its options.

    Netid State  Recv-Q Send-Q Local Address:Port   Peer Address:Port Process
    tcp   LISTEN 0      128          0.0.0.0:22          0.0.0.0:*     users:(("sshd",pid=812,fd=3))
    tcp   ESTAB  0      0      192.168.56.20:22    192.168.56.10:55280
             cubic wscale:7,7 rto:204 rtt:0.077/0.035 cwnd:10 bytes_sent:236

The columns Netid and State are left out where there is one kind alone. Source: iproute2, misc/ss.c.
"""

from __future__ import annotations

import itertools
import re
from typing import Any, Final

import polars as pl

from ..rejects import KEPT
from .rows import ROW
from .ss_columns import tails
from .ss_tail import CONTINUES, tail
from .tool import Tool

_KINDS: Final = (
    r"tcp|udp|raw|sctp|dccp|mptcp|udplite|icmp6?|nl|u_str|u_dgr|u_seq|p_raw|p_dgr|v_str|v_dgr|"
    r"xdp|tipc|ti_st|ti_dg|ti_rd|ti_sq|vsock|unix|\?\?\?"
)
STATES: Final[dict[str, str]] = {
    "ESTAB": "established", "SYN-SENT": "syn_sent", "SYN-RECV": "syn_recv",
    "FIN-WAIT-1": "fin_wait1", "FIN-WAIT-2": "fin_wait2", "TIME-WAIT": "time_wait",
    "UNCONN": "unconnected", "CLOSE-WAIT": "close_wait", "LAST-ACK": "last_ack",
    "LISTEN": "listen", "CLOSING": "closing", "NEW-SYN-RECV": "new_syn_recv",
    "BOUND-INACTIVE": "bound_inactive", "UNKNOWN": "unknown",
}  # fmt: skip
_WORDS: Final = "|".join(sorted(STATES, key=len, reverse=True))
_START: Final = (
    rf"^\s*(?:(?:{_KINDS})\s+)?(?:`-\s*)?(?:(?:{_WORDS})\s+)?-?[0-9]{{1,18}}\s+-?[0-9]{{1,18}}\s+\S"
)
_EXACT: Final = re.compile(
    rf"\s*(?:(?P<netid>{_KINDS})\s+)?(?:`-\s*)?(?:(?P<state>{_WORDS})\s+)?"
    r"(?P<recv>-?[0-9]{1,18})\s+(?P<send>-?[0-9]{1,18})\s+(?P<rest>\S.*)",
    re.DOTALL,
)
_HEADER: Final = (
    r"^\s*(?:Netid\s+)?(?:State\s+)?Recv-Q\s+Send-Q\s+Local Address:Port\s+Peer Address:Port"
    r"\s*(?:Process)?\s*$"
)
_COMMENT: Final = (
    r"^(?:Process|Total: [0-9]+(?: \(.*\))?|TCP:\s+[0-9]+ \(.*\)|Transport\s+Total\s+IP\s+IPv6"
    r"|(?:RAW|UDP|TCP|INET|FRAG|\*)\s+[0-9]+\s+[0-9-]+\s+[0-9-]+)$"
)
_ADDRESS: Final = r"(?:[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}|\[[0-9a-f:.]+\]|\*)"
_PORT: Final = r"(?:[0-9]{1,5}|\*)"
_WORD: Final = re.compile(r"\S+")
#: lines that a record may have; ss itself writes two
_LINES: Final = 64
#: rtnl:NetworkManager/878: the process stands behind the protocol
_HOLDER: Final = re.compile(r"[\w-]+:(?P<name>.+)/(?P<pid>[0-9]{1,10})")
_NEVER_UDP: Final = frozenset(STATES.values()) - {"established", "unconnected"}
#: columns of a terminal below which a line is not taken for one that was broken at its edge
_EDGE: Final = 40


class _Ss(Tool):
    name = "ss"
    header = _HEADER
    comment = _COMMENT
    row = _START

    def rows(self, lines: pl.DataFrame, header: str, title: str) -> pl.DataFrame:
        """As `Tool.rows` says."""
        return _kinds(self._rows(lines, header), lines)

    def _rows(self, lines: pl.DataFrame, header: str) -> pl.DataFrame:
        heads = _heads(lines, header)
        if heads is None:
            return exact(lines, lines["text"].str.contains(_START), _none(lines))
        # Nothing else begins so: what has both ends is not looked at twice.
        begins = heads["head"].is_not_null()
        others = begins.not_().arg_true()
        if len(others):
            starts = lines["text"].gather(others).str.contains(_START)
            begins = begins.scatter(others.filter(starts), values=True)
        records, done = _quick(lines, begins, heads)
        if not records.height:
            return exact(lines, begins, done)
        made, odd = _fast(records)
        if odd.any():
            done &= ~_among(lines, records.filter(odd))
            made = made.filter(~odd)
        if done.all():
            return made
        return pl.concat([made, exact(lines, begins, done)], how="diagonal").sort("line")


def _none(lines: pl.DataFrame) -> pl.Series:
    return pl.repeat(False, lines.height, eager=True)


def _heads(lines: pl.DataFrame, header: str) -> pl.DataFrame | None:
    """What `_plain` cuts out of each line: head (all of that), netid, state, recv, send, local,
    laddr, lport, peer, paddr, pport; null where a line does not begin so."""
    pattern = _plain(header, lines)
    if pattern is None:
        return None
    return lines["text"].str.extract_groups(pattern).struct.unnest()


def _quick(
    lines: pl.DataFrame, begins: pl.Series, heads: pl.DataFrame
) -> tuple[pl.DataFrame, pl.Series]:
    """Records that begin as `_plain` says, of one line or of one and another behind it: line,
    offset, lines, raw, tail and the columns of `heads`. And which of the lines they are."""
    first = heads["head"].is_not_null()
    # What stands behind the ends; they are ASCII.
    tail = pl.col("text").str.slice(pl.col("head").str.len_bytes()).str.strip_chars_start(" \t")
    columns = ["line", "offset", "raw", *heads.columns]
    one = pl.lit(1, pl.Int64)
    if begins.all():
        both = pl.concat([lines, heads], how="horizontal")
        both = both if first.all() else both.filter(first)
        return both.select(*columns, tail=tail, lines=one), first
    alone = begins.shift(-1, fill_value=True)
    follows = ~begins & (lines["line"] == lines["line"].shift(1) + 1)
    second = follows & lines["text"].str.contains(r"^\s") & first.shift(1, fill_value=False)
    second &= alone
    before = second.shift(-1, fill_value=False)
    single = first & alone
    parts = []
    if single.any():
        there = pl.concat([lines.filter(single), heads.filter(single)], how="horizontal")
        parts.append(there.select(*columns, tail=tail, lines=one))
    if second.any():
        more = lines.filter(second).select(raw2="raw", text2="text")
        there = pl.concat([lines.filter(before), heads.filter(before), more], how="horizontal")
        parts.append(
            there.with_columns(
                raw=pl.concat_str("raw", "raw2", separator="\n"),
                tail=pl.concat_str(tail, pl.col("text2").str.strip_chars(), separator=" "),
                lines=one * 2,
            ).select(*columns, "tail", "lines")
        )
    done = single | second | before
    if not parts:
        return lines.clear(), done
    return (pl.concat(parts).sort("line") if len(parts) > 1 else parts[0]), done


def _among(lines: pl.DataFrame, records: pl.DataFrame) -> pl.Series:
    """Which lines are of these records."""
    last = pl.col("line") + pl.col("lines") - 1
    numbers = pl.concat([records["line"], records.select(last).to_series()])
    return lines["line"].is_in(numbers.implode())


def _plain(header: str, lines: pl.DataFrame) -> str | None:
    """Lines in which both ends are addresses with ports, or stars."""
    first = lines["text"][0]
    found = _EXACT.fullmatch(first)
    netid = "Netid" in header if header else bool(found and found["netid"])
    state = "State" in header if header else bool(found and found["state"])
    before = "(?P<netid>tcp|udp) +" if netid else ""
    before += rf"(?P<state>{_WORDS}) +" if state else ""
    local, peer = (
        rf"(?P<{side}>(?P<{side[0]}addr>{_ADDRESS}):(?P<{side[0]}port>{_PORT}))"
        for side in ("local", "peer")
    )
    queues = "(?P<recv>[0-9]{1,18}) +(?P<send>[0-9]{1,18})"
    return rf"^(?P<head>{before}{queues} +{local} +{peer})(?: |$)"


def _fast(records: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """Rows of these records, and which of them are to be read one at a time instead."""
    frame = records.with_columns(pl.col("recv", "send").cast(pl.Int64))
    if "state" in frame:
        frame = frame.with_columns(pl.col("state").replace_strict(STATES, return_dtype=pl.String))
    tail = frame["tail"]
    if tail.str.starts_with(" ").any():
        tail = tail.str.strip_chars_start(" ")
    if tail.str.contains("  ", literal=True).any() or tail.str.contains("\t", literal=True).any():
        tail = tail.str.replace_all(r"[ \t]{2,}|\t", " ")
    behind, odd = tails(tail)
    odd |= frame["raw"].str.len_bytes() > KEPT
    return frame.drop("tail", "head").with_columns(**behind), odd


def exact(lines: pl.DataFrame, begins: pl.Series, quick: pl.Series) -> pl.DataFrame:
    """Rows of the lines that are not `quick`, one record at a time: nothing else tells what a
    terminal broke, or where a name with quotes ends."""
    # Each snapshot may be of another terminal.
    width = pl.col("raw").str.len_chars().max().over("shot")
    rest = lines.with_columns(begins=begins, width=width).filter(~quick)
    made: list[dict[str, Any]] = []
    group: list[tuple[int, int, str, str]] = []
    edge = 0
    columns = ("line", "offset", "raw", "text", "begins", "width")
    for line, offset, raw, text, start, width in rest.select(columns).iter_rows():
        if group and (start or line != group[-1][0] + 1):
            made.extend(_record(group, edge))
            group = []
        group.append((line, offset, raw, text))
        edge = width
    made.extend(_record(group, edge))
    return pl.DataFrame(made, schema=ROW)


def _record(group: list[tuple[int, int, str, str]], width: int) -> list[dict[str, Any]]:
    """The record that a group of lines begins with, and its lines that are no part of it."""
    text, taken = group[0][3], 1
    last = group[0][3]
    if re.match(_START, text):
        for _, _, _, more in group[1:_LINES]:
            if len(text) > KEPT:
                break
            if more[:1].isspace():
                text = f"{text} {more.strip()}"
            elif _broken(text, last, more, width):
                text = _joined(text, last, more, width)
            else:
                break
            last = more
            taken += 1
    values = parsed(text)
    if isinstance(values, str):
        values = {"fault": values}
    raw = "\n".join(one[2] for one in group[:taken])
    line, offset = group[0][:2]
    first = {"line": line, "offset": offset, "lines": taken, "raw": raw, **values}
    others = [
        {
            "line": line,
            "offset": offset,
            "lines": 1,
            "raw": raw,
            "fault": "is no part of a socket's record",
        }
        for line, offset, raw, _ in group[taken:]
    ]
    return [first, *others]


def _broken(text: str, last: str, more: str, width: int) -> bool:
    """Whether a terminal broke a line between these two."""
    if CONTINUES.match(more):
        return True
    whole = isinstance(parsed(text), dict)
    return (len(last) == width >= _EDGE and isinstance(parsed(text + more), dict)) or not whole


def _joined(text: str, last: str, more: str, width: int) -> str:
    """At the edge of the terminal words are broken; elsewhere spaces that ended the line went."""
    if len(last) == width:
        return text + more
    glued = text + more
    return (
        glued if isinstance(parsed(glued), dict) and not CONTINUES.match(more) else f"{text} {more}"
    )


def parsed(text: str) -> dict[str, Any] | str:
    """Columns of a record in one line, or what is wrong with it."""
    found = _EXACT.fullmatch(text)
    if found is None:
        return "is no socket as ss prints it"
    netid = found["netid"]
    made: dict[str, Any] = {"netid": netid, "state": STATES.get(found["state"] or "")}
    made["recv"], made["send"] = int(found["recv"]), int(found["send"])
    ends = (
        _unix(found["rest"], netid) or _network(found["rest"], netid) or _else(found["rest"], netid)
    )
    if ends is None:
        return "has not both ends of a socket"
    made.update(ends[0])
    behind = tail(ends[1] or "")
    if isinstance(behind, str):
        return behind
    return made | behind


def _network(rest: str, netid: str | None) -> tuple[dict[str, Any], str] | None:
    if netid is not None and netid[:2] in ("nl", "p_", "v_", "u_"):
        return None
    local, peer, behind = [*rest.split(None, 2), "", ""][:3]
    laddr, _, lport = local.rpartition(":")
    paddr, _, pport = peer.rpartition(":")
    if not (laddr and lport and paddr and pport):
        return None
    made = {"local": local, "peer": peer}
    return made | {"laddr": laddr, "lport": lport, "paddr": paddr, "pport": pport}, behind


def _unix(rest: str, netid: str | None) -> tuple[dict[str, Any], str] | None:
    """A path may have spaces; the number behind it ends it."""
    if (netid is not None and not netid.startswith("u")) or netid == "udp":
        return None
    if netid is None and _network(rest, netid):
        return None
    words = list(_WORD.finditer(rest))
    numbers = [at for at, word in enumerate(words) if _is_number(word.group())]
    first = next((at for at in numbers if at >= 1), None)
    last = None if first is None else next((at for at in numbers if at >= first + 2), None)
    if first is None or last is None:
        return None
    path, inode = rest[: words[first - 1].end()], words[first].group()
    peer, number = rest[words[first + 1].start() : words[last - 1].end()], words[last].group()
    made: dict[str, Any] = {"local": f"{path} {inode}", "peer": f"{peer} {number}"}
    made |= {"inode": int(inode) or None, "netid": netid or "unix"}
    return made, rest[words[last].end() :]


def _is_number(text: str) -> bool:
    return len(text) <= 18 and text.isascii() and text.isdigit()


def _else(rest: str, netid: str | None) -> tuple[dict[str, Any], str] | None:
    """The peer is the first word behind the local end that is an end."""
    if netid is None:
        return None
    words = list(_WORD.finditer(rest))
    found = next(
        (
            (rest[: before.end()], peer.group(), rest[peer.end() :])
            for before, peer in itertools.pairwise(words)
            if peer.group() == "*" or ":" in peer.group()[1:-1]
        ),
        None,
    )
    if found is None:
        return None
    made: dict[str, Any] = {"local": found[0], "peer": found[1]}
    if netid == "nl" and (holder := _HOLDER.fullmatch(found[0])):
        pid = int(holder["pid"])
        made |= {"pid": pid, "name": holder["name"], "processes": [f"{pid}/{holder['name']}"]}
    return made, found[2]


def _kinds(rows: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """With a netid for every row: where there is no such column, the kind that has such states."""
    if "netid" not in rows:
        rows = rows.with_columns(netid=pl.lit(None, pl.String))
    if not rows["netid"].null_count():
        return rows
    shot = lines["shot"].gather(lines["line"].search_sorted(rows["line"], "left"))
    state = pl.col("state") if "state" in rows.columns else pl.lit(None, pl.String)
    one_kind = state.is_in(_NEVER_UDP).any().over(shot) | ~(state == "unconnected").any().over(shot)
    raw = pl.col("lport").str.contains("^(?:ipv6-)?icmp|^igmp").any().over(shot)
    kind = (
        pl.when(raw.fill_null(value=False))
        .then(pl.lit("raw"))
        .when(one_kind.fill_null(value=True))
        .then(pl.lit("tcp"))
        .otherwise(pl.lit("udp"))
    )
    return rows.with_columns(netid=pl.col("netid").fill_null(kind))


TOOL: Final = _Ss()
