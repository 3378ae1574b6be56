"""The status of a live run for people: once, or again and again on a terminal of 80 columns."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from connwatch.render import console, moment, number, safe, size, table

Status = dict[str, Any]

#: errors that are shown, of those that the status holds
_ERRORS = 5
#: counts of a source, of records that windows see not at all or not at their time
_MISPLACED = {
    "late": "too late for windows",
    "future": "from the future",
    "past": "from the past",
}
#: sources that are shown on a screen; those that are furthest behind, when there are more
_SOURCES = 200


def show(status: Status) -> None:
    """Print it once."""
    console().print(view(status, datetime.now(UTC)))


def watch(read: Callable[[], Status], pause: float = 1.0) -> None:
    """Show it until Ctrl-C; the last one stays. Without a terminal, print it again and again."""
    screen = console()
    last = read()
    try:
        if not screen.is_terminal:
            while True:
                screen.print(view(last, datetime.now(UTC)), Text())
                screen.file.flush()
                time.sleep(pause)
                last = read()
        with Live(console=screen, screen=True, auto_refresh=False) as live:
            while True:
                live.update(view(last, datetime.now(UTC)), refresh=True)
                time.sleep(pause)
                last = read()
    except KeyboardInterrupt:
        if screen.is_terminal:
            show(last)


def view(status: Status, now: datetime) -> Group:
    """All of it, most important first."""
    head = Table.grid(padding=(0, 2, 0, 0))
    head.add_column(no_wrap=True)
    head.add_column(overflow="fold")
    for name, text in _head(status, now):
        head.add_row(Text(name, style="bold"), Text(safe(text)))
    parts: list[RenderableType] = [head]
    if status["sources"]:
        parts += [Text(), *_sources(status["sources"])]
    trouble = [Text(safe(line)) for line in _trouble(status)]
    return Group(*parts, *([Text()] if trouble else []), *trouble)


def _head(status: Status, now: datetime) -> Iterator[tuple[str, str]]:
    totals, state, kept = status["totals"], status["detection"], status["store"]
    age = max(0.0, (now - datetime.fromisoformat(status["updated"])).total_seconds())
    seen = f", told {_span(age)} ago" if status["state"] != "stopped" else ""
    yield "state", f"{status['state']} (process {status['pid']}){seen}"
    since, until = moment(status["started"]), moment(status["updated"])
    yield "since", f"{since}{f' to {until}' if status['state'] == 'stopped' else ''} UTC"
    if status["config"]:
        yield "config", f"{status['config']} (generation {status['generation']})"
    yield "log time", f"{moment(status['log_time'])} UTC" if status["log_time"] else "none yet"
    if totals:
        more = ("duplicates", "late", "allowed", "rejects")
        rest = "".join(f", {number(totals[name])} {name}" for name in more if totals[name])
        yield "events", f"{number(totals['events'])} ({number(status['rate'])}/s){rest}"
        yield "alerts", f"{number(totals['alerts'])}"
    if state:
        held = number(state["window_items"])
        yield "held", f"{number(state['open_alerts'])} open alerts, {held} records in windows"
    for sink in status["sinks"]:
        tries = f", try {sink['retries'] + 1}" if sink["error"] else ""
        yield "sink", f"{sink['name']}: {sink['queue']} waiting{tries}"
    if kept:
        yield (
            "store",
            f"{size(kept['bytes'])} in {number(kept['files'])} files, "
            f"{number(kept['small_parts'])} small parts"
            + (f"; days removed: {number(kept['removed_days'])}" if kept["removed_days"] else ""),
        )


def _sources(sources: list[Status]) -> Iterator[RenderableType]:
    """A table of names below the folder that they have in common."""
    shown = sorted(sources, key=lambda one: -one["lag_seconds"])[:_SOURCES]
    paths = [Path(one["path"]) for one in shown]
    whole = all(path.is_absolute() for path in paths)
    folder = Path(os.path.commonpath([path.parent for path in paths])) if whole else Path()
    rows = [
        (
            path.relative_to(folder) if whole else path,
            number(one["records"]),
            number(one["rate"]),
            number(one["rejects"]),
            size(one["lag_bytes"]),
            _span(one["lag_seconds"]),
            moment(one["log_time"])[5:],
        )
        for path, one in zip(paths, shown, strict=True)
    ]
    numbers = ("records", "/s", "rejects", "unread", "behind")
    count = f"{number(len(sources))} source{'' if len(sources) == 1 else 's'}"
    yield Text(f"{count} in {safe(folder)}" if whole else count)
    made = table(("name", *numbers, "log time"), rows, right=numbers)
    for column in made.columns[1:]:
        column.no_wrap = True  # the name gives way
    yield made


def _trouble(status: Status) -> Iterator[str]:
    """What is wrong, and what is not as exact as it could be."""
    if status["state"] == "silent":
        yield "it lives and tells nothing: the disk may be full, or it hangs; look at its log"
    for sink in status["sinks"]:
        if sink["error"]:
            yield f"{sink['name']} takes nothing: {_flat(sink['error'])}"
    if status["reload_error"]:
        yield f"the last reload failed: {_flat(status['reload_error'])}"
    for one in status["problems"]:
        hint = f" (hint: {one['hint']})" if one["hint"] else ""
        yield f"cannot be read: {one['path']}: {one['reason']}{hint}"
    for path, reason in status["skipped"].items():
        yield f"not read: {path}: {reason}"
    if status["store"] and status["store"]["error"]:
        yield f"the store cannot be tidied up: {_flat(status['store']['error'])}"
    if status["store"] and not status["store"]["fits"]:
        yield "the store is larger than retention.max_size, and no whole day is left to remove"
    if lost := sum(status["detection"].get("forgotten", {}).values()):
        yield f"not exact: {number(lost)} records left their windows early"
    if early := status["totals"].get("closed_early"):
        yield f"{number(early)} alerts were closed early, for too many were open"
    if status["reordered"]:
        yield f"{number(status['reordered'])} records were given out of order"
    for one in status["sources"]:
        for count, what in _MISPLACED.items():
            if one[count]:
                yield f"{one['path']}: {number(one[count])} records {what}"
    yield from (f"note: {note}" for note in status["notes"])
    for one in status["errors"][-_ERRORS:]:
        yield f"{moment(one['time'])} {one['error']}"


def _flat(text: str) -> str:
    """On one line."""
    return " ".join(text.split())


def _span(seconds: float) -> str:
    """A time that went by, in at most seven characters up to three years."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    for unit, length, most in (("min", 60, 100), ("h", 3600, 72)):
        if seconds / length < most:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"
