"""Suppression: hits of one rule on one group belong to one alert until none came for a while.

`fold` is a pure function of a batch of matches and of the alerts that are still open. A hit joins
the open alert of its rule and group when its log time is at most the rule's `suppress` period
after that alert's last hit; otherwise it opens a new alert. Because log time never goes back, an
alert whose last hit is more than `suppress` behind is closed for good, and leaves the state.

A record that a window saw before anything fired is a hit of the record that fired first: `fired` is
that record's log time, `by` its number, and the quiet period is counted from one `fired` to the
next. A hit of a rule about one record fires itself.

The result does not depend on how the records were cut into batches: a session is only ever
extended at its end, and its evidence is the first and the last `KEPT` hits by log time and id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import polars_hash as plh

from connwatch.alert import COUNTED, KEPT
from connwatch.contracts import HIT_SCHEMA, SHOWN_SCHEMA, group_key
from connwatch.schema import DERIVED, STORED, UTC

from .compact import compact, compact_lists
from .ends import ORDER, of_both
from .listed import SHOWN, Listed, Said, apart, said, together
from .sessions import KEY, apart_from, in_sessions
from .windows.engine import Found

#: columns of an event that an alert shows as evidence; in the order of the first two
EVIDENCE: Final = (
    "connwatch.log_time",
    "event.id",
    "@timestamp",
    "source.ip",
    "source.port",
    "destination.ip",
    "destination.port",
    "network.transport",
    "zeek.connection.service",
    "zeek.connection.state",
    "event.duration",
    "source.bytes",
    "destination.bytes",
    "zeek.session_id",
    "process.pid",
    "process.name",
    "log.file.path",
    "log.offset",
    "event.sequence",
)
_EVIDENCE_TYPE: Final = pl.Struct({name: STORED[name] for name in EVIDENCE})

#: One row per alert: `alert` its id (32 hex digits), `group` the JSON text of its group values,
#: `first`/`last` log time of its first and last hit, `fired` log time of the first that fired,
#: `head`/`tail` its first and last events. Of windows, null for rules about one record: `window`
#: which one fired first, `value` what it measured then, `peak` the most that it measured when it
#: fired, `counted` the first `COUNTED` of the values that it counted. `shown`: what the lists of
#: the rule said of the hits (`listed.SHOWN`), null for rules without lists.
ALERT_SCHEMA: Final[dict[str, pl.DataType]] = {
    "alert": pl.String(),
    "rule": pl.String(),
    "group": pl.String(),
    "first": STORED["connwatch.log_time"],
    "last": STORED["connwatch.log_time"],
    "fired": STORED["connwatch.log_time"],
    "count": pl.Int64(),
    "head": pl.List(_EVIDENCE_TYPE),
    "tail": pl.List(_EVIDENCE_TYPE),
    "window": pl.UInt8(),
    "value": pl.Float64(),
    "peak": pl.Float64(),
    "counted": pl.List(pl.String()),
    "shown": SHOWN,
}
_SESSION: Final = [*KEY, "session"]
#: pieces of the open alerts in memory from which on they are put together: a piece keeps room that
#: its batch needed, but many alerts are much to copy
_CHUNKS: Final = 2
_CHUNKS_OF_MANY: Final = 32
#: open alerts that are many
_MANY: Final = 5_000
#: columns of every hit that are those of its record
_SHARED: Final = ("event.id", "@timestamp", "connwatch.log_time")
#: columns of a hit, and those that windows fill in; `at`: its row among the evidence
_HIT: Final = (
    "rule", "group", *_SHARED, "fired", "by", "order", "at",
)  # fmt: skip
_WINDOWED: Final = {name: ALERT_SCHEMA[name] for name in ("window", "value")} | {
    "counted": pl.String()
}


@dataclass(frozen=True, slots=True)
class Folding:
    """How one rule's hits are folded: by which fields, and for how long (microseconds); listed:
    what lists have to say of them."""

    group_by: tuple[str, ...]
    suppress: int
    listed: Listed | None = None


@dataclass(frozen=True, slots=True)
class Folded:
    """hits: `HIT_SCHEMA`. alerts: newest state of each alert touched; state: all open. shown:
    `SHOWN_SCHEMA`, what lists said of the hits."""

    hits: pl.DataFrame
    alerts: pl.DataFrame
    state: pl.DataFrame
    shown: pl.DataFrame


def begin() -> pl.DataFrame:
    """The state before the first batch: no open alert."""
    return pl.DataFrame(schema=ALERT_SCHEMA)


def fold(
    events: pl.DataFrame,
    matches: pl.DataFrame,
    foldings: Mapping[str, Folding],
    state: pl.DataFrame,
    counted: Found | None = None,
) -> Folded:
    """Fold one batch's matches (`MATCH_SCHEMA`, rows of `events`) into alerts.

    events: stored columns, in log-time order, `connwatch.log_time` filled. foldings: by rule key;
    matches of other rules are left out. counted: what windows found, with `EVIDENCE` kept.
    """
    matches = matches.filter(pl.col("rule").is_in(list(foldings)))
    parts = [] if matches.is_empty() else [_hits(events, matches, foldings)]
    evidence = events.select(EVIDENCE)
    if counted is not None and counted.sightings.height:
        parts.append(_counted(counted, events.height))
        own = pl.DataFrame([counted.records[name] for name in EVIDENCE])
        evidence = pl.concat([evidence, own])
    if not parts:
        return Folded(
            pl.DataFrame(schema=HIT_SCHEMA),
            pl.DataFrame(schema=ALERT_SCHEMA),
            _open(state, events, foldings),
            pl.DataFrame(schema=SHOWN_SCHEMA),
        )
    hits = pl.concat(parts)
    here, others = apart_from(state, hits)
    periods = {rule: folding.suppress for rule, folding in foldings.items()}
    marked, sessions = in_sessions(hits, periods, here)
    listed = {rule: one.listed for rule, one in foldings.items() if one.listed is not None}
    told = said(marked, events, listed, _SESSION)
    alerts = _with_said(_merge(_sessions(marked, sessions, evidence), here), told, here)
    own = compact(alerts.unique(KEY, keep="last", maintain_order=True), hits.height)
    newest = pl.concat([others, own])
    if newest.n_chunks() > (_CHUNKS if newest.height < _MANY else _CHUNKS_OF_MANY):
        newest = _by_themselves(newest)
    return Folded(
        hits.select(list(HIT_SCHEMA)),
        alerts,
        _open(newest, events, foldings),
        pl.DataFrame(schema=SHOWN_SCHEMA) if told is None else told.shown,
    )


def _by_themselves(alerts: pl.DataFrame) -> pl.DataFrame:
    """In one piece, without what batches had beside their evidence."""
    ends = (compact_lists(alerts[name]) for name in ("head", "tail"))
    return compact(alerts.with_columns(*ends), alerts.height).rechunk()


def latest(state: pl.DataFrame, most: int) -> pl.DataFrame:
    """Of open alerts so many, in their order: those with the latest hits."""
    if state.height <= most:
        return state
    order = state.select("last", "alert").with_row_index()
    rows = order.sort("last", "alert", descending=True).head(most)["index"].sort()
    return state[rows]


def _hits(
    events: pl.DataFrame, matches: pl.DataFrame, foldings: Mapping[str, Folding]
) -> pl.DataFrame:
    """One row per match, group after group in event order: what `_HIT` and `_WINDOWED` name."""
    rules_by_fields: dict[tuple[str, ...], list[str]] = {}
    for rule in matches["rule"].unique().to_list():
        rules_by_fields.setdefault(foldings[rule].group_by, []).append(rule)
    parts = []
    for fields, rules in rules_by_fields.items():
        chosen = (
            matches.filter(matches["rule"].is_in(rules)) if len(rules_by_fields) > 1 else matches
        )
        groups = [DERIVED.get(name, pl.col(name)).alias(name) for name in fields]
        read = {*_SHARED, *(name for one in groups for name in one.meta.root_names())}
        rows = events.select_seq(sorted(read))[chosen["row"]]
        number = chosen["row"].cast(pl.Int64)
        parts.append(
            rows.select_seq(
                chosen["rule"],
                rows.select_seq(groups).select_seq(group_key(fields)).to_series().alias("group"),
                *_SHARED,
                pl.col("connwatch.log_time").alias("fired"),
                *(number.alias(name) for name in ("by", "order", "at")),
                *(pl.lit(None, dtype).alias(name) for name, dtype in _WINDOWED.items()),
            )
        )
    return pl.concat(parts).sort("rule", "group", "by", "order")


def _counted(counted: Found, before: int) -> pl.DataFrame:
    """The same of what windows found; before: rows of the evidence that stand before theirs."""
    found = counted.sightings
    return found.select(
        "rule",
        "group",
        *(counted.records[name].gather(found["at"]) for name in _SHARED),
        "fired",
        "by",
        "order",
        pl.col("at") + before,
        *_WINDOWED,
    )


def _sessions(marked: pl.DataFrame, sessions: pl.DataFrame, evidence: pl.DataFrame) -> pl.DataFrame:
    """Sessions with what their hits come to."""
    session = marked["session"].to_numpy()
    times = marked["connwatch.log_time"].to_physical().to_numpy()
    begins = np.flatnonzero(np.diff(session, prepend=-1))
    ends = np.append(begins[1:], len(session))
    ascending = times[np.lexsort((times, session))]
    # Of each session the hits that may be among its first or last ones: few, as ties are.
    early = ascending[np.minimum(begins + KEPT, ends) - 1]
    late = ascending[np.maximum(ends - KEPT, begins)]
    outer = (times <= early[session]) | (times >= late[session])
    rows = marked.select("session", "at", *ORDER).filter(pl.Series(outer))
    shown = compact(evidence[rows["at"]], evidence.height).to_struct("event")
    kept = (
        rows.select("session", *ORDER, shown)
        .sort("session", *ORDER)
        .group_by("session", maintain_order=True)
        .agg(head=pl.col("event").head(KEPT), tail=pl.col("event").tail(KEPT))
    )
    return _measured(marked, sessions).with_columns(
        pl.Series(ascending[begins]).cast(UTC).alias("first"),
        marked["fired"][ends - 1].alias("last"),
        pl.Series(ends - begins).alias("count"),
        kept["head"],
        kept["tail"],
    )


def _measured(marked: pl.DataFrame, sessions: pl.DataFrame) -> pl.DataFrame:
    """Sessions with what windows measured; where an alert is open already, what its window did."""
    found = marked.select("session", "window", "value", "counted").filter(
        pl.col("window").is_not_null()
    )
    if found.is_empty():
        window = pl.when("joins").then("open_window").alias("window")
        return sessions.with_columns(window, *_UNMEASURED)
    fired = found.filter(pl.col("value").is_not_null())
    opened = fired.group_by("session").agg(pl.col("window", "value").first())
    sessions = sessions.join(opened, on="session", how="left", maintain_order="left").with_columns(
        window=pl.when("joins").then("open_window").otherwise("window")
    )
    own = sessions["window"]
    peaks = fired.filter(fired["window"] == own[fired["session"]])
    texts = found.drop_nulls("counted")
    texts = texts.filter(texts["window"] == own[texts["session"]])
    return (
        sessions.join(
            peaks.group_by("session").agg(peak=pl.col("value").max()),
            on="session",
            how="left",
            maintain_order="left",
        )
        .join(
            texts.select("session", "counted")
            .unique()
            .group_by("session")
            .agg(_shortest(pl.col("counted")).head(COUNTED)),
            on="session",
            how="left",
            maintain_order="left",
        )
        .with_columns(
            pl.when(pl.col("window").is_not_null())
            .then(pl.col("counted").fill_null([]))
            .alias("counted")
        )
    )


#: what sessions have that no window measured
_UNMEASURED: Final = [
    pl.lit(None, ALERT_SCHEMA[name]).alias(name) for name in ("value", "peak", "counted")
]


def _shortest(values: pl.Expr) -> pl.Expr:
    """Texts by length, then as text: numbers in their order."""
    return values.sort_by(values.str.len_bytes(), values)


def _merge(sessions: pl.DataFrame, state: pl.DataFrame) -> pl.DataFrame:
    """Sessions as alerts: continued ones take over what the open alert had."""
    opened = state.rename(
        {name: f"open_{name}" for name in ALERT_SCHEMA if name not in ("rule", "group")}
    )
    joined = sessions.join(opened, on=["rule", "group"], how="left", maintain_order="left")
    joined = joined.with_columns(head=of_both(joined, "head"), tail=of_both(joined, "tail"))
    own_id = plh.concat_str("rule", "group", "opening", separator="\x00").nchash.xxh3_128(
        return_binary=True, byte_order="big"
    )
    joins = pl.col("joins")
    counted = pl.concat_list(pl.col("open_counted", "counted").fill_null([]))
    both = counted.list.unique().list.eval(_shortest(pl.element())).list.head(COUNTED)
    return joined.select(
        pl.when(joins).then("open_alert").otherwise(own_id.bin.encode("hex")).alias("alert"),
        "rule",
        "group",
        "session",
        pl.when(joins)
        .then(pl.min_horizontal("open_first", "first"))
        .otherwise("first")
        .alias("first"),
        "last",
        pl.when(joins).then("open_fired").otherwise("fired").alias("fired"),
        pl.when(joins)
        .then(pl.col("count") + pl.col("open_count"))
        .otherwise("count")
        .alias("count"),
        "head",
        "tail",
        pl.when(joins).then("open_window").otherwise("window").alias("window"),
        pl.when(joins).then("open_value").otherwise("value").alias("value"),
        pl.when(joins).then(pl.max_horizontal("open_peak", "peak")).otherwise("peak").alias("peak"),
        pl.when(joins & pl.col("open_window").is_not_null())
        .then(both)
        .otherwise("counted")
        .alias("counted"),
    )


def _with_said(alerts: pl.DataFrame, told: Said | None, state: pl.DataFrame) -> pl.DataFrame:
    """Alerts (with their session) as `ALERT_SCHEMA`: what lists say is filled in."""
    if told is None:
        shown = alerts.with_columns(pl.lit(None, SHOWN).alias("shown"))
        return shown.select(list(ALERT_SCHEMA))
    before = apart(state.join(alerts, on="alert", how="semi"), "alert")
    now = told.rows.join(alerts.select(*_SESSION, "alert"), on=_SESSION).select(before.columns)
    shown = together(pl.concat([before, now]), "alert")
    filled = alerts.join(shown, on="alert", how="left", maintain_order="left")
    return filled.select(list(ALERT_SCHEMA))


def _open(
    alerts: pl.DataFrame, events: pl.DataFrame, foldings: Mapping[str, Folding]
) -> pl.DataFrame:
    """Those alerts that a later record can still extend."""
    if events.is_empty() or alerts.is_empty():
        return alerts
    now = events["connwatch.log_time"].max()
    suppress = pl.col("rule").replace_strict(
        list(foldings), [f.suppress for f in foldings.values()], return_dtype=pl.Int64
    )
    until = pl.col("last") + pl.duration(microseconds=suppress)
    stays = alerts.select_seq(until >= pl.lit(now)).to_series()
    return alerts if stays.all() else alerts.filter(stays)
