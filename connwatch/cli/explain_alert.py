"""Why there is an alert: its rule with the values of the events, the window over time, the events.

What the alert itself knows is told even if its rule is gone or has changed, which is said.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from connwatch.alert import COUNTED, Document, fired, iso
from connwatch.attribution.alerts import process_lines
from connwatch.attribution.witnesses import witness_lines
from connwatch.behind import Records
from connwatch.cli import wording
from connwatch.cli.explain_entity import part_lines
from connwatch.cli.explain_records import (
    Run,
    count_plot,
    event_text,
    group_facts,
    plot,
    run,
    window_facts,
)
from connwatch.cli.explain_united import hit_parts
from connwatch.cli.timeline import over_time
from connwatch.detectors.alerts import asked
from connwatch.detectors.ruleset import Correlation, Rule, RuleSet
from connwatch.detectors.windows.entity import Entity
from connwatch.detectors.windows.trace import nearest
from connwatch.render import moment, number

#: what of an alert's values its window asked for; the rest is what it measured
_ASKED: Final = ("window", "measure", "fields", "rules", "condition", "timespan_seconds")
_MICROSECOND: Final = timedelta(microseconds=1)
_GROUPS: Final = 5


def alert_facts(source: Records, document: Document, rules: RuleSet) -> dict[str, Any]:
    """Everything that there is to say, as JSON shows it."""
    own, event = document["connwatch"], document["event"]
    rule = next((one for one in rules.every if one.key == own["key"]["rule"]), None)
    last = datetime.fromisoformat(event["end"])
    quiet = timedelta(microseconds=own["key"]["suppress_us"])
    newest = source.newest()
    gone = source.gone(document)
    facts: dict[str, Any] = {
        "id": event["id"],
        "message": document["message"],
        "level": own["level"],
        "status": own["status"],
        "group": own["group"],
        "rule": {
            "id": document["rule"]["id"],
            "title": document["rule"]["name"],
            "description": document["rule"].get("description"),
            "where": None if rule is None else rule.where,
            "found": rule is not None,
            "changed": [] if rule is None else _changes(rule, document),
        },
        "opened": fired(document),
        "first": event["start"],
        "last": event["end"],
        "quiet_period_seconds": quiet.total_seconds(),
        "ends": iso(last + quiet),
        "ended": newest is not None and newest > last + quiet,
        "values": own.get("values", {}),
        "events": {"count": own["count"], "listed": own["evidence"], "gone": gone},
    }
    if isinstance(rule, Correlation) and "measure" in facts["values"] and not gone:
        _counted(source, document, rules, rule, facts)
    if "lines" not in facts:
        _listed(source, document, rule, facts)
    return facts


def _changes(rule: Rule | Correlation, document: Document) -> list[str]:
    """How a rule differs from what the alert knows of it."""
    own, values = document["connwatch"], document["connwatch"].get("values", {})
    pairs = [
        ("title", document["rule"]["name"], rule.title),
        ("level", own["level"], rule.level),
        ("group", ", ".join(own["group"]), ", ".join(rule.group_by)),
        ("quiet period", *map(wording.span, (own["key"]["suppress_us"], rule.suppress))),
    ]
    found = [f"{name} was {was}, is {now}" for name, was, now in pairs if was != now]
    if ("measure" in values) != isinstance(rule, Correlation):
        kinds = ("one record", "many records")
        was, now = kinds if isinstance(rule, Correlation) else kinds[::-1]
        found.append(f"was about {was}, is about {now}")
    elif isinstance(rule, Correlation) and not _places(rule, values):
        said = {name: values[name] for name in _ASKED if name in values}
        now = "; ".join(
            wording.condition(window, asked(rule.windows, place))
            for place, window in enumerate(rule.windows.windows)
        )
        found.append(f"condition was {wording.asked(said)}, is {now}")
    return found


def _places(rule: Correlation, values: Mapping[str, Any]) -> list[int]:
    """Which of a rule's windows ask for what an alert says was asked."""
    said = {name: values[name] for name in _ASKED if name in values}
    places = range(len(rule.windows.windows))
    return [place for place in places if asked(rule.windows, place) == said]


def _counted(
    source: Records,
    document: Document,
    rules: RuleSet,
    rule: Correlation,
    facts: dict[str, Any],
) -> None:
    """What the rule's windows held, measured again over the stored events."""
    own, event = document["connwatch"], document["event"]
    if set(own["group"]) != set(rule.windows.group):
        return
    first, last = (datetime.fromisoformat(event[name]) for name in ("start", "end"))
    values = tuple((name, _text(value)) for name, value in own["group"].items())
    found = run(source, rules, rule, Entity(values=values), (first, last + _MICROSECOND))
    places = _places(rule, own["values"])
    place = places[0] if places else 0
    records = found.traced.records(place)
    facts["windows"] = [
        {
            **window_facts(found, number),
            "this": number == place,
            "groups": [
                group_facts(found, one)
                for one in nearest(rule.windows, found.traced, found.events, number, _GROUPS)
            ],
        }
        for number in range(len(rule.windows.windows))
    ]
    series = over_time(records, pl.col("value").sort_by("lacking").first(), pl.col("fires").any())
    if series is not None:
        facts["over_time"] = series.points()
        facts["lines"] = plot(found, place, series)
    if places:
        facts["condition"] = facts["windows"][place]["text"]
        facts["rule"]["changed"] += _differences(found, place, own["values"])


