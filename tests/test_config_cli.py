"""`connwatch config` as people and scripts use it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_config import SMALLEST
from test_sigma import write

from connwatch.cli import run
from connwatch.cli.config import configured_rules, read_config


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The smallest configuration, with a rule."""
    (tmp_path / "rules").mkdir()
    write(tmp_path / "rules", "s:\n  destination.port: 1\ncondition: s")
    path = tmp_path / "connwatch.yml"
    path.write_text(SMALLEST.replace("/var/log/zeek/current", "logs"), encoding="utf-8")
    return path


def config(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    capsys.readouterr()
    assert run(["config", *map(str, arguments)]) == code
    printed = capsys.readouterr()
    return printed.out or printed.err


def test_check_says_what_there_is(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = file.parent / "logs"
    missing = f"note: {logs}/conn.log: matches nothing now\n"
    assert config(capsys, "check", "-c", file) == f"{missing}ok: 1 source, 1 rule\n"
    logs.mkdir()
    (logs / "conn.log").touch()
    assert config(capsys, "check", "-c", file) == "ok: 1 source, 1 rule\n"
    with file.open("a") as more:
        more.write("  - path: 'logs/*.log'\n  - path: logs/*.json\n  - path: '-'\n")
    assert config(capsys, "check", "-c", file) == (
        f"note: {logs}/*.json: matches nothing now\nok: 4 sources, 1 rule\n"
    )


def test_check_tells_faults_of_the_file_of_rules_and_of_lists(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with file.open("a") as more:
        more.write("idle_limit: soon\nbacth: 5\n")
    assert config(capsys, "check", "-c", file, code=2) == (
        f"{file}:5:13: idle_limit: 'soon' is not a time\n"
        "  hint: it is seconds from 0.1 to 86,400, also as 30s, 2m\n"
        f"{file}:6:1: unknown key 'bacth'\n  hint: did you mean 'batch'?\n"
        "failed: 2 faults\n"
    )
    file.write_text(SMALLEST + "allow: [none.txt]\n")
    told = config(capsys, "check", "-c", file, code=2)
    assert told.startswith(f"{file.parent}/none.txt: ")
    assert told.endswith("failed: 1 fault\n")
    file.write_text(SMALLEST)
    write(file.parent / "rules", "s:\n  destination.port: 1\ncondition: t", name="wrong.yml")
    told = config(capsys, "check", "-c", file, code=2)
    assert "wrong.yml:" in told
    assert told.endswith("failed: 1 fault\n")
    file.write_text(
        SMALLEST.replace("rules/", "ruled, rules, rulez")
        + "indicators: [bad.txt]\nallow: [good.txt]\n"
    )
    told = config(capsys, "check", "-c", file, code=2)
    for name in ("ruled", "rulez", "rules/wrong.yml", "bad.txt", "good.txt"):
        assert f"\n{file.parent}/{name}:" in f"\n{told}"
    assert told.endswith("failed: 5 faults\n")


def test_show_prints_what_takes_effect_and_loads_again(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = config(capsys, "show", "-c", file)
    assert text.startswith("store: /var/lib/connwatch\njournal: ")
    assert "\nidle_limit: 2\n" in text
    document = json.loads(config(capsys, "show", "-c", file, "--json"))
    assert document["sources"][0]["path"] == f"{file.parent}/logs/conn.log"
    elsewhere = file.parent / "rules" / "again.yaml.txt"
    for shown in (text, json.dumps(document)):
        elsewhere.write_text(shown)
        assert read_config(elsewhere) == read_config(file)


def test_show_of_a_wrong_file_goes_to_standard_error(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("\x1b[31m: 1\n")
    told = config(capsys, "show", "-c", file, code=2)
    assert "U+001B" in told
    file.write_text('"\\e[31m\\n": 1\n')
    told = config(capsys, "show", "-c", file, code=2)
    assert "unknown key '\\x1b[31m\\n'" in told
    assert "\x1b" not in told


def test_init_writes_a_file_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "connwatch.yml"
    config(capsys, "init", "-o", file)
    assert file.read_text() == config(capsys, "init")
    assert config(capsys, "check", "-c", file).startswith(("ok: ", "note: "))
    file.write_text("mine")
    told = config(capsys, "init", "-o", file, code=2)
    assert told == f"connwatch: {file}: is there already\n  hint: --force overwrites it\n"
    assert file.read_text() == "mine"
    config(capsys, "init", "-o", file, "--force")
    assert file.read_text().startswith("# What connwatch follows")
    config(capsys, "init", "-o", tmp_path / "none" / "c.yml", code=3)


def test_a_configuration_without_rules_has_none(file: Path) -> None:
    file.write_text("rules: []\nsources: [{path: a}]\n")
    assert configured_rules(read_config(file)).every == ()
