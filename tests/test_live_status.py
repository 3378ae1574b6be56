"""The status of a live run, its exit codes and its view."""

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
from typing import Any

import pytest
from operating_support import STATUS, live, source, status
from rich.console import Console

from connwatch.cli import run
from connwatch.cli.live_view import view
from connwatch.config import load
from connwatch.errors import StoreError
from connwatch.live.status_file import read_status

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
        past=0,
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
        "/var/log/zeek/current/conn.log: 6 records from the past\n"
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
        (entry,) = found["sources"]
        size = Path(entry["path"]).stat().st_size
        assert (entry["records"], entry["position"], entry["size"]) == (394, size, size)
        assert asked()[0] == 0
        one.process.send_signal(signal.SIGSTOP)
        with pytest.MonkeyPatch.context() as later:
            later.setattr(sys.modules["connwatch.cli.follow"], "_SILENT", 0.0)
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
