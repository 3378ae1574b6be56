"""`connwatch evaluate` as people and scripts use it.

The log: 10.0.0.1 sends four flows to port 31337 (labelled Malicious) and one to port 80 (Benign);
10.0.0.2 sends one to 31337 that is Benign, two to port 80 that are, and one without a label. The
rule finds port 31337: 4 true, 1 false of 8 labelled flows.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from test_sigma import write
from test_zeek_tsv import FIELDS, header, row

from connwatch.cli import run

DAY = 1_700_000_000  # 2023-11-14 22:13:20
LABELLED_FIELDS = [*FIELDS, "label", "detailed-label"]


def flow(second: float, ip: str, port: int, label: str, detail: str = "-", **more: str) -> str:
    values = {"id.orig_h": ip, "id.resp_p": str(port), "label": label, "detailed-label": detail}
    when = {"ts": f"{DAY + second:.1f}", "uid": f"C{second}", "duration": "1.0"}
    return row(fields=LABELLED_FIELDS, **{**when, **values, **more})


FLOWS = [
    flow(0, "10.0.0.1", 80, "Benign"),
    flow(60, "10.0.0.1", 31337, "Malicious", "back door"),
    flow(120, "10.0.0.1", 31337, "Malicious", "back door"),
    flow(180, "10.0.0.2", 31337, "Benign"),
    flow(240, "10.0.0.2", 80, "Benign"),
    flow(300, "10.0.0.2", 80, "Benign"),
    flow(360, "10.0.0.2", 80, "-"),
    flow(420, "10.0.0.1", 31337, "Malicious", "back door"),
    flow(7200, "10.0.0.1", 31337, "Malicious", "<b>\x1b[31mlate"),
]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "conn.log.labeled"
    path.write_text(header(LABELLED_FIELDS) + "".join(FLOWS), encoding="utf-8")
    return path


@pytest.fixture
def rule(tmp_path: Path) -> Path:
    folder = tmp_path / "my"
    folder.mkdir()
    return write(
        folder,
        "selection:\n  destination.port: [31337]\ncondition: selection",
        title="Back door",
        more="level: high\nsuppress: 1h\n",
        name="door.yml",
    )


def out(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    capsys.readouterr()
    assert run(["evaluate", *map(str, arguments)]) == code, capsys.readouterr()
    return capsys.readouterr().out


def measured(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    text = out(capsys, *arguments, "--format", "json")
    found: dict[str, Any] = json.loads(text)
    return found


def test_every_number(log: Path, rule: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = measured(capsys, log, "--rules", rule)
    assert found["events"] == {"total": 9, "malicious": 4, "benign": 4, "unlabelled": 1}
    assert found["first"] == "2023-11-14T22:13:20.000000Z"
    assert found["last"] == "2023-11-15T00:13:21.000000Z"  # log time: its end
    assert found["days"] == pytest.approx(7201 / 86400)
    flows = found["all"]["flows"]
    assert [flows[name] for name in list(flows)[:4]] == [4, 1, 0, 3]
    assert flows["precision"]["value"] == 0.8
    assert flows["recall"] == {"value": 1.0, "low": pytest.approx(0.51011, abs=5e-5), "high": 1.0}
    assert flows["f1"]["value"] == pytest.approx(8 / 9)
    assert flows["false_positive_rate"]["value"] == 0.25
    # hours of log time: 10.0.0.1 at 22 and 00 malicious, 10.0.0.2 at 22 benign and flagged
    entities = found["all"]["entities"]
    assert [entities[name] for name in list(entities)[:4]] == [2, 1, 0, 0]
    alerts = found["all"]["alerts"]
    assert [alerts[name] for name in ("total", "true", "false", "unlabelled")] == [3, 2, 1, 0]
    assert [alerts[name] for name in ("actors", "actors_found", "innocent", "innocent_blamed")] == [
        1,
        1,
        1,
        1,
    ]
    # the first malicious flow begins at 60 s and is logged at its end
    assert found["all"]["time_to_detect"] == {
        "entities": 1, "detected": 1, "missed": 0, "p50_seconds": 1.0, "p95_seconds": 1.0,
    }  # fmt: skip
    assert found["all"]["alerts_per_day"] == pytest.approx(3 * 86400 / 7201)
    assert found["all"]["false_alerts_per_day"] == pytest.approx(86400 / 7201)
    (one,) = found["rules"]
    assert (one["title"], one["level"]) == ("Back door", "high")
    assert one["flows"] == flows
    details = {label["detail"]: (label["events"], label["flagged"]) for label in found["labels"]}
    assert details == {"back door": (3, 3), "<b>\x1b[31mlate": (1, 1), None: (4, 1)}


def test_the_level_and_the_words(log: Path, rule: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quiet = measured(capsys, log, "--rules", rule, "--level", "critical")
    assert quiet["all"]["flows"]["true_positives"] == 0
    assert quiet["all"]["flows"]["precision"]["value"] is None
    assert quiet["missed_entities"] == [{"source.ip": "10.0.0.1", "malicious_flows": 4}]
    turned = measured(capsys, log, "--rules", rule, "--malicious", "BEN*")
    assert turned["all"]["flows"]["true_positives"] == 1
    detail = measured(
        capsys, log, "--rules", rule, "--label-column", "zeek.connection.detailed_label"
    )
    assert detail["events"] == {"total": 9, "malicious": 4, "benign": 0, "unlabelled": 5}
    late = measured(capsys, log, "--rules", rule, "--from", "2023-11-14 23:00")
    assert late["events"]["total"] == 1


def test_labels_from_files(
    log: Path, rule: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flows = tmp_path / "flows.csv"
    flows.write_text(
        f"start,src,dport,label\n,10.0.0.1,31337,attack\n{DAY + 180},10.0.0.2,,benign\n"
    )
    found = measured(capsys, log, "--rules", rule, "--labels", flows)
    assert found["events"] == {"total": 9, "malicious": 4, "benign": 1, "unlabelled": 4}
    found = measured(capsys, log, "--rules", rule, "--labels", flows, "--rest", "normal")
    assert found["events"] == {"total": 9, "malicious": 4, "benign": 5, "unlabelled": 0}
    rules = tmp_path / "labels.yml"
    rules.write_text("labels: [{label: attack, source: 10.0.0.1, port: 31337}]\ndefault: benign\n")
    found = measured(capsys, log, "--rules", rule, "--labels", rules)
    assert found["events"] == {"total": 9, "malicious": 4, "benign": 5, "unlabelled": 0}


def test_the_table_shows_it_and_does_nothing_to_the_terminal(
    log: Path, rule: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = out(capsys, log, "--rules", rule)
    assert "events   9: 4 malicious, 4 benign, 1 without a label" in text
    assert "alerts   3 at medium or above, 36 a day, of them false 12" in text
    assert "found    1 of 1 malicious originators; time to detect p50 1.0 s, p95 1.0 s" in text
    assert re.search(r"flows +4 +1 +0 +3 +80.0% \(37.6% to 96.4%\) +100% \(51.0% to 100%\)", text)
    assert "\x1b" not in text
    assert "\\x1b[31mlate" in text


@pytest.mark.slow
def test_a_sweep_tries_each_value(
    log: Path, rule: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The quiet period joins alerts: 2 for 10.0.0.1 with an hour, 1 with two hours, 3 with 1 min."""
    text = out(capsys, log, "--rules", rule, "--sweep", "suppress=1m,1h,2h")
    assert "Back door: suppress" in text
    found = measured(capsys, log, "--rules", rule, "--sweep", "door.suppress=1m,1h,2h")["sweep"]
    assert (found["rule"], found["parameter"]) == ("Back door", "suppress")
    assert [one["value"] for one in found["values"]] == ["1m", "1h", "2h"]
    assert [one["all"]["alerts"]["true"] for one in found["values"]] == [3, 2, 1]
    assert [one["rule"]["alerts"]["true"] for one in found["values"]] == [3, 2, 1]
    ports = "detection.selection.destination.port.0=80,31337"
    found = measured(capsys, log, "--rules", rule, "--sweep", ports)["sweep"]
    assert [one["all"]["flows"]["true_positives"] for one in found["values"]] == [0, 4]
    assert [one["all"]["flows"]["false_positives"] for one in found["values"]] == [3, 1]


