"""Connections that last: the time that two hosts spend connected, in however many connections."""

from __future__ import annotations

from typing import Final

from .spec import Analytic, Count

DURATION: Final = Analytic(
    "duration",
    "The time that connections of one pair of hosts last together.",
    ("source.ip", "destination.ip"),
    "source",
    {
        "total": Count(
            "value_sum",
            ("source.ip", "destination.ip"),
            ("event.duration",),
            "duration of all connections of a pair together; those at the same time count each",
            unit="span",
        ),
    },
)
