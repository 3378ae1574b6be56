"""What snapshots tell of sockets between them, against a model that takes one row at a time."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from examples import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_sockets import HEADER, read

from connwatch.ingest.log_time import LogTime
from connwatch.ingest.sockets.changes import Changes

START = datetime(2026, 11, 21, 7, 26, tzinfo=UTC)


@dataclass(frozen=True)
class Sock:
    """A socket as one row of ss shows it; port: of the peer, less 5000; 0 for a listener."""

    port: int
    inode: int | None = None
    sent: int | None = None
    state: str = "ESTAB"
    kind: str = "tcp"
    pid: int | None = None

    @property
    def line(self) -> str:
        listens = self.port == 0
        state = ("LISTEN" if self.kind == "tcp" else "UNCONN") if listens else self.state
        peer = "0.0.0.0:*" if listens else f"198.51.100.7:{5000 + self.port}"
        users = "" if self.pid is None else f' users:(("prog",pid={self.pid},fd=3))'
        inode = "" if self.inode is None else f" ino:{self.inode} sk:1"
        sent = "" if self.sent is None else f" bytes_sent:{self.sent} bytes_received:{self.sent}"
        return f"{self.kind} {state} 0 0 192.0.2.1:80 {peer}{users}{inode}{sent}\n"

    @property
    def key(self) -> tuple[str, int]:
        return self.kind, self.port


def table(snapshots: list[tuple[int, list[Sock]]]) -> pl.DataFrame:
    """The rows of snapshots (seconds after `START`, sockets), with log time."""
    text = ""
    for second, socks in snapshots:
        when = START + timedelta(seconds=second)
        text += f"{when:%Y-%m-%d %H:%M:%SZ}\n{HEADER}{''.join(one.line for one in socks)}"
    log_time = LogTime()
    first = log_time.feed(read(text).events)
    return pl.concat([first, log_time.flush()])


def run(events: pl.DataFrame, changes: Changes | None = None) -> pl.DataFrame:
    changes = changes or Changes()
    return pl.concat([changes.step(events), changes.flush()])


def told(events: pl.DataFrame, dataset: str) -> list[dict[str, Any]]:
    found = events.filter(pl.col("event.dataset") == dataset)
    return list(found.iter_rows(named=True))


def second(when: datetime | None) -> int | None:
    return None if when is None else int((when - START).total_seconds())


def test_a_connection_that_is_gone_is_summed_up_with_its_bounds() -> None:
    events = run(
        table(
            [
                (0, [Sock(0)]),
                (10, [Sock(0), Sock(1, 7, 100, pid=42)]),
                (20, [Sock(0), Sock(1, 7, 900)]),
                (30, [Sock(0)]),
                (40, [Sock(0)]),
            ]
        )
    )
    [flow] = told(events, "ss.flow")
    assert flow["socket.change"] == "closed"
    bounds = [
        second(flow[name])
        for name in (
            "socket.opened_after",
            "socket.first_seen",
            "@timestamp",
            "socket.closed_before",
        )
    ]
    assert bounds == [0, 10, 10, 30]
    assert flow["event.duration"] == 10_000_000_000
    assert (flow["socket.delta.bytes_sent"], flow["socket.bytes_sent"]) == (900, 900)
    assert (flow["process.pid"], flow["process.name"], flow["socket.inode"]) == (42, "prog", 7)
    assert flow["socket.snapshot.count"] == 2
    assert (flow["source.ip"], flow["destination.ip"]) == ("198.51.100.7", "192.0.2.1")
    # It stands before the first row that comes after the snapshot that does not show it.
    where = events.with_row_index().filter(pl.col("event.dataset") == "ss.flow")["index"].item()
    assert second(events["@timestamp"][where + 1]) == 40
    assert second(flow["connwatch.log_time"]) == 40
    rows = events.filter(pl.col("source.port") == 5001, pl.col("event.dataset") != "ss.flow")
    assert rows["socket.change"].to_list() == ["opened", None]
    assert rows["socket.delta.bytes_sent"].to_list() == [100, 800]
    assert rows["socket.instance"].to_list() == [rows["event.id"][0]] * 2


def test_listeners_that_appear_and_go_are_events() -> None:
    events = run(
        table([(0, [Sock(1)]), (5, [Sock(1), Sock(0, 3, pid=9)]), (10, [Sock(1)]), (15, [Sock(1)])])
    )
    [listener] = told(events, "ss.listener")
    assert (listener["socket.change"], listener["process.pid"]) == ("opened", 9)
    [gone] = told(events, "ss.closed")
    assert (gone["socket.change"], second(gone["socket.closed_before"])) == ("closed", 10)
    assert gone["process.pid"] == 9


REUSES = [
    ("inode", Sock(5, inode=8), Sock(5, inode=9)),
    ("counters", Sock(5, sent=800), Sock(5, sent=10)),
    ("state", Sock(5, state="TIME-WAIT"), Sock(5)),
    ("inode", Sock(5, inode=8, sent=80), Sock(5, inode=9, sent=90)),
]


@pytest.mark.parametrize(("reason", "before", "after"), REUSES)
def test_ports_that_are_reused_are_told_apart(reason: str, before: Sock, after: Sock) -> None:
    events = run(table([(0, [before]), (10, [after]), (20, [after])]))
    rows = events.filter(pl.col("socket.snapshot.id").is_not_null())
    assert rows["socket.change"].to_list() == ["first", "reused", None]
    assert rows["socket.change_reason"].to_list() == [None, reason, None]
    assert rows["event.dataset"].to_list() == ["ss.connection", "ss.connection", "ss.socket"]
    [flow] = told(events, "ss.flow")
    assert (flow["socket.change"], flow["socket.change_reason"]) == ("replaced", reason)
    assert flow["socket.instance"] == rows["event.id"][0]


def test_a_socket_that_loses_its_inode_as_it_closes_is_the_same() -> None:
    steps = [Sock(5, 8, 10), Sock(5, None, 20, "FIN-WAIT-2"), Sock(5, None, None, "TIME-WAIT")]
    events = run(table([(10 * i, [one]) for i, one in enumerate(steps)]))
    assert events["socket.change"].to_list() == ["first", "state", "state"]
    assert events["socket.state_before"].to_list() == [None, "established", "fin_wait2"]
    assert events["socket.instance"].n_unique() == 1


def test_missing_snapshots_are_counted() -> None:
    seconds = [0, 10, 20, 30, 70, 80]
    events = run(table([(s, [Sock(0), Sock(5)] if s < 80 else [Sock(0)]) for s in seconds]))
    [flow] = told(events, "ss.flow")
    assert flow["socket.snapshot.missed"] == 3
    rows = events.filter(pl.col("event.dataset") != "ss.flow")
    missed = dict(zip(map(second, rows["@timestamp"]), rows["socket.snapshot.missed"], strict=True))
    assert missed == {0: None, 10: None, 20: None, 30: None, 70: 3, 80: None}


def test_a_connection_that_goes_on_is_told_of_every_hour() -> None:
    seconds = range(0, 3 * 3600, 900)
    events = run(table([(s, [Sock(5, 1, s)]) for s in seconds]))
    flows = told(events, "ss.flow")
    assert [one["socket.change"] for one in flows] == ["open", "open"]
    assert [one["event.duration"] // 10**9 for one in flows] == [3600, 7200]
    assert [one["socket.delta.bytes_sent"] for one in flows] == [3600, 7200]
    assert len({one["event.id"] for one in flows}) == 2


def test_a_snapshot_of_udp_alone_closes_nothing_of_tcp() -> None:
    udp = Sock(0, kind="udp")
    events = run(table([(0, [Sock(5), udp]), (10, [udp]), (20, [Sock(5), udp])]))
    assert told(events, "ss.flow") == told(events, "ss.closed") == []
    tcp = events.filter(pl.col("source.port") == 5005)
    assert tcp["socket.change"].to_list() == ["first", None]
    assert tcp["event.dataset"].to_list() == ["ss.connection", "ss.socket"]


def test_what_is_still_open_at_the_end_is_not_closed() -> None:
    events = run(table([(0, [Sock(5)]), (10, [Sock(5), Sock(6)])]))
    assert events.height == 3


# --- the model --------------------------------------------------------------------------------

LEVELS = {
    "SYN-SENT": 0,
    "ESTAB": 1,
    "CLOSE-WAIT": 2,
    "TIME-WAIT": 3,
    "LISTEN": None,
    "UNCONN": None,
}


@dataclass
class Life:
    first: int
    last: int
    rank: int
    level: int | None
    inodes: list[int] = field(default_factory=list)
    sent: int | None = None
    count: int = 1
    after: int | None = None


def model(snapshots: list[tuple[int, list[Sock]]]) -> Iterator[tuple[Any, ...]]:
    """(what, second that tells, key, first seen, last seen, snapshots) of every change."""
    lives: dict[tuple[str, int], Life] = {}
    ranks: dict[str, int] = {}
    for now, socks in snapshots:
        shown: dict[tuple[str, int], list[Sock]] = {}
        for one in socks:
            shown.setdefault(one.key, []).append(one)
        for kind in {one.kind for one in socks}:
            ranks[kind] = ranks.get(kind, -1) + 1
            for key, life in list(lives.items()):
                if key[0] == kind and key not in shown:
                    yield "closed", now, key, life.first, life.last, life.count
                    del lives[key]
        for key, rows in shown.items():
            first = rows[0]
            inodes = [one.inode for one in rows if one.inode is not None]
            level = LEVELS[first.state] if key[1] else None
            life = lives.get(key)
            if life is not None:
                other = (
                    first.inode is not None
                    and life.inodes
                    and not (min(life.inodes) <= first.inode <= max(life.inodes))
                )
                less = None not in (first.sent, life.sent) and first.sent < life.sent  # type: ignore[operator]
                back = None not in (level, life.level) and level < life.level  # type: ignore[operator]
                if other or less or back:
                    yield "replaced", now, key, life.first, life.last, life.count
                    del lives[key]
                    yield "reused", now, key, now, now, 1
                    lives[key] = Life(now, now, ranks[key[0]], level, inodes, first.sent)
                    continue
                life.last, life.level, life.count = now, level, life.count + 1
                life.inodes = inodes or life.inodes
                life.sent = life.sent if first.sent is None else first.sent
                continue
            yield "first" if ranks[key[0]] == 0 else "opened", now, key, now, now, 1
            lives[key] = Life(now, now, ranks[key[0]], level, inodes, first.sent)


def found(events: pl.DataFrame) -> list[tuple[Any, ...]]:
    """The same of what `Changes` made."""
    made = []
    for row in events.unique("event.id", maintain_order=True).iter_rows(named=True):
        change = row["socket.change"]
        if change in (None, "state", "open"):
            continue
        peer = row["socket.peer"].rpartition(":")[2]
        key = row["network.transport"], 0 if peer == "*" else int(peer) - 5000
        first, last = row["socket.first_seen"], row["socket.first_seen"]
        when = row["socket.closed_before"] or row["@timestamp"]
        if change in ("closed", "replaced"):
            last = row["@timestamp"] + timedelta(microseconds=row["event.duration"] / 1000)
        count = row["socket.snapshot.count"] or 1
        made.append((change, second(when), key, second(first), second(last), count))
    return made


SOCKS = st.builds(
    Sock,
    st.integers(0, 3),
    st.none() | st.integers(1, 3),
    st.none() | st.integers(0, 3),
    st.sampled_from(["SYN-SENT", "ESTAB", "CLOSE-WAIT", "TIME-WAIT"]),
    st.sampled_from(["tcp", "tcp", "udp"]),
)
SNAPSHOTS = st.lists(st.lists(SOCKS, max_size=5), min_size=1, max_size=7)


@settings(max_examples=examples(100), deadline=None)
@given(SNAPSHOTS)
@example([[Sock(0, 2, 1)], [Sock(0, None, 0)], [Sock(0, 1)]])
def test_the_changes_are_those_of_the_model(shots: list[list[Sock]]) -> None:
    snapshots = [(10 * number, socks) for number, socks in enumerate(shots)]
    if not any(shots):
        return
    events = run(table(snapshots))
    # Several rows of one socket say the same; the model tells it once.
    wanted = set(model([one for one in snapshots if one[1]]))
    assert set(found(events)) == wanted


@settings(max_examples=examples(100), deadline=None)
@given(SNAPSHOTS, st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=6))
@example([[Sock(0, 1)], [Sock(0), Sock(0, 2)], [Sock(0, 1)]], [(2, False)])
@example([[Sock(0, 1)], [Sock(0), Sock(0, 2)], [Sock(0, 1)]], [(2, True)])
def test_blocks_and_restarts_make_no_difference(
    shots: list[list[Sock]], cuts: list[tuple[int, bool]]
) -> None:
    if not any(shots):
        return
    events = table([(1000 * number, socks) for number, socks in enumerate(shots)])
    whole = run(events)
    restarts = dict(cuts)
    changes, parts = Changes(), []
    bounds = sorted({0, events.height, *(cut for cut in restarts if cut < events.height)})
    for low, high in itertools.pairwise(bounds):
        if restarts.get(low):
            saved = json.loads(json.dumps(changes.saved()))
            changes = Changes()
            changes.restore(saved)
        parts.append(changes.step(events.slice(low, high - low)))
    made = pl.concat([*parts, changes.flush()])
    assert made.equals(whole)
