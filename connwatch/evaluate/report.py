"""What an evaluation says: the same rows for the terminal and for the page, and JSON.

Rows are text as people read it; a rate is in per cent with its interval behind it, `-` where
nothing was counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connwatch.alert import iso
from connwatch.render import moment, number, to_json

from .metrics import AlertCounts, Counts, Rate
from .score import Evaluation, Scored
from .sweep import Sweep

#: labels and rules that a table shows; JSON has all
_SHOWN: Final = 40


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a sweep: what all rules did with it, and the changed rule alone (None: it makes
    no alerts of its own)."""

    value: Any
    text: str
    overall: Scored
    rule: Scored | None


@dataclass(frozen=True, slots=True)
class Swept:
    """A sweep with what its values gave."""

    sweep: Sweep
    points: tuple[Point, ...]

    @property
    def curve(self) -> list[tuple[str, Scored]]:
        """What is drawn: the changed rule, or all rules where it makes no alerts of its own."""
        return [(point.text, point.rule or point.overall) for point in self.points]

    def as_json(self) -> dict[str, Any]:
        target = self.sweep.target
        return {
            "rule": target.rule,
            "id": target.key,
            "parameter": target.path,
            "values": [
                {
                    "value": point.text,
                    "all": point.overall.as_json(),
                    "rule": None if point.rule is None else point.rule.as_json(),
                }
                for point in self.points
            ],
        }


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, what it says in words, and a table: columns, rows, which columns are numbers."""

    heading: str
    notes: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[str, ...]


def as_json(evaluation: Evaluation, swept: Swept | None) -> str:
    """One JSON object; `sweep` only when there was one."""
    document = evaluation.as_json()
    if swept is not None:
        document["sweep"] = swept.as_json()
    return to_json(document, indent=2)


def sections(evaluation: Evaluation, swept: Swept | None) -> Iterator[Section]:
    """All that a report shows, in order."""
    yield _overall(evaluation)
    if evaluation.rules:
        yield _by_rule(evaluation)
    yield _by_label(evaluation)
    if evaluation.missed:
        rows = tuple((address, number(flows)) for address, flows in evaluation.missed)
        yield Section(
            "Never found", (), ("originator", "malicious flows"), rows, ("malicious flows",)
        )
    if swept is not None:
        yield from _by_value(swept)


def summary(evaluation: Evaluation) -> list[str]:
    """What was read, what the labels say, and how often there were alerts; a line each."""
    overall = evaluation.overall
    labels = (
        f"{number(evaluation.malicious)} malicious, {number(evaluation.benign)} benign, "
        f"{number(evaluation.unlabelled)} without a label"
    )
    lines = [f"events   {number(evaluation.events)}: {labels}"]
    if evaluation.first is not None and evaluation.last is not None:
        first, last = (moment(iso(one)) for one in (evaluation.first, evaluation.last))
        lines.append(f"span     {first} to {last} UTC, {duration(evaluation.days * 86400)}")
    lines.append(
        f"alerts   {number(overall.alerts.total)} at {evaluation.level} or above"
        f", {per_day(overall.alerts_per_day)} a day, of them false {per_day(overall.false_per_day)}"
    )
    found = overall.detection
    lines.append(
        f"found    {number(found.detected)} of {number(found.entities)} malicious originators; "
        f"time to detect p50 {duration(found.p50)}, p95 {duration(found.p95)}"
    )
    if evaluation.outside:
        lines.append(
            f"left out {number(evaluation.outside)} blamed entities without a labelled flow"
        )
    return lines


_RATES: Final = ("precision", "recall", "F1", "false-positive rate")


def _overall(evaluation: Evaluation) -> Section:
    overall = evaluation.overall
    columns = ("of", "true", "false", "missed", "quiet", *_RATES)
    rows = (
        ("flows", *_counts(overall.flows), *_rates(overall.flows)),
        ("entities per hour", *_counts(overall.entities), *_rates(overall.entities)),
        ("alerts", *_alert_counts(overall.alerts), *_rates(overall.alerts)),
    )
    return Section("All rules", tuple(summary(evaluation)), columns, rows, columns[1:])


def _counts(counts: Counts) -> tuple[str, ...]:
    return (
        number(counts.true_positives),
        number(counts.false_positives),
        number(counts.false_negatives),
        number(counts.true_negatives),
    )


def _alert_counts(counts: AlertCounts) -> tuple[str, ...]:
    """Missed are actors that no alert found, quiet are innocent addresses."""
    missed, quiet = counts.actors - counts.found, counts.innocent - counts.blamed
    return number(counts.true), number(counts.false), number(missed), number(quiet)


def _rates(counts: Counts | AlertCounts) -> tuple[str, ...]:
    rates = (counts.precision, counts.recall, counts.f1, counts.false_positive_rate)
    return tuple(with_interval(rate) for rate in rates)


def _by_rule(evaluation: Evaluation) -> Section:
    columns = (
        "rule", "level", "alerts", "false", "flows", "precision", "recall", "false-positive rate",
        "entity precision", "entity recall", "alerts a day", "detect p50", "p95",
    )  # fmt: skip
    spoke = [one for one in evaluation.rules if one.alerts.total]
    rows = tuple(
        (
            one.title,
            one.level,
            number(one.alerts.total),
            number(one.alerts.false),
            number(one.flows.true_positives + one.flows.false_positives),
            percent(one.flows.precision.value),
            percent(one.flows.recall.value),
            percent(one.flows.false_positive_rate.value),
            percent(one.entities.precision.value),
            percent(one.entities.recall.value),
            per_day(one.alerts_per_day),
            duration(one.detection.p50),
            duration(one.detection.p95),
        )
        for one in spoke[:_SHOWN]
    )
    silent = len(evaluation.rules) - len(spoke)
    notes = []
    if silent:
        notes.append(f"{number(silent)} rules at {evaluation.level} or above made no alert")
    if len(spoke) > _SHOWN:
        notes.append(f"the first {_SHOWN} of {number(len(spoke))}; --format json has all")
    return Section("Rule by rule", tuple(notes), columns, rows, columns[2:])


def _by_label(evaluation: Evaluation) -> Section:
    columns = ("label", "detail", "is", "flows", "flagged", "share")
    rows = tuple(
        (
            one.label,
            one.detail or "",
            "malicious" if one.malicious else "benign",
            number(one.events),
            number(one.count),
            with_interval(one.flagged),
        )
        for one in evaluation.labels[:_SHOWN]
    )
    more = len(evaluation.labels) - _SHOWN
    notes = (f"{number(more)} labels more; --format json has all",) if more > 0 else ()
    return Section("Label by label", notes, columns, rows, columns[3:])


def _by_value(swept: Swept) -> Iterator[Section]:
    columns = (
        "value", "alerts", "false", *_RATES,
        "entity precision", "entity recall", "alerts a day", "detect p50", "p95",
    )  # fmt: skip

    def rows(points: Sequence[tuple[str, Scored]]) -> tuple[tuple[str, ...], ...]:
        return tuple(
            (
                text,
                number(one.alerts.total),
                number(one.alerts.false),
                *_rates(one.flows),
                percent(one.entities.precision.value),
                percent(one.entities.recall.value),
                per_day(one.alerts_per_day),
                duration(one.detection.p50),
                duration(one.detection.p95),
            )
            for text, one in points
        )

    name = swept.sweep.name
    alone = [(point.text, point.rule) for point in swept.points if point.rule is not None]
    if alone:
        yield Section(name, ("this rule alone",), columns, rows(alone), columns[1:])
    everything = [(point.text, point.overall) for point in swept.points]
    if len(alone) == len(everything) and rows(alone) == rows(everything):
        return  # no other rule has a part in it
    yield Section(name, ("all rules together",), columns, rows(everything), columns[1:])


def percent(share: float | None) -> str:
    """In per cent: with more digits near the ends, where they matter."""
    if share is None:
        return "-"
    if share in (0.0, 1.0):
        return f"{share:.0%}"
    digits = 1 if 0.01 <= share <= 0.99 else 2
    return f"{share:.{digits}%}"


def with_interval(rate: Rate) -> str:
    if rate.value is None or rate.low is None or rate.high is None:
        return percent(rate.value)
    return f"{percent(rate.value)} ({percent(rate.low)} to {percent(rate.high)})"


def per_day(rate: float | None) -> str:
    if rate is None:
        return "-"
    return f"{rate:.2f}" if 0 < rate < 10 else number(rate)


def duration(seconds: float | None) -> str:
    """Seconds for people: 0.5 s, 90 s, 12 min, 5.2 h, 3.1 days."""
    if seconds is None:
        return "-"
    for size, unit, limit in ((1, "s", 120), (60, "min", 120), (3600, "h", 48)):
        if seconds < limit * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86400:.1f} days"
