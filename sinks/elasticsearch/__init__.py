"""Elasticsearch 8 and 9.

settings     what reaches a server: addresses, TLS, who asks
client       the connection, its version, one request whatever its status
transport    connections to nodes, and what their failures mean
deadline     connections on which a whole answer has a time limit
check        what is in the way of indexing, found before anything is sent
privileges   what the user who indexes must be allowed
layout       names of indices, and which one an event or an alert goes to
mappings     templates, made from the schema
setup        what is to change on a server: plan, do it, take it away
retention    how long indices are kept
room         shards that a cluster may still have
documents    events as JSON text, and back; columns of them (values, columns)
fitting      values made to fit a server's limits
bodies       bodies of bulk requests
bulk         one such request, and the fate of each of its documents
pace         requests at once, bytes of each, pauses
work         the documents of one send that have no final fate yet
threads      what posts them
sink         sending until everything has its final fate
query        KQL as query DSL: what matches for sure, and what may
conditions   a value against a field; words in texts (words); pieces of DSL (dsl)
snapshot     what indices held at one moment, in pages
reader       search, counts, histograms, alerts
"""

from __future__ import annotations

from .check import Finding, Probe, check
from .client import Response, Server, connect, refusal
from .pace import Retrying
from .privileges import role
from .settings import Secret, Settings, read_settings
from .sink import ElasticsearchSink, Sent, State

__all__ = [
    "ElasticsearchSink",
    "Finding",
    "Probe",
    "Response",
    "Retrying",
    "Secret",
    "Sent",
    "Server",
    "Settings",
    "State",
    "check",
    "connect",
    "read_settings",
    "refusal",
    "role",
]
