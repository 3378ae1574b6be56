"""Socket tables through a replay: streams, what feeds rules, notes, and the books of the run."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from support import ordered, replayed
from test_commands import out
from test_sockets import HEADER, LISTEN, read

from connwatch.cli import run
from connwatch.detectors.ruleset import load_rules
from connwatch.ingest.sockets.seen import Seen
from connwatch.pipeline import bundled_rules
from connwatch.sinks.embedded import StoreReader

pytestmark = pytest.mark.source

INCIDENT = ROOT / "sample_logs" / "incident"


def shot(second: int, *ports: int) -> str:
    """A snapshot with connections from these ports."""
    lines = [f"tcp ESTAB 0 0 192.0.2.1:{port} 198.51.100.7:443\n" for port in ports]
    return f"2026-11-21 07:26:{second:02}Z\n" + HEADER + LISTEN + "".join(lines)


def first_seen(events: pl.DataFrame) -> list[tuple[int, int]]:
    """Second and port of the rows that feed rules."""
    found = events.filter(pl.col("event.dataset") == "ss.connection")
    return list(zip(found["@timestamp"].dt.second(), found["source.port"], strict=True))


def test_a_connection_feeds_rules_once_until_it_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "ss.txt"
    path.write_text(shot(1, 5000, 5001) + shot(2, 5000, 5002) + shot(3, 5000) + shot(4, 5000, 5001))
    events, failed, counts = ordered([path])
    assert not failed
    assert first_seen(events) == [(1, 5000), (1, 5001), (2, 5002), (4, 5001)]
    flows = events.filter(pl.col("event.dataset") == "ss.flow")
    assert flows["source.port"].to_list() == [5001, 5002]
    assert (events.height, counts["rejects"], counts["lines"]) == (11 + 2, 0, 19)
    assert events["event.id"].n_unique() == events.height


def test_snapshots_in_files_of_their_own_are_one_stream_by_host(tmp_path: Path) -> None:
    for host, second, ports in (
        ("srv", 10, (5000,)), ("ws", 10, (5000,)), ("srv", 20, (5000, 5001)), ("ws", 20, (5000,)),
    ):  # fmt: skip
        text = shot(second, *ports).partition("\n")[2]
        (tmp_path / f"ss-{host}-20261121T0726{second}Z.txt").write_text(text)
    events, _, _ = ordered([tmp_path])
    fed = events.filter(pl.col("event.dataset") == "ss.connection")
    names = fed["log.file.path"].str.extract(r"ss-(\w+)-")
    assert Counter(zip(names, first_seen(events), strict=True)) == Counter(
        [("srv", (10, 5000)), ("ws", (10, 5000)), ("srv", (20, 5001))]
    )


@given(st.lists(st.integers(1, 18), max_size=4))
def test_batches_make_no_difference_to_what_feeds_rules(cuts: list[int]) -> None:
    text = (
        shot(1, 5000, 5001, 5001) + shot(1, 5000, 5003) + shot(2, 5000, 5002) + shot(4, 5001, 5002)
    )
    events = read(text).events
    whole = Seen().mark(events)
    seen, parts = Seen(), []
    bounds = sorted({0, events.height, *(cut for cut in cuts if cut < events.height)})
    for low, high in itertools.pairwise(bounds):
        parts.append(seen.mark(events.slice(low, high - low)))
    assert pl.concat(parts).equals(whole)
    assert first_seen(whole) == [(1, 5000), (1, 5001), (1, 5003), (2, 5002), (4, 5001)]


def test_the_incident_is_found_in_its_socket_tables(tmp_path: Path) -> None:
    paths = sorted(INCIDENT.glob("ss-*.txt"))
    outcome, alerts = replayed(paths, tmp_path / "store", load_rules([bundled_rules()]))
    found = {
        alert["message"]: alert["connwatch"]["count"]
        for alert in alerts
        if "back-door" in alert["message"]
    }
    assert found == {
        "192.168.56.10 has a session with 198.51.100.66 on the back-door port 4444": 10,
        "198.51.100.66 has a session with 192.168.56.20 on the back-door port 31337": 1,
        "backdoor (process 4767) listens on 192.168.56.20, on the back-door port 31337": 1,
    }
    shown = next(alert for alert in alerts if "listens" in alert["message"])["connwatch"][
        "evidence"
    ]
    assert [(one["process.name"], one["process.pid"]) for one in shown] == [("backdoor", 4767)]
    counts = outcome.ledger.total
    assert counts["lines"] == sum(len(path.read_bytes().splitlines()) for path in paths)
    assert (counts["rejects"], counts["events"], counts["duplicates"]) == (0, 30, 0)
    assert (counts["records"], counts["summaries"]) == (29, 1)
    again, _ = replayed(paths, tmp_path / "store", load_rules([bundled_rules()]))
    assert again.ledger.total["already_stored"] == 30
    assert again.digest == outcome.digest


def test_dumps_of_a_listener_that_are_replayed_one_by_one_are_one_alert(tmp_path: Path) -> None:
    for dump in sorted(INCIDENT.glob("ss-srv-*.txt")):
        replayed([dump], tmp_path / "store", load_rules([bundled_rules()]))
    with StoreReader(tmp_path / "store") as reader:
        (alert,) = (one for one in reader.alerts() if "listens" in one["message"])
    assert len(alert["connwatch"]["evidence"]) == 2
    assert alert["related"] == {"ip": [alert["destination"]["ip"]]}


def test_what_is_assumed_of_times_is_told_once(tmp_path: Path) -> None:
    bare, unzoned = tmp_path / "bare", tmp_path / "unzoned"
    bare.write_text((HEADER + LISTEN) * 3)
    unzoned.write_text(shot(1).replace("Z\n", "\n", 1))
    outcome, _ = replayed([bare, unzoned], tmp_path / "store", load_rules([bundled_rules()]))
    told = [note for note in outcome.notes if "time" in note and str(tmp_path) in note]
    assert sorted(told) == [
        f"{bare}: tells no time; its sockets have the time at which it was written",
        f"{unzoned}: tells times without a zone; they are taken as UTC",
    ]


BARE = "07:26:35\n" + HEADER + LISTEN + "23:59:58\n" + HEADER + LISTEN + "== 00:00:08 ==\n" + HEADER
TIMES = [
    ("tz.txt", "2026-11-21 07:26:35\n" + HEADER + LISTEN, ("--tz", "Europe/Berlin"), ["21 06:26:35"]),
    ("tz.txt", "2026-11-21 07:26:35Z\n" + HEADER + LISTEN, ("--tz", "Asia/Tokyo"), ["21 07:26:35"]),
    ("ss-20260721T072635.txt", HEADER + LISTEN, ("--tz", "Europe/Berlin"), ["21 05:26:35"]),
    ("date.txt", BARE + LISTEN, ("--date", "2026-11-21"), ["21 07:26:35", "21 23:59:58", "22 00:00:08"]),
    (
        "date.txt", BARE + LISTEN, ("--date", "2026-11-21", "--tz", "America/New_York"),
        ["21 12:26:35", "22 04:59:58", "22 05:00:08"],
    ),
    (
        "ss-20261121T235955Z.txt", (HEADER + LISTEN) * 3, ("--interval", "10s"),
        ["21 23:59:55", "22 00:00:05", "22 00:00:15"],
    ),
    (
        "no-time.txt", (HEADER + LISTEN) * 2, ("--interval", "1m", "--date", "2026-11-21"),
        ["21 00:00:00", "21 00:01:00"],
    ),
    ("date-20261120T1000.txt", BARE, (), ["20 07:26:35", "20 23:59:58"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "options", "wanted"), TIMES)
def test_what_the_user_says_of_times_is_taken(
    name: str,
    text: str,
    options: tuple[str, ...],
    wanted: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / name
    path.write_text(text)
    store = str(tmp_path / "store")
    out(capsys, "replay", str(path), *options, "--store", store)
    rows = out(capsys, "search", "--format", "ndjson", "--sort", "@timestamp:asc", "--store", store)
    times = [json.loads(row)["@timestamp"] for row in rows.splitlines()]
    assert [f"{time[8:10]} {time[11:19]}" for time in times] == wanted


def test_words_that_are_no_times_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    for option, value in (("--tz", "Berlin"), ("--date", "yesterday"), ("--interval", "often")):
        assert run(["replay", str(INCIDENT), option, value]) == 2
        assert option in capsys.readouterr().err
