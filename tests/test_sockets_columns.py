"""What stands behind the peer in records of ss: the same for many records at once as for each."""

from __future__ import annotations

from unittest.mock import patch

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from support import parse

from connwatch.ingest.sockets import ss, ss_columns, ss_shapes
from connwatch.ingest.sockets.rows import ROW
from connwatch.ingest.sockets.ss_columns import tails
from connwatch.ingest.sockets.ss_tail import tail
from connwatch.ingest.sockets.tables import Ss

USERS = ['users:(("sshd",pid=8,fd=4))', 'users:(("a.b-c",pid=1,fd=2),("nginx",pid=70,fd=9))']
ORDINARY = [
    "ino:263457", "ino:0", "sk:5a", "uid:33", "cgroup:/user.slice", "cgroup:unreachable:1", "<->",
    "timer:(keepalive,119min,0)", "ts", "sack", "cubic", "wscale:7,7", "rtt:0.0775/0.003",
    "rtt:12", "cwnd:10", "bytes_acked:250", "bytes_sent:999999999999999999", "retrans:0/3",
    "lastsnd:608", "bbr:(bw:0bps,mrtt:0.007)", "send 374491428571bps", "pacing_rate 1bps",
    "segs_in:3", "10:20",
]  # fmt: skip
ODD = [
    "ino:", "uid:", "sk:", "rtt:x", "rtt:", "retrans:0", "retrans:/", "cwnd:-1", "timer:on",
    "bytes_sent:9999999999999999999", "options:x", "send send", 'a:"b"', "back\\slash", "é:1",
    'users:(("a b",pid=1,fd=2))', 'users:(("x",pid=1', "cwnd:1_0", "cwnd:٣",
    "cwnd:+5", "cwnd:-0", "cwnd:007", "cwnd:1e5", "cwnd:5.0", "bytes_sent:9223372036854775807",
    "bytes_sent:9223372036854775808", "rtt:1e5", "rtt:inf", "rtt:-1", "rtt:1./2", "rtt:.5", ":", "a:", "send", "delivery_rate",
]  # fmt: skip
WORDS = st.lists(st.sampled_from([*USERS, *ORDINARY, *ODD]), max_size=12)


def told(made: dict[str, pl.Series], row: int) -> dict[str, object]:
    values = ((name, column.to_list()[row]) for name, column in made.items())
    return {name: value for name, value in values if value is not None}


@given(st.lists(WORDS, min_size=1, max_size=6))
def test_many_at_once_are_read_as_each_of_them(drawn: list[list[str]]) -> None:
    texts = [" ".join(words) for words in drawn]
    made, odd = tails(pl.Series(texts))
    assert set(made) <= set(ROW)
    assert all(column.dtype == ROW[name] for name, column in made.items())
    for row, text in enumerate(texts):
        if not odd[row]:
            assert told(made, row) == tail(text)


@given(
    st.lists(st.tuples(WORDS, st.integers(1, 3)), min_size=1, max_size=4),
    st.permutations("1234567890"),
)
def test_those_of_one_shape_are_read_as_each_of_them(
    drawn: list[tuple[list[str], int]], digits: list[str]
) -> None:
    """Values differ where the words are the same."""
    other = str.maketrans("1234567890", "".join(digits))
    texts = [" ".join(words) for words, times in drawn for _ in range(times)]
    texts += [" ".join(word.translate(other) for word in words) for words, _ in drawn]
    with patch.multiple(ss_shapes, FEWEST=1, _SEEN=1):
        made, odd = tails(pl.Series(texts))
    _, slowly = tails(pl.Series(texts))
    for row, text in enumerate(texts):
        if not odd[row]:
            assert told(made, row) == tail(text)
        assert odd[row] <= slowly[row]


def test_a_table_of_few_shapes_is_cut() -> None:
    """Each of them has what is its own, in whichever order they come."""
    texts = [
        f"ino:{n} sk:{n:x} ts wscale:7,7 cwnd:{n} send {n}bps lastsnd:9"
        if n % 3
        else f"uid:{n} <->"
        for n in range(2_000)
    ]
    with patch.object(ss_columns, "_each", side_effect=AssertionError):
        made, odd = tails(pl.Series(texts))
    assert not odd.any()
    assert [told(made, row) for row in range(2_000)] == list(map(tail, texts))


@given(st.lists(st.sampled_from(ORDINARY), max_size=12, unique_by=lambda word: word.split(":")[0]))
def test_ordinary_ones_are_read_in_columns(words: list[str]) -> None:
    made, odd = tails(pl.Series([" ".join([USERS[1], *words])]))
    assert not odd.any()
    assert made["processes"].to_list() == [["1/a.b-c fd=2", "70/nginx fd=9"]]


LINE = "tcp ESTAB 0 0 192.0.2.1:22 192.0.2.2:{}"
CONTINUED = st.sampled_from(
    ["", "\t cubic rtt:1/2 cwnd:3\n", "   ts sack\n", "\tone\n\ttwo\n", "nonsense\n", "\n\tlate\n"]
)


@given(st.lists(st.tuples(st.sampled_from([*ORDINARY, *ODD, *USERS, ""]), CONTINUED), max_size=8))
def test_records_of_one_two_and_more_lines_are_read_as_one_at_a_time(
    drawn: list[tuple[str, str]],
) -> None:
    head = "Netid State Recv-Q Send-Q Local Address:Port Peer Address:Port Process\n"
    lines = [f"{LINE.format(port)} {word}\n{more}" for port, (word, more) in enumerate(drawn, 1024)]
    data = (head + "".join(lines)).encode()
    quick = parse(Ss(), data, path="ss-20261121T0726.txt")
    with patch.object(ss, "_plain", lambda *_: None):
        slow = parse(Ss(), data, path="ss-20261121T0726.txt")
    assert quick.events.equals(slow.events)
    assert quick.rejects.equals(slow.rejects)
    assert (quick.record_lines, quick.comments) == (slow.record_lines, slow.comments)
