"""KQL: a tree written as text reads back as the same tree, and means what a plain loop says."""

from __future__ import annotations

import fnmatch
from datetime import UTC, datetime
from typing import Any

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from connwatch.detectors.cases import frame
from connwatch.errors import QueryError
from connwatch.query import compile_query, parse, to_kql
from connwatch.query.tree import And, Compare, Match, Node, Not, Or, Text

NOW = datetime(2026, 11, 21, tzinfo=UTC)

_FIELD = st.sampled_from(
    ["source.port", "zeek.connection.state", "event.action", "a b", "x*", "(odd)", "not"]
)
_VALUE = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6)
    .filter(str.strip)
    .map(lambda t: Text((t,))),
    st.text(min_size=0, max_size=6, alphabet='ab "\\:()').map(lambda t: Text((t,), quoted=True)),
    st.lists(st.text("ab.-", max_size=3), min_size=2, max_size=3).map(
        lambda parts: Text(tuple(parts))
    ),
    st.sampled_from(["and", "or", "not", "OR", "5", "-1.5", "10.0.0.0/8"]).map(
        lambda t: Text((t,))
    ),
)
_ATOM: st.SearchStrategy[Node] = st.one_of(
    st.tuples(_FIELD, _VALUE).map(lambda t: Match(Text((t[0],)), t[1])),
    _VALUE.map(lambda value: Match(None, value)),
    st.tuples(
        _FIELD, st.sampled_from([">", ">=", "<", "<="]), st.sampled_from(["5", "now-1d", "a b"])
    ).map(lambda t: Compare(Text((t[0],)), t[1], Text((t[2],)))),
)


def _flat(kind: Any) -> Any:
    return lambda parts: kind(tuple(parts))


_TREE = st.recursive(
    _ATOM,
    lambda inner: st.one_of(
        inner.filter(lambda n: not isinstance(n, Not)).map(Not),
        st.lists(inner.filter(lambda n: not isinstance(n, And)), min_size=2, max_size=3).map(
            _flat(And)
        ),
        st.lists(inner.filter(lambda n: not isinstance(n, Or)), min_size=2, max_size=3).map(
            _flat(Or)
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=examples(150))
@given(_TREE)
def test_what_is_written_is_read_back(tree: Node) -> None:
    assert parse(to_kql(tree)).root == tree


@settings(max_examples=examples(300))
@given(st.text(alphabet='ab:*<>=()" \\{}and', max_size=14))
def test_any_text_is_read_or_refused_with_its_place(text: str) -> None:
    try:
        query = parse(text)
    except QueryError:
        return
    assert parse(to_kql(query)).root == query.root


_EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "source.port": st.sampled_from([80, 443, None]),
            "zeek.connection.state": st.sampled_from(["SF", "S0", "REJ", None]),
        }
    ),
    min_size=1,
    max_size=6,
)
_QUERIES = st.recursive(
    st.one_of(
        st.tuples(
            st.just("source.port"),
            st.sampled_from([":", ">", "<="]),
            st.sampled_from(["80", "100", "443"]),
        ),
        st.tuples(
            st.just("zeek.connection.state"),
            st.just(":"),
            st.sampled_from(["SF", "S*", "*", "sf", "?F"]),
        ),
    ),
    lambda inner: st.one_of(
        inner.map(lambda x: ("not", x)),
        st.tuples(st.sampled_from(["and", "or"]), inner, inner),
    ),
    max_leaves=5,
)


def written(query: Any) -> str:
    if query[0] == "not":
        return f"not ({written(query[1])})"
    if query[0] in ("and", "or"):
        return f"({written(query[1])}) {query[0]} ({written(query[2])})"
    return f"{query[0]}{query[1]} {query[2]}"


def _plainly(query: Any, event: dict[str, Any]) -> bool:
    if query[0] == "not":
        return not _plainly(query[1], event)
    if query[0] == "and":
        return _plainly(query[1], event) and _plainly(query[2], event)
    if query[0] == "or":
        return _plainly(query[1], event) or _plainly(query[2], event)
    name, sign, value = query
    here = event[name]
    if here is None:
        return False
    if name == "source.port":
        number = int(value)
        return bool({":": here == number, ">": here > number, "<=": here <= number}[sign])
    # ? is no wildcard in KQL
    return fnmatch.fnmatchcase(here, value.replace("?", "[?]"))


@settings(max_examples=examples(150))
@given(_QUERIES, _EVENTS)
def test_a_query_means_what_a_plain_loop_says(query: Any, events: list[dict[str, Any]]) -> None:
    compiled = compile_query(parse(written(query)), now=NOW)
    found = frame(events).select(compiled.alias("found"))["found"].to_list()
    if len(found) != len(events):  # a condition without a column
        found = found * len(events)
    assert found == [_plainly(query, event) for event in events]


@pytest.mark.parametrize("text", ["source.ip: (", "and", "source.port >", 'a: "x', "x: )"])
def test_a_mistake_points_at_its_character(text: str) -> None:
    with pytest.raises(QueryError) as raised:
        parse(text)
    assert "^" in str(raised.value) or "character" in str(raised.value)
