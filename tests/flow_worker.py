"""A program with connections, for tests that want to know which process has which.

`serve ADDRESS PORT…` answers on these ports, TCP and UDP, until it is stopped; it says "ready" first.
`call` reads jobs from its input (JSON), does each at its time, in a thread of its own, and prints
one line of JSON for each that worked: the job, its local port, and when it began and ended.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
from contextlib import suppress
from typing import Any

RESET = struct.pack("ii", 1, 0)
_said = threading.Lock()


def serve(address: str, ports: list[int]) -> None:
    for port in ports:
        listener = socket.create_server((address, port), backlog=200)
        threading.Thread(target=_accept, args=(listener,), daemon=True).start()
        asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        asked.bind((address, port))
        threading.Thread(target=_answer, args=(asked,), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


def _accept(listener: socket.socket) -> None:
    while True:
        peer, _ = listener.accept()
        threading.Thread(target=_echo, args=(peer,), daemon=True).start()


def _echo(peer: socket.socket) -> None:
    with suppress(OSError), peer:
        while data := peer.recv(4096):
            peer.sendall(data)


def _answer(asked: socket.socket) -> None:
    while True:
        data, sender = asked.recvfrom(4096)
        asked.sendto(data, sender)


def call(jobs: list[dict[str, Any]], base: float) -> None:
    threads = []
    for job in sorted(jobs, key=lambda one: one["at"]):
        time.sleep(max(0.0, base + job["at"] - time.time()))
        thread = threading.Thread(target=_call, args=(job, base))
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join()


def _call(job: dict[str, Any], base: float) -> None:
    udp = job["kind"].startswith("udp")
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    with suppress(OSError), socket.socket(socket.AF_INET, kind) as mine:
        mine.settimeout(5)
        if not udp:  # UDP sockets would share the port, and a flow would have two processes
            mine.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        mine.bind((job["from"] if job["kind"] != "udp-any" else "", job["port"]))
        to = tuple(job["to"])
        begun = time.time()
        if job["kind"] != "udp-any":
            mine.connect(to)
        for wait in (0.0, max(0.0, base + job["at"] + job["for"] - time.time())):
            time.sleep(wait)
            mine.sendto(b"x", to) if job["kind"] == "udp-any" else mine.send(b"x")
            mine.recv(10)
        if job["kind"] == "tcp-reset":
            mine.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        port = mine.getsockname()[1]
        mine.close()
        told = {**job, "begun": begun, "ended": time.time(), "local": port}
        with _said:
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2], [int(port) for port in sys.argv[3:]])
    else:
        given = json.load(sys.stdin)
        call(given["jobs"], given["base"])
