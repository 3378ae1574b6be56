"""Records in the journal come back as they were, those that an older program wrote, too."""

from __future__ import annotations

from io import BytesIO

import polars as pl
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from connwatch.live.journal import packed, unpacked
from connwatch.schema import STORED

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "event.id": st.text(max_size=40),
            "source.port": st.none() | st.integers(-(2**63), 2**63 - 1),
            "zeek.connection.tunnel_parents": st.none() | st.lists(st.text(max_size=5), max_size=3),
            "_late": st.booleans(),
        }
    ),
    max_size=30,
)


def frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    names = ("event.id", "source.port", "zeek.connection.tunnel_parents")
    known = {**{name: STORED[name] for name in names}, "_late": pl.Boolean()}
    others = {name: dtype for name, dtype in STORED.items() if name not in known}
    nothing = [pl.lit(None, dtype).alias(name) for name, dtype in others.items()]
    return pl.DataFrame(rows, schema=known).with_columns(nothing)


@settings(max_examples=examples(60), deadline=None)
@given(ROWS)
def test_records_come_back_as_they_were(rows: list[dict[str, object]]) -> None:
    events = frame(rows)
    back = unpacked(packed(events))
    assert back.schema == events.schema
    assert back.equals(events)


def test_a_journal_of_an_older_program_is_read() -> None:
    events = frame([{"event.id": "a", "_late": True}, {"event.id": "b", "source.port": 1}])
    data = BytesIO()
    events.write_ipc(data, compression="lz4")
    assert unpacked(data.getvalue()).equals(events)
