"""What Kibana is given, and what its page says, on real servers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from elastic import Elastic

from connwatch.cli import run as command
from connwatch.query import count, parse
from connwatch.query.documents import matching
from connwatch.sinks.elasticsearch import connect, read_settings
from connwatch.sinks.elasticsearch.layout import Layout
from connwatch.sinks.elasticsearch.reader import ServerReader
from connwatch.sinks.embedded import StoreReader

ROOT = Path(__file__).resolve().parent.parent
OBJECTS = [
    json.loads(line)
    for line in (ROOT / "deploy" / "kibana" / "connwatch.ndjson").read_text().splitlines()
]
SEARCHES = [one for one in OBJECTS if one["type"] == "search"]
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def test_what_is_imported_hangs_together() -> None:
    ids = [(one["type"], one["id"]) for one in OBJECTS]
    assert len(set(ids)) == len(ids)
    assert {one["attributes"]["title"] for one in OBJECTS if one["type"] == "index-pattern"} == {
        Layout().events,
        Layout().alerts,
    }
    for one in SEARCHES:
        (reference,) = one["references"]
        assert (reference["type"], reference["id"]) in ids
        assert source(one)["indexRefName"] == reference["name"]


def source(search: Any) -> Any:
    return json.loads(search["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])


def queries() -> Iterator[tuple[str, str]]:
    """Of the page and of saved searches: alerts or events, and what is asked of them."""
    page = (ROOT / "docs" / "kibana.md").read_text()
    alerts, events = re.findall(r"```kql\n(.*?)```", page, re.DOTALL)
    yield from (("alerts", line) for line in alerts.splitlines())
    yield from (("events", line) for line in events.splitlines())
    for one in SEARCHES:
        kql = source(one)["query"]["query"]
        assert f"| `{kql}` |" in page
        yield one["references"][0]["id"].removeprefix("connwatch-"), kql


@pytest.fixture
def indexed(elasticsearch: Elastic, tmp_path: Path) -> Iterator[tuple[Path, ServerReader]]:
    """The sample incident in a store and in a server."""
    config = tmp_path / "c.yml"
    config.write_text(
        f"sources: [{{path: none.log}}]\nelasticsearch: {{nodes: [{elasticsearch.url}], replicas: 0,"
        f" prefix: {elasticsearch.prefix}}}\n"
    )
    log = ROOT / "sample_logs" / "incident" / "conn.log"
    arguments = ["--store", str(tmp_path / "store"), "-c", str(config)]
    assert command(["replay", str(log), *arguments]) == 0
    for family in ("events", "alerts"):
        elasticsearch.ask("POST", f"/{elasticsearch.prefix}-{family}/_refresh")
    settings = read_settings(nodes=(elasticsearch.url,), environment={})
    with connect(settings) as server:
        yield tmp_path / "store", ServerReader(server, Layout(prefix=elasticsearch.prefix))


def test_every_query_of_the_page_finds_what_the_store_finds(
    indexed: tuple[Path, ServerReader], elasticsearch: Elastic
) -> None:
    store, there = indexed
    with StoreReader(store) as here:
        for family, kql in queries():
            query = parse(kql)
            if family == "events":
                number = count(here.events(), query, now=NOW)
                assert there.count(query, now=NOW) == number > 0, kql
            else:
                found = [
                    {one["event"]["id"] for one in matching(reader.alerts(), query, now=NOW)}
                    for reader in (here, there)
                ]
                assert found[0] == found[1] != set(), kql


def test_every_field_that_is_named_can_be_searched_and_shown(
    indexed: tuple[Path, ServerReader], elasticsearch: Elastic
) -> None:
    """As Kibana sees it: by the mapping."""
    wanted = [(family, name) for family, kql in queries() for name in fields(kql)]
    for one in SEARCHES:
        family = one["references"][0]["id"].removeprefix("connwatch-")
        wanted += [(family, name) for name in one["attributes"]["columns"]]
    for family, name in set(wanted):
        path = f"/{elasticsearch.prefix}-{family}/_field_caps?fields={name}"
        told = elasticsearch.ask("GET", path)["fields"]
        assert told.get(name), f"{name} of {family}"
        assert all(kind["searchable"] for kind in told[name].values()), name


def fields(kql: str) -> list[str]:
    found = re.findall(r"([@a-z][a-z_.@]*) ?(?::|>|<)", kql)
    assert found, kql
    return found
