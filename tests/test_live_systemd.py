"""What systemd is told, over real sockets."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from operating_support import live, status

from connwatch.live.outside import summary
from connwatch.live.systemd import Systemd


class Manager:
    """The other end. clock: what the service takes for the time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.now = 100.0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self._socket.settimeout(10)

    def service(self, **more: str) -> Systemd:
        return Systemd({"NOTIFY_SOCKET": self.name, **more}, lambda: self.now)

    def got(self) -> list[str]:
        """The next message, in lines."""
        return self._socket.recv(65_536).decode().splitlines()

    def nothing(self) -> bool:
        self._socket.setblocking(False)
        try:
            self._socket.recv(65_536)
        except BlockingIOError:
            return True
        finally:
            self._socket.settimeout(10)
        return False

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    abstract = f"@connwatch-test-{os.getpid()}-{time.monotonic_ns()}"
    one = Manager(str(tmp_path / "n") if request.param == "path" else abstract)
    yield one
    one.close()


def test_ready_when_it_runs_and_not_before(manager: Manager) -> None:
    service = manager.service()
    service.turned("starting")
    assert manager.nothing()
    service.turned("running")
    assert manager.got() == ["READY=1"]
    service.turned("running")
    assert manager.nothing()
    service.close()


def test_a_reload_begins_with_the_time_and_ends_with_ready(manager: Manager) -> None:
    service = manager.service()
    service.turned("running")
    manager.got()
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    service.reloading()
    what, when = manager.got()
    assert what == "RELOADING=1"
    name, _, value = when.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    for state in ("running", "reloaded"):  # the main loop may turn before it begins
        service.turned(state)
        assert manager.nothing()
    service.turned("running")
    assert manager.got() == ["READY=1"]
    service.close()


def test_a_reload_that_finds_no_room_on_the_disk_ends_too(manager: Manager) -> None:
    service = manager.service()
    service.reloading()
    manager.got()
    service.turned("reloaded")
    service.turned("waiting")
    assert manager.got() == ["READY=1"]
    service.close()


def test_the_end_is_said_once(manager: Manager) -> None:
    service = manager.service()
    service.stopping()
    service.stopping()
    assert manager.got() == ["STOPPING=1", "STATUS=stopping"]
    service.turned("running")
    assert manager.nothing()
    service.close()


def test_signs_of_life_at_half_of_what_is_allowed(manager: Manager) -> None:
    service = manager.service(WATCHDOG_USEC="30000000", WATCHDOG_PID=str(os.getpid()))
    service.turned("running")
    assert manager.got() == ["READY=1", "WATCHDOG=1"]
    for seconds, due in ((14.9, False), (0.2, True), (1.0, False), (14.0, True), (60.0, True)):
        manager.now += seconds
        service.turned("running")
        if due:
            assert manager.got() == ["WATCHDOG=1"]
        assert manager.nothing()
    service.close()


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
    ],
)
def test_no_signs_of_life_unless_they_are_wanted(
    manager: Manager, wanted: Mapping[str, str]
) -> None:
    service = manager.service(**wanted)
    service.turned("running")
    assert manager.got() == ["READY=1"]
    service.close()


def test_the_text_is_one_line_and_not_sent_all_the_time(manager: Manager) -> None:
    service = manager.service()
    service.turned("running", "a\nREADY=0\x1b[2J\u202eb")
    assert manager.got() == ["READY=1", "STATUS=a READY=0 [2J b"]
    service.turned("running", "other")
    assert manager.nothing()
    manager.now += 5
    service.turned("running", "other")
    assert manager.got() == ["STATUS=other"]
    service.close()


def test_a_manager_that_comes_back_hears_that_it_runs(tmp_path: Path) -> None:
    name = str(tmp_path / "n")
    service = Systemd({"NOTIFY_SOCKET": name})
    service.turned("running")
    manager = Manager(name)
    service.turned("running")
    assert manager.got() == ["READY=1"]
    manager.close()
    service.close()


@pytest.mark.parametrize("name", ["", "relative", "vsock:2:1234"])
def test_without_a_socket_nothing_happens(name: str) -> None:
    service = Systemd({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1"})
    service.turned("running", "text")
    service.reloading()
    service.stopping()
    service.close()


def test_the_text_says_how_it_does() -> None:
    assert summary(status()) == "running: 1,190 events, 7 alerts, 80 records/s, 2 s behind"
    assert (
        summary(status(sources=[], totals={}))
        == "running: 0 events, 0 alerts, 80 records/s, 0 s behind"
    )


def test_a_real_run_tells_systemd_what_it_does(tmp_path: Path) -> None:
    """Ready, signs of life while it runs, a reload that works and one that does not, the end."""
    name = str(tmp_path / "n")
    with (
        closing(Manager(name)) as manager,
        live(tmp_path, NOTIFY_SOCKET=name, WATCHDOG_USEC="1000000") as one,
    ):

        def until(wanted: str) -> list[str]:
            seen: list[str] = []
            while wanted not in seen:
                seen += manager.got()
            return seen

        assert until("READY=1")[0] == "READY=1"
        one.until_read()
        assert until("WATCHDOG=1")
        for text in (one.config.read_text(), "sources: wrong"):
            one.config.write_text(text)
            one.process.send_signal(signal.SIGHUP)
            before = until("RELOADING=1")
            assert "READY=1" not in before
            assert until("READY=1")
        assert "reload failed, the old one stays" in one.said.read_text()
        one.process.send_signal(signal.SIGTERM)
        assert until("STOPPING=1")
        assert one.end() == 0


def test_a_run_that_is_held_up_gives_no_sign_of_life(tmp_path: Path) -> None:
    name = str(tmp_path / "n")
    with (
        closing(Manager(name)) as manager,
        live(tmp_path, NOTIFY_SOCKET=name, WATCHDOG_USEC="400000") as one,
    ):
        one.until_read()
        one.process.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        while not manager.nothing():
            pass
        time.sleep(1)
        assert manager.nothing()
        one.process.send_signal(signal.SIGCONT)
        assert "WATCHDOG=1" in manager.got()
        assert one.end() == 0
