"""Where the commands read: the embedded store, or an Elasticsearch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click
import polars as pl
from click.core import ParameterSource

from connwatch.attribution.places import Place, ServerPlace, StorePlace
from connwatch.behind import Behind
from connwatch.cli.common import chosen_rules, say
from connwatch.cli.elasticsearch import section_of
from connwatch.errors import UsageError
from connwatch.query import by, count, histogram, search
from connwatch.sinks.embedded import StoreReader

if TYPE_CHECKING:  # the client takes half a second to load
    from connwatch.sinks.elasticsearch.reader import ServerReader


class Searched(Protocol):
    """What `connwatch.query` answers, on events wherever they are."""

    @property
    def search(self) -> Callable[..., pl.DataFrame]: ...

    @property
    def count(self) -> Callable[..., int]: ...

    @property
    def by(self) -> Callable[..., pl.DataFrame]: ...

    @property
    def histogram(self) -> Callable[..., pl.DataFrame]: ...


class _Frame:
    """Events of the embedded store."""

    def __init__(self, events: pl.LazyFrame) -> None:
        self.search = partial(search, events)
        self.count = partial(count, events)
        self.by = partial(by, events)
        self.histogram = partial(histogram, events)


@contextmanager
def searched(
    store: Path,
    config_file: Path | None,
    urls: tuple[str, ...],
    start: datetime | None,
    end: datetime | None,
) -> Iterator[Searched]:
    """The events from `start` to `end`, for as long as they are read."""
    if on_server(config_file, urls):
        with server_reader(config_file, urls) as server:
            yield server
        return
    with StoreReader(store) as reader:
        yield _Frame(reader.events(start, end))


@contextmanager
def place_of(
    store: Path,
    config_file: Path | None,
    urls: tuple[str, ...],
    rule_paths: tuple[str, ...] = (),
) -> Iterator[Place]:
    """What is asked about processes, for as long as it is. rule_paths: where the rules of alerts
    are that a server has."""
    if on_server(config_file, urls):
        with server_reader(config_file, urls) as server:
            yield ServerPlace(server, lambda: chosen_rules(rule_paths))
        return
    with StoreReader(store) as reader:
        yield StorePlace(reader)


def on_server(config_file: Path | None, urls: tuple[str, ...]) -> bool:
    """Whether a server is meant. UsageError: a store is named too."""
    if config_file is None and not urls:
        return False
    source = click.get_current_context().get_parameter_source("store")
    if source is ParameterSource.COMMANDLINE:
        raise UsageError(
            "there are two places to read: a store and a server",
            where="--store",
            hint="leave out --store, or -c and --elasticsearch",
        )
    return True


def server_reader(config_file: Path | None, urls: tuple[str, ...]) -> ServerReader:
    """A reader of the server that is configured, or named on the command line."""
    from connwatch.elastic import connection_settings, layout
    from connwatch.sinks.elasticsearch import connect
    from connwatch.sinks.elasticsearch.reader import ServerReader

    section = section_of(config_file, urls)
    names = layout(section)
    return ServerReader(connect(connection_settings(section, urls)), names)


def tell_doubt(found: Behind) -> None:
    """Say why the events found behind an alert may not be those that it counted."""
    if found.doubt is not None:
        say(f"which events are behind the alert is not certain: {found.doubt}")
