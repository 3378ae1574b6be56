"""Processes in the alerts of a run that follows logs: as a replay writes them, whatever comes first,
and whenever it is killed."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from live_process import PATIENCE, ended, following, status
from live_support import wait_for
from support import replayed

from connwatch.attribution.naming import name_all, name_some
from connwatch.cli import run
from connwatch.detectors.ruleset import load_rules
from connwatch.errors import StoreError
from connwatch.pipeline import bundled_rules
from connwatch.sinks.embedded import EmbeddedStore, StoreReader, Unnamed

pytestmark = pytest.mark.source

INCIDENT = ROOT / "sample_logs" / "incident"
DUMPS = sorted(INCIDENT.glob("ss-*.txt"))
RULES = bundled_rules() / "network"
DOOR = "Session to a known back-door port"
NEXT = "072900"
Document = dict[str, Any]


def log() -> tuple[str, str]:
    """conn.log of the incident, and one session more with the back door, which comes later."""
    text = (INCIDENT / "conn.log").read_text()
    (line,) = [one for one in text.splitlines() if "\t44635\t192.168.56.20\t31337\t" in one]
    later = line.replace("1795245995.580339", "1795246024.000000").replace("44635", "44636")
    return text, later.replace("Ce4SjbQ9NN7ZAHFbsG", "CgrowsAfterwards00") + "\n"


def stored(folder: Path) -> dict[str, Document]:
    """The alerts of a store by id; none where there is no store yet."""
    try:
        with StoreReader(folder) as reader:
            return {one["event"]["id"]: one for one in reader.alerts()}
    except StoreError:
        return {}


def door(folder: Path) -> Document:
    """The alert about the back door that the server answered; empty before it is there."""
    found = [
        one
        for one in stored(folder).values()
        if one["rule"]["name"] == DOOR and one["connwatch"]["group"]["destination.port"] == 31337
    ]
    return found[0] if found else {}


def named(document: Document) -> bool:
    return "process" in document


def told(folder: Path) -> dict[Any, Any]:
    """What the alerts of a store say of processes, by rule and group."""
    names = ("process", "user", "host")
    return {
        (one["rule"]["id"], repr(one["connwatch"]["group"])): (
            one["connwatch"].get("processes"), [one.get(name) for name in names],
        )
        for one in stored(folder).values()
    }  # fmt: skip


def sure(found: dict[Any, Any]) -> dict[Any, Any]:
    """Which processes are named, and which one alone."""
    return {
        alert: ({(one.get("pid"), one.get("host")) for one in listed if "pid" in one}, alone)
        for alert, (listed, alone) in found.items()
    }


def as_replayed(store: Path, logs: Path, folder: Path, *, late: bool = False) -> None:
    """The alerts of a store say of processes what those of a replay of the same files say. late:
    of a connection it was then the log that counted, not the table, which came later; so what is
    said of its end is said in other words."""
    words = ["--rules", str(RULES), "--store", str(folder)]
    assert run(["replay", *map(str, logs.iterdir()), *words]) == 0
    here, there = told(store), told(folder)
    assert sure(here) == sure(there) if late else here == there


def configured(folder: Path) -> Path:
    path = folder / "connwatch.yml"
    path.write_text(
        f"store: store\nsettle: 0.2\nidle_limit: 0.5\nrules: [{RULES}]\n"
        "sources: [{path: logs/conn.log}, {path: logs/ss-*.txt}]\n"
    )
    (folder / "logs").mkdir()
    return path


def shot(folder: Path, source: str, time: str) -> Path:
    """A dump of another time, without the sessions of the attacker."""
    path = folder / f"{source}-20261121T{time}Z.txt"
    text = next(one for one in DUMPS if one.name.startswith(source)).read_text()
    lines = text.splitlines(keepends=True)
    path.write_text("".join(one for one in lines if "198.51.100.66" not in one))
    return path


def dump(logs: Path) -> None:
    """All dumps, and one more of each host: a table is given on when the next one has begun."""
    for path in DUMPS:
        shutil.copy(path, logs)
    for source in ("ss-srv", "ss-ws"):
        shot(logs, source, NEXT)


def test_snapshots_that_come_late_after_kills_name_what_a_replay_names(tmp_path: Path) -> None:
    config, store, logs = configured(tmp_path), tmp_path / "store", tmp_path / "logs"
    text, more = log()
    (logs / "conn.log").write_text(text)
    with following(config, store) as process:
        wait_for("the alert", lambda: bool(door(store)), PATIENCE)
        ended(process, signal.SIGKILL)
    before = door(store)
    assert "processes" not in before["connwatch"]
    with EmbeddedStore(store) as opened:
        opened.set_alert_status(before["event"]["id"], "acknowledged")
    dump(logs)
    with following(config, store) as process:
        wait_for("its process", lambda: named(door(store)), PATIENCE)
        ended(process, signal.SIGKILL)
    after = door(store)
    assert (after["process"], after["connwatch"]["status"]) == (
        {"pid": 4767, "name": "backdoor"}, "acknowledged",
    )  # fmt: skip
    assert after["connwatch"]["count"] == before["connwatch"]["count"]  # its row is a witness
    with (logs / "conn.log").open("a") as out:
        out.write(more)
    with following(config, store, "--until-idle", "2") as process:
        grown = after["connwatch"]["count"] + 1
        wait_for("growth", lambda: door(store)["connwatch"]["count"] == grown, PATIENCE)
        assert named(door(store))
        assert process.wait(PATIENCE) == 0
    assert status(store)["processes"]["error"] is None
    assert door(store)["connwatch"]["status"] == "acknowledged"
    assert sum(one["events"] for one in door(store)["connwatch"]["processes"]) == grown
    as_replayed(store, logs, tmp_path / "replayed", late=True)


@pytest.mark.slow
def test_alerts_that_come_after_their_snapshots_are_named(tmp_path: Path) -> None:
    config, store, logs = configured(tmp_path), tmp_path / "store", tmp_path / "logs"
    dump(logs)
    text, more = log()
    with following(config, store, "--until-idle", "4") as process:
        wait_for("snapshots", lambda: bool(stored(store)), PATIENCE)
        (logs / "conn.log").write_text(text + more)
        wait_for("processes", lambda: named(door(store)), PATIENCE)
        assert process.wait(PATIENCE) == 0
    as_replayed(store, logs, tmp_path / "replayed")


def only_replayed(paths: Iterable[Path], store: Path) -> None:
    """A replay that is killed before it looks for processes."""
    replayed(paths, store, load_rules([RULES]))


def all_named(store: Path, most: int = 100) -> int:
    """Look for processes until nothing waits; how many alerts were looked at."""
    with EmbeddedStore(store) as opened:
        return sum(iter(lambda: name_some(opened, most), 0))


def nothing_more(store: Path) -> None:
    """Looking at everything finds no more."""
    before = told(store)
    with EmbeddedStore(store) as opened:
        name_all(opened, datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC))
    assert told(store) == before


@pytest.mark.parametrize("most", [1, 3, 100])
def test_what_waits_is_looked_at_once_in_any_portions(tmp_path: Path, most: int) -> None:
    store = tmp_path / "store"
    only_replayed([INCIDENT / "conn.log", *DUMPS], store)
    assert not any(named(one) for one in stored(store).values())
    assert all_named(store, most) == len(stored(store)) > 5
    assert door(store)["process"]["name"] == "backdoor"
    assert all_named(store) == 0
    nothing_more(store)


def test_growth_keeps_what_is_known_until_more_is(tmp_path: Path) -> None:
    store, again = tmp_path / "store", tmp_path / "conn.log"
    only_replayed([INCIDENT / "conn.log", *DUMPS], store)
    all_named(store)
    all_before, before = stored(store), door(store)
    text, more = log()
    again.write_text(text + more)
    only_replayed([again, *DUMPS], store)
    after = door(store)
    assert after["connwatch"]["count"] == before["connwatch"]["count"] + 1
    for name in ("process", "user", "host"):
        assert after.get(name) == before.get(name)
    assert after["connwatch"]["processes"] == before["connwatch"]["processes"]
    grown = [one for name, one in stored(store).items() if one != all_before.get(name)]
    assert all_named(store) == len(grown) < len(all_before)
    assert sum(one["events"] for one in door(store)["connwatch"]["processes"]) == 3
    nothing_more(store)


def test_a_snapshot_concerns_what_came_since_the_one_before_it(tmp_path: Path) -> None:
    """Dumps that are hours apart: the next one tells of all that was between, and no later one."""
    store = tmp_path / "store"
    only_replayed([INCIDENT / "conn.log", shot(tmp_path, "ss-srv", "055900")], store)
    all_named(store)
    assert not named(door(store))
    only_replayed([shot(tmp_path, "ss-srv", "093000")], store)
    assert all_named(store) >= len([1 for one in stored(store).values() if "source" in one])
    (sure, *_) = door(store)["connwatch"]["processes"]
    assert (sure["verdict"], sure["reason"]) == ("bounded", "listener")
    nothing_more(store)
    only_replayed([shot(tmp_path, "ss-srv", "123000")], store)
    since = [one for one in stored(store).values() if one["event"]["end"] >= "2026-11-21T09:30"]
    assert all_named(store) == len(since) < len(stored(store))
    nothing_more(store)


def test_where_nothing_tells_of_processes_nothing_waits_for_long(tmp_path: Path) -> None:
    store = tmp_path / "store"
    only_replayed([INCIDENT / "conn.log"], store)
    assert all_named(store, 1) == len(stored(store))
    with EmbeddedStore(store) as opened:
        assert Unnamed(opened).waiting() is None


def test_a_server_gets_an_alert_again_when_its_process_is_known(tmp_path: Path) -> None:
    store = tmp_path / "store"
    only_replayed([INCIDENT / "conn.log"], store)
    with EmbeddedStore(store) as opened:
        outbox = opened.open_outbox(1_000)
        only = door(store)["event"]["id"]
        opened.database.execute("INSERT INTO outbox_places VALUES (?, 'there')", (only,))
        assert outbox.changed(10) == []
    only_replayed(DUMPS, store)
    all_named(store)
    with EmbeddedStore(store) as opened:
        (one,) = opened.open_outbox(1_000).changed(10)
        assert one.document is not None
        assert (one.id, one.document["process"]["name"]) == (only, "backdoor")


def test_a_store_that_no_newer_version_has_written_to_is_read(tmp_path: Path) -> None:
    store = tmp_path / "store"
    only_replayed([INCIDENT / "conn.log"], store)
    before = stored(store)
    with EmbeddedStore(store) as opened:
        for kind, name in (("TRIGGER", "alert_gone"), ("TABLE", "alert_processes")):
            opened.database.execute(f"DROP {kind} {name}")
    assert stored(store) == before
    assert all_named(store) == len(before)


def test_what_is_known_goes_with_its_alert(tmp_path: Path) -> None:
    store = tmp_path / "store"
    only_replayed([INCIDENT / "conn.log", *DUMPS], store)
    all_named(store)
    assert run(["store", "drop", "--before", "2026-11-23", "--store", str(store)]) == 0
    with EmbeddedStore(store) as opened:
        tables = "SELECT id FROM alerts UNION SELECT id FROM alert_processes UNION"
        left = opened.database.execute(f"{tables} SELECT id FROM unnamed").fetchall()  # noqa: S608
    assert left == []
