"""What a live run knows of itself: numbers that grow, and those of the moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

#: what `Status.state` may be; "reloaded" and "starting" are short
STATES: Final = ("starting", "running", "waiting", "reloaded", "stopped")
#: errors that are remembered
_ERRORS = 20


@dataclass(slots=True)
class Totals:
    """Counts since the first start, saved with every commit. events: without duplicates; stored:
    those that the store did not have; allowed: those that no rule was asked of; alerts: opened;
    closed_early: because too many were open."""

    events: int = 0
    stored: int = 0
    duplicates: int = 0
    late: int = 0
    allowed: int = 0
    rejects: int = 0
    alerts: int = 0
    closed_early: int = 0
    commits: int = 0

    def saved(self) -> dict[str, int]:
        return asdict(self)

    def take_up(self, saved: Mapping[str, int]) -> None:
        """Go on from what was saved."""
        for name, value in saved.items():
            setattr(self, name, value)


@dataclass(slots=True)
class SourceStatus:
    """One stream; lines and records are of all its pieces.

    position, size: bytes read of the file at `path`, and its bytes, on disk if it is compressed.
    lag_bytes: known to be unread, of all pieces. lag_seconds: for how long there has been a lag
    without a break; 0 without one. log_time: of its last record, ISO 8601. rate: records per second
    over the last seconds. before: the counts with which this process found it.
    """

    id: str
    path: str
    dataset: str
    format: str
    live: bool
    position: int
    size: int
    lines: int
    records: int
    rejects: int
    comments: int
    late: int
    future: int
    past: int
    lag_bytes: int
    lag_seconds: float
    log_time: str | None
    rate: float = 0.0
    before: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Status:
    """All of it, as `status.json` has it. state: one of `STATES`. host: where `pid` is. times in
    ISO 8601. rate: records per second over the last seconds. problems: files, folders and lists
    that cannot be read at present. before: `totals`, and what was `forgotten`, as this process
    found them. store: see `upkeep.measures`. processes: see `naming.Naming`; empty where no
    processes are looked for."""

    state: str
    pid: int
    host: str
    version: str
    config: str
    started: str
    updated: str
    totals: dict[str, int]
    sources: list[SourceStatus]
    log_time: str | None
    reordered: int
    rate: float
    detection: dict[str, Any]
    sinks: list[dict[str, Any]]
    problems: list[dict[str, str | None]]
    skipped: dict[str, str]
    notes: list[str]
    errors: list[dict[str, str]]
    generation: int
    reloads: int
    reload_error: str | None
    before: dict[str, dict[str, int]] = field(default_factory=dict)
    store: dict[str, Any] = field(default_factory=dict)
    processes: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


@dataclass(slots=True)
class Errors:
    """The last errors, each with its time."""

    last: list[dict[str, str]] = field(default_factory=list)

    def add(self, time: str, text: str) -> None:
        self.last.append({"time": time, "error": text})
        del self.last[:-_ERRORS]
