"""What a live run says of itself: its status between batches, and its log."""

from __future__ import annotations

import io
import json
import os
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from operating_support import fake_run, fake_session

from connwatch.config.model import Http
from connwatch.errors import StoreError, StoreFullError
from connwatch.live.http import unready
from connwatch.live.log import Logger
from connwatch.live.report import Reporter
from connwatch.schema import ECS_VERSION


def fake_course() -> Any:
    stream = SimpleNamespace(
        id="s",
        dataset="zeek.conn",
        format=SimpleNamespace(name="zeek"),
        live=True,
        place=("/s", 0, 0),
        pending=0,
    )
    counts = dict.fromkeys(("lines", "records", "rejects", "comments"), 0)
    return SimpleNamespace(stream=stream, counts=counts, late=0, future=0, past=0, latest=None)


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


def test_sources_are_told_as_soon_as_there_are_any(tmp_path: Path) -> None:
    session = fake_session()
    reporter = Reporter("", Logger(io.StringIO()))
    reporter(fake_run(tmp_path, session=session))
    assert reporter.latest is not None
    assert reporter.latest.sources == []
    session.merge.courses["s"] = fake_course()
    reporter(fake_run(tmp_path, session=session))
    assert [source.id for source in reporter.latest.sources] == ["s"]


def test_a_source_is_behind_since_there_was_something_unread(tmp_path: Path) -> None:
    course = fake_course()
    session = fake_session()
    session.merge.courses["s"] = course
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


def test_records_that_were_lost_are_told_when_they_have_doubled(tmp_path: Path) -> None:
    log = io.StringIO()
    reporter = Reporter("", Logger(log))
    lost: dict[str, int] = {}
    session = fake_session()
    session.detection.forgotten = lambda: lost
    for number in range(0, 1_000, 10):
        lost.update({"A": number} if number else {})
        reporter(fake_run(tmp_path, session=session))
    told = re.findall(r"hold: (\d+) records", log.getvalue())
    assert told == ["10", "20", "40", "80", "160", "320", "640"]


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
