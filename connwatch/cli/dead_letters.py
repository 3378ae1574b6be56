"""`connwatch dead-letters`: what sinks refused for good."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import click

from connwatch.cli.common import out, say, store_option
from connwatch.cli.elasticsearch import section_of, server_options
from connwatch.contracts import Sink
from connwatch.errors import UsageError
from connwatch.render import console, number, table, to_json
from connwatch.sinks.embedded import EmbeddedStore, StoreReader
from connwatch.sinks.embedded import dead_letters as letters


@click.group("dead-letters")
def dead_letters() -> None:
    """Look at what sinks refused for good: list, retry, drop."""


@dead_letters.command("list")
@store_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def list_(store: Path, as_json: bool) -> None:
    """What was refused, by whom, and why; the oldest first."""
    with StoreReader(store) as reader:
        found = reader.dead_letters()
    if as_json:
        for one in found:
            row = {
                "id": one.number, "sink": one.sink, "since": _time(one), "kind": one.kind,
                "reason": one.reason, "document": one.document,
            }  # fmt: skip
            out(to_json(row))
        return
    columns = ("id", "since", "sink", "kind", "of", "reason")
    rows = [(one.number, _time(one), one.sink, one.kind, one.id, one.reason) for one in found]
    console().print(table(columns, rows, right=("id",)))
    click.echo(f"{number(len(found))} dead letters", err=True)


@dead_letters.command()
@click.argument("ids", nargs=-1, type=int, metavar="[ID...]")
@click.option("--all", "every", is_flag=True, help="All of them.")
@store_option
@server_options
def retry(
    ids: tuple[int, ...],
    every: bool,
    store: Path,
    config_file: Path | None,
    urls: tuple[str, ...],
) -> int:
    """Send letters again to the sink that refused them. Exit 1 if any stays."""
    chosen = _chosen(ids, every)
    with EmbeddedStore(store) as opened, ExitStack() as stack:
        _known(opened, chosen)
        sinks: dict[str, Sink] = {opened.name: opened}
        if config_file is not None or urls:
            # Loaded when it is needed: the client takes half a second.
            from connwatch.sending import sink_of

            server = stack.enter_context(sink_of(section_of(config_file, urls), urls))
            sinks[server.name] = server
        done = letters.retry(opened, sinks, chosen)
    click.echo(f"{number(done.delivered)} delivered, {number(done.refused)} refused again")
    if done.waiting:
        say(f"{number(done.waiting)} stay as they are")
    for sink in done.unknown:
        say(f"there is no sink {sink!r} here")
    return int(bool(done.refused or done.waiting))


@dead_letters.command()
@click.argument("ids", nargs=-1, type=int, metavar="[ID...]")
@click.option("--all", "every", is_flag=True, help="All of them.")
@store_option
def drop(ids: tuple[int, ...], every: bool, store: Path) -> None:
    """Remove letters for good."""
    chosen = _chosen(ids, every)
    with EmbeddedStore(store) as opened:
        _known(opened, chosen)
        gone = letters.remove(opened, chosen)
    click.echo(f"{number(gone)} dead letters are gone")


def _chosen(ids: Sequence[int], every: bool) -> Sequence[int] | None:
    """Numbers of letters; None for all."""
    if bool(ids) is every:
        raise UsageError("name letters by their id, or --all", hint="connwatch dead-letters list")
    return None if every else ids


def _known(store: EmbeddedStore, chosen: Sequence[int] | None) -> None:
    there = {one.number for one in letters.kept(store.database)}
    missing = [one for one in chosen or () if one not in there]
    if missing:
        raise UsageError(
            f"there is no dead letter {missing[0]}", hint="connwatch dead-letters list"
        )


def _time(letter: letters.DeadLetter) -> str:
    return datetime.fromtimestamp(letter.since, UTC).isoformat(timespec="seconds")
