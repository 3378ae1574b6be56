"""From the configuration's section `elasticsearch` to a connection's settings and a layout."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from math import ceil
from typing import cast

from connwatch.config import Elasticsearch
from connwatch.sinks.elasticsearch import Settings, read_settings
from connwatch.sinks.elasticsearch.layout import Layout, Routing
from connwatch.sinks.elasticsearch.retention import Retention


def connection_settings(section: Elasticsearch, nodes: Sequence[str] = ()) -> Settings:
    """Settings of the section and the environment. nodes: addresses from the command line, which
    take the place of those in the section. ConfigError."""
    return read_settings(
        nodes=nodes or section.nodes,
        cloud_id=None if nodes else section.cloud_id,
        username=section.username,
        password_file=section.password_file,
        api_key_file=section.api_key_file,
        bearer_token_file=section.bearer_token_file,
        ca=section.ca,
        fingerprint=section.fingerprint,
        client_certificate=section.client_certificate,
        client_key=section.client_key,
        proxy=section.proxy,
        timeout=section.timeout,
        allow_plain_http_to=section.allow_plain_http_to,
    )


def layout(section: Elasticsearch) -> Layout:
    """How the section says that data is laid out. ConfigError."""
    return Layout(
        prefix=section.prefix,
        routing=cast(Routing, section.routing),
        shards=section.shards,
        replicas=section.replicas,
    )


def retention(section: Elasticsearch) -> Retention:
    """How long the section says that events and alerts are kept, in whole days."""

    def days(age: timedelta | None) -> int | None:
        return None if age is None else ceil(age / timedelta(days=1))

    return Retention(days(section.keep_events), days(section.keep_alerts))
