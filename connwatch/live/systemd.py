"""Tells systemd how the service does, over the socket that it names (see sd_notify(3)).

Nothing is sent, and nothing fails, when there is no such socket.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Final

#: seconds between two texts for `systemctl status`
_TEXT_PAUSE: Final = 5.0


class Systemd:
    """Notifications of one process. environment: where systemd says what it wants: `NOTIFY_SOCKET`,
    and `WATCHDOG_USEC` with `WATCHDOG_PID`.

    Everything is sent by the thread that calls, so a main loop that hangs sends no sign of life.
    """

    def __init__(
        self,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        self._socket: socket.socket | None = None
        self._pause = _watchdog(environment)
        self._fed = self._told = -_TEXT_PAUSE
        self._text = ""
        self._busy, self._asked, self._ending = True, False, False
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)

    def turned(self, state: str, text: str = "") -> None:
        """The main loop turned. state: of the run; text: what `systemctl status` shows of it."""
        if self._socket is None:
            return
        now = self._clock()
        lines = []
        if state == "reloaded":
            self._asked = False
        due = self._busy and not (self._asked or self._ending)
        if due and state in ("running", "waiting"):
            self._busy = False
            lines.append("READY=1")
        if text and text != self._text and (lines or now - self._told >= _TEXT_PAUSE):
            self._told, self._text = now, text
            lines.append(f"STATUS={_line(text)}")
        if self._pause is not None and now - self._fed >= self._pause:
            self._fed = now
            lines.append("WATCHDOG=1")
        self._send(lines)

    def reloading(self) -> None:
        """A reload was asked for; it ends with `turned`, "reloaded" and then a running state."""
        self._busy = self._asked = True
        self._send(["RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}"])

    def stopping(self) -> None:
        """The end has begun. Said once."""
        if not self._ending:
            self._ending = True
            self._send(["STOPPING=1", "STATUS=stopping"])

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, lines: list[str]) -> None:
        if self._socket is None or not lines:
            return
        try:
            self._socket.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)
        except OSError:
            # A manager that is restarted, or slow: it gets the next one. A state of ours that got
            # lost is said again, for without it the service counts as not started.
            self._busy = self._busy or "READY=1" in lines


def _address(name: str) -> str:
    """The socket's address: a path, or a name (`@…`) in the abstract namespace."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else ""


def _watchdog(environment: Mapping[str, str]) -> float | None:
    """Seconds between two signs of life, half of what is allowed; None: none are wanted."""
    try:
        limit = int(environment.get("WATCHDOG_USEC", ""))
        meant = int(environment.get("WATCHDOG_PID", os.getpid()))
    except ValueError:
        return None
    return limit / 2_000_000 if limit > 0 and meant == os.getpid() else None


def _line(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text)
