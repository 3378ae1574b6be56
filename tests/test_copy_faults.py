"""Copies that are killed, cut or refused go on where they were, and double nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from copies import Copying, config_of, fates
from elastic import Elastic
from proxy import proxy
from sending import ids
from sink_contract import delivery, events

from connwatch.copying.progress import Place, Progress, Wanted
from connwatch.query import parse
from connwatch.sinks.embedded import EmbeddedStore, StoreReader

ROWS = 30_000
#: a copy of small slices and commits
_COPY = """
import sys
from connwatch.copying import to_server, to_store
to_server._SLICE = to_store._COMMIT = 2_000
from connwatch.cli import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.fixture
def copying(elasticsearch: Elastic, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Copying:
    return Copying(config_of(tmp_path, elasticsearch), capsys)


@contextmanager
def begun(way: str, store: Path, config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A copy in a process of its own that has come some way."""
    words = ["copy", way, "--store", str(store), "-c", str(config)]
    with subprocess.Popen(
        [sys.executable, "-c", _COPY, *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        try:
            end = time.monotonic() + 60
            while not (found := list((store / "copies").glob("*.json"))) or (
                json.loads(found[0].read_text())["events"] < ROWS // 10
            ):
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < end
                time.sleep(0.01)
            yield process
        finally:
            process.kill()


def filled(folder: Path, rows: pl.DataFrame) -> Path:
    with EmbeddedStore(folder) as store:
        store.write(delivery(rows))
    return folder


def known(folder: Path) -> list[str]:
    with StoreReader(folder) as reader:
        return sorted(reader.events().select("event.id").collect()["event.id"])


@pytest.mark.slow
def test_killed_on_the_way_to_a_server(
    copying: Copying, elasticsearch: Elastic, tmp_path: Path
) -> None:
    store = filled(tmp_path / "store", events(range(ROWS)))
    with proxy(elasticsearch.url) as slow:
        slow.set("delay", seconds=0.1)
        (tmp_path / "slow").mkdir()
        config = config_of(tmp_path / "slow", elasticsearch, slow.url)
        with begun("to-elasticsearch", store, config) as process:
            process.kill()
    told = copying.there(store)
    counts = fates(told, "events")
    assert ROWS // 10 <= counts["skipped"] < ROWS
    assert counts["skipped"] + counts["copied"] + counts.get("there", 0) == ROWS
    assert counts.keys() <= {"skipped", "copied", "there"}
    _all_there(elasticsearch, copying)
    assert fates(copying.there(store), "events") == {"there": ROWS}


def _all_there(elasticsearch: Elastic, copying: Copying) -> None:
    assert int(copying.on_server("search", "--count")) == ROWS
    told = elasticsearch.ask("GET", f"/{elasticsearch.prefix}-events/_count")
    assert told["count"] == ROWS


@pytest.mark.slow
def test_killed_on_the_way_to_a_store(
    copying: Copying, elasticsearch: Elastic, tmp_path: Path
) -> None:
    first, second = filled(tmp_path / "first", events(range(ROWS))), tmp_path / "second"
    copying.there(first)
    with begun("to-store", second, copying.config) as process:
        process.kill()
    assert ROWS // 10 <= len(known(second)) < ROWS
    counts = fates(copying.back(second), "events")
    assert counts["skipped"] >= ROWS // 10
    assert sum(counts.values()) == ROWS
    assert known(second) == known(first)
    assert fates(copying.back(second), "events") == {"there": ROWS}


@pytest.mark.slow
def test_a_server_that_goes_away_in_the_middle(
    copying: Copying, elasticsearch: Elastic, tmp_path: Path
) -> None:
    first, second = filled(tmp_path / "first", events(range(ROWS))), tmp_path / "second"
    copying.there(first)
    with proxy(elasticsearch.url) as between:
        copying.config = config_of(tmp_path, elasticsearch, between.url)
        with begun("to-store", second, copying.config) as process:
            between.refuse()
            _, said = process.communicate(timeout=60)
            assert process.returncode == 3, said
        copying.on_server("copy", "to-store", "--store", second, code=3)
        between.listen()
        assert fates(copying.back(second), "events")["skipped"] >= ROWS // 10
    assert known(second) == known(first)


@pytest.mark.parametrize("fault", ["cut request", "cut answer", "reset after"])
def test_connections_that_are_cut_on_the_way_to_a_server(
    fault: str, elasticsearch: Elastic, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was taken although no answer came is there already the second time."""
    store = filled(tmp_path / "store", events(range(3_000)))
    with proxy(elasticsearch.url) as between:
        copying = Copying(config_of(tmp_path, elasticsearch, between.url), capsys)
        between.set(fault, times=2)  # type: ignore[arg-type]
        counts = fates(copying.there(store), "events")
    assert sum(counts.values()) == 3_000
    assert counts.keys() <= {"copied", "there"}
    assert len(ids(elasticsearch)) == 3_000


def stopped(store: Path, elasticsearch: Elastic) -> None:
    """As if an earlier copy had been stopped after the first 500 of 1,000 events."""
    (store / "copies").mkdir(exist_ok=True)
    told = elasticsearch.ask("GET", "/_cluster/state/version?filter_path=cluster_uuid")
    where = f"{told['cluster_uuid']}/{elasticsearch.prefix}"
    wanted = Wanted(parse(""), datetime.now(UTC))
    half = events(range(1_000))["@timestamp"][500]
    Progress(store, "to a server", where, wanted).save(Place(half, 500))


def test_a_copy_begins_anew_where_what_it_had_copied_is_not_what_is_there(
    copying: Copying, elasticsearch: Elastic, tmp_path: Path
) -> None:
    rows = events(range(1_000))
    store = filled(tmp_path / "store", rows[[*range(100), *range(101, 1_000)]])
    assert fates(copying.there(store), "events") == {"copied": 999}
    stopped(store, elasticsearch)
    assert fates(copying.there(store), "events") == {"there": 999}
    filled(store, rows[100:101])
    assert fates(copying.there(store), "events") == {"there": 999, "copied": 1}
    stopped(store, elasticsearch)
    assert fates(copying.there(store), "events") == {"skipped": 500, "there": 500}
    stopped(store, elasticsearch)
    assert fates(copying.there(store, "--anew"), "events") == {"there": 1_000}
    stopped(store, elasticsearch)
    (index,) = elasticsearch.ask("GET", f"/{elasticsearch.prefix}-events")
    elasticsearch.ask("DELETE", f"/{index}")
    assert fates(copying.there(store), "events") == {"copied": 1_000}


def test_a_damaged_note_of_how_far_it_was_is_no_harm(
    copying: Copying, elasticsearch: Elastic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path / "store", events(range(100)))
    monkeypatch.setattr("connwatch.copying.progress.Progress.forget", lambda self: None)
    copying.there(store)
    (note,) = (store / "copies").iterdir()
    for text in ("", "[]", '{"until": "x", "events": 1}', "\x00"):
        note.write_text(text)
        assert fates(copying.there(store), "events") == {"there": 100}


def test_a_store_in_which_nothing_can_be_noted_is_copied(copying: Copying, tmp_path: Path) -> None:
    store = filled(tmp_path / "store", events(range(100)))
    (store / "copies").write_text("in the way")
    assert fates(copying.there(store), "events") == {"copied": 100}
    assert "could not be kept" in copying.said


def test_what_cannot_be_copied_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is made of it."""
    config = tmp_path / "no.yml"
    config.write_text("sources: [{path: conn.log}]\n")
    copying = Copying(config, capsys)
    away = ("--elasticsearch", "http://127.0.0.1:9")
    cases = [
        (2, "no server is named", ()),
        (2, "there is no field", ("nothing.here: 1", *away)),
        (2, "--from", ("--from", "yesterweek", *away)),
        (3, "127.0.0.1:9", away),
    ]
    for code, said, words in cases:
        for way in ("to-store", "to-elasticsearch"):
            store = filled(tmp_path / "store", events(range(3)))
            place = tmp_path / "new" if way == "to-store" else store
            copying.out("copy", way, *words, "--store", place, code=code)
            assert said in copying.said
            assert not (tmp_path / "new").exists()
    copying.out("copy", "to-elasticsearch", *away, "--store", tmp_path / "new", code=3)
    assert "there is no store here" in copying.said


@pytest.mark.slow
def test_users_copy_what_they_may(
    secured: Elastic,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the least role both ways; who may only read copies to a store; and nobody nothing."""
    password = tmp_path / "password"
    config = tmp_path / "copy.yml"
    config.write_text(
        f"sources: [{{path: conn.log}}]\nelasticsearch: {{nodes: [{secured.url}], prefix: "
        f"{secured.prefix}, replicas: 0, ca: {secured.ca}, password_file: {password}}}\n"
    )
    copying, store = Copying(config, capsys), tmp_path / "store"

    def as_user(user: str) -> None:
        password.write_text(secured.users[user])
        password.chmod(0o600)
        monkeypatch.setenv("CONNWATCH_ES_USERNAME", user)

    as_user("connwatch")
    copying.replayed(store)
    assert copying.there(store)["events"]["copied"]
    copying.back(tmp_path / "connwatch")
    as_user("reader")
    copying.back(tmp_path / "reader")
    assert (
        copying.shown(store)
        == copying.shown(tmp_path / "connwatch")
        == copying.shown(tmp_path / "reader")
    )
    for user in ("reader", "nobody"):
        as_user(user)
        copying.on_server("copy", "to-elasticsearch", "--store", store, code=3)
        assert "403" in copying.said
    copying.on_server("copy", "to-store", "--store", tmp_path / "nobody", code=3)
    assert "403" in copying.said
