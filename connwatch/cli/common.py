"""What the commands share: options, times, and where output goes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from connwatch.errors import ConnwatchError, QueryError, UsageError
from connwatch.paths import default_store
from connwatch.query import parse_time
from connwatch.render import safe, safe_lines

if TYPE_CHECKING:
    from connwatch.detectors.ruleset import RuleSet

Command = TypeVar("Command", bound=Callable[..., Any])

FORMATS = ("table", "json", "ndjson", "csv")


def store_option(command: Command) -> Command:
    """--store, or CONNWATCH_STORE, or the platform's data folder."""
    return click.option(
        "--store",
        type=click.Path(path_type=Path, file_okay=False),
        default=default_store,
        show_default="CONNWATCH_STORE, else your data folder",
        callback=_named_folder,
        help="Folder of the store.",
    )(command)


def _named_folder(context: click.Context, option: click.Parameter, store: Path) -> Path:
    if str(store) == "none":
        raise UsageError(
            "none is no folder",
            where="--store",
            hint="`store: none` is for the configuration of `run`; ./none is a folder of that name",
        )
    return store


def rules_option(command: Command) -> Command:
    return click.option(
        "--rules",
        "rule_paths",
        multiple=True,
        metavar="PATH",
        help="Rule file or folder instead of the bundled rules; may be given several times. "
        "'bundled' names the bundled ones.",
    )(command)


def span_options(command: Command) -> Command:
    command = click.option(
        "--to", "end", metavar="TIME", help="Only records that begin before this."
    )(command)
    return click.option(
        "--from",
        "start",
        metavar="TIME",
        help="Only records that begin at or after this: 2026-11-20, '2026-11-20 14:00', -24h.",
    )(command)


def chosen_rules(paths: Iterable[str]) -> RuleSet:
    """The rules that --rules names; the bundled ones without it."""
    named = list(paths) or ["bundled"]
    # Imported here: most commands want no rules, and need not wait for them.
    from connwatch.detectors.ruleset import load_rules
    from connwatch.pipeline import bundled_rules

    return load_rules([bundled_rules() if one == "bundled" else Path(one) for one in named])


def now() -> datetime:
    """What relative times on the command line refer to."""
    return datetime.now(UTC)


def moment(text: str | None, option: str) -> datetime | None:
    """A time given with an option."""
    if text is None:
        return None
    try:
        return parse_time(text, now())
    except QueryError as error:
        raise UsageError(error.message, where=option, hint=error.hint) from None


def say(text: str) -> None:
    """A line for the person at the terminal, beside the output."""
    click.echo(safe(text), err=True)


def complain(error: ConnwatchError, prefix: str = "") -> None:
    """An error for the person at the terminal: where, what, and the hint on a line of its own."""
    where = f"{safe(error.where)}: " if error.where else ""
    click.echo(f"{prefix}{where}{safe_lines(error.message)}", err=True)
    if error.hint:
        click.echo(f"  hint: {safe_lines(error.hint)}", err=True)


def out(text: str) -> None:
    sys.stdout.write(text + "\n")


def warn_of_rules(rules: RuleSet) -> None:
    """Name the rules that cannot be used; the others run."""
    for error in rules.errors:
        complain(error)
    if rules.errors:
        say(f"{len(rules.errors)} rules cannot be used, {len(rules.running)} run")
