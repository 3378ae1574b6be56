"""The schema: its door, its derived columns, its page, and ECS."""

from __future__ import annotations

import csv
from pathlib import Path

import polars as pl
import pytest

from connwatch import schema
from connwatch.reference import schema_markdown

ROOT = Path(__file__).resolve().parent.parent

#: ECS 9.5 has no word for the offset of a line; Beats have always written this one.
BEATS = {"log.offset": "long"}


def _ecs(data: Path) -> dict[str, str]:
    with (data / "ecs" / "fields.csv").open(encoding="utf-8") as file:
        return {row["field"]: row["type"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("column", schema.COLUMNS, ids=lambda column: column.name)
def test_a_column_is_an_ecs_field_of_that_type_or_has_its_own_namespace(
    column: schema.Column, data: Path
) -> None:
    fields = _ecs(data) | BEATS
    with (data / "ecs" / "zeek_connection_fields.csv").open(encoding="utf-8") as file:
        zeek = {row["field"]: row["type"] for row in csv.DictReader(file)}
    known = fields | zeek
    if column.name in known:
        assert known[column.name] == column.es
    else:
        assert column.name.startswith(("connwatch.", "zeek.connection.", "socket."))


def test_constant_and_state_values_are_allowed_by_ecs(data: Path) -> None:
    allowed: dict[str, set[str]] = {}
    types: dict[str, set[str]] = {}
    with (data / "ecs" / "allowed_values.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            allowed.setdefault(row["field"], set()).add(row["value"])
            if row["field"] == "event.category":
                types[row["value"]] = set(row["expected_event_types"].split())
    states = [*schema.STATES, None]
    frame = schema.conform(
        pl.DataFrame(
            {
                "zeek.connection.state": pl.Series(states, dtype=pl.String),
                "network.transport": pl.Series(["tcp"] * len(states), dtype=pl.String),
            }
        )
    )
    events = schema.expand(frame)
    for name in ("event.kind", "event.outcome"):
        assert set(events[name]) <= allowed[name]
    for name in ("event.category", "event.type"):
        assert set(events[name].explode()) <= allowed[name]
    for categories, values in zip(events["event.category"], events["event.type"], strict=True):
        for category in categories:
            assert set(values) <= types[category]


def test_the_schema_page_is_current() -> None:
    assert (ROOT / "docs" / "schema.md").read_text(encoding="utf-8") == schema_markdown()


def test_conform_adds_what_is_missing_and_keeps_the_order() -> None:
    frame = schema.conform(pl.DataFrame({"source.ip": ["10.0.0.1"]}))
    assert frame.columns == list(schema.STORED)
    assert frame.schema == pl.Schema(schema.STORED)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pl.DataFrame({"src": ["a"]}), "'src' is not a stored column"),
        (pl.DataFrame({"related.ip": [["a"]]}), "'related.ip' is not a stored column"),
        (pl.DataFrame({"source.port": ["80"]}), "'source.port' has type String"),
    ],
)
def test_conform_refuses_what_the_schema_does_not_know(frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schema.conform(frame)


def test_derived_columns_come_from_stored_ones() -> None:
    frame = schema.conform(
        pl.DataFrame(
            {
                "@timestamp": [0, 5_000_000],
                "event.duration": [None, 2_000_000],
                "source.ip": ["10.0.0.1", "fe80::1"],
                "destination.ip": ["10.0.0.2", "fe80::2"],
                "network.transport": ["tcp", "udp"],
                "zeek.connection.state": ["REJ", "S0"],
                "zeek.connection.service": ["-gssapi,smb", None],
                "source.bytes": [60, None],
                "destination.bytes": [40, None],
            },
            schema_overrides={"@timestamp": schema.UTC, "event.duration": pl.Int64}
            | {"source.bytes": pl.Int64, "destination.bytes": pl.Int64},
        )
    )
    first, second = schema.expand(frame).to_dicts()
    assert first["event.end"] == first["@timestamp"]
    assert (second["event.end"] - second["@timestamp"]).total_seconds() == 0.002
    assert [first["network.type"], second["network.type"]] == ["ipv4", "ipv6"]
    assert [first["event.outcome"], second["event.outcome"]] == ["failure", "unknown"]
    assert [first["network.protocol"], second["network.protocol"]] == ["smb", None]
    assert [first["network.bytes"], second["network.bytes"]] == [100, None]
    assert first["event.type"] == ["connection", "start", "denied"]
    assert first["related.ip"] == ["10.0.0.1", "10.0.0.2"]
