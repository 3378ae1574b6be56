"""Names of indices: valid, one for each dataset and day, and known again."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from elastic_events import alert
from hypothesis import given
from hypothesis import strategies as st

from connwatch.errors import ConfigError
from connwatch.schema import COLUMNS, DERIVED, OBJECTS
from connwatch.sinks.elasticsearch.layout import Layout, dataset_part
from connwatch.sinks.elasticsearch.mappings import (
    INDEXED,
    alert_mappings,
    components,
    event_mappings,
    index_templates,
    leaves,
)

DAY = date(2026, 11, 20)
LAYOUT = Layout()
MONTHLY = Layout(routing="month")


@given(st.text(max_size=300), st.text(max_size=20))
def test_any_dataset_has_a_valid_name_of_its_own(dataset: str, other: str) -> None:
    name = LAYOUT.event_index(dataset, DAY)
    assert len(name.encode()) <= 255
    assert name == name.lower()
    assert not set(name) & set('\\/*?"<>| ,#:')
    assert LAYOUT.last_day(name) == DAY
    assert (dataset == other) == (dataset_part(dataset) == dataset_part(other))


@pytest.mark.parametrize("dataset", ["zeek.connection", "zeek.conn_long", "ss", "a" * 100])
def test_a_plain_dataset_keeps_its_name(dataset: str) -> None:
    assert LAYOUT.event_index(dataset, DAY) == f"connwatch-events-{dataset}-2026.11.20"


LAST: dict[str, tuple[Layout, str, date | None]] = {
    "a day of events": (LAYOUT, "connwatch-events-ss-2026.11.20", DAY),
    "a day of alerts": (LAYOUT, "connwatch-alerts-2026.11.20", DAY),
    "a month": (MONTHLY, "connwatch-events-ss-2026.02", date(2026, 2, 28)),
    "the last month of a year": (MONTHLY, "connwatch-alerts-2026.12", date(2026, 12, 31)),
    "no dataset": (LAYOUT, "connwatch-events-2026.11.20", None),
    "a month where days are": (LAYOUT, "connwatch-alerts-2026.12", None),
    "no such day": (LAYOUT, "connwatch-alerts-2026.02.30", None),
    "made by hand": (LAYOUT, "connwatch-events-old", None),
    "written in another way": (LAYOUT, "connwatch-alerts-2026.2.3", None),
    "another prefix": (LAYOUT, "other-alerts-2026.11.20", None),
}


@pytest.mark.parametrize("case", LAST)
def test_the_last_day_of_an_index(case: str) -> None:
    layout, name, day = LAST[case]
    assert layout.last_day(name) == day


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefix": ""},
        {"prefix": "A"},
        {"prefix": "-a"},
        {"prefix": "a*"},
        {"prefix": "a" * 65},
        {"routing": "week"},
        {"shards": 0},
        {"replicas": -1},
        {"codec": "zip"},
    ],
)
def test_a_layout_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Layout(**wrong)


def test_an_alert_stays_where_it_fired_first() -> None:
    document = alert()
    grown = {**document, "event": {**document["event"], "end": "2026-12-01T00:00:00.000000Z"}}
    assert (
        LAYOUT.alert_index(document) == LAYOUT.alert_index(grown) == "connwatch-alerts-2026.11.20"
    )
    seen = alert(values={"fired": "2026-11-21T00:00:01.000000Z"})
    assert LAYOUT.alert_index(seen) == "connwatch-alerts-2026.11.21"
    assert MONTHLY.alert_index(seen) == "connwatch-alerts-2026.11"


@pytest.mark.parametrize("layout", [LAYOUT, MONTHLY])
def test_a_column_of_indices_is_that_of_each_row(layout: Layout) -> None:
    start = datetime(2026, 1, 30)
    times = [start + timedelta(hours=7 * number) for number in range(20)]
    events = pl.DataFrame(
        {"@timestamp": times, "event.dataset": ["ss", "Zeek", None, "zeek.connection"] * 5}
    ).with_columns(pl.col("@timestamp").dt.replace_time_zone("UTC"))
    wanted = [
        layout.event_index(dataset or "", time.date())
        for time, dataset in zip(times, events["event.dataset"], strict=True)
    ]
    assert layout.event_indices(events).to_list() == wanted


def test_every_column_of_the_schema_is_mapped() -> None:
    fields = leaves(event_mappings(LAYOUT))
    assert set(fields) == {column.name for column in COLUMNS}
    assert {fields[name] for name in OBJECTS} == {"flattened"}
    assert fields["@timestamp"] == "date_nanos"
    assert fields["source.ip"] == fields["related.ip"] == "ip"
    assert set(fields) >= INDEXED
    assert "event.start" in DERIVED


def test_what_stands_in_an_alert_has_the_type_that_it_has_in_events() -> None:
    fields = leaves(alert_mappings(LAYOUT))
    events = leaves(event_mappings(LAYOUT))
    for place in ("connwatch.group", "connwatch.evidence"):
        for name, es in events.items():
            if name not in OBJECTS:
                assert fields[f"{place}.{name}"] == es


def test_only_field_types_that_every_server_has_are_used() -> None:
    used = set(leaves(event_mappings(LAYOUT)).values()) | set(
        leaves(alert_mappings(LAYOUT)).values()
    )
    core = {"keyword", "text", "ip", "long", "integer", "float", "double", "boolean"}
    assert used <= core | {"date_nanos", "flattened"}


def test_templates_name_what_they_are_composed_of() -> None:
    parts = components(LAYOUT, {})
    for template in index_templates(LAYOUT).values():
        assert set(template["composed_of"]) <= set(parts)
    told = {json_routing(part) for part in components(MONTHLY, {}).values()}
    assert told == {"month"}


def json_routing(part: dict[str, Any]) -> str:
    return str(part["_meta"]["routing"])
