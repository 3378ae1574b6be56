"""Counts to rates: every number worked out by hand."""

from __future__ import annotations

import pytest

from connwatch.evaluate.metrics import AlertCounts, Counts, Detection, Rate, wilson


def near(rate: Rate, value: float, low: float, high: float) -> None:
    assert (rate.value, rate.low, rate.high) == pytest.approx((value, low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [
        # Wilson (1927) at 95 %; z² = 3.841459. 8 of 10: centre (0.8 + 0.192073) / 1.384146 =
        # 0.716740, half 1.959964 * sqrt(0.016 + 0.009604) / 1.384146 = 0.226577
        (8, 10, 0.49016, 0.94332),
        (5, 10, 0.23659, 0.76341),
        # none of n: up to z² / (n + z²)
        (0, 10, 0.0, 0.27753),
        (10, 10, 0.72247, 1.0),
        (1, 1, 0.20655, 1.0),
    ],
)
def test_wilsons_interval(successes: int, total: int, low: float, high: float) -> None:
    near(wilson(successes, total), successes / total, low, high)


def test_nothing_of_nothing_has_no_rate() -> None:
    assert wilson(0, 0) == Rate(None, None, None)
    assert Counts(0, 0, 0, 0).f1 == Rate()
    silent = Counts(0, 0, 5, 5)
    assert silent.precision == Rate()
    assert silent.recall.value == 0.0
    assert silent.f1.value == 0.0


def test_rates_of_counts() -> None:
    counts = Counts(true_positives=8, false_positives=2, false_negatives=4, true_negatives=18)
    near(counts.precision, 8 / 10, 0.49016, 0.94332)
    near(counts.recall, 8 / 12, 0.39062, 0.86188)
    near(counts.false_positive_rate, 2 / 20, 0.02787, 0.30103)
    # 2 * 0.8 * 0.6667 / 1.4667; the interval of 8 / 14 = 0.57143 is 0.32590 to 0.78623,
    # and x becomes 2x / (1 + x)
    near(counts.f1, 8 / 11, 0.49159, 0.88033)


def test_alerts_count_alerts_and_addresses() -> None:
    counts = AlertCounts(true=3, false=1, unlabelled=2, actors=4, found=2, innocent=10, blamed=1)
    assert counts.total == 6
    assert counts.precision.value == 3 / 4
    assert counts.recall.value == 2 / 4
    assert counts.f1 == Rate(pytest.approx(2 * 0.75 * 0.5 / 1.25))
    assert counts.false_positive_rate.value == 1 / 10
    assert AlertCounts(0, 0, 0, 0, 0, 0, 0).f1 == Rate()
    assert AlertCounts(0, 1, 0, 1, 0, 0, 0).f1.value == 0.0
    assert counts.as_json()["actors_found"] == 2


def test_what_was_not_detected_is_missed() -> None:
    assert Detection(5, 3, 1.0, 2.0).missed == 2
    assert Detection(5, 3, 1.0, 2.0).as_json() == {
        "entities": 5,
        "detected": 3,
        "missed": 2,
        "p50_seconds": 1.0,
        "p95_seconds": 2.0,
    }
