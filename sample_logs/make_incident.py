"""Make the sample incident: real programs in network namespaces, captured by tcpdump and ss.

Run as root on Linux: `python sample_logs/make_incident.py`. It needs tcpdump, iproute2, nftables,
ping, curl, nmap and openssl, takes a minute, and writes `incident/` and ORIGIN.md, which says who
does what.

    cw-ws   192.168.56.10, 2001:db8:1::10  a workstation   \
    cw-srv  192.168.56.20, 2001:db8:1::20  a server         >  bridge br0 in cw-net, where tcpdump is
    cw-net  192.168.56.1, 2001:db8:1::1    the router, and behind it the outside: a web server, a
            name server, a place for uploads, and somebody who looks for open ports

The namespaces have no way out to any real network.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from packets_to_conn import Flow, flows, packets, write_logs
from scenes import CLOUD, NAMES, SERVER, STRANGER, WEB, WEB6, WORKSTATION

HERE = Path(__file__).parent
OUT = HERE / "incident"
RESOLVER = Path("/etc/netns/cw-ws")  # what `ip netns exec cw-ws` sees as /etc
HOSTS = {"cw-ws": (WORKSTATION, "2001:db8:1::10"), "cw-srv": (SERVER, "2001:db8:1::20")}

CAPTURE = "tcpdump -i br0 -s 128 -U -Z root -w incident.pcap ip or ip6"
PRINT = "tcpdump -nn -tttt -r incident.pcap"
SOCKETS = "ss -tunapoie"
PING, PING6 = f"ping -c 3 -i 0.3 {WEB}", f"ping -c 2 -i 0.3 {WEB6}"
BROWSE = "curl -s -o /dev/null http://www.example.com/page%d.html"
BROWSE6 = "curl -s -o /dev/null http://six.example.com/page1.html"
UPLOAD = (
    "curl -s -k -o /dev/null --limit-rate 5M -H Expect: -T backup.tar https://cloud.example.com/"
)
_NMAP = f"nmap -n -Pn -r -e br0 -S {STRANGER} --max-retries 1"
SCAN = f"{_NMAP} -sS --max-rate 150 -p 1-300,8000-8015,31337 {SERVER}"
SCAN_FIN = f"{_NMAP} -sF -p 22,8000 {SERVER}"

SERVER_RULES = (
    "table inet f { chain c { type filter hook input priority 0; tcp dport 8000-8015 drop; }; }"
)
STRANGER_RULES = f"""table inet f {{ chain c {{ type filter hook input priority 0;
    ip daddr {STRANGER} tcp sport 22 tcp flags & (syn | ack) == (syn | ack) drop; }}; }}"""


def run(command: str, text: str | None = None) -> str:
    done = subprocess.run(command.split(), check=True, capture_output=True, text=True, input=text)
    return done.stdout


def start(namespace: str, command: str, folder: Path) -> subprocess.Popen[bytes]:
    inside = ["ip", "netns", "exec", namespace, *command.split()]
    return subprocess.Popen(
        inside, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


# -- the network ----------------------------------------------------------------------------------


def clear() -> None:
    """Take away the namespaces, of this run or of one that was interrupted."""
    for name in ("cw-net", *HOSTS):
        with contextlib.suppress(subprocess.CalledProcessError):
            run(f"ip netns delete {name}")
    shutil.rmtree(RESOLVER, ignore_errors=True)


def build() -> None:
    for name in ("cw-net", *HOSTS):
        run(f"ip netns add {name}")
        for setting in ("router_solicitations=0", "accept_dad=0"):
            run(f"ip netns exec {name} sysctl -q -w net.ipv6.conf.default.{setting}")
        run(f"ip -n {name} link set lo up")
    run("ip -n cw-net link add br0 address 02:00:00:00:00:01 type bridge")
    for number, (name, (address, address6)) in enumerate(HOSTS.items(), start=2):
        ends = (
            f"eth0 address 02:00:00:00:00:0{number} netns {name}",
            f"port{number} address 02:00:00:00:01:0{number} netns cw-net",
        )
        run(f"ip link add name {ends[0]} type veth peer name {ends[1]}")
        run(f"ip -n cw-net link set port{number} master br0 up")
        run(f"ip -n {name} address add {address}/24 dev eth0")
        run(f"ip -n {name} address add {address6}/64 dev eth0 nodad")
        run(f"ip -n {name} link set eth0 up")
        run(f"ip -n {name} route add default via 192.168.56.1")
        run(f"ip -n {name} -6 route add default via 2001:db8:1::1")
    for address in ("192.168.56.1/24", "2001:db8:1::1/64"):
        run(f"ip -n cw-net address add {address} dev br0")
    run("ip -n cw-net link set br0 up")
    for address in (f"{WEB}/32", f"{NAMES}/32", f"{CLOUD}/32", f"{STRANGER}/32", f"{WEB6}/128"):
        run(f"ip -n cw-net address add {address} dev lo")
    run("ip netns exec cw-srv nft -f -", SERVER_RULES)
    RESOLVER.mkdir(parents=True)
    (RESOLVER / "resolv.conf").write_text(f"nameserver {NAMES}\n")


# -- the incident ---------------------------------------------------------------------------------


def snapshot(namespace: str, *shown: str) -> None:
    """The socket table, with its moment in the name, as soon as a line has all that is `shown`."""
    for _ in range(100):
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        text = run(f"ip netns exec {namespace} {SOCKETS}")
        if any(all(word in line for word in shown) for line in text.splitlines()):
            (OUT / f"ss-{namespace.removeprefix('cw-')}-{moment}.txt").write_text(text)
            return
        time.sleep(0.1)
    raise TimeoutError(f"ss in {namespace} never showed {shown}")


def prepare(folder: Path) -> None:
    """Pages to browse, something to upload, a certificate."""
    (folder / "www").mkdir()
    for page in range(1, 13):
        (folder / "www" / f"page{page}.html").write_text("x" * (2_000 + 1_000 * page))
    (folder / "backup.tar").write_bytes(b"z" * 25_000_000)
    run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        f" -subj /CN=cloud.example.com -keyout {folder}/key.pem -out {folder}/own.pem"
    )
    (folder / "cert.pem").write_text(
        "".join((folder / f"{n}.pem").read_text() for n in ("key", "own"))
    )


def servers(folder: Path) -> list[subprocess.Popen[bytes]]:
    play = f"{sys.executable} {HERE / 'scenes.py'}"
    web = f"{sys.executable} -m http.server 80 --directory www --bind"
    return [
        start("cw-srv", f"{play} backdoor", folder), start("cw-srv", f"{play} sshd", folder),
        start("cw-net", f"{play} command", folder), start("cw-net", f"{play} named", folder),
        start("cw-net", f"{play} cloud cert.pem", folder),
        start("cw-net", f"{web} {WEB}", folder), start("cw-net", f"{web} {WEB6}", folder),
    ]  # fmt: skip


def incident(folder: Path) -> None:
    """About fifty seconds: browsing, a beacon, a scan, an intrusion, an upload."""
    play = f"{sys.executable} {HERE / 'scenes.py'}"
    background = servers(folder)
    time.sleep(3)
    tcpdump = start("cw-net", CAPTURE, folder)
    time.sleep(1)
    beacon = start("cw-ws", f"{play} updater", folder)
    background.append(start("cw-ws", f"{play} admin", folder))
    start("cw-ws", PING, folder).wait()
    start("cw-ws", PING6, folder).wait()
    for page in range(1, 13):
        start("cw-ws", BROWSE % page, folder).wait()
        time.sleep(0.3)
    start("cw-ws", BROWSE6, folder).wait()
    start("cw-ws", f"{play} rejected", folder).wait()
    snapshot("cw-ws", "ESTAB", ":4444")
    start("cw-net", SCAN, folder).wait()
    start("cw-net", SCAN_FIN, folder).wait()
    intruder = start("cw-net", f"{play} intruder", folder)
    snapshot("cw-srv", "ESTAB", ":31337")
    intruder.wait()
    upload = start("cw-ws", UPLOAD, folder)
    time.sleep(2)
    snapshot("cw-ws", "ESTAB", ":443 ")
    upload.wait()
    run("ip netns exec cw-net nft -f -", STRANGER_RULES)
    halfopen = start("cw-net", f"{play} halfopen", folder)
    snapshot("cw-srv", "SYN-RECV", STRANGER)
    halfopen.wait()
    beacon.wait()
    time.sleep(1)
    tcpdump.terminate()
    tcpdump.wait()
    for process in background:
        process.terminate()
        process.wait()


# -- ORIGIN.md ------------------------------------------------------------------------------------


def table(found: list[Flow]) -> str:
    """How many connections there are of each kind."""
    kinds: Counter[tuple[str, str, str, str]] = Counter()
    for flow in found:
        (source, _), (destination, port) = flow.first.source, flow.first.destination
        if source == STRANGER and (flow.state, port) != ("SF", 31337):
            who, what = f"{source} → {destination}", "many"
        elif flow.first.proto == "icmp" and flow.first.source[1] in (135, 136):
            who, what = "neighbours", "135, 136"
        else:
            who, what = f"{source} → {destination}", str(port)
        kinds[(who, flow.first.proto, what, flow.state)] += 1
    rows = [f"| {' | '.join(kind)} | {count} |" for kind, count in sorted(kinds.items())]
    head = "| who | protocol | port, ICMP: type of answer | conn_state | connections |"
    return "\n".join([head, "|---|---|---|---|---:|", *rows])


def versions() -> str:
    asked = (
        "tcpdump --version", "ss -V", "nft --version", "ping -V", "curl --version", "nmap --version",
        "openssl version", "uname -sr",
    )  # fmt: skip
    told = [
        subprocess.run(command.split(), capture_output=True, text=True, check=False)
        for command in asked
    ]
    named = ["Python " + sys.version.split()[0]]
    first = [(one.stdout + one.stderr).splitlines()[0].split(" (")[0] for one in told]
    first[-1] = first[-1].split("-")[0]  # the kernel, without the name of its build
    return "\n".join(f"* {line.strip()}" for line in first + named)


def origin(found: list[Flow], packet_count: int) -> None:
    commands = "\n".join(
        f"    {where}  {command}"
        for where, command in (
            ("cw-net", CAPTURE), ("      ", PRINT), ("cw-ws ", SOCKETS), ("cw-srv", SOCKETS), ("cw-ws ", PING),
            ("cw-ws ", PING6), ("cw-ws ", BROWSE.replace("%d", "1") + "   (to page12)"), ("cw-ws ", BROWSE6),
            ("cw-ws ", UPLOAD), ("cw-net", SCAN), ("cw-net", SCAN_FIN),
        )
    )  # fmt: skip
    template = (HERE / "ORIGIN.in.md").read_text(encoding="utf-8")
    seconds = (max(one.last for one in found) - min(one.first.time for one in found)) / 1_000_000
    values = {
        "DATE": f"{datetime.now(UTC):%Y-%m-%d}", "COMMANDS": commands, "VERSIONS": versions(),
        "PACKETS": str(packet_count), "CONNECTIONS": str(len(found)), "SECONDS": f"{seconds:.0f}",
        "TABLE": table(found),
        "FILES": "\n".join(f"* `incident/{path.name}`" for path in sorted(OUT.iterdir())),
    }  # fmt: skip
    for name, value in values.items():
        template = template.replace(f"@{name}@", value)
    (HERE / "ORIGIN.md").write_text(template, encoding="utf-8")


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    clear()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            prepare(folder)
            build()
            incident(folder)
            capture = folder / "incident.pcap"
            (OUT / "tcpdump.txt").write_text(run(PRINT.replace("incident.pcap", str(capture))))
            all_packets = list(packets(capture))
    finally:
        clear()
    found = flows(all_packets)
    write_logs(found, OUT)
    origin(found, len(all_packets))
    print(f"{len(all_packets)} packets, {len(found)} connections")


if __name__ == "__main__":
    main()
