"""What a live run answers over HTTP."""

from __future__ import annotations

import io
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
from conftest import ROOT
from operating_support import fake_run, source, status
from prometheus_client.parser import text_string_to_metric_families

from connwatch.cli import run
from connwatch.config.model import Http
from connwatch.errors import ConnwatchError
from connwatch.live.http import HANGS, HttpServer, unready
from connwatch.live.log import Logger
from connwatch.live.metrics import Metrics
from connwatch.live.progress import Status
from connwatch.live.report import Reporter

LIMITS = Http(ready_max_lag_seconds=60, ready_max_errors=0)


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def server(log: io.StringIO) -> Iterator[HttpServer]:
    """One that has seen a running status."""
    logger = Logger(log)
    reporter = Reporter("", logger)
    reporter.latest = status()
    one = HttpServer("127.0.0.1", 0, reporter, lambda: LIMITS, logger)
    yield one
    one.close()


def ask(server: HttpServer, path: str, method: str = "GET") -> tuple[HTTPResponse, str]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer, text


def raw(server: HttpServer, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(request)
        got = b""
        with suppress(ConnectionResetError):
            while part := client.recv(65_536):
                got += part
        return got


def test_health_and_readiness(server: HttpServer) -> None:
    for path in ("/healthz", "/readyz", "/readyz?verbose=1"):
        answer, text = ask(server, path)
        assert (answer.status, text) == (200, "ok\n")


def test_a_main_loop_that_hangs_is_not_healthy(server: HttpServer) -> None:
    reporter = server._reporter
    reporter._turned -= HANGS + 5
    answer, text = ask(server, "/healthz")
    assert (answer.status, text) == (503, "the main loop has not turned for 95 s\n")
    reporter(fake_run(Path("/nowhere")))
    assert ask(server, "/healthz")[0].status == 200


def test_not_ready_says_why_a_line_each(server: HttpServer) -> None:
    server._reporter.latest = status(
        state="waiting",
        sources=[source(lag_seconds=61.2), source(lag_seconds=59.0)],
        sinks=[{"name": "store", "queue": 1, "retries": 2, "retried": 2, "error": "no room"}],
    )
    answer, text = ask(server, "/readyz")
    assert answer.status == 503
    assert text.splitlines() == [
        "state: waiting",
        "source /var/log/zeek/current/conn.log: 61 s behind, 4096 bytes unread",
        "sink store: no room",
    ]


@pytest.mark.parametrize(
    ("seen", "limits", "reasons"),
    [
        pytest.param(None, LIMITS, ["state: starting"], id="before the first status"),
        pytest.param(status(state="stopped"), LIMITS, ["state: stopped"], id="at the end"),
        pytest.param(
            status(problems=[{"path": "/a", "reason": "denied", "hint": None}]),
            LIMITS,
            ["path /a: denied"],
            id="one failing, none allowed",
        ),
        pytest.param(
            status(problems=[{"path": "/a", "reason": "denied", "hint": None}]),
            Http(ready_max_errors=1),
            [],
            id="as many failing as are allowed",
        ),
        pytest.param(
            status(sources=[source(lag_seconds=5.0)]),
            Http(ready_max_lag_seconds=4.9),
            ["source /var/log/zeek/current/conn.log: 5 s behind, 4096 bytes unread"],
            id="a limit of one's own",
        ),
        pytest.param(
            status(problems=[{"path": "/\x1b[2J\n/b", "reason": "gone", "hint": None}]),
            LIMITS,
            ["path /\\x1b[2J\\x0a/b: gone"],
            id="a hostile path stays on its line",
        ),
    ],
)
def test_ready_means(seen: Status | None, limits: Http, reasons: list[str]) -> None:
    assert unready(seen, limits) == reasons


@pytest.mark.parametrize("path", ["/", "/metrics/", "/metric", "/../etc/passwd", "/healthz%00"])
def test_other_paths_are_not_found(server: HttpServer, path: str) -> None:
    answer, text = ask(server, path)
    assert (answer.status, text) == (404, "Not Found\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_not_allowed(server: HttpServer, method: str) -> None:
    answer, text = ask(server, "/metrics", method)
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert text == "Method Not Allowed\n"


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/nothing"])
def test_headers_say_nothing_of_the_server_and_keep_nothing(server: HttpServer, path: str) -> None:
    answer, text = ask(server, path)
    assert answer.headers["Server"] is None
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    head, nothing = ask(server, path, "HEAD")
    assert (head.status, nothing) == (answer.status, "")
    if path != "/metrics":
        assert head.headers["Content-Length"] == str(len(text))


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"GET /healthz HTTP/9.9\r\n\r\n", b"HTTP/1.0 505"),
        (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", b"HTTP/1.0 400"),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"HTTP/1.0 414"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", b"HTTP/1.0 431"),
    ],
)
def test_what_is_no_request_is_refused(
    server: HttpServer, log: io.StringIO, request_: bytes, answer: bytes
) -> None:
    got = raw(server, request_)
    assert answer in got or not got  # what is left unread may cut the answer off
    assert b"Python" not in got
    assert ask(server, "/healthz")[0].status == 200
    assert log.getvalue() == ""


def test_clients_that_say_nothing_do_not_take_all_threads(server: HttpServer) -> None:
    quiet = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(40)]
    held = [thread for thread in threading.enumerate() if "process_request" in thread.name]
    assert len(held) <= 16
    for client in quiet:
        client.close()


