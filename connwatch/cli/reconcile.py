"""`connwatch reconcile`: what the sensor did not see, and what the hosts did not show."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click
import polars as pl

from connwatch.alert import iso
from connwatch.attribution import measured
from connwatch.attribution.reconcile import unseen, without_socket
from connwatch.attribution.stored import flows_within, sockets_within
from connwatch.cli.clocks import clock_option, clocks, tell_offsets
from connwatch.cli.common import FORMATS, moment, out, say, span_options, store_option
from connwatch.cli.elasticsearch import server_options
from connwatch.cli.processes import end_text, process_text
from connwatch.cli.searched import place_of
from connwatch.render import as_csv, console, number, table, to_json


@click.command()
@store_option
@server_options
@span_options
@clock_option
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
def reconcile(
    store: Path,
    config_file: Path | None,
    urls: tuple[str, ...],
    start: str | None,
    end: str | None,
    offsets: tuple[str, ...],
    form: str,
) -> None:
    """Compare flows with socket tables: sockets that no flow tells of, flows without a socket.

    A flow without a socket, though snapshots were taken in its time: the socket was hidden, or
    another host has that address. A socket without a flow: it went another way than past the
    sensor, or the sensor lost it; one that is open still may be written of when it ends.
    """
    first, last = moment(start, "--from"), moment(end, "--to")
    given = clocks(offsets)
    with place_of(store, config_file, urls) as place:
        flows = flows_within(place, first, last)
        sockets = sockets_within(place, first, last)
    found = measured(flows, sockets)
    settings = given.settings(sockets, found)
    tell_offsets(found, given)
    if flows.is_empty() or sockets.is_empty():
        say(f"nothing to compare: {'no flows' if flows.is_empty() else 'no rows of socket tables'}")
    lonely, hidden = unseen(flows, sockets, settings), without_socket(flows, sockets, settings)
    if form != "table":
        _print(_rows(lonely, hidden), form)
        return
    out(f"sockets that no flow tells of: {number(lonely.height)}")
    if lonely.height:
        console().print(_lonely(lonely))
    out(f"\nflows without a socket, though snapshots cover them: {number(hidden.height)}")
    if hidden.height:
        console().print(_hidden(hidden))


def _lonely(found: pl.DataFrame) -> object:
    return table(
        ("host", "process", "local", "peer", "", "first seen (UTC)", "last seen", "snapshots", ""),
        (
            (
                row["host"], process_text(row) if row["name"] or row["pid"] else "",
                end_text(row, "local"), end_text(row, "peer"), row["transport"],
                f"{row['first_seen']:%Y-%m-%d %H:%M:%S}", f"{row['last_seen']:%H:%M:%S}",
                row["snapshots"], "open" if row["open"] else "",
            )
            for row in found.iter_rows(named=True)
        ),
        right=("snapshots",),
    )  # fmt: skip


def _hidden(found: pl.DataFrame) -> object:
    return table(
        ("start (UTC)", "lasted", "source", "destination", "", "state", "no socket on", "flow"),
        (
            (
                f"{row['start']:%Y-%m-%d %H:%M:%S}", _span(row["end"] - row["start"]),
                end_text(row, "source"), end_text(row, "destination"), row["transport"],
                row["state"], f"{row['host']} ({row['side']})", row["id"][:12],
            )
            for row in found.iter_rows(named=True)
        ),
    )  # fmt: skip


def _span(time: timedelta) -> str:
    return f"{time.total_seconds():.1f} s"


def _rows(lonely: pl.DataFrame, hidden: pl.DataFrame) -> pl.DataFrame:
    """Both tables as one: kind is socket_without_flow or flow_without_socket."""
    return pl.concat(
        [
            lonely.with_columns(kind=pl.lit("socket_without_flow")),
            hidden.with_columns(kind=pl.lit("flow_without_socket")),
        ],
        how="diagonal",
    ).select("kind", pl.exclude("kind", "witness", "history"))


def _print(found: pl.DataFrame, form: str) -> None:
    if form == "csv":
        for text in as_csv(found):
            out(text)
        return
    rows = [
        {
            name: iso(value) if hasattr(value, "isoformat") else value
            for name, value in row.items()
            if value is not None
        }
        for row in found.iter_rows(named=True)
    ]
    if form == "json":
        out(to_json(rows, indent=2))
        return
    for row in rows:
        out(to_json(row))
