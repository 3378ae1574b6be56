"""What is done before anything is loaded."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest

from connwatch.config.model import Limits
from connwatch.detectors.windows.engine import CAP

_ASK = (
    "import sys; sys.argv = {argv!r}; import connwatch, os; print(os.environ['_RJEM_MALLOC_CONF'])"
)


@pytest.mark.parametrize(
    ("arguments", "own", "told"),
    [
        (["run", "-c", "x.yml"], None, "narenas:1,dirty_decay_ms:500,muzzy_decay_ms:0"),
        (["tail", "x.log"], "narenas:1", "narenas:1"),
        (["replay", "x.log"], None, "narenas:2,dirty_decay_ms:10000"),
        ([], None, "narenas:2,dirty_decay_ms:10000"),
    ],
)
def test_what_runs_for_months_keeps_little_memory(
    arguments: list[str], own: str | None, told: str
) -> None:
    """Unless the user has options for the allocator."""
    plain = {name: value for name, value in os.environ.items() if name != "_RJEM_MALLOC_CONF"}
    done = subprocess.run(
        [sys.executable, "-c", _ASK.format(argv=["connwatch", *arguments])],
        env=plain if own is None else {**plain, "_RJEM_MALLOC_CONF": own},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == told


def test_numpy_starts_no_threads() -> None:
    """They would spin for a while, on every core."""
    plain = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", "import connwatch, numpy, os; print(os.listdir('/proc/self/task'))"],
        env=plain,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(ast.literal_eval(done.stdout)) == 1


@pytest.mark.parametrize("command", ["search", "alerts", "dead_letters"])
def test_what_only_reads_the_store_loads_no_formats(command: str) -> None:
    """They take longer than the command itself."""
    ask = (
        f"import sys, connwatch.cli.{command}; "
        "print([name for name in sys.modules if 'tcpdump' in name or 'connwatch.pipeline' in name])"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == []


def test_a_live_run_and_a_replay_hold_the_same() -> None:
    assert Limits().items == CAP
