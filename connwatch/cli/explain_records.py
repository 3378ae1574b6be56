"""What both questions of `connwatch explain` read of records, and run a rule over."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from connwatch.alert import iso
from connwatch.behind import ORDER, Records
from connwatch.cli import wording
from connwatch.cli.timeline import BLOCKS, PLAIN, Series, draw, drawable, level
from connwatch.detectors.alerts import asked
from connwatch.detectors.ruleset import Correlation, Rule, RuleSet, match
from connwatch.detectors.sigma.explain import Part, explain
from connwatch.detectors.windows.entity import Alternatives, Entity, stored
from connwatch.detectors.windows.spec import Presence, Threshold
from connwatch.detectors.windows.trace import Near, Trace, inside, trace
from connwatch.detectors.witnesses.counting import Counting
from connwatch.detectors.witnesses.flows import Flows
from connwatch.detectors.witnesses.records import COLUMNS
from connwatch.render import moment
from connwatch.schema import STORED

#: what is told of a record
SHOWN: Final = (
    "event.id", "@timestamp", "source.ip", "source.port", "destination.ip", "destination.port",
    "network.transport", "zeek.connection.state", "log.file.path",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """A rule run over stored records. only: the rules that it needs. matches: `MATCH_SCHEMA`, of
    single rules in `events`."""

    rule: Correlation
    only: RuleSet
    events: pl.DataFrame
    matches: pl.DataFrame
    traced: Trace


def run(
    records: Records,
    rules: RuleSet,
    rule: Correlation,
    entity: Entity,
    span: tuple[datetime | None, datetime | None],
) -> Run:
    """Run a rule over the stored records of the groups that concern an entity.

    span: log time, from (inclusive) and to (exclusive); records before it are read as far back as
    windows reach, but the trace has the span only.
    """
    only = rules.only(rule)
    start, end = span
    lead = timedelta(microseconds=sum(one.timespan for one in only.correlated))
    events = read(
        records,
        {*rule.needs, *(name for one in only.correlated for name in one.columns)}.union(
            *(one.needs for one in only.rules),
            *(
                entity.columns(rule.windows, place, base)
                for place in range(len(rule.windows.windows))
                for base in range(len(rule.windows.bases))
            ),
        ),
        entity.alternatives(only.correlated),
        (None if start is None else start - lead, end),
    )
    matches = match(only, events)
    counting = Counting(events, Flows()) if events.height else None
    traced = trace(
        only.correlated, rule.key, events, matches, entity, since=start, counting=counting
    )
    return Run(rule, only, events, matches, traced)


def read(
    records: Records,
    columns: Iterable[str],
    alternatives: Alternatives | None,
    span: tuple[datetime | None, datetime | None],
) -> pl.DataFrame:
    """Stored records in the order of a replay, with what `columns` of the schema need.

    alternatives: what they have; None for all. span: log time, the end exclusive."""
    roots = {root for name in columns for root in stored(name).meta.root_names()}
    names = [name for name in STORED if name in {*roots, *ORDER, *SHOWN, *COLUMNS}]
    found = records.read(names, alternatives, span)
    return found.sort(ORDER, maintain_order=True)


def window_facts(run: Run, place: int) -> dict[str, Any]:
    """What one window of a rule asks for."""
    said = asked(run.rule.windows, place)
    window = run.rule.windows.windows[place]
    group = window.group_by[0]
    names = run.rule.windows.group if group == run.rule.windows.group_by[0] else group
    return {
        **said,
        "group_by": list(names),
        "text": wording.condition(window, said)
        + (f", for each {', '.join(names)}" if names else ""),
    }


def group_facts(run: Run, near: Near) -> dict[str, Any]:
    """How close one group came, and what was lacking."""
    window = run.rule.windows.windows[near.window]
    said = asked(run.rule.windows, near.window)
    condition, names = window.condition, run.rule.windows.names
    seen = inside(run.rule.windows, run.traced, near)
    there = [names[base] for base in sorted(seen["base"].unique())] if names else []
    if isinstance(condition, Threshold):
        reached, lacking = wording.near_miss(window, said, near.value)
        if lacking and window.measure.startswith("temporal"):
            absent = ", ".join(name for name in names if name not in there) or "none"
            lacking += f" (there: {', '.join(there)}; not there: {absent})"
    else:
        reached = f"nearest: {', '.join(there)} there"
        lacking = _absent(condition, set(there), names) if not near.fired else ""
    facts: dict[str, Any] = {
        "group": near.group,
        "value": near.value,
        "time": iso(near.time),
        "reached": f"{reached} within {wording.span(window.timespan)}",
        "lacking": lacking or None,
        "records": near.records,
        "window_records": seen["record"].n_unique(),
        "fired": near.fired,
        "since": None if near.since is None else iso(near.since),
    }
    if window.measure.startswith("temporal"):
        facts["rules_there"] = there
        facts["rules_not_there"] = [name for name in names if name not in there]
    return facts


def _absent(condition: Presence, there: set[str], names: tuple[str, ...]) -> str:
    """Which rules a condition lacks."""
    named = {False: list[str](), True: list[str]()}

    def walk(one: Presence, wanted: bool) -> None:
        if one.kind == "rule":
            if (names[one.base] in there) != wanted:
                named[wanted].append(names[one.base])
            return
        for part in one.parts:
            walk(part, wanted is (one.kind != "not"))

    walk(condition, wanted=True)
    parts = [f"not there: {', '.join(named[True])}"] if named[True] else []
    parts += [f"there, and must not be: {', '.join(named[False])}"] if named[False] else []
    return "; ".join(parts) or "all are there, in another order"


def plot(run: Run, place: int, series: Series) -> list[str]:
    """A window's measure over time, and its threshold."""
    window = run.rule.windows.windows[place]
    said = asked(run.rule.windows, place)
    fields, limit = said.get("fields", []), window.condition
    known = [value for value in series.values if value is not None]
    of = wording.unit(window.measure, fields)
    names = said.get("rules", [])
    what = wording.subject(window.measure, fields, names, window.percentile)
    blocks = BLOCKS if drawable(BLOCKS, sys.stdout.encoding) else PLAIN
    each = f"a column is {wording.span(series.step)}"
    if not isinstance(limit, Threshold):
        title = f"whether the condition held, over log time; {each}"
        return [title, *draw(series, "yes", 1, blocks)]
    scale = max(*known, limit.number)
    mark = blocks[level(limit.number, scale) - 1]
    asks = wording.threshold(limit, window, fields)
    title = f"{what} within {wording.span(window.timespan)}, over log time; {each}"
    return [
        f"{title}; {asks} is {mark}" + (", ^ where it held" if any(series.holds) else ""),
        *draw(series, wording.quantity(scale, of), scale, blocks),
    ]