def test_counters_count_what_this_process_did() -> None:
    numbers = values(Metrics(status).text())
    labels = f'dataset="zeek.conn",source="{source().id}"'
    expected = {
        "connwatch_build_info{version='0.1.0'}": 1,
        "connwatch_state{state='running'}": 1,
        "connwatch_state{state='waiting'}": 0,
        "connwatch_lines_total{S}": 1_000,
        "connwatch_records_total{S}": 1_000,
        "connwatch_rejects_total{S}": 2,
        "connwatch_late_records_total{S}": 2,
        "connwatch_future_records_total{S}": 0,
        "connwatch_past_records_total{S}": 6,
        "connwatch_source_lag_bytes{S}": 4_096,
        "connwatch_source_lag_seconds{S}": 2.5,
        "connwatch_source_log_time_seconds{S}": 1_795_168_800,
        "connwatch_log_time_seconds": 1_795_168_800,
        "connwatch_status_time_seconds": 1_795_168_801,
        "connwatch_events_total": 1_000,
        "connwatch_alerts_total": 5,
        "connwatch_commits_total": 42,
        "connwatch_reordered_records_total": 4,
        "connwatch_forgotten_total{rule='scan'}": 10,
        "connwatch_window_items{rule='scan'}": 900,
        "connwatch_open_alerts": 5,
        "connwatch_snapshot_seconds": 0.25,
        "connwatch_sink_queue{sink='embedded'}": 1,
        "connwatch_sink_failing{sink='embedded'}": 0,
        "connwatch_sink_retries_total{sink='embedded'}": 3,
        "connwatch_last_reload_successful": 1,
        "connwatch_failing_paths": 0,
        "connwatch_store_bytes": 4_000_000,
        "connwatch_store_files": 12,
        "connwatch_store_fits": 1,
        "connwatch_compaction_steps_total": 6,
    }
    for name, value in expected.items():
        named = name.replace("S", labels) if "{S}" in name else name.replace("'", '"')
        assert numbers[named] == value, named
    assert numbers["process_resident_memory_bytes"] > 1_000_000


def test_a_counter_never_falls() -> None:
    """A batch that the disk had no room for is taken back, and comes again."""
    steps = iter([status(), status(totals={"events": 1_100}), status(totals={"events": 1_300})])
    metrics = Metrics(lambda: next(steps))
    seen = [values(metrics.text())["connwatch_events_total"] for _ in range(3)]
    assert seen == [1_000, 1_000, 1_110]


def test_hostile_labels_are_escaped() -> None:
    hostile = source(id='a"} 9\nconnwatch_alerts_total 666\x1b[2J')
    text = Metrics(lambda: status(sources=[hostile])).text()
    assert b"\nconnwatch_alerts_total 666" not in text
    assert values(text)["connwatch_alerts_total"] == 5


def test_metrics_before_the_first_status_are_those_of_the_process() -> None:
    numbers = values(Metrics(lambda: None).text())
    assert all(name.startswith("process_") for name in numbers)


def test_names_follow_the_conventions() -> None:
    for family in text_string_to_metric_families(Metrics(status).text().decode()):
        assert family.documentation
        names = {sample.name for sample in family.samples}
        if family.type == "counter":
            assert names <= {f"{family.name}_total", f"{family.name}_created"}
        else:
            assert not any(name.endswith("_total") for name in names)


@pytest.mark.source
def test_the_page_names_every_metric_and_every_field_of_the_status() -> None:
    page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(connwatch_\w+)", page))
    assert named == {name.split("{")[0] for name in values(Metrics(status).text())} - {
        name for name in values(Metrics(status).text()) if name.startswith("process_")
    }
    for name in status().document():
        assert f"`{name}`" in page, name


def values(text: bytes) -> dict[str, float]:
    """Sample by name and labels, the labels sorted."""
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def test_a_port_in_use_is_told_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "conn.log").touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        path = tmp_path / "connwatch.yml"
        path.write_text(
            f"store: store\nrules: []\nsources: [{{path: conn.log}}]\nhttp: {{port: {port}}}\n"
        )
        assert run(["run", "-c", str(path), "--until-idle", "1"]) == 3
    assert capsys.readouterr().err == (
        f"connwatch: http: 127.0.0.1, port {port}: cannot listen: Address already in use\n"
        "  hint: `http.address` and `http.port` of the configuration choose another\n"
    )
    assert not (tmp_path / "store").exists()


def test_an_address_of_others_is_told() -> None:
    with pytest.raises(ConnwatchError, match="Cannot assign requested address"):
        HttpServer("203.0.113.1", 9, Reporter(""), lambda: LIMITS, Logger(io.StringIO()))


def test_an_error_in_an_answer_is_said_and_the_rest_goes_on(
    server: HttpServer, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> bytes:
        raise ValueError("of a \x1b[2J label")

    monkeypatch.setattr(server._metrics, "text", broken)
    assert raw(server, b"GET /metrics HTTP/1.0\r\n\r\n") == b""
    assert ask(server, "/healthz")[0].status == 200
    assert "ValueError: of a \\x1b[2J label" in log.getvalue()


def test_ipv6_and_a_free_port_afterwards() -> None:
    def opened(port: int) -> HttpServer:
        return HttpServer("::1", port, Reporter(""), lambda: LIMITS, Logger(io.StringIO()))

    try:
        one = opened(0)
    except ConnwatchError:
        pytest.skip("no IPv6 here")
    one.close()
    opened(one.port).close()
