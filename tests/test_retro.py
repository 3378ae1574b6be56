"""Stored events matched against lists that changed after they were stored."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support import replayed
from test_correlations import LOGSOURCE
from test_listed import by_id
from test_zeek_tsv import header, row

from connwatch.alert import digest
from connwatch.cli import run
from connwatch.detectors.ruleset import RuleSet, load_rules
from connwatch.errors import InputError, StoreError, UsageError
from connwatch.retro import concerned, rematch, with_lists
from connwatch.sinks.embedded import StoreReader

DAY = 1_700_000_000


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Two sensors' logs whose records end at the same times, some long before others of theirs."""
    for name, shift in (("east", 0), ("west", 1)):
        rows = [
            row(
                ts=f"{DAY + 40 * (n // 3)}.0",
                uid=f"{name}{n}",
                duration=str(90 - 30 * (n % 4)),
                **{"id.orig_h": f"10.0.{shift}.{n % 2}", "id.resp_h": f"203.0.113.{n % 5}"},
            )
            for n in range(300)
        ]
        (tmp_path / "logs" / name).mkdir(parents=True)
        path = tmp_path / "logs" / name / "conn.log"
        path.write_text(header() + "".join(rows), encoding="utf-8")
    return tmp_path / "logs"


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "rule.yml").write_text(
        f"title: Listed\nsuppress: 2m\n{LOGSOURCE}analytic:\n"
        "  {type: indicators, lists: [bad.txt], by: [destination.ip]}\n",
        encoding="utf-8",
    )
    path = tmp_path / "rules" / "bad.txt"
    path.write_text("203.0.113.1\n", encoding="utf-8")
    return path


def loaded(feed: Path) -> RuleSet:
    return load_rules([feed.parent])


def stored(store: Path) -> list[dict[str, Any]]:
    with StoreReader(store) as reader:
        return reader.alerts()


@pytest.mark.parametrize("update", ["203.0.113.1\n203.0.113.3\n", "203.0.113.3\n203.0.113.0/30\n203.0.113.1\n"])  # fmt: skip
def test_a_list_that_grew_gives_what_a_replay_with_it_gives(
    logs: Path, feed: Path, tmp_path: Path, update: str
) -> None:
    replayed([logs], tmp_path / "store", loaded(feed))
    before = stored(tmp_path / "store")
    feed.write_text(update, encoding="utf-8")
    found = rematch(concerned(loaded(feed), [feed]), tmp_path / "store")
    _, expected = replayed([logs], tmp_path / "new", loaded(feed))
    after = stored(tmp_path / "store")
    assert found.events == 600
    assert 0 < found.fresh < found.hits
    assert digest(after) == digest(expected) == digest(found.alerts)
    assert len(after) > len(before)
    told = {key: one["threat"]["enrichments"] for key, one in by_id(expected).items()}
    assert {key: one["threat"]["enrichments"] for key, one in by_id(after).items()} == told

    again = rematch(concerned(loaded(feed), [feed]), tmp_path / "store")
    assert (again.hits, again.fresh) == (found.hits, 0)
    assert stored(tmp_path / "store") == after


def test_a_stored_alert_learns_who_else_lists_its_address(
    logs: Path, feed: Path, tmp_path: Path
) -> None:
    replayed([logs], tmp_path / "store", loaded(feed))
    text = (feed.parent / "rule.yml").read_text(encoding="utf-8")
    (feed.parent / "rule.yml").write_text(text.replace("[bad.txt]", "[bad.txt, other.txt]"))
    (feed.parent / "other.txt").write_text("203.0.113.0/29\n", encoding="utf-8")
    rematch(concerned(loaded(feed), []), tmp_path / "store", datetime.fromtimestamp(DAY, UTC))
    providers = {
        tuple(one["indicator"]["provider"] for one in alert["threat"]["enrichments"])
        for alert in stored(tmp_path / "store")
    }
    assert providers == {("other",), ("other", "bad")}
    _, expected = replayed([logs], tmp_path / "new", loaded(feed))
    assert digest(stored(tmp_path / "store")) == digest(expected)


