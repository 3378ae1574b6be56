"""`connwatch rules`: check, list, show and test rules."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
import polars as pl

from connwatch.alert import SEVERITY
from connwatch.cli.common import chosen_rules, out, rules_option
from connwatch.cli.rules_lint import lint
from connwatch.detectors.cases import cases_path, load_cases, run
from connwatch.detectors.catalogue import markdown
from connwatch.detectors.ruleset import Correlation, Rule, RuleSet, load_rules, match
from connwatch.detectors.sigma.explain import explain
from connwatch.detectors.windows.engine import State, correlate
from connwatch.errors import RuleError, UsageError
from connwatch.ingest.enrich import enrich
from connwatch.ingest.files import discover
from connwatch.ingest.formats import formats
from connwatch.ingest.merge import merged
from connwatch.ingest.streams import streams
from connwatch.render import console, number, safe, safe_lines, table

_SHOWN: Final = (
    "event.sequence", "@timestamp", "source.ip", "destination.ip", "destination.port",
    "network.transport", "zeek.connection.service", "zeek.connection.state",
)  # fmt: skip


@click.group()
def rules() -> None:
    """Check, list, show and test rules."""


@rules.command()
@click.argument("paths", nargs=-1)
def check(paths: tuple[str, ...]) -> int:
    """Load rules and say which run, which do not, and why; exit 2 if any has an error."""
    found = chosen_rules(paths)
    for error in found.errors:
        click.echo(safe_lines(str(error)))
    for one in found.unfed:
        click.echo(safe(f"{one.where}: {one.title}: {one.reason}"))
    click.echo(
        f"{len(found.running)} rules run, {len(found.disabled)} are switched off, "
        f"{len(found.unfed)} cannot be fed, {len(found.errors)} have errors"
    )
    return 2 if found.errors else 0


@rules.command("list")
@rules_option
def list_rules(rule_paths: tuple[str, ...]) -> None:
    """All rules, the weightiest first."""
    found = chosen_rules(rule_paths)
    every = sorted(found.every, key=lambda r: (-SEVERITY.get(r.level, 0), r.title))
    console().print(
        table(
            ("level", "on", "title", "ATT&CK", "id"),
            (
                (
                    rule.level,
                    "on" if rule.enabled else "off",
                    rule.title,
                    ", ".join(tag.removeprefix("attack.") for tag in rule.tags),
                    rule.key,
                )
                for rule in every
            ),
        )
    )


@rules.command("table")
@rules_option
def rules_table(rule_paths: tuple[str, ...]) -> None:
    """The rules as the Markdown table of rules/README.md."""
    found = chosen_rules(rule_paths)
    click.echo(markdown(found.every), nl=False)


@rules.command()
@click.argument("name")
@rules_option
def show(name: str, rule_paths: tuple[str, ...]) -> None:
    """One rule, by its id (the beginning is enough), title or file name."""
    rule = named_rule(chosen_rules(rule_paths), name)
    path = rule.where.rsplit(":", 1)[0]
    click.echo(f"# {safe(path)}")
    click.echo(safe_lines(Path(path).read_text(encoding="utf-8")))


def named_rule(found: RuleSet, name: str) -> Rule | Correlation:
    """The rule that a user means, by id (or its beginning), title or file name. UsageError."""
    chosen = [
        rule
        for rule in found.every
        if rule.key.startswith(name.lower())
        or rule.title.lower() == name.lower()
        or Path(rule.where.rsplit(":", 1)[0]).stem == name
    ]
    if len(chosen) != 1:
        raise UsageError(
            f"{len(chosen) or 'no'} rules are called {name!r}", hint="connwatch rules list"
        )
    return chosen[0]


@rules.command()
@click.argument("rule", required=False)
@click.argument("log", required=False)
@click.option("--event", "line", type=int, help="Explain the record on this line of LOG.")
@click.option(
    "--show",
    "shown",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="Matching records to show.",
)
@rules_option
def test(
    rule: str | None, log: str | None, line: int | None, shown: int, rule_paths: tuple[str, ...]
) -> int:
    """Run the hit and miss events beside the rules; or one RULE file against a LOG.

    \b
    connwatch rules test                          every rule's own cases
    connwatch rules test my.yml conn.log          how many lines match, and which
    connwatch rules test my.yml conn.log --event 12   each part of the condition for line 12
    """
    if rule is not None and log is not None:
        return _test_log(Path(rule), log, line, shown)
    return _test_cases(load_rules([Path(rule)]) if rule else chosen_rules(rule_paths))


def _test_cases(found: RuleSet) -> int:
    wrong = total = untested = 0
    for error in found.errors:
        click.echo(safe_lines(str(error)))
    # Rules that only feed others have the file of those, whose cases are not theirs.
    for rule in (*found.running, *found.disabled):
        path = cases_path(rule)
        if not path.exists():
            untested += 1
            continue
        cases = load_cases(path)
        for case, matched in zip(cases, run(found, rule, cases), strict=True):
            total += 1
            if matched != case.hit:
                wrong += 1
                said = "matched, and must not" if matched else "did not match, and must"
                click.echo(safe(f"{path}: {rule.title}: {case.name}: {said}"))
    click.echo(
        f"{total} cases, {wrong} wrong" + (f"; {untested} rules have no cases" if untested else "")
    )
    return 2 if wrong or found.errors else 0


def _test_log(path: Path, log: str, line: int | None, shown: int) -> int:
    found = load_rules([path])
    if found.errors:
        raise found.errors[0]
    if found.unfed:
        raise RuleError(found.unfed[0].reason, where=found.unfed[0].where)
    rules_here = found.only(*found.every)
    events, lines, rejected = _read(log)
    matches = match(rules_here, events)
    counted = correlate(rules_here.correlated, events, matches, State(), _SHOWN).hits
    click.echo(
        f"{number(lines)} lines, {number(events.height)} records, {number(rejected)} rejects"
    )
    for rule in rules_here.every:
        if isinstance(rule, Rule):
            hits = events[matches.filter(pl.col("rule") == rule.key)["row"]]
            click.echo(safe(f"{rule.title}: {number(hits.height)} records match"))
        else:
            hits = counted.filter(pl.col("rule") == rule.key) if counted.height else counted
            groups = hits["group"].n_unique() if hits.height else 0
            said = f"{number(hits.height)} records fire or were counted, in {number(groups)} groups"
            click.echo(safe(f"{rule.title}: {said}"))
        if hits.height and shown:
            rows = hits.head(shown).select(_SHOWN).iter_rows()
            console().print(table(("line", *_SHOWN[1:]), rows))
        if line is not None and isinstance(rule, Rule):
            _explain(rule, events.filter(pl.col("event.sequence") == line), line)
    return 0


def _read(log: str) -> tuple[pl.DataFrame, int, int]:
    sources = discover([log], formats(), strict=True).sources
    counts = {"lines": 0, "rejects": 0}

    def watch(_source: object, parsed: object, _taken: int) -> None:
        counts["lines"] += parsed.lines  # type: ignore[attr-defined]
        counts["rejects"] += parsed.rejects.height  # type: ignore[attr-defined]

    def failed(_source: object, error: Exception) -> None:
        raise error

    frames = [enrich(frame, None) for frame in merged(streams(sources)[0], watch, failed)]
    if not frames:
        raise UsageError("holds no records", where=log)
    return pl.concat(frames), counts["lines"], counts["rejects"]


def _explain(rule: Rule, event: pl.DataFrame, line: int) -> None:
    if event.is_empty():
        raise UsageError(f"line {line} holds no record", where="--event")
    words = {True: "true", False: "false", None: "no value"}
    for part in explain(rule, event.head(1)):
        values = ", ".join(f"{name} = {value}" for name, value in part.values.items())
        mark = words[part.outcome]
        indent = "  " * part.depth
        out(safe(f"{mark:<9} {indent}{part.text}" + (f"   [{values}]" if values else "")))


rules.add_command(lint)
