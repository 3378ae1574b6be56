"""What the first bytes of a file tell: its format, its age, and its first record."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from connwatch.contracts import Format

from ..files import first_record
from .wanted import Saved, Wanted

#: bytes by which a file is told
HEAD: Final = 65_536


@dataclass(slots=True)
class Look:
    """first: hash of the first whole line that is no comment ("": none yet). opened: when the log
    says it was begun. first_end: log time of the first record, µs since the epoch."""

    first: str = ""
    opened: str | None = None
    first_end: int | None = None

    @classmethod
    def restored(cls, saved: Saved) -> Look:
        opened, end = saved.get("opened"), saved.get("first_end")
        return cls(
            str(saved.get("first", "")),
            opened if isinstance(opened, str) else None,
            end if isinstance(end, int) else None,
        )

    def record(self) -> dict[str, Any]:
        return {"first": self.first, "opened": self.opened, "first_end": self.first_end}


def looked(head: bytes, one: Format[Any], dataset: str, path: str) -> Look:
    """What these first bytes (at most 64 KiB) tell; `one` is the format that reads them."""
    end, _ = first_record(one, head, dataset, path)
    return Look(first_line(head), one.opened(head), end)


def sniffed(head: bytes, path: str, wanted: Wanted) -> tuple[Format[Any], str] | None:
    """The format and dataset of a file; None if no format knows it."""
    for one in wanted.formats:
        dataset = one.sniff(head, path)
        if dataset is None and wanted.forced:
            dataset = one.sniff(head, "") or "zeek.connection"
        if dataset is not None:
            return one, dataset
    return None


def header_size(head: bytes) -> int:
    """Bytes of the whole lines at the beginning that start with #."""
    position = 0
    while head.startswith(b"#", position):
        newline = head.find(b"\n", position)
        if newline < 0:
            break
        position = newline + 1
    return position


def first_line(head: bytes) -> str:
    """The hash of the first whole line that is no comment; "" if there is none."""
    begin = header_size(head[:HEAD])
    while head.startswith((b"#", b"\n", b"\r"), begin):
        newline = head.find(b"\n", begin)
        if newline < 0:
            return ""
        begin = newline + 1
    end = head.find(b"\n", begin)
    return digest(head[begin:end]) if end > begin else ""


def digest(data: bytes) -> str:
    """A hash of some bytes, as text."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()
