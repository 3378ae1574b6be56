"""`connwatch sockets`: the latest snapshot of each host, with what changed."""

from __future__ import annotations

from pathlib import Path

import click
import polars as pl

from connwatch.cli.common import FORMATS, moment, now, store_option
from connwatch.cli.elasticsearch import server_options
from connwatch.cli.search import print_events
from connwatch.cli.searched import on_server, server_reader
from connwatch.query import matching, parse
from connwatch.render import console, number, table
from connwatch.schema import STORED, expand
from connwatch.sinks.embedded import StoreReader
from connwatch.snapshots import latest, latest_there


@click.command()
@click.argument("kql", default="", metavar="[KQL]")
@store_option
@server_options
@click.option(
    "--at", metavar="TIME", help="The snapshot of this time, or the last one before; or -1h."
)
@click.option("--all", "every", is_flag=True, help="Sockets outside IP too (unix, netlink, …).")
@click.option("--changed", is_flag=True, help="Only what differs from the snapshot before.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
def sockets(
    kql: str,
    store: Path,
    config_file: Path | None,
    urls: tuple[str, ...],
    at: str | None,
    every: bool,
    changed: bool,
    form: str,
) -> None:
    """Show the latest snapshot of sockets of each host, and what changed in it.

    A snapshot is what ss, netstat or /proc/net showed at one time. Sockets that only the snapshot
    before it shows are closed. KQL limits the rows, as in search.

    \b
    connwatch sockets 'socket.state: listen'
    connwatch sockets --at '2026-11-21 07:26:40' --changed
    """
    query, when = parse(kql), moment(at, "--at")
    if on_server(config_file, urls):
        with server_reader(config_file, urls) as server:
            found = latest_there(server, when)
    else:
        with StoreReader(store) as reader:
            found = latest(reader.events(), when)
    if not every:
        found = found.filter(pl.col("socket.role") != "local")
    if changed:
        found = found.filter(pl.col("socket.change").is_not_null())
    found = matching(found.lazy(), query, now=now()).collect()
    if form != "table":
        print_events(expand(found.select(list(STORED))), form)
        return
    for (stream,), rows in found.group_by("stream", maintain_order=True):
        _show(str(stream), rows)
    said = "sockets" if found.height != 1 else "socket"
    click.echo(f"{number(found.height)} {said}", err=True)


def _show(stream: str, rows: pl.DataFrame) -> None:
    host = rows["host.name"].drop_nulls()
    when = rows.select(pl.coalesce("socket.closed_before", "@timestamp").max()).item()
    name = f"{host[0]} ({stream})" if len(host) else stream
    console().print(f"{name}: {when:%Y-%m-%d %H:%M:%S} UTC", markup=False, highlight=False)
    shown = rows.select(
        change=_change(),
        kind="socket.type",
        state="socket.state",
        local="socket.local",
        peer="socket.peer",
        process="process.name",
        pid="process.pid",
        user=pl.coalesce("user.name", "user.id"),
        recv="socket.recv_queue",
        send="socket.send_queue",
        sent="socket.bytes_sent",
        received="socket.bytes_received",
        since=pl.col("socket.first_seen").dt.strftime("%m-%d %H:%M:%S"),
    )
    used = [one.name for one in shown if one.null_count() < shown.height]
    numbers = [name for name in used if shown.schema[name] == pl.Int64()]
    console().print(table(used, shown.select(used).iter_rows(), right=numbers))


def _change() -> pl.Expr:
    """What changed, in a word or two."""
    change = pl.col("socket.change")
    return (
        pl.when(change == "state")
        .then(pl.format("was {}", pl.col("socket.state_before")))
        .when(change == "reused")
        .then(pl.format("reused: {}", pl.col("socket.change_reason")))
        .when(change != "first")
        .then(change)
    )
