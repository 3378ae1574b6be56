"""How close an entity came to an alert of one rule, and what was lacking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Final

import polars as pl

from connwatch.alert import iso
from connwatch.behind import Records
from connwatch.cli.explain_records import (
    Run,
    event_facts,
    event_text,
    group_facts,
    part_facts,
    plot,
    read,
    run,
    window_facts,
)
from connwatch.cli.timeline import Series, over_time
from connwatch.detectors.ruleset import Correlation, Rule, RuleSet
from connwatch.detectors.sigma.nearest import lacking
from connwatch.detectors.windows.entity import SIDES, Entity, stored
from connwatch.detectors.windows.trace import nearest
from connwatch.errors import UsageError
from connwatch.ingest.addresses import canonical
from connwatch.render import moment, number
from connwatch.schema import BY_NAME

Span = tuple[datetime | None, datetime | None]

#: groups that are told of
_GROUPS: Final = 5
#: values that a line lists
_LISTED: Final = 12
_WORDS: Final = {True: "true", False: "false", None: "no value"}


def read_entity(text: str, rule: Rule | Correlation) -> Entity:
    """An entity as the command line names it. UsageError says what is wrong with it."""
    if "=" not in text:
        return Entity(address=_address(text))
    values = []
    for part in text.split(","):
        name, equals, value = (one.strip() for one in part.partition("="))
        if not equals or not value:
            raise UsageError(f"{part!r} is not FIELD=VALUE", where="--entity")
        known = name in rule.group_by if isinstance(rule, Rule) else name in rule.windows.group
        target = rule.fields.target(name)
        if not known and target is None:
            near = rule.fields.suggestion(name)
            raise UsageError(
                f"no record here has the field {name!r}",
                where="--entity",
                hint=f"did you mean {near!r}?" if near else "connwatch schema lists the fields",
            )
        column = name if known or target is None else target.column
        here = BY_NAME.get(column)
        if here is not None and here.es == "ip":
            value = _address(value)
        if here is not None and here.dtype == pl.Int64() and not value.lstrip("-").isdecimal():
            raise UsageError(f"{name} is a number, {value!r} is none", where="--entity")
        values.append((column, value))
    return Entity(values=tuple(values))


def _address(text: str) -> str:
    found = canonical(pl.Series([text.strip()], dtype=pl.String))[0]
    if found is None:
        raise UsageError(
            f"{text!r} is not an address",
            where="--entity",
            hint="an address, or FIELD=VALUE[,FIELD=VALUE] for a group",
        )
    return str(found)


def entity_facts(
    source: Records,
    rules: RuleSet,
    rule: Rule | Correlation,
    entity: Entity,
    span: Span,
) -> dict[str, Any]:
    """The answer, as JSON shows it. span: log time, the end exclusive."""
    told = {
        "rule": {"id": rule.key, "title": rule.title, "where": rule.where, "on": rule.enabled},
        "entity": {"address": entity.address} if entity.address else dict(entity.values),
        "from": None if span[0] is None else iso(span[0]),
        "to": None if span[1] is None else iso(span[1]),
    }
    if isinstance(rule, Rule):
        own = read(
            source,
            {*rule.needs, "event.dataset", *SIDES, *(name for name, _ in entity.values)},
            entity.alternatives_by(rule.group_by),
            span,
        )
        return {**told, "kind": "record", **_single(rule, own)}
    return {**told, "kind": "windows", **_windows(source, rules, rule, entity, span)}


def _single(rule: Rule, events: pl.DataFrame) -> dict[str, Any]:
    """Of a rule about one record: which match, or what the nearest one lacks."""
    fed = events.filter(pl.col("event.dataset").is_in(sorted(rule.datasets)))
    facts: dict[str, Any] = {
        "records": fed.height,
        "other_datasets": events.height - fed.height,
        "matched": 0,
        "without_value": _without(rule.needs, fed),
    }
    if fed.is_empty():
        return facts
    away = lacking(rule, fed)
    least = int(away.min())  # type: ignore[arg-type]
    nearest_ones = fed.filter(away == least)
    if least == 0:
        times = nearest_ones["connwatch.log_time"]
        facts |= {"matched": nearest_ones.height, "since": iso(times[0]), "last": iso(times[-1])}
    facts["nearest"] = {
        "lacking": least,
        "records": nearest_ones.height,
        "event": event_facts(nearest_ones.head(1)),
        "parts": part_facts(rule, nearest_ones.head(1)),
    }
    return facts


def _without(columns: frozenset[str], events: pl.DataFrame) -> dict[str, int]:
    """In how many records each of these columns has no value; those that always have one left
    out."""
    if not columns or events.is_empty():
        return {}
    counts = events.select(stored(name).null_count().alias(name) for name in sorted(columns))
    return {name: count for name, count in counts.row(0, named=True).items() if count}


def _windows(
    source: Records, rules: RuleSet, rule: Correlation, entity: Entity, span: Span
) -> dict[str, Any]:
    """Of a rule about many records: for each of its windows, which groups came how close."""
    found = run(source, rules, rule, entity, span)
    titles = {one.key: one.title for one in (*found.only.every, *found.only.rules)}
    windows = []
    for place in range(len(rule.windows.windows)):
        near = nearest(rule.windows, found.traced, found.events, place, _GROUPS)
        taken = [one for one in found.traced.taken if one.window == place]
        records = found.traced.records(place)
        facts = {
            **window_facts(found, place),
            "counted": [
                {
                    "rule": titles[rule.windows.bases[one.base]],
                    "records": one.records,
                    "left_out": one.left_out,
                    "missing": dict(one.missing),
                }
                for one in taken
            ],
            "groups_in_all": records["group"].n_unique(),
            "groups_fired": records.filter("fires")["group"].n_unique(),
            "groups": [group_facts(found, one) for one in near],
        }
        if near:
            facts["lines"] = plot(found, place, _series(records, near[0].key))
            facts["over_time"] = _series(records, near[0].key).points()
        windows.append(facts)
    since = [one["since"] for facts in windows for one in facts["groups"] if one["since"]]
    facts = {
        "records": _concerned(found, entity),
        "fired": any(facts["groups_fired"] for facts in windows),
        "since": min(since, default=None),
        "windows": windows,
    }
    if not any(facts["groups"] for facts in windows):
        facts["bases"] = _bases(found, entity)
    return facts


def _series(records: pl.DataFrame, group: int) -> Series:
    """The measure of one group over time, in each column where it came closest."""
    own = records.filter(pl.col("group") == group)
    made = over_time(own, pl.col("value").sort_by("lacking").first(), pl.col("fires").any())
    assert made is not None  # noqa: S101  the group has records
    return made


def _concerned(found: Run, entity: Entity) -> int:
    return _own(found, entity).height


def _own(found: Run, entity: Entity) -> pl.DataFrame:
    """The records that concern the entity, whether a rule counts them or not."""
    rule = found.rule.windows
    conditions = {
        str(one): one
        for place in range(len(rule.windows))
        for base in range(len(rule.bases))
        for one in [entity.concerned(rule, place, base)]
    }
    names = {
        name
        for place in range(len(rule.windows))
        for base in range(len(rule.bases))
        for name in entity.columns(rule, place, base)
    }
    columns = found.events.select(stored(name).alias(name) for name in sorted(names))
    if not names:
        return found.events
    mine = columns.select(pl.any_horizontal(*conditions.values())).to_series()
    own = found.events.filter(mine)
    since = found.traced.since
    return own if since is None else own.filter(pl.col("connwatch.log_time") >= pl.lit(since))


def _bases(found: Run, entity: Entity) -> list[dict[str, Any]]:
    """For rules whose records are counted, how close the entity's records come to them."""
    own = _own(found, entity)
    every = {rule.key: rule for rule in (*found.only.every, *found.only.rules)}
    return [
        {"title": base.title, **(_single(base, own) if isinstance(base, Rule) else {})}
        for base in (every[key] for key in found.rule.windows.bases)
    ]


