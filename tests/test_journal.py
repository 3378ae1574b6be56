"""Runs that keep no store: what a journal has, what it lets go of, and what it is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from elastic_events import alert
from live_support import header, lines
from sink_contract import delivery, events

from connwatch.cli import run as command
from connwatch.errors import StoreError
from connwatch.sinks.embedded import EmbeddedStore, alerts
from connwatch.sinks.embedded import outbox as outboxes

SAMPLE = Path(__file__).resolve().parent.parent / "sample_logs" / "incident" / "conn.log"
CONFIG = "store: none\njournal: journal\nrules: []\nsources: [{path: conn.log}]\n"
SERVER = "elasticsearch: {nodes: ['http://127.0.0.1:9']}\n"


def of_day(day: int, number: int = 50) -> pl.DataFrame:
    rows = events(range(day * 1_000, day * 1_000 + number))
    return rows.with_columns(pl.col("@timestamp") + timedelta(days=day - 60))


def put(store: EmbeddedStore, rows: pl.DataFrame, *found: dict[str, Any]) -> int:
    """How many of the events were new."""
    run = store.begin_run()
    fate, keys = run.classify(rows)
    fresh = rows.filter(fate == "new")
    run.stage(delivery(fresh, alerts=found), keys)
    run.commit(lambda path: path.touch())
    return fresh.height


def ids_in(store: EmbeddedStore, table: str) -> set[str]:
    query = {"alerts": "SELECT id FROM alerts", "outbox_places": "SELECT id FROM outbox_places"}
    return {row[0] for row in store.database.execute(query[table])}


def seen(on: int, *, suppress: timedelta = timedelta(hours=1)) -> dict[str, Any]:
    """An alert of a day."""
    made = alert(on)
    moment = (datetime(2026, 11, 20, tzinfo=UTC) + timedelta(days=on - 60)).isoformat()
    made["event"] |= {"start": moment, "end": moment}
    made["@timestamp"] = moment
    own = made["connwatch"]
    own["key"] = {
        "rule": f"r{on}",
        "group": "{}",
        "suppress_us": suppress // timedelta(microseconds=1),
    }
    return made


def test_what_is_acknowledged_and_old_leaves_a_journal(tmp_path: Path) -> None:
    with EmbeddedStore(tmp_path, journal=True) as store:
        outbox = store.open_outbox(1_000_000)
        ids = []
        for day in range(1, 9):
            long = timedelta(days=30) if day == 3 else timedelta(hours=1)
            found = seen(day, suppress=long)
            assert put(store, of_day(day), found) == 50
            with store.database.changing():  # as if a hit had made it
                alerts.put(store.database, found)
                outboxes.note(store.database, [found["event"]["id"]])
            ids.append(found["event"]["id"])
        store.shed()
        # Nothing is acknowledged: nothing that is to be sent has gone.
        assert (outbox.rows, outbox.alerts, len(ids_in(store, "alerts"))) == (400, 8, 8)
        waiting = pl.concat([part.events(tmp_path) for part in outbox.pending(10_000)])
        assert sorted(waiting["event.id"]) == sorted(
            one for day in range(1, 9) for one in of_day(day)["event.id"]
        )
        outbox.done(outbox.pending(10_000))
        changed = [one for one in outbox.changed(100) if one.id != ids[1]]
        outbox.sent(changed, ["there"] * 7)
        store.shed()
        left = ids_in(store, "alerts")
        # Not sent; may still grow; too new.
        assert left == {ids[1], ids[2], ids[7]}
        assert ids_in(store, "outbox_places") == {ids[2], ids[7]}
        # What was read lately is known when it is read again.
        assert put(store, of_day(8)) == 0
        assert put(store, of_day(2)) == 50
    assert not (tmp_path / "events").exists()
    assert not (tmp_path / "hits").exists()


def test_nothing_goes_while_a_restart_would_run_records_again(tmp_path: Path) -> None:
    """They must find their keys, or their hits would count twice."""
    with EmbeddedStore(tmp_path, journal=True) as store:
        store.open_outbox(1_000_000)
        put(store, of_day(1))
        put(store, of_day(9))
        run = store.begin_run()
        fate, keys = run.classify(of_day(10))
        one = delivery(of_day(10).filter(fate == "new"))
        run.write(replace(one, journal=b"records"), keys)
        store.shed()
        assert put(store, of_day(1)) == 0


def test_a_journal_is_taken_for_no_store_and_a_store_for_no_journal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal, store = str(tmp_path / "journal"), str(tmp_path / "store")
    EmbeddedStore(tmp_path / "journal", journal=True).close()
    for arguments in (["search"], ["alerts"], ["alerts", "show", "ab"], ["replay", str(SAMPLE)]):
        assert command([*arguments, "--store", journal]) == 3
        told = capsys.readouterr().err
        assert "the journal of a run that keeps no store" in told
        assert "--elasticsearch URL" in told
    for arguments in (["rejects"], ["dead-letters", "list"], ["store", "verify"]):
        assert command([*arguments, "--store", journal]) == 0
    assert command(["replay", str(SAMPLE), "--store", "none"]) == 2
    assert "`store: none` is for the configuration" in capsys.readouterr().err
    assert command(["replay", str(SAMPLE), "--store", store]) == 0
    with pytest.raises(StoreError, match="which is no journal"):
        EmbeddedStore(tmp_path / "store", journal=True)
    EmbeddedStore(tmp_path / "store").close()


FAULTS = {
    "no server": (CONFIG, "c.yml:1:1: store: none keeps nothing, and no server is named"),
    "retention of nothing": (
        f"{CONFIG}{SERVER}retention: {{events: 3d}}\n",
        "c.yml:6:1: retention is of the store, and there is none",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_makes_no_sense_without_a_store_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    text, wanted = FAULTS[case]
    (tmp_path / "c.yml").write_text(text)
    assert command(["config", "check", "-c", str(tmp_path / "c.yml")]) == 2
    assert wanted in capsys.readouterr().out


def test_the_configuration_says_where_the_journal_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.yml"
    path.write_text(CONFIG + SERVER)
    assert command(["config", "show", "-c", str(path)]) == 0
    assert f"store: none\njournal: {tmp_path}/journal\n" in capsys.readouterr().out
    monkeypatch.setenv("CONNWATCH_STORE", "/from/environment")
    path.write_text(CONFIG.replace("journal: journal\n", "") + SERVER)
    assert command(["config", "show", "-c", str(path)]) == 0
    assert "store: none\njournal: /from/environment\n" in capsys.readouterr().out


def test_a_run_without_a_store_keeps_what_a_server_that_is_away_does_not_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a second one reads nothing again."""
    config = tmp_path / "c.yml"
    config.write_text(CONFIG + SERVER)
    (tmp_path / "conn.log").write_bytes(header() + b"".join(lines(300)))
    for _ in range(2):
        assert command(["run", "-c", str(config), "--until-idle", "0.5"]) == 0
        with EmbeddedStore(tmp_path / "journal") as journal:
            assert journal.open_outbox(1).rows == 300
    assert command(["status", "--store", str(tmp_path / "journal"), "--json"]) == 1
    assert '"state":"stopped"' in capsys.readouterr().out
