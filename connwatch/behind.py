"""Which events are behind an alert, and what else a question about rules reads: of the store, which
keeps that, or of a server, which does not.

A server has events and alerts, and nothing about which event a rule hit. So the rule is run again
over the events of the alert's group and time that are there, as a replay would. What comes out is
what the alert counted if it is as many, and all that the alert lists is among it (or another record
of the same connection is); otherwise the rule, or what is there, is not what it was, and that is
said.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

import polars as pl

from connwatch.alert import Document, iso
from connwatch.contracts import HIT_SCHEMA
from connwatch.detection import Detection
from connwatch.detectors.ruleset import Correlation, Rule, RuleSet
from connwatch.detectors.windows.entity import Alternatives, Entity, condition
from connwatch.detectors.witnesses.counting import REACH, Counting
from connwatch.detectors.witnesses.flows import HOLD, Flows
from connwatch.detectors.witnesses.united import whole
from connwatch.errors import QueryError
from connwatch.query.made import NO_TIME, compared, equal, without
from connwatch.query.tree import And, Everything, Node, Or, Query
from connwatch.schema import BY_NAME, OBJECTS, STORED, STRINGS, empty
from connwatch.sinks.embedded import StoreReader

if TYPE_CHECKING:  # the client takes half a second to load
    from connwatch.sinks.elasticsearch.reader import ServerReader

Span = tuple[datetime | None, datetime | None]

_LOG_TIME: Final = "connwatch.log_time"
#: the order of a replay: log time, then the log and the place in it
ORDER: Final = (_LOG_TIME, "event.dataset", "log.file.path", "event.sequence")
_MICROSECOND: Final = timedelta(microseconds=1)
_REACH: Final = timedelta(microseconds=REACH)
_HOLD: Final = timedelta(microseconds=HOLD)


class Records(Protocol):
    """Events and what is behind alerts, wherever they are."""

    def newest(self) -> datetime | None:
        """The largest log time there is."""

    def read(
        self, names: Sequence[str], alternatives: Alternatives | None, span: Span
    ) -> pl.DataFrame:
        """These stored columns of the records in a span of log time (the end exclusive) that have
        one of the alternatives; None for all."""

    def behind(self, document: Document) -> pl.LazyFrame:
        """The events behind an alert, by log time: stored columns."""

    def gone(self, document: Document) -> int:
        """How many of them are not there any more."""


class StoreRecords:
    """Those of the embedded store."""

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader

    def newest(self) -> datetime | None:
        found = self._reader.events().select(pl.col(_LOG_TIME).max()).collect().item()
        return found if isinstance(found, datetime) else None

    def read(
        self, names: Sequence[str], alternatives: Alternatives | None, span: Span
    ) -> pl.DataFrame:
        # A record begins before its log time, so that only an end leaves whole files out.
        events = self._reader.events(None, span[1])
        return _kept(events, alternatives, span).select(names).collect()

    def behind(self, document: Document) -> pl.LazyFrame:
        return self._reader.alert_events(document["event"]["id"])

    def gone(self, document: Document) -> int:
        return self._reader.gone_events(document["event"]["id"])


@dataclass(frozen=True, slots=True)
class Behind:
    """What was found behind an alert. events: stored columns, by log time. hits: `HIT_SCHEMA`, of
    these events. gone: how many of the events that it counted are not there. doubt: why these may
    not be all that the alert counted, in words; None: they are just those."""

    events: pl.DataFrame
    hits: pl.DataFrame
    gone: int = 0
    doubt: str | None = None


class ServerRecords:
    """Those of a server. rules: that alerts came from."""

    def __init__(self, reader: ServerReader, rules: RuleSet) -> None:
        self._reader, self._rules = reader, rules
        self._found: dict[str, Behind] = {}
        self._only: dict[str, RuleSet] = {}

    def newest(self) -> datetime | None:
        found = self._reader.search(
            Query(Everything()), now=NO_TIME, sort=(_LOG_TIME, True), limit=1, columns=[_LOG_TIME]
        )
        times: list[datetime] = found[_LOG_TIME].to_list()
        return times[0] if times else None

    def read(
        self, names: Sequence[str], alternatives: Alternatives | None, span: Span
    ) -> pl.DataFrame:
        start, end = span
        wanted = {root for one in alternatives or () for name, _ in one for root in _roots(name)}
        columns = [name for name in STORED if name in {*names, *wanted, _LOG_TIME}]
        found = self._reader.search(
            Query(_question(alternatives, span)), now=NO_TIME, end=end,
            sort=(_LOG_TIME, False), limit=None, columns=columns,
        )  # fmt: skip
        return _kept(found.lazy(), alternatives, (start, end)).select(names).collect()

    def behind(self, document: Document) -> pl.LazyFrame:
        return self.found(document).events.lazy()

    def gone(self, document: Document) -> int:
        return self.found(document).gone

    def found(self, document: Document) -> Behind:
        """What is behind an alert, and whether that is all."""
        alert = document["event"]["id"]
        if alert not in self._found:
            self._found = {alert: self._find(document)}
        return self._found[alert]

    def _find(self, document: Document) -> Behind:
        own = document["connwatch"]
        ids = {one["event.id"] for one in own["evidence"]}
        rule = next((one for one in self._rules.every if one.key == own["key"]["rule"]), None)
        if rule is None or set(own["group"]) != set(_group(rule)):
            listed = self._listed(document)
            missing = (len(ids) if len(ids) < own["count"] else own["count"]) - listed.height
            why = (
                "its rule is not among the rules here (--rules PATH names others)"
                if rule is None
                else "its rule groups alerts in another way now"
            )
            return Behind(listed, _as_hits(document, listed), missing, f"{why}: only what it lists")
        if isinstance(rule, Rule) and whole(rule) is not None:
            # What records of the same connections said before is part of it.
            events, hits = self._again(document, rule, _HOLD)
        else:
            events, hits = self._again(document, rule)
            if not ids <= set(hits["event.id"]):
                events, hits = self._again(document, rule, _REACH)
        matched = events.join(hits.select("event.id"), on="event.id", how="semi")
        if hits.height == own["count"] and ids <= set(hits["event.id"]):
            return Behind(_in_order(matched), hits)
        listed = self._listed(document)
        unmatched = listed.join(hits.select("event.id"), on="event.id", how="anti")
        both = _in_order(pl.concat([matched, unmatched]))
        gone = 0
        if listed.height < len(ids):
            gone = max(len(ids) - listed.height, own["count"] - both.height)
            why = "some of its events are not there"
        elif unmatched.height:
            why = "its rule does not match all that it lists: the rule has changed"
        else:
            why = (
                f"its rule matches {hits.height:,} events there, the alert counted"
                f" {own['count']:,}: the rule has changed, or other events are there than those"
                " it was run over"
            )
        return Behind(both, pl.concat([hits, _as_hits(document, unmatched)]), gone, why)

    def _listed(self, document: Document) -> pl.DataFrame:
        """The events that an alert lists, as far as they are there."""
        ids = tuple(equal("event.id", one["event.id"]) for one in document["connwatch"]["evidence"])
        return self._search(Or(ids), None) if ids else empty()

    def _again(
        self, document: Document, rule: Rule | Correlation, before: timedelta = timedelta()
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The events of an alert's group and time (and somewhat before), and what the rule hits of
        them. before: how much earlier other records of the same connections are looked for."""
        key, event = document["connwatch"]["key"], document["event"]
        first, last = (datetime.fromisoformat(event[name]) for name in ("start", "end"))
        only = self._only.setdefault(rule.key, self._rules.only(rule))
        values = tuple(
            (name, value if value is None or isinstance(value, str) else json.dumps(value))
            for name, value in document["connwatch"]["group"].items()
        )
        entity, lead = Entity(values=values), timedelta()
        if isinstance(rule, Rule):
            alternatives: Alternatives | None = entity.alternatives_by(rule.group_by)
        else:
            alternatives = entity.alternatives(only.correlated)
            lead = timedelta(microseconds=sum(one.timespan for one in only.correlated))
        span = (first - lead - before, last + _MICROSECOND)
        events = self.read(list(STORED), alternatives, span).sort(ORDER, maintain_order=True)
        hits = (
            Detection(only)
            .step(events)
            .hits.filter(pl.col("rule") == key["rule"], pl.col("group") == key["group"])
            .select(list(HIT_SCHEMA))
        )
        if before:
            listed = [one["event.id"] for one in document["connwatch"]["evidence"]]
            hits = _instead(hits, events, pl.Series("event.id", listed))
        return events, hits.filter(pl.col(_LOG_TIME).is_between(first, last))

    def _search(self, node: Node, end: datetime | None) -> pl.DataFrame:
        return self._reader.search(
            Query(node), now=NO_TIME, end=end,
            sort=(_LOG_TIME, False), limit=None, columns=list(STORED),
        )  # fmt: skip


