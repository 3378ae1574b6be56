"""Who does what in the sample incident: each scene is a program that runs in one namespace.

`make_incident.py` starts them as `python scenes.py SCENE`. Where a well-known program does a thing
(curl, nmap, ping, python -m http.server) that one is used; here is the rest. A scene gives its
process a name, so that `ss` shows one.
"""

from __future__ import annotations

import http.server
import socket
import ssl
import struct
import sys
import time
from pathlib import Path

WORKSTATION, SERVER = "192.168.56.10", "192.168.56.20"
WEB, NAMES, CLOUD, STRANGER = "203.0.113.10", "203.0.113.53", "203.0.113.99", "198.51.100.66"
WEB6 = "2001:db8::10"

#: name -> (type of record, address)
ZONE = {
    "www.example.com": (1, socket.inet_aton(WEB)),
    "cloud.example.com": (1, socket.inet_aton(CLOUD)),
    "six.example.com": (28, socket.inet_pton(socket.AF_INET6, WEB6)),
}


def lines(address: str, port: int, size: int) -> None:
    """A server that answers everything it gets with `size` bytes, one client at a time."""
    listener = socket.create_server((address, port))
    while True:
        connection, _ = listener.accept()
        with connection:
            while connection.recv(1 << 16):
                connection.sendall(b"x" * (size - 1) + b"\n")


def sshd() -> None:
    """A server with a banner as SSH has it, and bytes that mean nothing after it."""
    listener = socket.create_server((SERVER, 22))
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"SSH-2.0-sample\r\n")
            while connection.recv(1 << 16):
                connection.sendall(b"\0" * 200)


def named() -> None:
    """A name server for `ZONE`; a name it has in another type gets an empty answer."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((NAMES, 53))
    while True:
        packet, who = server.recvfrom(512)
        end = packet.index(0, 12)
        labels, at = [], 12
        while at < end:
            labels.append(packet[at + 1 : at + 1 + packet[at]].decode())
            at += 1 + packet[at]
        question, kind = packet[12 : end + 5], struct.unpack_from("!H", packet, end + 1)[0]
        known, address = ZONE.get(".".join(labels).lower(), (0, b""))
        answer = b""
        if known == kind:
            answer = struct.pack("!HHHIH", 0xC00C, kind, 1, 300, len(address)) + address
        flags = 0x8580 if known else 0x8583
        head = packet[:2] + struct.pack("!5H", flags, 1, bool(answer), 0, 0)
        server.sendto(head + question + answer, who)


class Takes(http.server.BaseHTTPRequestHandler):
    """Takes what is put there, and forgets it."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        left = int(self.headers["Content-Length"])
        while left:
            left -= len(self.rfile.read(min(left, 1 << 20)))
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()


def cloud(certificate: str) -> None:
    """A place for uploads, with TLS. certificate: a PEM file with the key."""
    server = http.server.HTTPServer((CLOUD, 443), Takes)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


def talk(address: str, port: int, sayings: list[bytes], pause: float, source: str = "") -> None:
    """A client: says something, waits for an answer and for `pause` seconds, and so on."""
    bind = (source, 0) if source else None
    with socket.create_connection((address, port), timeout=10, source_address=bind) as connection:
        for one in sayings:
            connection.sendall(one)
            connection.recv(1 << 16)
            time.sleep(pause)


def updater() -> None:
    """The beacon: 20 times, every two seconds."""
    begin = time.monotonic()
    for number in range(20):
        time.sleep(max(0.0, begin + 2 * number - time.monotonic()))
        talk(STRANGER, 4444, [b"ping\n"], pause=0.4)


def admin() -> None:
    """A session with the server's port 22 that is still open when the capture ends."""
    talk(SERVER, 22, [b"SSH-2.0-client\r\n", b"\0" * 100] + [b"\0" * 60] * 60, pause=2)


def intruder() -> None:
    sayings = [b"id\n", b"uname -a\n", b"cat /etc/passwd\n", b"ls /home\n", b"exit\n"]
    talk(SERVER, 31337, sayings, pause=1.2, source=STRANGER)


def rejected() -> None:
    """Two ports of the server that nobody listens on."""
    for port in (8443, 9443):
        try:
            talk(SERVER, port, [], pause=0)
        except ConnectionRefusedError:
            pass


def halfopen() -> None:
    """A SYN whose SYN-ACK is dropped on the way back in: the server keeps a half-open socket."""
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.bind((STRANGER, 0))
    client.settimeout(2.5)
    try:
        client.connect((SERVER, 22))
    except TimeoutError:
        pass
    client.close()


SCENES = {
    "backdoor": lambda: lines(SERVER, 31337, 400),
    "command": lambda: lines(STRANGER, 4444, 12),
    "sshd": sshd, "named": named, "cloud": lambda: cloud(sys.argv[2]),
    "updater": updater, "admin": admin, "intruder": intruder, "rejected": rejected,
    "halfopen": halfopen,
}  # fmt: skip

if __name__ == "__main__":
    Path("/proc/self/comm").write_text(sys.argv[1])
    SCENES[sys.argv[1]]()
