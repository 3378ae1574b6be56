"""The servers that other tests use are there, apart from one another, and gone afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import elastic
import elastic_servers
import pytest
from elastic import Elastic, MissingError

BULK = "/_bulk?refresh=true"


def test_a_test_has_names_of_its_own_and_they_are_removed(elasticsearch: Elastic) -> None:
    index = f"{elasticsearch.prefix}-x"
    elasticsearch.ask("PUT", f"/{index}")
    elasticsearch.ask("PUT", f"/{index}/_settings", {"index.blocks.read_only_allow_delete": True})
    elasticsearch.ask(
        "PUT", f"/_index_template/{index}", {"index_patterns": [f"{index}-*"], "composed_of": []}
    )
    elasticsearch.ask("PUT", f"/_component_template/{index}", {"template": {}})
    elasticsearch.clean()
    for path in (f"/{index}", f"/_index_template/{index}", f"/_component_template/{index}"):
        assert elasticsearch.asked("GET", path)[0] == 404


def test_users_have_their_roles(secured: Elastic) -> None:
    index = f"{secured.prefix}-events-x"
    assert secured.asked("GET", "/_cluster/health", user="")[0] == 401
    assert secured.asked("GET", "/_cluster/health", user="nobody")[0] == 403
    assert secured.asked("PUT", f"/{index}", user="reader")[0] == 403
    for told in ({"a": 1}, {"a": 2}):
        status, _ = secured.asked("PUT", f"/{index}/_create/1", told, user="connwatch")
        assert status == (201 if told["a"] == 1 else 409)
    assert secured.asked("DELETE", f"/{index}/_doc/1", user="connwatch")[0] == 403


def test_what_is_missing_is_told_loudly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(elastic, "_REPOSITORY", tmp_path)
    monkeypatch.setattr(elastic.shutil, "which", lambda *_: None)
    with pytest.raises(MissingError, match="apt-get install maven"):
        elastic.artifact("9.5")
    monkeypatch.setattr(elastic, "_LEAST_JAVA", {"9.5": 99})
    with pytest.raises(MissingError, match="no JDK of 99 or newer"):
        elastic.java("9.5")
    servers = elastic_servers.Servers({"9.5"})
    monkeypatch.setattr(elastic_servers, "OWN", None)
    monkeypatch.delenv("CONNWATCH_CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="NO ELASTICSEARCH: nothing is tested with"):
        servers.get("9.5")
    monkeypatch.setenv("CONNWATCH_CI", "1")
    with pytest.raises(pytest.fail.Exception, match=r"NO ELASTICSEARCH: .* no JDK"):
        servers.get("9.5")


STARTER = """
import sys, tempfile, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import elastic
elastic.unpacked = lambda version, folder: Path(sys.argv[2])
elastic.java = lambda version: Path("/nowhere")
folder = Path(tempfile.mkdtemp(prefix="connwatch-elastic-")); folder.chmod(0o755)
node = elastic.Node("9.5", folder)
node.start()
while not node.log.exists() or "up" not in node.log.read_text(): time.sleep(0.01)
print(node.folder, *node.processes(), flush=True)
time.sleep(60)
"""


def test_a_server_ends_with_the_tests_that_are_killed(tmp_path: Path) -> None:
    home = Path(os.path.realpath("/tmp")) / f"connwatch-home-{os.getpid()}"  # noqa: S108
    (home / "bin").mkdir(parents=True)
    (home / "config").mkdir()
    (home / "config" / "jvm.options").touch()
    program = home / "bin" / "elasticsearch"
    program.write_text("#!/bin/sh\nsleep 60 &\necho up\nwait\n")
    for path in (home, home / "bin", program):
        path.chmod(0o755)
    try:
        starter = subprocess.Popen(
            [sys.executable, "-c", STARTER, str(Path(__file__).parent), str(home)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert starter.stdout is not None
        with starter.stdout:
            folder, *processes = starter.stdout.readline().split()
        assert processes
        starter.send_signal(signal.SIGKILL)
        starter.wait()
        end = time.monotonic() + 20
        while Path(folder).exists() or any(alive(int(one)) for one in processes):
            assert time.monotonic() < end, (folder, processes)
            time.sleep(0.05)
    finally:
        for path in (program, home / "config" / "jvm.options"):
            path.unlink()
        for path in (home / "bin", home / "config", home):
            path.rmdir()


def alive(process: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
