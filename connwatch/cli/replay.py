"""`connwatch replay`: read archives, match rules, store what was found."""

from __future__ import annotations

import json
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from connwatch import pipeline
from connwatch.alert import SEVERITY, Document, fingerprint
from connwatch.attribution.naming import name_all
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
from connwatch.cli.elasticsearch import section_of, server_options
from connwatch.cli.report import report
from connwatch.config.kinds import Seconds, Zone, of_option
from connwatch.detectors.indicators import Lists
from connwatch.errors import ConnwatchError, InputError, UsageError
from connwatch.ingest.clock import Clock
from connwatch.ingest.enrich import HomeNetworks
from connwatch.ingest.files import discover
from connwatch.ingest.formats import FORMATS, formats
from connwatch.render import console, to_json
from connwatch.retro import with_lists
from connwatch.sinks.embedded import EmbeddedStore

if TYPE_CHECKING:
    from connwatch.sending import Sender

_LEVELS = tuple(SEVERITY)
_INTERVAL = Seconds(0.001, 86_400)


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@store_option
@rules_option
@span_options
@click.option("--json", "as_json", is_flag=True, help="Print each alert as a JSON document a line.")
@click.option("--summary", type=click.Path(path_type=Path), help="Write the counts to this file.")
@click.option(
    "--fail-on", type=click.Choice(_LEVELS), help="Exit 1 at alerts of this level or above."
)
@click.option(
    "--check",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Compare the alerts with this file, made by --json; exit 1 and print what differs.",
)
@click.option(
    "--format", "format_name", type=click.Choice(tuple(FORMATS)), help="Read every file as this."
)
@click.option("--strict", is_flag=True, help="A file of an unknown kind is an error.")
@click.option(
    "--home", multiple=True, metavar="NETWORK", help="A network of yours; may be repeated."
)
@click.option(
    "--sensor", default="", metavar="NAME", help="Label of the sensor that wrote the logs."
)
@click.option(
    "--tz", "zone", metavar="ZONE", help="Zone of times that do not name theirs: Europe/Berlin."
)
@click.option("--date", "day", metavar="DATE", help="Date of clocks without one: 2026-11-21.")
@click.option(
    "--interval",
    metavar="SPAN",
    help="Time between snapshots of sockets that have none of their own: 10s, 1m.",
)
@click.option(
    "--indicators",
    "lists",
    multiple=True,
    metavar="LIST",
    type=click.Path(path_type=Path),
    help="Match this list with the bundled rule on indicators; may be repeated.",
)
@click.option(
    "--allow",
    multiple=True,
    metavar="LIST",
    type=click.Path(path_type=Path),
    help="No rule matches records with an address, network or port on this list; may be repeated.",
)
@server_options
def replay(
    paths: tuple[str, ...],
    store: Path,
    rule_paths: tuple[str, ...],
    start: str | None,
    end: str | None,
    as_json: bool,
    summary: Path | None,
    fail_on: str | None,
    check: Path | None,
    format_name: str | None,
    strict: bool,
    home: tuple[str, ...],
    sensor: str,
    zone: str | None,
    day: str | None,
    interval: str | None,
    lists: tuple[Path, ...],
    allow: tuple[Path, ...],
    config_file: Path | None,
    urls: tuple[str, ...],
) -> int:
    """Read logs, match rules against them, and store events and alerts.

    PATH is a file, a folder, a pattern, or - for standard input; plain or compressed. What is
    already in the store is not stored again. With --elasticsearch, events and alerts are sent to a
    server besides; what was not sent when it ends is sent by the next run with the same store.
    Exit codes: 0 done; 1 alerts at or above --fail-on, or --check found a difference; 2 wrong use,
    or a rule that cannot be used; 3 an input, the store or the server failed.
    """
    span = moment(start, "--from"), moment(end, "--to")
    networks = HomeNetworks.parse(home) if home else None
    options = pipeline.Options(*span, networks, Lists(allow) if allow else None)
    if summary is not None and not summary.absolute().parent.is_dir():
        raise UsageError("no such folder", where=f"--summary {summary}", hint="nothing was read")
    rules = with_lists(chosen_rules(rule_paths), lists)
    warn_of_rules(rules)
    golden = None if check is None else _golden(check)
    found = discover(
        paths,
        formats(sensor, format_name, clock=_clock(zone, day, interval)),
        strict=strict,
        forced=format_name is not None,
    )
    kept: list[Document] = []
    shown: list[Document] = []

    def on_alert(document: Document) -> None:
        if as_json:
            out(to_json(document))
        else:
            shown.append(document)
        if golden is not None:
            kept.append(document)

    with EmbeddedStore(store) as opened, _sending(opened, config_file, urls) as sender:
        with _Meter() as meter:
            outcome = pipeline.replay(
                found, rules, opened, options, on_alert=on_alert, on_progress=meter.show
            )
        _learn(opened, outcome)
        done = sender is None or sender.drain()
        sent = None if sender is None else {**asdict(sender.counts), "waiting": sum(sender.waiting)}
    skipped = [{"path": one.path, "reason": one.reason} for one in found.skipped]
    counts = {**outcome.summary(), "skipped": skipped}
    if sent is not None:
        counts["elasticsearch"] = sent
    if summary is not None:
        summary.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    report(counts, found, outcome, rules, shown, store, quiet=as_json)
    alarm = bool(fail_on and pipeline.at_or_above(outcome.alerts, fail_on))
    if golden is not None and _differences(golden, kept):
        alarm = True
    failed: list[ConnwatchError] = [
        *outcome.failed,
        *(_as_error(one) for one in found.skipped if one.failed),
    ]
    failed += [] if sender is None else sender.damage
    for error in failed:
        complain(error)
    if not done:
        say("what Elasticsearch did not take waits in the store: the next run with it sends that")
    return 3 if failed or not done else 2 if rules.errors else int(alarm)


