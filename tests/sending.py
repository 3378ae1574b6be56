"""What the tests of sending share: a sink through a proxy, and what is on the server afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl
from elastic import Elastic

from connwatch.sinks.elasticsearch import (
    ElasticsearchSink,
    Retrying,
    Sent,
    Settings,
    connect,
    read_settings,
)
from connwatch.sinks.elasticsearch.layout import Layout
from connwatch.sinks.elasticsearch.setup import setup

#: pauses that tests can wait for
QUICK = Retrying(first=0.02, longest=0.2)


@contextmanager
def sink(
    elasticsearch: Elastic,
    *urls: str,
    retrying: Retrying = QUICK,
    timeout: float = 60.0,
    settings: Settings | None = None,
    replicas: int = 0,
    **more: Any,
) -> Iterator[ElasticsearchSink]:
    """A sink that reaches the server at `urls`, its own by default, whose templates are there."""
    layout = Layout(prefix=elasticsearch.prefix, replicas=replicas)
    if settings is None:
        settings = read_settings(
            nodes=urls or (elasticsearch.url,), timeout=timeout, environment={}
        )
    with connect(settings) as server:
        setup(server, layout)
        made = ElasticsearchSink(server, layout, retrying=retrying, **more)
        try:
            yield made
        finally:
            made.close()


def ids(elasticsearch: Elastic, alias: str = "events") -> list[str]:
    """Of all documents of a family that are there, sorted."""
    name = f"{elasticsearch.prefix}-{alias}"
    elasticsearch.ask("POST", f"/{name}/_refresh")
    told = elasticsearch.ask("POST", f"/{name}/_search", {"size": 10_000, "_source": False})
    assert told["timed_out"] is False
    return sorted(hit["_id"] for hit in told["hits"]["hits"])


def everything(elasticsearch: Elastic, sent: Sent, rows: pl.DataFrame) -> None:
    """Each event that was sent is there, once, and counted once."""
    assert sent.done
    assert sent.error is None
    assert sent.refused == ()
    assert sent.stored + sent.known == rows.height
    assert sent.unsure <= sent.known
    assert ids(elasticsearch) == sorted(rows["event.id"])
