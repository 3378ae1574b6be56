"""Keeps sessions going: start, reload, waiting for room on the disk, and stop."""

from __future__ import annotations

import glob
import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import polars as pl

from connwatch import loading
from connwatch.alert import Written
from connwatch.config import Config, SourceConfig
from connwatch.detection import Detection
from connwatch.detectors.indicators import Lists
from connwatch.detectors.ruleset import RuleSet
from connwatch.errors import ConfigError, ConnwatchError, StoreError, StoreFullError
from connwatch.ingest.clock import Clock
from connwatch.ingest.enrich import HomeNetworks, enrich
from connwatch.ingest.follow import Command, Follower, Wake, Wanted
from connwatch.ingest.formats import formats
from connwatch.ingest.live import LiveMerge
from connwatch.memory import keep_little
from connwatch.sinks.embedded import EmbeddedStore
from connwatch.sinks.embedded.catalogue import NAME as CATALOGUE

from .naming import Naming
from .session import Hooks, Session
from .upkeep import Upkeep

if TYPE_CHECKING:
    from connwatch.sending import Sender  # the client takes half a second to load

#: seconds: the first pause before another try, and the longest
_PAUSE: Final = 0.5
_LONGEST: Final = 15.0
#: seconds between two signs of life while it waits
_TICK: Final = 0.5
#: seconds between two looks at the files of lists
_LISTS: Final = 2.0


@dataclass(slots=True)
class Signals:
    """What is asked of a live run from outside; any thread may set them."""

    stop: threading.Event = field(default_factory=threading.Event)
    reload: threading.Event = field(default_factory=threading.Event)
    #: set with either: the session in hand is to end
    end: threading.Event = field(default_factory=threading.Event)

    def ask_stop(self) -> None:
        self.stop.set()
        self.end.set()

    def ask_reload(self) -> None:
        self.reload.set()
        self.end.set()


@dataclass(slots=True)
class Prepared:
    """A configuration with what it names: rules (some may be in `rules.errors`), and lists of what
    no rule matches."""

    config: Config
    rules: RuleSet
    allow: Lists | None


