"""Events into a real server: by the sink, as bodies that were made beforehand, and by the client.

Each way writes the same events into an index that is made anew. Ways take turns, and what is given
is the best of each, and the sink's share of what was made beforehand turn by turn: the server, which
does nearly all of the work, is never twice as fast.
"""

from __future__ import annotations

import queue
import statistics
import threading
import time
from collections.abc import Callable

import polars as pl
from elasticsearch import helpers
from rich.console import Console
from rich.table import Table

from connwatch.render import nested
from connwatch.schema import expand
from connwatch.sinks.elasticsearch import ElasticsearchSink, Server, connect, read_settings
from connwatch.sinks.elasticsearch.bodies import Body, event_bodies
from connwatch.sinks.elasticsearch.bulk import post
from connwatch.sinks.elasticsearch.layout import Layout
from connwatch.sinks.elasticsearch.setup import remove, setup

#: requests at once, of the sink and of what is made beforehand
REQUESTS = 2
LAYOUT = Layout(prefix="connwatch-benchmark", replicas=0)

#: sends all of a frame, and says how many the server took
Way = Callable[[pl.DataFrame], int]


def by_sink(server: Server) -> Way:
    def send(events: pl.DataFrame) -> int:
        sink = ElasticsearchSink(server, LAYOUT, requests=REQUESTS)
        try:
            return sink.send(events).stored
        finally:
            sink.close()

    return send


def beforehand(server: Server, bodies: list[Body]) -> Way:
    def send(_events: pl.DataFrame) -> int:
        waiting: queue.SimpleQueue[Body | None] = queue.SimpleQueue()
        for one in [*bodies, *[None] * REQUESTS]:
            waiting.put(one)
        taken: list[int] = []

        def run() -> None:
            while (body := waiting.get()) is not None:
                taken.append(post(server, body.data, body.count, gzip=False).final)

        threads = [threading.Thread(target=run) for _ in range(REQUESTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(taken)

    return send


def by_helpers(server: Server) -> Way:
    def send(events: pl.DataFrame) -> int:
        indices = LAYOUT.event_indices(events)
        actions = (
            {"_op_type": "create", "_index": index, "_id": row["event.id"], "_source": nested(row)}
            for index, row in zip(indices, expand(events).iter_rows(named=True), strict=True)
        )
        return sum(ok for ok, _ in helpers.streaming_bulk(server.client, actions, chunk_size=5_000))

    return send


def posting(events: pl.DataFrame, times: int, url: str, console: Console) -> None:
    """Print documents a second of each way. The server's indices `connwatch-benchmark-*` go."""
    few = events.head(max(1, events.height // 5))
    with connect(read_settings(nodes=(url,), environment={}), writing=True) as server:
        ways: dict[str, tuple[Way, pl.DataFrame]] = {
            "bodies made beforehand": (beforehand(server, [*event_bodies(events, LAYOUT)]), events),
            "the sink": (by_sink(server), events),
            "helpers.streaming_bulk": (by_helpers(server), few),
        }
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        remove(server, LAYOUT, indices=True)
        for turn in range(times + 1):
            # Whoever is first in one turn is last in the next; the first turn warms the server.
            for name in [*ways] if turn % 2 else [*reversed(ways)]:
                way, given = ways[name]
                setup(server, LAYOUT)
                started = time.perf_counter()
                taken = way(given)
                seconds = time.perf_counter() - started
                remove(server, LAYOUT, indices=True)
                if taken != given.height:
                    raise SystemExit(f"{name}: {taken} of {given.height} events were taken")
                if turn:
                    speeds[name].append(given.height / seconds)
        console.print(f"{events.height:,} events into {server.version_text}, {REQUESTS} at once")
    first = speeds["bodies made beforehand"]
    table = Table("way", "events/s, best", "of made beforehand: median", "best to best")
    for name, found in speeds.items():
        median = statistics.median(one / other for one, other in zip(found, first, strict=True))
        best = max(found) / max(first)
        table.add_row(name, f"{max(found):,.0f}", f"{median:.2f}", f"{best:.2f}")
    console.print(table)
