"""What tests of sending share: configurations, live runs, and what a server has afterwards."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elastic import Elastic

from connwatch.sinks.embedded import StoreReader


def configured(folder: Path, server: Elastic, more: str = "") -> Path:
    path = folder / "connwatch.yml"
    path.write_text(
        f"store: store\nrules: [bundled]\nsources: [{{path: logs/conn.log}}]\n"
        f"elasticsearch:\n  nodes: [{server.url}]\n  prefix: {server.prefix}\n  replicas: 0\n{more}"
    )
    return path


def documents(server: Elastic, family: str) -> dict[str, Any]:
    """Documents by id."""
    name = f"{server.prefix}-{family}"
    status, _ = server.asked("POST", f"/{name}/_refresh")
    if status == 404:
        return {}
    found: dict[str, Any] = {}
    body: dict[str, Any] = {"size": 5_000, "sort": [{"event.id": "asc"}]}
    while hits := server.ask("POST", f"/{name}/_search", body)["hits"]["hits"]:
        for hit in hits:
            assert hit["_id"] not in found, "in two indices"
            found[hit["_id"]] = hit["_source"]
        body["search_after"] = hits[-1]["sort"]
    return found


def plain(value: Any) -> Any:
    """Without nulls: what an alert has lost is null on the server."""
    if isinstance(value, dict):
        return {k: w for k, v in value.items() if (w := plain(v)) not in (None, {})}
    return value


def same(server: Elastic, store: Path) -> int:
    """The server has just the store's events and alerts; how many events."""
    with StoreReader(store) as reader:
        events = reader.events().select("event.id").collect()["event.id"]
        alerts = {alert["event"]["id"]: plain(alert) for alert in reader.alerts()}
    assert set(documents(server, "events")) == set(events)
    assert {key: plain(one) for key, one in documents(server, "alerts").items()} == alerts
    return len(events)


@contextmanager
def followed(config: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Killed at the end, if it still runs."""
    arguments = [sys.executable, "-m", "connwatch.cli", "run", "-c", str(config), *more]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()
