"""When a snapshot was taken: lines that `date` and `watch` print, prompts, and names of files.

Sat Nov 21 07:26:35 UTC 2026            Sat 21 Nov 2026 07:26:35 AM CET
2026-11-21T07:26:35+01:00               === 2026-11-21 07:26:35 ===
1795245995.123                          Every 2.0s: ss -tan       srv: Sat Nov 21 07:26:35 2026
ss-srv-20261121T072635Z.txt             netstat_2026-11-21_07-26-35.log
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from dateutil import parser, tz

_MONTH: Final = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DAY: Final = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_CLOCK: Final = r"[0-9]{1,2}:[0-9][0-9]:[0-9][0-9](?:[.,][0-9]{1,9})?(?: ?[AaPp]\.?[Mm]\.?)?"
_ZONE: Final = r"(?: ?(?:[+-][0-9][0-9]:?[0-9][0-9]|Z|[A-Z]{2,5}))?"
_WORDS: Final = (
    rf"{_DAY},? {_MONTH} +[0-9]{{1,2}},? {_CLOCK}{_ZONE} [0-9]{{4}}"
    rf"|(?:{_DAY},? )?[0-9]{{1,2}} {_MONTH} [0-9]{{4}},? {_CLOCK}{_ZONE}"
    rf"|[0-9]{{4}}-[0-9][0-9]-[0-9][0-9][T ]{_CLOCK}{_ZONE}"
)
#: such a line may be framed: === … ===, # …, [ … ], date: …
LINE: Final = (
    rf"^[\s#=*\[<>|-]*(?:(?:[Dd]ate|[Tt]ime|[Tt]imestamp|TIME|DATE|TIMESTAMP)\s*[:=]\s*)?"
    rf"(?:{_WORDS}|1[0-9]{{9}}(?:\.[0-9]{{1,9}})?)[\s#=*\]<>|:-]*$"
)
#: a clock alone; its date is the user's, the file name's or the file's
BARE: Final = rf"^[\s#=*\[<>|-]*(?:(?:[Tt]ime|TIME)\s*[:=]\s*)?{_CLOCK}[\s#=*\]<>|:-]*$"
WATCH: Final = rf"^Every [0-9]+(?:[.,][0-9]+)?s: .*?(?:{_WORDS})$"
_FOUND: Final = re.compile(rf"(?P<words>{_WORDS})|(?P<epoch>\b1[0-9]{{9}}(?:\.[0-9]{{1,9}})?)\b")
_BARE: Final = re.compile(_CLOCK)
_WATCHED: Final = re.compile(
    rf"^Every [0-9]+(?:[.,][0-9]+)?s: (?P<command>.*?)\s(?:(?P<host>[\w.-]+): )?(?:{_WORDS})$"
)
_NAME: Final = re.compile(
    r"(?<![0-9])(?P<y>20[0-9][0-9])[-_.]?(?P<m>[0-9][0-9])[-_.]?(?P<d>[0-9][0-9])[-_T.]?"
    r"(?P<H>[0-2][0-9])[-_:.h]?(?P<M>[0-5][0-9])(?:[-_:.m]?(?P<S>[0-5][0-9]))?(?P<z>Z)?(?![0-9])"
)
_NAME_DAY: Final = re.compile(
    r"(?<![0-9])(?P<y>20[0-9][0-9])(?P<dash>[-_.]?)(?P<m>[0-9][0-9])(?P=dash)(?P<d>[0-9][0-9])(?![0-9]{1,3}(?![0-9]))"
)
_NAME_EPOCH: Final = re.compile(r"(?<![0-9])(1[0-9]{9})(?![0-9])")
#: hours of the zones that `date` names by letters; others are not taken for what they may not be
_HOURS: Final = {
    "UTC": 0, "GMT": 0, "Z": 0, "WET": 0, "WEST": 1, "CET": 1, "CEST": 2, "EET": 2, "EEST": 3,
    "MSK": 3, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8,
    "PDT": -7, "JST": 9, "KST": 9, "AEST": 10, "AEDT": 11, "NZST": 12, "NZDT": 13,
}  # fmt: skip
_ZONES: Final = {name: tz.tzoffset(name, hours * 3600) for name, hours in _HOURS.items()}
_DAY_LONG: Final = 86_400_000_000  # µs
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_ONE: Final = datetime(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Moment:
    """µs since the epoch; zoned: whether its zone was said (else it is as if it were UTC). dated:
    whether there was a date; else µs since midnight."""

    time: int
    zoned: bool
    dated: bool = True


def moment_of(line: str) -> Moment | None:
    """The time that a line tells which `LINE`, `BARE` or `WATCH` matches; None: no such hour."""
    found = _FOUND.search(line)
    if found is None:
        return _bare(line)
    if epoch := found["epoch"]:
        whole, _, part = epoch.partition(".")
        return Moment(int(whole) * 1_000_000 + int(part.ljust(6, "0")[:6]), zoned=True)
    text = found["words"]
    try:
        return _moment(datetime.fromisoformat(text))
    except ValueError:
        pass  # another form
    for word in re.findall(r"\b[A-Z]{2,5}\b", text):
        if word not in _ZONES and word not in ("AM", "PM"):
            text = text.replace(word, "")  # a zone that could be one of several
    try:
        when = parser.parse(text.replace(",", " ", 1) if text[3:4] == "," else text, tzinfos=_ZONES)
    except (ValueError, OverflowError):
        return None
    return _moment(when)


def _bare(line: str) -> Moment | None:
    found = _BARE.search(line)
    try:
        when = None if found is None else parser.parse(found[0].replace(",", "."), default=_DAY_ONE)
    except (ValueError, OverflowError):
        return None
    return None if when is None else Moment(_moment(when).time, zoned=False, dated=False)


def watched(line: str) -> tuple[str, str] | None:
    """Command and host that a header of `watch` names."""
    found = _WATCHED.match(line)
    return (found["command"].strip(), found["host"] or "") if found else None


def moment_in_name(path: str) -> Moment | None:
    """The time, to the minute at least, in a file's name."""
    name = path.rpartition("/")[2]
    for found in _NAME.finditer(name):
        y, m, d, hour, minute = (int(found[part]) for part in "ymdHM")
        try:
            when = datetime(y, m, d, hour, minute, int(found["S"] or 0))
        except ValueError:
            continue
        return Moment(_moment(when).time, zoned=found["z"] is not None)
    epoch = _NAME_EPOCH.search(name)
    return None if epoch is None else Moment(int(epoch[1]) * 1_000_000, zoned=True)


def day_in_name(path: str) -> int | None:
    """Midnight of the day in a file's name, µs since the epoch; of a time there, its day."""
    told = moment_in_name(path)
    if told is not None:
        return told.time - told.time % _DAY_LONG
    for found in _NAME_DAY.finditer(path.rpartition("/")[2]):
        try:
            when = datetime(int(found["y"]), int(found["m"]), int(found["d"]))
        except ValueError:
            continue
        return _moment(when).time
    return None


def written(path: str) -> int:
    """When a file was written, µs since the epoch; that of reading for a pipe."""
    try:
        return Path(path).stat().st_mtime_ns // 1000
    except OSError:
        return time.time_ns() // 1000


def _moment(when: datetime) -> Moment:
    zoned = when.tzinfo is not None
    aware = when if zoned else when.replace(tzinfo=UTC)
    return Moment((aware - _EPOCH) // timedelta(microseconds=1), zoned)
