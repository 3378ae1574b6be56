"""Small batches take ways of their own; they must find what large ones do."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from support import replayed

from connwatch.detectors.ruleset import load_rules, match
from connwatch.pipeline import bundled_rules
from connwatch.schema import conform
from connwatch.stages import Handed


def test_a_small_batch_matches_what_a_large_one_does(data: Path, tmp_path: Path) -> None:
    rules = load_rules([bundled_rules()])
    replayed([data / "zeek" / "rita" / "rotated_2024-04-19"], tmp_path / "store", rules)
    files = sorted((tmp_path / "store" / "events").rglob("*.parquet"))
    events = conform(pl.concat([pl.read_parquet(file) for file in files], how="diagonal"))
    assert events.height > 10_000
    parts = [
        match(rules, events.slice(begin, 700)).with_columns(pl.col("row") + begin)
        for begin in range(0, events.height, 700)
    ]
    whole = match(rules, events)
    assert whole.height > 1_000
    assert pl.concat(parts).sort("rule", "row").equals(whole.sort("rule", "row"))


def test_a_producer_waits_until_its_consumer_is_done() -> None:
    handed = Handed()
    assert handed.wait(0, 0)
    handed.given()
    assert not handed.wait(0, 0)
    assert handed.wait(1, 0)
    handed.done()
    assert handed.wait(0, 0)


def test_a_producer_does_not_wait_for_a_consumer_that_ended() -> None:
    handed = Handed()
    handed.given()
    handed.end()
    assert handed.wait(0, 0)
