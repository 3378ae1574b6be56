"""What the program says about itself: a line each, for people or, in ECS, for programs."""

from __future__ import annotations

import json
import os
import re
import threading
from datetime import UTC, datetime
from typing import Final, TextIO

from connwatch import __version__
from connwatch.errors import ConnwatchError
from connwatch.render import safe, to_json
from connwatch.schema import ECS_VERSION

_LEVELS: Final = ("debug", "info", "warning", "error")
#: where a field of ours has a name in ECS; others stand under `connwatch.`
_ECS_NAMES: Final = {"path": "file.path"}
#: text that needs no quotes
_PLAIN: Final = re.compile(r"[^\s\"'=]+")

Value = str | int | float | None


class Logger:
    """Lines on a stream, times in UTC. form: text or json; level: the least that is said. Any
    thread may say something. A stream that nobody reads any more is not the end of a run."""

    def __init__(self, stream: TextIO, form: str = "text", level: str = "info") -> None:
        self._stream = stream
        self._guard = threading.Lock()
        self.change(form, level)

    def change(self, form: str, level: str) -> None:
        """Go on in another form, or with another level."""
        self._form, self._least = form, _LEVELS.index(level)

    def say(self, level: str, message: str, **fields: Value) -> None:
        """One line; fields are named values in JSON, and follow the message in text."""
        if _LEVELS.index(level) < self._least:
            return
        given = {name: value for name, value in fields.items() if value is not None}
        line = (_json if self._form == "json" else _text)(level, message, given)
        with self._guard:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (BrokenPipeError, ValueError):
                return

    def fail(self, level: str, message: str, error: ConnwatchError, **fields: Value) -> None:
        """What went wrong: the message, then where and what; the hint is a field."""
        where = f"{error.where}: " if error.where else ""
        self.say(level, f"{message}: {where}{error.message}", hint=error.hint, **fields)


def _json(level: str, message: str, fields: dict[str, str | int | float]) -> str:
    named = {_ECS_NAMES.get(name, f"connwatch.{name}"): value for name, value in fields.items()}
    return to_json(
        {
            "@timestamp": utc_now(),
            "log.level": level,
            "message": message,
            "ecs.version": ECS_VERSION,
            "event.dataset": "connwatch.log",
            "service.name": "connwatch",
            "service.version": __version__,
            "process.pid": os.getpid(),
            **named,
        }
    )


def _text(level: str, message: str, fields: dict[str, str | int | float]) -> str:
    more = "".join(f" {name}={_shown(value)}" for name, value in fields.items())
    return safe(f"{utc_now()} {level:<7} {' '.join(message.split())}{more}")


def _shown(value: str | int | float) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def utc_now() -> str:
    """ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
