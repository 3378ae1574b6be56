"""From paths to ordered records: discovery, compression, blocks, streams, the merge."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import re
import subprocess
from pathlib import Path

import polars as pl
import pytest
import zstandard
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ordered
from test_zeek_tsv import header, row

from connwatch.errors import InputError, UsageError
from connwatch.ingest import blocks as blocks_module
from connwatch.ingest.blocks import blocks
from connwatch.ingest.files import discover
from connwatch.ingest.formats import formats
from connwatch.ingest.merge import merged
from connwatch.ingest.opening import Opened
from connwatch.ingest.streams import streams

DAY = 1_700_000_000


def log(
    *seconds: float, uid: str = "C", path: str = "conn", opened: str = "2023-11-14-22-13-20"
) -> bytes:
    rows = "".join(row(ts=f"{DAY + s:.6f}", duration="0.5", uid=f"{uid}{s}") for s in seconds)
    return (header(path=path).replace("2018-01-30-18-14-02", opened) + rows).encode()


COMPRESS = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "two gzip members": lambda data: gzip.compress(data[:400]) + gzip.compress(data[400:]),
    "zstd": zstandard.compress,
    "two zstd frames": lambda data: zstandard.compress(data[:400]) + zstandard.compress(data[400:]),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.mark.parametrize("kind", COMPRESS)
def test_compression_is_recognised_by_content(tmp_path: Path, kind: str) -> None:
    (tmp_path / "conn.log").write_bytes(COMPRESS[kind](log(1, 2, 3)))
    events, failed, counts = ordered([tmp_path])
    assert not failed
    assert events["zeek.session_id"].to_list() == ["C1", "C2", "C3"]
    assert counts["lines"] == counts["record_lines"] + counts["comments"]


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
def test_a_file_that_is_cut_off_gives_what_it_has_and_an_error(tmp_path: Path, kind: str) -> None:
    chance = random.Random(1)
    data = log(*(chance.random() * 1000 for _ in range(20_000)))
    whole = COMPRESS[kind](data)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "conn.log.x").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b" / "conn.log").write_bytes(log(1, 2))
    events, failed, _ = ordered([tmp_path])
    assert {"C1", "C2"} <= set(events["zeek.session_id"]), "the other file is read"
    assert len(failed) == 1
    assert events.height > 2, "what came before the cut is read"


def test_a_file_is_read_once_whatever_leads_to_it(tmp_path: Path) -> None:
    real = tmp_path / "conn.log"
    real.write_bytes(log(1))
    (tmp_path / "link.log").symlink_to(real)
    os.link(real, tmp_path / "hard.log")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = discover([str(tmp_path), str(real)], formats())
    assert len(found.sources) == 1
    assert all(one.reason.startswith("the same file as") for one in found.skipped)


UNKNOWN: list[tuple[str, bytes, str]] = [
    ("another Zeek log", header(path="dns").encode(), "a Zeek dns log, not one of connections"),
    ("another Zeek log as JSON", b'{"_path":"http","ts":1}\n', "a Zeek http log (JSON), not one of connections"),
    ("EVE", b'{"event_type":"flow"}\n', "Suricata EVE, which this version does not read yet"),
    ("a capture", b"\xd4\xc3\xb2\xa1" + bytes(20), "a packet capture; tcpdump -nn -tttt -v -r FILE prints it as text that can be read"),
    ("text", b"hello\n", "text of an unknown kind"),
    ("binary", b"\x00\x01\x02", "binary data"),
    ("nothing", b"", "empty"),
    ("a log without its header", (row() * 2).encode().replace(b"\tCEi85", b"\tCEi85"), "a Zeek log without its header"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "reason"), [u[1:] for u in UNKNOWN], ids=[u[0] for u in UNKNOWN])
def test_what_is_no_log_of_connections_is_named_and_skipped(
    tmp_path: Path, data: bytes, reason: str
) -> None:
    (tmp_path / "file").write_bytes(data)
    found = discover([str(tmp_path)], formats())
    assert [one.reason for one in found.skipped] == [reason]
    if data:
        with pytest.raises(InputError, match="not a log that can be read"):
            discover([str(tmp_path)], formats(), strict=True)


def test_a_path_that_does_not_exist_is_an_error_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        discover([str(tmp_path / "none")], formats())


def test_patterns_are_expanded(tmp_path: Path) -> None:
    for name in ("a.log", "b.log", "c.txt"):
        (tmp_path / name).write_bytes(log(1, uid=name))
    found = discover([str(tmp_path / "*.log")], formats())
    assert [Path(source.path).name for source in found.sources] == ["a.log", "b.log"]


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown format 'zeek'"):
        formats(only="zeek")


def test_a_folder_without_permission_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "conn.log").write_bytes(log(1))
    (tmp_path / "shut").mkdir()
    (tmp_path / "shut").chmod(0)
    script = (
        "import os; from connwatch.ingest.files import discover; from connwatch.ingest.formats import formats\n"
        "discover([os.environ['OPEN']], formats()); os.setuid(65534)\n"
        f"found = discover([{str(tmp_path)!r}], formats())\n"
        "print(len(found.sources), [(one.path, one.reason, one.failed) for one in found.skipped])"
    )
    if os.getuid() != 0:
        found = discover([str(tmp_path)], formats())
        assert [one.reason for one in found.skipped] == ["Permission denied"]
        return
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/"):
            os.chmod(folder, folder.stat().st_mode | 0o055)  # noqa: PTH101, S103
    (tmp_path / "shut").chmod(0)
    import sys

    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OPEN": str(tmp_path / "open")},
    )
    if "Permission denied" not in done.stdout:
        pytest.skip(f"the program cannot be run by another user here: {done.stderr[-200:]}")
    assert done.stdout.startswith("1 ")


@settings(max_examples=examples(80))
@given(
    st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b"")), max_size=12),
    st.integers(1, 40),
    st.integers(4, 20),
    st.booleans(),
)
def test_blocks_hold_every_line_once(lines: list[bytes], size: int, cap: int, ended: bool) -> None:
    data = b"\n".join(lines) + (b"\n" if ended else b"")
    source = Opened.__new__(Opened)
    source.path, source.size, source.compression = "x", None, ""
    stream = io.BytesIO(data)
    source.read = stream.read  # type: ignore[method-assign]
    source._counted = type("C", (), {"taken": 0})()  # type: ignore[assignment]
    seen: list[tuple[int, int, bytes]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks_module, "KEPT", 3)
        for block in blocks(source, size=size, line_cap=cap):
            offset, line = block.offset, block.line
            parts = (
                [block.data]
                if block.overlong
                else block.data.splitlines(keepends=True)
                if b"\r" not in block.data
                else _split(block.data)
            )
            for part in parts:
                seen.append((offset, line, part if not block.overlong else b"<long>"))
                offset += len(part)
                line += 1
    wanted, offset = [], 0
    for number, part in enumerate(_split(data), 1):
        wanted.append((offset, number, part if len(part) <= cap else b"<long>"))
        offset += len(part)
    assert [(o, n) for o, n, _ in seen] == [(o, n) for o, n, _ in wanted]
    for (_, _, got), (_, _, want) in zip(seen, wanted, strict=True):
        assert got == want or want == b"<long>" or len(want) == cap + 1


def _split(data: bytes) -> list[bytes]:
    return list(io.BytesIO(data))


def test_an_overlong_line_is_a_reject_and_the_rest_is_read(tmp_path: Path) -> None:
    data = log(1) + b"x" * (3 << 20) + b"\n" + row(ts=f"{DAY + 2}", uid="C2").encode()
    (tmp_path / "conn.log").write_bytes(data)
    events, failed, counts = ordered([tmp_path])
    assert not failed
    assert events["zeek.session_id"].to_list() == ["C1", "C2"]
    assert events["event.sequence"].to_list() == [8, 10]
    assert data[events["log.offset"][1] :].startswith(str(DAY + 2).encode())
    assert counts["rejects"] == 1


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    bomb = zstandard.compress(log(1) + b"# nothing\n" * 3_000_000)
    (tmp_path / "conn.log.zst").write_bytes(bomb)
    source = Opened(str(tmp_path / "conn.log.zst"))
    with pytest.raises(InputError, match="more than 1000 times its size"):
        list(blocks(source, bomb_from=1 << 20))
    source.close()


def test_a_file_that_shrinks_is_told(tmp_path: Path) -> None:
    path = tmp_path / "conn.log"
    path.write_bytes(log(*range(40_000)))
    source = Opened(str(path))
    os.truncate(path, 2_000_000)
    with pytest.raises(InputError, match="became shorter while it was read"):
        list(blocks(source, size=1 << 16))
    source.close()


def test_log_time_is_the_running_maximum_of_the_end(tmp_path: Path) -> None:
    (tmp_path / "conn.log").write_bytes(log(5, 1, 9, 2))
    events, _, _ = ordered([tmp_path])
    times = (events["connwatch.log_time"].dt.epoch("us") - DAY * 1_000_000).to_list()
    assert times == [5_500_000, 5_500_000, 9_500_000, 9_500_000]
    assert events["zeek.session_id"].to_list() == ["C5", "C1", "C9", "C2"], (
        "no reordering in a stream"
    )


def test_rotated_files_are_one_stream_in_the_order_of_their_headers(tmp_path: Path) -> None:
    late, early = tmp_path / "2023-11-15", tmp_path / "2023-11-14"
    for folder in (late, early, tmp_path / "current"):
        folder.mkdir()
    (late / "conn.00:00:00-01:00:00.log.gz").write_bytes(
        gzip.compress(log(7200, 3700, opened="2023-11-15-00-00-00"))
    )
    (early / "conn.23:00:00-00:00:00.log.gz").write_bytes(
        gzip.compress(log(3600, 100, opened="2023-11-14-23-00-00"))
    )
    (tmp_path / "current" / "conn.log").write_bytes(log(9000, opened="2023-11-15-01-00-00"))
    found = discover([str(tmp_path)], formats())
    made, notes = streams(found.sources)
    assert len(made) == 1
    assert notes == []
    events, _, _ = ordered([tmp_path])
    assert events["zeek.session_id"].to_list() == ["C3600", "C100", "C7200", "C3700", "C9000"]


def test_parts_of_a_log_in_the_wrong_order_are_said(tmp_path: Path) -> None:
    """As one file; as files of their own they are read in order."""
    first, second = log(0, 60), log(90_000, 90_060)
    (tmp_path / "all.log").write_bytes(second + first)
    notes: list[str] = []
    made, _ = streams(discover([str(tmp_path)], formats()).sources)
    assert pl.concat(merged(made, _unseen, _unseen, notes.append)).height == 4
    assert [re.sub(r" \(.*", "", note) for note in notes] == [
        f"{tmp_path / 'all.log'}: 2 records are from the past"
    ]
    (tmp_path / "all.log").unlink()
    for name, content in (("a.log", second), ("b.log", first)):
        (tmp_path / name).write_bytes(content)
    made, _ = streams(discover([str(tmp_path)], formats()).sources)
    assert pl.concat(merged(made, _unseen, _unseen, notes.append)).height == 4
    assert len(notes) == 1


def _unseen(*_what: object) -> None:
    """Nobody looks."""


def test_files_that_overlap_are_streams_of_their_own_and_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "conn-a.log").write_bytes(log(0, 4000, 8000, uid="A"))
    (tmp_path / "conn-b.log").write_bytes(log(10, 4010, 8010, uid="B"))
    made, notes = streams(discover([str(tmp_path)], formats()).sources)
    assert len(made) == 2
    assert len(notes) == 1
    assert "overlap in time" in notes[0]
    events, _, _ = ordered([tmp_path])
    assert events["zeek.session_id"].to_list() == ["A0", "B10", "A4000", "B4010", "A8000", "B8010"]


@settings(max_examples=examples(40))
@given(
    st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=12), min_size=1, max_size=4),
    st.randoms(),
    st.integers(200, 2000),
)
def test_the_order_depends_on_the_records_alone(
    tmp_path_factory: pytest.TempPathFactory,
    logs: list[list[int]],
    chance: random.Random,
    size: int,
) -> None:
    """Names, order of arguments and block size make no difference."""
    contents = [log(*(3600.0 * s for s in seconds), uid=f"U{n}_") for n, seconds in enumerate(logs)]
    seen = []
    for attempt in range(2):
        folder = tmp_path_factory.mktemp("logs")
        names = [f"s{n}" for n in range(len(logs))]
        chance.shuffle(names)
        paths = []
        for name, content in zip(names, contents, strict=True):
            (folder / name).mkdir()
            paths.append(folder / name / "conn.log")
            paths[-1].write_bytes(content)
        chance.shuffle(paths)
        with pytest.MonkeyPatch.context() as patch:
            if attempt:
                patch.setattr(
                    blocks_module.blocks,
                    "__kwdefaults__",
                    {"size": size, "line_cap": 1 << 20, "bomb_from": 1 << 28},
                )
            events, _, _ = ordered(paths)
        assert events["connwatch.log_time"].is_sorted()
        seen.append(events.drop("log.file.path"))
    assert seen[0].equals(seen[1])


def test_standard_input_and_pipes_are_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = subprocess.Popen(["sh", "-c", f"cat > {pipe}"], stdin=subprocess.PIPE)
    assert writer.stdin is not None
    writer.stdin.write(gzip.compress(log(1, 2)))
    writer.stdin.close()
    events, failed, _ = ordered([pipe])
    writer.wait()
    assert not failed
    assert events["zeek.session_id"].to_list() == ["C1", "C2"]


def test_every_log_of_connections_in_the_data_is_read(data: Path) -> None:
    events, failed, counts = ordered([data / "zeek"])
    assert not failed
    assert counts["lines"] == counts["record_lines"] + counts["rejects"] + counts["comments"]
    assert counts["record_lines"] == events.height > 40_000
    named = {Path(source.path).name for source in discover([str(data / "zeek")], formats()).sources}
    on_disk = {path.name for path in (data / "zeek").rglob("*conn*") if path.is_file()}
    unread = on_disk - named - {"conn_top.log", "conn.select", "conn-inc.log", "known_conn.log"}
    assert not {name for name in unread if name.startswith("conn") and "summary" not in name}, (
        unread
    )


def test_the_twins_give_equal_events(data: Path) -> None:
    """The same connections as text and as JSON, told apart by nothing but the record's own bytes."""
    folder = data / "zeek" / "netflowlabeler"
    text, _, _ = ordered([folder / "conn.tab.log"])
    as_json, _, _ = ordered([folder / "conn.json.log"])
    own = ["event.id", "log.offset", "event.sequence", "log.file.path", "connwatch.log_time"]
    shared = text.join(as_json, on="zeek.session_id", how="semi").sort("zeek.session_id").drop(own)
    others = as_json.join(text, on="zeek.session_id", how="semi").sort("zeek.session_id").drop(own)
    assert shared.equals(others)
    folder = data / "zeek" / "rita"
    text, _, _ = ordered([folder / "open_conns" / "open" / "conn.log"])
    as_json, _, _ = ordered([folder / "json_with_all_fields" / "conn.log"])
    both = set(text["zeek.session_id"]) & set(as_json["zeek.session_id"])
    assert len(both) >= 20
    chosen = pl.col("zeek.session_id").is_in(sorted(both))
    assert (
        text.filter(chosen)
        .sort("zeek.session_id")
        .drop(own)
        .equals(as_json.filter(chosen).sort("zeek.session_id").drop(own))
    )
