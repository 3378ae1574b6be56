"""What formats have in common whose files do not say when they were begun and ended."""

from __future__ import annotations

from .clock import Clock


class Headless:
    """sensor: the user's label for where it was printed. clock: what the user says of its times."""

    #: what is printed over several lines waits for the last one
    holds = True
    rests = False

    def __init__(self, sensor: str = "", clock: Clock = Clock()) -> None:  # noqa: B008  frozen
        self.sensor = sensor
        self.clock = clock

    def opened(self, head: bytes) -> str | None:
        return None

    def closed(self, tail: bytes) -> str | None:
        return None
