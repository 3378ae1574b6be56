"""Make the sample incident: real programs in network namespaces, captured by tcpdump and ss.

Run as root on Linux, with tcpdump, iproute2, nftables and ping: `python sample_logs/make_incident.py`.
The topology, who does what and the tools' versions are described in ORIGIN.md, which this writes.

    cw-ws   192.168.56.10  a workstation          \
    cw-srv  192.168.56.20  a server                >  bridge br0 in cw-net, where tcpdump listens
    cw-net  192.168.56.1   the router, and behind it the outside: a web server, a name server, a
            place for uploads, and somebody who looks for open ports
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from packets_to_conn import Flow, flows, packets, uid

OUT = Path(__file__).parent / "incident"
WORKSTATION, SERVER = "192.168.56.10", "192.168.56.20"
WEB, NAMES, CLOUD, STRANGER = "203.0.113.10", "203.0.113.53", "203.0.113.99", "198.51.100.66"
WEB6 = "2001:db8::10"
HOSTS = {"cw-ws": (WORKSTATION, "2001:db8:1::10"), "cw-srv": (SERVER, "2001:db8:1::20")}


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def inside(namespace: str, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(["ip", "netns", "exec", namespace, *command], text=True)


def play(namespace: str, scene: str) -> subprocess.Popen[str]:
    """One of the scenes below, in a namespace."""
    return inside(namespace, sys.executable, __file__, scene)


def build() -> None:
    for name in ("cw-net", *HOSTS):
        subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
    run("ip", "-n", "cw-net", "link", "add", "br0", "type", "bridge")
    for number, (name, addresses) in enumerate(HOSTS.items()):
        here, there = f"cwv{number}", f"cwp{number}"
        run(
            "ip",
            "link",
            "add",
            here,
            "netns",
            name,
            "type",
            "veth",
            "peer",
            there,
            "netns",
            "cw-net",
        )
        run("ip", "-n", "cw-net", "link", "set", there, "master", "br0", "up")
        for address, bits in zip(addresses, ("24", "64"), strict=True):
            run("ip", "-n", name, "address", "add", f"{address}/{bits}", "dev", here, "nodad")
        run("ip", "-n", name, "link", "set", here, "up")
        run("ip", "-n", name, "route", "add", "default", "via", "192.168.56.1")
        run("ip", "-n", name, "-6", "route", "add", "default", "via", "2001:db8:1::1")
    for address in ("192.168.56.1/24", "2001:db8:1::1/64"):
        run("ip", "-n", "cw-net", "address", "add", address, "dev", "br0", "nodad")
    run("ip", "-n", "cw-net", "link", "set", "br0", "up")
    for address in (f"{WEB}/32", f"{NAMES}/32", f"{CLOUD}/32", f"{STRANGER}/32", f"{WEB6}/128"):
        run("ip", "-n", "cw-net", "address", "add", address, "dev", "lo", "nodad")
    rules = """
        table inet f {
          chain c {
            type filter hook input priority 0;
            tcp dport 8000-8015 drop
          }
        }
    """
    subprocess.run(
        ["ip", "netns", "exec", "cw-srv", "nft", "-f", "-"], input=rules, text=True, check=True
    )


# -- scenes ---------------------------------------------------------------------------------------


def answer(family: int, address: str, port: int, size: int) -> None:
    """A server that answers every request with `size` bytes, for as long as the incident lasts."""
    listener = socket.create_server((address, port), family=family)
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            while data := connection.recv(1 << 20):
                if data.endswith(b"\n"):
                    connection.sendall(b"x" * size)


def names() -> None:
    """A name server: every name is the web server's."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((NAMES, 53))
    while True:
        question, who = server.recvfrom(512)
        head = question[:2] + b"\x81\x80" + b"\0\1\0\1\0\0\0\0"
        record = b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4" + socket.inet_aton(WEB)
        server.sendto(head + question[12:] + record, who)


