"""Sigma rules that are wrong: each is named with its line, and none keeps the others from running."""

from __future__ import annotations

from pathlib import Path

import pytest

from connwatch.detectors.ruleset import load_rules

GOOD = (
    "title: Good\nlogsource: {category: firewall}\ndetection: {s: {dst_port: 443}, condition: s}\n"
)
SOURCE = "logsource: {category: firewall}\n"
FILTER = "title: F\nlogsource: {category: firewall}\nfilter:\n  rules: any\n  f: {dst_port: 443}\n"


def rule(detection: str, head: str = "title: Bad\n") -> str:
    return f"{head}{SOURCE}detection:\n{detection}"


FAULTS: list[tuple[str, str, int, str, str | None]] = [
    ("a modifier whose name is a word of the title", rule("  s:\n    dst_port|contain: 1\n  condition: s\n", "title: Ports that contain dots\n"), 5, "Unknown modifier", "did you mean 'contains'?"),
    ("a key that stands twice", rule("  s: {dst_port: 1}\n  s: {dst_port: 2}\n  condition: s\n"), 5, "the key 's' stands in line 4 already", "|all"),
    ("a day that does not exist", rule("  s: {dst_port: 1}\n  condition: s\n", "title: Bad\ndate: 2024-13-45\n"), 2, "month", None),
    ("a tag YAML cannot make", rule("  s:\n    dst_port: !!int abc\n  condition: s\n"), 5, "invalid literal", None),
    ("an id that is a number", rule("  s: {dst_port: 1}\n  condition: s\n", "title: Bad\nid: 5\n"), 2, "id must be text", None),
    ("an author that is a list", rule("  s: {dst_port: 1}\n  condition: s\n", "title: Bad\nauthor: [x]\n"), 2, "author must be a string", None),
    ("a field name that is a number", rule("  s:\n    5: 1\n  condition: s\n"), 5, "the name 5 must be text", None),
    ("a condition that is a number", rule("  s: {dst_port: 1}\n  condition: 5\n"), 5, "a condition must be text", None),
    ("a regular expression that is a number", rule("  s:\n    dst_port|re: 5\n  condition: s\n"), 5, "a regular expression must be text", None),
    ("a detection that holds itself", rule("  s: &a [*a]\n  condition: s\n"), 3, "ecursive", None),
    ("a condition nested beyond all measure", rule("  s: {dst_port: 1}\n  condition: " + "not " * 900 + "s\n"), 5, "nested too deeply", None),
    ("an hour of a port", rule("  s:\n    dst_ip: 10.0.0.1\n    dst_port|hour: 4\n  condition: s\n"), 6, "field 'dst_port': destination.port is no time", "@timestamp"),
    ("look-around", rule("  s:\n    history|re:\n      - a\n      - '(?=a)b'\n  condition: s\n"), 7, "invalid perl operator", "linear time"),
    ("a message about a field that is misspelt", rule("  s: {dst_port: 1}\n  condition: s\n", "title: Bad\nmessage: 'to {source.ipp}'\n"), 2, "'source.ipp' is no field", "did you mean 'source.ip'?"),
    ("a quiet period of ages", rule("  s: {dst_port: 1}\n  condition: s\n", "title: Bad\nsuppress: 999999999999999d\n"), 2, "too long", None),
    ("placeholders that are a list", "placeholders: [a]\n", 1, "placeholders is a mapping", None),
    ("a filter without its detection", f"{FILTER}  condition: not g\n", 6, "Detection 'g' not defined", None),
    ("a filter that cannot be read", f"{FILTER}  condition: not (\n", 6, "the condition cannot be read", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "reason", "hint"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS]
)
def test_a_fault_is_named_with_its_line_and_the_others_run(
    tmp_path: Path, text: str, line: int, reason: str, hint: str | None
) -> None:
    (tmp_path / "good.yml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "bad.yml").write_text(text, encoding="utf-8")
    rules = load_rules([tmp_path])
    assert [one.title for one in rules.rules] == ["Good"]
    (error,) = rules.errors
    assert error.where == f"{tmp_path / 'bad.yml'}:{line}"
    assert reason in error.message
    assert hint is None or hint in (error.hint or "")


def test_a_wrong_document_leaves_the_rest_of_its_file(tmp_path: Path) -> None:
    bad = rule("  s: {dst_port: 1}\n  s: {dst_port: 2}\n  condition: s\n")
    (tmp_path / "both.yml").write_text(f"{bad}---\n{GOOD}---\n", encoding="utf-8")
    rules = load_rules([tmp_path])
    assert [one.title for one in rules.rules] == ["Good"]
    assert len(rules.errors) == 1


def test_a_reference_to_a_field_nobody_emits_is_listed_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rule.yml"
    path.write_text(rule("  s:\n    src_ip|fieldref: dst_ipp\n  condition: s\n"), encoding="utf-8")
    rules = load_rules([path])
    assert not rules.errors
    assert [(one.reason, one.where) for one in rules.unfed] == [
        ("no record here has the field 'dst_ipp' (did you mean dst_ip?)", f"{path}:5")
    ]


def test_a_file_given_twice_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "good.yml").write_text(GOOD, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    rules = load_rules([tmp_path, Path("sub"), Path("sub/good.yml")])
    assert (len(rules.rules), rules.errors) == (1, ())


def test_weeks_are_a_period(tmp_path: Path) -> None:
    path = tmp_path / "rule.yml"
    path.write_text(GOOD + "suppress: 2w\n", encoding="utf-8")
    assert load_rules([path]).rules[0].suppress == 14 * 86_400_000_000
