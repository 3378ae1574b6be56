"""From what the user names (paths, folders, globs, `-`) to the files to read, each with its format.

Nothing is left out silently: what is not read is in `Found.skipped` with the reason.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import polars as pl

from connwatch.contracts import Block, Format, Joining, Parsed
from connwatch.errors import InputError
from connwatch.schema import DERIVED

from .describe import describe
from .families import family, stem
from .opening import STDIN, Opened

HEAD: Final = 65_536
#: … and in which there mostly is a first record
_NEAR: Final = 4_096
#: small files that are read together
TOGETHER: Final = 256
_END: Final = DERIVED["event.end"].dt.epoch("us").alias("end")


@dataclass(frozen=True, slots=True)
class Tail:
    """last_end: log time of the last record, µs since the epoch; closed: as the format tells."""

    last_end: int | None
    closed: str | None


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read.

    path: as given (under a folder: joined to it). dataset, opened: as its format tells. first_end:
    log time of its first record, µs since the epoch, and first_id: that record's id; None when its
    beginning holds no record. stream: a pipe or device, already open and read up to `head`. header:
    of an earlier piece of the same log; it holds for this one, which has none (copytruncate). tail:
    of a file that is no longer than `HEAD` and of a format that reads such files together.
    """

    path: str
    format: Format[Any]
    dataset: str
    opened: str | None
    first_end: int | None
    first_id: str
    size: int | None
    head: bytes = b""
    stream: Opened | None = None
    header: bytes = b""
    tail: Tail | None = None

    def begin(self) -> Any:
        """The parser's state before the first line."""
        state = self.format.begin(self.dataset)
        if self.header:
            _, state = self.format.parse(Block(self.path, self.header, 0, 1, False), state)
        return state


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not read, and why; `failed` when it was meant to be readable."""

    path: str
    reason: str
    failed: bool = False


@dataclass(slots=True)
class Found:
    sources: list[Source] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def discover(
    paths: Sequence[str],
    formats: Sequence[Format[Any]],
    *,
    strict: bool = False,
    forced: bool = False,
) -> Found:
    """The files that `paths` name, in the order of their names, each file once.

    formats: asked in order; forced: the user has named the format, so its only member reads every
    file. strict: a file of an unknown kind is an InputError. A path that does not exist is one.
    """
    found = Found()
    small: list[tuple[int, bytes]] = []
    seen: dict[tuple[int, int], str] = {}
    for path in _expanded(paths, found):
        identity = _identity(path)
        if identity is not None and identity in seen:
            found.skipped.append(Skipped(path, f"the same file as {seen[identity]}"))
            continue
        if identity is not None:
            seen[identity] = path
        try:
            outcome, whole = _look(path, formats, forced)
        except InputError as error:
            found.skipped.append(Skipped(path, error.message, failed=True))
            continue
        if isinstance(outcome, Source):
            if whole:
                small.append((len(found.sources), whole))
            found.sources.append(outcome)
            if len(small) == TOGETHER:
                _tell(found.sources, small)
                small = []
            continue
        if strict and outcome.reason != "empty":
            raise InputError(
                f"not a log that can be read: {outcome.reason}",
                where=path,
                hint="leave it out, name its format with --format, or do without --strict",
            )
        found.skipped.append(outcome)
    _tell(found.sources, small)
    _adopt(found)
    return found


def _tell(sources: list[Source], small: Sequence[tuple[int, bytes]]) -> None:
    """Fill in what the first and the last records of small files say. small: where they stand, and
    all that is in them."""
    kinds: dict[tuple[str, str], list[tuple[int, bytes]]] = {}
    for place, data in small:
        kinds.setdefault((sources[place].format.name, sources[place].dataset), []).append(
            (place, data)
        )
    for (_, dataset), files in kinds.items():
        form = sources[files[0][0]].format
        if not isinstance(form, Joining):
            continue
        made = form.whole(
            [Block(sources[place].path, data, 0, 1, True) for place, data in files], dataset
        )
        ends = pl.concat([one.events.select(_END, "event.id") for one in made])
        row = 0
        for (place, data), one in zip(files, made, strict=True):
            rows = one.events.height
            first = ends.row(row) if rows else (None, "")
            row += rows
            tail = Tail(ends["end"][row - 1] if rows else None, form.closed(data))
            sources[place] = replace(
                sources[place], first_end=first[0], first_id=first[1], tail=tail
            )


def _adopt(found: Found) -> None:
    """Pieces without a header, which are told by the others of their log (same folder and name):
    after copytruncate the header of the piece before still holds."""
    logs: dict[tuple[str, str], list[Source]] = {}
    for source in found.sources:
        if source.stream is None:
            logs.setdefault((family(source.path), stem(source.path)), []).append(source)
    for one in list(found.skipped):
        others = [] if one.failed else logs.get((family(one.path), stem(one.path)), [])
        pieces = map(partial(_piece, one.path), others)
        piece = next((made for made in pieces if made is not None), None)
        if piece is not None:
            found.skipped.remove(one)
            found.sources.append(piece)


def _piece(path: str, other: Source) -> Source | None:
    """A file as a piece without header of the log that another is of; None: it is not."""
    header = leading_comments(_head(other.path))
    head = _head(path)
    if not header or not head or leading_comments(head):
        return None
    opened = Opened(path)
    opened.close()
    source = replace(other, path=path, opened=None, size=opened.size, header=header, tail=None)
    parsed = _parsed(source, head)
    if parsed.events.is_empty() or parsed.rejects.height > parsed.events.height:
        return None
    first_end, first_id = _first_of(parsed.events)
    return replace(source, first_end=first_end, first_id=first_id)


def _head(path: str) -> bytes:
    try:
        opened = Opened(path)
    except InputError:
        return b""
    try:
        return opened.read(HEAD)
    except InputError:
        return b""
    finally:
        opened.close()


def leading_comments(head: bytes) -> bytes:
    """The lines that begin with # before the first that does not."""
    end = 0
    while head.startswith(b"#", end):
        newline = head.find(b"\n", end)
        if newline < 0:
            break
        end = newline + 1
    return head[:end]


