"""Real files with damage: every line is accounted for, and cuts between blocks change nothing."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connwatch.contracts import Block, Parsed
from connwatch.ingest.formats import FORMATS, formats

#: bytes that a file has at most; lines of it that are read
_SIZE = 400_000
_HEAD, _WINDOW = 10, 40
#: files of one tool and folder, at most
_FILES = 40
_JUNK = [
    b"", b"{}", b"[]", b"null", b'"x"', b'{"ts":1}', b"NaN", b"1e400", b"99999999999999999999", b"-", b"(empty)", b"\t", b" " * 50, b"\x00",
    b"\xef\xbb\xbf", b"\x1b[1m", "é\u2028".encode(), b"0x", b"::ffff:1.2.3.4", b"%eth0", b'users:(("a",pid=1,fd=2))', b"#close", b"#fields\tts",
    b"IP", b"length 5", b"10:00:00.1 IP 1.1.1.1.1 > 2.2.2.2.2: Flags [S], seq 1, length 0", b"2026-11-21 10:00:00",
]  # fmt: skip


@dataclass(frozen=True)
class Real:
    """A file: its format, dataset and lines."""

    form: str
    dataset: str
    path: str
    lines: tuple[bytes, ...]


@pytest.fixture(scope="module")
def real(data: Path) -> list[Real]:
    known, found = formats(), []
    counts: dict[tuple[str, Path], int] = {}
    for path in sorted(path for path in data.rglob("*") if path.is_file()):
        if path.suffix in (".pcap", ".pcapng", ".gz", ".md") or path.stat().st_size > _SIZE:
            continue
        content = path.read_bytes()
        for one in known:
            if dataset := one.sniff(content[: 1 << 16], str(path)):
                kind = one.name, path.parent.parent
                counts[kind] = counts.get(kind, 0) + 1
                if counts[kind] <= _FILES:
                    lines = tuple(content.split(b"\n"))
                    found.append(Real(one.name, dataset, path.name, lines))
                break
    assert {one.form for one in found} == {*FORMATS} - {"tcpdump-packets"}
    return found


def damaged(lines: list[bytes], draw: Any) -> None:
    """Change one line, or put one in, take one out, or exchange two."""
    place = draw(st.integers(0, len(lines) - 1))
    line, junk = lines[place], draw(st.sampled_from(_JUNK))
    at = draw(st.integers(0, len(line)))
    kind = draw(
        st.sampled_from(["cut", "within", "over", "before", "again", "gone", "swap", "word"])
    )
    if kind == "cut":
        lines[place] = line[:at]
    elif kind == "within":
        lines[place] = line[:at] + junk + line[at:]
    elif kind == "over":
        lines[place] = line[:at] + junk + line[at + len(junk) :]
    elif kind == "before":
        lines.insert(place, junk)
    elif kind == "again":
        lines.insert(place, line)
    elif kind == "gone" and len(lines) > 1:
        del lines[place]
    elif kind == "swap":
        lines[place], lines[place - 1] = lines[place - 1], line
    else:
        mark = b"\t" if b"\t" in line else b" "
        words = line.split(mark)
        words[draw(st.integers(0, len(words) - 1))] = junk
        lines[place] = mark.join(words)


def read(one: Real, data: bytes, cuts: list[int]) -> list[Parsed]:
    """What is made of blocks that end where `cuts` says, and are not the file's last but for one."""
    form = FORMATS[one.form]()
    state, line, made = form.begin(one.dataset), 1, []
    for low, high in pairwise([0, *cuts, len(data)]):
        block = Block(one.path, data[low:high], low, line, last=high == len(data))
        parsed, state = form.parse(block, state)
        made.append(parsed)
        line += block.lines
    return made


def told(made: list[Parsed]) -> tuple[int, int, int, int]:
    return (
        sum(part.lines for part in made),
        sum(part.record_lines for part in made),
        sum(part.comments for part in made),
        sum(part.rejects.height for part in made),
    )


@settings(
    max_examples=examples(400),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(drawn=st.data())
def test_damage_loses_no_line_and_cuts_change_nothing(real: list[Real], drawn: Any) -> None:
    draw = drawn.draw
    one = draw(st.sampled_from(real))
    lines = list(one.lines)
    if len(lines) > _HEAD + _WINDOW:
        start = draw(st.integers(_HEAD, len(lines) - _WINDOW))
        lines = lines[:_HEAD] + lines[start : start + _WINDOW]
    for _ in range(draw(st.integers(0, 5))):
        damaged(lines, draw)
    data = b"\n".join(lines)
    ends = [number + 1 for number, byte in enumerate(data[:-1]) if byte == 0x0A]
    cuts = sorted(draw(st.sets(st.sampled_from(ends), max_size=3))) if ends else []
    whole, parts = read(one, data, []), read(one, data, cuts)
    lines_, records, comments, rejects = told(whole)
    assert lines_ == records + comments + rejects == Block("", data, 0, 1, last=True).lines
    assert told(parts) == told(whole)
    columns = ["event.id", "connwatch.log_time", "log.offset"]
    events = [pl.concat([part.events for part in made]) for made in (whole, parts)]
    first, second = (frame.select(columns).sort(columns).rows() for frame in events)
    assert first == second
