"""A proxy before a server that fails as networks do: whole connections, bytes, time.

It passes bytes on in both directions until a bulk request comes; then it does what `fault` says, as
often as `times` says. What else is asked passes.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit

Fault = Literal["cut request", "cut answer", "reset after", "delay", "drip", "hole", "deaf"]

_BULK: Final = b"POST /_bulk"


@dataclass
class Proxy:
    """url: of this side. fault: of bulk requests, None: none.

    cut request: the connection is reset after some bytes of the request. cut answer: after some
    bytes of the answer. reset after: the server has the request, its answer is not passed on and
    the connection reset. delay: the answer comes late, by `seconds`. drip: it comes byte by byte.
    hole: the request is swallowed, and nothing comes. deaf: the same, but the server gets it.
    """

    url: str
    port: int
    target: tuple[str, int]
    fault: Fault | None = None
    times: int = 10**9
    seconds: float = 0.5
    seen: int = 0
    closed: threading.Event = field(default_factory=threading.Event)
    _listener: socket.socket | None = None
    _sockets: set[socket.socket] = field(default_factory=set)
    _threads: list[threading.Thread] = field(default_factory=list)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def set(self, fault: Fault | None, times: int = 10**9, seconds: float = 0.5) -> None:
        self.fault, self.times, self.seconds = fault, times, seconds

    def refuse(self) -> None:
        """Nobody listens any more, and what is open is reset."""
        listener, self._listener = self._listener, None
        if listener is not None:
            # Not closing alone: another thread waits in `accept`.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._guard:
            open_now = list(self._sockets)
        for one in open_now:
            _reset(one)

    def listen(self) -> None:
        """As it was before `refuse`."""
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._begin(self._accept, listener)

    def close(self) -> None:
        self.closed.set()
        self.refuse()
        for thread in self._threads:
            thread.join(timeout=10)

    def _begin(self, what: object, *given: object) -> None:
        assert callable(what)
        thread = threading.Thread(target=what, args=given, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target, timeout=10)
            except OSError:
                _reset(client)
                client.close()
                continue
            server.settimeout(None)
            with self._guard:
                self._sockets |= {client, server}
            link = _Link(self, client, server)
            self._begin(link.requests)
            self._begin(link.answers)

    def taken(self) -> Fault | None:
        """The fault of one more bulk request."""
        with self._guard:
            self.seen += 1
            if self.fault is None or self.times <= 0:
                return None
            self.times -= 1
            return self.fault

    def forget(self, *sockets: socket.socket) -> None:
        with self._guard:
            self._sockets -= set(sockets)


class _Link:
    """One connection, passed on by two threads."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self.proxy, self.client, self.server = proxy, client, server
        self.fault: Fault | None = None
        self.left = 2

    def requests(self) -> None:
        try:
            while data := self.client.recv(65_536):
                if _BULK in data:
                    self.fault = self.proxy.taken()
                    if self.fault == "cut request":
                        self.server.sendall(data[: len(data) // 2])
                        break
                if self.fault != "hole":
                    self.server.sendall(data)
        except OSError:
            pass
        self._end()

    def answers(self) -> None:
        try:
            while data := self.server.recv(65_536):
                if not self._answer(data):
                    break
        except OSError:
            pass
        self._end()

    def _answer(self, data: bytes) -> bool:
        if self.fault == "deaf":
            return True
        if self.fault == "reset after":
            return False
        if self.fault == "cut answer":
            self.client.sendall(data[: len(data) // 2])
            return False
        if self.fault == "delay":
            self.proxy.closed.wait(self.proxy.seconds)
        if self.fault == "drip":
            for place in range(len(data)):
                self.client.sendall(data[place : place + 1])
                # Until this side is closed.
                if self.proxy.closed.wait(self.proxy.seconds):
                    return False
        else:
            self.client.sendall(data)
        self.fault = None
        return True

    def _end(self) -> None:
        for one in (self.client, self.server):
            _reset(one)
        self.left -= 1
        if not self.left:
            self.proxy.forget(self.client, self.server)
            self.client.close()
            self.server.close()


def _reset(one: socket.socket) -> None:
    """Both directions end, without good-bye."""
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """Before the server at this URL."""
    parts = urlsplit(target)
    made = Proxy("", 0, (parts.hostname or "", parts.port or 9200))
    made.listen()
    made.url = f"{parts.scheme}://127.0.0.1:{made.port}"
    try:
        yield made
    finally:
        made.close()
