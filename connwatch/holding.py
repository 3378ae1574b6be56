"""Indices that take nothing for now, and what of the outbox waits for them.

A block on one index, or no room for a new one, is no reason to hold up the others. What is for such
an index stays in the outbox, and is tried again now and then; all else goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from connwatch.errors import ServerAwayError, ServerError, ServerLockedError
from connwatch.sinks.elasticsearch.pace import Retrying

#: tries after which somebody's help is waited for, not the next try
_TRIES: Final = 3
#: what passes without anybody's help
PASSES: Final = (ServerAwayError, ServerLockedError)


@dataclass(slots=True)
class _Index:
    error: ServerError
    tries: int
    due: float


class Held:
    """Times are of `time.monotonic`. Nothing of it is saved: after a restart it is learned anew."""

    def __init__(self, retrying: Retrying) -> None:
        self._retrying = retrying
        self._indices: dict[str, _Index] = {}
        self._parts: dict[int, frozenset[str]] = {}
        self._alerts: dict[str, frozenset[str]] = {}

    @property
    def error(self) -> ServerError | None:
        """Why the first of them waits; None: none does. What somebody must see to comes first."""
        errors = [one.error for one in self._indices.values()]
        helpless = [one for one in errors if not isinstance(one, PASSES)]
        return next(iter(helpless or errors), None)

    @property
    def helpless(self) -> ServerError | None:
        """What was tried often enough, and somebody must see to, of all that waits; else None."""
        found = [*self._indices.values()]
        if not all(one.tries >= _TRIES and not isinstance(one.error, PASSES) for one in found):
            return None
        return found[0].error if found else None

    def closed(self, now: float) -> set[str]:
        """Indices that are not to be tried yet."""
        return {name for name, one in self._indices.items() if one.due > now}

    def parts(self, now: float) -> list[int]:
        """Parts of the outbox that have nothing for other indices."""
        closed = self.closed(now)
        return [number for number, names in self._parts.items() if names <= closed]

    def alerts(self, now: float) -> set[str]:
        """Alerts that cannot be brought up to date yet."""
        closed = self.closed(now)
        return {one for one, names in self._alerts.items() if names & closed}

    def learn(self, stuck: Mapping[str, ServerError], taken: Iterable[str], now: float) -> None:
        """What came of a send. stuck: indices that took nothing, and why; taken: that did."""
        for name in taken:
            self._indices.pop(name, None)
        for name, error in stuck.items():
            before = self._indices.get(name)
            tries = 1 if before is None else before.tries + 1
            self._indices[name] = _Index(error, tries, now + self._retrying.pause(tries))
        if not self._indices:
            self._parts, self._alerts = {}, {}

    def keep(self, parts: Iterable[int], names: Iterable[str]) -> None:
        """What these parts have is for these indices."""
        self._parts.update(dict.fromkeys(parts, frozenset(names)))

    def keep_alert(self, alert: str, names: Iterable[str]) -> None:
        self._alerts[alert] = frozenset(names)

    def forget(self, parts: Iterable[int | None], alerts: Iterable[str]) -> None:
        """These are tried now."""
        for number in parts:
            if number is not None:
                self._parts.pop(number, None)
        for one in alerts:
            self._alerts.pop(one, None)
