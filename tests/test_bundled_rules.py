"""The bundled rules: their cases, their metadata, and how quiet they are on ordinary traffic."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from support import replayed

from connwatch.detectors.cases import Case, cases_path, load_cases, run
from connwatch.detectors.catalogue import markdown
from connwatch.detectors.ruleset import Rule, load_rules
from connwatch.pipeline import bundled_rules

RULES = load_rules([bundled_rules()])
EVERY = [*RULES.rules, *RULES.disabled]
CASES = [(rule, case) for rule in EVERY for case in load_cases(cases_path(rule))]


def stem(rule: Rule) -> str:
    return Path(rule.where.rsplit(":", 1)[0]).stem


def test_all_of_them_can_be_used() -> None:
    assert not RULES.errors
    assert not RULES.unfed
    assert len(EVERY) >= 25


@pytest.mark.parametrize(
    ("rule", "case"),
    CASES,
    ids=[f"{stem(r)}-{'hit' if c.hit else 'miss'}-{c.name}" for r, c in CASES],
)
def test_case(rule: Rule, case: Case) -> None:
    assert run(rule, [case]) == [case.hit]


@pytest.mark.parametrize("rule", EVERY, ids=stem)
def test_a_rule_says_all_that_an_analyst_needs(rule: Rule) -> None:
    cases = load_cases(cases_path(rule))
    assert sum(case.hit for case in cases) >= 1
    assert sum(not case.hit for case in cases) >= 2
    assert rule.id
    assert rule.message
    assert rule.falsepositives
    assert rule.references
    assert len(rule.description or "") > 100
    assert any(tag.startswith("attack.t") for tag in rule.tags)


def test_the_page_of_rules_is_current() -> None:
    page = bundled_rules() / "README.md"
    assert page.read_text(encoding="utf-8") == markdown(EVERY), "run connwatch rules table"


#: alerts that a rule may give on the benign logs; what is above has its reason beside it
ALLOWED = {"Session from the internet to an administration port": 6}


def test_they_are_quiet_on_ordinary_traffic(data: Path, tmp_path: Path) -> None:
    """A proxy's day, a hosting provider's hours, an office: few alerts, no high one."""
    benign = [data / "zeek" / "zat" / "conn.log", data / "zeek" / "rita" / "proxy"]
    _, alerts = replayed(benign, tmp_path / "store", RULES)
    assert not [a for a in alerts if a["connwatch"]["level"] in ("high", "critical")]
    for title, number in Counter(alert["rule"]["name"] for alert in alerts).items():
        assert number <= ALLOWED.get(title, 3), title
