"""The sample incident: the flows of tcpdump's text are the connections of conn.log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import ROOT
from support import parse, replayed

from connwatch.detectors.ruleset import load_rules
from connwatch.ingest.formats import FORMATS
from connwatch.ingest.zeek_tsv import ZeekTsv
from connwatch.pipeline import bundled_rules

pytestmark = pytest.mark.source

INCIDENT = ROOT / "sample_logs" / "incident"
#: what the capture's text and conn.log both tell
SAME = (
    "@timestamp", "source.ip", "source.port", "source.bytes", "source.packets",
    "destination.ip", "destination.port", "destination.bytes", "destination.packets",
    "network.transport", "network.iana_number", "zeek.connection.state", "zeek.connection.history",
    "zeek.connection.missed_bytes", "zeek.connection.orig_bytes", "zeek.connection.resp_bytes",
    "zeek.connection.icmp.type", "zeek.connection.icmp.code",
)  # fmt: skip


def rows(events: pl.DataFrame) -> list[tuple[Any, ...]]:
    return sorted(events.select(SAME).rows(), key=str)


def test_the_text_and_the_log_of_one_capture_are_the_same_flows() -> None:
    text = parse(
        FORMATS["tcpdump"](""), (INCIDENT / "tcpdump.txt").read_bytes(), path="tcpdump.txt"
    )
    logged = parse(ZeekTsv(), (INCIDENT / "conn.log").read_bytes())
    flows = text.events.filter(pl.col("event.dataset") == "tcpdump.connection")
    assert text.rejects.is_empty()
    assert text.lines == text.record_lines + text.comments
    assert rows(flows) == rows(logged.events)
    # The sample's log counts what comes behind both ends' close, which Zeek does not.
    ends = ["@timestamp", "source.ip", "source.port", "destination.ip", "destination.port"]
    both = flows.join(logged.events, on=ends, nulls_equal=True).with_columns(
        less=pl.col("event.duration_right") - pl.col("event.duration")
    )
    assert both.height == flows.height
    assert set(both.filter(pl.col("less") != 0)["zeek.connection.state"]) <= {"SF", "RSTO"}
    assert both["less"].min() == 0
    assert both["less"].max() < 100_000


def test_both_raise_the_same_alerts_and_a_second_replay_stores_nothing(tmp_path: Path) -> None:
    rules = load_rules([bundled_rules()])
    told = []
    for name in ("conn.log", "tcpdump.txt"):
        _, alerts = replayed([INCIDENT / name], tmp_path / name, rules)
        told.append(
            sorted(
                (
                    alert["rule"]["name"],
                    alert["connwatch"]["count"],
                    str(alert["connwatch"]["group"]),
                )
                for alert in alerts
            )
        )
    assert told[0] == told[1]
    assert len(told[0]) > 10
    again, _ = replayed([INCIDENT / "tcpdump.txt"], tmp_path / "tcpdump.txt", rules)
    counts = again.summary()
    assert (counts["stored"], counts["already_stored"]) == (0, counts["events"])
