"""Servers and senders that are killed in mid-bulk, and nodes that are lost."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from elastic import Elastic, MissingError, Node, free_port
from elastic_servers import Servers, lacking
from sending import everything, sink
from sink_contract import events

from connwatch.sinks.elasticsearch import ElasticsearchSink, Sent

pytestmark = pytest.mark.slow

ROWS = 6_000
LIMIT = 100_000

#: sends the events of `sink_contract` for ever, until it is killed
SENDER = """
import sys
from connwatch.sinks.elasticsearch import ElasticsearchSink, connect, read_settings
from connwatch.sinks.elasticsearch.layout import Layout
from sink_contract import events
url, prefix, rows, limit = sys.argv[1:]
with connect(read_settings(nodes=(url,), environment={})) as server:
    sink = ElasticsearchSink(server, Layout(prefix=prefix, replicas=0), limit=int(limit))
    made = events(range(int(rows)))
    print("ready", flush=True)
    sink.send(made)
    print("done", flush=True)
"""


def until(holds: Callable[[], bool], patience: float = 60.0) -> None:
    end = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


class Sending(threading.Thread):
    """Sends `ROWS` events; `sent` afterwards."""

    def __init__(self, to: ElasticsearchSink) -> None:
        super().__init__()
        self.to = to
        self.rows = events(range(ROWS))
        self.sent: Sent | None = None

    def run(self) -> None:
        self.sent = self.to.send(self.rows)

    def until_in_the_middle(self) -> None:
        until(lambda: self.to.state.stored > ROWS // 10 and self.to.state.requests > 0)
        assert self.to.state.waiting > 0

    def finish(self, elasticsearch: Elastic) -> Sent:
        self.join(timeout=90)
        assert self.sent is not None, self.to.state
        everything(elasticsearch, self.sent, self.rows)
        return self.sent


@pytest.fixture
def nodes(elastic_servers: Servers) -> Iterator[Callable[..., Node]]:
    """Starts nodes of one's own, and kills them afterwards."""
    made: list[Node] = []

    def start(version: str, name: str, **settings: str) -> Node:
        ports = {key: int(settings.pop(key)) for key in ("transport_port",) if key in settings}
        node = Node(
            version, elastic_servers.folder, name=name, settings=settings, heap="400m", **ports
        )
        try:
            node.start()
        except MissingError as error:
            lacking(str(error))
        made.append(node)
        return node

    try:
        yield start
    finally:
        for node in made:
            node.kill()


def test_a_server_killed_in_mid_bulk(elasticsearch: Elastic) -> None:
    node = elasticsearch.node
    if node is None:
        pytest.skip("a server of one's own is not killed")
    with sink(elasticsearch, limit=LIMIT) as to:
        sending = Sending(to)
        sending.start()
        sending.until_in_the_middle()
        node.kill()
        try:
            until(lambda: to.state.failures > 2)
            assert to.state.waiting > 0
        finally:
            node.start()
        node.wait()
        sent = sending.finish(elasticsearch)
        # What was answered is on its disk; what was under way may be.
        assert sent.unsure == sent.known
        assert sent.stored > ROWS // 10


def test_a_sender_killed_in_mid_bulk(elasticsearch: Elastic) -> None:
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), os.path.dirname(__file__)]))  # noqa: PTH120
    with sink(elasticsearch, limit=LIMIT) as to:
        sender = subprocess.Popen(
            [
                sys.executable,
                "-c",
                SENDER,
                elasticsearch.url,
                elasticsearch.prefix,
                str(ROWS),
                "20000",
            ],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        try:
            assert sender.stdout is not None
            assert sender.stdout.readline() == b"ready\n"
            until(lambda: _count(elasticsearch) > ROWS // 20)
        finally:
            sender.kill()
            left, _ = sender.communicate()
        assert left == b""
        # What the server had of it is still being taken.
        rows = events(range(ROWS))
        sent = to.send(rows)
        everything(elasticsearch, sent, rows)
        assert sent.known >= ROWS // 20
        assert sent.unsure == 0


def _count(elasticsearch: Elastic) -> int:
    name = f"{elasticsearch.prefix}-events"
    status, _ = elasticsearch.asked("POST", f"/{name}/_refresh")
    return int(elasticsearch.ask("GET", f"/{name}/_count")["count"]) if status == 200 else 0


@pytest.mark.slow
@pytest.mark.parametrize("version", ["9.5", "8.19"])
def test_one_node_of_three_lost(nodes: Callable[..., Node], version: str) -> None:
    ports = [free_port() for _ in range(3)]
    names = [f"three-{version}-{number}" for number in range(3)]
    seeds = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
    started = [
        nodes(
            version,
            name,
            **{
                "transport_port": str(port),
                "discovery.type": "multi-node",
                "discovery.seed_hosts": f"[{seeds}]",
                "cluster.initial_master_nodes": f"[{', '.join(names)}]",
            },
        )
        for name, port in zip(names, ports, strict=True)
    ]
    for node in started:
        node.wait()
    first = Elastic(started[0].url, version, "test-three", node=started[0])
    first.ask("GET", "/_cluster/health?wait_for_nodes=3&timeout=60s")
    urls = [node.url for node in started]
    with sink(first, *urls, limit=LIMIT, replicas=1) as to:
        assert to.send(events(range(1))).stored == 1
        # As long as there is one copy only, a node that is lost takes what it has with it.
        first.ask("GET", "/_cluster/health/test-three-*?wait_for_status=green&timeout=60s")
        sending = Sending(to)
        sending.start()
        sending.until_in_the_middle()
        # The one that has the primary shard.
        shards = first.ask("GET", "/_cat/shards/test-three-events*?format=json")
        (primary,) = (one["node"] for one in shards if one["prirep"] == "p")
        started[names.index(primary)].kill()
        rest = next(node for node in started if node.name != primary)
        sending.finish(Elastic(rest.url, version, "test-three", node=rest))
