"""Streams: one log as it was written, through all its rotations.

The files of one dataset in one folder family (`current/conn.log`, `2026-11-20/conn.00:00:00-…gz`)
follow one another in the order in which they were written. Files whose times overlap cannot be
pieces of one log; they become streams of their own, and that is said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from .families import family, stem
from .files import Source, Tail
from .sockets.seen import ROWS
from .tails import read_tail

#: the span in the name of a rotated Zeek log: conn.00:00:00-01:00:00.log.gz
_SPAN: Final = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)/[^/]*\.(?P<start>\d\d[:.]\d\d[:.]\d\d)-(?P<end>\d\d[:.]\d\d[:.]\d\d)\.[^/]*$"
)
#: µs by which a piece may begin before the end of the one before it: Zeek writes a connection up
#: to its inactivity timeout (5 minutes for TCP, a minute for UDP) after its end
_SLACK: Final = 600_000_000


@dataclass(frozen=True, slots=True)
class Stream:
    """Files in the order in which they were written.

    key: what orders streams whose records have the same log time: dataset, then the first record's
    time and id, so that neither paths nor the order of arguments matter.
    """

    sources: tuple[Source, ...]

    @property
    def key(self) -> tuple[str, int, str, str]:
        first = self.sources[0]
        return first.dataset, first.first_end or 0, first.first_id, first.path


def streams(sources: Sequence[Source]) -> tuple[list[Stream], list[str]]:
    """The streams, by key, and what is to be said about how they were told apart."""
    families: dict[tuple[str, str, str], list[Source]] = {}
    for source in sources:
        log = family(source.path)
        if source.dataset.endswith(ROWS):
            # Tables of several hosts lie in one folder; their names tell them apart.
            log = f"{log}/{stem(source.path)}"
        key = source.dataset, log, source.format.name
        families.setdefault(key, []).append(source)
    made: list[Stream] = []
    notes: list[str] = []
    for (_, folder, _), members in families.items():
        chains = _chains(_ordered(members))
        if len(chains) > 1:
            notes.append(
                f"{folder or '.'}: files overlap in time and are read as {len(chains)} logs "
                "side by side (two sensors, or copies)"
            )
        made.extend(Stream(tuple(chain)) for chain in chains)
    return sorted(made, key=lambda stream: stream.key), sorted(notes)


def _ordered(members: Sequence[Source]) -> list[Source]:
    """By the time in the headers if all have one, else by the first record, else by name."""
    if all(source.opened is not None for source in members):
        return sorted(members, key=lambda s: (s.opened or "", s.first_end or 0, s.first_id, s.path))
    return sorted(members, key=lambda s: (s.first_end or 0, s.first_id, s.path))


def _chains(members: Sequence[Source]) -> list[list[Source]]:
    """Files that can follow one another, in one chain each."""
    if len(members) == 1:
        return [list(members)]
    if _named_in_turn(members):
        return [list(members)]
    chains: list[tuple[list[Source], Tail]] = []
    for source in members:
        tail = read_tail(source)
        for number, (chain, end) in enumerate(chains):
            if _follows(source, end):
                chain.append(source)
                chains[number] = (chain, tail if tail.last_end is not None else end)
                break
        else:
            chains.append(([source], tail))
    return [chain for chain, _ in chains]


def _named_in_turn(members: Sequence[Source]) -> bool:
    """Whether the names are those of Zeek's archives, each span after the one before."""
    spans = [_SPAN.search(source.path) for source in members]
    starts = [f"{s['day']}/{s['start']}" for s in spans if s is not None]
    ends = [
        f"{s['day']}/{s['end'] if s['end'] > s['start'] else '24'}" for s in spans if s is not None
    ]
    return len(starts) == len(members) and all(
        end <= start for end, start in zip(ends, starts[1:], strict=False)
    )


def _follows(source: Source, end: Tail) -> bool:
    if source.opened is not None and end.closed is not None:
        return source.opened >= end.closed
    if source.first_end is None or end.last_end is None:
        return True
    return source.first_end >= end.last_end - _SLACK
