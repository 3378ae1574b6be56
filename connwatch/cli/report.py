"""What a replay says at its end: how much, how fast, which alerts, and what to type next."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from connwatch.alert import SEVERITY, Document
from connwatch.cli.common import say
from connwatch.paths import default_store
from connwatch.render import console, moment, number, safe, size, table

if TYPE_CHECKING:  # a list of alerts has nothing to do with replays
    from connwatch.detectors.ruleset import RuleSet
    from connwatch.ingest.files import Found
    from connwatch.pipeline import Outcome

#: alerts that are listed; `connwatch alerts` has all
_LISTED: Final = 20
#: files that are named when they were skipped
_NAMED: Final = 10


def report(
    counts: Mapping[str, Any],
    found: Found,
    outcome: Outcome,
    rules: RuleSet,
    alerts: Sequence[Document],
    store: Path,
    *,
    quiet: bool,
) -> None:
    """Print it: notes on standard error; the result on standard output unless `quiet`."""
    for note in outcome.notes:
        say(note)
    _skipped(found)
    if outcome.unknown_fields:
        names = ", ".join(sorted(outcome.unknown_fields)[:20])
        say(f"fields that the schema does not know are kept in connwatch.extra: {names}")
    if quiet:
        return
    lines = [
        _read(counts, found),
        _kept(counts),
        _span(counts),
        *_sent(counts.get("elasticsearch")),
        f"rules    {number(len(rules.running))} run"
        + (f", {len(rules.disabled)} are switched off" if rules.disabled else "")
        + (f", {len(rules.unfed)} cannot be fed by these logs" if rules.unfed else ""),
    ]
    for line in lines:
        click.echo(safe(line))
    _alerts(counts, alerts)
    _next(counts, alerts, store)


def _skipped(found: Found) -> None:
    skipped = [one for one in found.skipped if not one.failed]
    for one in skipped[:_NAMED]:
        say(f"skipped {one.path}: {one.reason}")
    if len(skipped) > _NAMED:
        say(f"… and {len(skipped) - _NAMED} files more (--summary FILE names all)")


def _read(counts: Mapping[str, Any], found: Found) -> str:
    total = sum(source.size or 0 for source in found.sources)
    return (
        f"read     {number(counts['lines'])} lines in {number(counts['files'])} files"
        + (f" ({size(total)})" if total else "")
        + f" in {counts['seconds']:.1f} s, {number(counts['events_per_second'])} events/s"
    )


def _kept(counts: Mapping[str, Any]) -> str:
    parts = [f"events   {number(counts['events'])}"]
    if counts["already_stored"]:
        parts.append(f"{number(counts['already_stored'])} of them stored before")
    if counts["summaries"]:
        parts.append(f"{number(counts['summaries'])} of them sum up sockets")
    for name, words in (
        ("duplicates", "repeated"),
        ("out_of_range", "outside --from and --to"),
        ("allowed", "on the allow-list, which no rule matches"),
        ("rejects", "lines rejected"),
    ):
        if counts[name]:
            parts.append(f"{number(counts[name])} {words}")
    return ", ".join(parts)


def _span(counts: Mapping[str, Any]) -> str:
    if counts["first_event"] is None:
        return "span     no events"
    return f"span     {moment(counts['first_event'])} to {moment(counts['last_event'])} UTC"


def _sent(counts: Mapping[str, int] | None) -> list[str]:
    if counts is None:
        return []
    parts = [f"{number(counts['stored'])} new, {number(counts['known'])} there before"]
    parts += [f"{number(counts[name])} {name}" for name in ("refused", "waiting") if counts[name]]
    return [f"sent     {', '.join(parts)}"]


def _alerts(counts: Mapping[str, Any], alerts: Sequence[Document]) -> None:
    by_level = counts["alerts_by_level"]
    levels = [
        f"{number(by_level[level])} {level}"
        for level in sorted(SEVERITY, key=lambda name: -SEVERITY[name])
        if by_level.get(level)
    ]
    total = sum(by_level.values())
    click.echo(f"alerts   {number(total)}" + (f": {', '.join(levels)}" if levels else ""))
    if counts["hits_linked"]:
        told = "hits are of connections that the store counts already, by other logs"
        click.echo(f"linked   {number(counts['hits_linked'])} {told}")
    if not alerts:
        return
    weighty = sorted(
        alerts,
        key=lambda d: (-d["event"]["severity"], -d["connwatch"]["count"], d["event"]["start"]),
    )
    click.echo()
    console().print(alert_table(weighty[:_LISTED]))
    if len(weighty) > _LISTED:
        click.echo(f"… and {number(len(weighty) - _LISTED)} more")


def alert_table(alerts: Sequence[Document]) -> Any:
    """Alerts as a table: level, when, how often, what, and the id to ask for."""
    return table(
        ("level", "first seen (UTC)", "count", "alert", "id"),
        (
            (
                document["connwatch"]["level"],
                moment(document["event"]["start"]),
                number(document["connwatch"]["count"]),
                document["message"],
                document["event"]["id"][:12],
            )
            for document in alerts
        ),
        right=("count",),
    )


def _next(counts: Mapping[str, Any], alerts: Sequence[Document], store: Path) -> None:
    where = "" if store == default_store(os.environ) else f" --store {store}"
    click.echo("\nnext")
    if alerts:
        first = max(alerts, key=lambda d: d["event"]["severity"])
        click.echo(f"  connwatch alerts show {first['event']['id'][:12]}{where}")
        click.echo(f"  connwatch alerts{where}")
    if counts["events"]:
        click.echo(f"  connwatch search --by destination.port{where}")
    if counts["rejects"]:
        click.echo(f"  connwatch rejects{where}")
    if not counts["events"]:
        click.echo("  connwatch formats")