def _learn(store: EmbeddedStore, outcome: pipeline.Outcome) -> None:
    """Let alerts tell which processes are behind them, and who else tells of their events, by what
    this run brought too."""
    first, last = outcome.ledger.first_event, outcome.ledger.last_event
    if first is not None and last is not None:
        name_all(store, first, last)


def _clock(zone: str | None, day: str | None, interval: str | None) -> Clock:
    """What the user says of times; ConfigError or UsageError for what is none."""
    try:
        given = None if day is None else date.fromisoformat(day)
    except ValueError:
        raise UsageError(f"{day!r} is no date", where="--date", hint="as 2026-11-21") from None
    span = None if interval is None else of_option(_INTERVAL, interval, "--interval")
    return Clock(
        None if zone is None else of_option(Zone(), zone, "--tz"),
        given,
        None if span is None else round(span * 1_000_000),
    )


def _sending(
    store: EmbeddedStore, config_file: Path | None, urls: tuple[str, ...]
) -> AbstractContextManager[Sender | None]:
    """What sends to the server that is named; nothing where none is."""
    if config_file is None and not urls:
        return nullcontext()
    # Loaded when it is needed: the client takes half a second.
    from connwatch.sending import Sender, sink_of

    section = section_of(config_file, urls)
    with sink_of(section, urls):
        pass  # what is in the way is said before anything is read
    return Sender(store, section, urls, told=_wait, for_ever=False)


def _wait(problem: str) -> None:
    for line in f"Elasticsearch: {problem}".splitlines():
        say(line)
    say("What it has not taken stays in the store if you stop here.")


def _as_error(skipped: Any) -> InputError:
    return InputError(skipped.reason, where=skipped.path, hint="it was left out, the rest was read")


def _golden(path: Path) -> dict[str, Document]:
    """The alerts of an earlier run, by id."""
    documents: dict[str, Document] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                document = json.loads(line)
                fingerprint(document)
                documents[document["event"]["id"]] = document
            except (ValueError, KeyError, TypeError):
                raise UsageError(
                    "is not an alert as replay --json prints it", where=f"{path}:{number}"
                ) from None
    return documents


def _differences(golden: dict[str, Document], found: list[Document]) -> bool:
    """Print what the run has and the file has not, and the other way round."""
    now = {document["event"]["id"]: document for document in found}
    lines = []
    for alert_id in sorted(golden.keys() | now.keys()):
        before, after = golden.get(alert_id), now.get(alert_id)
        if before is not None and after is not None:
            if fingerprint(before) != fingerprint(after):
                lines.append(f"! {alert_id} {after['message']}: changed{_changes(before, after)}")
        elif after is None and before is not None:
            lines.append(f"- {alert_id} {before['message']}")
        elif after is not None:
            lines.append(f"+ {alert_id} {after['message']}")
    for line in lines:
        say(line)
    say(f"{len(lines)} differences in {len(golden.keys() | now.keys())} alerts")
    return bool(lines)


def _changes(before: Document, after: Document) -> str:
    pairs = {
        "count": (before["connwatch"]["count"], after["connwatch"]["count"]),
        "first": (before["event"]["start"], after["event"]["start"]),
        "last": (before["event"]["end"], after["event"]["end"]),
        "level": (before["connwatch"]["level"], after["connwatch"]["level"]),
    }
    told = [f"{name} {old} -> {new}" for name, (old, new) in pairs.items() if old != new]
    return f" ({', '.join(told)})" if told else ""


class _Meter:
    """Progress with rate and remaining time on standard error, when that is a terminal."""

    def __init__(self) -> None:
        self._console = console(sys.stderr)
        self._progress: Progress | None = None
        self._begun = time.monotonic()

    def __enter__(self) -> _Meter:
        if self._console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.fields[records]:,} records, {task.fields[rate]:,.0f}/s"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("MB"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._progress.start()
            self._task = self._progress.add_task("", total=None, records=0, rate=0.0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, progress: pipeline.Progress) -> None:
        if self._progress is not None:
            total = None if progress.total is None else progress.total // 1_000_000
            self._progress.update(
                self._task,
                total=total,
                completed=progress.done // 1_000_000,
                records=progress.records,
                rate=progress.records / max(0.1, time.monotonic() - self._begun),
            )
