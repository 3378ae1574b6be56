"""Files of socket tables: lines to snapshots to sections of one tool each.

A snapshot begins with a line that tells a time, or with a header that it has already. It is read as
a whole, since a listening socket says which connections were accepted; so what may still be
incomplete is held back until more comes, or the file ends. One that is longer than `PART` is read
in parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np
import polars as pl

from connwatch.contracts import Block, Parsed
from connwatch.schema import empty

from ..clock import DAY, Clock, midnight
from ..headless import Headless
from ..joint import Joint
from ..rejects import reject_rows
from ..zeek_events import Origin
from .netstat import TOOL as NETSTAT
from .proc_net import TOOL as PROC_NET
from .rows import hashed, make
from .sections import PROMPT, Draft, Found, Span, sections
from .ss import TOOL as SS
from .text import BOM, encoding_of, head_text, lines_of, whole_lines
from .times import BARE, LINE, WATCH, Moment, moment_in_name, written
from .tool import Tool

TOOLS: Final[dict[str, Tool]] = {
    "ss": SS,
    "proc_net": PROC_NET,
    "netstat": NETSTAT,  # asked last: its header of Windows is told by its form alone
}
#: bytes of a snapshot that are read together
PART: Final = 16 << 20
#: lines in which a file's first header is looked for, and rows where there is none
_LOOK: Final = 400
#: characters of a line that are looked at for that
_WIDTH: Final = 1_000
_ROWS: Final = 8
_SILENT: Final = pl.DataFrame(schema={"line": pl.Int64(), "lines": pl.Int64()})


@dataclass(frozen=True, slots=True)
class State:
    """What is known between two blocks of a file.

    held: bytes that were not read yet, with their place. draft: of the snapshot that they are of.
    file_time: when the file was written, µs; None: not asked yet.
    """

    encoding: str = ""
    held: bytes = b""
    line: int = 1
    offset: int = 0
    draft: Draft = field(default_factory=Draft)
    file_time: int | None = None


@dataclass(frozen=True, slots=True)
class _File:
    """Snapshots of one file that have rows, and what is to be said of it."""

    path: str
    state: State
    shots: list[Found]
    notes: set[str] = field(default_factory=set)


class Tables(Headless):
    """A format of socket tables."""

    rests = True
    name: str
    description: str
    own: str

    def sniff(self, head: bytes, path: str) -> str | None:
        """The dataset if the first header, or the first rows without one, are this tool's."""
        return f"{self.own}.socket" if _tool_of(head) == self.own else None

    def begin(self, dataset: str) -> State:
        return State(draft=Draft(tool=self.own))

    def parse(self, block: Block, state: State) -> tuple[Parsed, State]:
        if block.offset == 0:
            state = self.begin("")  # what another file of the log left behind is not of this one
        if not state.encoding:
            state = replace(
                state, encoding=encoding_of(block.data), line=block.line, offset=block.offset
            )
        made: list[Parsed] = []
        if block.offset != state.offset + len(state.held):
            # What lies between was too long for a line; nothing goes on behind it.
            parsed, state = self._read(state.held, block.path, state, last=True)
            made.append(parsed)
            state = replace(state, line=block.line, offset=block.offset)
        parsed, state = self._read(state.held + block.data, block.path, state, last=block.last)
        made.append(parsed)
        return _together(made), state

    def held(self, state: State) -> bool:
        return bool(state.held)

    def saved(self, state: State) -> dict[str, Any]:
        return {**asdict(state), "held": state.held.decode("latin-1")}

    def restored(self, saved: Mapping[str, Any]) -> State:
        draft = Draft(**{**saved["draft"], "seen": tuple(saved["draft"]["seen"])})
        return State(**{**saved, "held": saved["held"].encode("latin-1"), "draft": draft})

    def whole(self, blocks: Sequence[Block], dataset: str) -> list[Parsed]:
        """As `contracts.Joining` says. Files of other encodings are read one at a time."""
        joint = Joint(gap=1)
        plain = [
            number
            for number, block in enumerate(blocks)
            if block.data and encoding_of(block.data) == "utf-8" and not block.data.startswith(BOM)
        ]
        for number in plain:
            joint.add(blocks[number].path, blocks[number].data, 1, 0)
        together = dict(zip(plain, self._joined(joint, dataset), strict=True)) if plain else {}
        return [
            together[number] if number in together else self.parse(block, self.begin(dataset))[0]
            for number, block in enumerate(blocks)
        ]

    def _joined(self, joint: Joint, dataset: str) -> list[Parsed]:
        """What is in the runs, each of which is a file."""
        frame = joint.numbered(lines_of(joint.data(), 1, 0, "utf-8"))
        states = [_clocked(self.begin(dataset), path) for path in joint.paths]
        spans = [Span(*rows, one.draft) for rows, one in zip(joint.rows(), states, strict=True)]
        lines, found = sections(frame, spans, TOOLS, PART, last=True)
        shots = [[one for one in of_file if one.runs] for of_file in found]
        files = [_File(*one) for one in zip(joint.paths, states, shots, strict=True)]
        events, rejects, silent = self._snapshots(lines, files)
        made = []
        parts = joint.parted(events, rejects)
        mute = np.bincount(joint.run_of(silent["line"]), silent["lines"], len(files))
        for span, file, part, quiet in zip(spans, files, parts, mute.tolist(), strict=True):
            rows = sum(high - low for one in file.shots for low, high, _ in one.runs)
            records = rows - part[1].height - int(quiet)
            count = span.end - span.first
            comments = count - records - part[1].height
            made.append(Parsed(*part, count, records, comments, notes=frozenset(file.notes)))
        return made

    def _read(self, data: bytes, path: str, state: State, *, last: bool) -> tuple[Parsed, State]:
        """What is whole in `data`, which begins where the state says; all if nothing follows."""
        usable = len(data)
        if state.encoding != "utf-8" and not last:
            usable = whole_lines(data, state.encoding)
        frame = lines_of(data[:usable], state.line, state.offset, state.encoding)
        state = _clocked(state, path)
        lines, (found,) = sections(
            frame, [Span(0, frame.height, state.draft)], TOOLS, PART, last=last
        )
        place, draft = (found[-1].end, found[-1].after) if found else (0, state.draft)
        file = _File(path, state, [one for one in found if one.runs])
        events, rejects, silent = self._snapshots(lines, [file])
        rows = sum(high - low for one in file.shots for low, high, _ in one.runs)
        records = rows - rejects.height - int(silent["lines"].sum())
        begin = int(frame["offset"][place]) - state.offset if place < frame.height else usable
        left = data[begin:]
        line = state.line + place
        comments = place - records - rejects.height
        made = Parsed(events, rejects, place, records, comments, notes=frozenset(file.notes))
        return made, replace(state, held=left, line=line, offset=state.offset + begin, draft=draft)

    def _snapshots(
        self, lines: pl.DataFrame, files: Sequence[_File]
    ) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """Events, rejects, and line and lines of comments among the rows, of the snapshots of these
        files; rows under equal headers are read together."""
        runs = [run for file in files for one in file.shots for run in one.runs]
        if not runs:
            return empty(), reject_rows(), _SILENT
        shots = [len(one.runs) for file in files for one in file.shots]
        of_shot = np.repeat(np.arange(len(shots), dtype=np.uint32), shots)
        snapshots = _times(files, self.clock)
        sizes = np.array([high - low for low, high, _ in runs])
        kinds: dict[tuple[str, str, str], int] = {}
        of_run = [kinds.setdefault((d.tool, d.header, d.title), len(kinds)) for *_, d in runs]
        lines = lines.slice(runs[0][0], int(sizes.sum())).with_columns(
            pl.Series("shot", np.repeat(of_shot, sizes), dtype=pl.UInt32),
            pl.Series("kind", np.repeat(of_run, sizes), dtype=pl.UInt32),
        )
        path = files[0].path if len(files) == 1 else ""
        made = []
        for tool in dict.fromkeys(tool for tool, _, _ in kinds):
            numbers = {number: kind for kind, number in kinds.items() if kind[0] == tool}
            theirs = lines
            if len(numbers) < len(kinds):
                theirs = lines.filter(pl.col("kind").is_in(list(numbers)))
            read = [
                TOOLS[tool].rows(
                    theirs.filter(pl.col("kind") == number) if len(numbers) > 1 else theirs,
                    *kind[1:],
                )
                for number, kind in numbers.items()
            ]
            rows = pl.concat(read, how="diagonal").sort("line") if len(read) > 1 else read[0]
            made.append(self._of_tool(tool, rows, theirs, snapshots, path))
        if len(made) == 1:
            return made[0]
        events, rejects, silent = (pl.concat(part) for part in zip(*made, strict=True))
        return events.sort("event.sequence"), rejects.sort("line"), silent

    def _of_tool(
        self, tool: str, rows: pl.DataFrame, lines: pl.DataFrame, snapshots: pl.DataFrame, path: str
    ) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        silent = _SILENT
        if "fault" in rows and (mute := rows["fault"].eq_missing("")).any():
            silent = rows.filter(mute).select(*_SILENT.columns)
            rows = rows.filter(~mute)
        first = np.searchsorted(lines["line"].to_numpy(), rows["line"].to_numpy())
        rows = rows.with_columns(lines["shot"].gather(first).alias("shot"))
        origin = Origin(path, f"{tool}.socket", self.sensor, self.name)
        contents = lines.group_by("shot").agg("raw").with_columns(pl.col("raw").list.join("\n"))
        told = pl.concat_str(
            pl.lit(f"{origin.dataset}\0{self.sensor}\0"), "told", pl.lit("\0"), "raw"
        )
        with_ids = snapshots.join(contents, on="shot").select(
            "shot", "time", "clock", "host", hashed(told).alias("id")
        )
        return *make(rows, lines, origin, with_ids), silent


