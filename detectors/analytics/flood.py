"""Floods: more connections than a service is meant to have, from one source or from many."""

from __future__ import annotations

from typing import Final

from .spec import Analytic, Count

_SERVICE: Final = ("destination.ip", "destination.port", "network.transport")

FLOOD: Final = Analytic(
    "flood",
    "Very many connections to one service or host, from one source or from many.",
    ("destination.ip",),
    "source",
    {
        "connections": Count(
            "event_count",
            ("source.ip", *_SERVICE),
            (),
            "connections of one source to one service",
        ),
        "packets": Count(
            "value_sum",
            ("source.ip", "destination.ip", "network.transport"),
            ("source.packets",),
            "packets that one source sent to one host by one transport",
        ),
        "arrivals": Count(
            "event_count",
            _SERVICE,
            (),
            "connections to one service, whoever makes them",
        ),
        "sources": Count(
            "value_count",
            ("destination.ip",),
            ("source.ip",),
            "distributed: different sources that ask one host",
        ),
    },
)
