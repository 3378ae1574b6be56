"""Log time: the running maximum of event.end, which a wrong clock does not drive."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connwatch.ingest import log_time
from connwatch.ingest.log_time import LIMIT, LOG_TIME, LogTime
from connwatch.schema import STORED, conform

HOUR = 3_600
_BEGIN = datetime(2026, 11, 20, tzinfo=UTC)


def events(ends: list[int]) -> pl.DataFrame:
    """Records without duration that end so many seconds after the begin."""
    times = [_BEGIN + timedelta(seconds=end) for end in ends]
    return conform(pl.DataFrame({"@timestamp": times}, schema={"@timestamp": STORED["@timestamp"]}))


def seconds(frame: pl.DataFrame) -> list[int]:
    return [int((time - _BEGIN).total_seconds()) for time in frame[LOG_TIME]]


def expected(ends: list[int], ahead: int) -> tuple[list[int], int]:
    """The rule of the module, record by record."""
    now, made, future = ends[0], [], 0
    limit = LIMIT // 1_000_000
    for place, end in enumerate(ends):
        if end > now + limit:
            following = ends[place + 1 : place + 1 + ahead]
            back = next((n for n, one in enumerate(following) if one <= now + limit), None)
            if back is not None:
                future += 1
                made.append(now)
                continue
        now = max(now, end)
        made.append(now)
    return made, future


@pytest.mark.parametrize(
    ("ends", "times", "future", "past"),
    [
        ([0, 5, 3, 7], [0, 5, 5, 7], 0, 0),
        # a quiet night is no wrong clock
        ([0, 9 * HOUR, 9 * HOUR + 1], [0, 9 * HOUR, 9 * HOUR + 1], 0, 0),
        # one record from the future, then several
        ([0, 5 * HOUR, 1], [0, 0, 1], 1, 0),
        ([0, 1, 5 * HOUR, 6 * HOUR, 2, 3], [0, 1, 1, 1, 2, 3], 2, 0),
        # exactly the limit is not in doubt
        ([0, HOUR, 1], [0, HOUR, HOUR], 0, 0),
        # the last record has nothing behind it
        ([0, 5 * HOUR], [0, 5 * HOUR], 0, 0),
        # an hour behind is Zeek's own delay, more is the past: one record, and parts in the wrong order
        ([HOUR, 0, HOUR], [HOUR, HOUR, HOUR], 0, 0),
        ([HOUR + 1, 0, HOUR + 2], [HOUR + 1, HOUR + 1, HOUR + 2], 0, 1),
        ([9 * HOUR, 9 * HOUR + 1, 0, 1, 2], [9 * HOUR, *[9 * HOUR + 1] * 4], 0, 3),
    ],
)
def test_log_time(ends: list[int], times: list[int], future: int, past: int) -> None:
    one = LogTime()
    frame = pl.concat([one.feed(events(ends)), one.flush()])
    assert seconds(frame) == times
    assert (one.future, one.past) == (future, past)
    assert frame.height == len(ends)


def test_what_is_in_doubt_is_held_back() -> None:
    one = LogTime()
    assert seconds(one.feed(events([0, 5 * HOUR]))) == [0]
    assert one.doubted.height == 1
    assert seconds(one.feed(events([1]))) == [0, 1]
    assert one.doubted.height == 0


_ENDS = st.lists(
    st.one_of(
        st.integers(0, 100),
        st.integers(0, 20).map(lambda n: n * HOUR // 2),
        st.integers(0, 20).map(lambda n: n * HOUR // 2 + 1),
    ),
    min_size=1,
    max_size=40,
)


@given(_ENDS, st.lists(st.integers(0, 40), max_size=5), st.integers(1, 6))
def test_log_time_does_not_depend_on_how_records_arrive(
    ends: list[int], cuts: list[int], ahead: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_time, "AHEAD", ahead)
        one = LogTime()
        bounds = [0, *sorted(min(cut, len(ends)) for cut in cuts), len(ends)]
        parts = [one.feed(events(ends[low:high])) for low, high in pairwise(bounds)]
        made = pl.concat([part for part in [*parts, one.flush()] if part.height])
    times, future = expected(ends, ahead)
    assert (seconds(made), one.future) == (times, future)
    assert one.past == sum(now - end > HOUR for now, end in zip(times, ends, strict=True))
    assert seconds(made.select(pl.col("@timestamp").alias(LOG_TIME))) == ends
