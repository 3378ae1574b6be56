"""The books of a run: every line is accounted for, by file, and the sums are checked.

    lines        = record_lines + rejects + comments
    records + summaries = events + duplicates + out_of_range
    events       = stored + already_stored + refused

`out_of_range` counts records outside `--from`/`--to`; it is 0 without these options. Where a
record is one line, records = record_lines. `summaries` counts events that no line is a record of:
they sum up what snapshots of sockets showed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import polars as pl

from connwatch.contracts import Parsed
from connwatch.errors import ConnwatchError

COUNTS: Final = (
    "lines",
    "record_lines",
    "records",
    "summaries",
    "rejects",
    "comments",
    "events",
    "duplicates",
    "out_of_range",
    "stored",
    "already_stored",
    "refused",
)


class Ledger:
    """Counts of one run by file. `formats` maps a path to its format's name."""

    def __init__(self) -> None:
        self._files: dict[str, dict[str, int]] = {}
        self._formats: dict[str, str] = {}
        self.first_event: datetime | None = None
        self.last_event: datetime | None = None

    def open(self, path: str, format_name: str) -> None:
        """A file enters the books, with zeros."""
        self._formats[path] = format_name
        self._files.setdefault(path, dict.fromkeys(COUNTS, 0))

    def parsed(self, path: str, parsed: Parsed) -> None:
        """Lines of a block, as its parser counted them."""
        counts = self._files[path]
        counts["lines"] += parsed.lines
        counts["record_lines"] += parsed.record_lines
        counts["records"] += parsed.events.height
        counts["rejects"] += parsed.rejects.height
        counts["comments"] += parsed.comments

    def count(self, name: str, paths: pl.Series) -> None:
        """`name` grows by the number of rows of each path (a column `log.file.path`)."""
        for path, number in paths.value_counts(sort=True).iter_rows():
            self._files[path][name] += number

    def times(self, times: pl.Series) -> None:
        """The span of the events so far; `times` is a column `@timestamp`."""
        low, high = times.min(), times.max()
        if isinstance(low, datetime) and isinstance(high, datetime):
            self.first_event = low if self.first_event is None else min(self.first_event, low)
            self.last_event = high if self.last_event is None else max(self.last_event, high)

    @property
    def total(self) -> dict[str, int]:
        """The counts of all files together."""
        return _sum(self._files.values())

    @property
    def by_file(self) -> dict[str, dict[str, int]]:
        return self._files

    @property
    def by_format(self) -> dict[str, dict[str, int]]:
        names = sorted(set(self._formats.values()))
        return {
            name: {
                "files": sum(f == name for f in self._formats.values()),
                **_sum(c for path, c in self._files.items() if self._formats[path] == name),
            }
            for name in names
        }

    def balance(self) -> None:
        """Check the sums of every file; ConnwatchError names the file and the numbers."""
        for path, c in self._files.items():
            sums = {
                "lines": c["record_lines"] + c["rejects"] + c["comments"],
                "records": c["events"] + c["duplicates"] + c["out_of_range"] - c["summaries"],
                "events": c["stored"] + c["already_stored"] + c["refused"],
            }
            for name, value in sums.items():
                if c[name] != value:
                    raise ConnwatchError(
                        f"the books do not balance: {name} is {c[name]}, its parts are {value}",
                        where=path,
                        hint="this is a defect of connwatch; please report it with this file",
                    )

    def summary(self) -> dict[str, Any]:
        """The counts as `replay --summary` writes them (without alerts, rate and digest)."""
        return {
            "files": len(self._files),
            **self.total,
            "first_event": _iso(self.first_event),
            "last_event": _iso(self.last_event),
            "by_format": self.by_format,
            "by_file": [
                {"path": path, "format": self._formats[path], **counts}
                for path, counts in sorted(self._files.items())
            ],
        }


def _sum(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total = dict.fromkeys(COUNTS, 0)
    for one in counts:
        for name in COUNTS:
            total[name] += one[name]
    return total


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
