"""`connwatch explain`: why there is an alert, or why there is none."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import click

from connwatch.cli.common import (
    chosen_rules,
    moment,
    out,
    rules_option,
    store_option,
    warn_of_rules,
)
from connwatch.cli.explain_alert import alert_facts, alert_lines
from connwatch.cli.explain_entity import entity_facts, entity_lines, read_entity
from connwatch.cli.rules import named_rule
from connwatch.detectors.ruleset import RuleSet
from connwatch.errors import UsageError
from connwatch.paths import default_store
from connwatch.render import safe, to_json
from connwatch.sinks.embedded import StoreReader

Facts: TypeAlias = dict[str, Any]


@click.command()
@click.argument("alert", required=False, metavar="[ALERT]")
@click.option("--rule", "name", metavar="RULE", help="A rule: id, title or file name.")
@click.option(
    "--entity",
    "text",
    metavar="ENTITY",
    help="Whom the question is about: an address, or FIELD=VALUE[,FIELD=VALUE].",
)
@click.option("--from", "start", metavar="TIME", help="Only from this log time on.")
@click.option("--to", "end", metavar="TIME", help="Only before this log time.")
@store_option
@rules_option
@click.option(
    "--format", "form", type=click.Choice(("table", "json")), default="table", show_default=True
)
def explain(
    alert: str | None,
    name: str | None,
    text: str | None,
    start: str | None,
    end: str | None,
    store: Path,
    rule_paths: tuple[str, ...],
    form: str,
) -> None:
    """Say why there is an alert; or how close an entity came to one.

    \b
    connwatch explain 3f2a                                the beginning of an id is enough
    connwatch explain --rule my_scan --entity 10.0.0.5    what was lacking
    connwatch explain --rule my_scan --entity source.ip=10.0.0.5,destination.port=22
    """
    if (alert is None) == (name is None) or (name is None) != (text is None):
        raise UsageError(
            "explain takes the id of an alert, or --rule and --entity",
            hint="connwatch alerts lists alerts, connwatch rules list lists rules",
        )
    if alert is not None and (start or end):
        raise UsageError("--from and --to are for --rule and --entity", where="explain")
    rules = chosen_rules(rule_paths)
    warn_of_rules(rules)
    if alert is not None:
        _alert(alert, store, rules, form)
    else:
        span = moment(start, "--from"), moment(end, "--to")
        _entity(str(name), str(text), span, store, rules, form)


def _alert(alert: str, store: Path, rules: RuleSet, form: str) -> None:
    with StoreReader(store) as reader:
        facts = alert_facts(reader, reader.alert(alert), rules)
    named = "" if store == default_store() else f" --store {shlex.quote(str(store))}"
    facts["events"]["command"] = f"connwatch alerts events {facts['id'][:12]}{named}"
    _print(facts, alert_lines, form)


def _entity(
    name: str,
    text: str,
    span: tuple[datetime | None, datetime | None],
    store: Path,
    rules: RuleSet,
    form: str,
) -> None:
    for one in rules.unfed:
        if one.title.lower() == name.lower():
            raise UsageError(f"the rule cannot run here: {one.reason}", where=one.where)
    rule = named_rule(rules, name)
    entity = read_entity(text, rule)
    with StoreReader(store) as reader:
        facts = entity_facts(reader, rules, rule, entity, span)
    _print(facts, entity_lines, form)


def _print(facts: Facts, lines: Callable[[Facts], Iterator[str]], form: str) -> None:
    """The answer; its plots (`lines`) are for people, the numbers behind them for programs."""
    if form == "json":
        for one in (facts, *facts.get("windows", ())):
            one.pop("lines", None)
        out(to_json(facts, indent=2))
        return
    for line in lines(facts):
        out(safe(line))
