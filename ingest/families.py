"""Names of logs through rotation: which folder family a file is of, and its stem.

current/conn.log
2026-11-20/conn.00:00:00-01:00:00.log.gz     one family (the folder above), one stem: conn
conn.log.1  conn.log-20261121.gz  conn-26-11-21_10.00.00.log
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import PurePath
from typing import Final

#: folders that rotation makes, which are no part of a family's name
_FOLDER: Final = re.compile(r"current|archive|\d{4}-\d\d(?:-\d\d)?|\d{8}|\d{4}", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[._-](\d{1,5})$")
_CLOCK: Final = r"\d\d(?:[.:-]?\d\d(?:[.:-]?\d\d)?)?"
#: what only says how a file is written
_FORMS: Final = frozenset({"log", "json", "jsonl", "ndjson", "tsv", "txt"})
#: what rotation puts at the end of a name, and what says how a file is written
_MARKS: Final = (
    re.compile(rf"\.(?:gz|zst|zstd|bz2|xz|old|{'|'.join(sorted(_FORMS))})$", re.IGNORECASE),
    re.compile(r"\.\d\d[:.]\d\d[:.]\d\d-\d\d[:.]\d\d[:.]\d\d$"),
    re.compile(rf"[._-]\d{{4}}-\d\d(?:-\d\d(?:[-_T.]{_CLOCK}Z?)?)?$"),
    re.compile(rf"[._-]\d\d-\d\d-\d\d_{_CLOCK}$"),
    re.compile(rf"[._-]20\d{{6}}(?:[-_T.]?{_CLOCK}Z?)?$"),
    re.compile(r"[._-]\d{10}(?:\.\d+)?$"),
    _NUMBER,
)


def family(path: str) -> str:
    """The folder of a file, without the folders that rotation makes."""
    parts = list(PurePath(path).parts[:-1])
    while parts and is_rotation_folder(parts[-1]):
        parts.pop()
    return str(PurePath(*parts))


def is_rotation_folder(name: str) -> bool:
    """Whether rotation makes folders of this name: `current`, `archive`, dates."""
    return _FOLDER.fullmatch(name) is not None


def stem(path: str) -> str:
    """The name of the log that a file is a piece of: without rotation's marks and suffixes."""
    return _peeled(_name(path))[0]


def numbered(path: str) -> bool:
    """Whether the name has a number, as only rotated files do: conn.log.1, conn.log.2.gz."""
    return any(_NUMBER.search(mark) and len(mark) <= 6 for mark in _peeled(_name(path))[1])


def marked(path: str) -> bool:
    """Whether name or folder tell of a rotation, even if the file may still be written to."""
    marks = [mark for mark in _peeled(_name(path))[1] if mark[1:2].isdigit()]
    folder = _name(path.rpartition("/")[0])
    return bool(marks) or (is_rotation_folder(folder) and folder.lower() != "current")


def rotated(path: str) -> bool:
    """Whether name or folder tell of a rotation or compression, so that this may be a piece of the
    log with that stem; a name without (conn.json.log beside conn.log) is that of another log."""
    marks = _peeled(_name(path))[1]
    return marked(path) or any(mark[1:].lower() not in _FORMS for mark in marks)


def turn(path: str) -> tuple[int, int, str]:
    """Sorts the names of one log's pieces as rotation numbers and dates them, oldest first."""
    numbers = [mark for mark in _peeled(_name(path))[1] if _NUMBER.search(mark)]
    dates = [
        mark for mark in _peeled(_name(path))[1] if mark[1:2].isdigit() and mark not in numbers
    ]
    folder = _name(path.rpartition("/")[0])
    if numbers:
        return 0, -int(numbers[-1][1:]), ""
    if marked(path):
        return 0, 0, f"{folder}/{''.join(reversed(dates))}"
    return 1, 0, ""


def _name(path: str) -> str:
    return path.rpartition("/")[2]


@lru_cache(maxsize=65_536)
def _peeled(name: str) -> tuple[str, tuple[str, ...]]:
    """Stem and what was taken off, last first."""
    taken: list[str] = []
    while True:
        found = next((m for mark in _MARKS if (m := mark.search(name)) and m.start() > 0), None)
        if found is None:
            return name, tuple(taken)
        taken.append(found.group())
        name = name[: found.start()]
