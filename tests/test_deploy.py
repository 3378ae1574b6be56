"""What deploy/ holds can be used as it is: every file is read by the tool that it is for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

from connwatch.cli.config import read_config
from connwatch.config import STDIN

pytestmark = pytest.mark.source

DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "connwatch.service"
CONTAINER = DEPLOY / "container"
#: of systemd.exec(5) and its neighbours, what makes a service a harmless one
HARDENED = {
    "NoNewPrivileges": "yes",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "MemoryDenyWriteExecute": "yes",
    "CapabilityBoundingSet": "",
    "StateDirectory": "connwatch",
    "User": "connwatch",
    "Type": "notify",
}


def unit() -> dict[str, dict[str, list[str]]]:
    """Section -> key -> values."""
    sections: dict[str, dict[str, list[str]]] = {}
    here: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if found := re.fullmatch(r"\[(\w+)\]", line):
            here = sections.setdefault(found[1], {})
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, line
            here.setdefault(key, []).append(value)
    return sections


def test_the_unit_is_hardened_and_told_of() -> None:
    sections = unit()
    assert set(sections) == {"Unit", "Service", "Install"}
    service = sections["Service"]
    for key, value in HARDENED.items():
        assert service[key] == [value], key
    assert service["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    arguments = service["ExecStart"][0].split()
    assert arguments[1:] == ["run", "-c", "/etc/connwatch/connwatch.yml"]
    assert "WatchdogSec" in service


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_unit_and_finds_it_harmless(tmp_path: Path) -> None:
    here = tmp_path / UNIT.name
    here.write_text(UNIT.read_text().replace("/opt/connwatch/bin/connwatch", sys.executable))
    done = analyze("verify", "--man=no", str(here))
    assert (done.returncode, done.stderr) == (0, "")
    done = analyze("security", "--offline=yes", "--threshold=15", "--no-pager", str(here))
    assert done.returncode == 0, done.stdout


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False
    )


def test_it_runs_where_no_memory_may_be_made_executable(tmp_path: Path) -> None:
    """MemoryDenyWriteExecute=, by the kernel's own means (PR_SET_MDWE), with the unit's variables."""
    (tmp_path / "conn.log").write_bytes(
        (ROOT / "sample_logs" / "incident" / "conn.log").read_bytes()
    )
    (tmp_path / "c.yml").write_text("store: store\nsources: [{path: conn.log}]\n")
    code = (
        "import ctypes, os, sys\n"
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
        " if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0 else sys.exit(77)\n"
    )
    variables = dict(one.split("=", 1) for one in unit()["Service"]["Environment"])
    command = ["-m", "connwatch.cli", "run", "-c", str(tmp_path / "c.yml"), "--until-idle", "0.2"]
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **variables},
    )
    if done.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", [DEPLOY / "connwatch.yml", CONTAINER / "connwatch.yml"])
def test_the_configurations_load(path: Path) -> None:
    config = read_config(path)
    assert str(config.store) == "/var/lib/connwatch"
    assert config.http.port == 9477
    assert all(source.path != STDIN for source in config.sources)
    assert config.retention.events is not None


def instructions() -> list[list[str]]:
    text = (CONTAINER / "Containerfile").read_text().replace("\\\n", " ")
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def test_the_container_is_built_in_two_stages_and_has_no_root() -> None:
    known = [
        "FROM",
        "WORKDIR",
        "COPY",
        "RUN",
        "ENV",
        "VOLUME",
        "USER",
        "STOPSIGNAL",
        "HEALTHCHECK",
        "ENTRYPOINT",
        "CMD",
    ]
    found = instructions()
    assert {one[0] for one in found} == set(known)
    images = [one[1] for one in found if one[0] == "FROM"]
    assert images == ["python:3.11-slim"] * 2
    (user,) = (one[1] for one in found if one[0] == "USER")
    assert user == "10001:10001"
    (health,) = (" ".join(one) for one in found if one[0] == "HEALTHCHECK")
    assert "http://127.0.0.1:9477/healthz" in health


def test_what_the_container_copies_is_there_and_is_enough() -> None:
    copied = [
        name
        for one in instructions()
        if one[0] == "COPY" and not one[1].startswith("--")
        for name in one[1:-1]
    ]
    assert all((ROOT / name).exists() for name in copied)
    needed = {"pyproject.toml", "constraints.txt", "README.md", "LICENSE"}
    folders = {"connwatch", "ingest", "detectors", "sinks", "rules"}
    assert set(copied) == needed | folders


def test_the_compose_file_mounts_read_only_but_for_the_store() -> None:
    document: dict[str, Any] = yaml.safe_load((CONTAINER / "compose.yml").read_text())
    service = document["services"]["connwatch"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert [one for one in service["volumes"] if not one.endswith(":ro")] == [
        "store:/var/lib/connwatch"
    ]
    assert all(one.startswith("127.0.0.1:") for one in service["ports"])
    assert (CONTAINER / service["build"]["context"] / service["build"]["dockerfile"]).exists()
    assert set(document["volumes"]) == {"store"}


@pytest.mark.skipif(
    not (shutil.which("logrotate") or Path("/usr/sbin/logrotate").exists()),
    reason="no logrotate here",
)
def test_logrotate_takes_its_example(tmp_path: Path) -> None:
    text = (DEPLOY / "logrotate" / "connwatch-sources").read_text()
    for folder in ("branch", "appliance"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "conn.log").write_text("a line\n")
    config = tmp_path / "config"
    config.write_text(text.replace("/srv/logs", str(tmp_path)))
    config.chmod(0o644)
    done = subprocess.run(
        [
            shutil.which("logrotate") or "/usr/sbin/logrotate",
            "-d",
            "-s",
            str(tmp_path / "s"),
            str(config),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "error:" not in done.stderr
    assert done.stderr.count("considering log") == 2


def test_the_lines_for_zeek_are_options_of_zeek() -> None:
    text = (DEPLOY / "zeek" / "connwatch.zeek").read_text()
    for line in text.splitlines():
        assert re.fullmatch(r"#.*|@load [\w/.-]+|redef \w+::\w+ = [\w: ]+;|", line), line
