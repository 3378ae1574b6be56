"""The configuration of `connwatch run`, as it takes effect: every key, default, unit and meaning.

This is the one place for them: the loader, `config show`, `config init` and docs/configuration.md
are made from these fields. A key of the file is a field here; None is "not set".
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from connwatch.paths import default_store

from .elasticsearch import Elasticsearch
from .kinds import (
    BUNDLED,
    NO_STORE,
    STDIN,
    Address,
    Days,
    File,
    Format,
    Network,
    OneOf,
    Pattern,
    Seconds,
    Size,
    Whole,
    Words,
    Zone,
)
from .setting import ListOf, MapOf, Section, says


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """Logs to follow: a file, folder, pattern, named pipe, or `-`; or a command that is run again
    and again."""

    path: str | None = field(
        default=None,
        metadata=says(
            Pattern(words=(STDIN,)),
            "A file, a folder with all below it, a pattern (`**` is any number of folders), a named"
            " pipe, or `-` for standard input.",
            unset="`command` is given",
            example="/var/log/zeek/current/conn.log",
        ),
    )
    command: tuple[str, ...] = field(
        default=(),
        metadata=says(
            ListOf(Words()),
            "Instead of `path`: a program and its arguments, such as `[ss, -tunapoie]`, that prints"
            " a table of sockets. No shell sees them; `LC_ALL` is C.",
        ),
    )
    kind: str = field(
        default="table",
        metadata=says(
            OneOf(("table", "stream")),
            "`table`: the command prints a table and ends. `stream`: it runs on and prints a log,"
            " such as `[tcpdump, -l, -nn, -tttt]`.",
        ),
    )
    interval: float = field(
        default=10.0,
        metadata=says(
            Seconds(0.1, 86_400),
            "From the start of the command to its next start; of a stream that ended, the pause.",
        ),
    )
    timeout: float = field(
        default=5.0,
        metadata=says(
            Seconds(0.1, 3_600),
            "The command is stopped when its table takes longer; then there is a gap. So it is"
            " when it fails, or writes more than 16 MiB.",
        ),
    )
    format: str | None = field(
        default=None,
        metadata=says(
            Format(),
            "Read every file as this; `connwatch formats` lists them.",
            unset="by its content",
        ),
    )
    sensor: str = field(
        default="",
        metadata=says(
            Words(), "Label of the sensor that wrote these logs; it is part of an event's identity."
        ),
    )
    labels: Mapping[str, str] = field(
        default_factory=dict,
        metadata=says(
            MapOf(Words()), "Labels that its events get (ECS `labels`), by names of your choice."
        ),
    )
    timezone: str | None = field(
        default=None,
        metadata=says(
            Zone(),
            "Zone of times that do not name theirs.",
            unset="as `timezone` of all sources",
        ),
    )
    home_networks: tuple[str, ...] | None = field(
        default=None,
        metadata=says(
            ListOf(Network()),
            "Networks that are yours.",
            unset="as `home_networks` of all sources",
        ),
    )
    start: str = field(
        default="beginning",
        metadata=says(
            OneOf(("beginning", "end")),
            "Where to begin in files that are there when this source is followed for the first"
            " time. What appears later is read whole.",
        ),
    )
    exclude: tuple[str, ...] = field(
        default=(),
        metadata=says(
            ListOf(Pattern(names=True)),
            "Files that are left out: patterns of names, or of paths where there is a slash.",
        ),
    )
    archives: tuple[str, ...] = field(
        default=(),
        metadata=says(
            ListOf(Pattern()),
            "Folders or patterns, beside the file's own folder, where its rotated pieces are"
            " looked for.",
        ),
    )

    @property
    def name(self) -> str:
        """The path, or what stands for the command where there is none."""
        return self.path or f"command:{shlex.join(self.command)}"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be remembered. What is beyond is forgotten, the least recently used first, and
    every loss is counted and shown."""

    items: int = field(
        default=250_000,
        metadata=says(
            Whole(1_000, 100_000_000), "Records or values that the windows of one rule hold."
        ),
    )
    open_alerts: int = field(
        default=100_000,
        metadata=says(
            Whole(100, 10_000_000),
            "Alerts that wait for further hits, of all rules. The store adds what comes later to"
            " one that was closed early, but its message stays.",
        ),
    )


