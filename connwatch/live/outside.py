"""What a live run shows of itself outside: log, status, HTTP and systemd, as one report hook."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from connwatch.config import Config
from connwatch.config.model import Http
from connwatch.render import number

from .log import Logger
from .progress import Status
from .report import Reporter
from .run import LiveRun
from .systemd import Systemd

if TYPE_CHECKING:
    from .http import HttpServer


class Outside:
    """Open from construction to `close`; its call is `LiveRun.report`.

    path: the configuration's file. ConnwatchError when the configured port cannot be listened on.
    """

    def __init__(self, path: str, config: Config, stream: TextIO, systemd: Systemd) -> None:
        self.log = Logger(stream, config.log.format, config.log.level)
        self.reporter = Reporter(path, self.log)
        self.systemd = systemd
        self._config = config
        self._offered: tuple[HttpServer | None] | None = None
        self._server = self._serve(config.http)

    def __call__(self, run: LiveRun) -> None:
        if run.state == "reloaded":
            self._settle(taken=run.reload_error is None)
        if run.prepared.config is not self._config:
            self._config = run.prepared.config
            self.log.change(self._config.log.format, self._config.log.level)
        self.reporter(run)
        if run.state == "stopped":
            self.systemd.stopping()
        else:
            latest = self.reporter.latest
            self.systemd.turned(run.state, "" if latest is None else summary(latest))

    def offer(self, config: Config) -> None:
        """A reload wants this: listen where it says, beside the old address, until it is known
        whether it takes effect. ConnwatchError when that is not possible."""
        self._settle(taken=False)
        old = self._config.http
        if (config.http.address, config.http.port) != (old.address, old.port):
            self._offered = (self._serve(config.http),)

    def close(self) -> None:
        self._settle(taken=False)
        if self._server is not None:
            self._server.close()
        self.systemd.close()

    def _settle(self, *, taken: bool) -> None:
        """One of the two servers goes: the old one if what was offered is taken."""
        if self._offered is None:
            return
        (gone,) = self._offered
        if taken:
            gone, self._server = self._server, gone
        self._offered = None
        if gone is not None:
            gone.close()

    def _serve(self, http: Http) -> HttpServer | None:
        if http.port is None:
            return None
        from .http import HttpServer  # what it needs takes a tenth of a second to load

        server = HttpServer(
            http.address, http.port, self.reporter, lambda: self._config.http, self.log
        )
        self.log.say("info", "answering HTTP", address=server.address, port=server.port)
        return server


def summary(status: Status) -> str:
    """A run in one line, for `systemctl status`."""
    behind = max((one.lag_seconds for one in status.sources), default=0.0)
    return (
        f"{status.state}: {number(status.totals.get('events', 0))} events,"
        f" {number(status.totals.get('alerts', 0))} alerts, {number(status.rate)} records/s,"
        f" {behind:.0f} s behind"
    )
