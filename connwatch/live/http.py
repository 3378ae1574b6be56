"""`/healthz`, `/readyz` and `/metrics`, answered in threads of their own.

    /healthz  200 while the main loop turns, else 503
    /readyz   200 when everything is in time, else 503 with the reasons, one a line
    /metrics  the status in Prometheus' text format

Only GET and HEAD, without TLS and without a password: the address is this machine's own unless the
configuration says otherwise.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6
from socketserver import TCPServer
from typing import Any, Final

from connwatch.config.model import Http
from connwatch.errors import ConnwatchError
from connwatch.render import safe

from .log import Logger
from .metrics import CONTENT_TYPE, Metrics
from .progress import Status
from .report import Reporter

#: seconds without a turn of the main loop after which it hangs
HANGS: Final = 90.0
#: seconds that a client may take for each step, and clients at a time
_PATIENCE: Final = 5.0
_CLIENTS: Final = 16
_TEXT: Final = "text/plain; charset=utf-8"

_Answer = tuple[HTTPStatus, str, bytes]


def unready(status: Status | None, limits: Http) -> list[str]:
    """Why `/readyz` says no; empty: it says yes."""
    if status is None:
        return ["state: starting"]
    reasons = []
    if status.state not in ("running", "reloaded"):
        reasons.append(f"state: {status.state}")
    reasons += [
        f"source {one.path}: {one.lag_seconds:.0f} s behind, {one.lag_bytes} bytes unread"
        for one in status.sources
        if one.lag_seconds > limits.ready_max_lag_seconds
    ]
    failing = [f"path {one['path']}: {one['reason']}" for one in status.problems]
    failing += [f"sink {one['name']}: {one['error']}" for one in status.sinks if one["error"]]
    if len(failing) > limits.ready_max_errors:
        reasons += failing
    return [safe(reason) for reason in reasons]


class HttpServer:
    """Answers from construction to `close`. limits: what counts as ready, asked every time.

    ConnwatchError when the address and port cannot be listened on.
    """

    def __init__(
        self, address: str, port: int, reporter: Reporter, limits: Callable[[], Http], log: Logger
    ) -> None:
        self.address, self.port = address, port
        self._reporter, self._limits = reporter, limits
        self._metrics = Metrics(lambda: reporter.latest)
        pages = {"/healthz": self._health, "/readyz": self._readiness, "/metrics": self._numbers}
        try:
            self._server = _Server(address, port, pages, log)
        except OSError as error:
            raise ConnwatchError(
                f"cannot listen: {error.strerror or error}",
                where=f"http: {address}, port {port}",
                hint="`http.address` and `http.port` of the configuration choose another",
            ) from error
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.2},
            name="http",
            daemon=True,
        )
        self._thread.start()

    def close(self) -> None:
        """Answer no more; the port is free when this returns."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _health(self) -> _Answer:
        pause = self._reporter.quiet
        if pause <= HANGS:
            return HTTPStatus.OK, _TEXT, b"ok\n"
        text = f"the main loop has not turned for {pause:.0f} s\n"
        return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, text.encode()

    def _readiness(self) -> _Answer:
        reasons = unready(self._reporter.latest, self._limits())
        if not reasons:
            return HTTPStatus.OK, _TEXT, b"ok\n"
        text = "".join(f"{reason}\n" for reason in reasons)
        return HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, text.encode("utf-8")

    def _numbers(self) -> _Answer:
        return HTTPStatus.OK, CONTENT_TYPE, self._metrics.text()


class _Server(ThreadingHTTPServer):
    """At most so many clients at a time; one more is turned away at once."""

    daemon_threads = True
    request_queue_size = 4 * _CLIENTS

    def __init__(
        self, address: str, port: int, pages: dict[str, Callable[[], _Answer]], log: Logger
    ) -> None:
        self.address_family = AF_INET6 if ":" in address else AF_INET
        self.pages, self._log = pages, log
        self._free = threading.BoundedSemaphore(_CLIENTS)
        super().__init__((address, port), _Handler)

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # that of HTTPServer asks the DNS for a name

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing; the rest is said, and the run goes on."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            self._log.say("error", f"http: {type(error).__name__}: {error}")


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _PATIENCE

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path.partition("?")[0])
        if page is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            self._answer(*page())

    do_HEAD = do_GET  # noqa: N815  the name is http.server's

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Also called for what cannot be understood, and for other methods."""
        status = HTTPStatus(code)
        if status == HTTPStatus.NOT_IMPLEMENTED:
            status = HTTPStatus.METHOD_NOT_ALLOWED
        self.close_connection, self.request_version = True, self.protocol_version
        self._answer(status, _TEXT, f"{status.phrase}\n".encode())

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response_only(status)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if getattr(self, "command", None) != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  as it was named there
        """Nothing: a request every few seconds is no news."""
