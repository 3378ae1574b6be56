"""Labels of events: the words that a column has, and what they mean.

A labelled frame has one row per event (`LABELLED`); `malicious` is null for an event without a
label, which is left out of every score. Where the labels come from is a `Labeller`: a column of
the log here, a file in `label_files`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, TypeAlias

import polars as pl

from connwatch.errors import ConfigError
from connwatch.schema import BY_NAME, DERIVED, STORED

#: event.id, times and originator of an event; its label and what the label says more, null where
#: there is none; malicious: null where that cannot be told
LABELLED: Final[dict[str, pl.DataType]] = {
    "event.id": pl.String(),
    "@timestamp": STORED["@timestamp"],
    "connwatch.log_time": STORED["connwatch.log_time"],
    "source.ip": pl.String(),
    "label": pl.String(),
    "detail": pl.String(),
    "malicious": pl.Boolean(),
}
#: labels that mean benign unless the user says otherwise; Zeek's (empty) is read as ""
BENIGN: Final = ("benign", "normal", "background", "empty", "(empty)", "")
_KEPT: Final = ("event.id", "@timestamp", "connwatch.log_time", "source.ip")
_LABEL: Final = "zeek.connection.label"
_DETAIL: Final = "zeek.connection.detailed_label"
_EXTRA: Final = "connwatch.extra"

#: stored events to a frame of label and detail beside the columns of `_KEPT`
Labeller: TypeAlias = Callable[[pl.LazyFrame], pl.LazyFrame]


@dataclass(frozen=True, slots=True)
class Meaning:
    """Which labels are malicious. Words are compared without case; * stands for any text.

    benign given, or neither: what is not benign is malicious. malicious given alone: what is not
    malicious is benign. Both given: what is neither is left out.
    """

    benign: tuple[str, ...] = ()
    malicious: tuple[str, ...] = ()

    def expression(self, label: pl.Expr) -> pl.Expr:
        """True, false, or null where there is no label (null or -)."""
        word = label.str.strip_chars()
        if not self.malicious:
            told = ~_any_of(word, self.benign or BENIGN)
        elif not self.benign:
            told = _any_of(word, self.malicious)
        else:
            told = (
                pl.when(_any_of(word, self.malicious))
                .then(pl.lit(value=True))
                .when(_any_of(word, self.benign))
                .then(pl.lit(value=False))
            )
        return pl.when(word != "-").then(told)


def _any_of(word: pl.Expr, words: Iterable[str]) -> pl.Expr:
    forms = (".*".join(re.escape(part) for part in one.strip().split("*")) for one in words)
    return word.str.contains(f"(?is)^(?:{'|'.join(forms)})$")


def labelled(events: pl.LazyFrame, labeller: Labeller, meaning: Meaning) -> pl.DataFrame:
    """The events (stored columns) with their labels: a frame of `LABELLED`."""
    return (
        labeller(events)
        .with_columns(malicious=meaning.expression(pl.col("label")))
        .select(pl.col(name).cast(dtype) for name, dtype in LABELLED.items())
        .collect()
    )


def by_column(name: str | None = None) -> Labeller:
    """Labels from a column of the log.

    name: a column of the schema, or a field that the schema does not know, by its name in the log
    (or behind `connwatch.extra.`). None: Zeek's label, and where that is missing its detailed
    label. Raises ConfigError for a column that can hold no label.
    """
    if name is None:
        label = pl.coalesce(_set(pl.col(_LABEL)), _set(pl.col(_DETAIL)))
        return _selecting(label, _set(pl.col(_DETAIL)))
    if name == _EXTRA or (name in BY_NAME and isinstance(BY_NAME[name].dtype, pl.List)):
        raise ConfigError(
            f"{name} holds several values",
            where="--label-column",
            hint="name one field in it, as in connwatch.extra.attack"
            if name == _EXTRA
            else "connwatch schema lists the columns",
        )
    if name in BY_NAME:
        return _selecting(DERIVED.get(name, pl.col(name)).cast(pl.String), _NOTHING)
    if near := get_close_matches(name, BY_NAME, n=1, cutoff=0.9):
        raise ConfigError(
            f"there is no column {name!r}",
            where="--label-column",
            hint=f"did you mean {near[0]!r}?",
        )
    field = name.removeprefix(f"{_EXTRA}.")
    path = "$['" + field.replace("\\", "\\\\").replace("'", "\\'") + "']"
    return _selecting(pl.col(_EXTRA).str.json_path_match(path), _NOTHING)


_NOTHING: Final = pl.lit(None, pl.String)


def _set(text: pl.Expr) -> pl.Expr:
    """Null for -, which labelled logs write where there is no label."""
    return pl.when(text.str.strip_chars() != "-").then(text)


def _selecting(label: pl.Expr, detail: pl.Expr) -> Labeller:
    return lambda events: events.select(*_KEPT, label=label, detail=detail)


def by_rules(rules: Sequence[tuple[pl.Expr, str, str | None]], rest: str | None) -> Labeller:
    """Labels by conditions, each with its label and detail: the first that is true decides.

    rest: label of events that none fits; None: they have none.
    """
    label, detail = pl.lit(rest, pl.String), _NOTHING
    for fits, word, more in reversed(rules):
        label = pl.when(fits).then(pl.lit(word)).otherwise(label)
        detail = pl.when(fits).then(pl.lit(more, pl.String)).otherwise(detail)
    return _selecting(label, detail)
