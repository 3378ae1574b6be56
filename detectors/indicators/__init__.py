"""Threat indicators and allow-lists: read from lists, matched against events, told in alerts.

Lists([Path("bad.txt")]).indicators -> match(events, indicators) -> enrichments(event, …)
"""

from __future__ import annotations

from .describe import describe
from .enrichments import enrichment, enrichments
from .lists import FORMATS, IndicatorList, inline, read_list
from .match import CONNECTION, FOUND_SCHEMA, NOTHING, Fields, Indicators, allowed, match
from .table import ENTRY_SCHEMA, REJECT_SCHEMA, ListOptions
from .watch import Lists

__all__ = [
    "CONNECTION",
    "ENTRY_SCHEMA",
    "FORMATS",
    "FOUND_SCHEMA",
    "NOTHING",
    "REJECT_SCHEMA",
    "Fields",
    "IndicatorList",
    "Indicators",
    "ListOptions",
    "Lists",
    "allowed",
    "describe",
    "enrichment",
    "enrichments",
    "inline",
    "match",
    "read_list",
]
