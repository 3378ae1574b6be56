"""Sigma rules against a plain interpreter, and all rules at once against each alone."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sigma import EVENTS, MATCHES, load, write

from connwatch.detectors.cases import frame
from connwatch.detectors.ruleset import load_rules, match

#: rows of a batch of which distinct values are compared
_MANY = 5_000
_FIELDS = {
    "destination.port": [80, 443, None],
    "zeek.connection.service": ["ssl", "HTTP", "dns,ssl", None],
    "zeek.connection.state": ["SF", "REJ", None],
}
_VALUES = st.one_of(
    st.tuples(st.just("destination.port"), st.sampled_from(["", "|gt", "|lte"]), st.sampled_from([80, 100, 443])),
    st.tuples(
        st.sampled_from(["zeek.connection.service", "zeek.connection.state"]),
        st.sampled_from(["", "|contains", "|startswith", "|endswith", "|cased"]),
        st.sampled_from(["ssl", "SSL", "s*l", "?F", "SF", "http", "*", "d"]),
    ),
    st.tuples(st.sampled_from(list(_FIELDS)), st.just(""), st.none()),
)  # fmt: skip
_CONDITIONS = st.recursive(
    st.sampled_from(["a", "b", "c"]),
    lambda inner: st.one_of(
        inner.map(lambda x: f"not ({x})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
            lambda t: f"({t[0]}) {t[1]} ({t[2]})"
        ),
    ),
    max_leaves=5,
)


def plainly(field: str, modifier: str, value: Any, event: dict[str, Any]) -> bool:
    here = event.get(field)
    if value is None:
        return here is None
    if here is None:
        return False
    if modifier == "|gt":
        return bool(here > value)
    if modifier == "|lte":
        return bool(here <= value)
    if isinstance(value, int):
        return bool(here == value)
    pattern = {"|contains": f"*{value}*", "|startswith": f"{value}*", "|endswith": f"*{value}"}.get(
        modifier, value
    )
    if modifier == "|cased":
        return fnmatch.fnmatchcase(here, pattern)
    return fnmatch.fnmatchcase(here.lower(), pattern.lower())


@settings(max_examples=examples(60))
@given(
    st.tuples(_VALUES, _VALUES, _VALUES),
    _CONDITIONS,
    st.lists(
        st.fixed_dictionaries({k: st.sampled_from(v) for k, v in _FIELDS.items()}),
        min_size=1,
        max_size=6,
    ),
)
def test_conditions_mean_what_a_plain_interpreter_says(
    tmp_path_factory: pytest.TempPathFactory,
    atoms: Any,
    condition: str,
    events: list[dict[str, Any]],
) -> None:
    def shown(value: Any) -> str:
        return "null" if value is None else repr(value)

    detection = "".join(
        f"{name}: {{{field}{modifier}: {shown(value)}}}\n"
        for name, (field, modifier, value) in zip("abc", atoms, strict=True)
    )
    rules = load(tmp_path_factory.mktemp("rules"), f"{detection}condition: {condition}")
    assert not rules.errors, rules.errors[0]
    wanted = []
    for row, event in enumerate(events):
        names = {name: plainly(*atom, event) for name, atom in zip("abc", atoms, strict=True)}
        if eval(condition, {"__builtins__": {}}, names):  # noqa: S307  our own words only
            wanted.append(row)
    batch = frame(events)
    assert match(rules, batch)["row"].to_list() == wanted
    times = _MANY // batch.height + 1
    again = [turn * batch.height + row for turn in range(times) for row in wanted]
    assert match(rules, pl.concat([batch] * times))["row"].to_list() == again


def test_rules_that_look_alike_are_told_apart(tmp_path: Path) -> None:
    """One batch, rules whose comparisons have the same words and another meaning."""
    values = {
        "a": "contains: SSL",
        "b": "contains|cased: SSL",
        "c": "startswith: 's*'",
        "d": "startswith: 's\\*'",
    }
    for name, value in values.items():
        modifier, _, text = value.partition(": ")
        write(
            tmp_path,
            f"s: {{zeek.connection.service|{modifier}: {text}}}\ncondition: s",
            title=name,
            name=f"{name}.yml",
        )
    rules = load_rules([tmp_path])
    titles = {rule.key: rule.title for rule in rules.rules}
    found = match(rules, frame([EVENTS["web"]]))
    assert sorted(titles[key] for key in found["rule"]) == ["a", "c"]


@settings(max_examples=examples(30))
@given(st.lists(st.sampled_from(list(EVENTS)), min_size=1, max_size=40))
def test_many_rules_at_once_match_what_each_matches_alone(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("rules")
    for number, (_, detection, _) in enumerate(MATCHES):
        write(folder, detection, title=f"R{number}", name=f"{number}.yml")
    rules = load_rules([folder])
    titles = {rule.key: int(rule.title[1:]) for rule in rules.rules}
    found = {
        (titles[key], row)
        for key, row in match(rules, frame([EVENTS[name] for name in names])).rows()
    }
    wanted = {
        (number, row)
        for number, (_, _, matching) in enumerate(MATCHES)
        for row, name in enumerate(names)
        if name in matching.split()
    }
    assert found == wanted
