"""What the user says of times that a log does not tell whole."""

from __future__ import annotations

import zoneinfo
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
DAY: Final = 86_400_000_000


@dataclass(frozen=True, slots=True)
class Clock:
    """zone: IANA name, of times without a zone; None: not said, so that they are taken as UTC.
    date: of clocks without one; None: not said. interval: µs between snapshots that have no time of
    their own; None: they have one and the same."""

    zone: str | None = None
    date: date | None = None
    interval: int | None = None

    def utc(self, local: int) -> int:
        """The moment (µs since the epoch) at which clocks of the zone show a time, given as if it
        were UTC. Of an hour that comes twice, the first."""
        if self.zone is None or self.zone == "UTC":
            return local
        shown = (_EPOCH + timedelta(microseconds=local)).replace(tzinfo=_zone(self.zone))
        return (shown - _EPOCH) // timedelta(microseconds=1)

    def local(self, moment: int) -> int:
        """What clocks of the zone show at a moment, likewise."""
        if self.zone is None or self.zone == "UTC":
            return moment
        shown = (_EPOCH + timedelta(microseconds=moment)).astimezone(_zone(self.zone))
        return (shown.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def midnight(day: date) -> int:
    """The beginning of a day in UTC, µs since the epoch."""
    return (day - _EPOCH.date()).days * DAY


def _zone(name: str) -> tzinfo:
    return zoneinfo.ZoneInfo(name)