def ask(name: str) -> None:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    question = struct.pack("!6H", 4660, 0x100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(5)
    client.sendto(question, (NAMES, 53))
    client.recv(512)


def talk(
    address: str, port: int, requests: list[bytes], source: str = "", pause: float = 0
) -> None:
    bind = (source, 0) if source else None
    with socket.create_connection((address, port), timeout=10, source_address=bind) as connection:
        for request in requests:
            connection.sendall(request + b"\n")
            connection.recv(1 << 16)
            time.sleep(pause)


def browse() -> None:
    for page in range(12):
        ask(f"www{page % 4}.example.com")
        talk(WEB, 80, [f"GET /{page} HTTP/1.1\r\nHost: www.example.com\r\n\r".encode()])
        time.sleep(0.4)
    talk(WEB6, 80, [b"GET /six HTTP/1.1\r\nHost: www.example.com\r\n\r"])


def scan() -> None:
    for port in [*range(1, 181), *range(8000, 8016), 31337]:
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        client.bind((STRANGER, 0))
        client.settimeout(0.15 if 8000 <= port <= 8015 else 2)
        try:
            client.connect((SERVER, port))
        except OSError:
            pass
        client.close()


def intrude() -> None:
    talk(SERVER, 31337, [b"id", b"uname -a", b"cat /etc/passwd", b"ls /home"], STRANGER, 1.5)


def beacon() -> None:
    for _ in range(16):
        talk(STRANGER, 4444, [b"ping"])
        time.sleep(2)


def upload() -> None:
    with socket.create_connection((CLOUD, 443), timeout=20) as connection:
        for _ in range(25):
            connection.sendall(b"z" * 1_000_000)
        connection.sendall(b"\n")
        connection.recv(100)


def refused() -> None:
    for port in (8443, 9443):
        try:
            talk(SERVER, port, [b""])
        except OSError:
            pass
    talk(SERVER, 22, [b"SSH-2.0-sample"])


SCENES = {
    "web": lambda: answer(socket.AF_INET, WEB, 80, 8_000),
    "web6": lambda: answer(socket.AF_INET6, WEB6, 80, 3_000),
    "cloud": lambda: answer(socket.AF_INET, CLOUD, 443, 20),
    "command": lambda: answer(socket.AF_INET, STRANGER, 4444, 12),
    "backdoor": lambda: answer(socket.AF_INET, SERVER, 31337, 400),
    "ssh": lambda: answer(socket.AF_INET, SERVER, 22, 30),
    "names": names,
    "browse": browse,
    "scan": scan,
    "intrude": intrude,
    "beacon": beacon,
    "upload": upload,
    "refused": refused,
}


def snapshot(namespace: str) -> None:
    """A socket table, with its moment in the name."""
    moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    text = run("ip", "netns", "exec", namespace, "ss", "-tunapoie")
    (OUT / f"ss-{namespace.removeprefix('cw-')}-{moment}.txt").write_text(text)


def incident(capture: Path) -> None:
    """About forty seconds: browsing, a scan, an intrusion, a beacon, an upload."""
    servers = [
        play(where, scene)
        for where, scene in (
            ("cw-net", "web"), ("cw-net", "web6"), ("cw-net", "cloud"), ("cw-net", "command"),
            ("cw-net", "names"), ("cw-srv", "backdoor"), ("cw-srv", "ssh"),
        )
    ]  # fmt: skip
    tcpdump = inside(
        "cw-net",
        "tcpdump",
        "-i",
        "br0",
        "-s",
        "96",
        "-U",
        "-w",
        str(capture),
        "tcp or udp or icmp or icmp6",
    )
    time.sleep(2)
    beaconing, browsing = play("cw-ws", "beacon"), play("cw-ws", "browse")
    play("cw-ws", "refused").wait()
    inside("cw-ws", "ping", "-c", "3", "-i", "0.3", WEB).wait()
    play("cw-net", "scan").wait()
    intruder = play("cw-net", "intrude")
    time.sleep(2)
    for namespace in ("cw-srv", "cw-ws"):
        snapshot(namespace)
    intruder.wait()
    play("cw-ws", "upload").wait()
    snapshot("cw-ws")
    for scene in (browsing, beaconing):
        scene.wait()
    time.sleep(1)
    for process in (*servers, tcpdump):
        process.terminate()
        process.wait()


# -- the files ------------------------------------------------------------------------------------

FIELDS = (
    "ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "service", "duration",
    "orig_bytes", "resp_bytes", "conn_state", "local_orig", "local_resp", "missed_bytes", "history",
    "orig_pkts", "orig_ip_bytes", "resp_pkts", "resp_ip_bytes", "tunnel_parents",
)  # fmt: skip
TYPES = (
    "time", "string", "addr", "port", "addr", "port", "enum", "string", "interval", "count", "count",
    "string", "bool", "bool", "count", "string", "count", "count", "count", "count", "set[string]",
)  # fmt: skip
SERVICES = {("tcp", 80): "http", ("udp", 53): "dns", ("tcp", 22): "ssh"}


def record(flow: Flow) -> dict[str, object]:
    """A connection as Zeek's JSON has it, unset fields left out."""
    (source, p), (destination, q) = flow.first.source, flow.first.destination
    orig, resp = flow.sides
    fields: dict[str, object] = {
        "ts": flow.first.time / 1_000_000, "uid": uid(flow), "id.orig_h": source, "id.orig_p": p,
        "id.resp_h": destination, "id.resp_p": q, "proto": flow.first.proto,
    }  # fmt: skip
    service = SERVICES.get((flow.first.proto, q))
    if service and resp.payload:
        fields["service"] = service
    if flow.last > flow.first.time:
        fields["duration"] = (flow.last - flow.first.time) / 1_000_000
        fields["orig_bytes"], fields["resp_bytes"] = orig.payload, resp.payload
    local = [
        address.startswith(("192.168.56.", "2001:db8:1:")) for address in (source, destination)
    ]
    fields |= {
        "conn_state": flow.state,
        "local_orig": local[0],
        "local_resp": local[1],
        "missed_bytes": 0,
    }
    if flow.history:
        fields["history"] = flow.history
    fields |= {
        "orig_pkts": orig.packets, "orig_ip_bytes": orig.size,
        "resp_pkts": resp.packets, "resp_ip_bytes": resp.size,
    }  # fmt: skip
    return fields


def as_text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "T" if value else "F"
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def write_logs(records: list[dict[str, object]]) -> None:
    opened = datetime.fromtimestamp(float(str(records[0]["ts"])), UTC).strftime("%Y-%m-%d-%H-%M-%S")
    head = [
        "#separator \\x09", "#set_separator\t,", "#empty_field\t(empty)", "#unset_field\t-",
        "#path\tconn", f"#open\t{opened}", "\t".join(("#fields", *FIELDS)), "\t".join(("#types", *TYPES)),
    ]  # fmt: skip
    rows = ["\t".join(as_text(one.get(name)) for name in FIELDS) for one in records]
    last = max(float(str(one["ts"])) + float(str(one.get("duration", 0))) for one in records)
    closed = datetime.fromtimestamp(last + 1, UTC).strftime("%Y-%m-%d-%H-%M-%S")
    (OUT / "conn.log").write_text("\n".join([*head, *rows, f"#close\t{closed}"]) + "\n")
    (OUT / "conn.json.log").write_text("".join(json.dumps(one) + "\n" for one in records))


def origin(records: list[dict[str, object]], packet_count: int) -> None:
    versions = [
        subprocess.run(command, capture_output=True, text=True, check=False)
        for command in (
            ["tcpdump", "--version"],
            ["ss", "-V"],
            ["nft", "--version"],
            ["ping", "-V"],
            ["uname", "-sr"],
        )
    ]
    told = ", ".join((one.stdout + one.stderr).splitlines()[0].strip() for one in versions)
    names = "\n".join(f"* `incident/{path.name}`" for path in sorted(OUT.iterdir()))
    (Path(__file__).parent / "ORIGIN.md").write_text(
        f"""# Where the samples come from

Made for this project by `make_incident.py` on {datetime.now(UTC):%Y-%m-%d}, with real programs in Linux network
namespaces; nobody's real traffic is in them. Licence: Apache-2.0, as the project's.

Tools: {told}; Python {sys.version.split()[0]} for the servers and clients.

What happens, in some forty seconds, captured by `tcpdump -i br0 -s 96` on the bridge between all hosts
({packet_count} packets, {len(records)} connections):

1. The workstation {WORKSTATION} browses {WEB} and {WEB6}, asks the name server {NAMES}, pings, tries two
   closed ports of the server {SERVER}, and has a session with its port 22.
2. The stranger {STRANGER} tries 197 ports of the server: most are closed, 16 are filtered, one back door
   listens on 31337. He comes back to it and has a session of some seconds.
3. All the while the workstation calls {STRANGER} on port 4444 every two seconds (a beacon).
4. It sends 25 MB to {CLOUD} (an upload).

`tcpdump.txt` is the capture as `tcpdump -nn -tttt -r` prints it; `ss-*.txt` are `ss -tunapoie` in a host's namespace
at the time in the name (UTC). `conn.log` and `conn.json.log` were written by `packets_to_conn.py` and
`make_incident.py` from the same packets, in the form in which Zeek writes them: **they are not Zeek's own output.**
The addresses outside are those that are reserved for documents (RFC 5737, RFC 3849).

{names}
"""
    )


def main() -> None:
    OUT.mkdir(exist_ok=True)
    for old in OUT.iterdir():
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "incident.pcap"
        Path(folder).chmod(0o777)
        build()
        incident(capture)
        (OUT / "tcpdump.txt").write_text(run("tcpdump", "-nn", "-tttt", "-r", str(capture)))
        found = list(packets(capture))
    records = [record(flow) for flow in flows(iter(found))]
    write_logs(records)
    origin(records, len(found))
    for name in ("cw-net", *HOSTS):
        run("ip", "netns", "delete", name)
    print(f"{len(found)} packets, {len(records)} connections")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        SCENES[sys.argv[1]]()
    else:
        main()
