"""Labelled events, hits and alerts to counts, in all and per rule.

An event is flagged when an alert at the level or above lists it; which events an alert lists is
what `connwatch alerts events` says. An entity is an originator (`source.ip`) in one hour of log
time: malicious when any of its flows in that hour is, flagged when an alert that blames it lists
an event of that hour. An alert blames the address in its group or in its `source.ip`; one that
names none blames the originators of the events it lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import polars as pl

from connwatch.alert import SEVERITY, Document, fired, iso
from connwatch.schema import UTC
from connwatch.spans import placed

from .metrics import AlertCounts, Counts, Detection, Rate, wilson

_HOUR: Final = pl.col("connwatch.log_time").dt.truncate("1h")
_ALERTS: Final[dict[str, pl.DataType]] = {
    "alert": pl.String(),
    "rule": pl.String(),
    "group": pl.String(),
    "start": UTC,
    "end": UTC,
    "fired": UTC,
    "blamed": pl.String(),
}
#: entities that are named as missed
_NAMED: Final = 20


@dataclass(frozen=True, slots=True)
class Scored:
    """What one rule did, or all together (key None). alerts_per_day: None without a span."""

    key: str | None
    title: str
    level: str
    flows: Counts
    entities: Counts
    alerts: AlertCounts
    detection: Detection
    alerts_per_day: float | None
    false_per_day: float | None

    def as_json(self) -> dict[str, Any]:
        return {
            **({} if self.key is None else {"rule": self.key, "title": self.title}),
            "level": self.level,
            "flows": self.flows.as_json(),
            "entities": self.entities.as_json(),
            "alerts": self.alerts.as_json(),
            "time_to_detect": self.detection.as_json(),
            "alerts_per_day": self.alerts_per_day,
            "false_alerts_per_day": self.false_per_day,
        }


@dataclass(frozen=True, slots=True)
class LabelCount:
    """The events of one label: how many, and how many were flagged."""

    label: str
    detail: str | None
    malicious: bool
    events: int
    flagged: Rate
    count: int

    def as_json(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "detail": self.detail,
            "malicious": self.malicious,
            "events": self.events,
            "flagged": self.count,
            "share": self.flagged.as_json(),
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good the rules are on these events.

    events: all; unlabelled: those left out. first, last: begin of the first event and last log
    time. outside: entities that alerts blame, but that have no labelled flow in that hour; left
    out. missed: malicious originators that no alert blames, most flows first, the first 20.
    """

    level: str
    events: int
    malicious: int
    benign: int
    unlabelled: int
    outside: int
    first: datetime | None
    last: datetime | None
    days: float
    overall: Scored
    rules: tuple[Scored, ...]
    labels: tuple[LabelCount, ...]
    missed: tuple[tuple[str, int], ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "level": self.level,
            "events": {
                "total": self.events,
                "malicious": self.malicious,
                "benign": self.benign,
                "unlabelled": self.unlabelled,
            },
            "first": None if self.first is None else iso(self.first),
            "last": None if self.last is None else iso(self.last),
            "days": self.days,
            "blamed_outside_the_labels": self.outside,
            "all": self.overall.as_json(),
            "rules": [one.as_json() for one in self.rules],
            "labels": [one.as_json() for one in self.labels],
            "missed_entities": [
                {"source.ip": address, "malicious_flows": flows} for address, flows in self.missed
            ],
        }


