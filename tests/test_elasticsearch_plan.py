"""`connwatch elasticsearch plan`, `setup` and `remove`, and what is said to servers with policies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from elastic import Elastic
from elastic_events import START, frame, one
from fake_server import Answer, fake_server
from fake_server import elasticsearch as answers

from connwatch.cli import run
from connwatch.sinks.elasticsearch import connect, read_settings
from connwatch.sinks.elasticsearch.bodies import event_bodies
from connwatch.sinks.elasticsearch.layout import Layout
from connwatch.sinks.elasticsearch.retention import Retention
from connwatch.sinks.elasticsearch.setup import plan


@pytest.fixture
def options(elasticsearch: Elastic, tmp_path: Path) -> list[str]:
    config = tmp_path / "c.yml"
    prefix = elasticsearch.prefix.rstrip("-")
    config.write_text(
        f"sources: [{{path: a.log}}]\nelasticsearch:\n  nodes: ['{elasticsearch.url}']\n"
        f"  prefix: {prefix}\n  replicas: 0\n"
    )
    return ["-c", str(config)]


def test_plan_setup_and_remove(
    options: list[str], elasticsearch: Elastic, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*command: str, code: int = 0) -> str:
        assert run(["elasticsearch", *command, *options]) == code
        return capsys.readouterr().out

    prefix = elasticsearch.prefix.rstrip("-")
    planned = said("plan")
    assert planned.count("create") == 5
    assert f"create     index template      {prefix}-events\n" in planned
    assert "note     templates   5 things are to be made" in said("check")
    assert said("setup") == planned.replace("5 to change, 0 in the way", "5 changed")
    assert "ok       templates   present and current" in said("check")
    assert said("setup") == "0 changed\n"
    settings = read_settings(nodes=(elasticsearch.url,), environment={})
    with connect(settings) as server:
        for body in event_bodies(frame(one()), Layout(prefix=prefix)):
            kind = {"content-type": "application/vnd.elasticsearch+x-ndjson; compatible-with=8"}
            assert server.perform("POST", "/_bulk", body.data, headers=kind).ok
    index = f"{prefix}-events-zeek.connection-{START:%Y.%m.%d}"
    assert said("setup", "--alerts", "1d", "--events", "36500d") == "0 changed\n"
    assert said("remove").count("removed    ") == 5
    assert said("remove", "--indices", "--yes") == f"removed    {index}\n1 removed\n"


def test_a_conflict_is_exit_1_of_plan_and_an_error_of_setup(
    options: list[str], elasticsearch: Elastic, capsys: pytest.CaptureFixture[str]
) -> None:
    index = f"{elasticsearch.prefix.rstrip('-')}-events"
    elasticsearch.ask("PUT", f"/{index}", {})
    assert run(["elasticsearch", "plan", *options]) == 1
    assert "1 in the way" in capsys.readouterr().out
    assert run(["elasticsearch", "check", *options]) == 1
    assert f"failed   templates   index {index}: an index has the name" in capsys.readouterr().out
    assert run(["elasticsearch", "setup", *options]) == 3
    assert "another prefix" in capsys.readouterr().err


def test_a_server_with_policies_gets_one_for_each_family_that_has_an_end() -> None:
    """These servers are not here: what is asked of them is what their reference says."""
    layout = Layout()
    policy: dict[str, Any] = {}

    def planned() -> dict[str, Any]:
        more = {
            "/_ilm/status": Answer(body={"operation_mode": "RUNNING"}),
            "/_ilm/policy/connwatch-events-retention": Answer(body=policy),
            "/_component_template/connwatch-*": Answer(body={"component_templates": []}),
            "/_index_template/*": Answer(body={"index_templates": []}),
        }
        with fake_server({**answers(), "*": Answer(404, {}), **more}) as fake:
            settings = read_settings(nodes=[fake.url], environment={})
            with connect(settings) as server:
                found = plan(server, layout, Retention(events=30))
        assert found.lifecycle
        return {change.name: change for change in found.changes}

    made = planned()
    change = made["connwatch-events-retention"]
    assert change.action == "create"
    assert change.body["policy"]["phases"]["delete"]["min_age"] == "31d"
    assert "connwatch-alerts-retention" not in made
    settings = made["connwatch-events-fields"].body["template"]["settings"]["index"]
    assert settings["lifecycle"] == {
        "name": "connwatch-events-retention",
        "parse_origination_date": True,
    }
    assert "settings" not in made["connwatch-alerts-fields"].body["template"]
    policy["connwatch-events-retention"] = {"version": 1, "policy": change.body["policy"]}
    assert planned()["connwatch-events-retention"].action == "unchanged"
