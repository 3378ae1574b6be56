"""The entry point: what it does before anything is loaded."""

from __future__ import annotations

import os

import pytest

from connwatch import cli
from connwatch.command import main
from connwatch.config.model import Limits
from connwatch.detectors.windows.engine import CAP


@pytest.mark.parametrize(
    ("arguments", "own", "told"),
    [
        (["run", "-c", "x.yml"], None, "dirty_decay_ms:0"),
        (["tail", "x.log"], "narenas:1", "narenas:1"),
        (["replay", "x.log"], None, None),
        ([], None, None),
    ],
)
def test_what_runs_for_months_keeps_little_memory(
    arguments: list[str], own: str | None, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the user has options for the allocator."""
    seen: list[str | None] = []

    def run(given: list[str]) -> int:
        assert given == arguments
        seen.append(os.environ.get("_RJEM_MALLOC_CONF"))
        return 7

    monkeypatch.setattr(cli, "run", run)
    monkeypatch.setattr("sys.argv", ["connwatch", *arguments])
    # First set, so that it is put back afterwards whatever `main` makes of it.
    monkeypatch.setenv("_RJEM_MALLOC_CONF", own or "")
    if own is None:
        monkeypatch.delenv("_RJEM_MALLOC_CONF")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 7
    assert (told is None and seen == [None]) or (told is not None and told in str(seen[0]))


def test_a_live_run_and_a_replay_hold_the_same() -> None:
    assert Limits().items == CAP