def _instead(hits: pl.DataFrame, events: pl.DataFrame, listed: pl.Series) -> pl.DataFrame:
    """Hits, with the records that an alert lists in the place of others of the same connections: of
    logs that were replayed one after the other the record counts that came to the store first."""
    if events.is_empty():
        return hits
    flow = pl.Series("flow", Counting(events, Flows()).flows)
    flows = events.select("event.id", "@timestamp", _LOG_TIME, flow).filter(pl.col("flow") >= 0)
    missing = flows.filter(
        pl.col("event.id").is_in(listed.implode())
        & ~pl.col("event.id").is_in(hits["event.id"].implode())
    )
    others = (
        hits.filter(~pl.col("event.id").is_in(listed.implode()))
        .select("rule", "group", old="event.id")
        .join(flows.select("flow", old="event.id"), on="old")
        .join(missing.unique("flow", maintain_order=True), on="flow", maintain_order="left")
        .unique("flow", keep="first", maintain_order=True)
    )
    left = hits.join(others.select(pl.col("old").alias("event.id")), on="event.id", how="anti")
    return pl.concat([left, others.select(list(HIT_SCHEMA))])


def _kept(events: pl.LazyFrame, alternatives: Alternatives | None, span: Span) -> pl.LazyFrame:
    start, end = span
    for bound in (
        None if start is None else pl.lit(start) <= pl.col(_LOG_TIME),
        None if end is None else pl.lit(end) > pl.col(_LOG_TIME),
        None if alternatives is None else condition(alternatives),
    ):
        events = events if bound is None else events.filter(bound)
    return events