def _times(files: Sequence[_File], clock: Clock) -> pl.DataFrame:
    """Columns shot, time, clock, host of snapshots, and told, which makes one another than those
    with the same lines; what is to be said goes to the notes of the files."""
    made: list[tuple[int, int, str, str | None, str]] = []
    for file in files:
        named = moment_in_name(file.path)
        for one in file.shots:
            draft = one.draft
            when, source = _moment(file, draft, named, clock)
            when += draft.turn * (clock.interval or 0)
            # The time at which a file was written is not in it: copies of it are the same.
            told = f"{when if source != 'file' else ''}\0{draft.turn}\0{draft.part}"
            made.append((len(made), when, source, draft.host or None, told))
    types = {
        "shot": pl.UInt32, "time": pl.Int64, "clock": pl.String, "host": pl.String,
        "told": pl.String,
    }  # fmt: skip
    return pl.DataFrame(made, schema=types, orient="row")


def _moment(file: _File, draft: Draft, named: Moment | None, clock: Clock) -> tuple[int, str]:
    """When a snapshot was taken, µs, and what tells it."""
    path, state, zoned = file.path, file.state, True
    if draft.time is not None:
        when, source, zoned = draft.time, "line", draft.zoned
        if draft.days is not None:
            when += draft.days * DAY + _date(path, named, state, clock, file.notes)
    elif named is not None:
        when, source, zoned = named.time, "name", named.zoned
    elif clock.date is not None and clock.interval is not None:
        when, source, zoned = midnight(clock.date), "file", False
    else:
        when, source = state.file_time or 0, "file"
        file.notes.add(f"{path}: tells no time; its sockets have the time at which it was written")
    if not zoned:
        when = clock.utc(when)
        if clock.zone is None:
            file.notes.add(f"{path}: tells times without a zone; they are taken as UTC")
    return when, source


