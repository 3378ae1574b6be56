"""`connwatch copy`: events and alerts of a span of time from the store to a server, or back."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from connwatch.cli.common import (
    chosen_rules,
    moment,
    now,
    out,
    rules_option,
    say,
    span_options,
    store_option,
    warn_of_rules,
)
from connwatch.cli.elasticsearch import section_of, server_options
from connwatch.cli.searched import server_reader
from connwatch.query import parse
from connwatch.query.to_polars import predicates
from connwatch.render import console, number, to_json
from connwatch.retro import with_lists
from connwatch.sinks.embedded import EmbeddedStore, StoreReader

if TYPE_CHECKING:  # the client takes half a second to load
    from connwatch.copying.progress import Outcome, Wanted
    from connwatch.copying.progress import Progress as Kept
    from connwatch.sinks.elasticsearch import Server
    from connwatch.sinks.elasticsearch.layout import Layout
    from connwatch.sinks.elasticsearch.sink import ElasticsearchSink

Command = TypeVar("Command", bound=Callable[..., Any])

#: refusals that are printed one by one
_SHOWN: Final = 20
#: seconds between two looks at what holds sending up
_LOOK: Final = 0.5


def _options(command: Command) -> Command:
    """What both ways have in common."""
    command = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(
        command
    )
    command = click.option(
        "--anew", is_flag=True, help="Do not go on where an earlier copy has stopped."
    )(command)
    command = span_options(server_options(store_option(command)))
    return click.argument("kql", required=False, default="", metavar="[KQL]")(command)


@click.group()
def copy() -> None:
    """Copy events and alerts between the store and Elasticsearch, either way.

    \b
    connwatch copy to-elasticsearch --from 2026-05-01 --to 2026-06-01 -c connwatch.yml
    connwatch copy to-store --store may --from 2026-05-01 --to 2026-06-01 -c connwatch.yml
    connwatch copy to-store 'source.ip: 10.0.0.5' --store case --elasticsearch https://es1:9200

    Copying again changes nothing. A copy that did not end goes on where it stopped when the same
    command is run again. Events that begin in the span and match KQL are copied, and alerts that
    have hits in it; with KQL only alerts that list an event that matches it. Rejects, dead letters
    and what waits to be sent stay where they are.
    """


@copy.command("to-elasticsearch")
@_options
def to_elasticsearch(
    kql: str,
    store: Path,
    config_file: Path | None,
    urls: tuple[str, ...],
    start: str | None,
    end: str | None,
    *,
    anew: bool,
    as_json: bool,
) -> int:
    """From the store to a server. The store is only read; others may write to it.

    While the server is away, the copy waits. Exit codes: 0 done; 1 the server refused some for
    good, which are named; 2 wrong use; 3 the store or the server failed.
    """
    # Loaded when it is needed: the client takes half a second.
    from connwatch.copying.to_server import copy_to_server
    from connwatch.sending import sink_of

    wanted = _wanted(kql, start, end)
    section = section_of(config_file, urls)
    with StoreReader(store) as reader, sink_of(section, urls) as sink:
        kept = _progress(store, "to a server", sink.server, sink.layout, wanted, anew=anew)
        with _metered() as outcome, _watched(sink):
            copy_to_server(reader, sink, wanted, kept, outcome)
    return _report(outcome, kept, as_json=as_json)


@copy.command("to-store")
@_options
@rules_option
@click.option(
    "--indicators",
    "lists",
    multiple=True,
    metavar="LIST",
    type=click.Path(path_type=Path),
    help="A list that the replay had for the bundled rule on indicators; may be repeated.",
)
def to_store(
    kql: str,
    store: Path,
    config_file: Path | None,
    urls: tuple[str, ...],
    start: str | None,
    end: str | None,
    rule_paths: tuple[str, ...],
    lists: tuple[Path, ...],
    *,
    anew: bool,
    as_json: bool,
) -> int:
    """From a server to the store, which is made if there is none.

    A server does not hold which events a rule hit: the rules of alerts are run again to find that,
    so name them (--rules) if they are not the bundled ones. Exit codes: 0 done; 2 wrong use, or a
    rule that cannot be used; 3 the store or the server failed.
    """
    from connwatch.copying.to_store import copy_to_store

    wanted = _wanted(kql, start, end)
    rules = with_lists(chosen_rules(rule_paths), lists)
    warn_of_rules(rules)
    # What cannot be read is said before a store is made.
    with server_reader(config_file, urls) as server, EmbeddedStore(store) as opened:
        kept = _progress(store, "to the store", server.server, server.layout, wanted, anew=anew)
        with _metered() as outcome:
            copy_to_store(server, opened, rules, wanted, kept, outcome)
    return _report(outcome, kept, as_json=as_json) or (2 if rules.errors else 0)


def _wanted(kql: str, start: str | None, end: str | None) -> Wanted:
    """What is asked for. QueryError: the query cannot be asked."""
    from connwatch.copying.progress import Wanted

    query, at = parse(kql), now()
    predicates(query, now=at)
    return Wanted(query, at, moment(start, "--from"), moment(end, "--to"))


def _progress(
    store: Path, way: str, server: Server, layout: Layout, wanted: Wanted, *, anew: bool
) -> Kept:
    from connwatch.copying.progress import Progress

    told = server.get("/_cluster/state/version?filter_path=cluster_uuid")
    kept = Progress(store, way, f"{told['cluster_uuid']}/{layout.prefix}", wanted)
    if anew:
        kept.forget()
    return kept


@contextmanager
def _metered() -> Iterator[Outcome]:
    """What counts along; a bar on standard error, when that is a terminal."""
    from connwatch.copying.progress import Outcome

    outcome, target = Outcome(), console(sys.stderr)
    if not target.is_terminal:
        yield outcome
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=target, transient=True) as bar:
        task = bar.add_task("events", total=None)

        def told(one: Outcome) -> None:
            alerts = one.alerts.copied + one.alerts.grown + one.alerts.there
            what = f"events, {number(alerts)} alerts" if alerts else "events"
            bar.update(task, total=one.total, completed=one.done, description=what)

        outcome.told = told
        yield outcome


@contextmanager
def _watched(sink: ElasticsearchSink) -> Iterator[None]:
    """Say once for each reason why sending waits."""
    end = threading.Event()

    def look() -> None:
        last = ""
        while not end.wait(_LOOK):
            problem = sink.state.error or ""
            if problem and problem != last:
                say(f"Elasticsearch: {problem}\nThe copy goes on when that is over; who stops it"
                    " can run the same command again.")  # fmt: skip
            last = problem

    thread = threading.Thread(target=look, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _report(outcome: Outcome, kept: Kept, *, as_json: bool) -> int:
    if kept.problem is not None:
        outcome.notes.append(
            f"how far it was could not be kept, so that a copy that is stopped begins anew: "
            f"{kept.problem}"
        )
    events, alerts = outcome.events, outcome.alerts
    if as_json:
        out(to_json(outcome.as_json()))
    else:
        skipped = f", {number(events.skipped)} by an earlier copy" if events.skipped else ""
        out(
            f"events  {number(events.copied)} copied, {number(events.there)} there already"
            f"{skipped}, {number(events.refused)} refused"
        )
        out(
            f"alerts  {number(alerts.copied)} copied, {number(alerts.grown)} brought up to date,"
            f" {number(alerts.there)} there already, {number(alerts.refused)} refused"
        )
    if events.cut:
        say(f"{number(events.cut)} events have values that a server cannot take whole: …[cut]")
    if alerts.partial:
        say(
            f"{number(alerts.partial)} alerts have only the events that they list behind them: "
            "their rules, as they are here, do not give what the alerts counted"
        )
    for note in outcome.notes:
        say(note)
    for one in outcome.refusals[:_SHOWN]:
        say(f"refused: {one.kind} {one.id}: {one.reason}")
    refused = events.refused + alerts.refused
    if refused > _SHOWN:
        say(f"… and {number(refused - _SHOWN)} more; they are still in the store")
    return int(bool(refused))
