"""Guessing of passwords, as far as connections show it: many short sessions with one service."""

from __future__ import annotations

from typing import Final

from .spec import Analytic, Count

BRUTE_FORCE: Final = Analytic(
    "brute_force",
    "Many sessions with services that ask for a password; which ones, the rule's detection says.",
    ("source.ip",),
    "source",
    {
        "attempts": Count(
            "event_count",
            ("source.ip", "destination.ip", "destination.port"),
            (),
            "sessions of one source with one service",
        ),
        "hosts": Count(
            "value_count",
            ("source.ip", "destination.port"),
            ("destination.ip",),
            "spraying: different hosts whose service one source tries",
        ),
        "guessers": Count(
            "value_count",
            ("destination.ip", "destination.port"),
            ("source.ip",),
            "distributed: different sources that try one service",
        ),
    },
)