def entity_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """The answer for people; not yet safe."""
    rule, entity = facts["rule"], facts["entity"]
    off = "" if rule["on"] else "; switched off: a replay does not run it"
    yield f"rule         {rule['title']} ({rule['where']}){off}"
    yield f"entity       {_named(entity)}"
    if facts["from"] or facts["to"]:
        begin, end = moment(facts["from"]) or "the beginning", moment(facts["to"]) or "the end"
        yield f"log time     {begin} to {end}"
    yield from _record_lines(facts) if facts["kind"] == "record" else _window_lines(facts)


def _named(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "all records together"


def _record_lines(facts: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    yield f"{indent}records      {number(facts['records'])} concern it"
    if facts["other_datasets"]:
        kinds = f"{number(facts['other_datasets'])} records of kinds that the rule is not about"
        yield f"{indent}left out     {kinds}"
    for name, count in facts["without_value"].items():
        yield f"{indent}no value     {name}: {number(count)} of {number(facts['records'])} records"
    if "nearest" not in facts:
        return
    near = facts["nearest"]
    if facts["matched"]:
        times = f"since {moment(facts['since'])}, last at {moment(facts['last'])}"
        yield f"{indent}result       {number(facts['matched'])} match, {times}"
        title = "first"
    else:
        what = "comparison" if near["lacking"] == 1 else "comparisons"
        also = f" (as {number(near['records'] - 1)} others)" if near["records"] > 1 else ""
        yield f"{indent}result       none matches; the nearest lacks {near['lacking']} {what}{also}"
        title = "nearest"
    yield f"{indent}{title:<12} {event_text(near['event'])}"
    for line in part_lines(near["parts"]):
        yield f"{indent}{line}"


def part_lines(parts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The parts of a condition, each with its outcome; alternatives that came out alike in one."""
    for (depth, outcome, values, _), alike in groupby(parts, _alike):
        first, *others = (part["text"] for part in alike)
        listed = [first, *(text.partition(" is ")[2] for text in others)]
        more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
        yield f"  {_WORDS[outcome]:<10} {'  ' * depth}{', '.join(listed[:_LISTED])}{more}{values}"


def _alike(part: Mapping[str, Any]) -> tuple[int, bool | None, str, str]:
    """What parts that are told in one line have in common: for comparisons, all but the value."""
    name, compares, _ = part["text"].partition(" is ")
    values = {n: value for n, value in part["values"].items() if value is not None}
    told = ", ".join(f"{n} = {value}" for n, value in values.items())
    key = name if compares and name in part["values"] else part["text"]
    by = part.get("by") if values else None
    where = f"  {by['event.dataset']} ({by['log.file.path']}:{by['event.sequence']})" if by else ""
    return part["depth"], part["outcome"], (f"   [{told}]" if told else "") + where, key


def _window_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    yield f"records      {number(facts['records'])} concern it"
    if facts["fired"]:
        yield f"result       fired, first at {moment(facts['since'])}"
    else:
        yield "result       did not fire"
    for window in facts["windows"]:
        yield ""
        name = f"{window['window']}: " if window.get("window") else ""
        yield f"condition    {name}{window['text']}"
        for one in window["counted"]:
            yield f"counted      {one['rule']}: {number(one['records'])} records match"
            if one["left_out"]:
                missing = ", ".join(f"{n} in {number(c)}" for n, c in one["missing"].items())
                yield f"left out     {number(one['left_out'])} of them have no value: {missing}"
        yield from _group_lines(window)
    for base in facts.get("bases", ()):
        yield ""
        yield f"of {base['title']}:"
        if "records" in base:
            yield from _record_lines(base, "  ")
        else:
            yield "  it did not fire for these records: explain that rule"


def _group_lines(window: Mapping[str, Any]) -> Iterator[str]:
    groups = window["groups"]
    if not groups:
        yield "groups       none: no record of the entity is counted"
        return
    for one in groups:
        yield f"group        {_named(one['group'])}"
        lack = f"; {one['lacking']}" if one["lacking"] else ""
        yield f"  {one['reached']}, at {moment(one['time'])}{lack}"
        if one["fired"]:
            records = f"{number(one['fired'])} of its {number(one['records'])} records"
            yield f"  it held at {records}, first at {moment(one['since'])}"
    rest = window["groups_in_all"] - len(groups)
    if rest:
        yield f"             and {number(rest)} groups that came less close"
    if "lines" in window:
        yield ""
        yield from window["lines"]
