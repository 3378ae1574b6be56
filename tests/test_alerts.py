"""Alert documents: shape, message, evidence, and the digest over a set of them."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from connwatch.alert import digest
from connwatch.detectors import alerts
from connwatch.detectors.fold import EVIDENCE, Folding, begin, fold
from connwatch.schema import STORED, conform


@dataclass(frozen=True)
class Rule:
    key: str = "r"
    id: str | None = "0f0f"
    title: str = "Back door"
    description: str | None = "A port."
    level: str = "high"
    tags: tuple[str, ...] = (
        "attack.command-and-control",
        "attack.t1571",
        "attack.t1059.004",
        "cve.1",
    )
    author: str | None = "connwatch"
    references: tuple[str, ...] = ("https://attack.mitre.org/techniques/T1571/",)
    falsepositives: tuple[str, ...] = ()
    message: str | None = "{source.ip} spoke to {destination.ip}:{destination.port} {nothing}"
    suppress: int = 1


def documents(rule: Rule, count: int = 1) -> list[dict[str, Any]]:
    times = pl.Series(range(count), dtype=pl.Int64).cast(STORED["@timestamp"])
    events = conform(
        pl.DataFrame(
            {
                "@timestamp": times,
                "connwatch.log_time": times,
                "event.id": [f"{i:032x}" for i in range(count)],
                "source.ip": ["10.0.0.1"] * count,
                "source.port": pl.Series(range(1000, 1000 + count), dtype=pl.Int64),
                "destination.ip": ["10.0.0.2"] * count,
                "destination.port": pl.Series([31337] * count, dtype=pl.Int64),
                "log.file.path": ["conn.log"] * count,
            }
        )
    )
    matches = pl.DataFrame(
        {"rule": ["r"] * count, "row": range(count)},
        schema={"rule": pl.String, "row": pl.UInt32},
    )
    folding = {"r": Folding(("source.ip", "destination.ip"), 10**9)}
    found = fold(events, matches, folding, begin()).alerts
    return alerts.documents(found, {"r": rule})


def test_a_document_has_the_shape_that_the_design_gives() -> None:
    (document,) = documents(Rule(), count=3)
    assert document["event"]["kind"] == "alert"
    assert document["event"]["severity"] == 73
    assert document["event"]["start"] == "1970-01-01T00:00:00.000000Z"
    assert document["event"]["end"] == "1970-01-01T00:00:00.000002Z"
    assert document["connwatch"]["group"] == {"source.ip": "10.0.0.1", "destination.ip": "10.0.0.2"}
    assert document["connwatch"]["count"] == 3
    assert document["connwatch"]["status"] == "open"
    assert document["message"] == "10.0.0.1 spoke to 10.0.0.2:31337 unknown"
    assert document["source"] == {"ip": "10.0.0.1"}
    assert document["destination"] == {"ip": "10.0.0.2", "port": 31337}
    assert document["threat"]["tactic"]["id"] == ["TA0011"]
    assert document["threat"]["technique"]["id"] == ["T1571", "T1059"]
    assert document["threat"]["technique"]["subtechnique"]["id"] == ["T1059.004"]
    assert [e["event.id"] for e in document["connwatch"]["evidence"]] == [
        f"{i:032x}" for i in range(3)
    ]
    assert set(document["connwatch"]["evidence"][0]) <= set(EVIDENCE)


def test_category_and_type_are_allowed_by_ecs(data: Path) -> None:
    with (data / "ecs" / "allowed_values.csv").open(encoding="utf-8") as file:
        allowed = {
            row["value"]: row["expected_event_types"].split()
            for row in csv.DictReader(file)
            if row["field"] == "event.category"
        }
    (document,) = documents(Rule())
    for category in document["event"]["category"]:
        assert set(document["event"]["type"]) <= set(allowed[category])


@pytest.mark.parametrize(
    ("change", "equal"),
    [
        (lambda d: d, True),
        (lambda d: {**d, "connwatch": {**d["connwatch"], "status": "closed"}}, True),
        (lambda d: {**d, "connwatch": {**d["connwatch"], "count": 2}}, False),
        (lambda d: {**d, "message": "other"}, False),
    ],
    ids=["the same", "another status", "another count", "another message"],
)
def test_the_digest_changes_with_what_was_found_only(change: Any, equal: bool) -> None:
    found = documents(Rule())
    assert (digest(map(change, found)) == digest(found)) is equal


def test_the_digest_knows_no_order() -> None:
    found = documents(Rule()) + documents(replace(Rule(), title="Other", message=None))
    assert digest(found) == digest(reversed(found))
