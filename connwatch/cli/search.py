"""`connwatch search`: KQL over the stored events, or over those in Elasticsearch."""

from __future__ import annotations

from pathlib import Path

import click
import polars as pl

from connwatch.cli.common import FORMATS, moment, now, out, span_options, store_option
from connwatch.cli.elasticsearch import server_options
from connwatch.cli.searched import searched
from connwatch.errors import UsageError
from connwatch.query import parse
from connwatch.render import as_csv, console, ndjson, nested, number, table, to_json
from connwatch.schema import STRINGS, UTC, expand

_SHOWN = (
    "@timestamp",
    "source.ip",
    "source.port",
    "destination.ip",
    "destination.port",
    "network.transport",
    "network.protocol",
    "zeek.connection.state",
    "event.duration",
    "network.bytes",
    "network.direction",
)


@click.command()
@click.argument("kql", default="", metavar="[KQL]")
@store_option
@server_options
@span_options
@click.option("--sort", default="@timestamp:desc", metavar="FIELD[:asc|:desc]", show_default=True)
@click.option(
    "--limit",
    type=click.IntRange(0),
    default=None,
    help="Rows at most; 0 for all. [default: 100, 20 with --by]",
)
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--count", "only_count", is_flag=True, help="Print the number of events alone.")
@click.option("--by", metavar="FIELD", help="The commonest values of a field, with their numbers.")
@click.option("--histogram", metavar="SPAN", help="Events over time, by 30s, 15m, 1h, 1d, 1w, 1M.")
def search(
    kql: str,
    store: Path,
    config_file: Path | None,
    urls: tuple[str, ...],
    start: str | None,
    end: str | None,
    sort: str,
    limit: int | None,
    form: str,
    only_count: bool,
    by: str | None,
    histogram: str | None,
) -> None:
    """Find stored events with KQL, the language of Kibana's search bar.

    \b
    connwatch search 'source.ip: "10.0.0.0/8" and not destination.port: (80 or 443)'
    connwatch search 'zeek.connection.state: REJ' --from -24h --by destination.port
    connwatch search 'related.ip: 203.0.113.9' --elasticsearch https://es1:9200
    """
    if sum([only_count, by is not None, histogram is not None]) > 1:
        raise UsageError("--count, --by and --histogram exclude one another", where="search")
    query, at = parse(kql), now()
    first, last = moment(start, "--from"), moment(end, "--to")
    when = {"now": at, "start": first, "end": last}
    with searched(store, config_file, urls, first, last) as events:
        if only_count:
            out(str(events.count(query, **when)))
            return
        if by is not None:
            top = events.by(query, by, _limit(limit, 20), **when)
            _print_counts(top.rename({"value": by}), form)
            return
        if histogram is not None:
            _print_counts(events.histogram(query, histogram, **when), form)
            return
        name, _, order = sort.partition(":")
        if order not in ("", "asc", "desc"):
            raise UsageError(f"unknown order {order!r}", where="--sort", hint="asc or desc")
        found = events.search(
            query,
            **when,
            sort=(name, order != "asc"),
            limit=_limit(limit, 100),
            columns=_SHOWN if form == "table" else None,
        )
    _print(found, form)


def _limit(limit: int | None, default: int) -> int | None:
    return default if limit is None else limit or None


def _print(found: pl.DataFrame, form: str) -> None:
    if form == "table":
        console().print(table(found.columns, _plain(found).iter_rows()))
        click.echo(f"{number(found.height)} events", err=True)
    else:
        print_events(found, form)


def print_events(found: pl.DataFrame, form: str) -> None:
    """Events as csv, ndjson or json; whole ones have derived columns too."""
    if form == "csv":
        for text in as_csv(found):
            out(text)
    elif form == "ndjson":
        for line in ndjson(found):
            out(line)
    else:
        rows = [nested(row) for row in expand(found).iter_rows(named=True)]
        out(to_json(rows, indent=2))


def _print_counts(counts: pl.DataFrame, form: str) -> None:
    if form == "csv":
        for text in as_csv(counts):
            out(text)
        return
    plain = _plain(counts)
    rows = list(plain.iter_rows(named=True))
    if form == "ndjson":
        for row in rows:
            out(to_json(row))
    elif form == "json":
        out(to_json(rows, indent=2))
    else:
        most = max((row["count"] for row in rows), default=0)
        console().print(
            table(
                (*plain.columns, ""),
                ((*row.values(), "▇" * round(30 * row["count"] / most)) for row in rows),
                right=("count",),
            )
        )


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Times and lists as text."""
    return frame.with_columns(
        pl.col(name).dt.strftime("%Y-%m-%d %H:%M:%S.%3f")
        if dtype == UTC
        else pl.col(name).list.join(", ")
        for name, dtype in frame.schema.items()
        if dtype in (UTC, STRINGS)
    )
