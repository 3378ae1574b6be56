"""Scans: one source asks for many ports, many hosts, or many of both."""

from __future__ import annotations

from typing import Final

from .spec import Analytic, Count

SCAN: Final = Analytic(
    "scan",
    "One source asks for many ports or hosts; fast or slow is a matter of `within`.",
    ("source.ip",),
    "source",
    {
        "ports": Count(
            "value_count",
            ("source.ip", "destination.ip", "network.transport"),
            ("destination.port",),
            "vertical: different ports of one host, by one transport",
        ),
        "hosts": Count(
            "value_count",
            ("source.ip", "destination.port", "network.transport"),
            ("destination.ip",),
            "horizontal: different hosts on one port, by one transport",
        ),
        "targets": Count(
            "value_count",
            ("source.ip",),
            ("destination.ip", "destination.port"),
            "block: different pairs of host and port",
        ),
        "addresses": Count(
            "value_count",
            ("source.ip",),
            ("destination.ip",),
            "sweep: different hosts, whatever the port, or without any (ICMP)",
        ),
    },
)
