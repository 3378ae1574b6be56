"""Rules with another value of one parameter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from connwatch.errors import UsageError
from connwatch.evaluate import plot
from connwatch.evaluate.sweep import read_sweep, variants

SCAN = """
title: Many ports. Of one host
id: 12345678-aaaa-4bbb-8ccc-000000000001
name: many_ports
correlation:
  type: value_count
  timespan: 5m
  condition: {gte: 15}
---
title: Base
id: 99999999-aaaa-4bbb-8ccc-000000000002
detection:
  selection:
    destination.port|gte: 1024
    zeek.connection.state: [S0, REJ]
    80: x
  condition: selection
"""
OTHER = (
    "title: Other\nid: 12345678-cccc-4bbb-8ccc-000000000003\nsuppress: 1h\nanalytic: {type: scan}\n"
)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "scan.yml").write_text(SCAN)
    (folder / "other.yml").write_text(OTHER)
    (folder / "broken.yml").write_text("a: [")
    (folder / "list.txt").write_text("192.0.2.1\n")
    return [folder / "scan.yml", folder / "other.yml", folder / "broken.yml"]


@pytest.mark.parametrize(
    ("text", "rule", "keys", "values"),
    [
        ("many_ports.correlation.condition.gte=5,10", "Many", ["correlation", "condition", "gte"], (5, 10)),
        ("MANY PORTS. of one host.correlation.timespan=1m", "Many", ["correlation", "timespan"], ("1m",)),
        ("12345678-a.correlation.timespan=1m", "Many", ["correlation", "timespan"], ("1m",)),
        ("9999.detection.selection.destination.port|gte=1", "Base", ["detection", "selection", "destination.port|gte"], (1,)),
        ("base.detection.selection.zeek.connection.state.1=SH", "Base", ["detection", "selection", "zeek.connection.state", 1], ("SH",)),
        ("base.detection.selection.80=y", "Base", ["detection", "selection", "80"], ("y",)),
        ("other.suppress=10m, 2h", "Other", ["suppress"], ("10m", "2h")),
        ("other.enabled=true,false", "Other", ["enabled"], (True, False)),
        ("other.analytic.hosts=0.5", "Other", ["analytic", "hosts"], (0.5,)),
    ],
)  # fmt: skip
def test_the_parameter_is_found(
    files: list[Path], text: str, rule: str, keys: list[Any], values: tuple[Any, ...]
) -> None:
    sweep = read_sweep(text, files)
    assert sweep.target.rule.startswith(rule)
    assert list(sweep.target.keys) == keys
    assert sweep.values == values


def test_one_rule_needs_no_name(files: list[Path]) -> None:
    assert read_sweep("suppress=5m", [files[1]]).target.keys == ("suppress",)


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("other.suppress", "names no parameter", "write RULE"),
        ("other.suppress=1h,,2h", "names no parameter", "write RULE"),
        ("other.suppress=]", "a value cannot be read", "write RULE"),
        ("othr.suppress=1h", "no rule is named", "did you mean 'Other'?"),
        ("suppress=1h", "no rule is named", "write RULE"),
        ("1234.suppress=1h", "2 rules are named", "write RULE"),
        ("base.detection.selecton=1", "detection has no 'selecton'", "did you mean 'selection'?"),
        ("base.detection.selection.zeek.connection.state.2=1", "has no '2'", "there are 0, 1"),
        ("other.suppress.x=1", "suppress has no 'x'", "nothing is below it"),
    ],
)
def test_a_parameter_that_is_not_there(files: list[Path], text: str, said: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_sweep(text, files)
    assert said in caught.value.message
    assert hint in str(caught.value.hint)


def test_copies_differ_in_the_value_alone(files: list[Path], tmp_path: Path) -> None:
    before = files[0].read_text()
    sweep = read_sweep("many_ports.correlation.condition.gte=5,10", files)
    made = list(variants(sweep, files, tmp_path))
    assert [one.text for one in made] == ["5", "10"]
    for one in made:
        assert one.files == (one.changed, *files[1:])
        first, second = yaml.safe_load_all(one.changed.read_text())
        assert first["correlation"]["condition"] == {"gte": one.value}
        expected = list(yaml.safe_load_all(SCAN))
        expected[0]["correlation"]["condition"] = {"gte": one.value}
        assert [first, second] == expected
        assert (one.changed.parent / "list.txt").read_text() == "192.0.2.1\n"
    assert files[0].read_text() == before


def test_a_number_that_is_a_key_stays_one(files: list[Path], tmp_path: Path) -> None:
    (one,) = variants(read_sweep("base.detection.selection.80=y", files), files, tmp_path)
    _, base = yaml.safe_load_all(one.changed.read_text())
    assert base["detection"]["selection"][80] == "y"
    assert "80" not in base["detection"]["selection"]


@pytest.mark.parametrize(
    ("values", "order", "places", "scale"),
    [
        (["5", "20", "10"], ["5", "10", "20"], [5, 10, 20], "linear"),
        (["5", "1000"], ["5", "1000"], [5, 1000], "log"),
        (["0", "1000"], ["0", "1000"], [0, 1000], "linear"),
        (["10m", "1h"], ["10m", "1h"], [0, 1], "linear"),
        (["1", "nan"], ["1", "nan"], [0, 1], "linear"),
    ],
)
def test_where_values_stand_on_the_curve(
    values: list[str], order: list[str], places: list[float], scale: str
) -> None:
    found = plot.placed([(value, None) for value in values])  # type: ignore[list-item]
    assert ([text for text, _ in found[0]], found[1], found[2]) == (order, places, scale)
