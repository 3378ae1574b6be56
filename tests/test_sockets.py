"""Tables of sockets: what people have in their files, and what becomes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from connwatch.contracts import Block, Parsed
from connwatch.ingest.formats import formats
from connwatch.ingest.sockets.tables import Netstat, Ss, Tables

HEADER = "Netid State  Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n"
LISTEN = "tcp   LISTEN 0      128          0.0.0.0:22          0.0.0.0:*\n"
ESTAB = (
    'tcp   ESTAB  0      0      192.0.2.1:22    198.51.100.7:50222 users:(("sshd",pid=8,fd=4))\n'
)


def read(
    text: str | bytes, one: Tables | None = None, path: str = "ss-20261121T072635Z.txt"
) -> Parsed:
    """Read as a whole; the books are checked."""
    data = text.encode() if isinstance(text, str) else text
    one = one or Ss()
    made, _ = one.parse(Block(path, data, 0, 1, True), one.begin(f"{one.own}.socket"))
    assert made.lines == made.record_lines + made.rejects.height + made.comments
    return made


def rows(
    text: str | bytes, one: Tables | None = None, path: str = "ss-20261121T072635Z.txt"
) -> list[dict[str, Any]]:
    made = read(text, one, path)
    assert made.rejects.is_empty(), made.rejects["reason"].to_list()
    return made.events.to_dicts()


#: what stands behind the peer -> column, value
TAILS = [
    ('users:(("sshd",pid=1,fd=2),("sh d",pid=3,fd=4))', "socket.processes", ["1/sshd fd=2", "3/sh d fd=4"]),
    ('users:(("a",pid=1,fd=3",pid=99,fd=4))', "process.name", 'a",pid=1,fd=3'),
    ('users:(("x",pid=1,fd=3))",pid=99,fd=4))', "process.pid", 99),
    ('users:(("a b:(c),d",pid=7,fd=1)) ino:5', "process.name", "a b:(c),d"),
    ('users:(("old",7,1))', "process.pid", 7),
    ('users:(("c",pid=7,proc_ctx=unconfined,fd=1,sock_ctx=u))', "process.name", "c"),
    ("timer:(keepalive,119min,0) uid:33 ino:12 sk:a1 cgroup:/x <->", "socket.timer", "keepalive,119min,0"),
    ("uid:33 ino:12 sk:a1", "user.id", "33"),
    ("ino:12 sk:a1", "socket.inode", 12),
    ("ino:0 sk:a1", "socket.inode", None),
    ("sk:a1 <->", "socket.cookie", "a1"),
    ("cubic rtt:0.077/0.035 retrans:0/3 cwnd:9", "socket.rtt", 77),
    ("cubic rtt:0.077/0.035 retrans:0/3 cwnd:9", "socket.retransmits", 3),
    ("bytes_sent:5 bytes_acked:6 bytes_received:7 segs_out:8 segs_in:9", "socket.bytes_acked", 6),
    ("lastsnd:5 lastrcv:6 lastack:7", "socket.last_received", 6),
    ("new_key:(a,b) app_limited send 5bps", "connwatch.extra", '{"new_key":"(a,b)","send":"5bps","options":"app_limited"}'),
    ("rtt:soon", "connwatch.extra", '{"rtt":"soon"}'),
]  # fmt: skip


@pytest.mark.parametrize(("tail", "column", "value"), TAILS)
def test_what_stands_behind_the_peer_of_ss(tail: str, column: str, value: object) -> None:
    line = f"tcp ESTAB 0 0 192.0.2.1:22 198.51.100.7:50222 {tail}"
    assert [row[column] for row in rows(HEADER + line + "\n")] == [value]
    wrapped = f"tcp ESTAB 0 0 192.0.2.1:22 198.51.100.7:50222\n\t {tail}"
    assert [row[column] for row in rows(HEADER + wrapped)] == [value]


#: local and peer of ss, and what becomes of them
ENDS = [
    ("udp UNCONN 0 0 127.0.0.53%lo:53 0.0.0.0:*", {"destination.ip": "127.0.0.53", "socket.interface": "lo", "source.ip": None, "socket.role": "unconnected"}),
    ("tcp LISTEN 0 9 [::]:22 [::]:*", {"destination.ip": "::", "destination.port": 22, "socket.family": "inet6", "socket.role": "listener"}),
    ("tcp LISTEN 0 9 *:22 *:*", {"destination.ip": None, "destination.port": 22, "socket.role": "listener"}),
    ("tcp ESTAB 0 0 [::ffff:192.0.2.1]:9 [::ffff:192.0.2.2]:1022", {"destination.ip": "192.0.2.2", "source.ip": "192.0.2.1"}),
    ("tcp ESTAB 0 0 [fe80::1]%eth0:5000 [fe80::2]:443", {"source.ip": "fe80::1", "socket.interface": "eth0", "destination.port": 443}),
    ("tcp SYN-SENT 0 1 192.0.2.1:5000 example.com:https", {"destination.domain": "example.com", "destination.ip": None, "destination.port": 443, "socket.role": "client"}),
    ("tcp SYN-RECV 0 0 192.0.2.1:5000 192.0.2.2:1", {"source.ip": "192.0.2.2", "socket.role": "server"}),
    ("u_str ESTAB 0 0 /run/a b.sock 77 * 88", {"socket.local": "/run/a b.sock 77", "socket.peer": "* 88", "socket.inode": 77, "socket.family": "unix", "network.transport": None}),
    ("u_dgr UNCONN 0 0 @abs 9 * 0", {"socket.local": "@abs 9", "socket.role": "local"}),
    ("nl UNCONN 0 0 rtnl:Network Manager/878 *", {"process.pid": 878, "process.name": "Network Manager", "socket.family": "netlink"}),
    ("p_raw UNCONN 0 0 *:eth0 *", {"socket.local": "*:eth0", "socket.family": "packet"}),
    ("v_str ESTAB 0 0 3:1024 2:5000", {"socket.family": "vsock", "socket.peer": "2:5000", "source.ip": None}),
    ("raw UNCONN 0 0 0.0.0.0:icmp 0.0.0.0:*", {"network.transport": "icmp", "destination.port": None}),
    ("sctp LISTEN 0 5 192.0.2.1:38412 *:*", {"network.transport": "sctp", "network.iana_number": "132"}),
    ("dccp ESTAB 0 0 192.0.2.1:5001 192.0.2.2:9", {"network.transport": "dccp"}),
]  # fmt: skip


@pytest.mark.parametrize(("line", "wanted"), ENDS, ids=[line for line, _ in ENDS])
def test_both_ends_as_ss_shows_them(line: str, wanted: dict[str, object]) -> None:
    (row,) = rows(HEADER + line + "\n")
    assert {name: row[name] for name in wanted} == wanted


def test_a_listening_socket_tells_which_connections_were_accepted() -> None:
    text = HEADER + (
        "tcp ESTAB 0 0 192.0.2.1:8080 192.0.2.9:40000\n"
        "tcp ESTAB 0 0 192.0.2.1:40001 192.0.2.9:8080\n"
        "tcp LISTEN 0 9 *:8080 *:*\n"
    )
    assert [row["socket.role"] for row in rows(text)] == ["server", "client", "listener"]
    assert rows(text)[0]["source.ip"] == "192.0.2.9"
    only_other_address = text.replace("*:8080 *:*", "127.0.0.1:8080 0.0.0.0:*")
    assert rows(only_other_address)[0]["socket.role"] == "client"


BAD = [
    ("tcp ESTAB 0 0 192.0.2.1:99999 192.0.2.2:1", "local port", "99999 is not a port"),
    ("tcp ESTAB 0 0 999.0.2.1:9 192.0.2.2:1", "local", "'999.0.2.1' is no address"),
    ("tcp ESTAB 0 0 192.0.2.1:9", None, "has not both ends"),
    ('tcp ESTAB 0 0 192.0.2.1:9 192.0.2.2:1 users:(("a",pid=1', None, "list of users is not whole"),
    ("hello world", None, "is no socket as ss prints it"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "field", "reason"), BAD)
def test_a_line_that_cannot_be_true_is_rejected_alone(
    line: str, field: str | None, reason: str
) -> None:
    made = read(HEADER + line + "\n" + LISTEN)
    assert made.events.height == 1
    (reject,) = made.rejects.to_dicts()
    assert (reject["line"], reject["field"], reject["raw"]) == (2, field, line)
    assert reason in reject["reason"]


def test_a_screen_copy_with_prompt_colours_and_broken_lines_is_read() -> None:
    long = 'tcp   ESTAB  0      0      192.0.2.1:22    198.51.100.7:50222 users:(("sshd",pid=812,fd=4)) ino:5'
    text = (
        "admin@srv:~$ ss -tnpe\n"
        + HEADER.replace("Process", "").rstrip()
        + "\n"
        + long[:80]
        + "\n"
        + long[80:]
        + "\n\x1b[1;31m"
        + LISTEN.rstrip()
        + "\x1b[0m\nadmin@srv:~$ \n"
    )
    first, second = rows(text)
    assert (first["process.pid"], first["socket.inode"], first["host.name"]) == (812, 5, "srv")
    assert second["destination.port"] == 22


SNAPSHOTS = [
    ("Sat Nov 21 07:26:35 UTC 2026\n", "2026-11-21 07:26:35"),
    ("Sat Nov 21 08:26:35 CET 2026\n", "2026-11-21 07:26:35"),
    ("Sat 21 Nov 2026 07:26:35 AM UTC\n", "2026-11-21 07:26:35"),
    ("=== 2026-11-21T07:26:35+00:00 ===\n", "2026-11-21 07:26:35"),
    ("# date: 2026-11-21 07:26:35.5Z\n", "2026-11-21 07:26:35.500000"),
    ("1795245995\n", "2026-11-21 07:26:35"),
    ("Sat, 21 Nov 2026 07:26:35 +0000\n", "2026-11-21 07:26:35"),
    ("Every 2.0s: ss -tan        srv: Sat Nov 21 07:26:35 2026\n\n", "2026-11-21 07:26:35"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "time"), SNAPSHOTS)
def test_a_line_with_a_time_begins_a_snapshot(line: str, time: str) -> None:
    later = line.replace(":35", ":45").replace("1795245995", "1795246005")
    made = rows(line + HEADER + LISTEN + later + HEADER + LISTEN, path="ss.txt")
    first, second = (str(row["@timestamp"].replace(tzinfo=None)) for row in made)
    assert first == time
    assert second == time.replace(":35", ":45")
    assert made[0]["event.id"] != made[1]["event.id"]
    assert made[0]["socket.snapshot.id"] != made[1]["socket.snapshot.id"]


@pytest.mark.parametrize(
    ("path", "time"),
    [
        ("ss-srv-20261121T072635Z.txt", "2026-11-21 07:26:35"),
        ("a/netstat_2026-11-21_07-26-35.log.gz", "2026-11-21 07:26:35"),
        ("ss.2026-11-21T07:26.txt", "2026-11-21 07:26:00"),
        ("ss.1795245995.txt", "2026-11-21 07:26:35"),
    ],
)
def test_the_time_in_a_name_is_that_of_a_table_without_one(path: str, time: str) -> None:
    (row,) = rows(HEADER + LISTEN, path=path)
    assert str(row["@timestamp"].replace(tzinfo=None)) == time
    assert row["socket.snapshot.clock"] == "name"


def test_without_any_time_the_file_s_is_taken_and_told_and_is_no_part_of_the_id(
    tmp_path: Path,
) -> None:
    ids = set()
    for name in ("one", "two"):
        path = tmp_path / name
        path.write_text(HEADER + LISTEN)
        made = read(path.read_bytes(), path=str(path))
        assert made.events["socket.snapshot.clock"].to_list() == ["file"]
        assert [note for note in made.notes if "tells no time" in note]
        ids.add(made.events["event.id"][0])
    assert len(ids) == 1


def test_equal_rows_of_a_snapshot_are_events_of_their_own() -> None:
    made = rows(HEADER + LISTEN + LISTEN)
    assert len({row["event.id"] for row in made}) == 2


def test_a_header_that_comes_again_begins_a_snapshot() -> None:
    made = rows(HEADER + LISTEN + HEADER + LISTEN)
    assert len({row["socket.snapshot.id"] for row in made}) == 2


SAMPLES = sorted((Path(__file__).parent.parent / "sample_logs" / "incident").glob("ss-*.txt"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello\nworld\n",
        "tcp is a protocol\n",
        "a,b,c\n1,2,3\n",
        "Total cost\n",
        "<html>\n",
        "$ ls\nfile\n",
    ],
)
def test_other_text_is_not_taken_for_a_table(text: str) -> None:
    assert [one.name for one in formats() if one.sniff(text.encode(), "ss.txt")] == []


#: long lines that patterns with a choice at every character would take hours for
LONG = [
    "u_str ESTAB 0 0 a" + " " * 300_000 + "b",
    "tcp ESTAB 0 0 " + "a:" * 150_000,
    "nl UNCONN 0 0 " + "a " * 150_000,
    "tcp ESTAB 0 0 192.0.2.1:1 192.0.2.2:2 users:((" + '"a",pid=1,fd=1),(' * 10_000,
    "tcp 0 0 192.0.2.1:1 192.0.2.2:2 LISTEN 1/a" + "\t" * 300_000 + "b",
    "  a  " + "a  " * 100_000 + "1",
]


@pytest.mark.parametrize("line", LONG, ids=[line[:20] for line in LONG])
def test_long_hostile_lines_end(line: str) -> None:
    for one in (Ss(), Netstat()):
        one.sniff(line.encode(), "x")
        read(HEADER + line + "\nino:1" * 200 + "\n" + LISTEN, one)


def test_the_samples_are_read_whole() -> None:
    made = [read(path.read_bytes(), path=str(path)) for path in SAMPLES]
    assert [one.rejects.height for one in made] == [0] * len(SAMPLES)
    events = pl.concat([one.events for one in made])
    found = events.filter(
        pl.col("destination.port").is_in([4444, 31337]), pl.col("process.name").is_not_null()
    )
    assert set(found["process.name"]) == {"updater", "backdoor"}
