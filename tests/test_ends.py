"""The first and last events of an alert that goes on are those of all its events."""

from __future__ import annotations

from typing import Any, Literal

import polars as pl
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from connwatch.alert import KEPT
from connwatch.detectors.ends import of_both
from connwatch.schema import UTC

#: seconds of the events before, and of those that came; whether these continue an alert
_ROW = st.tuples(
    st.lists(st.integers(0, 9), min_size=1, max_size=8),
    st.lists(st.integers(3, 20), min_size=1, max_size=8),
    st.booleans(),
)
_EVENT = pl.List(pl.Struct({"connwatch.log_time": UTC, "event.id": pl.String()}))


def kept(events: list[tuple[int, str]], end: str) -> list[tuple[int, str]]:
    return sorted(events)[:KEPT] if end == "head" else sorted(events)[-KEPT:]


def column(lists: list[list[tuple[int, str]]]) -> pl.Series:
    def event(second: int, text: str) -> dict[str, Any]:
        return {"connwatch.log_time": second * 1_000_000, "event.id": text}

    return pl.Series([[event(*one) for one in some] for some in lists], dtype=_EVENT)


@pytest.mark.parametrize("end", ["head", "tail"])
@settings(max_examples=examples(200))
@given(st.lists(_ROW, min_size=1, max_size=6))
def test_ends_are_those_of_a_plain_sort(
    end: Literal["head", "tail"], plan: list[tuple[list[int], list[int], bool]]
) -> None:
    before, came, wanted = [], [], []
    for old, new, joins in plan:
        first = [(second, f"a{n}") for n, second in enumerate(old)]
        then = [(second, f"{'ab'[n % 2]}{n + 10}") for n, second in enumerate(new)]
        before.append(kept(first, end))
        came.append(kept(then, end))
        wanted.append(kept([*first, *then], end) if joins else came[-1])
    frame = pl.DataFrame(
        {end: column(came), f"open_{end}": column(before), "joins": [row[2] for row in plan]}
    )
    assert of_both(frame, end).to_list() == column(wanted).to_list()
