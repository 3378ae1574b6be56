"""What the tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from elastic import Elastic
from elastic_servers import SECURED, VERSIONS, Servers, wanted
from hypothesis import HealthCheck, settings

# How fast a machine is says nothing about what is tested. Whether a change lands hangs on the change:
# CI draws the same cases every time, everybody else new ones.
settings.register_profile(
    "connwatch",
    deadline=None,
    derandomize="CONNWATCH_CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("connwatch")

# What a shell starts in the background ignores Ctrl-C, and so would the processes of tests.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real inputs with known answers; without it the test skips and says so."""
    folder = Path(os.environ.get("CONNWATCH_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no conformance data at {folder} (set CONNWATCH_DATA)")
    return folder


@pytest.fixture(scope="session")
def elastic_servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """Real servers by version ("8.19", "secured 9.5"), each started when it is first needed."""
    servers = Servers(wanted(request.session.items))
    try:
        yield servers
    finally:
        servers.stop()


@pytest.fixture(params=VERSIONS)
def elasticsearch(request: pytest.FixtureRequest, elastic_servers: Servers) -> Iterator[Elastic]:
    """A real Elasticsearch without security, of each version. What a test makes there has names
    that begin with `elasticsearch.prefix`, and is removed after it."""
    server = elastic_servers.get(request.param)
    try:
        yield server
    finally:
        server.clean()


@pytest.fixture(params=SECURED)
def secured(request: pytest.FixtureRequest, elastic_servers: Servers) -> Iterator[Elastic]:
    """As `elasticsearch`, with TLS (`secured.ca`), and `secured.users` with passwords: admin,
    connwatch with the role of deploy/elasticsearch/role.json for the prefixes of tests, reader who
    may only read, nobody who may nothing."""
    server = elastic_servers.get(f"secured {request.param}")
    try:
        yield server
    finally:
        server.clean()
