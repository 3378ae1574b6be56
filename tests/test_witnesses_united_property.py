"""What rules over all witnesses of connections hit is what a plain model of it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from test_witnesses import frame, record
from test_witnesses_united import DUMP, SOCKET, TABLE, ZEEK, hits, loaded, rule

Record = dict[str, Any]

#: who tells of a connection, and what they may say
WHO: Final = {
    "zeek": {"event.dataset": ZEEK},
    "second": {"event.dataset": ZEEK, "observer.name": "second"},
    "dump": {"event.dataset": DUMP},
    "client": {"event.dataset": SOCKET, **TABLE},
    "server": {"event.dataset": SOCKET, **TABLE, "socket.role": "server"},
}
VALUES: Final[dict[str, tuple[object, ...]]] = {
    "zeek.connection.service": ("http", None, "ssl"),
    "source.packets": (1, 9),
    "process.name": ("curl", None),
    "socket.state": ("established", "time_wait"),
    "destination.port": (443, 80),
}
ALL: Final = frozenset({ZEEK, DUMP, SOCKET})
TELLERS: Final = {
    "zeek.connection.service": frozenset({ZEEK}),
    "source.packets": frozenset({ZEEK, DUMP}),
    "process.name": frozenset({SOCKET}),
    "socket.state": frozenset({SOCKET}),
    "destination.port": ALL,
}


@dataclass(frozen=True)
class Comparison:
    """A field and a value; None: that it has none."""

    field: str
    value: object

    def holds(self, one: Record) -> bool:
        return bool(one.get(self.field) == self.value)


@dataclass(frozen=True)
class Some:
    """and, or, not."""

    kind: str
    parts: tuple[Condition, ...]

    def holds(self, one: Record) -> bool:
        if self.kind == "not":
            return not self.parts[0].holds(one)
        return (all if self.kind == "and" else any)(part.holds(one) for part in self.parts)


Condition = Comparison | Some


def comparisons(condition: Condition) -> Iterator[Comparison]:
    if isinstance(condition, Comparison):
        yield condition
    else:
        for part in condition.parts:
            yield from comparisons(part)


def who(condition: Condition) -> frozenset[str] | None:
    """Who can make all of a condition's tests, if these are the same for each of them."""
    every = {TELLERS[one.field] for one in comparisons(condition)}
    return every.pop() if len(every) == 1 else None


def flat(condition: Condition, *, wanted: bool) -> tuple[str, list[tuple[Condition, bool]]]:
    """The last `and` or `or` of a condition, and what it joins: each part, and whether it is to hold."""
    if isinstance(condition, Comparison) or who(condition) is not None:
        return "", [(condition, wanted)]
    if condition.kind == "not":
        return flat(condition.parts[0], wanted=not wanted)
    own = condition.kind if wanted else {"and": "or", "or": "and"}[condition.kind]
    joined = []
    for part in condition.parts:
        kind, parts = flat(part, wanted=wanted)
        below = [(part, wanted)] if kind not in ("", own) else parts
        joined += below
    return own, joined


def met(condition: Condition, records: Sequence[Record], *, wanted: bool = True) -> bool:
    """Whether a condition holds of records of one connection, or does not."""
    kind, parts = flat(condition, wanted=wanted)
    alone: dict[frozenset[str], list[tuple[Condition, bool]]] = {}
    outcomes = []
    for part, asked in parts:
        told = who(part)
        if told is None:
            outcomes.append(met(part, records, wanted=asked))
        else:
            alone.setdefault(told, []).append((part, asked))
    every = any if kind == "or" else all
    for told, claims in alone.items():
        able = [one for one in records if one["event.dataset"] in told]
        outcomes.append(
            any(every(part.holds(one) is asked for part, asked in claims) for one in able)
        )
    return every(outcomes)


def ways(condition: Condition, *, wanted: bool = True) -> set[frozenset[str]]:
    """Of every way in which a condition can be met, who can make all tests."""
    if isinstance(condition, Comparison):
        return {TELLERS[condition.field]}
    if condition.kind == "not":
        return ways(condition.parts[0], wanted=not wanted)
    parts = [ways(part, wanted=wanted) for part in condition.parts]
    if (condition.kind == "or") is wanted:
        return set().union(*parts)
    return reduce(lambda one, other: {a & b for a in one for b in other}, parts)


def first(condition: Condition, records: Sequence[Record]) -> int | None:
    """Which record of a connection is the hit."""
    mixed = frozenset() in ways(condition)
    for place, one in enumerate(records):
        if condition.holds(one) or (mixed and met(condition, records[: place + 1])):
            return place
    return None


