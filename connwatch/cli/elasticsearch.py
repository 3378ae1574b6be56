"""`connwatch elasticsearch`: look after the server that events and alerts are indexed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from connwatch.cli.common import out
from connwatch.config import Elasticsearch
from connwatch.config.kinds import of_option
from connwatch.config.model import AGE
from connwatch.errors import UsageError
from connwatch.render import safe, to_json

if TYPE_CHECKING:  # the client takes half a second to load
    from connwatch.sinks.elasticsearch.retention import Retention
    from connwatch.sinks.elasticsearch.setup import Change

Command = TypeVar("Command", bound=Callable[..., Any])


def server_options(command: Command) -> Command:
    """-c FILE and --elasticsearch URL; the function gets them as `config_file` and `urls`."""
    command = click.option(
        "--elasticsearch",
        "urls",
        multiple=True,
        metavar="URL",
        help="Address of a server instead of the configured ones; may be given several times."
        " Secrets come from the environment or the configuration's files.",
    )(command)
    return click.option(
        "-c",
        "--config",
        "config_file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="The configuration file whose section 'elasticsearch' is meant.",
    )(command)


def section_of(config_file: Path | None, urls: tuple[str, ...]) -> Elasticsearch:
    """The section of the configuration, or its defaults where only addresses are given."""
    section = Elasticsearch()
    if config_file is not None:
        # Loaded when it is needed: all formats come with it, which takes longer than a search.
        from connwatch.cli.config import read_config

        section = read_config(config_file).elasticsearch
    if not urls and not section.named:
        where = "elasticsearch.nodes" if config_file is None else f"{config_file}"
        raise UsageError(
            "no server is named",
            where=where,
            hint="give -c FILE with elasticsearch.nodes, or --elasticsearch https://host:9200",
        )
    return section


@click.group()
def elasticsearch() -> None:
    """Look after the Elasticsearch that events and alerts are indexed in."""


@elasticsearch.command()
@server_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(config_file: Path | None, urls: tuple[str, ...], as_json: bool) -> int:
    """Say whether a server can be used, before anything is sent to it. Exit 1 if it cannot.

    Looks at the connection, the version, what the server offers, the user and his privileges,
    blocks on writing, the clocks, and the templates.
    """
    # Loaded when it is needed: the client takes half a second.
    from connwatch.elastic import connection_settings, layout
    from connwatch.sinks.elasticsearch import check as checked
    from connwatch.sinks.elasticsearch.setup import templates

    section = section_of(config_file, urls)
    probes = [templates(layout(section))]
    found = checked(connection_settings(section, urls), section.prefix, probes)
    failed = sum(one.state == "failed" for one in found)
    if as_json:
        findings = [
            {"check": one.check, "state": one.state, "message": one.message, "hint": one.hint}
            for one in found
        ]
        out(to_json({"ok": not failed, "findings": findings}))
        return int(bool(failed))
    for one in found:
        out(safe(f"{one.state:<7}  {one.check:<10}  {one.message}"))
        if one.hint:
            out(safe(f"{'':<21}hint: {one.hint}"))
    out("ok" if not failed else f"failed: {failed} of {len(found)}")
    return int(bool(failed))


def retention_options(command: Command) -> Command:
    """--events and --alerts, how long each is kept; None: as the section says."""
    for name in ("alerts", "events"):
        command = click.option(
            f"--{name}",
            metavar="AGE",
            help=f"Delete indices of {name} whose days are longer ago: 30d, 52w."
            f" Otherwise as keep_{name} says.",
        )(command)
    return command


def kept(section: Elasticsearch, events: str | None, alerts: str | None) -> Retention:
    """How many days are kept, at least as long as was said; what the options do not say, the
    section does. ConfigError."""
    from connwatch.elastic import retention

    ages = {
        f"keep_{name}": of_option(AGE, text, f"--{name}")
        for name, text in (("events", events), ("alerts", alerts))
        if text is not None
    }
    return retention(replace(section, **ages))


def told(changes: Iterable[Change]) -> None:
    """One line for each."""
    for change in changes:
        detail = f"  ({change.detail})" if change.detail else ""
        out(safe(f"{change.action:<9}  {change.kind:<18}  {change.name}{detail}"))


@elasticsearch.command()
@server_options
@retention_options
def plan(
    config_file: Path | None, urls: tuple[str, ...], events: str | None, alerts: str | None
) -> int:
    """Say what `setup` would change, and change nothing. Exit 1 if something stands in the way."""
    from connwatch.elastic import connection_settings, layout
    from connwatch.sinks.elasticsearch import connect
    from connwatch.sinks.elasticsearch.setup import plan as planned

    section = section_of(config_file, urls)
    retention = kept(section, events, alerts)
    with connect(connection_settings(section, urls)) as server:
        found = planned(server, layout(section), retention)
    told(found.changes)
    out(f"{len(found.pending)} to change, {len(found.conflicts)} in the way")
    return int(bool(found.conflicts))


@elasticsearch.command()
@server_options
@retention_options
def setup(
    config_file: Path | None, urls: tuple[str, ...], events: str | None, alerts: str | None
) -> None:
    """Create or update templates, policies and aliases, as `plan` says.

    Where the server has no lifecycle policies, indices that are too old are deleted here and now.
    """
    from connwatch.elastic import connection_settings, layout
    from connwatch.sinks.elasticsearch import connect
    from connwatch.sinks.elasticsearch.retention import drop, expired
    from connwatch.sinks.elasticsearch.setup import setup as done

    section = section_of(config_file, urls)
    retention, names = kept(section, events, alerts), layout(section)
    with connect(connection_settings(section, urls), writing=True) as server:
        made = done(server, names, retention)
        gone = []
        if not made.lifecycle:
            gone = drop(server, expired(server, names, retention, datetime.now(UTC).date()))
    told(made.pending)
    for name in gone:
        out(safe(f"delete     index               {name}"))
    out(f"{len(made.pending) + len(gone)} changed")


@elasticsearch.command()
@server_options
@click.option("--indices", is_flag=True, help="Remove all indexed events and alerts too.")
@click.option("--yes", is_flag=True, help="Do not ask before indices are removed.")
def remove(config_file: Path | None, urls: tuple[str, ...], indices: bool, yes: bool) -> None:
    """Remove templates and policies; events and alerts stay unless `--indices` is given."""
    from connwatch.elastic import connection_settings, layout
    from connwatch.sinks.elasticsearch import connect
    from connwatch.sinks.elasticsearch.setup import remove as removed

    section = section_of(config_file, urls)
    if indices and not yes:
        click.confirm(f"remove all events and alerts under {section.prefix}?", abort=True)
    with connect(connection_settings(section, urls)) as server:
        gone = removed(server, layout(section), indices=indices)
    for name in gone:
        out(safe(f"removed    {name}"))
    out(f"{len(gone)} removed")