def evaluate(
    events: pl.DataFrame,
    hits: pl.DataFrame,
    alerts: Iterable[Document],
    level: str,
    rules: Mapping[str, tuple[str, str]],
) -> Evaluation:
    """Score the alerts at `level` or above against the labels.

    events: `labels.LABELLED`. hits: `HIT_SCHEMA`. alerts: documents. rules: title and level of
    each rule that ran, by key; those at the level are scored whether they made an alert or not.
    """
    chosen = [one for one in alerts if SEVERITY[one["connwatch"]["level"]] >= SEVERITY[level]]
    named = {key: what for key, what in rules.items() if SEVERITY[what[1]] >= SEVERITY[level]}
    for one in chosen:
        key = one["connwatch"]["key"]["rule"]
        named.setdefault(key, (one["rule"]["name"], one["connwatch"]["level"]))
    found = alert_frame(chosen)
    listed = listing(hits, found).join(
        events.select(
            "event.id",
            "@timestamp",
            "source.ip",
            "malicious",
            hour=_HOUR,
        ),
        on="event.id",
    )
    listed = listed.with_columns(entity=pl.coalesce("blamed", "source.ip"))
    truth = _Truth.of(events)
    scored = [_scored(key, *named[key], found, listed, truth) for key in sorted(named)]
    overall = _scored(None, "all rules", level, found, listed, truth)
    outside = (
        listed.select("entity", "hour")
        .unique()
        .join(truth.hours, on=["entity", "hour"], how="anti")
    )
    known = events["malicious"]
    return Evaluation(
        level=level,
        events=events.height,
        malicious=int(known.sum()),
        benign=int((~known).sum()),
        unlabelled=known.null_count(),
        outside=outside.height,
        first=truth.first,
        last=truth.last,
        days=truth.days,
        overall=overall,
        rules=tuple(sorted(scored, key=_weight)),
        labels=_labels(events, listed),
        missed=_missed(truth, listed),
    )


def alert_frame(alerts: Iterable[Document]) -> pl.DataFrame:
    """One row per alert: id, rule key, group, log time of first and last hit and of when it fired
    first, whom it blames."""
    rows = [
        (
            one["event"]["id"],
            one["connwatch"]["key"]["rule"],
            one["connwatch"]["key"]["group"],
            datetime.fromisoformat(one["event"]["start"]),
            datetime.fromisoformat(one["event"]["end"]),
            datetime.fromisoformat(fired(one)),
            blamed(one),
        )
        for one in alerts
    ]
    return pl.DataFrame(rows, schema=_ALERTS, orient="row")


def blamed(alert: Document) -> str | None:
    """The address that an alert blames; None: the originators of the events it lists."""
    address = alert["connwatch"]["group"].get("source.ip") or alert.get("source", {}).get("ip")
    return None if address is None else str(address)


def listing(hits: pl.DataFrame, alerts: pl.DataFrame) -> pl.DataFrame:
    """Which event each alert lists: alert, rule, blamed, event.id, and when the alert said so
    (`time`): for what a window had seen before, when the alert fired.

    As `StoreReader.alert_events`: the hits of its rule and group between its first and last.
    Alerts of one rule and group do not overlap.
    """
    time = pl.max_horizontal("connwatch.log_time", "fired").alias("time")
    found = placed(alerts, hits, ("event.id",))
    return found.select("alert", "rule", "blamed", "event.id", time).collect()


@dataclass(frozen=True, slots=True)
class _Truth:
    """What the labels say. hours: entity, hour, malicious. entities: entity, malicious, flows
    (malicious ones), began (start of the first malicious one)."""

    malicious: int
    benign: int
    hours: pl.DataFrame
    entities: pl.DataFrame
    first: datetime | None
    last: datetime | None

    @classmethod
    def of(cls, events: pl.DataFrame) -> _Truth:
        known = events.filter(pl.col("malicious").is_not_null())
        entity = pl.col("source.ip").alias("entity")
        bad = pl.col("malicious")
        total = int(known["malicious"].sum())
        return cls(
            malicious=total,
            benign=known.height - total,
            hours=known.group_by(entity, _HOUR.alias("hour")).agg(bad.any()),
            entities=known.group_by(entity).agg(
                bad.any(), flows=bad.sum(), began=pl.col("@timestamp").filter(bad).min()
            ),
            first=events["@timestamp"].min(),  # type: ignore[arg-type]
            last=events["connwatch.log_time"].max(),  # type: ignore[arg-type]
        )

    @property
    def days(self) -> float:
        if self.first is None or self.last is None:
            return 0.0
        return (self.last - self.first).total_seconds() / 86400


