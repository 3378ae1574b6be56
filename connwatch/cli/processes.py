"""`connwatch process`, `flow` and `reconcile`: flows and the processes behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click
import polars as pl

from connwatch.alert import iso
from connwatch.attribution.questions import Wanted, of_flow, of_process
from connwatch.attribution.verdict import REASONS
from connwatch.cli.clocks import clock_option, clocks
from connwatch.cli.common import FORMATS, moment, out, rules_option, span_options, store_option
from connwatch.cli.elasticsearch import server_options
from connwatch.cli.searched import place_of
from connwatch.render import as_csv, console, nested, number, safe, table, to_json
from connwatch.schema import expand

#: how ends of flows are told, in every form but the table
ENDS: Final = (
    "id", "start", "end", "transport", "source_ip", "source_port", "destination_ip",
    "destination_port", "state", "side", "host", "verdict", "reason", "pid", "name", "processes",
    "uid", "user", "basis", "candidates",
)  # fmt: skip
_PIDS: Final = 18
#: witnesses of a flow that a table shows
_LISTED: Final = 50


@click.command()
@click.argument("process", metavar="PID|NAME")
@store_option
@server_options
@span_options
@clock_option
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
def process(
    process: str,
    store: Path,
    config_file: Path | None,
    urls: tuple[str, ...],
    start: str | None,
    end: str | None,
    offsets: tuple[str, ...],
    form: str,
) -> None:
    """Show the connections of a process: flows of any source, by the sockets it had.

    \b
    connwatch process updater
    connwatch process 4767 --from '2026-11-21 07:00' --format json
    """
    pid = int(process) if process.isascii() and process.isdigit() and len(process) < _PIDS else None
    wanted = Wanted(pid, process)
    with place_of(store, config_file, urls) as place:
        own, found = of_process(
            place, wanted, moment(start, "--from"), moment(end, "--to"), clocks(offsets)
        )
    if form != "table":
        print_ends(found, form)
        return
    for line in _holders(own):
        out(safe(line))
    out("")
    console().print(
        table(
            ("start (UTC)", "source", "destination", "", "state", "verdict", "why", "flow"),
            (
                (
                    f"{row['start']:%Y-%m-%d %H:%M:%S}", end_text(row, "source"),
                    end_text(row, "destination"), row["transport"], row["state"], row["verdict"],
                    REASONS[row["reason"]], row["id"][:12],
                )
                for row in found.iter_rows(named=True)
            ),
        )
    )  # fmt: skip
    click.echo(f"{number(found['id'].n_unique())} flows", err=True)


def _holders(own: pl.DataFrame) -> Iterator[str]:
    """Each process that tables show under this name or number, and where it waits for others."""
    doors = pl.col("role").is_in(["listener", "unconnected"])
    port = pl.format("{} {}", pl.col("transport").fill_null("?"), "local_port")
    each = (
        own.group_by("host", "pid", "name")
        .agg(
            user=pl.coalesce("user", "uid").drop_nulls().first(),
            first=pl.col("time").min(),
            last=pl.col("time").max(),
            shots=pl.col("snapshot").n_unique(),
            doors=port.filter(doors, pl.col("local_port").is_not_null()).unique().sort(),
        )
        .sort("host", "first", "pid", "name")
    )
    for row in each.iter_rows(named=True):
        user = "" if row["user"] is None else f", user {row['user']}"
        yield f"process      {process_text(row)} on {row['host']}{user}"
        yield (
            f"             in {number(row['shots'])} snapshots, {row['first']:%Y-%m-%d %H:%M:%S} to"
            f" {row['last']:%Y-%m-%d %H:%M:%S} UTC"
        )
        if row["doors"]:
            yield f"             waits at {', '.join(row['doors'])}"


@click.command()
@click.argument("flow", metavar="ID")
@store_option
@server_options
@rules_option
@span_options
@clock_option
@click.option(
    "--format", "form", type=click.Choice(("table", "json")), default="table", show_default=True
)
def flow(
    flow: str,
    store: Path,
    config_file: Path | None,
    urls: tuple[str, ...],
    rule_paths: tuple[str, ...],
    start: str | None,
    end: str | None,
    offsets: tuple[str, ...],
    form: str,
) -> None:
    """Show a flow: the process at either end, who else saw it, and the alerts it is behind.

    ID is the beginning of an event's id, a uid of Zeek, or a Community ID. A server does not hold
    which events are behind an alert: there, rules run again, so name them (--rules) if they are not
    the bundled ones.

    \b
    connwatch flow CYuCD8aTtQvgvYxYGC
    connwatch flow 1:VnLgY0sLB+INfyMtR3DY5q/x9G4=
    """
    first, last = moment(start, "--from"), moment(end, "--to")
    with place_of(store, config_file, urls, rule_paths) as place:
        found = of_flow(place, flow, first, last, clocks(offsets))
    (event,) = (nested(row) for row in expand(found.event).iter_rows(named=True))
    ends = [end_facts(row) for row in found.ends.iter_rows(named=True)]
    if form == "json":
        told = {
            "flow": event,
            "ends": ends,
            "witnesses": [nested(row) for row in expand(found.witnesses).iter_rows(named=True)],
            "alerts": found.alerts,
        }
        out(to_json(told, indent=2))
        return
    row = expand(found.event).row(0, named=True)
    for line in _flow_lines(row, ends):
        out(safe(line))
    out(f"\nwitnesses    {number(found.witnesses.height)}")
    console().print(
        table(
            ("time (UTC)", "what", "state", "process", "file", "line"),
            (_witness(one) for one in found.witnesses.head(_LISTED).iter_rows(named=True)),
        )
    )
    if found.witnesses.height > _LISTED:
        out(f"… {number(found.witnesses.height - _LISTED)} more (--format json has them all)")
    out(f"\nalerts       {number(len(found.alerts))}")
    for document in found.alerts:
        own = document["connwatch"]
        out(safe(f"  {document['event']['id'][:12]}  {own['level']:<8} {document['message']}"))


def _flow_lines(row: Mapping[str, Any], ends: list[dict[str, Any]]) -> Iterator[str]:
    sides = " -> ".join(_side(row, side) for side in ("source", "destination"))
    state = row["zeek.connection.state"] or ""
    yield f"flow         {sides}  {row['network.transport']} {state}".rstrip()
    yield f"id           {row['event.id']}"
    for title, name in (("uid", "zeek.session_id"), ("community id", "network.community_id")):
        if row[name] is not None:
            yield f"{title:<12} {row[name]}"
    yield f"time         {_time(row['@timestamp'])} to {_time(row['event.end'])} UTC"
    if row["network.bytes"] is not None:
        sent, got = row["source.bytes"] or 0, row["destination.bytes"] or 0
        yield f"bytes        {number(sent)} there, {number(got)} back"
    yield ""
    for one in ends:
        who = process_text(one) if "pid" in one or "name" in one else "no process"
        host = f" on {one['host']}" if "host" in one else ""
        user = one.get("user", one.get("uid"))
        by = "" if user is None else f", user {user}"
        yield f"{one['side']:<12} {who}{host}{by}: {one['verdict']}, {one['text']}"
        if len(one.get("processes", ())) > 1:
            yield f"             all that hold the socket: {', '.join(one['processes'])}"
        if one.get("candidates"):
            yield f"             {', '.join(one['candidates'])}"


def _side(row: Mapping[str, Any], side: str) -> str:
    port = row[f"{side}.port"]
    return f"{row[f'{side}.address']}" + ("" if port is None else f" port {port}")


def _witness(row: Mapping[str, Any]) -> tuple[object, ...]:
    pid, name = row["process.pid"], row["process.name"]
    who = "" if pid is None and name is None else process_text({"pid": pid, "name": name})
    state = row["zeek.connection.state"] or row["socket.state"]
    where = row["log.file.path"], row["event.sequence"]
    return _time(row["@timestamp"]), row["event.dataset"], state, who, *where


def print_ends(found: pl.DataFrame, form: str) -> None:
    """Ends of flows for programs."""
    if form == "csv":
        for text in as_csv(found.select(ENDS)):
            out(text)
        return
    rows = [end_facts(row) for row in found.select(ENDS).iter_rows(named=True)]
    if form == "json":
        out(to_json(rows, indent=2))
        return
    for row in rows:
        out(to_json(row))


def end_facts(row: Mapping[str, Any]) -> dict[str, Any]:
    """An end of a flow as JSON shows it: what is known, and the reason in words."""
    known = {name: value for name, value in row.items() if value is not None}
    times = {name: iso(v) for name, v in known.items() if isinstance(v, datetime)}
    return {**known, **times, "text": REASONS[row["reason"]]}


def process_text(row: Mapping[str, Any]) -> str:
    """A process in a few words."""
    name, pid = row.get("name"), row.get("pid")
    return f"{name if name is not None else '?'}" + ("" if pid is None else f" (pid {pid})")


def end_text(row: Mapping[str, Any], side: str) -> str:
    """An address and a port."""
    address, port = row[f"{side}_ip"], row[f"{side}_port"]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _time(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S.%f}"[:-3]