def written(condition: Condition) -> str:
    """As a rule has it."""
    named = {one: f"s{number}" for number, one in enumerate(dict.fromkeys(comparisons(condition)))}

    def said(one: Condition) -> str:
        if isinstance(one, Comparison):
            return named[one]
        if one.kind == "not":
            return f"not ({said(one.parts[0])})"
        return "(" + f" {one.kind} ".join(map(said, one.parts)) + ")"

    parts = [
        f"{name}: {{{one.field}: {'null' if one.value is None else one.value}}}"
        for one, name in named.items()
    ]
    return f"{{{', '.join(parts)}, condition: {said(condition)}}}"


def joined(parts: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    return st.builds(
        lambda kind, some: Some(kind, tuple(some)),
        st.sampled_from(["and", "or", "or"]),
        st.lists(parts, min_size=2, max_size=2),
    )


def denied(parts: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    return st.builds(lambda one: Some("not", (one,)), parts)


def compared(*fields: str) -> st.SearchStrategy[Condition]:
    return st.one_of(
        st.builds(Comparison, st.just(one), st.sampled_from(VALUES[one][:2])) for one in fields
    )


def single(*fields: str) -> st.SearchStrategy[Condition]:
    """One comparison, or that it does not hold, or two of them."""
    tests = compared(*fields)
    return st.one_of(tests, denied(tests), joined(tests))


def conditions() -> st.SearchStrategy[Condition]:
    """Most of them ask for what no record has alone."""
    zeek, packets = single("zeek.connection.service"), single("source.packets", "destination.port")
    tables = single("process.name", "socket.state")
    plain = st.tuples(compared("zeek.connection.service"), compared("process.name", "socket.state"))
    both = plain | st.tuples(packets, tables) | st.tuples(zeek, tables, packets)
    mixed = both.map(lambda parts: Some("and", parts))
    every = single(*VALUES)
    more = st.builds(
        lambda one, kind, other: Some(kind, (one, other)),
        mixed,
        st.sampled_from(["and", "or"]),
        every,
    )
    turned = denied(st.tuples(zeek, tables, packets).map(lambda parts: Some("or", parts)))
    free = st.recursive(every, lambda parts: denied(parts) | joined(parts), max_leaves=5)
    return st.one_of(mixed, mixed, more, turned, free)


@st.composite
def connections(draw: st.DrawFn) -> list[list[Record]]:
    """Records of connections, each of these in the order of its log; two of a port, hours apart."""
    made = []
    for number in range(draw(st.integers(4, 9))):
        begin, port = 7_200 * (number // 3), 1_000 + number % 3
        order = draw(st.lists(st.sampled_from(list(WHO)), min_size=2, unique=True))
        own = []
        for place, name in enumerate(order):
            own_fields = {
                field: draw(st.sampled_from(VALUES[field]))
                for field, tellers in TELLERS.items()
                if WHO[name]["event.dataset"] in tellers and field != "destination.port"
            }
            one = record(
                WHO[name]["event.dataset"], begin, begin + 3, port=port,
                written=begin + 3 + draw(st.sampled_from([0, 0, 1])) * place,
            )  # fmt: skip
            own.append(one | WHO[name] | own_fields | {"event.id": f"{number}/{place}"})
        made.append(sorted(own, key=lambda one: one["connwatch.log_time"]))
    return made


@settings(max_examples=examples(150), deadline=None)
@given(condition=conditions(), made=connections(), data=st.data())
def test_each_connection_is_hit_as_the_model_says(
    condition: Condition, made: list[list[Record]], data: st.DataObject
) -> None:
    events = frame([one for records in made for one in records])
    expected = []
    for records in made:
        place = first(condition, records)
        if place is not None:
            expected.append(records[place]["event.id"])
    with TemporaryDirectory() as folder:
        rules = loaded(rule(written(condition)), Path(folder))
        assert sorted(hits(rules, events)) == sorted(expected)
        cut = data.draw(st.lists(st.booleans(), min_size=events.height, max_size=events.height))
        cuts = [row for row in range(1, events.height) if cut[row]]
        state = Path(folder) / "state"
        assert sorted(hits(rules, events, cuts, state)) == sorted(expected)


@settings(max_examples=examples(100), deadline=None)
@given(condition=conditions(), made=connections(), data=st.data())
def test_the_order_of_witnesses_does_not_tell_whether_a_connection_is_hit(
    condition: Condition, made: list[list[Record]], data: st.DataObject
) -> None:
    def hit(connections: Sequence[Sequence[Record]]) -> list[str]:
        events = frame([one for records in connections for one in records])
        with TemporaryDirectory() as folder:
            rules = loaded(rule(written(condition)), Path(folder))
            return sorted(one.partition("/")[0] for one in hits(rules, events))

    turned = []
    for records in made:
        times = [one["connwatch.log_time"] for one in records]
        others = data.draw(st.permutations(records))
        turned.append(
            [one | {"connwatch.log_time": time} for one, time in zip(others, times, strict=True)]
        )
    assert hit(turned) == hit(made)