def _question(alternatives: Alternatives | None, span: Span) -> Node:
    """A query that all these records match, and perhaps others."""
    parts: list[Node] = [
        compared(_LOG_TIME, sign, iso(bound))
        for sign, bound in zip((">=", "<"), span, strict=True)
        if bound is not None
    ]
    if alternatives is not None:
        each = [And(tuple(_has(*pair) for pair in one if _asks(*pair))) for one in alternatives]
        if all(one.queries for one in each):
            parts.append(Or(tuple(each)))
    return And(tuple(parts)) if parts else Everything()


def _has(name: str, value: str | None) -> Node:
    return without(name) if value is None else equal(name, value)


def _asks(name: str, value: str | None) -> bool:
    """Whether a query can ask for it; else it is looked at here."""
    from connwatch.sinks.elasticsearch.query import compile_events

    if name in OBJECTS or BY_NAME[name].dtype == STRINGS:
        return False
    try:
        compile_events(Query(_has(name, value)), now=NO_TIME)
    except QueryError:
        return False
    return True


def _roots(name: str) -> list[str]:
    derive = BY_NAME[name].derive
    return [name] if derive is None else derive.meta.root_names()


def _group(rule: Rule | Correlation) -> tuple[str, ...]:
    return rule.group_by if isinstance(rule, Rule) else rule.windows.group


def _in_order(events: pl.DataFrame) -> pl.DataFrame:
    return events.sort(_LOG_TIME, "event.id")


def _as_hits(document: Document, events: pl.DataFrame) -> pl.DataFrame:
    """`HIT_SCHEMA` of events that an alert lists."""
    key = document["connwatch"]["key"]
    return events.select(
        pl.lit(key["rule"]).alias("rule"),
        pl.lit(key["group"]).alias("group"),
        "event.id", "@timestamp", _LOG_TIME,
    )  # fmt: skip
