"""`connwatch elasticsearch`: look after the server that events and alerts are indexed in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from connwatch.cli.common import out
from connwatch.cli.config import read_config
from connwatch.config import Elasticsearch
from connwatch.errors import UsageError
from connwatch.render import safe, to_json

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
    section = Elasticsearch() if config_file is None else read_config(config_file).elasticsearch
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
    blocks on writing, and the clocks.
    """
    # Loaded when it is needed: the client takes half a second.
    from connwatch.elastic import connection_settings
    from connwatch.sinks.elasticsearch import check as checked

    section = section_of(config_file, urls)
    found = checked(connection_settings(section, urls), section.prefix)
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
