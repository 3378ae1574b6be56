"""`connwatch alerts`: what was found, its evidence, and what an analyst says of it."""

from __future__ import annotations

from pathlib import Path

import click
import polars as pl

from connwatch.alert import Document, digest
from connwatch.attribution.alerts import process_lines
from connwatch.attribution.learned import as_known_now
from connwatch.attribution.witnesses import witness_lines
from connwatch.behind import ServerRecords
from connwatch.cli.common import (
    FORMATS,
    chosen_rules,
    now,
    out,
    rules_option,
    say,
    store_option,
)
from connwatch.cli.elasticsearch import server_options
from connwatch.cli.report import alert_table
from connwatch.cli.searched import on_server, server_reader, tell_doubt
from connwatch.cli.wording import lost
from connwatch.errors import UsageError
from connwatch.query import parse
from connwatch.query.documents import matching
from connwatch.render import as_csv, console, moment, ndjson, number, safe, table, to_json
from connwatch.sinks.embedded import EmbeddedStore, StoreReader

_ACTIONS = ("list", "show", "ack", "close", "reopen", "events")
_STATUS = {"ack": "acknowledged", "close": "closed", "reopen": "open"}
#: counted values that are shown of an alert
_LISTED = 20
_EVIDENCE = (
    "@timestamp",
    "source.ip",
    "source.port",
    "destination.ip",
    "destination.port",
    "network.transport",
    "zeek.connection.state",
    "process.pid",
    "process.name",
    "log.file.path",
    "log.offset",
    "event.id",
)


@click.command()
@click.argument(
    "words", nargs=-1, metavar="[list|show ID|ack ID|close ID|reopen ID|events ID] [KQL]"
)
@store_option
@server_options
@rules_option
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--limit", type=click.IntRange(0), default=0, help="Alerts at most; 0 for all.")
@click.option("--digest", "only_digest", is_flag=True, help="Print one hash over the alerts alone.")
def alerts(
    words: tuple[str, ...],
    store: Path,
    config_file: Path | None,
    urls: tuple[str, ...],
    rule_paths: tuple[str, ...],
    form: str,
    limit: int,
    only_digest: bool,
) -> None:
    """List alerts, show one with its evidence, or set its status.

    A server does not hold which events are behind an alert: there, `events` runs its rule again
    over what is there, so name the rules (--rules) if they are not the bundled ones.

    \b
    connwatch alerts 'connwatch.level: (high or critical) and connwatch.status: open'
    connwatch alerts show 3f2a     the beginning of an id is enough
    connwatch alerts events 3f2a   every event behind it
    """
    action, rest = (words[0], words[1:]) if words and words[0] in _ACTIONS else ("list", words)
    if action != "list" and len(rest) != 1:
        raise UsageError(
            f"alerts {action} takes the id of one alert", hint="connwatch alerts lists them"
        )
    if on_server(config_file, urls):
        with server_reader(config_file, urls) as server:
            if action == "list":
                _list(" ".join(rest), server.alerts(), form, limit, only_digest)
                return
            document = server.alert(rest[0])
            if action == "show":
                _show(document, form, None)
            elif action == "events":
                behind = ServerRecords(server, chosen_rules(rule_paths)).found(document)
                tell_doubt(behind)
                _events(behind.events, behind.gone, document, form)
            else:
                server.set_alert_status(document["event"]["id"], _STATUS[action])
    else:
        with StoreReader(store) as reader:
            if action == "list":
                _list(" ".join(rest), reader.alerts(), form, limit, only_digest)
                return
            document = reader.alert(rest[0])
            if action == "show":
                gone = reader.gone_events(document["event"]["id"])
                _show(as_known_now(reader, document), form, gone)
            elif action == "events":
                alert = document["event"]["id"]
                events = reader.alert_events(alert).collect()
                _events(events, reader.gone_events(alert), document, form)
        if action in _STATUS:
            with EmbeddedStore(store) as writer:
                writer.set_alert_status(document["event"]["id"], _STATUS[action])
    if action in _STATUS:
        click.echo(f"{document['event']['id'][:12]} is {_STATUS[action]}")


