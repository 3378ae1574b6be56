"""Records that windows see are kept in parts: what is taken from them is what went in."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from connwatch.detectors.windows import records
from connwatch.detectors.windows.records import Records
from connwatch.schema import UTC

#: rows that come, the share of those before that is still seen, and a seed
_STEP = st.tuples(st.integers(0, 9), st.floats(0, 1), st.integers(0, 2**32 - 1))
_NUMBERS = (None, 0, -1, 255, 2**31, 2**63 - 1, -(2**63))
_TEXTS = (
    "event.id", "log.file.path", "zeek.connection.state", "zeek.session_id", "source.ip",
    "destination.ip", "destination.domain",
)  # fmt: skip


def rows(first: int, number: int, seed: int) -> pl.DataFrame:
    """So many records; some have no path, and states repeat. Texts are all of one size or not,
    addresses all of version 4 or not, by seed."""
    chance = np.random.default_rng(seed)
    states = [("SF", "S0", None)[n] for n in chance.integers(0, 3, number)]
    odd = chance.choice(9)  # from 5 on none is
    places = range(first, first + number)
    uids = [None if n % 7 == 1 else f"C{n:017d}"[: 18 - (odd == n % 5)] for n in places]
    addresses = [f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in places]
    others = [
        f"2001:db8::{n:x}" if odd == n % 5 else one
        for n, one in zip(places, addresses, strict=True)
    ]
    times = pl.Series(range(first * 10, (first + number) * 10, 10), dtype=pl.Int64)
    return pl.DataFrame(
        {
            "connwatch.log_time": times.cast(UTC),
            "event.id": [f"{first + n:032x}" for n in range(number)],
            "log.file.path": [None if s is None else f"/{s}" for s in states],
            "zeek.connection.state": states,
            "zeek.session_id": uids,
            "source.ip": addresses,
            "destination.ip": [None if n % 9 == 4 else one for n, one in enumerate(others)],
            "destination.domain": [
                ("", "é.example", "ü.example")[n % (1 + odd % 3)] for n in places
            ],
            "source.port": chance.choice([0, 127, 128, 65_535], number),
            "source.bytes": [_NUMBERS[n] for n in chance.integers(0, len(_NUMBERS), number)],
            "record": np.arange(first, first + number),
        },
        schema_overrides={**dict.fromkeys(_TEXTS, pl.String), "source.bytes": pl.Int64},
    )


@settings(max_examples=examples(200))
@given(st.lists(_STEP, max_size=20))
def test_what_is_seen_stays_as_it_was(plan: list[tuple[int, float, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, few in (("_MANY", 3), ("_MOST", 12), ("_PARTS", 4)):
            patch.setattr(records, name, few)
        kept, everything, first = Records(), rows(0, 0, 0), 0
        seen: set[int] = set()
        for number, share, seed in plan:
            chance = np.random.default_rng(seed)
            still = chance.random(len(kept)) < share
            seen = {int(n) for n in kept.numbers[still]} & seen
            kept = kept.without(still)
            new = rows(first, number, seed)
            everything = pl.concat([everything, new])
            seen |= set(range(first, first + number))
            first += number
            kept = kept.followed_by(new, number)
            assert seen <= set(kept.numbers.tolist())
            assert (np.diff(kept.numbers) > 0).all()
            assert kept.times.tolist() == [10 * n for n in kept.numbers]
            assert len(kept) == len(kept.numbers)
            assert len(kept.parts) <= 4 + len(kept) // 6
        found = kept.taken(np.isin(kept.numbers, list(seen)))
        wanted = everything[sorted(seen)]
        assert pl.concat([everything.clear(), *found]).equals(wanted)


def test_few_of_many_leave_at_once_only_when_that_saves_much() -> None:
    kept = Records().followed_by(rows(0, 80, 1), 80)
    most = np.ones(80, dtype=np.bool_)
    most[:5] = False
    assert len(kept.without(most)) == 80
    most[:40] = False
    assert kept.without(most).numbers.tolist() == list(range(40, 80))
    assert not kept.without(np.zeros(80, dtype=np.bool_)).parts


@pytest.mark.parametrize("ids", ["digits", "other texts"])
def test_a_part_that_is_not_the_last_takes_less_room_and_gives_back_the_same(ids: str) -> None:
    before, after = rows(0, 9_000, 1), rows(9_000, 10, 2)
    if ids == "other texts":
        before = before.with_columns(pl.format("no {}", "event.id").alias("event.id"))
    kept = Records().followed_by(before, before.height).followed_by(after, after.height)
    most = 0.75 if ids == "digits" else 1.0
    assert kept.parts[0].estimated_size() < most * before.estimated_size()
    found = kept.taken(np.ones(len(kept), dtype=np.bool_))
    assert pl.concat(found).equals(pl.concat([before, after]))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_few_that_stay_do_not_hold_the_texts_of_the_others() -> None:
    def held() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    number, text, grown = 1 << 16, 200, []
    kept = Records()
    for step in range(20):
        new = rows(step * number, number, step)
        new = new.with_columns(pl.col("event.id").str.pad_start(text, "0"))
        few = kept.numbers % 100 == 0
        few[-(number // 2) :] = True
        kept = kept.without(few).followed_by(new, number)
        grown.append(held())
    assert len(kept.parts) == len(grown)
    assert grown[-1] - grown[5] < 5 * number * text
