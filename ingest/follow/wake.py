"""Waiting until files change: inotify through watchdog, or polling where that does not work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal


class Wake:
    """Sleeps until something happened to a watched path.

    note: what the user should know (inotify's limit is reached, a network file system: polling
    instead), with the remedy; None: nothing.
    """

    def __init__(self, mode: Literal["auto", "inotify", "polling"], poll: float = 1.0) -> None:
        self.note: str | None = None
        raise NotImplementedError

    def watch(self, paths: Sequence[str]) -> None:
        """Watch these, and nothing else."""
        raise NotImplementedError

    def wait(self, timeout: float) -> bool:
        """Whether something happened since the last call; waits up to `timeout` seconds for it."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop watching."""
        raise NotImplementedError
