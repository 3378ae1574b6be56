"""The section `elasticsearch` of the configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from connwatch.addresses import base_address
from connwatch.errors import ConfigError

from .kinds import Context, Days, File, Itself, OneOf, Scalar, Seconds, Whole, Words, shown
from .setting import ListOf, says


@dataclass(frozen=True, slots=True)
class Url(Itself):
    """The address of a server, without a name and a password. port: where plain HTTP has none."""

    port: int

    name: ClassVar[str] = "URL such as https://host:9200"

    def read(self, scalar: Scalar, _: Context) -> str:
        return base_address(scalar.text, self.port)


@dataclass(frozen=True, slots=True)
class IndexPrefix(Itself):
    """What names of indices begin with."""

    name: ClassVar[str] = "beginning of names of indices"

    def read(self, scalar: Scalar, _: Context) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", scalar.text):
            raise ConfigError(
                f"{shown(scalar.text)} cannot begin the name of an index",
                hint="up to 64 small letters, digits, '.', '_' and '-', a letter or digit first",
            )
        return scalar.text


@dataclass(frozen=True, slots=True)
class Elasticsearch:
    """Where events and alerts are indexed, besides the store. Secrets never stand in this file:
    they come from the environment (`CONNWATCH_ES_PASSWORD`, `CONNWATCH_ES_API_KEY`,
    `CONNWATCH_ES_BEARER_TOKEN`) or from files of their own."""

    nodes: tuple[str, ...] = field(
        default=(),
        metadata=says(ListOf(Url(9200)), "Servers of one cluster; an empty list is none."),
    )
    cloud_id: str | None = field(
        default=None,
        metadata=says(
            Words(), "Elastic Cloud's name of a deployment, in place of `nodes`.", unset="none"
        ),
    )
    prefix: str = field(
        default="connwatch",
        metadata=says(IndexPrefix(), "Names of indices, aliases and templates begin with it."),
    )
    username: str | None = field(
        default=None,
        metadata=says(Words(), "User whose password it is.", unset="`CONNWATCH_ES_USERNAME`"),
    )
    password_file: Path | None = field(
        default=None,
        metadata=says(File(), "File that holds the password.", unset="`CONNWATCH_ES_PASSWORD`"),
    )
    api_key_file: Path | None = field(
        default=None,
        metadata=says(
            File(),
            "File that holds an API key, as `id:key` or in base64.",
            unset="`CONNWATCH_ES_API_KEY`",
        ),
    )
    bearer_token_file: Path | None = field(
        default=None,
        metadata=says(
            File(), "File that holds a bearer token.", unset="`CONNWATCH_ES_BEARER_TOKEN`"
        ),
    )
    ca: Path | None = field(
        default=None,
        metadata=says(
            File(),
            "Certificate of the authority that is trusted (PEM), and no other.",
            unset="`CONNWATCH_ES_CA`, else the authorities that this machine trusts",
        ),
    )
    fingerprint: str | None = field(
        default=None,
        metadata=says(
            Words(),
            "SHA-256 of the server's certificate in hexadecimal digits; it alone is trusted then.",
            unset="none",
        ),
    )
    client_certificate: Path | None = field(
        default=None,
        metadata=says(File(), "Certificate to show to the server (PEM).", unset="none"),
    )
    client_key: Path | None = field(
        default=None,
        metadata=says(File(), "Key of that certificate (PEM).", unset="in the certificate's file"),
    )
    proxy: str | None = field(
        default=None,
        metadata=says(Url(8080), "HTTP proxy that requests go through.", unset="none"),
    )
    timeout: float = field(
        default=60.0, metadata=says(Seconds(0.1, 3600), "How long one request may take.")
    )
    allow_plain_http_to: tuple[str, ...] = field(
        default=(),
        metadata=says(
            ListOf(Words()),
            "Hosts that may be sent a password, key or token without TLS. This machine may always.",
        ),
    )

    routing: str = field(
        default="day",
        metadata=says(
            OneOf(("day", "month")),
            "How much time one index holds; months for archives of years. Fixed at first use.",
        ),
    )
    shards: int = field(default=1, metadata=says(Whole(1, 1024), "Shards of each new index."))
    replicas: int = field(
        default=1,
        metadata=says(Whole(0, 100), "Copies of each shard of new indices; one server takes 0."),
    )

    keep_events: timedelta | None = field(
        default=None,
        metadata=says(Days(), "Delete indices of events older than this.", unset="kept"),
    )
    keep_alerts: timedelta | None = field(
        default=None,
        metadata=says(Days(), "Delete indices of alerts older than this.", unset="kept"),
    )
    backlog: int = field(
        default=1_000_000,
        metadata=says(
            Whole(1, 1_000_000_000),
            "Events that may wait in the store for the server; with more, reading waits.",
        ),
    )

    @property
    def named(self) -> bool:
        """Whether there is a server to write to."""
        return bool(self.nodes) or self.cloud_id is not None
