"""What reaches a terminal or a program: hostile text, nested documents, NDJSON, CSV, tables."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from connwatch.render import as_csv, console, ndjson, nested, safe, table, to_json
from connwatch.schema import STORED, expand

TIME = datetime(2026, 11, 20, 12, 0, 0, 5, tzinfo=UTC)

#: what a terminal would act on, and how it is shown
HOSTILE = [
    ("an escape sequence", "\x1b[31mred", r"\x1b[31mred"),
    ("a window title", "\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
    ("an 8-bit control sequence", "\x9b31m", r"\x9b31m"),
    ("a carriage return over what stands there", "bad\rgood", r"bad\x0dgood"),
    ("a new line", "one\ntwo", r"one\x0atwo"),
    ("backspace and delete", "a\x08\x7f", r"a\x08\x7f"),
    ("a NUL", "a\0b", r"a\x00b"),
    ("a direction override", "txt.\u202eexe", r"txt.\u202eexe"),
    ("a direction isolate", "\u2066a\u2069", r"\u2066a\u2069"),
    ("a line separator", "a\u2028b", r"a\u2028b"),
    ("a mark that is not seen", "pay\u200bpal\ufeff", r"pay\u200bpal\ufeff"),
    ("half of a surrogate pair", "caf\udce9.log", r"caf\udce9.log"),
    ("text of any script", "Привет 世界 é 😀", "Привет 世界 é 😀"),
    ("markup of the table library", "[red]x[/red] :smile:", "[red]x[/red] :smile:"),
]
IDS = [case[0] for case in HOSTILE]
_ACTIVE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("text", "shown"), [case[1:] for case in HOSTILE], ids=IDS)
def test_hostile_text_is_shown_and_does_nothing(text: str, shown: str) -> None:
    assert safe(text) == shown
    assert json.loads(to_json({"x": text})) == {"x": text}
    assert not _ACTIVE.search(to_json({"x": text}))
    to_json({"x": text}).encode()


@given(st.text())
def test_what_is_safe_stays_as_it_is(text: str) -> None:
    assert not _ACTIVE.search(safe(text))
    assert safe(safe(text)) == safe(text)
    safe(text).encode()


def printed(stream: io.StringIO, cells: list[object]) -> str:
    console(stream).print(table(("name", "bytes"), [cells], right=("bytes",)))
    return stream.getvalue()


@pytest.mark.parametrize(("text", "shown"), [case[1:] for case in HOSTILE], ids=IDS)
def test_a_table_shows_hostile_text(text: str, shown: str) -> None:
    assert shown in printed(io.StringIO(), [text, 1])


def test_a_table_into_a_pipe_is_plain_and_whole() -> None:
    wide = "x" * 500
    text = printed(io.StringIO(), [wide, None])
    assert wide in text
    assert "\x1b" not in text


def test_no_color_is_heard_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[\d;]*[34][0-9]", printed(Terminal(), ["a", 1]))


NESTED: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("names become objects", {"a.b.c": 1, "a.d": "x"}, {"a": {"b": {"c": 1}, "d": "x"}}),
    ("nulls are left out", {"a.b": None, "c": 0, "d": ""}, {"c": 0, "d": ""}),
    ("times have microseconds and Z", {"@timestamp": TIME}, {"@timestamp": "2026-11-20T12:00:00.000005Z"}),
    ("durations stay numbers", {"event.duration": 1_500}, {"event": {"duration": 1500}}),
    ("extra fields become an object", {"connwatch.extra": '{"a":{"b":[1]}}'}, {"connwatch": {"extra": {"a": {"b": [1]}}}}),
    ("a value that begins other names", {"a": 2, "a.b": 1}, {"a": 2, "a.b": 1}),
    ("… also when it comes after them", {"a.b": 1, "a": 2}, {"a.b": 1, "a": 2}),
    ("… also further down", {"a.b.c": 1, "a.b": 2, "a.d": 3}, {"a.b.c": 1, "a": {"b": 2, "d": 3}}),
    ("a null begins nothing", {"a": None, "a.b": 1}, {"a": {"b": 1}}),
]  # fmt: skip


@pytest.mark.parametrize(("row", "wanted"), [c[1:] for c in NESTED], ids=[c[0] for c in NESTED])
def test_nested(row: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert nested(row) == wanted


_TEXT = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_EXTRA = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=3), _TEXT | st.integers(), max_size=2
)
_ROW = st.fixed_dictionaries(
    {
        "@timestamp": st.datetimes(
            datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)
        ),
        "event.dataset": st.just("zeek.connection"),
        "event.duration": st.none() | st.integers(0, 2**50),
        "event.id": st.text("0123456789abcdef", min_size=32, max_size=32),
        "log.file.path": _TEXT,
        "source.ip": st.sampled_from(["10.0.0.1", "2001:db8::1"]),
        "source.bytes": st.none() | st.integers(0, 2**62),
        "destination.ip": st.just("192.0.2.1"),
        "zeek.connection.state": st.sampled_from([None, "SF", "S0"]),
        "zeek.connection.local_orig": st.none() | st.booleans(),
        "zeek.connection.service": _TEXT,
        "zeek.connection.tunnel_parents": st.none() | st.lists(st.text('aé"\\\x1b'), max_size=2),
        "connwatch.extra": st.none() | _EXTRA.map(json.dumps),
    }
)


@settings(max_examples=examples(100))
@given(st.lists(_ROW, min_size=1, max_size=5))
def test_a_line_of_ndjson_is_the_nested_event(rows: list[dict[str, Any]]) -> None:
    frame = pl.DataFrame([{name: row.get(name) for name in STORED} for row in rows], STORED)
    lines = list(ndjson(frame))
    assert [json.loads(line) for line in lines] == [
        nested(row) for row in expand(frame).iter_rows(named=True)
    ]
    assert not _ACTIVE.search("".join(lines))


def test_no_events_are_no_lines() -> None:
    assert list(ndjson(pl.DataFrame(schema=STORED))) == []


def test_csv_joins_lists_and_writes_times() -> None:
    frame = pl.DataFrame(
        {"@timestamp": [TIME], "event.type": [["start", "end"]], "x": ['a,"b"\n'], "n": [None]},
        schema={
            "@timestamp": STORED["@timestamp"],
            "event.type": pl.List(pl.String),
            "x": pl.String,
            "n": pl.Int64,
        },
    )
    text = "\n".join(as_csv(frame, io.StringIO()))
    header, row = csv.reader(io.StringIO(text))
    assert header == ["@timestamp", "event.type", "x", "n"]
    assert row == ["2026-11-20T12:00:00.000005Z", "start|end", 'a,"b"\n', ""]


def test_csv_is_exact_for_a_program_and_safe_on_a_terminal() -> None:
    frame = pl.DataFrame({"x": ["\x1b[31m\x9b"]})
    assert "\x1b[31m\x9b" in "".join(as_csv(frame, io.StringIO()))
    assert r"\x1b[31m\x9b" in "".join(as_csv(frame, Terminal()))