def test_a_span_limits_what_is_looked_at(logs: Path, feed: Path, tmp_path: Path) -> None:
    replayed([logs], tmp_path / "store", load_rules([]))
    start, end = (datetime.fromtimestamp(DAY + at, UTC) for at in (400, 800))
    found = rematch(concerned(loaded(feed), [feed]), tmp_path / "store", start, end)
    assert (found.events, found.fresh) == (60, 12)


def test_a_list_that_no_rule_has_is_for_the_bundled_rule(
    logs: Path, feed: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("ip,description\n203.0.113.2,seen\n", encoding="utf-8")
    both = concerned(loaded(feed), [feed, other])
    assert [rule.title for rule in both.running] != ["Listed"]
    only = concerned(loaded(feed), [other])
    assert [rule.title for rule in only.running] == ["Address on a list of indicators"]
    replayed([logs], tmp_path / "store", loaded(feed))
    rematch(only, tmp_path / "store")
    replayed([logs], tmp_path / "new", with_lists(loaded(feed), [other]))
    assert digest(stored(tmp_path / "store")) == digest(stored(tmp_path / "new"))


def test_what_cannot_be_done_is_said(feed: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no rule here has lists"):
        concerned(load_rules([]), [])
    with pytest.raises(InputError, match="No such file"):
        concerned(load_rules([]), [tmp_path / "none"])
    with pytest.raises(StoreError):
        rematch(concerned(loaded(feed), []), tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def out(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    capsys.readouterr()
    assert run([str(one) for one in arguments]) == code, capsys.readouterr()
    return capsys.readouterr().out


def test_the_commands(
    logs: Path, feed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, rules = ("--store", tmp_path / "store"), ("--rules", feed.parent)
    out(capsys, "replay", logs, *store, *rules)
    feed.write_text("203.0.113.1\n203.0.113.3\n", encoding="utf-8")
    text = out(capsys, "indicators", "match", feed, *store, *rules)
    assert "600 looked at, 240 match, 120 of them did not before" in text
    lines = out(capsys, "indicators", "match", feed, *store, *rules, "--json").splitlines()
    assert digest(map(json.loads, lines)) == digest(stored(tmp_path / "store"))
    assert "no rule here has lists" not in out(
        capsys, "indicators", "match", *store, "--rules", feed.parent / "rule.yml"
    )
    out(capsys, "indicators", "match", *store, code=2)


def test_replay_takes_a_list_and_an_allow_list(
    logs: Path, feed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = tmp_path / "summary.json"
    allowed = tmp_path / "ours.txt"
    allowed.write_text("10.0.0.0/24\ncom\n", encoding="utf-8")
    text = out(
        capsys, "replay", logs, "--store", tmp_path / "store", "--rules", feed.parent,
        "--indicators", feed, "--allow", allowed, "--summary", summary,
    )  # fmt: skip
    counts = json.loads(summary.read_text(encoding="utf-8"))
    assert "300 on the allow-list, which no rule matches" in text
    assert (counts["events"], counts["allowed"]) == (600, 300)
    assert any("1 entries of lists cannot be used" in note for note in counts["notes"])
    found = stored(tmp_path / "store")
    assert {one["rule"]["name"] for one in found} == {"Listed", "Address on a list of indicators"}
    sources = {e["source.ip"] for one in found for e in one["connwatch"]["evidence"]}
    assert sources == {"10.0.1.0", "10.0.1.1"}


def test_check_says_what_is_in_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(
        "indicator,valid_from,valid_until\n203.0.113.7,2026-01-01,2026-02-01\n203.0.113.7,2026-01-01,2026-02-01\n"
        "192.0.2.0/24,2026-01-15,2026-03-01\ncom,,\n\x1b[31mred,,\n",
        encoding="utf-8",
    )
    text = out(capsys, "indicators", "check", path)
    assert "3: 2 address, 1 network" in text
    assert "1 say what another one says" in text
    assert "3 not always; 2026-01-01T00:00:00.000000Z to 2026-03-01T00:00:00.000000Z" in text
    assert f"{path}:5: a name of one label" in text
    assert "\x1b" not in text
    found = json.loads(out(capsys, "indicators", "check", path, "--json"))
    assert (found["entries"], found["duplicates"], found["rejected"]) == (3, 1, 2)
    assert found["rejects"][0]["line"] == 5
    out(capsys, "indicators", "check", path, tmp_path / "none", code=3)
