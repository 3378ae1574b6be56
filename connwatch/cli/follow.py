"""`connwatch run`, `tail`, `status` and `reload`: follow logs as they are written."""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from connwatch.alert import Written
from connwatch.cli.common import chosen_rules, complain, out, rules_option, say, store_option
from connwatch.cli.config import config_option, configured_rules, read_config
from connwatch.cli.live_view import show, watch
from connwatch.config import NO_STORE, STDIN, Config, SourceConfig
from connwatch.detectors.indicators import Lists
from connwatch.errors import ConnwatchError, StoreError, UsageError
from connwatch.ingest.formats import FORMATS
from connwatch.live.log import Logger
from connwatch.live.outside import Outside
from connwatch.live.report import Reporter
from connwatch.live.run import LiveRun, Prepared, Signals
from connwatch.live.status_file import read_status
from connwatch.live.systemd import Systemd
from connwatch.render import safe, to_json
from connwatch.sinks.embedded import EmbeddedStore, writer_of

if TYPE_CHECKING:
    from connwatch.sending import Sender

#: seconds without a word of a live run, after which it is said to be silent
_SILENT: Final = 30.0


class _Seconds(click.FloatRange):
    """A number of seconds that passes."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        seconds = super().convert(value, param, ctx)
        if not math.isfinite(seconds):
            self.fail(f"{value} is no number of seconds.", param, ctx)
        return float(seconds)


idle_option = click.option(
    "--until-idle",
    type=_Seconds(min=0, min_open=True),
    metavar="SECONDS",
    help="End as a replay does when everything is read and nothing came for so long.",
)


@click.command()
@config_option
@idle_option
def run(path: Path, until_idle: float | None) -> int:
    """Follow the logs that a configuration names, until told to stop.

    SIGTERM and Ctrl-C end it with everything committed; SIGHUP, or `connwatch reload`, reads the
    configuration and the rules again. Exit codes: 0 ended as it was told; 2 the configuration
    cannot be used; 3 the store failed.
    """
    signals, systemd = Signals(), Systemd()
    with _handled(signals, systemd):
        config = read_config(path)
        prepared = _prepared(config)
        with closing(Outside(str(path.absolute()), config, sys.stderr, systemd)) as outside:
            for error in prepared.rules.errors:
                outside.log.fail("error", "this rule cannot be used, the others run", error)
            _follow(path, prepared, signals, outside, until_idle)
    return 0


def _follow(
    path: Path,
    prepared: Prepared,
    signals: Signals,
    outside: Outside,
    until_idle: float | None,
) -> None:
    def again() -> Prepared:
        read = _prepared(read_config(path))
        outside.offer(read.config)
        return read

    config = prepared.config
    journal = config.store == NO_STORE
    with (
        EmbeddedStore(config.folder, journal=journal) as store,
        _sending(store, config, signals, outside.log) as sender,
    ):
        run = LiveRun(prepared, store, signals, read=again, report=outside, sender=sender)
        run.follow(until_idle)
        if sender is not None and until_idle is not None:
            sender.drain(signals.stop, patient=False)


def _sending(
    store: EmbeddedStore, config: Config, signals: Signals, log: Logger
) -> AbstractContextManager[Sender | None]:
    """What sends to the server that is configured; nothing where none is."""
    if not config.elasticsearch.named:
        return nullcontext()
    # Loaded when it is needed: the client takes half a second.
    from connwatch.sending import Sender

    def alarm(error: ConnwatchError) -> None:
        log.fail("error", "a part of what is to be sent is damaged, the rest is sent", error)

    return Sender(store, config.elasticsearch, end=signals.end, alarm=alarm)


def _prepared(config: Config) -> Prepared:
    """Load what a configuration names."""
    allow = Lists(config.allow) if config.allow else None
    return Prepared(config, configured_rules(config), allow)


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@rules_option
@click.option("--json", "as_json", is_flag=True, help="Print each alert as a JSON document a line.")
@click.option(
    "--store",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep events and alerts in this store; without it, nothing is kept.",
)
@click.option(
    "--from-end", is_flag=True, help="Only what is written from now on, as `tail -n 0 -f`."
)
@click.option(
    "--format", "format_name", type=click.Choice(tuple(FORMATS)), help="Read every file as this."
)
@click.option("--sensor", default="", metavar="NAME", help="Label of the sensor.")
@idle_option
def tail(
    paths: tuple[str, ...],
    rule_paths: tuple[str, ...],
    as_json: bool,
    store: Path | None,
    from_end: bool,
    format_name: str | None,
    sensor: str,
    until_idle: float | None,
) -> int:
    """Follow logs without a configuration, and print alerts as they come.

    PATH is a file, a folder, a pattern, a named pipe, or - for standard input. An alert is printed
    once, when it is opened. Ctrl-C ends it.
    """
    rules = chosen_rules(rule_paths)
    for error in rules.errors:
        complain(error)
    signals = Signals()
    reporter = Reporter("", Logger(sys.stderr, level="warning"))

    def report(run: LiveRun) -> None:
        reporter(run)
        if _has_no_reader(sys.stdout):
            raise BrokenPipeError

    def alert(written: Written) -> None:
        if as_json:
            out(written.text)
        else:
            out(_line(written.document()))
        sys.stdout.flush()

    with _folder(store) as folder, EmbeddedStore(folder) as opened, _handled(signals):
        config = Config(
            store=folder,
            sources=tuple(
                SourceConfig(
                    path=path if path == STDIN else str(Path(path).absolute()),
                    format=format_name,
                    sensor=sensor,
                    start="end" if from_end else "beginning",
                )
                for path in paths
            ),
        )
        live = LiveRun(
            Prepared(config, rules, None),
            opened,
            signals,
            alert=alert,
            report=report,
            naming=store is not None,
        )
        live.follow(until_idle)
    return 0


@contextmanager
def _folder(store: Path | None) -> Iterator[Path]:
    """The store, or one that is gone afterwards."""
    if store is not None:
        yield store
        return
    with tempfile.TemporaryDirectory(prefix="connwatch-tail-") as folder:
        yield Path(folder)


def _has_no_reader(stream: TextIO) -> bool:
    """Whether a pipe was closed at its other end: seen at once, not with the next alert."""
    try:
        descriptor = stream.fileno()
    except OSError:
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _line(document: dict[str, Any]) -> str:
    own = document["connwatch"]
    return safe(f"{document['event']['start']} {own['level']:<13} {document['message']}")


@contextmanager
def _handled(signals: Signals, systemd: Systemd | None = None) -> Iterator[None]:
    """SIGTERM and SIGINT stop, SIGHUP reloads; a second Ctrl-C ends at once. systemd: is told."""

    def stop(number: int, frame: FrameType | None) -> None:
        if signals.stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        if systemd is not None:
            systemd.stopping()
        signals.ask_stop()

    def reload(number: int, frame: FrameType | None) -> None:
        if systemd is not None:
            systemd.reloading()
        signals.ask_reload()

    wanted: dict[int, Callable[[int, FrameType | None], None]] = {
        signal.SIGTERM: stop,
        signal.SIGINT: stop,
        signal.SIGHUP: reload,
    }
    before = {number: signal.signal(number, handler) for number, handler in wanted.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.command()
@store_option
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.option("--watch", "watching", is_flag=True, help="Show it again and again, until Ctrl-C.")
def status(store: Path, as_json: bool, watching: bool) -> int:
    """Show how a live run is doing: sources, lag, sinks, state, errors.

    Exit codes: 0 it runs; 1 it does not run (any more), waits to try again, or is silent; 3 nothing
    has ever followed logs into this store.
    """
    if watching:
        watch(lambda: current(store))
        return 0
    found = current(store)
    if as_json:
        out(to_json(found))
    else:
        show(found)
    return 0 if found["state"] in ("running", "starting", "reloaded") else 1


def current(store: Path) -> dict[str, Any]:
    """The status of the live run of a store.

    One that was killed is dead; one that lives and has told nothing for long is silent: it was
    halted, or its disk is full and has no room for a status.
    """
    found: dict[str, Any] = read_status(store)
    if found["state"] == "stopped":
        return found
    if writer_of(store) != found["pid"]:
        found["state"] = "dead"
    elif (datetime.now(UTC) - datetime.fromisoformat(found["updated"])).total_seconds() > _SILENT:
        found["state"] = "silent"
    return found


@click.command()
@store_option
@click.option("--timeout", default=30.0, show_default=True, help="Seconds to wait for the answer.")
def reload(store: Path, timeout: float) -> int:
    """Tell a live run to read its configuration and rules again, and wait for what it says.

    Exit codes: 0 the new ones are in effect; 2 they cannot be used, and the old ones stay; 3
    nothing runs.
    """
    found = current(store)
    if found["state"] in ("stopped", "dead"):
        raise StoreError("nothing follows logs into this store", where=str(store), hint=_START)
    if found["host"] != socket.gethostname():
        raise StoreError(
            f"it is followed into on {found['host']}, not here",
            where=str(store),
            hint="run `connwatch reload` there, in a container with its `exec`",
        )
    before = found["reloads"]
    os.kill(found["pid"], signal.SIGHUP)
    limit = time.monotonic() + timeout
    while time.monotonic() < limit:
        time.sleep(0.05)
        found = current(store)
        if found["reloads"] != before:
            if found["reload_error"] is not None:
                raise UsageError(found["reload_error"], hint="the old configuration stays")
            say(f"reloaded: generation {found['generation']}")
            return 0
    raise StoreError("no answer yet", where=str(store), hint="look at `connwatch status`")


_START = "start `connwatch run -c FILE`"
