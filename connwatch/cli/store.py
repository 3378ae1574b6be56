"""`connwatch store`, `rejects` and `formats`: what is kept, what could not be read, what can be."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from connwatch.cli.common import FORMATS as OUTPUTS
from connwatch.cli.common import moment, now, out, say, store_option
from connwatch.config.kinds import of_option
from connwatch.config.model import AGE, SIZE
from connwatch.errors import StoreDamagedError, UsageError
from connwatch.ingest.formats import FORMATS
from connwatch.render import as_csv, console, number, safe, size, table, to_json
from connwatch.sinks import embedded
from connwatch.sinks.embedded import EmbeddedStore, Policy, StoreReader, maintenance


@click.group()
def store() -> None:
    """Look after the store: info, compact, verify, drop, retain."""


@store.command()
@store_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def info(store: Path, as_json: bool) -> None:
    """How much is in the store, and of when."""
    with StoreReader(store) as reader:
        found = reader.info()
    if as_json:
        out(to_json(found))
        return
    for name in ("events", "alerts", "hits", "rejects", "days", "files"):
        click.echo(f"{name:<10} {number(found[name])}")
    if found["small"]:
        click.echo(f"{'in no file':<10} {number(found['small'])} small parts, which become files")
    click.echo(f"{'size':<10} {size(found['bytes'])}")
    for name in ("first_event", "last_event"):
        if found[name] is not None:
            shown = datetime.fromtimestamp(found[name] / 1_000_000, UTC)
            click.echo(f"{name.replace('_', ' '):<10} {shown:%Y-%m-%d %H:%M:%S} UTC")
    click.echo(f"{'folder':<10} {safe(store)}")


@store.command()
@store_option
def compact(store: Path) -> None:
    """Put small files together, so that searching is faster."""
    with EmbeddedStore(store) as opened:
        before, after = maintenance.compact(store, opened.database)
    click.echo(f"{number(before)} files are now {number(after)}")


@store.command()
@store_option
def verify(store: Path) -> None:
    """Check every file against the catalogue; exit 3 and name what is damaged."""
    with StoreReader(store) as reader:
        problems = reader.verify()
    for problem in problems:
        click.echo(safe(problem))
    if problems:
        raise StoreDamagedError(
            f"{len(problems)} files are damaged",
            where=str(store),
            hint="replay the same logs into a new store, or restore the files from a copy",
        )
    click.echo("the store is whole")


@store.command()
@store_option
@click.option(
    "--before", required=True, metavar="DATE", help="Drop the days before this one (UTC)."
)
def drop(store: Path, before: str) -> None:
    """Remove whole days with their hits and alerts."""
    day = moment(before, "--before")
    assert day is not None  # noqa: S101  the option is required
    with EmbeddedStore(store) as opened:
        gone = maintenance.drop(store, opened.database, day.date())
    click.echo(f"{number(gone)} events before {day.date()} are gone")


@store.command()
@store_option
@click.option("--events", metavar="AGE", help="Remove days of events older than this: 30d, 8w.")
@click.option(
    "--alerts", metavar="AGE", help="Remove alerts that ended longer ago, and their hits."
)
@click.option(
    "--max-size",
    metavar="SIZE",
    help="Remove the oldest days of events while the store is larger: 50GB, 500MiB.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
def retain(
    store: Path, events: str | None, alerts: str | None, max_size: str | None, dry_run: bool
) -> None:
    """Remove whole days that are too old or too much; alerts outlive their events."""
    policy = Policy(
        None if events is None else of_option(AGE, events, "--events"),
        None if alerts is None else of_option(AGE, alerts, "--alerts"),
        None if max_size is None else of_option(SIZE, max_size, "--max-size"),
    )
    if policy == Policy():
        raise UsageError("say what to keep", hint="--events 30d, --alerts 365d, --max-size 50GB")
    if dry_run:
        with StoreReader(store) as reader:
            found = reader.planned(policy, now())
    else:
        with EmbeddedStore(store) as opened:
            found = embedded.retain(opened, policy, now())
    for day in found.days:
        click.echo(
            f"{day.day}  {number(day.events):>13} events  {size(day.bytes):>9}  ({day.reason})"
        )
    would = "would be" if dry_run else "are"
    total = sum(day.events for day in found.days)
    click.echo(f"{number(total)} events and {number(found.alerts)} alerts {would} gone")
    click.echo(f"the store {'would have' if dry_run else 'has'} {size(found.size)}")
    if not found.fits:
        say(
            f"that is more than {max_size}: the newest day of events, today, alerts and their hits "
            "are not removed for their size (--alerts limits these)"
        )


@click.command()
@store_option
@click.option("--format", "form", type=click.Choice(OUTPUTS), default="table", show_default=True)
def rejects(store: Path, form: str) -> None:
    """Lines that could not be read: where, which field, why, and the line."""
    with StoreReader(store) as reader:
        found = reader.rejects()
    if form == "csv":
        for text in as_csv(found):
            out(text)
    elif form == "ndjson":
        for row in found.iter_rows(named=True):
            out(to_json(row))
    elif form == "json":
        out(to_json(found.to_dicts(), indent=2))
    else:
        columns = ("file:line", "offset", "field", "reason", "line")
        console().print(
            table(
                columns,
                (
                    (f"{row[0]}:{row[1]}", row[2], row[4], row[5], row[6][:160])
                    for row in found.iter_rows()
                ),
                right=("offset",),
            )
        )
        click.echo(f"{number(found.height)} rejects", err=True)


@click.command()
def formats() -> None:
    """The formats that can be read."""
    console().print(
        table(
            ("format", "what it is"),
            ((name, make("").description) for name, make in FORMATS.items()),
        )
    )
