"""The books of a run."""

from __future__ import annotations

import polars as pl
import pytest

from connwatch import schema
from connwatch.contracts import REJECT_SCHEMA, Parsed
from connwatch.errors import ConnwatchError
from connwatch.ledger import Ledger


def parsed(events: int, rejects: int, comments: int, lines: int) -> Parsed:
    return Parsed(
        events=schema.empty().clear(events),
        rejects=pl.DataFrame(schema=REJECT_SCHEMA).clear(rejects),
        lines=lines,
        record_lines=events,
        comments=comments,
    )


def test_files_and_formats_add_up() -> None:
    ledger = Ledger()
    ledger.open("a", "zeek-tsv")
    ledger.open("b", "zeek-json")
    ledger.parsed("a", parsed(3, 1, 8, 12))
    ledger.parsed("b", parsed(2, 0, 0, 2))
    ledger.count("events", pl.Series(["a", "a", "b", "b"]))
    ledger.count("duplicates", pl.Series(["a"]))
    ledger.count("stored", pl.Series(["a", "a", "b"]))
    ledger.count("already_stored", pl.Series(["b"]))
    ledger.balance()
    summary = ledger.summary()
    assert (summary["files"], summary["lines"], summary["events"]) == (2, 14, 4)
    assert summary["by_format"]["zeek-json"]["already_stored"] == 1
    assert [entry["records"] for entry in summary["by_file"]] == [3, 2]


@pytest.mark.parametrize(
    ("lines", "stored", "message"),
    [(2, ["a"], "lines is 2"), (1, [], "events is 1")],
    ids=["a line that nobody counted", "an event that no sink answered for"],
)
def test_books_that_do_not_balance_are_an_error(
    lines: int, stored: list[str], message: str
) -> None:
    ledger = Ledger()
    ledger.open("a", "zeek-tsv")
    ledger.parsed("a", parsed(1, 0, 0, lines))
    ledger.count("events", pl.Series(["a"]))
    ledger.count("stored", pl.Series(stored, dtype=pl.String))
    with pytest.raises(ConnwatchError, match=message):
        ledger.balance()
