"""Which index an event or an alert goes to, and what indices, aliases and templates are called.

An event goes to the index of its dataset and of its own day (UTC), so that the same record, read
again months later, meets its earlier copy: `PREFIX-events-DATASET-YYYY.MM.DD`.

An alert goes to `PREFIX-alerts-YYYY.MM.DD` of the day on which it fired first (`alert.fired`). That
is what stays as an alert grows: its last hit moves on, and its first may move back, as a window
brings the records that it saw before; but a new value of `fired` comes with a new id, when an older
alert turns out to be the same and takes its place. The one exception is the same opening record
with another log time, in a run over other files: who sends alerts must remember what it sent where
(`alert_index` of the document before), and remove the older copy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from hashlib import blake2b
from typing import Any, Final, Literal, TypeAlias, cast

import polars as pl

from connwatch.alert import fired
from connwatch.errors import ConfigError

Routing: TypeAlias = Literal["day", "month"]

#: how the part of an index's name that tells its time is written
_FORMATS: Final[dict[Routing, str]] = {"day": "%Y.%m.%d", "month": "%Y.%m"}
_PREFIX: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
#: of a dataset; what is left of the 255 bytes of a name after prefix and day is more
_MOST_DATASET: Final = 100
_PLAIN: Final = re.compile(r"[a-z0-9][a-z0-9_.]*")
_OTHER: Final = re.compile(r"[^a-z0-9_.]+")
_CODECS: Final = ("default", "best_compression")


@dataclass(frozen=True, slots=True)
class Layout:
    """How data is laid out on a server.

    prefix: of every name. routing: one index a day, or one a month; it is fixed at first use.
    shards and replicas: of each index. codec: of stored fields, `best_compression` or `default`.
    Raises ConfigError for values that cannot be.
    """

    prefix: str = "connwatch"
    routing: Routing = "day"
    shards: int = 1
    replicas: int = 1
    codec: str = "best_compression"

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise ConfigError(
                f"prefix {self.prefix!r} cannot begin the name of an index",
                hint="up to 64 small letters, digits, '.', '_' and '-', a letter or digit first",
            )
        if self.routing not in _FORMATS:
            raise ConfigError(f"routing {self.routing!r} is unknown", hint="use day or month")
        if self.codec not in _CODECS:
            raise ConfigError(
                f"codec {self.codec!r} is unknown", hint=f"use {' or '.join(_CODECS)}"
            )
        for name, least in (("shards", 1), ("replicas", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name}: {getattr(self, name)} is less than {least}")

    @property
    def events(self) -> str:
        """The alias of all events."""
        return f"{self.prefix}-events"

    @property
    def alerts(self) -> str:
        """The alias of all alerts."""
        return f"{self.prefix}-alerts"

    @property
    def families(self) -> tuple[str, str]:
        """Both aliases; each index template has the name of its alias."""
        return self.events, self.alerts

    @property
    def settings_component(self) -> str:
        return f"{self.prefix}-settings"

    @property
    def policy(self) -> str:
        """The name of the lifecycle policy."""
        return f"{self.prefix}-retention"

    def component(self, family: str) -> str:
        """The name of the component template that has the fields of a family."""
        return f"{family}-fields"

    def patterns(self, family: str) -> list[str]:
        """The names that indices of a family have."""
        return [f"{family}-*"]

    def event_index(self, dataset: str, day: date) -> str:
        """The index of the events of a dataset and a day (UTC)."""
        return f"{self.events}-{dataset_part(dataset)}-{day.strftime(_FORMATS[self.routing])}"

    def one_index(self, events: pl.DataFrame) -> str | None:
        """The index of all events; None: they go to several, or there are none."""
        dataset, times = events["event.dataset"], events["@timestamp"]
        if events.is_empty() or not dataset.eq_missing(dataset[0]).all():
            return None
        first, last = cast(datetime, times.min()).date(), cast(datetime, times.max()).date()
        return self.event_index(dataset[0] or "", first) if first == last else None

    def event_indices(self, events: pl.DataFrame) -> pl.Series:
        """The index of each event: event.dataset and @timestamp are read."""
        one = self.one_index(events)
        if one is not None:
            return pl.repeat(one, events.height, dtype=pl.String, eager=True).alias("index")
        dataset, days = events["event.dataset"], events["@timestamp"].dt.date()
        places = events.select(dataset=dataset.fill_null(""), day=days)
        named = places.unique(maintain_order=True)
        names = [self.event_index(dataset, day) for dataset, day in named.iter_rows()]
        named = named.with_columns(pl.Series("index", names, dtype=pl.String))
        return places.join(
            named, on=["dataset", "day"], how="left", maintain_order="left", nulls_equal=True
        )["index"]

    def alert_index(self, alert: Mapping[str, Any]) -> str:
        """The index of an alert document."""
        day = datetime.fromisoformat(fired(alert)).strftime(_FORMATS[self.routing])
        return f"{self.alerts}-{day}"

    def last_day(self, index: str) -> date | None:
        """The last day (UTC) whose records an index holds; None if it is not one of ours.

        An index that somebody made by hand under the prefix is not one of ours.
        """
        family = next((name for name in self.families if index.startswith(f"{name}-")), None)
        if family is None:
            return None
        text = index.removeprefix(f"{family}-")
        if family == self.events:
            dataset, _, text = text.rpartition("-")
            if not dataset:
                return None
        try:
            first = datetime.strptime(text, _FORMATS[self.routing]).date()
        except ValueError:
            return None
        if first.strftime(_FORMATS[self.routing]) != text:
            return None
        return first if self.routing == "day" else _end_of_month(first)


def _end_of_month(first: date) -> date:
    later = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    return date.fromordinal(later.toordinal() - 1)


def dataset_part(dataset: str) -> str:
    """A dataset as part of an index's name: itself, if that can be.

    Otherwise what is left of it, `--` and a hash of the whole, so that two datasets share an index
    only if they are the same.
    """
    if len(dataset) <= _MOST_DATASET and _PLAIN.fullmatch(dataset):
        return dataset
    left = _OTHER.sub("_", dataset.lower()).strip("_.")[:_MOST_DATASET]
    mark = blake2b(dataset.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{left or 'x'}--{mark}"
