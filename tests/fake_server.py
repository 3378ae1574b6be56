"""Servers that answer as they are told to, and keep what they were asked."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

#: what an Elasticsearch of the newest version says
PRODUCT: Final = {"X-elastic-product": "Elasticsearch"}
WHO: Final = "/_nodes/_local/_none"


@dataclass
class Answer:
    """body: bytes as they are, else JSON."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=lambda: PRODUCT)


@dataclass
class Asked:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Fake:
    """answers: by path without the query; "*" for any other, else 400 as Elasticsearch says it."""

    url: str
    answers: dict[str, Answer]
    asked: list[Asked] = field(default_factory=list)


def elasticsearch(version: str = "9.5.0") -> dict[str, Answer]:
    return {WHO: Answer(body={"nodes": {"n": {"version": version}}})}


@contextmanager
def fake_server(
    answers: dict[str, Answer],
    *,
    tls: tuple[Path, Path] | None = None,
    client_ca: Path | None = None,
    host: str = "127.0.0.1",
) -> Iterator[Fake]:
    """tls: certificate and key. client_ca: clients must show a certificate of this authority.
    host: what the URL calls this machine."""
    fake = Fake("", answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            length = int(self.headers.get("content-length", 0))
            named = {name.lower(): value for name, value in self.headers.items()}
            fake.asked.append(Asked(self.command, self.path, named, self.rfile.read(length)))
            path = self.path.partition("?")[0]
            unknown = Answer(400, {"error": f"no handler found for uri [{path}]"})
            found = fake.answers.get(path) or fake.answers.get("*") or unknown
            raw = isinstance(found.body, bytes)
            body = found.body if raw else json.dumps(found.body).encode()
            self.send_response(found.status)
            kind = "text/html" if raw else "application/json"
            for name, value in {"Content-Type": kind, **found.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that ends the handshake is what some tests are about."""

    server = Quiet(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = _secure(server.socket, tls, client_ca)
    scheme = "http" if tls is None else "https"
    fake.url = f"{scheme}://{host}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _secure(
    listener: socket.socket, tls: tuple[Path, Path], client_ca: Path | None
) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    return context.wrap_socket(listener, server_side=True, do_handshake_on_connect=False)


@contextmanager
def silent_server() -> Iterator[str]:
    """It takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
