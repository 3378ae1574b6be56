"""Rules with lists of indicators: what they match, what their alerts say, and what is wrong."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from support import replayed
from test_correlations import LOGSOURCE, alerts, event
from test_windows_property import batch
from test_zeek_tsv import header, row

from connwatch import pipeline
from connwatch.alert import ENRICHMENTS, digest
from connwatch.detectors.ruleset import Rule, RuleSet, load_rules, match
from connwatch.detectors.sigma.explain import explain
from connwatch.detectors.sigma.lint.lint import lint
from connwatch.detectors.sigma.nearest import lacking
from connwatch.pipeline import Options
from connwatch.sinks.embedded import StoreReader

BAD = "203.0.113.7"
DAY = 1_700_000_000


def rule(folder: Path, analytic: str, *, more: str = "", **files: str) -> RuleSet:
    """A rule with this analytic, and lists beside it: name=text."""
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    (folder / "rule.yml").write_text(
        f"title: Listed\n{more}{LOGSOURCE}analytic:\n  {{type: indicators, {analytic}}}\n",
        encoding="utf-8",
    )
    return load_rules([folder])


def seen(time: int, source: str, destination: str, port: int = 443) -> dict[str, Any]:
    return event(time, source, port, **{"destination.ip": destination})


EVENTS = [
    seen(0, "10.0.0.1", BAD),
    seen(1, "10.0.0.1", "192.0.2.1"),
    seen(2, BAD, "10.0.0.2", 22),
    seen(3, "10.0.0.1", BAD, 80),
]


def test_an_alert_says_what_was_listed_where_and_how_often(tmp_path: Path) -> None:
    rules = rule(
        tmp_path,
        "lists: [bad.txt, wide.txt]",
        bad=f"# a feed\n{BAD} # a botnet\n",
        wide="203.0.113.0/24\n192.0.2.77\n",
    )
    out, back = alerts(rules, EVENTS)
    assert out["connwatch"]["group"] == {"source.ip": "10.0.0.1", "destination.ip": BAD}
    assert out["connwatch"]["count"] == 2
    assert out["connwatch"]["values"] == {
        "lists": [
            {"provider": "wide", "indicator": "203.0.113.0/24", "file": str(tmp_path / "wide.txt"), "line": 1, "count": 2},
            {"provider": "bad", "indicator": BAD, "file": str(tmp_path / "bad.txt"), "line": 2, "count": 2},
        ]
    }  # fmt: skip
    assert out["threat"]["enrichments"][1] == {
        "indicator": {"type": "ipv4-addr", "name": BAD, "ip": BAD, "provider": "bad", "description": "a botnet", "confidence": "Not Specified"},
        "matched": {"atomic": BAD, "field": "destination.ip", "type": "indicator_match_rule"},
    }  # fmt: skip
    assert back["threat"]["enrichments"][1]["matched"]["field"] == "source.ip"
    assert out["message"] == f"Listed: 10.0.0.1 to {BAD}"


def test_each_alert_has_what_its_own_records_show(tmp_path: Path) -> None:
    """Every record matches, and groups do not come in the order of records."""
    rules = rule(tmp_path, "lists: bad.txt", bad="203.0.113.1\n203.0.113.2\n")
    series = [seen(n, f"10.0.0.{9 - n % 3}", f"203.0.113.{1 + n % 2}") for n in range(12)]
    found = alerts(rules, series)
    assert len(found) == 6
    for one in found:
        (place,) = one["connwatch"]["values"]["lists"]
        assert place["indicator"] == one["connwatch"]["group"]["destination.ip"]
        assert place["count"] == one["connwatch"]["count"] == 2


def test_a_detection_an_allow_list_and_by(tmp_path: Path) -> None:
    more = "detection: {s: {destination.port: [22, 443]}, condition: s}\n"
    rules = rule(
        tmp_path, "lists: bad.txt, allow: [ours.txt], by: source.ip", more=more,
        bad=f"{BAD}\n192.0.2.1\n", ours="10.0.0.2\n",
    )  # fmt: skip
    (found,) = alerts(rules, EVENTS)
    assert found["connwatch"]["group"] == {"source.ip": "10.0.0.1"}
    assert found["connwatch"]["count"] == 2
    assert [one["indicator"] for one in found["connwatch"]["values"]["lists"]] == ["192.0.2.1", BAD]


def test_validity_is_held_against_the_time_of_the_event(tmp_path: Path) -> None:
    entries = "entries: [{indicator: 203.0.113.7, valid_until: 1970-01-01T00:00:02Z}]"
    (found,) = alerts(rule(tmp_path, entries), EVENTS)
    assert found["connwatch"]["count"] == 1
    (place,) = found["connwatch"]["values"]["lists"]
    assert (place["valid_until"], place["file"]) == (
        "1970-01-01T00:00:02.000000Z",
        str(tmp_path / "rule.yml"),
    )


def test_an_alert_names_the_first_twenty_of_many(tmp_path: Path) -> None:
    entries = "".join(f"{BAD}:{443 + number}\n" for number in range(30))
    rules = rule(tmp_path, "lists: bad.txt", bad=entries)
    (found,) = alerts(rules, [seen(n, "10.0.0.1", BAD, 443 + n) for n in range(30)])
    ports = [one["port"] for one in found["connwatch"]["values"]["lists"]]
    assert ports == list(range(443, 443 + ENRICHMENTS))
    assert len(found["threat"]["enrichments"]) == ENRICHMENTS
    assert found["connwatch"]["count"] == 30


WRONG = [
    ("no list", "by: source.ip", "has lists or entries", None),
    ("a list that is not there", "lists: [none.txt]", "No such file", None),
    ("a list of nothing", "lists: [page.txt]", "none of 2 entries can be used", None),
    ("an unknown key", "list: [bad.txt]", "unknown key 'list'", "lists"),
    ("a list that is no text", "lists: [4]", "lists is a list of texts", None),
    ("an entry that is none", "entries: [com]", "the entry 'com': a name of one label", None),
    ("an entry with a wrong key", "entries: [{indicator: 192.0.2.1, until: 3}]", "unknown key 'until'", "valid_until"),
    ("a match of nothing", "lists: [bad.txt], match: [hosts]", "there is no 'hosts'", "addresses"),
    ("a match of what no record has", "lists: [bad.txt], match: [names]", "no record here has names", None),
    ("columns of no list", "lists: [bad.txt], columns: {ip: Adresse}", "Adresse", None),
    ("a group that is no field", "lists: [bad.txt], by: source.pi", "no record here has the field", "source.ip"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("analytic", "said", "hint"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG]
)
def test_what_is_wrong_is_named_and_the_other_rules_run(
    tmp_path: Path, analytic: str, said: str, hint: str | None
) -> None:
    other = f"title: Other\n{LOGSOURCE}detection: {{s: {{destination.port: 22}}, condition: s}}\n"
    (tmp_path / "other.yml").write_text(other, encoding="utf-8")
    rules = rule(tmp_path, analytic, bad=f"{BAD}\n", page="<html>\n</html>\n")
    (error,) = rules.errors
    assert said in error.message
    assert hint is None or hint in (error.hint or "")
    assert str(error.where).startswith(f"{tmp_path / 'rule.yml'}:")
    assert [one.title for one in rules.running] == ["Other"]


def test_entries_that_cannot_be_used_are_named_once(tmp_path: Path) -> None:
    text = f"{BAD}\ncom\nhttp://x.example/\nnonsense.\nexe\nbad.example\n"
    rules = rule(tmp_path, "lists: [bad.txt]", bad=text)
    (unread, names) = rules.notes
    assert unread.startswith(f"4 entries of lists cannot be used: {tmp_path / 'bad.txt'}:2: a name")
    assert unread.endswith("; …")
    assert "lists names (1), and no record" in names


def test_rules_share_a_list_that_both_name(tmp_path: Path) -> None:
    rule(tmp_path, "lists: [bad.txt]", bad=f"{BAD}\ncom\n")
    text = (tmp_path / "rule.yml").read_text(encoding="utf-8")
    (tmp_path / "two.yml").write_text(text.replace("Listed", "Twice"), encoding="utf-8")
    rules = load_rules([tmp_path])
    one, two = (each.listed for each in rules.every if isinstance(each, Rule))
    assert one
    assert two
    assert one.lists is two.lists
    assert len(rules.notes) == 1


def test_a_changed_list_holds_from_the_next_batch_on(tmp_path: Path) -> None:
    rules = rule(tmp_path, "lists: [bad.txt]", bad="192.0.2.99\n")
    events = batch(EVENTS)
    assert match(rules, events).is_empty()
    assert not rules.reload_lists()
    path = tmp_path / "bad.txt"
    path.write_text(f"{BAD}\n", encoding="utf-8")
    os.utime(path, ns=(1, 1))
    assert rules.reload_lists()
    assert match(rules, events)["row"].to_list() == [0, 2, 3]
    path.write_text("<html>\n", encoding="utf-8")
    assert not rules.reload_lists()
    assert [error.where for error in rules.list_errors] == [str(path)]
    assert match(rules, events).height == 3


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A day of one pair a minute, of which every third destination is on the list."""
    rows = [
        row(
            ts=f"{DAY + 60 * n}.0",
            uid=f"C{n}",
            **{"id.orig_h": f"10.0.0.{n % 4}", "id.resp_h": f"203.0.113.{n % 9}"},
        )
        for n in range(600)
    ]
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / "conn.log"
    path.write_text(header() + "".join(rows), encoding="utf-8")
    return path


