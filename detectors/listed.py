"""Rules that look records up in lists of indicators, and what the lists say of an alert's records.

A rule's `Listed` says which records match (`hits`); `said` says of records that are hits which
indicators they show, and `together` adds up what was said of one alert, batch by batch. An alert
keeps the content of the entries, never their position in a list, which may be read again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from connwatch.alert import ENRICHMENTS, Document, indicator_key, iso
from connwatch.schema import STRINGS

from .indicators import (
    ENTRY_SCHEMA,
    Fields,
    Lists,
    allowed,
    enrichment,
    match,
)

#: what makes an indicator itself, in the order in which alerts list them
_SAME: Final = ("value", "port", "valid_from", "valid_until", "provider")
#: what else an alert keeps of an entry
_TOLD: Final = (
    "kind", "version", "reference", "description", "confidence", "type", "id", "file", "line",
    "entry",
)  # fmt: skip
#: What lists say of an alert's records, one indicator: the entry, the first field and value that
#: showed it (as text, in the order of texts), and how many hits did.
SAID: Final[dict[str, pl.DataType]] = {
    **{name: ENTRY_SCHEMA[name] for name in (*_SAME, *_TOLD)},
    "field": pl.String(),
    "atomic": pl.String(),
    "count": pl.Int64(),
}
SHOWN: Final = pl.List(pl.Struct(SAID))
_SORTED: Final = [name for name in SAID if name != "count"]
#: entries that cannot be used which a note names
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class Listed:
    """What a rule looks for in its records: the lists, the allow-list, and the columns.

    What is read again in between (`Lists.reload_if_changed`) holds from the next batch on.
    """

    lists: Lists
    fields: Fields
    allow: Lists | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Every stored column that is read."""
        ports = (f"{name.partition('.')[0]}.port" for name in self.fields.addresses)
        return tuple(dict.fromkeys(("@timestamp", *self.fields.all, *ports, "destination.port")))

    def hits(self, events: pl.DataFrame, rows: pl.Series) -> pl.Series:
        """Those of the rows (ascending) that show an indicator and are not on the allow-list."""
        asked = events.select(self.columns)
        if len(rows) < events.height:
            asked = asked[rows]
        found = match(asked, self.lists.indicators, self.fields)["row"].unique().sort()
        if self.allow is not None and len(found):
            known = allowed(asked[found], self.allow.indicators, self.fields)
            found = found.filter(~known)
        return rows.gather(found)

    def found(self, events: pl.DataFrame, rows: pl.Series) -> pl.DataFrame:
        """row (position in `rows`, which stand in any order), field, atomic (its value as text) and
        indicator of all that these rows show."""
        asked = events.select(self.columns)[rows]
        found = match(asked, self.lists.indicators, self.fields)
        parts = [
            own.with_columns(atomic=_text(asked[name]).gather(own["row"]))
            for (name,), own in found.group_by("field", maintain_order=True)
            if isinstance(name, str)
        ]
        schema = {**found.schema, "atomic": pl.String()}
        return pl.concat(parts) if parts else pl.DataFrame(schema=schema)


def _text(values: pl.Series) -> pl.Series:
    return values.list.join(", ") if values.dtype == STRINGS else values.cast(pl.String)


@dataclass(frozen=True, slots=True)
class Said:
    """What lists say of hits. rows: the key of their alerts and `SAID`, one per key and indicator.
    shown: `SHOWN_SCHEMA`, one per hit and indicator."""

    rows: pl.DataFrame
    shown: pl.DataFrame


def said(
    hits: pl.DataFrame, events: pl.DataFrame, rules: Mapping[str, Listed], key: Sequence[str]
) -> Said | None:
    """What the lists of rules say of hits. None where no rule with lists has one.

    hits: rule, event.id, order (the row in events), and the key.
    """
    parts = []
    for rule, listed in rules.items():
        own = hits.filter(pl.col("rule") == rule)
        if own.height:
            parts.append(_said(own, events, listed, key))
    if not parts:
        return None
    return Said(pl.concat([one.rows for one in parts]), pl.concat([one.shown for one in parts]))


