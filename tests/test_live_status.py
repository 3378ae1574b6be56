"""The status, its exit codes and its view, and the log of a live run."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from datetime import datetime
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from operating_support import STATUS, fake_run, live, source, status
from rich.console import Console

from connwatch.cli import run
from connwatch.cli.live_view import view
from connwatch.config import load
from connwatch.config.model import Http
from connwatch.errors import StoreError, StoreFullError
from connwatch.live.http import unready
from connwatch.live.log import Logger
from connwatch.live.progress import Totals
from connwatch.live.report import Reporter, read_status
from connwatch.schema import ECS_VERSION

TOTALS = STATUS.totals
NOW = datetime.fromisoformat("2026-11-20T10:00:02.500Z")


def shown(document: dict[str, Any], width: int = 80) -> str:
    screen = Console(file=io.StringIO(), width=width)
    screen.print(view(document, NOW))
    text: str = screen.file.getvalue()  # type: ignore[attr-defined]
    return "".join(line.rstrip() + "\n" for line in text.splitlines())


def test_the_view_fits_80_columns() -> None:
    other = source(
        path="/var/log/zeek/dmz/with/a/rather/long/path/conn.log",
        records=1_234_567_890,
        rate=51_234.0,
        lag_bytes=48_000_000_000,
        lag_seconds=260_000.0,
        late=0,
        future=0,
    )
    text = shown(status(sources=[source(), other]).document())
    assert text == (
        "state     running (process 4711), told 1.5 s ago\n"
        "since     2026-11-20 09:00:00 UTC\n"
        "config    /etc/connwatch.yml (generation 1)\n"
        "log time  2026-11-20 10:00:00 UTC\n"
        "events    1,190 (80/s), 10 duplicates, 3 rejects\n"
        "alerts    7\n"
        "held      5 open alerts, 900 records in windows\n"
        "sink      embedded: 1 waiting\n"
        "store     4.0 MB in 12 files, 3 small parts; days removed: 1\n"
        "\n"
        "2 sources in /var/log/zeek\n"
        "name                   records      /s  rejects   unread  behind  log time\n"
        "dmz/with/a/rath  1,234,567,890  51,234        3  48.0 GB     3 d  11-20 10:00:00\n"
        "er/long/path/co\n"
        "nn.log\n"
        "current/conn.lo          1,200      80        3   4.1 KB   2.5 s  11-20 10:00:00\n"
        "g\n"
        "\n"
        "not exact: 12 records left their windows early\n"
        "4 records were given out of order\n"
        "/var/log/zeek/current/conn.log: 2 records too late for windows\n"
        "/var/log/zeek/current/conn.log: 1 records from the future\n"
    )


def test_the_view_says_what_is_wrong() -> None:
    text = shown(
        status(
            state="waiting",
            sources=[],
            detection={},
            totals={},
            store={},
            reordered=0,
            log_time=None,
            sinks=[
                {
                    "name": "embedded",
                    "queue": 1,
                    "retries": 2,
                    "retried": 2,
                    "error": "no space left\n  hint: free some",
                }
            ],
            problems=[{"path": "/x", "reason": "permission denied", "hint": "chmod"}],
            skipped={"/y": "not a log"},
            reload_error="rules/a.yml:1: bad",
            notes=["a note"],
            errors=[{"time": "2026-11-20T09:59:00.000Z", "error": "no space left"}],
        ).document()
    )
    assert text == (
        "state     waiting (process 4711), told 1.5 s ago\n"
        "since     2026-11-20 09:00:00 UTC\n"
        "config    /etc/connwatch.yml (generation 1)\n"
        "log time  none yet\n"
        "sink      embedded: 1 waiting, try 3\n"
        "\n"
        "embedded takes nothing: no space left hint: free some\n"
        "the last reload failed: rules/a.yml:1: bad\n"
        "cannot be read: /x: permission denied (hint: chmod)\n"
        "not read: /y: not a log\n"
        "note: a note\n"
        "2026-11-20 09:59:00 no space left\n"
    )


def test_hostile_names_do_nothing_to_the_terminal() -> None:
    hostile = "/logs/\x1b[2J\x1b]0;owned\x07\u202e[bold]conn.log"
    text = shown(
        status(
            sources=[source(path=hostile)],
            problems=[{"path": hostile, "reason": "\x9b2J", "hint": hostile}],
            skipped={hostile: hostile},
            config=hostile,
        ).document(),
        width=500,
    )
    assert not set("\x1b\x07\x9b\u202e") & set(text)
    assert "\\x1b[2J" in text
    assert "[bold]conn.log" in text


def test_paths_without_a_folder_in_common_stay_whole() -> None:
    assert "2 sources\n" in shown(
        status(sources=[source(path="-"), source(path="/a/b")]).document()
    )


def test_exit_codes_from_before_the_start_to_after_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked(*more: str) -> tuple[int, str]:
        code = run(["status", "--store", str(tmp_path / "store"), *more])
        printed = capsys.readouterr()
        return code, printed.out or printed.err

    code, text = asked()
    assert (code, "nothing has followed logs into this store" in text) == (3, True)
    with live(tmp_path) as one:
        one.until_read()
        code, text = asked("--json")
        found = json.loads(text)
        assert (code, found["state"], found["pid"]) == (0, "running", one.process.pid)
        assert [entry["records"] for entry in found["sources"]] == [394]
        assert asked()[0] == 0
        one.process.send_signal(signal.SIGSTOP)
        with pytest.MonkeyPatch.context() as later:
            later.setattr(sys.modules["connwatch.cli.run"], "_SILENT", 0.0)
            code, text = asked()
        assert (code, text.split()[1]) == (1, "silent")
        assert "it lives and tells nothing" in text
        one.process.send_signal(signal.SIGCONT)
        assert one.end() == 0
        code, text = asked()
        assert (code, text.split()[1]) == (1, "stopped")
    with live(tmp_path) as one:
        one.until(lambda found: found["pid"] == one.process.pid)
        one.end(signal.SIGKILL)
        code, text = asked()
        assert (code, text.split()[1]) == (1, "dead")


def test_watching_on_a_terminal(tmp_path: Path) -> None:
    """80 columns: nothing is wrapped by the terminal, and Ctrl-C ends it with the last view."""
    file = tmp_path / "status.json"
    file.write_text(json.dumps(status(state="stopped").document()))
    own, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "connwatch.cli", "status", "--watch", "--store", str(tmp_path)],
        stdin=other,
        stdout=other,
        stderr=other,
        env={**os.environ, "COLUMNS": "80", "LINES": "30", "TERM": "xterm"},
        start_new_session=True,
    )
    os.close(other)
    seen = read_until(own, "1,190")
    file.write_text(
        json.dumps(status(state="stopped", totals={**TOTALS, "events": 2_222}).document())
    )
    seen += read_until(own, "2,222")
    process.send_signal(signal.SIGINT)
    seen += read_until(own, None)
    assert process.wait(30) == 0
    os.close(own)
    rest = seen.rpartition("\x1b[?1049l")[2]
    assert "events    2,222" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", rest)
    for line in re.split(r"\x1b\[(?:H|\?1049l)|\r?\n", seen):
        assert len(re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line)) <= 80


def read_until(terminal: int, text: str | None) -> str:
    """What a terminal gets until there is a text, or until its end."""
    seen = b""
    limit = time.monotonic() + 60
    while text is None or text.encode() not in seen:
        assert time.monotonic() < limit, seen
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            part = os.read(terminal, 65_536)
        except OSError:  # nobody holds the other end any more
            part = b""
        if not part:
            assert text is None, seen
            break
        seen += part
    return seen.decode()


def test_watching_without_a_terminal_prints_again_and_again(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text(json.dumps(status(state="stopped").document()))
    process = subprocess.Popen(
        [sys.executable, "-m", "connwatch.cli", "status", "--watch", "--store", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    seen = 0
    while seen < 2:
        seen += process.stdout.readline().startswith("state     stopped")
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    process.stdout.close()


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_status_that_is_none_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "status.json").write_text(text)
    with pytest.raises(StoreError):
        read_status(tmp_path)


def test_a_full_disk_is_told_while_it_lasts(tmp_path: Path) -> None:
    log = io.StringIO()
    reporter = Reporter("", Logger(log))
    full = StoreFullError("no space left", where="/store", hint="free some")
    for retries in (1, 2, 3):
        reporter(fake_run(tmp_path, "waiting", error=full, retries=retries))
    assert reporter.latest is not None
    assert unready(reporter.latest, Http()) == [
        "state: waiting",
        "sink embedded: /store: no space left\\x0a  hint: free some",
    ]
    reporter(fake_run(tmp_path, "running"))
    assert unready(reporter.latest, Http()) == []
    assert reporter.latest.sinks[0]["retried"] == 3
    assert log.getvalue().count("waiting to try again: /store: no space left") == 1
    assert 'hint="free some" retries=1' in log.getvalue()


def test_a_source_is_behind_since_there_was_something_unread(tmp_path: Path) -> None:
    class Stream:
        id, path, dataset, format, live = "s", "/s", "zeek.conn", SimpleNamespace(name="zeek"), True
        pending = 0

    counts = dict.fromkeys(("lines", "records", "rejects", "comments"), 0)
    course = SimpleNamespace(stream=Stream(), counts=counts, late=0, future=0, latest=None)
    session = SimpleNamespace(
        merge=SimpleNamespace(courses={"s": course}, saved={}, latest=None, reordered=0),
        totals=Totals(),
        detection=SimpleNamespace(
            windows=SimpleNamespace(forgotten={}), notes=list, forgotten=list
        ),
        follower=SimpleNamespace(problems=[], skipped={}, losses=[]),
        measures=dict,
        queued=0,
    )
    reporter = Reporter("", Logger(io.StringIO()))
    lags = []
    for pending in (0, 10, 20, 0, 5):
        course.stream.pending = pending
        reporter._written = reporter._followed = 0.0
        reporter(fake_run(tmp_path, session=session))
        assert reporter.latest is not None
        lags.append((reporter.latest.sources[0].lag_bytes, reporter.latest.sources[0].lag_seconds))
        time.sleep(0.2)
    assert [pending for pending, _ in lags] == [0, 10, 20, 0, 5]
    assert lags[0][1] == lags[3][1] == 0
    assert lags[1][1] < 0.15 < lags[2][1]
    assert lags[4][1] < 0.15


def test_lists_that_cannot_be_read_count_as_failing(tmp_path: Path) -> None:
    reporter = Reporter("", Logger(io.StringIO()))
    errors = [StoreError("is not there any more", where="/lists/bad.txt")]
    reporter(fake_run(tmp_path, list_errors=lambda: errors))
    assert unready(reporter.latest, Http()) == ["path /lists/bad.txt: is not there any more"]


def test_a_status_that_cannot_be_written_is_not_the_end(tmp_path: Path) -> None:
    log = io.StringIO()
    reporter = Reporter("", Logger(log))
    reporter(fake_run(tmp_path / "gone"))
    assert reporter.latest is not None
    assert "status cannot be written: No such file or directory" in log.getvalue()


def test_json_lines_are_ecs() -> None:
    stream = io.StringIO()
    log = Logger(stream, "json")
    hostile = 'a\nb\x1b[2J\u202e"}'
    log.say("warning", hostile, path=hostile, hint=None, retries=3)
    (line,) = stream.getvalue().splitlines()
    assert not set("\x1b\u202e") & set(line)
    found = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("@timestamp"))
    assert found == {
        "log.level": "warning",
        "message": hostile,
        "ecs.version": ECS_VERSION,
        "event.dataset": "connwatch.log",
        "service.name": "connwatch",
        "service.version": found["service.version"],
        "process.pid": os.getpid(),
        "file.path": hostile,
        "connwatch.retries": 3,
    }


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        pytest.param({}, "news", id="nothing more"),
        pytest.param({"path": "/a/b", "retries": 3}, "news path=/a/b retries=3", id="plain values"),
        pytest.param({"path": "a b"}, 'news path="a b"', id="a space is quoted"),
        pytest.param({"path": 'a" hint=x'}, 'news path="a\\" hint=x"', id="no field is forged"),
        pytest.param({"path": "a\n2026"}, 'news path="a\\n2026"', id="no line is forged"),
        pytest.param({"path": "\x1b[2J"}, "news path=\\x1b[2J", id="nothing for the terminal"),
        pytest.param({"path": None}, "news", id="what is not known is left out"),
    ],
)
def test_text_lines(fields: dict[str, Any], end: str) -> None:
    stream = io.StringIO()
    Logger(stream).say("info", "news", **fields)
    (line,) = stream.getvalue().splitlines()
    assert re.fullmatch(r"[-0-9T:.]+Z info    " + re.escape(end), line)


def test_levels_and_a_change_of_them() -> None:
    stream = io.StringIO()
    log = Logger(stream, "text", "warning")
    log.say("info", "one")
    log.say("error", "two")
    log.change("json", "error")
    log.say("warning", "three")
    log.say("error", "four")
    first, second = stream.getvalue().splitlines()
    assert first.endswith("error   two")
    assert json.loads(second)["message"] == "four"


def test_a_log_that_nobody_reads_is_not_the_end() -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "w") as stream:  # noqa: PTH123  a descriptor
        Logger(stream).say("info", "anybody?")
        with pytest.raises(BrokenPipeError):
            stream.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def test_a_reload_moves_the_port_and_the_log_or_leaves_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def reloaded() -> tuple[int, str]:
        return run(["reload", "--store", str(tmp_path / "store")]), capsys.readouterr().err

    with live(tmp_path, "http: {port: 19471}\n") as one:
        one.until_read()
        whole = one.config.read_text()
        one.config.write_text(whole.replace("19471", "19472") + "log: {format: json}\n")
        assert load(one.config, formats={}).http.port == 19472
        assert reloaded() == (0, "reloaded: generation 2\n")
        assert answers(19472)
        assert not answers(19471)
        (tmp_path / "bad.yml").write_text("title: [")
        one.config.write_text(whole + "rules: [bad.yml]\n")
        code, text = reloaded()
        assert (code, "the old configuration stays" in text) == (2, True)
        assert answers(19472)
        assert not answers(19471)
        with pytest.MonkeyPatch.context() as elsewhere:
            elsewhere.setattr("socket.gethostname", lambda: "other")
            code, text = reloaded()
        assert (code, f"followed into on {socket.gethostname()}, not here" in text) == (3, True)
        assert one.end() == 0
        assert json.loads(one.said.read_text().splitlines()[-1])["message"] == "stopped"
    assert not answers(19472)


def answers(port: int) -> bool:
    """Whether anybody says there that it is well."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().read() == b"ok\n"
    except ConnectionRefusedError:
        return False
    finally:
        connection.close()
