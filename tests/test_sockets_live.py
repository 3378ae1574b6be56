"""Socket tables that are followed: what a replay gives, whatever is written, given and saved when."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import socket
import struct
import subprocess
from pathlib import Path

import polars as pl
import pytest
from conftest import ROOT
from growing import GROWING, Live, Steps, grown, steps
from hypothesis import given
from hypothesis import strategies as st
from live_process import PATIENCE, ended, following, status
from live_support import configuration, replayed_whole, start, stored, wait_for
from support import ordered
from test_sockets import HEADER, LISTEN

from connwatch.errors import StoreError
from connwatch.ingest.follow.commands import Command, CommandOutput
from connwatch.schema import STORED
from connwatch.sinks.embedded import StoreReader

INCIDENT = ROOT / "sample_logs" / "incident"


def shots(*ports: tuple[int, ...]) -> str:
    """Snapshots ten seconds apart, with connections from these ports."""
    text = ""
    for number, shown in enumerate(ports):
        rows = (f"tcp ESTAB 0 0 192.0.2.1:22 198.51.100.7:{port}\n" for port in shown)
        text += f"2026-11-21 07:26:{number * 10:02}Z\n{HEADER}{LISTEN}{''.join(rows)}"
    return text


#: tables without a time, with a title or none, alike or not
TABLES = [
    shots(ports).partition("\n")[2] for ports in ((1025,), (1025, 1026), (1026,), (1026,), (1027,))
]
SHOTS = shots((1025,), (1025, 1026, 1027), (1026,), (1026, 1025), (), (1030,))


@GROWING
@given(steps=steps(5))
def test_a_file_that_grows_gives_what_its_replay_does(
    tmp_path_factory: pytest.TempPathFactory, steps: Steps
) -> None:
    path = tmp_path_factory.mktemp("live") / "ss.log"
    made = grown(path, SHOTS.encode(), 200, steps)
    whole, _, _ = ordered([path])
    assert made.equals(whole)


@GROWING
@given(rests=st.sets(st.integers(0, len(TABLES))), again=st.booleans())
def test_a_table_that_rests_is_whole(
    tmp_path_factory: pytest.TempPathFactory, rests: set[int], again: bool
) -> None:
    """Nothing but that tells that it is; the one behind it is another one."""
    path = tmp_path_factory.mktemp("live") / "ss.log"
    path.write_text(TABLES[0])
    live = Live(path)
    for number, table in enumerate([*TABLES[1:], ""]):
        live.step(1000)
        if number in rests:
            height = sum(frame.height for frame in live.given)
            live.rest()
            assert sum(frame.height for frame in live.given) > height
        if again:
            live.follower.close()
            live.restart()
        with path.open("a") as out:
            out.write(table)
    live.step(1000)
    live.finish()
    live.follower.close()
    whole, _, _ = ordered([path])
    assert pl.concat(live.given)["event.id"].to_list() == whole["event.id"].to_list()


def test_a_table_that_goes_on_after_a_rest_is_read_on(tmp_path: Path) -> None:
    """Its rows are of another part: they are neither lost nor rejected."""
    path = tmp_path / "ss.log"
    lines = shots((1025, 1026)).splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    live = Live(path)
    live.step(1000)
    live.rest()
    with path.open("a") as out:
        out.write(lines[-1])
    live.step(1000)
    live.finish()
    assert live.course is not None
    assert live.course.counts == {"lines": 5, "records": 3, "rejects": 0, "comments": 2}
    ports = pl.concat(live.given)["source.port"].drop_nulls().to_list()
    assert sorted(ports) == [1025, 1026]
    live.follower.close()


def test_files_of_one_snapshot_each_and_packed_ones_are_read_whole(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    for path in INCIDENT.glob("ss-*.txt"):
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    config = configuration(tmp_path, [str(folder)])
    process = start("run", "-c", str(config), "--until-idle", "2", stderr=subprocess.PIPE)
    _, said = process.communicate(timeout=180)
    assert process.returncode == 0, said
    ids, _ = stored(tmp_path / "store")
    whole, _ = replayed_whole(folder.glob("*"), tmp_path / "replayed")
    assert len(whole) == 30
    assert sorted(whole) == sorted(ids)


def test_snapshots_on_standard_input_raise_alerts_as_they_come() -> None:
    process = start(
        "tail", "-", "--json", "--until-idle", "2", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    door = 'tcp LISTEN 0 5 0.0.0.0:31337 0.0.0.0:* users:(("nc",pid=7,fd=3))\n'
    text = shots((1025,)) + f"2026-11-21 07:26:10Z\n{HEADER}{door}"
    out, _ = process.communicate(text.encode(), timeout=180)
    messages = [json.loads(line)["message"] for line in out.splitlines()]
    [message] = [one for one in messages if "listens" in one]
    assert message == "nc (process 7) listens on 0.0.0.0, on the back-door port 31337"


def commanded(folder: Path, script: str, more: str = "") -> Path:
    """A configuration with a command that is run five times a second."""
    path = folder / "connwatch.yml"
    words = json.dumps(["sh", "-c", script])
    path.write_text(
        f"store: store\nsources:\n  - command: {words}\n    interval: 0.2\n    {more}\n"
    )
    return path


def snapshots(folder: Path) -> pl.DataFrame:
    with StoreReader(folder) as reader:
        return reader.events().collect().sort("connwatch.log_time", "event.sequence")


def is_there(folder: Path, dataset: str) -> bool:
    try:
        return bool((snapshots(folder)["event.dataset"] == dataset).any())
    except StoreError:
        return False


def test_a_command_is_run_again_and_again_and_its_gaps_are_told(tmp_path: Path) -> None:
    """It shows a connection, then none; then it fails, and says so in the status."""
    table, store = tmp_path / "table", tmp_path / "store"
    row = "tcp ESTAB 0 0 192.0.2.1:22 198.51.100.7:1025\n"
    table.write_text(HEADER + LISTEN + row)
    config = commanded(tmp_path, f"cat {table}")
    with following(config, store) as process:
        wait_for("rows", lambda: is_there(store, "ss.connection"), PATIENCE)
        assert status(store)["problems"] == []
        table.with_suffix(".new").write_text(HEADER + LISTEN)
        table.with_suffix(".new").rename(table)
        wait_for("the end of the connection", lambda: is_there(store, "ss.flow"), PATIENCE)
        table.unlink()
        wait_for("a problem", lambda: bool(status(store)["problems"]), PATIENCE)
        [problem] = status(store)["problems"]
        assert "ended with 1" in json.dumps(problem)
        table.write_text(HEADER + LISTEN + row)
        wait_for("no problem", lambda: not status(store)["problems"], PATIENCE)
        assert ended(process) == 0
    events = snapshots(store)
    [flow] = events.filter(pl.col("event.dataset") == "ss.flow").iter_rows(named=True)
    assert flow["socket.opened_after"] is None
    assert flow["socket.first_seen"] < flow["socket.closed_before"]
    assert flow["host.name"] == socket.gethostname()
    assert flow["log.file.path"] == f"command:sh -c 'cat {table}'"
    # A table is stored once under its time, with all of its rows.
    rows = events.filter(pl.col("socket.snapshot.id").is_not_null())
    sizes = rows.group_by("@timestamp").len()["len"].unique().to_list()
    assert set(sizes) <= {1, 2}


@pytest.mark.slow
def test_a_restart_compares_with_the_snapshot_before_it(tmp_path: Path) -> None:
    table, store = tmp_path / "table", tmp_path / "store"
    table.write_text(HEADER + LISTEN + "tcp ESTAB 0 0 192.0.2.1:22 198.51.100.7:1025\n")
    config = commanded(tmp_path, f"cat {table}")
    for dataset in ("ss.connection", "ss.flow"):
        with following(config, store) as process:
            wait_for(dataset, lambda name=dataset: is_there(store, name), PATIENCE)
            assert ended(process) == 0
        table.write_text(HEADER + LISTEN)
    connections = snapshots(store).filter(pl.col("event.dataset") == "ss.connection")
    assert connections["socket.change"].to_list() == ["first"]
    listeners = snapshots(store).filter(pl.col("event.dataset") == "ss.listener")
    assert listeners.height == 1


BROKEN = [
    (("no-such-program-anywhere",), 5.0, "cannot be run: No such file or directory"),
    (("a\0b",), 5.0, "cannot be run: embedded null byte"),
    (("sleep", "60"), 0.3, "took longer than 0.3 s"),
    (("sh", "-c", "sleep 60 & echo x"), 0.3, "took longer than 0.3 s"),
    (("sh", "-c", "echo half; echo denied >&2; exit 3"), 5.0, "ended with 3: denied"),
    (("true",), 5.0, "wrote nothing"),
    (("cat", "/dev/zero"), 60.0, "wrote more than 16 MiB"),
]


@pytest.mark.parametrize(("words", "timeout", "told"), BROKEN)
def test_a_command_that_fails_is_a_gap(words: tuple[str, ...], timeout: float, told: str) -> None:
    content = CommandOutput(Command(words, 0.1, timeout))
    wait_for(told, lambda: content.problem is not None, PATIENCE)
    assert content.problem is not None
    assert content.problem.startswith(told)
    assert content.at(0, 100) == b""
    content.close()


def test_a_command_that_runs_on_is_started_again_when_it_ends() -> None:
    words = ("sh", "-c", "echo one; printf tw; echo denied >&2; exit 3")
    content = CommandOutput(Command(words, 0.1, 5.0, runs_on=True))
    wait_for("two runs", lambda: content.at(0, 1000).count(b"one\ntw\n") >= 2, PATIENCE)
    wait_for(  # while a run takes longer than the interval there is no problem
        "a problem", lambda: str(content.problem).startswith("ended with 3: denied ("), PATIENCE
    )
    content.close()


def test_a_command_that_runs_on_ends_with_its_reader() -> None:
    content = CommandOutput(
        Command(("sh", "-c", "echo $$; exec sleep 600"), 0.1, 5.0, runs_on=True)
    )
    wait_for("its number", lambda: content.at(0, 100).endswith(b"\n"), PATIENCE)
    number = int(content.at(0, 100))
    assert content.problem is None
    content.close()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


def test_what_a_command_is_given_is_not_read_by_a_shell() -> None:
    content = CommandOutput(Command(("echo", "$HOME; *"), 60.0, 5.0))
    wait_for("output", lambda: content.at(0, 1000).count(b"\n") == 3, PATIENCE)
    assert content.at(0, 1000).split(b"\n")[1] == b"$HOME; *"
    content.close()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ss") is None, reason="no ss here")
def test_what_ss_shows_of_this_process(tmp_path: Path) -> None:
    """A session with a thousand bytes, then another one with the same ends, aborted both."""
    store = tmp_path / "store"
    config = tmp_path / "connwatch.yml"
    config.write_text(
        "store: store\nsources:\n  - command: [ss, -tanpoie]\n    interval: 0.3\n    timeout: 60\n"
    )
    abort = struct.pack("ii", 1, 0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def session(source: int) -> tuple[socket.socket, socket.socket]:
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, abort)
            client.bind(("127.0.0.1", source))
            client.connect(server.getsockname())
            client.sendall(bytes(1000))
            return client, server.accept()[0]

        def seen(dataset: str, number: int) -> bool:
            found = events_at(store, port).filter(pl.col("event.dataset") == dataset)
            return found["socket.instance"].n_unique() == number

        with following(config, store) as process:
            wait_for("the listener", lambda: seen("ss.listener", 1), PATIENCE)
            first = session(0)
            wait_for("the session", lambda: seen("ss.connection", 1), PATIENCE)
            source = first[0].getsockname()[1]
            for one in first:
                one.close()
            again = session(source)
            wait_for("the second one", lambda: seen("ss.connection", 2), PATIENCE)
            for one in again:
                one.close()
            wait_for("their ends", lambda: ends_told(store, port, source) >= 2, PATIENCE)
            assert ended(process) == 0
    events = events_at(store, port)
    [listener] = events.filter(pl.col("event.dataset") == "ss.listener").iter_rows(named=True)
    assert (listener["process.pid"], listener["socket.role"]) == (os.getpid(), "listener")
    own = pl.col("socket.local") == f"127.0.0.1:{source}"
    flows = events.filter(own, pl.col("event.dataset") == "ss.flow")
    assert flows["process.pid"].unique().to_list() == [os.getpid()]
    assert flows["socket.delta.bytes_sent"].to_list() == [1000, 1000]
    assert flows["socket.inode"].n_unique() == 2
    assert (flows["destination.port"].unique().to_list(), flows.height) == ([port], 2)


def events_at(store: Path, port: int) -> pl.DataFrame:
    try:
        return snapshots(store).filter(pl.col("destination.port") == port)
    except StoreError:
        return pl.DataFrame(schema=STORED)


def ends_told(store: Path, port: int, source: int) -> int:
    local = pl.col("socket.local") == f"127.0.0.1:{source}"
    return events_at(store, port).filter(local, pl.col("event.dataset") == "ss.flow").height


def test_a_command_that_runs_on_is_followed(tmp_path: Path) -> None:
    log = INCIDENT / "conn.log"
    words = json.dumps(["sh", "-c", f"cat {log}; exec sleep 600"])
    config = tmp_path / "connwatch.yml"
    config.write_text(f"store: store\nsources:\n  - command: {words}\n    kind: stream\n")
    process = start("run", "-c", str(config), "--until-idle", "1", stderr=subprocess.PIPE)
    _, said = process.communicate(timeout=180)
    assert process.returncode == 0, said
    ids, alerts = stored(tmp_path / "store")
    assert (ids, alerts) == replayed_whole([log], tmp_path / "replayed")
