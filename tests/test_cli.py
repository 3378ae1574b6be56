"""The command as a user runs it: a process of its own, its output and its exit code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from connwatch.paths import default_store
from connwatch.reference import schema_markdown


def connwatch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "connwatch.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_schema_is_printed_whole() -> None:
    done = connwatch("schema")
    assert (done.returncode, done.stdout) == (0, schema_markdown())


@pytest.mark.parametrize("arguments", [["nonsense"], ["version", "--nonsense"]])
def test_wrong_use_exits_2_and_says_what_is_wrong(arguments: list[str]) -> None:
    done = connwatch(*arguments)
    assert done.returncode == 2
    assert "nonsense" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["replay", "no\x1b[31m such\nfile.log"],
        ["search", "source.ip: \x1b[2Jx", "--store", "."],
        ["rules", "check", "no\x1b]0;owned\x07.yml"],
        ["alerts", "--store", "/dev/null/\x1b[31m"],
        ["\x1b[31m"],
    ],
    ids=["a file", "a query", "a rule", "a store", "a command"],
)
def test_what_is_wrong_does_nothing_to_the_terminal(arguments: list[str]) -> None:
    done = connwatch(*arguments)
    assert done.returncode in (2, 3)
    assert done.stderr.strip()
    assert not re.search(r"[^\n -~…]", done.stdout + done.stderr)


def test_a_hint_has_a_line_of_its_own() -> None:
    done = connwatch("search", "x", "--store", "none")
    assert re.search(r"^  hint: ", done.stderr, re.M)


def test_a_reader_that_goes_away_is_no_error_message() -> None:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m connwatch.cli schema | true"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"CONNWATCH_STORE": "/srv/s"}, Path("/srv/s")),
        ({"XDG_DATA_HOME": "/data"}, Path("/data/connwatch")),
        ({}, Path.home() / ".local/share/connwatch"),
    ],
    ids=["the variable", "the platform's data folder", "its default"],
)
@pytest.mark.skipif(sys.platform != "linux", reason="folders of Linux")
def test_the_store_has_a_place(environment: dict[str, str], expected: Path) -> None:
    assert default_store(environment) == expected


def test_a_command_is_not_kept_waiting_by_the_others() -> None:
    code = (
        "import sys\nfrom connwatch.cli import run\nrun(['version'])\n"
        "print(*sorted(name for name in sys.modules if name.startswith('connwatch.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert "connwatch.cli.reference" in loaded
    assert not {"connwatch.pipeline", "connwatch.detectors.ruleset", "connwatch.live"} & {*loaded}
