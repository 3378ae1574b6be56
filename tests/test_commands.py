"""The command line as scripts and people use it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_sigma import write
from test_zeek_tsv import header, row

from connwatch.cli import run

DAY = 1_700_000_000


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Twenty connections: three to a back door, two rejects, a NUL, terminal escapes in a field."""
    rows = [
        row(ts=f"{DAY + n}.0", uid=f"C{n}", **{"id.orig_h": f"10.0.0.{n % 4}"}) for n in range(17)
    ]
    rows += [row(ts=f"{DAY + 60 + n}.0", uid=f"B{n}", **{"id.resp_p": "31337"}) for n in range(3)]
    rows += [
        row(**{"id.resp_p": "99999"}),
        "half\n",
        row(ts=f"{DAY + 90}.0", service="\x1b[31mred"),
    ]
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "conn.log").write_text(header() + "".join(rows), encoding="utf-8")
    (folder / "notes.txt").write_text("not a log\n", encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CONNWATCH_STORE", str(tmp_path / "store"))
    return tmp_path / "store"


def out(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert run(list(arguments)) == code, capsys.readouterr()
    return capsys.readouterr().out


def test_a_first_run_says_what_matters(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = out(capsys, "replay", str(logs))
    assert "events   21" in text
    assert "2 lines rejected" in text
    assert "2023-11-14 22:13:20 to" in text
    assert "1 high" in text
    assert "on the back-door port 31337" in text
    assert "connwatch alerts show" in text
    assert "\x1b" not in text


def test_json_summary_and_search_agree(
    logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = tmp_path / "summary.json"
    lines = out(capsys, "replay", str(logs), "--json", "--summary", str(summary)).splitlines()
    alerts = [json.loads(line) for line in lines]
    counts = json.loads(summary.read_text())
    assert counts["lines"] == counts["record_lines"] + counts["rejects"] + counts["comments"]
    assert counts["records"] == counts["record_lines"] == counts["events"] + counts["duplicates"]
    assert counts["events"] == counts["stored"] + counts["already_stored"] == 21
    assert counts["alerts"] == len(alerts)
    assert {
        "files",
        "seconds",
        "events_per_second",
        "first_event",
        "last_event",
        "digest",
        "by_file",
        "by_format",
    } <= set(counts)
    assert counts["by_file"][0]["path"].endswith("conn.log")
    assert counts["by_format"]["zeek-tsv"]["files"] == 1
    assert [one["path"] for one in counts["skipped"]] == [str(logs / "notes.txt")]
    assert out(capsys, "alerts", "--digest").strip() == counts["digest"]
    assert out(capsys, "search", "--count").strip() == "21"
    assert (
        out(
            capsys, "search", "destination.port: 31337 and source.ip: 10.0.0.0/8", "--count"
        ).strip()
        == "3"
    )
    events = [
        json.loads(line)
        for line in out(capsys, "search", "--format", "ndjson", "--limit", "0").splitlines()
    ]
    assert len(events) == 21
    assert events[0]["event"]["kind"] == "event"
    assert events[0]["network"]["community_id"].startswith("1:")
    stored = [json.loads(line) for line in out(capsys, "alerts", "--format", "ndjson").splitlines()]
    assert sorted(a["event"]["id"] for a in stored) == sorted(a["event"]["id"] for a in alerts)


def test_a_second_replay_stores_nothing(
    logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out(capsys, "replay", str(logs))
    summary = tmp_path / "again.json"
    assert "21 of them stored before" in out(capsys, "replay", str(logs), "--summary", str(summary))
    assert json.loads(summary.read_text())["stored"] == 0


def test_fail_on_and_check_have_exit_codes(
    logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out(capsys, "replay", str(logs), "--fail-on", "high", code=1)
    out(capsys, "replay", str(logs), "--fail-on", "critical")
    golden = tmp_path / "golden.ndjson"
    golden.write_text(out(capsys, "replay", str(logs), "--json"), encoding="utf-8")
    out(capsys, "replay", str(logs), "--check", str(golden))
    first, *rest = golden.read_text().splitlines()
    changed = json.loads(first)
    changed["connwatch"]["count"] += 1
    golden.write_text("\n".join([json.dumps(changed), *rest]) + "\n", encoding="utf-8")
    assert run(["replay", str(logs), "--check", str(golden)]) == 1
    assert "changed (count" in capsys.readouterr().err
    golden.write_text("{}\n")
    out(capsys, "replay", str(logs), "--check", str(golden), code=2)


def test_an_input_that_fails_is_exit_3_and_the_rest_is_read(
    logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (logs / "broken.gz").write_bytes(b"\x1f\x8b\x08broken")
    assert "events   21" in out(capsys, "replay", str(logs), code=3)
    assert run(["replay", str(logs / "none")]) == 3
    assert "no such file or folder" in capsys.readouterr().err
    assert run(["replay", str(logs / "notes.txt"), "--strict"]) == 3


WRONG: list[tuple[str, list[str], str]] = [
    ("no path", ["replay"], "Missing argument"),
    ("unknown command", ["replya"], "No such command"),
    ("bad time", ["search", "--from", "soon"], "is not a time"),
    ("bad query", ["search", "source.ip: ("], "^"),
    ("unknown field", ["search", "src_ipp: 1"], "src_ipp"),
    ("bad home", ["replay", "x", "--home", "10.0.0.0/99"], "is not a network"),
    ("two answers at once", ["search", "--count", "--by", "source.ip"], "exclude one another"),
    ("unknown rule file", ["replay", "x", "--rules", "none.yml"], "no such rule file or folder"),
    ("alerts of none", ["alerts", "show"], "takes the id of one alert"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "said"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_wrong_use_is_exit_2_with_a_reason(
    logs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    out(capsys, "replay", str(logs))
    assert run(arguments) == 2
    assert said in capsys.readouterr().err


def test_without_a_store_the_next_step_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "--count"]) == 3
    said = capsys.readouterr().err
    assert "there is no store here" in said
    assert "replay something first" in said


def test_a_broken_rule_is_named_and_the_others_run(
    logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    write(rules, "s: {destination.port: 31337}\ncondition: s", title="Good", name="good.yml")
    write(rules, "s: {destination.port|contain: 3}\ncondition: s", title="Bad", name="bad.yml")
    assert run(["replay", str(logs), "--rules", str(rules)]) == 2
    said = capsys.readouterr()
    assert "bad.yml:4" in said.err
    assert "did you mean 'contains'?" in said.err
    assert "alerts   1" in said.out


def test_alerts_can_be_filtered_shown_and_marked(
    logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out(capsys, "replay", str(logs))
    (high,) = [
        json.loads(line)
        for line in out(
            capsys, "alerts", "connwatch.level: high", "--format", "ndjson"
        ).splitlines()
    ]
    short = high["event"]["id"][:10]
    shown = out(capsys, "alerts", "show", short)
    assert "count        3" in shown
    assert "logs/conn.log" in shown
    assert len(out(capsys, "alerts", "events", short, "--format", "ndjson").splitlines()) == 3
    for action, status in (("ack", "acknowledged"), ("close", "closed"), ("reopen", "open")):
        assert status in out(capsys, "alerts", action, short)
        assert (
            json.loads(out(capsys, "alerts", "show", short, "--format", "ndjson"))["connwatch"][
                "status"
            ]
            == status
        )
    out(capsys, "alerts", "ack", short)
    out(capsys, "replay", str(logs))
    assert (
        out(capsys, "alerts", "connwatch.status: acknowledged", "--format", "csv").count("\n") == 2
    )


def test_search_has_many_forms(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out(capsys, "replay", str(logs))
    assert "80" in out(capsys, "search", "--by", "destination.port")
    assert json.loads(out(capsys, "search", "--by", "destination.port", "--format", "json"))[0] == {
        "destination.port": 80,
        "count": 18,
    }
    assert "2023-11-14 22:13" in out(capsys, "search", "--histogram", "1m")
    assert out(capsys, "search", "--format", "csv", "--limit", "2").count("\n") == 3
    assert len(json.loads(out(capsys, "search", "--format", "json", "--limit", "2"))) == 2
    assert out(capsys, "search", "--from", "2023-11-14 22:14:10", "--count").strip() == "4"
    table = out(capsys, "search", "--sort", "source.port:asc", "--limit", "0")
    assert "\\x1b[31mred" in table
    assert "\x1b" not in table


def test_rules_can_be_checked_listed_shown_and_tested(
    logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "0 have errors" in out(capsys, "rules", "check")
    assert "Session to a known back-door port" in out(capsys, "rules", "list")
    assert "title: Session to a known back-door port" in out(
        capsys, "rules", "show", "backdoor_port"
    )
    assert ", 0 wrong" in out(capsys, "rules", "test")
    rule = write(
        tmp_path, "s: {destination.port: 31337}\nf: {source.ip: 10.9.9.9}\ncondition: s and not f"
    )
    text = out(capsys, "rules", "test", str(rule), str(logs / "conn.log"), "--event", "25")
    assert "30 lines, 21 records, 2 rejects" in text
    assert "A rule: 3 records match" in text
    assert "true" in text
    assert "destination.port = 31337" in text
    write(tmp_path, "s: {destination.port|gt: x}\ncondition: s")
    out(capsys, "rules", "check", str(tmp_path / "rule.yml"), code=2)


@pytest.mark.parametrize("seconds", ["nan", "inf", "0", "-1", "x"])
def test_what_is_no_number_of_seconds_is_refused(seconds: str, logs: Path) -> None:
    assert run(["tail", str(logs), "--until-idle", seconds]) == 2


def test_a_store_is_no_file(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = logs.parent / "c.yml"
    config.write_text("store: taken\nsources: [{path: none}]\n", encoding="utf-8")
    config.with_name("taken").touch()
    capsys.readouterr()
    assert run(["run", "-c", str(config), "--until-idle", "1"]) == 3
    said = capsys.readouterr().err
    assert "taken: is a file" in said
    assert "a store is a folder of its own" in said


def test_the_store_is_looked_after(logs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out(capsys, "replay", str(logs))
    assert "events     21" in out(capsys, "store", "info")
    assert json.loads(out(capsys, "store", "info", "--json"))["events"] == 21
    assert "the store is whole" in out(capsys, "store", "verify")
    out(capsys, "store", "compact")
    assert len(out(capsys, "rejects", "--format", "ndjson").splitlines()) == 2
    assert "99999 is not a port" in out(capsys, "rejects")
    assert "21 events before 2023-11-15 are gone" in out(
        capsys, "store", "drop", "--before", "2023-11-15"
    )
    assert "zeek-tsv" in out(capsys, "formats")


def test_standard_input_is_read(logs: Path, store: Path) -> None:
    command = [sys.executable, "-m", "connwatch.cli", "replay", "-", "--json"]
    with (logs / "conn.log").open("rb") as log:
        done = subprocess.run(command, stdin=log, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert any("31337" in line for line in done.stdout.splitlines())


def test_the_second_writer_is_exit_3(logs: Path, store: Path) -> None:
    from connwatch.sinks.embedded import EmbeddedStore

    with EmbeddedStore(store):
        done = subprocess.run(
            [sys.executable, "-m", "connwatch.cli", "replay", str(logs)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 3
    assert "is writing to this store" in done.stderr


def test_a_reader_that_leaves_and_ctrl_c_end_quietly(tmp_path: Path, store: Path) -> None:
    big = tmp_path / "conn.log"
    big.write_text(
        header() + "".join(row(ts=f"{DAY + n}.0", uid=f"C{n}") for n in range(120_000)),
        encoding="utf-8",
    )
    command = f"{sys.executable} -m connwatch.cli"
    done = subprocess.run(
        [
            "sh",
            "-c",
            f"{command} replay {big} >/dev/null && {command} search --format ndjson --limit 0 | head -1",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(done.stdout)["event"]
    assert "Traceback" not in done.stderr
    again = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "connwatch.cli",
            "replay",
            str(big),
            "--store",
            str(tmp_path / "other"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(600):  # until it has begun to work
        if (tmp_path / "other" / "catalogue.sqlite").exists():
            break
        time.sleep(0.05)
    again.send_signal(signal.SIGINT)
    _, said = again.communicate(timeout=60)
    assert "Traceback" not in said
    assert again.returncode in (0, 130)


def test_no_color_and_pipes_have_no_escapes(logs: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "connwatch.cli", "replay", str(logs)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert "\x1b" not in done.stdout + done.stderr


def test_an_output_that_cannot_be_written_is_said(
    logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["replay", str(logs), "--summary", str(logs / "none" / "x.json")]) == 2
    assert "no such folder" in capsys.readouterr().err
    if not Path("/dev/full").exists():
        return
    command = f"{sys.executable} -m connwatch.cli replay {logs} > /dev/full"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_damaged_file_is_named_by_a_search(
    logs: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out(capsys, "replay", str(logs))
    (segment,) = (store / "events").rglob("*.parquet")
    segment.write_bytes(segment.read_bytes()[:-200])
    assert run(["search"]) == 3
    said = capsys.readouterr().err
    assert segment.name in said
    assert run(["store", "verify"]) == 3
