"""Names of rotated logs: their stem, their family, and which of them were rotated away."""

from __future__ import annotations

import pytest

from connwatch.ingest.families import family, marked, numbered, rotated, stem, turn


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("conn.log", "conn"),
        ("conn.log.1", "conn"),
        ("conn.log.12.gz", "conn"),
        ("conn.1.log.xz", "conn"),
        ("conn.log-20261121", "conn"),
        ("conn.log-20261121.gz", "conn"),
        ("conn.log-20261121-1795265832.zst", "conn"),
        ("conn.log-20261121-10.bz2", "conn"),
        ("conn.2026-11-21-10.log", "conn"),
        ("conn-2026-11-21_10.00.00.log", "conn"),
        ("conn-26-11-21_10.00.00.log", "conn"),
        ("conn.00:00:00-01:00:00.log.gz", "conn"),
        ("conn.2026-11-21-10-00-00.json", "conn"),
        ("conn_long.log.1", "conn_long"),
        ("json_streaming_conn.log", "json_streaming_conn"),
        ("conn.ndjson", "conn"),
        ("conn1.log", "conn1"),
        ("conn-worked.log", "conn-worked"),
        ("20261121.log", "20261121"),
        ("1", "1"),
        (".log", ".log"),
    ],
)
def test_stem(name: str, expected: str) -> None:
    assert stem(f"/var/log/{name}") == expected


def test_family_is_the_folder_without_those_that_rotation_makes() -> None:
    for folder in ("current", "2026-11-20", "archive/2026-11", "2026/20261120", ""):
        assert family(f"/zeek/logs/{folder}/conn.log") == "/zeek/logs"


def test_marks_tell_what_was_rotated_away() -> None:
    assert numbered("/x/conn.log.3.gz")
    assert not numbered("/x/conn-20261120.log")
    assert marked("/x/conn-20261120.log")
    assert marked("/x/2026-11-20/conn.log")
    assert not marked("/x/current/conn.log")
    assert not marked("/x/conn_long.log")


def test_a_name_that_only_says_how_it_is_written_is_another_log() -> None:
    for name in (
        "conn.log.1",
        "conn.log.gz",
        "conn-20261120.log",
        "conn.log.old",
        "2026-11-20/conn.log",
    ):
        assert rotated(f"/x/{name}"), name
    for name in ("conn.json.log", "conn.txt", "conn.ndjson", "current/conn.log"):
        assert not rotated(f"/x/{name}"), name


def test_names_in_turn() -> None:
    names = ["conn.log", "conn.log.1", "conn.log.10", "conn.log.2.gz"]
    assert sorted(names, key=turn) == ["conn.log.10", "conn.log.2.gz", "conn.log.1", "conn.log"]
    dates = ["conn.log", "conn-20261120.log", "conn-20261119.log"]
    assert sorted(dates, key=turn) == ["conn-20261119.log", "conn-20261120.log", "conn.log"]
