"""Small files are read together: what is made of each is what is made of it alone."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from support import replayed
from test_sockets import ESTAB, HEADER, LISTEN
from test_sockets_netstat import GERMAN, NET_TOOLS, NETSTAT, PROC, PROC_ROW
from test_zeek_tsv import FIELDS, GOOD, header

from connwatch.contracts import Block, Chaining, Joining, Parsed
from connwatch.detectors.ruleset import load_rules
from connwatch.ingest import files, merge
from connwatch.ingest.files import discover
from connwatch.ingest.formats import FORMATS, formats
from connwatch.ingest.sockets import tables
from connwatch.ingest.streams import streams
from connwatch.pipeline import bundled_rules


def zeek(**values: str) -> str:
    return "\t".join((GOOD | values).values()) + "\n"


_HEADERS = [
    header(),
    header(path="conn_long"),
    header(empty_field="EMPTY"),
    header(path="dns"),
    "",
    header(FIELDS[:-1]),
]
ZEEK_LINES = st.sampled_from(
    [
        zeek(), zeek(uid="other"), zeek(service="EMPTY"), zeek(**{"id.orig_p": "99999"}),
        zeek(ts="x"), zeek(**{"id.resp_h": "999.1.1.1"}), zeek(uid="\\x09"), "\n", "short\tline\n",
        zeek()[:-1] + "\r\n", "#close\t2018-01-30-19-00-00\n", header(), "é\0\n",
    ]
)  # fmt: skip
ZEEK_FILES = st.builds(
    lambda head, lines, ended: (head + "".join(lines)).encode()[: None if ended else -1],
    st.sampled_from(_HEADERS), st.lists(ZEEK_LINES, max_size=4), st.booleans(),
)  # fmt: skip
TABLE_LINES = st.sampled_from(
    [
        HEADER, ESTAB, LISTEN, ESTAB.replace("ESTAB", "ODD"), "\t cubic rtt:1/2 bytes_sent:7",
        "2026-11-21 10:00:00", "10:00:00", "09:00:00", "user@host:~$ ss -tn", "", "no such thing", NET_TOOLS.rstrip("\n"),
        *(line for line, _ in NETSTAT), PROC.rstrip("\n"), PROC_ROW.rstrip("\n").format("0100007F:0016", "0A00000A:C000"),
        PROC_ROW.rstrip("\n").format("7F000001:0016", "0A00000A:C000"), *GERMAN.splitlines(), "\x1b[1mtcp\x1b[0m", "[svchost.exe]",
    ]
)  # fmt: skip
TABLES = st.builds(
    lambda lines, ended, encoding: ("\n".join(lines) + "\n" * ended).encode(encoding),
    st.lists(TABLE_LINES, max_size=8), st.booleans(), st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16"]),
)  # fmt: skip
DAMAGED = st.binary(max_size=12).map(lambda data: ESTAB.encode() + b"\n" + data)


def agree(form: Any, data: Sequence[bytes], dataset: str, paths: Sequence[str]) -> None:
    assert isinstance(form, Joining)
    blocks = [Block(path, one, 0, 1, True) for path, one in zip(paths, data, strict=True)]
    with patch.object(tables, "written", lambda path: 1_700_000_000_000_000 + len(path)):
        together = form.whole(blocks, dataset)
        each = [form.parse(block, form.begin(dataset))[0] for block in blocks]
    if form.name == "zeek-json":  # it tells the unknown fields of all that it reads together
        fields = frozenset().union(*(one.unknown_fields for one in each))
        assert fields == frozenset().union(*(one.unknown_fields for one in together))
        each, together = (
            [replace(p, unknown_fields=fields) for p in of] for of in (each, together)
        )
    for alone, one in zip(each, together, strict=True):
        assert told(one) == told(alone)
        assert one.events.rows() == alone.events.rows()
        assert one.events.schema == alone.events.schema
        assert one.rejects.rows() == alone.rejects.rows()
        assert one.lines == one.record_lines + one.rejects.height + one.comments


def told(made: Parsed) -> tuple[Any, ...]:
    return made.lines, made.record_lines, made.comments, made.unknown_fields, made.notes


@settings(max_examples=examples(150))
@given(st.lists(ZEEK_FILES, min_size=1, max_size=6))
def test_zeek_logs_are_read_as_one_at_a_time(data: list[bytes]) -> None:
    form = FORMATS["zeek-tsv"]("s")
    agree(form, data, "zeek.connection", [f"{n}/conn.log" for n in range(len(data))])


@settings(max_examples=examples(150))
@given(st.lists(ZEEK_FILES, min_size=1, max_size=6), st.sampled_from(_HEADERS))
def test_zeek_logs_are_read_one_after_the_other_as_one_at_a_time(
    data: list[bytes], before: str
) -> None:
    form = FORMATS["zeek-tsv"]("s")
    assert isinstance(form, Chaining)
    _, state = form.parse(Block("x", before.encode(), 0, 1, False), form.begin("zeek.connection"))
    blocks = [Block(f"{n}/conn.log", one, 0, 1, False) for n, one in enumerate(data)]
    together = form.chain(blocks, state)
    assert len(together) == len(blocks)
    for block, (one, after) in zip(blocks, together, strict=True):
        alone, state = form.parse(block, state)
        assert after == state
        assert told(one) == told(alone)
        assert one.events.rows() == alone.events.rows()
        assert one.rejects.rows() == alone.rejects.rows()


def record(**values: object) -> str:
    """A record of a connection as JSON; values: by key with __ for the dot."""
    return json.dumps(RECORD | {key.replace("__", "."): value for key, value in values.items()})


RECORD = {
    "ts": 1517336042.090842, "uid": "CW6jbf1YrXp1fBGbk2", "id.orig_h": "10.1.1.1", "id.orig_p": 49187,
    "id.resp_h": "10.1.1.2", "id.resp_p": 80, "proto": "tcp", "duration": 0.25, "conn_state": "SF",
}  # fmt: skip
JSON_LINES = st.sampled_from(
    [
        record(), record(uid="other"), record(service="http"), record(odd=7), record(odd="x", other=[1]),
        record(_path="conn"), record(_path="conn_long"), record(_path="dns"), record(id__orig_p=99999),
        record(ts="2026-11-21T10:00:00.5Z"), record(duration=None), record(ts="x"), record(note="a\tb"),
        record(tunnel_parents=["a", "b"]), "", "  ", "{", "[1]", "\ufeff{}", "é\0",
    ]
)  # fmt: skip
JSON_FILES = st.builds(
    lambda lines, ended: ("\n".join(lines) + "\n" * ended).encode(),
    st.lists(JSON_LINES, max_size=4), st.booleans(),
)  # fmt: skip


@settings(max_examples=examples(200))
@given(st.lists(JSON_FILES, min_size=1, max_size=6))
def test_zeek_logs_as_json_are_read_as_one_at_a_time(data: list[bytes]) -> None:
    form = FORMATS["zeek-json"]("s")
    agree(form, data, "zeek.connection", [f"{n}/conn.log" for n in range(len(data))])


@settings(max_examples=examples(60))
@given(
    st.sampled_from(["ss", "netstat", "proc-net"]), st.lists(TABLES | DAMAGED, min_size=1, max_size=5)
)  # fmt: skip
def test_socket_tables_are_read_as_one_at_a_time(name: str, data: list[bytes]) -> None:
    names = ["ss.txt", "ss-2026-11-21T10:00:00Z.txt", "ss-20261121-1000.txt"]
    paths = [f"{n}/{names[n % 3]}" for n in range(len(data))]
    agree(FORMATS[name](), data, f"{name.replace('-', '_')}.socket", paths)


def test_real_files_are_read_as_one_at_a_time(data: Path) -> None:
    kinds: dict[tuple[str, str], list[Path]] = {}
    known = formats()
    for path in sorted((data / "sockets").rglob("*")):
        if path.is_file() and path.stat().st_size < files.HEAD:
            head = path.read_bytes()
            for one in known:
                if dataset := one.sniff(head, str(path)):
                    kinds.setdefault((one.name, dataset), []).append(path)
                    break
    checked = 0
    for (name, dataset), paths in kinds.items():
        form = FORMATS[name]()
        if isinstance(form, Joining):
            checked += len(paths)
            agree(
                form, [path.read_bytes() for path in paths], dataset, [str(path) for path in paths]
            )
    assert checked > 80


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pieces of a log, snapshots, and files that only look as if they were small."""
    chance = random.Random(7)
    made = tmp_path / "logs"
    made.mkdir()
    now = 1517336042.0
    for number in range(34):
        lines = []
        for _ in range(chance.choice([0, 1, 1, 40])):
            now += chance.random() * 40
            bad = {"id.orig_p": "99999"} if chance.random() < 0.05 else {}
            lines.append(zeek(ts=f"{now:.6f}", uid=f"C{now}", **bad))
        if number == 20:
            lines = [zeek(ts=f"{now:.6f}")] * 1_000
        text = (header() + "".join(lines)).encode()
        path = made / f"conn.{number:03}.log"
        if number % 3:
            path.write_bytes(text)
        else:
            packed = gzip.compress(text)
            path.with_suffix(".log.gz").write_bytes(packed[:-9] if number == 30 else packed)
    for number in range(12):
        rows = [ESTAB, LISTEN, ESTAB.replace("22", "443")][: chance.randint(1, 3)]
        snapshot = made / f"ss-2026-11-21T10:{number:02}:00Z.txt"
        snapshot.write_text("\n".join([HEADER, *rows]) + "\n")
    copied = made / "copied"
    copied.mkdir()
    rows = [zeek(ts=f"{1517336042.0 + n}", uid=f"T{n}") for n in range(9)]
    (copied / "conn.log.2").write_text(header() + "".join(rows[:3]))
    (copied / "conn.log.1").write_text("".join(rows[3:6]))  # truncated under the one who writes
    (copied / "conn.log").write_text("".join(rows[6:]))
    return made


