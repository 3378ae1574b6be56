"""Running parts of the program from tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from connwatch.contracts import Block, Format, Parsed
from connwatch.detectors.ruleset import RuleSet
from connwatch.errors import InputError
from connwatch.ingest.files import Source, discover
from connwatch.ingest.formats import formats
from connwatch.ingest.merge import merged
from connwatch.ingest.streams import streams
from connwatch.ingest.zeek_json import ZeekJson
from connwatch.ingest.zeek_tsv import ZeekTsv
from connwatch.pipeline import Options, Outcome, replay
from connwatch.sinks.embedded import EmbeddedStore


def replayed(
    paths: Iterable[Path], store: Path, rules: RuleSet, options: Options | None = None
) -> tuple[Outcome, list[dict[str, Any]]]:
    """The outcome and the alerts of a replay into `store`."""
    alerts: list[dict[str, Any]] = []
    found = discover([str(path) for path in paths], formats())
    with EmbeddedStore(store) as opened:
        outcome = replay(found, rules, opened, options or Options(), on_alert=alerts.append)
    return outcome, alerts


def parse(
    one: Format[Any], data: bytes, cuts: Sequence[int] = (), path: str = "conn.log"
) -> Parsed:
    """What a format makes of a file, given to it in blocks cut at these lines."""
    dataset = one.sniff(data[:65536], path)
    assert dataset is not None, "not recognised"
    lines = data.splitlines(keepends=True)
    bounds = sorted({0, len(lines), *(cut for cut in cuts if 0 < cut < len(lines))})
    state = one.begin(dataset)
    parts: list[Parsed] = []
    for first, last in itertools.pairwise(bounds):
        offset = sum(map(len, lines[:first]))
        block = Block(path, b"".join(lines[first:last]), offset, first + 1, last == len(lines))
        parsed, state = one.parse(block, state)
        parts.append(parsed)
    return Parsed(
        pl.concat([part.events for part in parts]),
        pl.concat([part.rejects for part in parts]),
        sum(part.lines for part in parts),
        sum(part.record_lines for part in parts),
        sum(part.comments for part in parts),
        frozenset().union(*(part.unknown_fields for part in parts)),
    )


def tsv(data: bytes, cuts: Sequence[int] = ()) -> Parsed:
    return parse(ZeekTsv(), data, cuts)


def from_json(data: bytes, cuts: Sequence[int] = ()) -> Parsed:
    return parse(ZeekJson(), data, cuts)


def ordered(paths: Iterable[Path]) -> tuple[pl.DataFrame, list[InputError], dict[str, int]]:
    """All events of some files in log-time order, what failed, and the lines counted."""
    failed: list[InputError] = []
    counts = {"lines": 0, "record_lines": 0, "rejects": 0, "comments": 0}

    def watch(_source: Source, parsed: Parsed, _taken: int) -> None:
        counts["lines"] += parsed.lines
        counts["record_lines"] += parsed.record_lines
        counts["rejects"] += parsed.rejects.height
        counts["comments"] += parsed.comments

    found = discover([str(path) for path in paths], formats())
    made, _ = streams(found.sources)
    frames = list(merged(made, watch, lambda _source, error: failed.append(error)))
    return (pl.concat(frames) if frames else pl.DataFrame()), failed, counts