def count_plot(series: Series, what: str) -> list[str]:
    """Numbers of records over time."""
    known = [value for value in series.values if value is not None]
    blocks = BLOCKS if drawable(BLOCKS, sys.stdout.encoding) else PLAIN
    top = max(known)
    title = f"{what} over log time; a column is {wording.span(series.step)}"
    return [title, *draw(series, wording.quantity(top), top, blocks)]


def event_text(event: dict[str, Any]) -> str:
    """A record in one line."""

    def side(name: str) -> str:
        port = event.get(f"{name}.port")
        return f"{event.get(f'{name}.ip')}" + ("" if port is None else f" port {port}")

    more = [event.get("network.transport"), event.get("zeek.connection.state")]
    rest = " ".join(str(one) for one in more if one is not None)
    return f"{moment(event['@timestamp'])}  {side('source')} -> {side('destination')}  {rest}"


def event_facts(event: pl.DataFrame) -> dict[str, Any]:
    """A record (a frame of one row) as it is told of."""
    row = event.select(SHOWN).row(0, named=True)
    found = {name: value for name, value in row.items() if value is not None}
    return {**found, "@timestamp": iso(found["@timestamp"])}


def part_facts(rule: Rule, event: pl.DataFrame) -> list[dict[str, Any]]:
    """Every part of a condition, with its outcome and values for one record."""
    return [facts_of(part) for part in explain(rule, event)]


def facts_of(part: Part) -> dict[str, Any]:
    """One of them, as JSON shows it."""
    return {
        "depth": part.depth,
        "text": part.text,
        "outcome": part.outcome,
        "values": {
            name: iso(value) if isinstance(value, datetime) else value
            for name, value in part.values.items()
        },
    }