def _list(kql: str, everything: list[Document], form: str, limit: int, only_digest: bool) -> None:
    found = matching(everything, parse(kql), now=now()) if kql.strip() else everything
    if only_digest:
        out(digest(found))
        return
    found = found[:limit] if limit else found
    if form == "ndjson":
        for document in found:
            out(to_json(document))
    elif form == "json":
        out(to_json(found, indent=2))
    elif form == "csv":
        _csv(found)
    else:
        console().print(alert_table(found))
        click.echo(f"{number(len(found))} alerts", err=True)


def _csv(found: list[Document]) -> None:
    rows = [
        {
            "id": document["event"]["id"],
            "level": document["connwatch"]["level"],
            "status": document["connwatch"]["status"],
            "first": document["event"]["start"],
            "last": document["event"]["end"],
            "count": document["connwatch"]["count"],
            "rule": document["rule"]["name"],
            "message": document["message"],
        }
        for document in found
    ]
    names = ("id", "level", "status", "first", "last", "count", "rule", "message")
    for text in as_csv(pl.DataFrame(rows, schema=names)):
        out(text)


def _show(document: Document, form: str, gone: int | None) -> None:
    """gone: events behind it that are no longer stored; None where only the evidence is held."""
    if form in ("json", "ndjson"):
        out(to_json(document, indent=2 if form == "json" else None))
        return
    own, event, rule = document["connwatch"], document["event"], document["rule"]
    threat = document.get("threat", {})
    technique = threat.get("technique", {})
    lines = [
        ("alert", document["message"]),
        ("id", event["id"]),
        ("level", f"{own['level']} (severity {event['severity']})"),
        ("status", own["status"]),
        ("first, last", f"{moment(event['start'])} to {moment(event['end'])} UTC"),
        ("count", number(own["count"])),
        ("counted", _counted(own.get("values", {}))),
        ("group", ", ".join(f"{name} {value}" for name, value in own["group"].items())),
        ("rule", f"{rule['name']} ({rule['id']})"),
        ("why", " ".join(rule.get("description", "").split())),
        (
            "ATT&CK",
            ", ".join([*threat.get("tactic", {}).get("name", []), *technique.get("id", [])]),
        ),
    ]
    for name, value in lines:
        if value:
            click.echo(f"{name:<12} {safe(value)}")
    for line in process_lines(own.get("processes", ()), own["count"]):
        click.echo(safe(line))
    click.echo(f"\nevidence ({len(own['evidence'])} of {number(own['count'])} events)")
    console().print(
        table(
            _EVIDENCE,
            (
                [
                    moment(shown.get(name)) if name == "@timestamp" else shown.get(name)
                    for name in _EVIDENCE
                ]
                for shown in own["evidence"]
            ),
        )
    )
    if witnesses := list(witness_lines(own.get("witnesses", ()))):
        click.echo()
        for line in witnesses:
            click.echo(safe(line))
    if gone:
        click.echo(f"\n{lost(gone, own['count'])}")
    if gone is not None and gone < own["count"]:
        all_of_them = "the others" if gone else "all of them"
        click.echo(f"\n{all_of_them}: connwatch alerts events {event['id'][:12]}")


def _counted(values: Document) -> str:
    """What a rule about many records counted, in words."""
    if not values:
        return ""
    what = " ".join((values["measure"], *values.get("fields", ()), *values.get("rules", ())))
    listed = values.get("counted", [])
    shown = f": {', '.join(listed[:_LISTED])}{', …' if len(listed) > _LISTED else ''}"
    return (
        f"{what} {values['condition']} within {values['timespan_seconds']} s; "
        f"{values['value']} when it fired at {moment(values['fired'])} UTC, "
        f"{values['peak']} at most{shown if listed else ''}"
    )


def _events(events: pl.DataFrame, gone: int, document: Document, form: str) -> None:
    if gone:
        say(lost(gone, document["connwatch"]["count"]))
    if form == "table":
        shown = events.select(_EVIDENCE)
        console().print(
            table(
                _EVIDENCE,
                ([str(row[0])[:26], *row[1:]] for row in shown.iter_rows()),
            )
        )
        click.echo(f"{number(events.height)} events", err=True)
    elif form == "csv":
        for text in as_csv(events):
            out(text)
    else:
        for line in ndjson(events):
            out(line)
