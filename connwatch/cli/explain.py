"""`connwatch explain`: why there is an alert, or why there is none."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from connwatch.attribution.learned import as_known_now
from connwatch.behind import Records, ServerRecords, StoreRecords
from connwatch.cli.common import (
    chosen_rules,
    moment,
    out,
    rules_option,
    store_option,
    warn_of_rules,
)
from connwatch.cli.elasticsearch import server_options
from connwatch.cli.explain_alert import alert_facts, alert_lines
from connwatch.cli.explain_entity import entity_facts, entity_lines, read_entity
from connwatch.cli.rules import named_rule
from connwatch.cli.searched import on_server, server_reader, tell_doubt
from connwatch.detectors.ruleset import RuleSet
from connwatch.errors import UsageError
from connwatch.paths import default_store
from connwatch.render import safe, to_json
from connwatch.sinks.embedded import StoreReader

if TYPE_CHECKING:  # the client takes half a second to load
    from connwatch.sinks.elasticsearch.reader import ServerReader

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
@server_options
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
    config_file: Path | None,
    urls: tuple[str, ...],
    rule_paths: tuple[str, ...],
    form: str,
) -> None:
    """Say why there is an alert; or how close an entity came to one.

    \b
    connwatch explain 3f2a                                the beginning of an id is enough
    connwatch explain --rule my_scan --entity 10.0.0.5    what was lacking
    connwatch explain --rule my_scan --entity source.ip=10.0.0.5,destination.port=22
    connwatch explain 3f2a --elasticsearch https://es1:9200
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
    with _opened(store, config_file, urls, rules) as (reader, records):
        if alert is not None:
            document = reader.alert(alert)
            if isinstance(reader, StoreReader):
                document = as_known_now(reader, document)
            facts = alert_facts(records, document, rules)
            facts["processes"] = document["connwatch"].get("processes", [])
            facts["witnesses"] = document["connwatch"].get("witnesses", [])
            if isinstance(records, ServerRecords):
                tell_doubt(records.found(document))
            facts["events"]["command"] = _command(facts["id"], store, config_file, urls, rule_paths)
            _print(facts, alert_lines, form)
        else:
            span = moment(start, "--from"), moment(end, "--to")
            facts = _entity(str(name), str(text), span, records, rules)
            _print(facts, entity_lines, form)


@contextmanager
def _opened(
    store: Path, config_file: Path | None, urls: tuple[str, ...], rules: RuleSet
) -> Iterator[tuple[StoreReader | ServerReader, Records]]:
    """Who has alerts, and what is asked about rules."""
    if on_server(config_file, urls):
        with server_reader(config_file, urls) as server:
            yield server, ServerRecords(server, rules)
        return
    with StoreReader(store) as reader:
        yield reader, StoreRecords(reader)


def _command(
    alert: str,
    store: Path,
    config_file: Path | None,
    urls: tuple[str, ...],
    rule_paths: tuple[str, ...],
) -> str:
    """What lists all events behind an alert."""
    words = ["connwatch", "alerts", "events", alert[:12]]
    if config_file is not None:
        words += ["-c", str(config_file)]
    for url in urls:
        words += ["--elasticsearch", url]
    if config_file is not None or urls:
        for path in rule_paths:
            words += ["--rules", path]
    elif store != default_store():
        words += ["--store", str(store)]
    return shlex.join(words)


def _entity(
    name: str,
    text: str,
    span: tuple[datetime | None, datetime | None],
    records: Records,
    rules: RuleSet,
) -> Facts:
    for one in rules.unfed:
        if one.title.lower() == name.lower():
            raise UsageError(f"the rule cannot run here: {one.reason}", where=one.where)
    rule = named_rule(rules, name)
    return entity_facts(records, rules, rule, read_entity(text, rule), span)


def _print(facts: Facts, lines: Callable[[Facts], Iterator[str]], form: str) -> None:
    """The answer; its plots (`lines`) are for people, the numbers behind them for programs."""
    if form == "json":
        for one in (facts, *facts.get("windows", ())):
            one.pop("lines", None)
        out(to_json(facts, indent=2))
        return
    for line in lines(facts):
        out(safe(line))
