"""Counts to rates: precision, recall, F1, false-positive rate, each with its interval.

A rate without a denominator is None, never 0: no alert at all has no precision. Intervals are
Wilson's at 95 %; they take the units for independent, which flows of one scan are not, so they say
how few units there were, not how well the rule will do elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any, Final

#: quantile of the normal distribution for two-sided 95 %
_Z: Final = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its interval, each 0 to 1; None where nothing was counted, or has none."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    def as_json(self) -> dict[str, float | None]:
        return {"value": self.value, "low": self.low, "high": self.high}


def wilson(successes: int, total: int) -> Rate:
    """successes of total, with Wilson's interval at 95 %; nothing of nothing has no rate."""
    if not total:
        return Rate()
    share, square = successes / total, _Z * _Z
    centre = (share + square / (2 * total)) / (1 + square / total)
    half = _Z * sqrt(share * (1 - share) / total + square / (4 * total * total))
    half /= 1 + square / total
    # At the ends the formula gives 0 and 1 but for rounding.
    low = 0.0 if not successes else max(0.0, centre - half)
    high = 1.0 if successes == total else min(1.0, centre + half)
    return Rate(share, low, high)


@dataclass(frozen=True, slots=True)
class Counts:
    """Units (flows, entities in an hour) by what they are and what was said of them."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def precision(self) -> Rate:
        """Of what was flagged, the malicious share."""
        return wilson(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> Rate:
        """Of what is malicious, the flagged share."""
        return wilson(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> Rate:
        """Harmonic mean of precision and recall. Its interval is that of TP / (TP + FP + FN), of
        which it is a growing function, carried over."""
        wrong = self.false_positives + self.false_negatives
        overlap = wilson(self.true_positives, self.true_positives + wrong)
        return Rate(*(_doubled(one) for one in (overlap.value, overlap.low, overlap.high)))

    @property
    def false_positive_rate(self) -> Rate:
        """Of what is benign, the flagged share."""
        return wilson(self.false_positives, self.false_positives + self.true_negatives)

    def as_json(self) -> dict[str, Any]:
        return {
            "true_positives": self.true_positives,
            "false_positives": self.false_positives,
            "false_negatives": self.false_negatives,
            "true_negatives": self.true_negatives,
            **_rates(self),
        }


def _doubled(share: float | None) -> float | None:
    return None if share is None else 2 * share / (1 + share)


@dataclass(frozen=True, slots=True)
class AlertCounts:
    """Alerts, and the addresses they are about.

    true, false: alerts that list a malicious event, and that list benign ones only. unlabelled:
    that list no labelled event; left out. actors: addresses with a malicious flow; found: those
    that a true alert blames. innocent: addresses with benign flows only; blamed: those that a
    false alert blames.
    """

    true: int
    false: int
    unlabelled: int
    actors: int
    found: int
    innocent: int
    blamed: int

    @property
    def total(self) -> int:
        return self.true + self.false + self.unlabelled

    @property
    def precision(self) -> Rate:
        """Of the alerts, the true share."""
        return wilson(self.true, self.true + self.false)

    @property
    def recall(self) -> Rate:
        """Of the actors, the share that was found: an attack that makes no alert has no alert to
        count."""
        return wilson(self.found, self.actors)

    @property
    def f1(self) -> Rate:
        """Harmonic mean of the two; without an interval, for they count different things."""
        precision, recall = self.precision.value, self.recall.value
        if precision is None and recall is None:
            return Rate()
        both = (precision or 0.0) + (recall or 0.0)
        return Rate(2 * (precision or 0.0) * (recall or 0.0) / both if both else 0.0)

    @property
    def false_positive_rate(self) -> Rate:
        """Of the innocent addresses, the share that was blamed."""
        return wilson(self.blamed, self.innocent)

    def as_json(self) -> dict[str, Any]:
        return {
            "total": self.total,
            "true": self.true,
            "false": self.false,
            "unlabelled": self.unlabelled,
            "actors": self.actors,
            "actors_found": self.found,
            "innocent": self.innocent,
            "innocent_blamed": self.blamed,
            **_rates(self),
        }


def _rates(counted: Counts | AlertCounts) -> dict[str, Any]:
    return {
        "precision": counted.precision.as_json(),
        "recall": counted.recall.as_json(),
        "f1": counted.f1.as_json(),
        "false_positive_rate": counted.false_positive_rate.as_json(),
    }


@dataclass(frozen=True, slots=True)
class Detection:
    """How soon malicious entities were found, in seconds of log time; None when none was.

    From an entity's first malicious flow to the first hit on one of its malicious flows by an
    alert that blames it. p50, p95: over those found, interpolated. missed: entities never found.
    """

    entities: int
    detected: int
    p50: float | None
    p95: float | None

    @property
    def missed(self) -> int:
        return self.entities - self.detected

    def as_json(self) -> dict[str, Any]:
        return {
            "entities": self.entities,
            "detected": self.detected,
            "missed": self.missed,
            "p50_seconds": self.p50,
            "p95_seconds": self.p95,
        }
