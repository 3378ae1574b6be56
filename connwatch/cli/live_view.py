"""The status of a live run for people: once, or again and again on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from connwatch.render import console, number, safe, size, table

Status = dict[str, Any]


def show(status: Status) -> None:
    """Print it once."""
    console().print(view(status))


def watch(read: Callable[[], Status], pause: float = 1.0) -> None:
    """Show it until Ctrl-C."""
    screen: Console = console()
    with Live(view(read()), console=screen, auto_refresh=False) as live:
        while True:
            time.sleep(pause)
            live.update(view(read()), refresh=True)


def view(status: Status) -> Group:
    """All of it, most important first."""
    parts: list[RenderableType] = [_head(status), _totals(status)]
    if status["sources"]:
        parts.append(_sources(status["sources"]))
    parts.append(_state(status))
    parts.extend(_trouble(status))
    return Group(*parts)


def _head(status: Status) -> Text:
    where = f", {safe(status['config'])}" if status["config"] else ""
    return Text(
        f"{status['state']} (process {status['pid']}, connwatch {status['version']}{where}), "
        f"since {status['started']}, as of {status['updated']}"
    )


def _totals(status: Status) -> Text:
    totals = status["totals"]
    counts = ", ".join(f"{number(value)} {name}" for name, value in totals.items())
    log_time = status["log_time"] or "none yet"
    return Text(f"log time {log_time}, {number(status['rate'])} records/s; {counts}")


def _sources(sources: list[Status]) -> Table:
    names = ("records", "rejects", "late", "lag", "behind")
    rows = [
        (
            one["path"],
            number(one["records"]),
            number(one["rejects"]),
            number(one["late"]),
            size(one["lag_bytes"]),
            f"{one['lag_seconds']:.1f} s",
            one["log_time"],
        )
        for one in sources
    ]
    return table(("source", *names, "log time"), rows, right=names)


def _state(status: Status) -> Text:
    state = status["detection"]
    sinks = ", ".join(
        f"{sink['name']}: {sink['queue']} waiting, {sink['retries']} retries"
        for sink in status["sinks"]
    )
    counts = (
        f"; {number(state['open_alerts'])} open alerts, "
        f"{number(state['window_items'])} records in windows"
        if state
        else ""
    )
    return Text(f"{sinks}{counts}")


def _trouble(status: Status) -> list[Text]:
    lines = [
        f"cannot be read: {safe(one['path'])}: {safe(one['reason'])}"
        + (f" (hint: {safe(one['hint'])})" if one["hint"] else "")
        for one in status["problems"]
    ]
    lost = sum(status["detection"].get("forgotten", {}).values())
    if lost:
        lines.append(f"not exact: {number(lost)} records left their windows early")
    if status["reordered"]:
        lines.append(f"{number(status['reordered'])} records were given out of order")
    lines += [f"{safe(one['time'])} {safe(one['error'])}" for one in status["errors"][-5:]]
    return [Text(line) for line in lines]
