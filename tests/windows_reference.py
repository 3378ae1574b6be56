"""What correlations come to, by walking over all records for each one."""

from __future__ import annotations

import json
import statistics
from typing import Any

import pytest

STATES = {"base_a": ("S0", "SF"), "base_b": ("SF", "REJ"), "base_c": ("OTH",)}
OPERATORS = {
    "gte": lambda a, b: a >= b,
    "gt": lambda a, b: a > b,
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "eq": lambda a, b: a == b,
    "neq": lambda a, b: a != b,
}


def named(expression: Any) -> set[str]:
    if isinstance(expression, str):
        return {expression}
    return set().union(*(named(part) for part in expression[1:]))


def written(expression: Any) -> str:
    if isinstance(expression, str):
        return expression
    if expression[0] == "not":
        return f"not ({written(expression[1])})"
    return f"({written(expression[1])}) {expression[0]} ({written(expression[2])})"


def settled(rule: dict[str, Any]) -> dict[str, Any]:
    """The rule with an expression only where there may be one."""
    rule = dict(rule)
    if not rule["counted"][0].startswith("temporal"):
        rule["expression"] = None
    if rule["expression"] is not None:
        rule["bases"] = sorted(named(rule["expression"]))
    return rule


def text(rule: dict[str, Any]) -> str:
    measure, field, percentile = rule["counted"]
    condition: Any = {rule["operator"]: rule["number"]}
    if field:
        condition["field"] = field
    if percentile:
        condition["percentile"] = percentile
    if rule["expression"] is not None:
        condition = written(rule["expression"])
    content = {
        "type": measure,
        "rules": rule["bases"],
        "group-by": rule["group"],
        "timespan": f"{rule['timespan']}s",
        "condition": condition,
    }
    quiet = f"suppress: {rule['timespan'] + rule['longer']}s"
    return f"title: Counted\n{quiet}\ncorrelation: {json.dumps(content)}\n"


# -- the reference ----------------------------------------------------------------------------


def measure(rule: dict[str, Any], inside: list[dict[str, Any]]) -> float:
    """What a window holds: its items, in order."""
    kind, _, percentile = rule["counted"]
    if rule["expression"] is not None:
        return float(present(rule["expression"], inside) and ordered(rule, inside))
    if kind == "event_count":
        return len(inside)
    if kind == "temporal":
        return len({item["base"] for item in inside})
    if kind == "temporal_ordered":
        return max(longest(rule["bases"], inside, at) for at in range(len(inside)))
    values = [item["value"] for item in inside]
    if kind == "value_count":
        return len(set(values))
    if kind == "value_sum":
        return sum(values)
    if kind == "value_avg":
        return sum(values) / len(values)
    share = 0.5 if kind == "value_median" else percentile / 100
    values.sort()
    place = (len(values) - 1) * share
    low = int(place)
    high = min(low + 1, len(values) - 1)
    found = values[low] + (values[high] - values[low]) * (place - low)
    if kind == "value_median":
        assert found == pytest.approx(statistics.median(values))
    return found


def longest(bases: list[str], inside: list[dict[str, Any]], last: int) -> int:
    """The longest chain of rules in their order that ends with the item at `last`."""
    item = inside[last]
    return 1 + max(
        (
            longest(bases, inside, before)
            for before in range(last)
            if inside[before]["record"] < item["record"]
            and bases.index(inside[before]["base"]) < bases.index(item["base"])
        ),
        default=0,
    )


def present(expression: Any, inside: list[dict[str, Any]]) -> bool:
    if isinstance(expression, str):
        return any(item["base"] == expression for item in inside)
    parts = [present(part, inside) for part in expression[1:]]
    return (
        not parts[0] if expression[0] == "not" else (all if expression[0] == "and" else any)(parts)
    )


def ordered(rule: dict[str, Any], inside: list[dict[str, Any]]) -> bool:
    """Whether the rules of the expression come one after the other in the window."""
    if rule["counted"][0] == "temporal":
        return True
    return bool(after(rule["expression"], {-1}, inside))


def after(expression: Any, reached: set[int], inside: list[dict[str, Any]]) -> set[int]:
    """The records with which an expression can be complete, begun after one of `reached`."""
    if isinstance(expression, str):
        return {
            item["record"]
            for item in inside
            if item["base"] == expression and any(item["record"] > one for one in reached)
        }
    if expression[0] == "not":
        return reached
    if expression[0] == "and":
        return after(expression[2], after(expression[1], reached, inside), inside)
    return after(expression[1], reached, inside) | after(expression[2], reached, inside)


def reference(rule: dict[str, Any], events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All alerts of a rule, by walking back from every record."""
    _, field, _ = rule["counted"]
    fields = [] if field is None else [field] if isinstance(field, str) else field
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for record, event in enumerate(events):
        for base in rule["bases"]:
            group = tuple(event[name] for name in rule["group"])
            value = tuple(event[name] for name in fields)
            if event["zeek.connection.state"] in STATES[base] and None not in group + value:
                item = {"record": record, "base": base, "time": event["time"]}
                item["value"] = value[0] if isinstance(field, str) else value
                groups.setdefault(group, []).append(item)
    found = []
    for group, items in groups.items():
        hit: dict[int, int] = {}
        values: dict[int, float] = {}
        for record in sorted({item["record"] for item in items}):
            now = events[record]["time"]
            inside = [
                item
                for item in items
                if item["record"] <= record and item["time"] > now - rule["timespan"]
            ]
            value = measure(rule, inside)
            holds = (
                value > 0
                if rule["expression"] is not None
                else OPERATORS[rule["operator"]](value, rule["number"])
            )
            if holds:
                values[record] = value
                for item in inside:
                    hit.setdefault(item["record"], record)
        found += sessions(rule, group, events, hit, values)
    return found


def sessions(
    rule: dict[str, Any],
    group: tuple[Any, ...],
    events: list[dict[str, Any]],
    hit: dict[int, int],
    values: dict[int, float],
) -> list[dict[str, Any]]:
    alerts: list[dict[str, Any]] = []
    last = None
    for by in sorted(set(hit.values())):
        now = events[by]["time"]
        records = sorted(record for record, other in hit.items() if other == by)
        if last is None or now - last > rule["timespan"] + rule["longer"]:
            alerts.append(
                {
                    "group": dict(zip(rule["group"], group, strict=True)),
                    "records": [],
                    "fired": now,
                    "value": values[by],
                    "peak": values[by],
                }
            )
        alerts[-1]["records"] += records
        alerts[-1]["last"] = now
        alerts[-1]["peak"] = max(alerts[-1]["peak"], values[by])
        last = now
    return alerts