def _parsed(source: Source, head: bytes) -> Parsed:
    cut = head.rfind(b"\n") + 1 if len(head) == HEAD else len(head)
    parsed, _ = source.format.parse(Block(source.path, head[:cut], 0, 1, False), source.begin())
    return parsed


def _expanded(paths: Sequence[str], found: Found) -> Iterator[str]:
    for path in paths:
        if path == STDIN:
            yield path
        elif Path(path).is_dir():
            yield from _walk(path, found)
        elif os.path.lexists(path):
            yield path
        elif matches := sorted(glob.glob(path, recursive=True)):  # noqa: PTH207  path is text
            for match in matches:
                if Path(match).is_dir():
                    yield from _walk(match, found)
                else:
                    yield match
        else:
            raise InputError("no such file or folder", where=path, hint="nothing was read")


def _walk(folder: str, found: Found) -> Iterator[str]:
    def failed(error: OSError) -> None:
        reason = error.strerror or str(error)
        found.skipped.append(Skipped(str(error.filename), reason, failed=True))

    walked: set[tuple[int, int]] = set()
    for here, folders, names in os.walk(folder, followlinks=True, onerror=failed):
        identity = _identity(here)
        if identity is None or identity in walked:  # a link that leads back up
            folders.clear()
            continue
        walked.add(identity)
        folders.sort()
        for name in sorted(names):
            yield str(Path(here) / name)


def _identity(path: str) -> tuple[int, int] | None:
    if path == STDIN:
        return None
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _look(
    path: str, formats: Sequence[Format[Any]], forced: bool
) -> tuple[Source | Skipped, bytes]:
    """Read the beginning of a file and ask the formats what it is. Of a file that is read with
    others, all that is in it too: its first record is still to be told."""
    opened = Opened(path)
    keep = False
    try:
        try:
            head = opened.read(HEAD)
        except InputError as error:
            return Skipped(path, error.message, failed=True), b""
        if not head:
            return Skipped(path, "empty"), b""
        for one in formats:
            dataset = one.sniff(head, path)
            if dataset is None and forced:
                dataset = one.sniff(head, "") or "zeek.connection"
            if dataset is None:
                continue
            keep = opened.size is None
            small = not keep and isinstance(one, Joining) and is_whole(opened, head)
            first_end, first_id = (None, "") if small else first_record(one, head, dataset, path)
            source = Source(
                path,
                one,
                dataset,
                one.opened(head),
                first_end,
                first_id,
                opened.size,
                head if keep else b"",
                opened if keep else None,
            )
            return source, head if small else b""
        return Skipped(path, describe(head)), b""
    finally:
        if not keep:
            opened.close()


def is_whole(opened: Opened, head: bytes) -> bool:
    """Whether nothing follows what was read of a file."""
    try:
        return len(head) < HEAD and not opened.read(1)
    except InputError:
        return False


def first_record(one: Format[Any], head: bytes, dataset: str, path: str) -> tuple[int | None, str]:
    """Log time and id of the first record in a file's beginning."""
    cut = head.rfind(b"\n") + 1 if len(head) == HEAD else len(head)
    near = head.find(b"\n", _NEAR, cut) + 1
    for size in (near, cut) if near else (cut,):
        # As if nothing followed: what a format holds back until it has seen more is wanted too.
        parsed, _ = one.parse(Block(path, head[:size], 0, 1, True), one.begin(dataset))
        if not parsed.events.is_empty():
            return _first_of(parsed.events)
    return None, ""


def _first_of(events: pl.DataFrame) -> tuple[int, str]:
    end, event_id = events.head(1).select(_END, "event.id").row(0)
    return end, event_id
