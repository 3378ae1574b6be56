"""One line of netstat at a time: what needs care, and all systems but Linux."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from .ends import ANYWHERE
from .netstat_words import STATES, UNIX_KINDS, UNIX_STATES

_LARGEST: Final = 2**63 - 1
_KIND: Final = r"(?P<netid>(?:tcp|udp|udpl|udplite|raw|sctp|dccp|icmp|icm|ip|div)(?:46|4|6)?)"
_QUEUES: Final = r"(?P<recv>[0-9]{1,18})\s+(?P<send>[0-9]{1,18})"
_LINUX: Final = re.compile(rf"\s*{_KIND}\s+{_QUEUES}\s+(?P<local>\S+)\s+(?P<peer>\S+)(?P<rest>.*)")
_BSD: Final = re.compile(
    rf"(?:(?P<pcb>[0-9a-f]{{8,16}})\s+(?:(?P<hash>[0-9a-f]{{1,8}})\s+)?)?"
    rf"{_KIND}\s+{_QUEUES}\s+(?P<local>\S+)\s+(?P<peer>\S+)(?P<rest>.*)"
)
_WINDOWS: Final = re.compile(
    r"\s*(?P<netid>TCP|UDP|TCPv6|UDPv6)\s+(?P<local>\S+)\s+(?P<peer>\S+:\S+)(?:\s+(?P<rest>.*))?"
)
_UNIX: Final = re.compile(
    r"\s*unix\s+(?P<refs>[0-9]+)\s+\[(?P<flags>[^\]]*)\]\s+(?P<type>[A-Z]+)\s+"
    rf"(?:(?P<state>{'|'.join(UNIX_STATES)})\s+)?(?P<inode>[0-9]{{1,18}})(?P<rest>.*)"
)
_BSD_UNIX: Final = re.compile(
    rf"(?P<pcb>[0-9a-f]{{8,16}})\s+(?P<type>stream|dgram|seqpac\w*)\s+{_QUEUES}\s+"
    r"(?P<inode>[0-9a-f]+)\s+(?P<conn>[0-9a-f]+)\s+(?P<refs>[0-9a-f]+)\s+(?P<next>[0-9a-f]+)(?:\s+(?P<path>\S.*))?"
)
_KERNEL: Final = re.compile(
    rf"(?:(?P<pcb>[0-9a-f]{{8,16}})\s+)?(?P<netid>kevt|kctl|systm)\s+{_QUEUES}\s+(?P<local>\S.*)"
)
#: what may stand behind the ends on Linux: state, user and inode, process, timer
_STATE: Final = re.compile(r"\s+([A-Z_0-9]{1,12})(?=\s|$)")
_USER: Final = re.compile(r"\s+(\S+)\s+([0-9]{1,18})(?=\s|$)")
_TIMER: Final = re.compile(
    r"\s+((?:off|on[0-9]?|keepalive|timewait|probe|unkn-?[0-9]*) \([0-9./-]+\))$"
)
_PROGRAM: Final = re.compile(r"\s+(?:(?P<pid>[0-9]{1,10})/(?P<name>.*?)|-)\s*$")
_EXE: Final = re.compile(r"\s*\[(?P<name>.+)\]")
_SERVICE: Final = re.compile(r"\s{1,4}(?P<name>[\w.@$ -]{1,60})")
_MODULE: Final = re.compile(r"\s*(?:-?[0-9a-f]+\s+){5,8}\S+")
#: characters at which net-tools cuts process and name, and BSD an address
_PROGRAM_WIDTH: Final = 19
_WIDTH: Final = 23
_BSD_WIDTH: Final = 16

_GAP: Final = " " * 100
_GAPS: Final = re.compile(r"\s{100,}")

Values = dict[str, Any]


def record(text: str, header: str, before: Values | None, *, wide: bool) -> Values | None:
    """Columns of `rows.ROW`, or a fault; None: the line belongs to the record before.

    before: the record that ends just above; it is given what a line below it tells. wide: ends are
    not cut in this table.
    """
    if _GAPS.search(text):
        text = _GAPS.sub(_GAP, text)  # no column is so wide, and patterns try each space of a gap
    if found := _WINDOWS.fullmatch(text):
        return _windows(found)
    if "id" in header.split() and "pcbcount" in header and _MODULE.fullmatch(text):
        return {"fault": ""}  # a list of modules, which are no sockets
    dotted = "(state)" in header
    if not dotted and (found := _LINUX.fullmatch(text)) and ":" in found["local"]:
        return _linux(found, header, wide=wide)
    if found := _UNIX.fullmatch(text):
        return _unix(found, header)
    if found := _BSD.fullmatch(text):
        return _bsd(found, header)
    if found := _BSD_UNIX.fullmatch(text):
        return _bsd_unix(found)
    if found := _KERNEL.fullmatch(text):
        made = _queues(found) | {"local": found["local"], "netid": found["netid"]}
        return made | _extra({"pcb": found["pcb"]})
    return _below(text, before)


def _below(text: str, before: Values | None) -> Values | None:
    """netstat -b of Windows: the component and the program of the socket above."""
    if before is None or before.get("netid") not in ("TCP", "UDP", "TCPv6", "UDPv6"):
        return {"fault": "is no socket as netstat prints it"}
    found = _EXE.fullmatch(text)
    if found is not None and "name" not in before:
        before["name"] = found["name"]
        if before.get("pid") is not None:
            before["processes"] = [f"{before['pid']}/{found['name']}"]
        return None
    service = _SERVICE.fullmatch(text)
    if service is not None and "name" not in before and "extra" not in before:
        before.update(_extra({"service": service["name"].strip()}))
        return None
    return {"fault": "is no socket as netstat prints it"}


def _queues(found: re.Match[str]) -> Values:
    return {"recv": int(found["recv"]), "send": int(found["send"])}


def _extra(values: dict[str, str | None]) -> Values:
    kept = {name: value for name, value in values.items() if value}
    if not kept:
        return {}
    return {"extra": json.dumps(kept, ensure_ascii=False, separators=(",", ":"))}


def _linux(found: re.Match[str], header: str, *, wide: bool) -> Values:
    made: Values = {"netid": found["netid"], "local": found["local"], "peer": found["peer"]}
    made |= _queues(found)
    rest = found["rest"]
    if (state := _STATE.match(rest)) and (
        state[1] in STATES or (state[1].isdigit() and "User" not in header)
    ):
        made["state"] = STATES.get(state[1])
        if made["state"] is None:
            made |= _extra({"state": state[1]})
        rest = rest[state.end() :]
    if timer := _TIMER.search(rest):
        made["timer"] = timer[1]
        rest = rest[: timer.start()]
    if ("User" in header or not header) and (user := _USER.match(rest)):
        made["uid" if user[1].isdigit() else "user"] = user[1]
        made["inode"] = int(user[2]) or None
        rest = rest[user.end() :]
    made |= _program(rest)
    if rest.strip() and "pid" not in made and rest.strip() != "-":
        return {"fault": "has words behind its ends that are no state, user, process or timer"}
    cut = list(made.pop("cut", []))
    for side, address, port in (("local", "laddr", "lport"), ("peer", "paddr", "pport")):
        text = found[side]
        made[address], _, made[port] = text.rpartition(":")
        if len(text) == _WIDTH and not wide:
            cut.append(side)
            if not _whole_port(text, header):
                made[address], made[port] = text, None
    if cut:
        made["cut"] = cut
    return made


def _whole_port(text: str, header: str) -> bool:
    """net-tools cuts the address in front of the port; BusyBox, whose columns for the state are
    wider, cuts the port as well."""
    port = text.rpartition(":")[2]
    return bool(port) and not header.endswith("State       ")


def _program(rest: str) -> Values:
    found = _PROGRAM.fullmatch(rest)
    if found is None or found["pid"] is None:
        return {}
    shown = f"{found['pid']}/{found['name']}"
    made: Values = {"pid": int(found["pid"]), "name": found["name"] or None, "processes": [shown]}
    if len(shown) >= _PROGRAM_WIDTH:
        made["cut"] = ["process"]
    return made


def _unix(found: re.Match[str], header: str) -> Values:
    made: Values = {
        "netid": UNIX_KINDS.get(found["type"], "unix"),
        "inode": int(found["inode"]) or None,
    }
    made["state"] = UNIX_STATES.get(found["state"] or "UNCONNECTED")
    path = found["rest"]
    begin = header.find("PID/")
    if begin >= 0:
        rest, width = path.lstrip(), header.find("Path") - begin
        program, path = rest[: max(width, 0)].rstrip(), rest[max(width, 0) :]
        if rest.startswith("-"):
            program, path = "-", rest[1:]
        found_program = _program(f" {program}")
        made |= found_program
        if not found_program and program != "-":
            return {"fault": "has no process where one is expected", "field": "PID/Program name"}
    path = path.strip()
    made["local"] = f"{path or '*'} {found['inode']}"
    return made | _extra({"references": found["refs"], "flags": found["flags"].strip()})


def _bsd(found: re.Match[str], header: str) -> Values:
    made: Values = {"netid": found["netid"], "local": found["local"], "peer": found["peer"]}
    made |= _queues(found)
    words = found["rest"].split()
    if words and words[0] in STATES:
        made["state"] = STATES[words.pop(0)]
    width = header.find("Foreign") - header.find("Local") - 1 if "Foreign" in header else 0
    cut = []
    for side, address, port in (("local", "laddr", "lport"), ("peer", "paddr", "pport")):
        text = found[side]
        made[address], _, made[port] = text.rpartition(".")
        named = not re.fullmatch(r"[0-9.*]+", made[address])
        if (len(made[address]) >= _BSD_WIDTH and named) or len(text) == width:
            cut.append(side)
        if (len(text) == width and not made[port].isdigit()) or len(text) == width >= 18:
            made[port] = None if len(text) == width else made[port]
    if cut:
        made["cut"] = cut
    told = {"pcb": found["pcb"], "flowhash": found["hash"], "more": " ".join(words)}
    return made | _extra(told)


def _bsd_unix(found: re.Match[str]) -> Values:
    kind = {"stream": "u_str", "dgram": "u_dgr"}.get(found["type"], "u_seq")
    path = found["path"] or "*"
    made: Values = {"netid": kind, "local": f"{path} {found['pcb']}", "peer": f"* {found['conn']}"}
    names = ("pcb", "inode", "conn", "refs", "next")
    return made | _queues(found) | _extra({name: found[name] for name in names})


def _windows(found: re.Match[str]) -> Values:
    made: Values = {"netid": found["netid"], "local": found["local"], "peer": found["peer"]}
    for side, address, port in (("local", "laddr", "lport"), ("peer", "paddr", "pport")):
        made[address], _, made[port] = found[side].rpartition(":")
        if not made[port]:
            return {"fault": "has an end without a port", "field": side}
    words = (found["rest"] or "").split()
    numbers = [word for word in words if word.isdigit() and len(word) <= 10]
    others = [word for word in words if word not in numbers]
    if numbers:
        made["pid"] = int(numbers[0])
        made["processes"] = [numbers[0]]
    told: dict[str, str | None] = {}
    if found["netid"].startswith("TCP"):
        nobody = made["pport"] == "0" and made["paddr"].strip("[]") in (*ANYWHERE, "*")
        shown = others.pop(0) if others else ""
        made["state"] = STATES.get(shown.upper()) or ("listen" if nobody else None)
        if shown and shown.upper() not in STATES:
            told["state"] = shown
    elif made["pport"] == "*" or made["paddr"] == "*":
        made["state"] = "unconnected"
    told["more"] = " ".join([*others, *numbers[1:]])
    return made | _extra(told)
