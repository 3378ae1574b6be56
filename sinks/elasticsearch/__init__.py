"""Elasticsearch 8 and 9.

settings     what reaches a server: addresses, TLS, who asks
client       the connection, its version, one request whatever its status
transport    connections to nodes, and what their failures mean
check        what is in the way of indexing, found before anything is sent
privileges   what the user who indexes must be allowed
layout       names of indices, and which one an event or an alert goes to
mappings     templates, made from the schema
setup        what is to change on a server: plan, do it, take it away; retention
documents    events as JSON text, and back
fitting      values made to fit a server's limits
bodies       bodies of bulk requests
query        KQL as query DSL: what matches for sure, and what may
conditions   a value against a field; words in texts (words); pieces of DSL (dsl)
snapshot     what indices held at one moment, in pages
reader       search, counts, histograms, alerts
"""

from __future__ import annotations

from .check import Finding, Probe, check
from .client import Response, Server, connect, refusal
from .privileges import role
from .settings import Secret, Settings, read_settings

__all__ = [
    "Finding",
    "Probe",
    "Response",
    "Secret",
    "Server",
    "Settings",
    "check",
    "connect",
    "read_settings",
    "refusal",
    "role",
]
