"""Stored events matched against lists of indicators as they are now.

What a list learned later is found in what is stored already. The way is that of a replay from
"match" on (`connwatch.pipeline`): matches, fold, documents, and one commit of hits and alerts. The
ids are those that a replay with the new lists gives. Doing it twice changes nothing; nor does a
connection count again that another record of it was a hit for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import polars as pl

from connwatch.alert import Document
from connwatch.contracts import REJECT_SCHEMA, Delivery
from connwatch.detectors import fold
from connwatch.detectors.alerts import written
from connwatch.detectors.indicators import Lists
from connwatch.detectors.listed import Listed
from connwatch.detectors.ruleset import Rule, RuleSet, load_rules, match
from connwatch.detectors.witnesses.counting import Counting
from connwatch.detectors.witnesses.flows import Flows
from connwatch.earlier import Earlier
from connwatch.errors import RuleError, UsageError
from connwatch.pipeline import bundled_rules
from connwatch.schema import STORED, empty
from connwatch.sinks.embedded import EmbeddedStore, StoreReader

#: events that are matched together
_BATCH: Final = 500_000
_LOG_TIME: Final = "connwatch.log_time"


@dataclass(frozen=True, slots=True)
class Found:
    """events: how many were looked at. hits: how many matched, by rule; fresh: hits that the store
    did not have. alerts: as this run alone tells them, by their beginning."""

    events: int
    hits: int
    fresh: int
    alerts: tuple[Document, ...]


def with_lists(rules: RuleSet, paths: Sequence[Path]) -> RuleSet:
    """The rules, and the bundled rule on indicators with these lists in the place of its examples.

    Raises InputError for a list that cannot be read.
    """
    return rules.including(_bundled(paths)) if paths else rules


def _bundled(paths: Sequence[Path]) -> Rule:
    file = bundled_rules() / "threat" / "indicators.yml"
    for rule in load_rules([file]).every:
        if isinstance(rule, Rule) and rule.listed is not None:
            listed = Listed(Lists(list(dict.fromkeys(paths))), rule.listed.fields)
            return replace(rule, enabled=True, listed=listed)
    raise RuleError("has no rule with lists", where=str(file), hint="install connwatch again")


def concerned(rules: RuleSet, paths: Sequence[Path]) -> RuleSet:
    """Of these rules those that run and have one of the lists, all of theirs if none is named; a
    list that no rule has is for the bundled rule. UsageError when there is none."""
    chosen = [rule for rule in rules.running if isinstance(rule, Rule) and rule.listed is not None]
    if paths:
        wanted = {path.resolve(): path for path in paths}
        chosen = [rule for rule in chosen if _files(rule) & wanted.keys()]
        named = {path for rule in chosen for path in _files(rule)}
        rest = [path for resolved, path in wanted.items() if resolved not in named]
        if rest:
            bundled = _bundled(rest)
            rules = rules.including(bundled)
            chosen = [*(rule for rule in chosen if rule.key != bundled.key), bundled]
    if not chosen:
        raise UsageError("no rule here has lists", hint="name a list, or --rules with lists")
    return rules.only(*chosen)


def _files(rule: Rule) -> set[Path]:
    return set() if rule.listed is None else {path.resolve() for path in rule.listed.lists.paths}


def rematch(
    rules: RuleSet, folder: Path, start: datetime | None = None, end: datetime | None = None
) -> Found:
    """Match the stored events that begin in the span, and store what is found.

    rules: with lists only (`concerned`). Raises StoreError when there is no store or it fails.
    """
    with StoreReader(folder) as reader:
        looked, events = _matching(rules, reader, start, end)
        matches = match(rules, events)
        if events.height:
            matches = Counting(events, Flows()).once(matches, frozenset(rules.foldings))
        folded = fold.fold(events, matches, rules.foldings, fold.begin())
    made = tuple(written(folded.alerts.sort("first", "alert"), rules.by_key))
    new = 0
    if made:
        rejects = pl.DataFrame(schema=REJECT_SCHEMA)
        every = Delivery(empty(), folded.hits, made, rejects, shown=folded.shown)
        with EmbeddedStore(folder) as store:
            run = store.begin_run()
            delivery = Earlier(folder, run).apart(every)
            new = int((run.look(delivery.hits) == 0).sum())
            run.write(delivery)
    alerts = tuple(one.document() for one in made)
    return Found(looked, folded.hits.height, new, alerts)


def _matching(
    rules: RuleSet, reader: StoreReader, start: datetime | None, end: datetime | None
) -> tuple[int, pl.DataFrame]:
    """How many events there are, and those that match, in the order of a replay."""
    span = [pl.lit(value=True)]
    if start is not None:
        span.append(pl.col("@timestamp") >= start)
    if end is not None:
        span.append(pl.col("@timestamp") < end)
    looked, parts = 0, [pl.DataFrame(schema=STORED)]
    for events in reader.events(start, end).filter(*span).collect_batches(chunk_size=_BATCH):
        looked += events.height
        rows = match(rules, events)["row"].unique().sort()
        parts.append(events[rows])
    return looked, _in_order(pl.concat(parts), reader)


def _in_order(events: pl.DataFrame, reader: StoreReader) -> pl.DataFrame:
    """By log time; ties by the beginning of their file, then by their line in it."""
    paths = events["log.file.path"].unique()
    if len(paths) < 2:
        return events.sort(_LOG_TIME, "event.sequence")
    begun = (
        reader.events()
        .filter(pl.col("log.file.path").is_in(paths.implode()))
        .group_by("event.dataset", "log.file.path")
        .agg(pl.col(_LOG_TIME, "event.id").sort_by("event.sequence").first())
        .collect()
        .sort("event.dataset", _LOG_TIME, "event.id")
        .with_row_index("_file")
        .select("event.dataset", "log.file.path", "_file")
    )
    return (
        events.join(begun, on=["event.dataset", "log.file.path"])
        .sort(_LOG_TIME, "_file", "event.sequence")
        .drop("_file")
    )