def _scored(
    key: str | None,
    title: str,
    level: str,
    found: pl.DataFrame,
    listed: pl.DataFrame,
    truth: _Truth,
) -> Scored:
    if key is not None:
        found, listed = (frame.filter(pl.col("rule") == key) for frame in (found, listed))
    flagged = listed.unique("event.id")["malicious"]
    hours = (listed.select("entity", "hour").unique().join(truth.hours, on=["entity", "hour"]))[
        "malicious"
    ]
    bad_hours = int(truth.hours["malicious"].sum())
    alerts = _alerts(found.height, listed, truth)
    days = truth.days
    return Scored(
        key=key,
        title=title,
        level=level,
        flows=_counts(flagged, truth.malicious, truth.benign),
        entities=_counts(hours, bad_hours, truth.hours.height - bad_hours),
        alerts=alerts,
        detection=_detection(listed, truth),
        alerts_per_day=alerts.total / days if days else None,
        false_per_day=alerts.false / days if days else None,
    )


def _counts(flagged: pl.Series, malicious: int, benign: int) -> Counts:
    """flagged: of each unit that was, whether it is malicious (null: not labelled)."""
    true, false = int(flagged.sum()), int((~flagged).sum())
    return Counts(true, false, malicious - true, benign - false)


def _alerts(total: int, listed: pl.DataFrame, truth: _Truth) -> AlertCounts:
    labelled = listed.filter(pl.col("malicious").is_not_null())
    told = labelled.group_by("alert").agg(true=pl.col("malicious").any())
    true, scored = int(told["true"].sum()), told.height
    blames = labelled.join(told, on="alert").select("entity", "true").unique()
    seen = blames.join(truth.entities, on="entity")
    actors = int(truth.entities["malicious"].sum())
    return AlertCounts(
        true=true,
        false=scored - true,
        unlabelled=total - scored,
        actors=actors,
        found=_found(listed, truth).height,
        innocent=truth.entities.height - actors,
        blamed=seen.filter(~pl.col("true") & ~pl.col("malicious"))["entity"].n_unique(),
    )


def _found(listed: pl.DataFrame, truth: _Truth) -> pl.DataFrame:
    """The malicious entities that an alert blames for a malicious event, with the delay in µs."""
    return (
        listed.filter(pl.col("malicious"))
        .join(truth.entities.filter(pl.col("malicious")), on="entity")
        .filter(pl.col("time") >= pl.col("began"))
        .group_by("entity")
        .agg(delay=(pl.col("time").min() - pl.col("began").first()).dt.total_microseconds())
    )


def _detection(listed: pl.DataFrame, truth: _Truth) -> Detection:
    delays = _found(listed, truth)["delay"] / 1_000_000
    return Detection(
        entities=int(truth.entities["malicious"].sum()),
        detected=len(delays),
        p50=delays.quantile(0.5, "linear"),
        p95=delays.quantile(0.95, "linear"),
    )


def _weight(one: Scored) -> tuple[int, int, int, str]:
    """Rules that found most come first, the noisy before the silent."""
    return -one.flows.true_positives, -one.alerts.total, -SEVERITY[one.level], one.title


def _labels(events: pl.DataFrame, listed: pl.DataFrame) -> tuple[LabelCount, ...]:
    flagged = listed.select("event.id").unique().with_columns(flagged=pl.lit(value=True))
    rows = (
        events.filter(pl.col("malicious").is_not_null())
        .join(flagged, on="event.id", how="left")
        .group_by("label", "detail", "malicious")
        .agg(pl.len().alias("events"), pl.col("flagged").sum())
        .sort("malicious", "events", "label", "detail", descending=[True, True, False, False])
    )
    return tuple(
        LabelCount(label, detail, malicious, count, wilson(flagged, count), flagged)
        for label, detail, malicious, count, flagged in rows.iter_rows()
    )


def _missed(truth: _Truth, listed: pl.DataFrame) -> tuple[tuple[str, int], ...]:
    rows = (
        truth.entities.filter(pl.col("malicious"))
        .join(_found(listed, truth), on="entity", how="anti")
        .sort("flows", "entity", descending=[True, False])
        .select("entity", "flows")
    )
    return tuple(rows.head(_NAMED).iter_rows())
