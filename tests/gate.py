"""A reverse proxy before a real server that answers for it as overloaded servers and proxies do."""

from __future__ import annotations

import gzip
import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from fake_server import PRODUCT, Answer

#: sends lines of bulk to the server itself, and gives its answer
Forward = Callable[[bytes], Answer]
#: what happens to one bulk request: its number, its lines, and how to send them on
Rule = Callable[[int, bytes, Forward], Answer]


def passes(_number: int, lines: bytes, forward: Forward) -> Answer:
    return forward(lines)


def documents(lines: bytes) -> list[bytes]:
    """Of a body that creates events, action and document of each."""
    split = lines.splitlines(keepends=True)
    return [b"".join(split[place : place + 2]) for place in range(0, len(split), 2)]


@dataclass
class Gate:
    """rule: of bulk requests. sizes: their bytes, in order; most: at once."""

    url: str = ""
    rule: Rule = passes
    sizes: list[int] = field(default_factory=list)
    at_once: int = 0
    most: int = 0
    guard: threading.Lock = field(default_factory=threading.Lock)


def rejected(lines: bytes, forward: Forward, refuse: Callable[[int], bool]) -> Answer:
    """Documents for whose place `refuse` holds get a 429, the others go on to the server."""
    parts = documents(lines)
    kept = [part for place, part in enumerate(parts) if not refuse(place)]
    told = forward(b"".join(kept)) if kept else Answer(body=b'{"items":[]}')
    if told.status != 200:
        return told
    answers = iter(json.loads(told.body)["items"])
    error = {"type": "es_rejected_execution_exception", "reason": "the queue is full"}
    busy = {"create": {"status": 429, "error": error}}
    items = [busy if refuse(place) else next(answers) for place in range(len(parts))]
    return Answer(body={"errors": True, "items": items})


@contextmanager
def gate(target: str, tls: ssl.SSLContext | None = None) -> Iterator[Gate]:
    """Before the server at this URL. tls: for https; then each request has its own connection."""
    made = Gate()
    parts = urlsplit(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if not self.path.startswith("/_bulk"):
                self.reply(self.asked(body, dict(self.headers)))
                return
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            kind = {"content-type": self.headers["content-type"], "accept": self.headers["accept"]}
            with made.guard:
                made.sizes.append(len(body))
                number = len(made.sizes)
                made.at_once += 1
                made.most = max(made.most, made.at_once)
            try:
                self.reply(made.rule(number, body, lambda lines: self.asked(lines, kind)))
            finally:
                with made.guard:
                    made.at_once -= 1

        def asked(self, body: bytes, headers: dict[str, str]) -> Answer:
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
            try:
                connection.request(self.command, self.path, body or None, headers)
                told = connection.getresponse()
                kept = {"Content-Type": told.getheader("content-type") or "", **PRODUCT}
                return Answer(told.status, told.read(), kept)
            finally:
                connection.close()

        def reply(self, one: Answer) -> None:
            body: Any = one.body
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(one.status)
            for name, value in {"Content-Type": "application/json", **one.headers}.items():
                self.send_header(name, value)
            if tls is not None:
                self.send_header("Connection", "close")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that ends the handshake is what some tests are about."""

    server = Quiet(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    made.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
