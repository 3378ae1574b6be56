"""Socket tables that are followed: what a replay gives, whatever is written, given and saved when."""

from __future__ import annotations

import gzip
import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import ROOT
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live_support import configuration, replayed_whole, start, stored
from support import ordered
from test_live_course import followed, pieces_of
from test_sockets import HEADER, LISTEN

from connwatch.ingest.course import Course

INCIDENT = ROOT / "sample_logs" / "incident"


def shots(*ports: tuple[int, ...]) -> str:
    """Snapshots ten seconds apart, with connections from these ports."""
    text = ""
    for number, shown in enumerate(ports):
        rows = (f"tcp ESTAB 0 0 192.0.2.1:22 198.51.100.7:{port}\n" for port in shown)
        text += f"2026-11-21 07:26:{number * 10:02}Z\n{HEADER}{LISTEN}{''.join(rows)}"
    return text


SHOTS = shots((1025,), (1025, 1026, 1027), (1026,), (1026, 1025), (), (1030,))


class Live:
    """A course over one file, through restarts."""

    def __init__(self, path: Path) -> None:
        self.path, self.saved, self.given = path, dict[str, Any](), list[pl.DataFrame]()
        self.restart()

    def restart(self) -> None:
        """As after a kill: what was not saved is gone."""
        self.follower = followed(self.path, pieces_of(self.saved))
        self.course: Course | None = None

    def step(self, rows: int) -> None:
        """Read what is there, give so many rows on, and save."""
        self.follower.scan()
        for stream in self.follower.streams.values():
            if self.course is None:
                self.course = Course(stream, 0.0)
                if (before := self.saved.get(f"stream/{stream.id}")) is not None:
                    taken = {
                        key.removeprefix("piece/"): one["taken"]
                        for key, one in self.saved.items()
                        if one.get("taken")
                    }
                    self.course.resume(before, taken)
            while self.course.read(1 << 20, 0.0):
                pass
            self.given.append(self.course.give(min(rows, self.course.buffer.height), 0.0))
            self.saved.update(json.loads(json.dumps(self.course.positions())))


@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 5), st.booleans()), max_size=12))
def test_a_file_that_grows_gives_what_its_replay_does(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, bool]]
) -> None:
    path = tmp_path_factory.mktemp("live") / "ss.log"
    text = SHOTS.encode()
    path.write_bytes(text[:200])
    live = Live(path)
    bounds = [*itertools.accumulate((size for size, *_ in steps), initial=200), len(text)]
    for (low, high), (_, rows, again) in zip(
        itertools.pairwise(bounds), [*steps, (0, 1000, True)], strict=True
    ):
        with path.open("ab") as out:
            out.write(text[low:high] if low < len(text) else b"")
        live.step(rows)
        if again:
            live.follower.close()
            live.restart()
    live.step(1000)
    live.follower.close()
    made = pl.concat(live.given)
    whole, _, _ = ordered([path])
    # The last snapshot may go on; with its two rows comes what the one before has told to be gone.
    assert whole.height - made.height == 2 + 2
    assert made.equals(whole.head(made.height))


def test_files_of_one_snapshot_each_and_packed_ones_are_read_whole(tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    folder.mkdir()
    for path in INCIDENT.glob("ss-*.txt"):
        (folder / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    config = configuration(tmp_path, [str(folder)])
    process = start("run", "-c", str(config), "--until-idle", "2", stderr=subprocess.PIPE)
    _, said = process.communicate(timeout=180)
    assert process.returncode == 0, said
    ids, _ = stored(tmp_path / "store")
    whole, _ = replayed_whole(folder.glob("*"), tmp_path / "replayed")
    assert (len(whole), len(set(whole) - set(ids))) == (30, 1)  # the last snapshot's own summary


def test_snapshots_on_standard_input_raise_alerts_as_they_come() -> None:
    process = start(
        "tail", "-", "--json", "--until-idle", "2", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    door = 'tcp LISTEN 0 5 0.0.0.0:31337 0.0.0.0:* users:(("nc",pid=7,fd=3))\n'
    text = shots((1025,)) + f"2026-11-21 07:26:10Z\n{HEADER}{door}"
    out, _ = process.communicate(text.encode(), timeout=180)
    messages = [json.loads(line)["message"] for line in out.splitlines()]
    [message] = [one for one in messages if "listens" in one]
    assert message == "nc (process 7) listens on 0.0.0.0, on the back-door port 31337"
