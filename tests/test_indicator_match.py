"""Matching events with indicators, and what alerts say of it."""

from __future__ import annotations

import csv
import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import ROOT
from indicator_support import (
    EVENT,
    FIELDS,
    always,
    events,
    found,
    indicators,
)

from connwatch.detectors.indicators import (
    ENTRY_SCHEMA,
    NOTHING,
    Fields,
    Indicators,
    allowed,
    enrichments,
    match,
    read_list,
)
from connwatch.detectors.indicators.csv_table import NAMES as HEADERS
from connwatch.schema import conform


def test_every_indicator_that_fits_is_reported_on_the_side_that_showed_it(tmp_path: Path) -> None:
    listed = always(
        tmp_path,
        "203.0.113.0/24",
        "203.0.113.7",
        "10.0.0.0/8",
        "443",
        "bad.example",
        "203.0.113.0/25",
    )
    assert found(events(EVENT), listed) == [
        (0, "source.ip", 2),
        (0, "destination.ip", 0),
        (0, "destination.ip", 1),
        (0, "destination.ip", 5),
        (0, "destination.port", 3),
        (0, "dns.question.name", 4),
    ]


def test_the_same_is_said_once_by_each_provider(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    rows = ["203.0.113.7,A,", "203.0.113.7,A,", "203.0.113.7,B,", "203.0.113.7/32,A,443"]
    path.write_text("\n".join(["ip,source,port", *rows]), encoding="utf-8")
    listed = Indicators.of(read_list(path).entries)
    assert listed.entries.height == 4
    assert [number for _, _, number in found(events(EVENT), listed)] == [0, 2, 3]


#: indicator (value, port) -> fields of EVENT that show it
CASES = {
    ("203.0.113.7", None): ["destination.ip"],
    ("203.0.113.7", 443): ["destination.ip"],
    ("203.0.113.7", 80): [],
    ("10.0.0.1", 443): [],
    ("10.0.0.1", 50000): ["source.ip"],
    ("::ffff:203.0.113.7", None): ["destination.ip"],
    ("0.0.0.0/1", None): ["source.ip"],
    ("128.0.0.0/1", None): ["destination.ip"],
    ("::/1", None): [],
    ("50000", None): [],
    ("www.bad.example", None): ["dns.question.name"],
    ("bad.example", 443): ["dns.question.name"],
    ("bad.example", 53): [],
    ("d.example", None): [],
    ("other.www.bad.example", None): [],
}  # fmt: skip


@pytest.mark.parametrize(("value", "port"), CASES)
def test_one_indicator(value: str, port: int | None, tmp_path: Path) -> None:
    listed = indicators(tmp_path, (value, port, None, None))
    assert [field for _, field, _ in found(events(EVENT), listed)] == CASES[value, port]


@pytest.mark.parametrize(
    ("begin", "end", "at", "wanted"),
    [
        (10, 20, 9, False),
        (10, 20, 10, True),
        (10, 20, 19, True),
        (10, 20, 20, False),
        (None, 20, -(10**9), True),
        (10, None, 10**9, True),
    ],
)
def test_valid_from_is_in_and_valid_until_is_out_and_the_clock_has_no_say(
    begin: int | None, end: int | None, at: int, wanted: bool, tmp_path: Path
) -> None:
    listed = indicators(
        tmp_path, ("203.0.113.7", None, begin, end), ("192.0.2.1", None, None, None)
    )
    assert bool(found(events((at, *EVENT[1:])), listed)) is wanted


def test_nulls_and_hostile_text_match_nothing(tmp_path: Path) -> None:
    listed = always(tmp_path, "0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1", "0", "bad.example")
    texts = ["", "x", "1.2.3", "1.2.3.4.5", "::1::", "\x00", "999.1.1.1", "💥", None]
    names = [
        "",
        ".",
        "..",
        "x" * 10_000,
        "bad.example" + ".bad.example" * 60,
        "a..bad",
        "\x00",
        None,
        "💥",
    ]
    rows = [(0, a, None, a, None, n) for a, n in zip(texts, names, strict=True)]
    assert found(events(*rows), listed) == []
    assert found(events(), listed) == []
    assert found(events(EVENT), NOTHING) == []


def test_names_match_whatever_their_case_final_dot_or_depth(tmp_path: Path) -> None:
    listed = always(tmp_path, "bad.example", "example.bad")
    names = [
        "BAD.Example.",
        "a.b.c.bad.example",
        "notbad.example",
        "_x.bad.example",
        "bad.example.org",
    ]
    rows = [(0, None, None, None, None, name) for name in names]
    assert [row for row, _, _ in found(events(*rows), listed)] == [0, 1, 3]


def test_names_may_stand_in_lists(tmp_path: Path) -> None:
    frame = events(EVENT, EVENT, EVENT).with_columns(
        pl.Series("dns.question.name", [["a.bad.example", "bad.example"], [], None])
    )
    assert found(frame, always(tmp_path, "bad.example")) == [(0, "dns.question.name", 0)]


def test_mapped_and_zoned_addresses_are_what_they_stand_for(tmp_path: Path) -> None:
    listed = always(tmp_path, "203.0.113.0/24", "fe80::/10", "2001:db8::1")
    texts = [
        "::ffff:203.0.113.9",
        "::ffff:cb00:7109",
        "fe80::1%eth0",
        "2001:DB8:0:0::1",
        "::203.0.113.9",
    ]
    rows = [(0, text, None, None, None, None) for text in texts]
    assert [(row, i) for row, _, i in found(events(*rows), listed)] == [
        (0, 0),
        (1, 0),
        (2, 1),
        (3, 2),
    ]


def test_a_frame_of_the_schema_is_matched_as_it_is(tmp_path: Path) -> None:
    listed = always(tmp_path, "203.0.113.7", "443")
    frame = conform(events(EVENT).drop("dns.question.name"))
    assert match(frame, listed)["field"].to_list() == ["destination.ip", "destination.port"]


def test_an_allow_list_says_of_every_event_whether_it_is_on_it(tmp_path: Path) -> None:
    listed = indicators(tmp_path, ("203.0.113.0/24", None, None, 10), ("192.0.2.1", 53, None, None))
    frame = events(
        EVENT,
        (10, *EVENT[1:]),
        (0, "203.0.113.9", 1, None, None, None),
        (99, "192.0.2.1", 53, "192.0.2.1", 54, None),
        (99, None, 53, "192.0.2.1", 54, None),
    )
    marks = allowed(frame, listed)
    assert (marks.dtype, marks.to_list()) == (pl.Boolean, [True, False, True, True, False])
    assert allowed(frame, listed, Fields(addresses=("source.ip",))).to_list()[0] is False
    assert allowed(frame, NOTHING).to_list() == [False] * 5


def flat(document: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}", value


def test_enrichments_are_ecs(tmp_path: Path, data: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(
        "indicator,port,valid_from,description,source,confidence,reference,id\n"
        "203.0.113.7,443,2026-01-01,C2,CERT,90,https://cert.example/1,i1\n"
        "203.0.113.0/24,,,,,,,\n443,,,,,,,\nbad.example,,,,,,,\n2001:db8::1,,,,,,,\n",
        encoding="utf-8",
    )
    listed = Indicators.of(read_list(path).entries)
    frame = events(EVENT, (0, "2001:db8::1", 1, None, None, None))
    made: list[dict[str, Any]] = []
    for row, event in enumerate(frame.iter_rows(named=True)):
        hits = match(frame, listed, FIELDS).filter(pl.col("row") == row)
        made += enrichments(event, hits.select("field", "indicator").rows(), listed)
    assert made[0] == {
        "indicator": {
            "type": "ipv4-addr", "name": "203.0.113.7", "ip": "203.0.113.7", "port": 443,
            "provider": "CERT", "reference": "https://cert.example/1", "description": "C2",
            "confidence": "High", "first_seen": "2026-01-01T00:00:00.000000Z",
        },
        "matched": {"atomic": "203.0.113.7", "field": "destination.ip", "type": "indicator_match_rule", "id": "i1"},
    }  # fmt: skip
    assert [one["indicator"]["type"] for one in made] == [
        "ipv4-addr", "ipv4-addr", "port", "domain-name", "ipv6-addr",
    ]  # fmt: skip
    with (data / "ecs" / "fields.csv").open(encoding="utf-8") as file:
        types = {row["field"]: row["type"] for row in csv.DictReader(file)}
    values: dict[str, set[str]] = {}
    with (data / "ecs" / "allowed_values.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            values.setdefault(row["field"], set()).add(row["value"])
    for one in made:
        for name, value in flat(one, "threat.enrichments"):
            assert isinstance(value, int if types[name] == "long" else str), name
            assert value in values.get(name, {value}), name
            if types[name] == "ip":
                ipaddress.ip_address(value)


def test_the_example_of_the_page_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "indicators.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("bad.txt").write_text("203.0.113.0/24 # documentation\n", encoding="utf-8")
    events(EVENT, (0, "10.0.0.1", 1, "10.0.0.2", 2, None)).write_parquet("events.parquet")
    exec(compile(code, "indicators.md", "exec"), {})  # noqa: S102  the page as it stands
    shown = capsys.readouterr().out
    assert "'name': '203.0.113.0/24'" in shown
    assert "true" in shown
    assert "false" in shown


def test_the_page_names_the_columns_that_headers_may_have() -> None:
    page = (ROOT / "docs" / "indicators.md").read_text(encoding="utf-8")
    for column, names in HEADERS.items():
        assert f"| {column} | {', '.join(names)} |" in page
    for column in ENTRY_SCHEMA:
        assert re.search(rf"^\|[^|]*\b{column}\b[^|]*\|", page, re.MULTILINE), column