#: kinds of what is kept, here and in options of the command line
AGE: Final = Days()
SIZE: Final = Size(1_000)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what is stored stays; it goes by whole days, in the background."""

    events: timedelta | None = field(
        default=None,
        metadata=says(AGE, "Drop events older than this, such as `30d`.", unset="kept"),
    )
    alerts: timedelta | None = field(
        default=None,
        metadata=says(AGE, "Drop alerts older than this, such as `365d`.", unset="kept"),
    )
    max_size: int | None = field(
        default=None,
        metadata=says(
            SIZE,
            "Drop the oldest days of events while the store is larger than this, such as `50GB`.",
            unset="no limit",
        ),
    )


@dataclass(frozen=True, slots=True)
class Http:
    """`/healthz`, `/readyz` and `/metrics`."""

    port: int | None = field(
        default=None, metadata=says(Whole(1, 65_535), "Port to answer on.", unset="off")
    )
    address: str = field(
        default="127.0.0.1",
        metadata=says(Address(), "Address to answer on; by default for this machine only."),
    )
    ready_max_lag_seconds: float = field(
        default=60.0,
        metadata=says(
            Seconds(0.1, 604_800), "`/readyz` says no while a source is further behind than this."
        ),
    )
    ready_max_errors: int = field(
        default=0,
        metadata=says(
            Whole(0, 1_000_000),
            "`/readyz` says no while more sources and sinks than this are failing.",
        ),
    )


@dataclass(frozen=True, slots=True)
class Log:
    """What the program says about itself, on standard error."""

    format: str = field(
        default="text", metadata=says(OneOf(("text", "json")), "Lines for people or for programs.")
    )
    level: str = field(
        default="info",
        metadata=says(OneOf(("debug", "info", "warning", "error")), "The least that is said."),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything `connwatch run` is told. Paths are absolute, except `NO_STORE` as the store,
    `BUNDLED` among the rules and `STDIN` as a source."""

    store: Path = field(
        default_factory=lambda: default_store().absolute(),
        metadata=says(
            File(words=(NO_STORE,)),
            "Folder of the store. `none` keeps only what Elasticsearch has not acknowledged yet"
            " (`./none` is a folder of that name).",
            shown="`CONNWATCH_STORE`, else your data folder",
        ),
    )
    journal: Path = field(
        default_factory=lambda: default_store().absolute(),
        metadata=says(
            File(),
            "With `store: none`: folder of the journal, which has what is still to be sent, and"
            " what a restart needs.",
            shown="`CONNWATCH_STORE`, else your data folder",
        ),
    )
    rules: tuple[Path, ...] = field(
        default=(BUNDLED,),
        metadata=says(
            ListOf(File(words=(BUNDLED,))),
            "Rule files and folders. `bundled` names the bundled rules (`./bundled` a folder of"
            " that name); an empty list is no rules.",
        ),
    )
    sources: tuple[SourceConfig, ...] = field(
        metadata=says(
            Section(SourceConfig, several=True, unique=("path", "command")),
            "The logs to follow, one at least.",
        )
    )
    indicators: tuple[Path, ...] = field(
        default=(),
        metadata=says(
            ListOf(File()), "Lists that the bundled rule on indicators matches records with."
        ),
    )
    allow: tuple[Path, ...] = field(
        default=(),
        metadata=says(
            ListOf(File()),
            "No rule matches records with an address, network or port on these lists.",
        ),
    )
    home_networks: tuple[str, ...] | None = field(
        default=None,
        metadata=says(
            ListOf(Network()),
            "Networks that are yours.",
            unset="as Zeek's flags say, else the private ones",
        ),
    )
    timezone: str | None = field(
        default=None,
        metadata=says(Zone(), "Zone of times that do not name theirs.", unset="UTC"),
    )
    idle_limit: float = field(
        default=2.0,
        metadata=says(
            Seconds(0.1, 86_400),
            "A source that has been quiet for this long no longer holds the others back.",
        ),
    )
    batch: int = field(
        default=40_000,
        metadata=says(
            Whole(1, 10_000_000),
            "Records that are worked on together, about, at the most. More of them are faster"
            " where rules count much, and take more memory.",
        ),
    )
    watch: str = field(
        default="auto",
        metadata=says(
            OneOf(("auto", "inotify", "polling")),
            "How changes of files are noticed. `auto` is inotify, and polling where it does not"
            " work (network file systems, watch limits reached).",
        ),
    )
    poll_interval: float = field(
        default=1.0, metadata=says(Seconds(0.01, 3600), "Pause between two looks, when polling.")
    )
    settle: float = field(
        default=2.0,
        metadata=says(
            Seconds(0, 3600),
            "A file that was moved away or replaced is finished when it has not changed for this"
            " long; then its last line counts even without a newline.",
        ),
    )
    limits: Limits = field(
        default_factory=Limits, metadata=says(Section(Limits), "How much one rule may remember.")
    )
    retention: Retention = field(
        default_factory=Retention,
        metadata=says(Section(Retention), "How long what is stored stays."),
    )
    elasticsearch: Elasticsearch = field(
        default_factory=Elasticsearch,
        metadata=says(
            Section(Elasticsearch), "Where events and alerts are indexed, besides the store."
        ),
    )
    http: Http = field(
        default_factory=Http,
        metadata=says(Section(Http), "`/healthz`, `/readyz` and `/metrics`."),
    )
    log: Log = field(
        default_factory=Log, metadata=says(Section(Log), "What the program says about itself.")
    )

    @property
    def folder(self) -> Path:
        """Where the run keeps what it keeps: the store, or the journal where there is none."""
        return self.journal if self.store == NO_STORE else self.store

    def rule_paths(self, bundled: Path) -> list[Path]:
        """The rule files and folders, with the folder `bundled` for the word; none: no rules."""
        return [bundled if path == BUNDLED else path for path in self.rules]

    def home_of(self, source: SourceConfig) -> tuple[str, ...] | None:
        """The source's home networks, else everybody's; None: nobody said."""
        return self.home_networks if source.home_networks is None else source.home_networks

    def timezone_of(self, source: SourceConfig) -> str:
        """The source's time zone, else everybody's, else UTC."""
        return source.timezone or self.timezone or "UTC"