@pytest.mark.slow
def test_a_sweep_can_switch_a_rule_off_and_name_a_bundled_one(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = "backdoor_port.enabled=true,false"
    off = measured(capsys, log, "--sweep", sweep)["sweep"]["values"][1]
    assert off["rule"] is None
    assert off["all"]["flows"]["true_positives"] == 0


def test_curves_stand_alone(
    log: Path, rule: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    rule.write_text(rule.read_text().replace("Back door", "$x_{</svg><script>}$"))
    files = [tmp_path / "a.svg", tmp_path / "a.png", tmp_path / "b.svg"]
    plots = [part for file in files for part in ("--plot", file)]
    page = tmp_path / "report.html"
    out(capsys, log, "--rules", rule, "--sweep", "suppress=1m,1h", *plots, "--html", page)
    svg = files[0].read_text()
    assert svg.startswith("<svg")
    assert svg == files[2].read_text()
    assert files[1].read_bytes().startswith(b"\x89PNG")
    html = page.read_text()
    assert svg in html
    for text in (svg, html):
        assert "<script" not in text
        assert "\x1b" not in text
        outside = set(re.findall(r"""(?:href|src)=["']?([^"'>\s]+)""", text))
        assert all(one.startswith("#") for one in outside)
        assert set(re.findall(r"https?://[^\"'\s<]+", text)) <= {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1999/xlink",
        }
    assert "&lt;b&gt;\\x1b[31mlate" in html
    assert "80.0% (37.6% to 96.4%)" in html


def test_without_the_plotting_library_only_curves_are_refused(
    log: Path,
    rule: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    sweep = (log, "--rules", rule, "--sweep", "suppress=1m,1h")
    assert run(["evaluate", *map(str, sweep), "--plot", str(tmp_path / "a.svg")]) == 2
    said = capsys.readouterr().err
    assert "curves need matplotlib" in said
    assert "pip install 'connwatch[plots]'" in said
    out(capsys, *sweep, "--html", tmp_path / "report.html")
    assert "<svg" not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--plot", "a.svg"], "--plot draws the curve of --sweep"),
        (["--plot", "a.pdf", "--sweep", "suppress=1h"], "is neither .png nor .svg"),
        (["--sweep", "supress=1h"], "supress"),
        (["--sweep", "suppress=soon"], "door.yml with suppress soon: suppress: 'soon' is not a period"),
        (["--sweep", "detection.selection.destination.port=[1"], "a value cannot be read"),
        (["--html", "none/report.html"], "no such folder"),
        (["--rest", "benign"], "--rest goes with --labels"),
        (["--labels", "x.csv", "--label-column", "label"], "exclude one another"),
        (["--label-column", "attack"], "none of 9 events has a label"),
        (["--label-column", "related.ip"], "holds several values"),
    ],
)  # fmt: skip
def test_wrong_use_exits_2(
    log: Path,
    rule: Path,
    arguments: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if "a.svg" in arguments:
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    Path("x.csv").write_text("src,label\n")
    assert run(["evaluate", str(log), "--rules", str(rule), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_rule_that_is_wrong_exits_2_and_an_input_that_is_3(
    log: Path, rule: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (rule.parent / "broken.yml").write_text("title: [")
    text = out(capsys, log, "--rules", rule.parent, code=2)
    assert "4 malicious" in text
    broken = tmp_path / "conn.log.gz"
    broken.write_bytes(b"\x1f\x8b\x08\x00broken")
    text = out(capsys, log, broken, "--rules", rule, code=3)
    assert "4 malicious" in text
    out(capsys, tmp_path / "none.log", code=3)


def test_nothing_is_kept(
    log: Path,
    rule: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.setenv("CONNWATCH_STORE", str(tmp_path / "store"))
    out(capsys, log, "--rules", rule, "--sweep", "suppress=1m,1h")
    assert list(scratch.iterdir()) == []
    assert not (tmp_path / "store").exists()


def test_real_labels(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """IoT-23: what the file says of itself, and one rule counted by hand in it."""
    log = data / "zeek" / "iot23" / "conn.log.labeled"
    found = measured(capsys, log)
    assert found["events"] == {"total": 2000, "malicious": 1629, "benign": 371, "unlabelled": 0}
    irc = next(one for one in found["rules"] if one["title"] == "IRC session")
    text = log.read_text().splitlines()
    wanted = sum("\tirc\t" in line and "Malicious" in line for line in text)
    assert irc["flows"]["true_positives"] == wanted > 0
    assert irc["flows"]["false_positives"] == sum("\tirc\t" in x and "Benign" in x for x in text)
