"""Lines to snapshots, and these to sections under one header."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .times import BARE, LINE, WATCH, moment_of, watched
from .tool import Tool

#: a shell's prompt with or without a command: user@host:~$, [user@host dir]#, $, PS C:\>, C:\>
PROMPT: Final = (
    r"^(?:\([\w.-]+\) )?(?:\[?[\w.-]+@[\w.-]+(?:[: ][^$#%>]{0,200})?\]?\s?[$#%>]"
    r"|[$#%+>]+ |[$#%>]+$|(?:PS )?[A-Za-z]:\\[^>]{0,200}>)"
)
_HOST: Final = re.compile(r"^(?:\([\w.-]+\) )?\[?[\w.-]+@(?P<host>[\w.-]+)")
#: lines between tables that are neither: names of files, frames, an end
COMMENTS: Final = (
    r"^(?:==> .* <==|[=*#~-]{3,}.*|#.*|/proc/(?:[0-9]+/)?net/\w+:?|exit|logout"
    r"|\(standard input\):?)$"
)


@dataclass(frozen=True, slots=True)
class Draft:
    """What is known of a snapshot at some line of it.

    time: µs; None: not told. days: None, or, as there was no date and time is that of the day, how
    many midnights have passed. seen: headers that it has. turn: which one it is of those with that
    time; part: of the part in the snapshot. host: "" where it is not told. tool, header: of the
    lines to come; title: what stood above that header. begun: whether it has rows.
    """

    tool: str = ""
    header: str = ""
    title: str = ""
    host: str = ""
    time: int | None = None
    zoned: bool = True
    days: int | None = None
    seen: tuple[str, ...] = ()
    turn: int = 0
    part: int = 0
    begun: bool = False


#: how most rows begin, and no other line does
_ROW: Final = (
    r"^(?:(?:(?:tcp|udp)[46]*|ESTAB|LISTEN|TIME-WAIT|CLOSE-WAIT|UNCONN|u_str|u_dgr) "
    r"| {0,9}[0-9]{1,9}: [0-9A-Fa-f]{8}"
    r"|\t ?(?:(?:ts|sack|ecn|ecnseen|fastopen|cubic|reno|bbr|dctcp) "
    r"|(?:skmem|wscale|rto|rtt|mss|cwnd|uid|ino|sk|cgroup):))"
)

#: rows under one header: the first, that behind the last, what is known
Run = tuple[int, int, Draft]


@dataclass(frozen=True, slots=True)
class Found:
    """A snapshot, or part of one; without runs if it has no rows.

    draft: what is known at its last row. end: the line of the frame behind it. after: what is known
    there.
    """

    draft: Draft
    runs: list[Run]
    end: int
    after: Draft


@dataclass(frozen=True, slots=True)
class _Mark:
    """A line that is no row: row number, kind (time, host, title, header), text, tool."""

    row: int
    kind: str
    text: str
    tool: str


@dataclass(slots=True)
class _Shot:
    """A snapshot: the line of the frame where it starts, what is known there, its rows."""

    start: int
    first: Draft
    runs: list[Run] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Span:
    """Lines of one file: the first, that behind the last, and what is known before them."""

    first: int
    end: int
    draft: Draft


def sections(
    frame: pl.DataFrame, spans: Sequence[Span], tools: Mapping[str, Tool], part: int, *, last: bool
) -> tuple[pl.DataFrame, list[list[Found]]]:
    """The lines that may be rows, and of each span the snapshots that are whole, and whole parts of
    the one that is not; all if `last`. Their runs follow one another without a gap.

    frame: raw, line, offset, text of lines. spans: all of it. part: bytes.
    """
    silent, marks = _marks(frame, tools)
    lines = frame.with_row_index("row").filter(~silent)
    rows = lines["row"].to_numpy()
    edges = np.searchsorted([mark.row for mark in marks], [one.first for one in spans]).tolist()
    found: list[list[Found]] = []
    for span, low, high in zip(spans, edges, [*edges[1:], len(marks)], strict=True):
        shots, draft = _shots(rows, marks[low:high], span)
        here: list[Found] = []
        for shot, following in itertools.zip_longest(shots, shots[1:]):
            end = (span.end, draft) if last else None
            if following is not None:
                end = following.start, following.first
            here.extend(_parts(lines, shot, tools, part, end))
        if last and here and here[-1].runs:
            # Should anything follow all the same, it is of another part.
            after = replace(draft, part=here[-1].draft.part + 1)
            here[-1] = replace(here[-1], after=after)
        found.append(here)
    return lines, found


def _marks(frame: pl.DataFrame, tools: Mapping[str, Tool]) -> tuple[pl.Series, list[_Mark]]:
    """Which lines are no rows, and those of them that say something."""
    text = pl.col("text")
    headers = "|".join(f"(?:{tool.header})" for tool in tools.values())
    titles = "|".join(f"(?:{tool.title})" for tool in tools.values() if tool.title)
    quiet = "|".join(f"(?:{tool.comment})" for tool in tools.values())
    # Nearly all lines are rows, and most of these begin in one of a few ways.
    rest = (~frame["text"].str.contains(_ROW)).arg_true()
    found = (
        frame.select(text.gather(rest))
        .select(
            kind=pl.when(text == "")
            .then(pl.lit("blank"))
            .when(text.str.contains(headers))
            .then(pl.lit("header"))
            .when(text.str.contains(f"{LINE}|{BARE}|{WATCH}"))
            .then(pl.lit("time"))
            .when(text.str.contains(titles))
            .then(pl.lit("title"))
            .when(text.str.contains(PROMPT))
            .then(pl.lit("host"))
            .when(text.str.contains(f"{quiet}|{COMMENTS}"))
            .then(pl.lit("comment"))
        )
        .to_series()
    )
    silent = np.zeros(frame.height, dtype=np.bool_)
    silent[rest.filter(found.is_not_null()).to_numpy()] = True
    wanted = found.is_in(["header", "time", "title", "host"])
    places = rest.filter(wanted)
    marks = []
    for row, kind, line in zip(
        places, found.filter(wanted), frame["text"].gather(places), strict=True
    ):
        pattern = "header" if kind == "header" else "title"
        said = ((name, getattr(tool, pattern)) for name, tool in tools.items())
        tool = next((name for name, one in said if one and re.search(one, line)), "")
        marks.append(_Mark(row, kind, line, tool))
    return pl.Series(silent), marks


def _shots(rows: NDArray[np.uint32], marks: list[_Mark], span: Span) -> tuple[list[_Shot], Draft]:
    """Snapshots in order; one without rows where there is nothing else. And what is known behind
    the last line."""
    draft = span.draft
    shots = [_Shot(span.first, draft)]
    places = [span.first, *(mark.row for mark in marks), span.end]
    low, *highs = np.searchsorted(rows, places).tolist()
    for mark, high in zip((*marks, None), highs, strict=True):
        if high > low:
            draft = replace(draft, begun=True)
            shots[-1].runs.append((low, high, draft))
            low = high
        if mark is None:
            break
        if _is_new(mark, draft):
            draft = replace(draft, seen=(), title="", turn=draft.turn + 1, part=0, begun=False)
            shots.append(_Shot(mark.row, draft))
        draft = _told(mark, draft)
    return shots, draft


def _is_new(mark: _Mark, draft: Draft) -> bool:
    """Whether another snapshot begins here."""
    if mark.kind == "time":
        return draft.begun or draft.time is not None or bool(draft.seen)
    return mark.kind in ("header", "title") and _key(mark) in draft.seen


def _told(mark: _Mark, draft: Draft) -> Draft:
    """What is known behind a mark."""
    if mark.kind == "time":
        told, seen = moment_of(mark.text), watched(mark.text)
        if told is not None:
            days = None if told.dated else _days(draft, told.time)
            draft = replace(draft, time=told.time, zoned=told.zoned, days=days, turn=0)
        return replace(draft, host=seen[1]) if seen is not None and seen[1] else draft
    if found := _HOST.match(mark.text):
        draft = replace(draft, host=found["host"])
    if mark.kind == "host":
        return draft
    draft = replace(draft, seen=(*draft.seen, _key(mark)))
    if mark.kind == "title":
        return replace(draft, title=mark.text, tool=mark.tool, header="")
    title = draft.title if draft.tool == mark.tool and not draft.header else ""
    # The columns of ss are as wide as its rows; its header says the same.
    header = " ".join(mark.text.split()) if mark.tool == "ss" else mark.text
    return replace(draft, tool=mark.tool, header=header, title=title)


def _days(draft: Draft, time: int) -> int:
    """Midnights up to a clock without date: it has passed one when it goes back."""
    if draft.days is None or draft.time is None:
        return 0
    return draft.days + (time < draft.time)


def _key(mark: _Mark) -> str:
    """Equal for the headers of equal tables, however wide their columns are."""
    return f"{mark.tool} {mark.kind} {' '.join(mark.text.split())}"


def _parts(
    lines: pl.DataFrame,
    shot: _Shot,
    tools: Mapping[str, Tool],
    part: int,
    end: tuple[int, Draft] | None,
) -> Iterator[Found]:
    """A snapshot in parts. end: the line behind it, and what is known there; None: it may go on."""
    runs: list[Run] = []
    number, begin, draft = shot.first.part, -1, shot.first
    for first, high, draft in shot.runs:
        low = first
        while low < high:
            begin = int(lines["offset"][low]) if begin < 0 else begin
            cut = high
            if int(lines["offset"][high - 1]) >= begin + part:
                cut = low + _cut(lines.slice(low, high - low), begin + part, tools[draft.tool])
            if cut > low:
                runs.append((low, cut, draft))
            low = cut
            if low < high:
                after = replace(draft, part=number + 1)
                yield Found(replace(draft, part=number), runs, int(lines["row"][low]), after)
                runs, number, begin = [], number + 1, -1
    if end is not None:
        yield Found(replace(draft, part=number), runs, *end)


def _cut(rows: pl.DataFrame, offset: int, tool: Tool) -> int:
    """How many rows come before the first record that begins at that offset or behind it."""
    near = int(rows["offset"].search_sorted(offset, "left"))
    if near == rows.height:
        return near
    begins = rows["text"].slice(near).str.contains(tool.row)
    return near + (begins.arg_max() or 0) if begins.any() else rows.height
