"""What detection carries is saved and taken up: the rest of a log gives what it would have given."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from sink_contract import delivery
from support import ordered

from connwatch.alert import Written, digest
from connwatch.carried import save, taken_up
from connwatch.detection import Detection
from connwatch.detectors.ruleset import RuleSet, load_rules
from connwatch.detectors.windows import records
from connwatch.errors import StoreDamagedError
from connwatch.ingest.enrich import enrich
from connwatch.pipeline import bundled_rules
from connwatch.sinks.embedded import EmbeddedStore, StoreReader

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return load_rules([bundled_rules()])


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    found, failed, _ = ordered([ROOT / "sample_logs"])
    assert not failed
    return enrich(found, None)


def alerts(
    rules: RuleSet,
    events: pl.DataFrame,
    cuts: list[float],
    state: Path,
    *,
    restart: bool,
    rewritten: Callable[[Path], None] | None = None,
) -> str:
    """The digest of all alerts, with a new process at every cut if `restart`.

    rewritten: what is done to the saved state before it is taken up.
    """
    detection = Detection(rules)
    newest: dict[str, Written] = {}
    bounds = [0, *(int(cut * events.height) for cut in cuts), events.height]
    for low, high in pairwise(bounds):
        found = detection.step(events.slice(low, high - low))
        newest.update((one.id, one) for one in detection.written(found.touched))
        if restart:
            save(detection, state)
            if rewritten is not None:
                rewritten(state)
            detection = Detection(rules)
            taken_up(detection, state)
    assert newest
    return digest([one.document() for one in newest.values()])


def as_version_2(state: Path) -> None:
    """The file as it was written before parts of the records were packed."""
    with zipfile.ZipFile(state) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    about = json.loads(files["about.json"])
    files["about.json"] = json.dumps({**about, "version": 2}).encode()
    for name in [name for name in files if name.startswith("records")]:
        part = pl.read_ipc(io.BytesIO(files[name]))
        plain = pl.DataFrame([records._plain(column) for column in part.iter_columns()])
        data = io.BytesIO()
        plain.write_ipc(data, compression="lz4")
        files[name] = data.getvalue()
    with zipfile.ZipFile(state, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("cuts", [[0.5], [n / 10 for n in range(1, 10)]])
@pytest.mark.parametrize("earlier", [False, True])
def test_records_that_are_packed_are_taken_up_and_those_of_an_earlier_version(
    rules: RuleSet,
    events: pl.DataFrame,
    cuts: list[float],
    earlier: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(records, "_MANY", 8)
    state = tmp_path / "state"
    rewritten = as_version_2 if earlier else None
    whole = alerts(rules, events, [], state, restart=False)
    assert alerts(rules, events, cuts, state, restart=True, rewritten=rewritten) == whole


@pytest.mark.parametrize("cuts", [[0.5], [0.1, 0.2, 0.3, 0.7], [n / 40 for n in range(1, 40)]])
def test_a_restart_changes_nothing(
    rules: RuleSet, events: pl.DataFrame, cuts: list[float], tmp_path: Path
) -> None:
    whole = alerts(rules, events, [], tmp_path / "state", restart=False)
    assert alerts(rules, events, cuts, tmp_path / "state", restart=True) == whole


def test_the_state_of_unchanged_rules_is_kept(
    rules: RuleSet, events: pl.DataFrame, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    before = Detection(rules)
    before.step(events.head(events.height // 2))
    held = {key: len(one) for key, one in before.windows.items.items() if len(one)}
    assert len(held) > 1
    gone = next(iter(held))
    fewer = rules.only(*(rule for rule in rules.running if rule.key != gone))
    after = Detection(fewer)
    save(before, state)
    taken_up(after, state)
    assert {key: len(one) for key, one in after.windows.items.items()} == {
        key: number for key, number in held.items() if key != gone
    }
    again = Detection(rules)
    save(after, state)
    taken_up(again, state)
    assert gone not in again.windows.items, "it begins with nothing"
    again.step(events.tail(events.height // 2))


def test_a_rule_that_counts_something_else_begins_with_nothing(
    tmp_path: Path, events: pl.DataFrame
) -> None:
    rule = """
title: many
id: 7f7dff0a-7e31-4f14-9c8c-2c3e1d3e1d01
logsource: {category: network_connection}
detection: {s: {dst_port|gte: PORT}, condition: s}
---
title: very many
id: 7f7dff0a-7e31-4f14-9c8c-2c3e1d3e1d02
correlation:
  type: event_count
  rules: [7f7dff0a-7e31-4f14-9c8c-2c3e1d3e1d01]
  group-by: [src_ip]
  timespan: 1d
  condition: {gte: 100000}
"""

    def loaded(port: int) -> RuleSet:
        path = tmp_path / f"{port}.yml"
        path.write_text(rule.replace("PORT", str(port)))
        found = load_rules([path])
        assert not found.errors
        return found

    before = Detection(loaded(1))
    before.step(events)
    [held] = [len(one) for one in before.windows.items.values()]
    assert held
    for port, kept in ((1, [held]), (2, [])):
        after = Detection(loaded(port))
        save(before, tmp_path / "state")
        taken_up(after, tmp_path / "state")
        assert [len(one) for one in after.windows.items.values()] == kept


@pytest.mark.parametrize("most", [1, 3, 10])
def test_alerts_that_were_closed_early_are_joined_in_the_store(
    rules: RuleSet, events: pl.DataFrame, most: int, tmp_path: Path
) -> None:
    """All but the message, which stays the one that the alert began with."""
    stored, early = {}, {}
    for name, bound in (("all", None), ("few", most)):
        detection = Detection(rules, most=bound)
        early[name] = 0
        with EmbeddedStore(tmp_path / name) as store:
            for start in range(0, events.height, 50):
                part = events.slice(start, 50)
                found = detection.step(part)
                early[name] += found.early
                alerts = detection.written(found.touched)
                store.write(delivery(part, hits=found.hits, alerts=alerts))
                assert bound is None or detection.open.height <= bound
        with StoreReader(tmp_path / name) as reader:
            stored[name] = digest([{**one, "message": ""} for one in reader.alerts()])
    assert (early["all"], early["few"] > 0) == (0, True)
    assert stored["few"] == stored["all"]


@pytest.mark.parametrize("data", [b"", b"no archive", b"PK\x05\x06" + b"\0" * 18])
def test_bytes_that_are_no_state_are_an_error(rules: RuleSet, data: bytes, tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(data)
    with pytest.raises(StoreDamagedError, match="cannot be read"):
        taken_up(Detection(rules), tmp_path / "state")