def _differences(found: Run, place: int, values: Mapping[str, Any]) -> list[str]:
    """How what is measured now differs from what the alert says."""
    said = wording.quantity(values["value"]), moment(values["fired"])
    firing = found.traced.records(place).filter("fires").sort("record")
    if firing.is_empty():
        return [f"measured again over the stored events it does not fire ({said[0]} at {said[1]})"]
    value, time = firing.row(0, named=True)["value"], iso(firing["connwatch.log_time"][0])
    if (value, time) == (values["value"], values["fired"]):
        return []
    now = f"{wording.quantity(value)} at {moment(time)}"
    return [
        f"measured again over the stored events it fires with {now}, not {said[0]} at {said[1]}"
    ]


def _text(value: object) -> str | None:
    """A value of a group as entities have it."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


def _listed(
    source: Records,
    document: Document,
    rule: Rule | Correlation | None,
    facts: dict[str, Any],
) -> None:
    """The events behind an alert over time, and for a rule about one record how it matches the
    first of them."""
    events = source.behind(document)
    times = events.select("connwatch.log_time").collect()
    series = over_time(times, pl.len(), pl.lit(value=False))
    if series is not None:
        facts["over_time"] = series.points()
        facts["lines"] = count_plot(series, "events behind the alert")
    if isinstance(rule, Rule) and "measure" not in facts["values"] and times.height:
        event = events.head(1).collect()
        facts["parts"] = hit_parts(source, rule, event)
        if not all(part["outcome"] for part in facts["parts"] if not part["depth"]):
            facts["rule"]["changed"].append("its condition does not hold for the first event")


def alert_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """All of it for people; not yet safe."""
    rule = facts["rule"]
    yield f"alert        {facts['message']}"
    yield f"id           {facts['id']}"
    yield f"level        {facts['level']}, {facts['status']}"
    yield f"rule         {rule['title']} ({rule['where'] or rule['id']})"
    if rule["description"]:
        yield f"why          {' '.join(rule['description'].split())}"
    if not rule["found"]:
        yield "             not among the rules here (--rules PATH names others);"
        yield "             what follows is what the alert knows"
    for change in rule["changed"]:
        yield f"  changed    {change}"
    group = ", ".join(f"{name} {value}" for name, value in facts["group"].items())
    yield f"group        {group or 'all records together'}"
    yield f"opened       {moment(facts['opened'])} UTC"
    quiet = wording.span(round(facts["quiet_period_seconds"] * 1_000_000))
    ended = "ended" if facts["ended"] else "open until"
    yield f"{ended:<12} {moment(facts['ends'])}, {quiet} of log time after its last event"
    if "parts" in facts:
        yield ""
        several = any("by" in part for part in facts["parts"])
        whose = "records of its connection" if several else "the first event"
        yield f"the condition, with the values of {whose}:"
        yield from part_lines(facts["parts"])
    yield from _value_lines(facts)
    if "lines" in facts:
        yield ""
        yield from facts["lines"]
    if told := list(process_lines(facts.get("processes", ()), facts["events"]["count"])):
        yield ""
        yield from told
    yield from _event_lines(facts)
    if told := list(witness_lines(facts.get("witnesses", ()))):
        yield ""
        yield from told


def _value_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """What was counted: as the alert says it, and group by group where there are several."""
    values = facts["values"]
    if "measure" in values:
        said = {name: values[name] for name in _ASKED if name in values}
        unit = wording.unit(values["measure"], values.get("fields", []))
        name = f"{values['window']}: " if values.get("window") else ""
        yield ""
        text = facts["condition"] if "condition" in facts else wording.asked(said)
        yield f"condition    {name}{text}"
        if not values["measure"].startswith("temporal") or values["condition"][0] in "<>=!":
            value, peak = (wording.quantity(values[key], unit) for key in ("value", "peak"))
            yield f"measured     {value} when it fired first, at {moment(values['fired'])}"
            yield f"             {peak} at most"
        if values.get("counted"):
            kept = values["counted"]
            more = f" (no more than {COUNTED} are kept)" if len(kept) >= COUNTED else ""
            yield f"counted      {', '.join(kept)}{more}"
    elif values:
        yield ""
        for name, value in values.items():
            if name == "lists":
                yield from map(_list_line, value)
            else:
                yield f"{name:<12} {value}"
    for window in facts.get("windows", ()):
        several = [one for one in window["groups"] if one["group"] != facts["group"]]
        if not several and window["this"]:
            continue
        yield f"{'of these' if window['this'] else 'also':<12} {window['text']}"
        for one in window["groups"]:
            group = ", ".join(f"{name} {value}" for name, value in one["group"].items())
            yield f"  {group}: {one['reached']}, at {moment(one['time'])}"


def _list_line(place: Mapping[str, Any]) -> str:
    """One indicator that events showed: who lists it, where, and how many events."""
    port = f" port {place['port']}" if "port" in place else ""
    where = place.get("line", place.get("entry"))
    events = "1 event" if place["count"] == 1 else f"{number(place['count'])} events"
    return (
        f"listed       {place['indicator']}{port} by {place['provider']} "
        f"({place['file']}:{where}): {events}"
    )


def _event_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    events, first, last = facts["events"], moment(facts["first"]), moment(facts["last"])
    listed, count = events["listed"], events["count"]
    yield ""
    yield f"events       {number(count)}, log time {first} to {last}"
    if events["gone"]:
        yield f"             {wording.lost(events['gone'], count)}"
    rest = count - len(listed)
    head = listed if rest <= 0 else listed[: len(listed) // 2]
    for event in head:
        yield f"  {event_text(event)}"
    if rest > 0:
        yield f"  … {number(rest)} more"
        for event in listed[len(head) :]:
            yield f"  {event_text(event)}"
    if "command" in events and events["gone"] < count:
        yield f"all of them: {events['command']}"
