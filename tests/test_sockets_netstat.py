"""Tables of netstat and /proc/net, and files with those of several tools."""

from __future__ import annotations

import pytest
from test_sockets import HEADER, LISTEN, rows

from connwatch.ingest.sockets.tables import Netstat, ProcNet

NETSTAT = [
    ("tcp6       0      0 2001:db8:1:2:3:4:5:4432 2001:db8::1:443         ESTABLISHED 812/a b c              ", {"socket.truncated": ["local"], "source.ip": None, "source.port": 4432, "destination.ip": "2001:db8::1", "process.name": "a b c"}),
    ("tcp        0      0 192.0.2.1:22            192.0.2.2:999           ESTABLISHED 6492/sshd: kbrazi  ", {"process.name": "sshd: kbrazi"}),
    ("tcp        0      0 192.0.2.1:22            192.0.2.2:999           ESTABLISHED 16492/sshd: kbrazil  ", {"socket.truncated": ["process"]}),
    ("tcp        0      0 192.0.2.1:22            192.0.2.2:999           TIME_WAIT   -                   ", {"process.pid": None, "socket.state": "time_wait"}),
    ("udp        0      0 0.0.0.0:68              0.0.0.0:*                           1029/dhclient       ", {"process.pid": 1029, "socket.state": "unconnected"}),
    ("tcp        0      0 0.0.0.0:22              0.0.0.0:*               LISTEN      0          21767      1215/sshd  keepalive (7169.16/0/0)", {"user.id": "0", "socket.inode": 21767, "socket.timer": "keepalive (7169.16/0/0)"}),
    ("tcp4       0      0  192.168.1.5.49210      140.82.113.26.443      ESTABLISHED", {"source.ip": "192.168.1.5", "destination.port": 443}),
    ("tcp4       0      0  *.22                   *.*                    LISTEN     ", {"destination.ip": None, "destination.port": 22, "socket.role": "listener"}),
    ("  TCP    [fe80::1%9]:139        [::]:0                 ABHÖREN         4", {"destination.ip": "fe80::1", "socket.interface": "9", "socket.state": "listen", "process.pid": 4}),
    ("  TCP    192.0.2.1:5000         192.0.2.2:443          HERGESTELLT     44", {"socket.state": "established", "destination.port": 443}),
    ("  TCP    192.0.2.1:5000         192.0.2.2:443          KÜMMERT         44", {"socket.state": None, "connwatch.extra": '{"state":"KÜMMERT"}'}),
    ("  UDP    0.0.0.0:5353           *:*                                    7340", {"socket.state": "unconnected", "process.pid": 7340}),
]  # fmt: skip
NET_TOOLS = (
    "Active Internet connections (servers and established)\nProto Recv-Q Send-Q Local Address           "
    "Foreign Address         State       User       Inode      PID/Program name     Timer\n"
)


@pytest.mark.parametrize(
    ("line", "wanted"), NETSTAT, ids=[" ".join(line.split()) for line, _ in NETSTAT]
)
def test_lines_of_netstat(line: str, wanted: dict[str, object]) -> None:
    head = (
        ""
        if line.startswith(("  ", "tcp4"))
        else NET_TOOLS
        if "7169" in line
        else NET_TOOLS.replace("User       Inode      ", "")
    )
    (row,) = rows(head + line + "\n", Netstat())
    assert {name: row[name] for name in wanted} == wanted


GERMAN = (
    "\r\nAktive Verbindungen\r\n\r\n  Proto  Lokale Adresse         Remoteadresse          Status           PID\r\n"
    "  TCP    0.0.0.0:135            0.0.0.0:0              ABHÖREN         968\r\n  RpcSs\r\n [svchost.exe]\r\n"
    "  TCP    192.0.2.1:5000         192.0.2.2:443          HERGESTELLT     44\r\n [fire fox.exe]\r\n"
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_windows_in_german_with_programs_in_any_encoding(encoding: str) -> None:
    data = (GERMAN + GERMAN).encode(encoding)
    assert Netstat().sniff(data, "") == "netstat.socket"
    made = rows(data, Netstat())
    assert [row["process.name"] for row in made] == ["svchost.exe", "fire fox.exe"] * 2
    assert [row["process.pid"] for row in made[:2]] == [968, 44]
    assert len({row["socket.snapshot.id"] for row in made}) == 2


PROC = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
PROC_ROW = "   0: {} {} 01 00000002:00000003 02:000AFC61 00000000  1000        0 263457 1 0 20 4 30 10 -1\n"


@pytest.mark.parametrize(
    ("local", "peer"), [("0100007F:0016", "0A00000A:C000"), ("7F000001:0016", "0A00000A:C000")]
)
def test_proc_net_of_both_byte_orders(local: str, peer: str) -> None:
    (row,) = rows(PROC + PROC_ROW.format(local, peer), ProcNet())
    assert (row["destination.ip"], row["destination.port"], row["source.port"]) == (
        "127.0.0.1",
        22,
        49152,
    )
    assert (row["socket.send_queue"], row["socket.recv_queue"], row["user.id"]) == (2, 3, "1000")


def test_tables_of_several_tools_in_one_file_are_read_each_by_its_own() -> None:
    text = (
        "$ ss -tan\n" + HEADER + LISTEN + "$ netstat -tan\n" + NET_TOOLS
        + "tcp        0      0 0.0.0.0:22              0.0.0.0:*               LISTEN\n"
        + "$ cat /proc/net/udp\n" + PROC.rstrip() + " ref pointer drops\n"
        + PROC_ROW.format("00000000:0035", "00000000:0000").replace(" 01 ", " 07 ")
    )  # fmt: skip
    made = rows(text)
    assert [row["event.dataset"] for row in made] == [
        "ss.socket",
        "netstat.socket",
        "proc_net.socket",
    ]
    assert [row["network.transport"] for row in made] == ["tcp", "tcp", "udp"]