class LiveRun:
    """Follows what a configuration names, into a store, until it is told to stop.

    read: reads the configuration again, for a reload. alert: told of every new alert. report: told
    between two batches, and of every change of state; the session is None while there is none.
    sender: what sends to a server, running. naming: write processes into alerts.
    """

    def __init__(
        self,
        prepared: Prepared,
        store: EmbeddedStore,
        signals: Signals,
        *,
        read: Callable[[], Prepared] | None = None,
        alert: Callable[[Written], None] = lambda alert: None,
        report: Callable[[LiveRun], None] = lambda run: None,
        sender: Sender | None = None,
        naming: bool = True,
    ) -> None:
        self.prepared, self.store, self.sender = prepared, store, sender
        self.state = "starting"
        self.session: Session | None = None
        self.wake: Wake | None = None
        self.generation, self.reloads = 1, 0
        self.reload_error: str | None = None
        self.error: ConnwatchError | None = None
        self.retries = 0
        self._signals, self._read = signals, read
        self._alert, self._report = alert, report
        self._run = store.begin_run()
        self.upkeep = Upkeep(store, prepared.config.retention)
        # A journal does not keep the events of which it would be told.
        self.naming = Naming(store) if naming and not store.is_journal else None
        self._hooks = Hooks(alert, self._between)
        self._lists_read = time.monotonic()
        self._catalogue = _identity(store.folder)

    def follow(self, until_idle: float | None = None) -> None:
        """Run sessions until a stop; with until_idle, until everything is read and nothing came.

        A full disk is waited for, with growing pauses; nothing is lost meanwhile. Other
        ConnwatchErrors are raised.
        """
        keep_little()
        self.upkeep.start()
        if self.naming is not None:
            self.naming.start()
        try:
            while True:
                try:
                    if self.error is not None:
                        self._run = self.store.begin_run()
                    self._one_session(until_idle)
                except StoreFullError as error:
                    self._wait(error)
                except (StoreError, OSError):
                    self._see_store()  # tells it better
                    raise
                else:
                    self.error, self.retries = None, 0
                if self._signals.stop.is_set():
                    return
                if self._signals.reload.is_set():
                    self._signals.reload.clear()
                    self._signals.end.clear()
                    self._reload()
                elif self.error is None:
                    return
        finally:
            if self.naming is not None:
                self.naming.close()
            self.upkeep.close()
            self._tell("stopped")

    def _one_session(self, until_idle: float | None) -> None:
        config = self.prepared.config
        resumed = self.store.resumed()
        with closing(Wake(_mode(config.watch), config.poll_interval)) as wake:
            follower = Follower(
                [_wanted(source, config.timezone_of(source)) for source in config.sources],
                _pieces(resumed.positions),
                first=not resumed.positions,
                settle=config.settle,
            )
            try:
                homes = [_home(config.home_of(source)) for source in config.sources]

                labels = [_labels(source) for source in config.sources]

                def prepare(source: int, events: pl.DataFrame) -> pl.DataFrame:
                    events = enrich(events, homes[source])
                    own = labels[source]
                    return events if own is None else events.with_columns(labels=own)

                limits = config.limits
                detection = Detection(
                    self.prepared.rules,
                    self.prepared.allow,
                    items=limits.items,
                    most=limits.open_alerts,
                    one_witness=_one_log(config.sources),
                )
                merge = LiveMerge(
                    resumed.positions, prepare, config.idle_limit, time.monotonic, config.batch
                )
                session = Session(
                    follower,
                    wake,
                    merge,
                    detection,
                    self._run,
                    self._signals.end,
                    self._hooks,
                )
                self.session, self.wake = session, wake
                session.resume(resumed)
                self._tell("running" if self.error is None else "waiting")
                session.run(until_idle)
            finally:
                follower.close()

    def _wait(self, error: ConnwatchError) -> None:
        """Pause before another try; longer each time, and never two programs in step."""
        self.error = error
        self.retries += 1
        pause = min(_LONGEST, _PAUSE * 2 ** min(self.retries - 1, 10))
        pause *= random.uniform(0.5, 1.0)  # noqa: S311  no secret
        limit = time.monotonic() + pause
        while not self._signals.end.is_set() and (left := limit - time.monotonic()) > 0:
            self._see_store()
            self._tell("waiting")
            self._signals.end.wait(min(left, _TICK))

    def _between(self, session: Session) -> None:
        """Between two batches of a session."""
        loading.end(lasting=True)
        if self.error is not None and session.commits.committed:
            self.error, self.retries, self.state = None, 0, "running"
        self._see_store()
        self._see_lists()
        self._report(self)

    def _see_lists(self) -> None:
        """Read lists again that changed on disk."""
        if time.monotonic() - self._lists_read < _LISTS:
            return
        self._lists_read = time.monotonic()
        self.prepared.rules.reload_lists()
        if self.prepared.allow is not None:
            self.prepared.allow.reload_if_changed()

    def _see_store(self) -> None:
        """StoreError when the store is not where it was: what were written would not be found."""
        if _identity(self.store.folder) != self._catalogue:
            raise StoreError(
                "the store is gone; nothing that was committed is in this folder any more",
                where=str(self.store.folder),
                hint="put the folder back and start again: it goes on where it was; or start"
                " again without it: a new store reads what the logs still hold",
            )

    def _reload(self) -> None:
        """Take up the new configuration and rules, or go on with the old ones and say why."""
        if self._read is None:
            return
        self.reloads += 1
        try:
            prepared = self._read()
            now = self.prepared.config
            if (prepared.config.store, prepared.config.folder) != (now.store, now.folder):
                raise ConfigError(
                    "another store needs a new start",
                    where=str(prepared.config.folder),
                    hint="stop and start connwatch run; everything else of the file is unchanged",
                )
            if prepared.config.elasticsearch != self.prepared.config.elasticsearch:
                raise ConfigError(
                    "another section elasticsearch needs a new start",
                    hint="stop and start connwatch run; nothing that waits to be sent is lost",
                )
            if prepared.rules.errors:
                raise prepared.rules.errors[0]
        except ConnwatchError as error:
            self.reload_error = str(error)
        else:
            self.prepared, self.reload_error = prepared, None
            self.generation += 1
            self.upkeep.close()
            self.upkeep = Upkeep(self.store, prepared.config.retention, self.upkeep.done)
            self.upkeep.start()
        self._tell("reloaded")

    def list_errors(self) -> list[ConnwatchError]:
        """Why lists could not be read again; what they said before holds."""
        own = () if self.prepared.allow is None else self.prepared.allow.errors
        return [*self.prepared.rules.list_errors, *own]

    def _tell(self, state: str) -> None:
        self.state = state
        self._report(self)


def _identity(folder: Path) -> tuple[int, int] | None:
    """Which file the store's catalogue is; None: there is none."""
    try:
        found = (folder / CATALOGUE).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _one_log(sources: Sequence[SourceConfig]) -> bool:
    """Whether one file is followed; in folders there may be logs of several kinds."""
    paths = [source.path for source in sources]
    if len(paths) != 1 or paths[0] is None:
        return False
    return not glob.has_magic(paths[0]) and not Path(paths[0]).is_dir()


def _wanted(source: SourceConfig, zone: str) -> Wanted:
    return Wanted(
        path=source.name,
        formats=formats(source.sensor, source.format, clock=Clock(zone)),
        forced=source.format is not None,
        from_end=source.start == "end",
        archives=source.archives,
        exclude=source.exclude,
        label=source.sensor,
        command=_command(source),
    )


def _command(source: SourceConfig) -> Command | None:
    if not source.command:
        return None
    return Command(source.command, source.interval, source.timeout, source.kind == "stream")


def _labels(source: SourceConfig) -> pl.Expr | None:
    """The source's labels as the column has them; None: it has none."""
    if not source.labels:
        return None
    return pl.lit(json.dumps(dict(source.labels), ensure_ascii=False, sort_keys=True))


def _mode(watch: str) -> Literal["auto", "inotify", "polling"]:
    return "inotify" if watch == "inotify" else "polling" if watch == "polling" else "auto"


def _home(networks: Sequence[str] | None) -> HomeNetworks | None:
    return None if networks is None else HomeNetworks(tuple(networks))


def _pieces(positions: dict[str, Any]) -> dict[str, Any]:
    """The saved record of each piece."""
    return {
        key.removeprefix("piece/"): value["at"]
        for key, value in positions.items()
        if key.startswith("piece/")
    }
