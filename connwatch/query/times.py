r"""Times that people write: ISO 8601, other common forms, relative ones, epoch seconds.

A time names a *span*: "2026-11-20" is a day, "2026-11-20 14:00" a minute, "now-24h" an instant. A
comparison uses the span's ends as Elasticsearch does: `>= 2026-11-20` begins with that day,
`> 2026-11-20` after it, `<= 2026-11-20` includes it.

    2026  2026-11  2026-11-20  2026-11-20T14:00:05.25+01:00  20 Nov 2026 14:00  14:00 (today)
    now  now-15m  now-1d/d  -24h  +1h  2026-11-20||-1M/d  1795183200  1795183200.123456
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final

from dateutil import parser as dateutil_parser
from dateutil.relativedelta import relativedelta

from connwatch.errors import QueryError

_UNITS: Final = {
    "y": "years",
    "M": "months",
    "w": "weeks",
    "d": "days",
    "h": "hours",
    "H": "hours",
    "m": "minutes",
    "s": "seconds",
}
_NAMES: Final = ("years", "months", "days", "hours", "minutes", "seconds")
_STEP: Final = r"[+-]\d{1,9}[yMwdhHms]|/[yMwdhHms]"
_MATH: Final = re.compile(rf"(?P<base>now|.+\|\||)(?P<steps>(?:{_STEP})*)", re.DOTALL)
_EPOCH: Final = re.compile(r"-?\d{9,}(?:\.\d+)?|\d+\.\d+")
_ISO: Final = re.compile(
    r"\d{4}(?P<months>-\d\d(?P<days>-\d\d(?:[T ](?P<hours>\d\d)"
    r"(?P<minutes>:\d\d(?P<seconds>:\d\d(?P<fraction>[.,]\d+)?)?)?"
    r"(?: ?(?:Z|[+-]\d\d:?(?:\d\d)?))?)?)?)?"
)
_MICROSECOND: Final = timedelta(microseconds=1)
_FORMS: Final = (
    "write 2026-11-20, '2026-11-20 14:00', 2026-11-20T14:00:00+01:00, '20 Nov 2026', -24h, "
    "now-15m or epoch seconds"
)


def parse_time(text: str, now: datetime) -> datetime:
    """The instant, in UTC, at which the span that `text` names begins.

    now: what relative times refer to. A time without a zone is UTC. Raises QueryError.
    """
    return parse_span(text, now)[0]


def parse_span(text: str, now: datetime) -> tuple[datetime, datetime]:
    """First instant of the span that `text` names, and the first one after it, in UTC."""
    text = text.strip()
    try:
        math = _MATH.fullmatch(text)
        if math and (math["base"] or math["steps"]):
            return _calculate(math["base"].removesuffix("||"), math["steps"], now)
        return _absolute(text, now)
    except (ValueError, OverflowError, OSError):
        raise QueryError(f"{text!r} is not a time", hint=_FORMS) from None


def _calculate(base: str, steps: str, now: datetime) -> tuple[datetime, datetime]:
    if base in ("", "now"):
        start = now.astimezone(UTC)
        end = start + _MICROSECOND
    else:
        start, end = _absolute(base, now)
    for step in re.findall(_STEP, steps):
        unit = _UNITS[step[-1]]
        if step[0] == "/":
            start, end = _round(start, unit)
        else:
            by = int(step[:-1])
            start = start + relativedelta(**{unit: by})  # type: ignore[arg-type]
            end = start + _MICROSECOND
    return start, end


def _round(time: datetime, unit: str) -> tuple[datetime, datetime]:
    """The whole unit that `time` is in; weeks begin on Monday."""
    if unit == "weeks":
        time -= timedelta(days=time.weekday())
        start = _cut(time, "days")
    else:
        start = _cut(time, unit)
    return _span(start, unit)


def _cut(time: datetime, unit: str) -> datetime:
    keep = _NAMES.index(unit) + 1
    parts = (time.year, time.month, time.day, time.hour, time.minute, time.second)[:keep]
    return datetime(*(parts + (1,) * (3 - len(parts))), tzinfo=time.tzinfo)  # type: ignore[misc, arg-type]


def _absolute(text: str, now: datetime) -> tuple[datetime, datetime]:
    if _EPOCH.fullmatch(text):
        return _epoch(text)
    if iso := _ISO.fullmatch(text):
        time = dateutil_parser.isoparse(
            text[:10] + text[10:11].replace(" ", "T") + text[11:].replace(" ", "")
        )
        return _span(_utc(time), "years" if not iso["months"] else _finest(iso))
    return _free(text, now)


def _epoch(text: str) -> tuple[datetime, datetime]:
    """Epoch seconds; 12 digits and more are milliseconds, 15 and more microseconds."""
    whole, _, fraction = text.partition(".")
    digits = len(whole.lstrip("-"))
    scale = 1_000_000 if digits < 12 else 1_000 if digits < 15 else 1
    exact = fraction != "" or scale < 1_000_000
    micros = int(whole) * scale
    if fraction:
        part = int((fraction + "0" * 6)[:6]) * scale // 1_000_000
        micros += -part if whole.startswith("-") else part
    start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    step = timedelta(milliseconds=1) if scale == 1_000 else _MICROSECOND
    return start, start + (step if exact else timedelta(seconds=1))


def _finest(iso: re.Match[str]) -> str:
    named = [name for name in ("months", *_NAMES[2:], "fraction") if iso[name]]
    return named[-1]


def _span(start: datetime, unit: str) -> tuple[datetime, datetime]:
    if unit == "fraction":
        return start, start + _MICROSECOND
    try:
        return start, start + relativedelta(**{unit: 1})  # type: ignore[arg-type]
    except (ValueError, OverflowError):  # the last unit that there is
        return start, datetime.max.replace(tzinfo=UTC)


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _free(text: str, now: datetime) -> tuple[datetime, datetime]:
    """Any other form, read by dateutil; what the text does not say is found by reading it twice
    with different defaults, and so is a day that could be a month."""
    today = now.astimezone(UTC).replace(tzinfo=None, hour=0, minute=0, second=0, microsecond=0)
    one = _read(text, today)
    defaults = datetime(today.year + 1, today.month % 12 + 1, today.day % 28 + 1, 1, 1, 1, 1)
    other = _read(text, defaults)
    names = ("year", "month", "day", "hour", "minute", "second", "microsecond")
    said = [name for name in names if getattr(one, name) == getattr(other, name)]
    if "hour" not in said and not {"year", "month"} <= set(said):
        raise QueryError(f"{text!r} does not say which day it is", hint=_FORMS)
    if {"day", "month"} <= set(said) and _read(text, today, day_first=True) != one:
        raise QueryError(
            f"{text!r} can be read with the day first and with the month first",
            hint="write the date as year-month-day",
        )
    units = {"day": "days", "hour": "hours", "minute": "minutes", "second": "seconds"}
    finest = "months"
    for name, unit in units.items():
        finest = unit if name in said else finest
    if "microsecond" in said and one.microsecond:
        finest = "fraction"
    return _span(_cut(_utc(one), finest) if finest != "fraction" else _utc(one), finest)


def _read(text: str, default: datetime, *, day_first: bool = False) -> datetime:
    return dateutil_parser.parse(text, default=default, dayfirst=day_first, tzinfos=_zone)


def _zone(name: str | None, offset: int | None) -> tzinfo:
    if offset is not None:
        return timezone(timedelta(seconds=offset))
    if name in (None, "UTC", "GMT", "Z"):
        return UTC
    raise QueryError(f"the time zone {name!r} is not known", hint="write an offset, as in +01:00")