def _date(path: str, named: Moment | None, state: State, clock: Clock, notes: set[str]) -> int:
    """The midnight before a clock without a date, as if its zone were UTC."""
    if clock.date is not None:
        return midnight(clock.date)
    if named is not None:
        return named.time // DAY * DAY
    notes.add(f"{path}: tells no date; its first clock is of the day on which it was written")
    return clock.local(state.file_time or 0) // DAY * DAY


def _clocked(state: State, path: str) -> State:
    """With the time at which the file was written, asked once; that of reading for a pipe."""
    if state.file_time is not None:
        return state
    return replace(state, file_time=written(path))


def _together(parts: list[Parsed]) -> Parsed:
    if len(parts) == 1:
        return parts[0]
    events = [part.events for part in parts if part.events.height]
    rejects = [part.rejects for part in parts if part.rejects.height]
    return Parsed(
        pl.concat(events) if events else empty(),
        pl.concat(rejects) if rejects else reject_rows(),
        sum(part.lines for part in parts),
        sum(part.record_lines for part in parts),
        sum(part.comments for part in parts),
        notes=frozenset().union(*(part.notes for part in parts)),
    )


def _tool_of(head: bytes) -> str | None:
    """The tool whose header comes first; without any, the one whose rows most lines are."""
    rows: dict[str, int] = dict.fromkeys(TOOLS, 0)
    others, quiet = 0, ""
    for line in _first_lines(head):
        text = line[:_WIDTH].rstrip()
        for name, tool in TOOLS.items():
            if re.search(tool.header, text) or (tool.title and re.search(tool.title, text)):
                return name
        if not text or any(re.search(one, text) for one in (LINE, BARE, WATCH, PROMPT)):
            continue
        hit = next((name for name, tool in TOOLS.items() if re.search(tool.row, text)), None)
        if hit is not None:
            rows[hit] += 1
        elif said := [name for name, tool in TOOLS.items() if re.search(tool.comment, text)]:
            quiet = quiet or said[0]
        elif not text[0].isspace():
            others += 1
        if sum(rows.values()) >= _ROWS or others > _ROWS:
            break
    best = max(rows, key=lambda name: rows[name])
    if rows[best]:
        return best if rows[best] > others else None
    return quiet if quiet and not others else None


def _first_lines(head: bytes) -> Iterator[str]:
    return iter(head_text(head).splitlines()[:_LOOK])


class Ss(Tables):
    name = "ss"
    description = "tables of sockets by ss, with any options (Linux)"
    own = "ss"


class Netstat(Tables):
    name = "netstat"
    description = "tables of sockets by netstat (net-tools, BusyBox, BSD, macOS, Windows)"
    own = "netstat"


class ProcNet(Tables):
    name = "proc-net"
    description = "text of /proc/net/{tcp,tcp6,udp,udp6,raw,raw6,unix,…} (Linux)"
    own = "proc_net"
