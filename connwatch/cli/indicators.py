"""`connwatch indicators`: what is in a list, and what stored events show of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from connwatch import retro
from connwatch.cli.common import (
    chosen_rules,
    complain,
    moment,
    out,
    rules_option,
    say,
    span_options,
    store_option,
    warn_of_rules,
)
from connwatch.cli.report import alert_table
from connwatch.detectors.indicators import IndicatorList, ListOptions, describe, read_list
from connwatch.errors import InputError
from connwatch.render import console, number, safe, to_json

#: rejects that `check` prints of each list
_SHOWN: Final = 20
_LISTED: Final = 20


@click.group()
def indicators() -> None:
    """Check lists of threat indicators, and match stored events against them."""


@indicators.command()
@click.argument(
    "lists", nargs=-1, required=True, metavar="LIST...", type=click.Path(path_type=Path)
)
@click.option("--provider", metavar="NAME", help="Who says so, for entries that do not name one.")
@click.option("--show", type=click.IntRange(0), default=_SHOWN, show_default=True,
              help="Entries that cannot be used to name, of each list.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a list.")
def check(lists: tuple[Path, ...], provider: str | None, show: int, *, as_json: bool) -> int:
    """What is in lists: kinds, validity, duplicates, and entries that cannot be used."""
    failed = 0
    for path in lists:
        try:
            read = read_list(path, ListOptions(provider))
        except InputError as error:
            complain(error)
            failed += 1
            continue
        found = describe(read)
        if as_json:
            out(to_json({**found, "rejects": read.rejects.head(show).to_dicts()}))
        else:
            _print(read, found, show)
    return 3 if failed else 0


def _print(read: IndicatorList, found: dict[str, Any], show: int) -> None:
    kinds = ", ".join(f"{number(count)} {kind}" for kind, count in found["kinds"].items())
    lines = [
        f"{read.path}: {read.format}",
        f"  entries   {number(found['entries'])}" + (f": {kinds}" if kinds else ""),
    ]
    if found["duplicates"]:
        lines.append(f"  repeated  {number(found['duplicates'])} say what another one says")
    if found["limited"]:
        first, last = (found[name] or "open" for name in ("valid_from", "valid_until"))
        lines.append(f"  valid     {number(found['limited'])} not always; {first} to {last}")
    lines.append(f"  by        {', '.join(found['providers'])}")
    if found["rejected"]:
        lines.append(f"  unusable  {number(found['rejected'])}")
    for file, line, entry, reason, raw in read.rejects.head(show).iter_rows():
        lines.append(f"    {file}:{entry if line is None else line}: {reason}: {raw}")
    if read.rejects.height > show:
        lines.append(f"    … and {number(read.rejects.height - show)} more")
    for line in lines:
        click.echo(safe(line))


@indicators.command("match")
@click.argument("lists", nargs=-1, metavar="[LIST]...", type=click.Path(path_type=Path))
@store_option
@rules_option
@span_options
@click.option("--json", "as_json", is_flag=True, help="Print each alert as a JSON document a line.")
def match_stored(
    lists: tuple[Path, ...],
    store: Path,
    rule_paths: tuple[str, ...],
    start: str | None,
    end: str | None,
    *,
    as_json: bool,
) -> int:
    """Match stored events against lists as they are now, and store the alerts.

    The rules that have one of the lists are matched again, all rules with lists where none is
    named; a list that no rule has is for the bundled rule on indicators. Doing it twice changes
    nothing.
    """
    rules = chosen_rules(rule_paths)
    warn_of_rules(rules)
    chosen = retro.concerned(rules, lists)
    for note in chosen.notes:
        say(note)
    found = retro.rematch(chosen, store, moment(start, "--from"), moment(end, "--to"))
    for document in found.alerts if as_json else ():
        out(to_json(document))
    if not as_json:
        names = ", ".join(rule.title for rule in chosen.running)
        click.echo(safe(f"rules    {names}"))
        click.echo(
            f"events   {number(found.events)} looked at, {number(found.hits)} match, "
            f"{number(found.fresh)} of them did not before"
        )
        click.echo(f"alerts   {number(len(found.alerts))}")
        if found.alerts:
            console().print(alert_table(found.alerts[:_LISTED]))
        if len(found.alerts) > _LISTED:
            click.echo(f"… and {number(len(found.alerts) - _LISTED)} more: connwatch alerts")
    return 2 if rules.errors else 0