FEED = "203.0.113.0\n203.0.113.3\n203.0.113.0/30\n203.0.113.6:80\n"


@pytest.mark.parametrize("batch_size", [40, 250])
def test_alerts_do_not_depend_on_the_size_of_batches(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    rules_folder = tmp_path / "rules"
    rules_folder.mkdir()
    rules = rule(rules_folder, "lists: [bad.txt], by: [source.ip]", bad=FEED)
    whole, expected = replayed([log], tmp_path / "whole", rules)
    assert len(expected) == 4
    monkeypatch.setattr(
        pipeline,
        "_gathered",
        lambda frames: (part for frame in frames for part in frame.iter_slices(batch_size)),
    )
    parts, found = replayed([log], tmp_path / "parts", rules)
    assert parts.digest == whole.digest == digest(expected)
    assert by_id(found) == by_id(expected)
    for store in ("whole", "parts"):
        with StoreReader(tmp_path / store) as reader:
            assert by_id(reader.alerts()) == by_id(expected)


def by_id(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {document["event"]["id"]: document for document in documents}


def test_parts_of_a_log_come_to_the_alerts_of_the_whole(log: Path, tmp_path: Path) -> None:
    rules_folder = tmp_path / "rules"
    rules_folder.mkdir()
    rules = rule(rules_folder, "lists: [bad.txt], by: [source.ip]", bad=FEED)
    _, expected = replayed([log], tmp_path / "whole", rules)
    begin = datetime.fromtimestamp(DAY, UTC)
    for first, last in ((300, 600), (0, 200), (0, 450), (100, 600)):
        span = Options(begin + timedelta(minutes=first), begin + timedelta(minutes=last))
        replayed([log], tmp_path / "parts", rules, span)
    with StoreReader(tmp_path / "parts") as reader:
        stored = reader.alerts()
    assert digest(stored) == digest(expected)
    said = {one["event"]["id"]: (one["connwatch"]["values"], one["threat"]) for one in expected}
    assert {a["event"]["id"]: (a["connwatch"]["values"], a["threat"]) for a in stored} == said


@pytest.mark.source
def test_the_rule_in_the_page_on_indicators_works(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "indicators.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    feeds = tmp_path / "rules" / "feeds"
    feeds.mkdir(parents=True)
    (feeds.parent / "rule.yml").write_text(text, encoding="utf-8")
    (feeds / "bad.txt").write_text("198.51.100.66\n", encoding="utf-8")
    (feeds / "honeypots.txt").write_text("192.168.56.20\n", encoding="utf-8")
    rules = load_rules([feeds.parent])
    assert not rules.errors
    log = ROOT / "sample_logs" / "incident" / "conn.log"
    _, (found,) = replayed([log], tmp_path / "store", rules)
    assert found["message"] == (
        "192.168.56.10 reached 198.51.100.66, 203.0.113.99, listed by bad, rule"
    )


def test_a_correlation_counts_what_lists_let_in(tmp_path: Path) -> None:
    rule(tmp_path, "lists: bad.txt", more="name: listed\n", bad="203.0.113.0/24\n")
    (tmp_path / "many.yml").write_text(
        "title: Many\ncorrelation: {type: value_count, rules: [listed], group-by: [source.ip],"
        " timespan: 1m, condition: {gte: 3, field: destination.ip}}\n",
        encoding="utf-8",
    )
    series = [seen(n, "10.0.0.1", f"203.0.{112 + n % 2}.{n}") for n in range(8)]
    (found,) = alerts(load_rules([tmp_path]), series)
    assert found["connwatch"]["values"]["counted"] == [f"203.0.113.{n}" for n in (1, 3, 5, 7)]


# -- explain and lint -----------------------------------------------------------------------------


def test_lists_count_as_one_comparison_of_what_a_record_lacks(tmp_path: Path) -> None:
    (found,) = rule(tmp_path, "lists: l.txt, allow: a.txt", l=BAD, a="10.0.0.2").rules
    records = batch(EVENTS)
    assert lacking(found, records).to_list() == [0, 1, 1, 0]
    hit, other, let = (
        [(part.text, part.outcome) for part in explain(found, records[place])][1:]
        for place in (0, 1, 2)
    )
    shows, allowed = "shows an indicator of the lists", "is not on the allow-list"
    assert hit == [(shows, True), (allowed, True)]
    assert other == [(shows, False)]
    assert let == [(shows, True), (allowed, False)]


def test_the_lint_does_not_take_a_condition_for_all_that_is_asked(tmp_path: Path) -> None:
    more = (
        "detection: {every: {event.dataset: '*'}, condition: every}\n"
        "message: '{indicator} of {provider}'\n"
    )
    rule(tmp_path, "lists: l.txt", more=more, l=BAD)
    first = (tmp_path / "rule.yml").read_text(encoding="utf-8")
    second = first.replace("title: Listed", "title: Other").replace("l.txt", "a.txt")
    (tmp_path / "a.txt").write_text(BAD, encoding="utf-8")
    (tmp_path / "rule.yml").write_text(f"{first}---\n{second}", encoding="utf-8")
    assert {one.check for one in lint([tmp_path])} == {"undescribed"}
    plain = second[: second.index("analytic")]
    (tmp_path / "rule.yml").write_text(plain, encoding="utf-8")
    assert {"always", "absent"} <= {one.check for one in lint([tmp_path])}