def _said(hits: pl.DataFrame, events: pl.DataFrame, listed: Listed, key: Sequence[str]) -> Said:
    found = listed.found(events, hits["order"]).join(
        hits.select(*key, "event.id").with_row_index("row"), on="row"
    )
    counted = (
        found.sort("field", "atomic")
        .group_by(*key, "indicator", maintain_order=True)
        .agg(
            pl.col("field").first(),
            pl.col("atomic").first(),
            count=pl.col("row").n_unique().cast(pl.Int64),
        )
    )
    held = listed.lists.indicators.entries
    entries = held[counted["indicator"]].select(*_SAME, *_TOLD)
    different = found["indicator"].unique()
    keys = [
        indicator_key(_place({**dict.fromkeys(SAID), **one}))
        for one in held[different].select(_SAME).iter_rows(named=True)
    ]
    named = pl.DataFrame({"indicator": different, "text": pl.Series(keys, dtype=pl.String)})
    shown = (
        found.select("rule", "event.id", "indicator")
        .unique()
        .join(named, on="indicator")
        .select("rule", "event.id", indicator="text")
    )
    return Said(
        pl.concat([counted, entries], how="horizontal").select(*key, *SAID),
        shown,
    )


def together(rows: pl.DataFrame, key: str) -> pl.DataFrame:
    """key and `shown`: by key the first `ENRICHMENTS` of the different indicators, in the order of
    `_SAME`, their counts added up. rows: key and `SAID`.

    Because the order is total and the first ones are kept, it does not matter in which parts and in
    which order the rows come.
    """
    return (
        rows.sort(key, *_SORTED)
        .group_by(key, *_SAME, maintain_order=True)
        .agg(pl.exclude("count").first(), pl.col("count").sum())
        .group_by(key, maintain_order=True)
        .agg(shown=pl.struct(list(SAID)).head(ENRICHMENTS))
    )


def apart(alerts: pl.DataFrame, key: str) -> pl.DataFrame:
    """The inverse of `together`; alerts without anything said are left out. alerts: key, shown."""
    return (
        alerts.filter(pl.col("shown").is_not_null())
        .select(key, "shown")
        .explode("shown")
        .unnest("shown")
    )


def enrichments(shown: Sequence[Mapping[str, Any]]) -> list[Document]:
    """The objects of `threat.enrichments`."""
    return [enrichment(one, one["field"], one["atomic"]) for one in shown]


def places(shown: Sequence[Mapping[str, Any]]) -> list[Document]:
    """Which entries of which lists were shown, and by how many hits: `connwatch.values.lists`."""
    return [
        {name: value for name, value in _place(one).items() if value is not None} for one in shown
    ]


def _place(one: Mapping[str, Any]) -> Document:
    return {
        "provider": one["provider"],
        "indicator": one["value"],
        "port": one["port"],
        **{
            name: None if one[name] is None else iso(one[name])
            for name in ("valid_from", "valid_until")
        },
        "file": one["file"],
        "line": one["line"],
        "entry": one["entry"],
        "count": one["count"],
    }


def notes(rules: Mapping[str, Listed]) -> Iterator[str]:
    """What is to be said of lists before they are used, each once. rules: by title."""
    both = (one for listed in rules.values() for one in (listed.lists, listed.allow))
    every = {id(one): one for one in both if one is not None}
    for lists in every.values():
        yield from unread(lists)
    for title, listed in rules.items():
        held = listed.lists.indicators.entries
        names = held.filter(pl.col("kind") == "domain").height
        if names and not listed.fields.names:
            yield f"the rule {title!r} lists names ({names:,}), and no record here has names"
        if held.is_empty():
            yield f"the rule {title!r} has no indicators: its lists are empty"


def unread(lists: Lists) -> Iterator[str]:
    """How many entries of lists cannot be used, with the first few; nothing where all can."""
    if not lists.rejects.height:
        return
    first = lists.rejects.head(_NAMED)
    where = "; ".join(
        f"{file}:{line if line is not None else entry}: {reason}"
        for file, line, entry, reason in first.select("file", "line", "entry", "reason").iter_rows()
    )
    more = "; …" if lists.rejects.height > _NAMED else ""
    yield f"{lists.rejects.height:,} entries of lists cannot be used: {where}{more}"
