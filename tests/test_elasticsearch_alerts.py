"""Alerts on a server, and the commands that read there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from elastic import Elastic
from elastic_events import alert, frame, one
from elastic_search import sent

from connwatch.alert import digest
from connwatch.cli import run
from connwatch.errors import StoreError
from connwatch.sinks.elasticsearch import connect, read_settings
from connwatch.sinks.elasticsearch.bodies import Alert, alert_bodies, event_bodies
from connwatch.sinks.elasticsearch.layout import Layout
from connwatch.sinks.elasticsearch.reader import ServerReader
from connwatch.sinks.elasticsearch.setup import setup


@pytest.fixture
def reader(elasticsearch: Elastic) -> Iterator[ServerReader]:
    server = connect(read_settings(nodes=(elasticsearch.url,), environment={}))
    layout = Layout(prefix=elasticsearch.prefix, replicas=0)
    with ServerReader(server, layout) as opened:
        setup(server, layout)
        yield opened


def put(reader: ServerReader, *documents: dict[str, Any]) -> None:
    sent(
        reader.server,
        alert_bodies(
            Alert(one["event"]["id"], reader.layout.alert_index(one), one) for one in documents
        ),
    )


def test_alerts_come_back_as_they_were_sent(reader: ServerReader) -> None:
    first, second = alert(1), alert(2)
    second["event"]["start"] = "2026-11-20T11:00:00.000001Z"
    put(reader, first, second)
    assert reader.alerts() == [second, first]
    assert digest(reader.alerts()) == digest([first, second])
    grown = alert(1, count=9)
    del grown["source"]
    put(reader, grown)
    assert reader.alert("0" * 31 + "1") == grown


def test_an_alert_is_found_by_the_beginning_of_its_id(reader: ServerReader) -> None:
    put(reader, alert(0xA << 124), alert(0xAB << 120))
    assert reader.alert("AB")["event"]["id"] == f"{0xAB << 120:032x}"
    for wanted, said in (
        ("a", "2 alerts have"),
        ("c", "no alert has"),
        ("x*", "is not an alert's"),
    ):
        with pytest.raises(StoreError, match=said):
            reader.alert(wanted)


def test_a_status_is_all_that_is_written(reader: ServerReader) -> None:
    document = alert(1)
    put(reader, document)
    reader.set_alert_status(document["event"]["id"], "closed")
    assert reader.alerts() == [alert(1, status="closed")]
    put(reader, alert(1, count=4))
    assert reader.alerts() == [alert(1, status="closed", count=4)]


def test_the_commands_read_a_server(
    reader: ServerReader,
    elasticsearch: Elastic,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tmp_path / "connwatch.yml"
    config.write_text(
        f"sources: [{{path: conn.log}}]\n"
        f"elasticsearch:\n  nodes: [{elasticsearch.url}]\n  prefix: {elasticsearch.prefix}\n"
    )
    put(reader, alert(1, values={}))
    sent(reader.server, event_bodies(frame(one(), one(**{"source.port": 7})), reader.layout))

    def told(*words: str, code: int = 0) -> str:
        capsys.readouterr()
        assert run([*words, "-c", str(config)]) == code
        return capsys.readouterr().out

    assert told("search", "source.port: 7", "--count").strip() == "1"
    assert told("search", "--by", "source.port", "--format", "csv").splitlines()[1] == "7,1"
    assert "2026-11-20" in told("search", "--histogram", "1h")
    assert '"port":7' in told("search", "udp", "--format", "ndjson").replace(" ", "")
    number = alert(1)["event"]["id"]
    assert number in told("alerts", "connwatch.count >= 3", "--format", "ndjson")
    assert "Port scan" in told("alerts", "show", number)
    assert "closed" in told("alerts", "close", number)
    assert told("alerts", "connwatch.status: open", "--format", "ndjson") == ""
    assert told("alerts", "events", number, "--format", "ndjson") == ""
    told("search", "--store", str(tmp_path), code=2)
