"""Ages and sizes as options give them: 30d, 50GB."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from connwatch.errors import UsageError

_HOURS: Final = {"h": 1, "d": 24, "w": 168}
_BYTES: Final = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip


def age(text: str, option: str) -> timedelta:
    """A time of a day or more: a whole number and h, d or w."""
    found = re.fullmatch(r"(\d{1,6})([hdw])", text)
    hours = 0 if found is None else int(found[1]) * _HOURS[found[2]]
    if hours < 24:
        hint = "write a day or more: 36h, 30d, 52w"
        raise UsageError(f"{text!r} is not an age", where=option, hint=hint)
    return timedelta(hours=hours)


def amount(text: str, option: str) -> int:
    """Bytes: a whole number and a unit, decimal or binary."""
    found = re.fullmatch(r"(\d{1,12})\s?([kKMGT]?i?B)", text)
    unit = None if found is None else _BYTES.get(found[2].upper())
    if found is None or unit is None or not int(found[1]):
        raise UsageError(f"{text!r} is not a size", where=option, hint="write 50GB or 500MiB")
    return int(found[1]) * unit