def read(folder: Path) -> tuple[pl.DataFrame, list[str], list[tuple[Any, ...]]]:
    found = discover([str(folder)], formats())
    failed: list[str] = []
    counts: list[tuple[Any, ...]] = []
    made, notes = streams(found.sources)
    frames = list(
        merge.merged(
            made,
            lambda source, parsed, taken: counts.append(
                (source.path, parsed.lines, parsed.rejects.height)
            ),
            lambda source, error: failed.append(f"{source.path}: {error.message}"),
            notes.append,
        )
    )
    totals = pl.DataFrame(counts, schema=["path", "lines", "rejects"], orient="row")
    totals = totals.group_by("path").sum().sort("path")
    return pl.concat(frames), sorted([*failed, *notes]), totals.rows()


def test_a_folder_gives_the_same_records_in_the_same_order(folder: Path) -> None:
    together = read(folder)
    assert together[0].height > 1_000
    assert any("damaged" in said or "gzip" in said for said in together[1])
    with patch.object(files, "is_whole", lambda opened, head: False):
        alone = read(folder)
    assert together[0].rows() == alone[0].rows()
    assert together[1:] == alone[1:]
    copied = together[0].filter(pl.col("log.file.path").str.contains("/copied/", literal=True))
    assert copied["zeek.session_id"].to_list() == [f"T{n}" for n in range(9)]
    for size in (7,):
        with patch.object(merge, "TOGETHER", size), patch.object(files, "TOGETHER", size):
            assert read(folder)[0].rows() == alone[0].rows()


def test_a_replay_of_small_files_answers_the_same(folder: Path, tmp_path: Path) -> None:
    rules = load_rules([bundled_rules()])
    first, alerts = replayed([folder], tmp_path / "together", rules)
    with patch.object(files, "is_whole", lambda opened, head: False):
        second, others = replayed([folder], tmp_path / "alone", rules)
    assert first.digest == second.digest
    assert alerts == others
    timed = {"seconds", "events_per_second"}
    one, other = ({k: v for k, v in o.summary().items() if k not in timed} for o in (first, second))
    assert one == other


def test_a_file_that_grew_since_it_was_looked_at_is_read_to_its_end(folder: Path) -> None:
    found = discover([str(folder)], formats())
    grown = folder / "conn.001.log"
    with grown.open("a") as out:
        out.writelines(zeek(ts=f"{1517336042.0 + n}", uid=f"D{n}") for n in range(2_000))
    assert grown.stat().st_size > files.HEAD
    made, _ = streams(found.sources)
    frames = merge.merged(made, lambda *_: None, lambda *_: None)
    paths = pl.concat([frame.select("log.file.path") for frame in frames]).to_series()
    assert (paths == str(grown)).sum() >= 2_000
