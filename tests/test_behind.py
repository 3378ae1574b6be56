"""What is behind alerts on real servers, which hold events and alerts and not what hit what."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import ROOT
from copies import Copying, config_of
from elastic import Elastic
from explaining import DOOR, FLOWS, SCAN, SYN, flow
from test_zeek_tsv import header

from connwatch.alert import Document
from connwatch.behind import ServerRecords, StoreRecords
from connwatch.cli.searched import server_reader
from connwatch.contracts import HIT_SCHEMA
from connwatch.detectors.ruleset import load_rules
from connwatch.pipeline import bundled_rules
from connwatch.sinks.embedded import StoreReader

NULLS = (
    "title: Services\nname: services\nlevel: low\ngroup-by: [zeek.connection.service, "
    "zeek.connection.local_orig, destination.port]\nlogsource: {category: network, service: "
    "connection}\ndetection: {s: {zeek.connection.state: S0}, condition: s}\n"
)


@pytest.fixture
def copying(elasticsearch: Elastic, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Copying:
    return Copying(config_of(tmp_path, elasticsearch), capsys)


def both_ways(copying: Copying, store: Path, *words: object) -> str:
    """The same answer of the store and of the server; without the command that it names."""
    here = copying.out(*words, "--store", store)
    there = copying.on_server(*words)
    assert copying.said == ""
    plain = [text.split("all of them: ")[0] for text in (here, there)]
    assert plain[0] == plain[1]
    return there


def on_disk(copying: Copying, folder: Path, *documents: str, more: str = "") -> tuple[Path, Path]:
    """A store after a replay with these rules, that is copied to the server; and the rules."""
    rules, log, store = folder / "rules.yml", folder / "conn.log", folder / "store"
    rules.write_text("---\n".join(documents), encoding="utf-8")
    log.write_text(header() + "".join(FLOWS) + more, encoding="utf-8")
    copying.out("replay", log, "--rules", rules, "--store", store)
    copying.there(store)
    return store, rules


def alerts(store: Path) -> list[Document]:
    with StoreReader(store) as reader:
        return reader.alerts()


@pytest.mark.slow
def test_explain_and_events_are_those_of_the_store(copying: Copying, tmp_path: Path) -> None:
    more = flow(700, "10.0.0.7", 9, service='x"\\*y') + flow(701, "10.0.0.7", 9, local_orig="T")
    store, rules = on_disk(copying, tmp_path, SYN, SCAN, DOOR, NULLS, more=more)
    told = alerts(store)
    assert len(told) > 5
    for document in told:
        number = document["event"]["id"]
        events = both_ways(
            copying, store, "alerts", "events", number, "--format", "ndjson", "--rules", rules
        )
        assert len(events.splitlines()) == document["connwatch"]["count"]
    scan = next(one for one in told if one["rule"]["name"] == "Ports")
    door = next(one for one in told if "Door" in one["rule"]["name"])
    for document in (scan, door):
        both_ways(copying, store, "explain", document["event"]["id"], "--rules", rules)
    for entity in ("10.0.0.2", "source.ip=10.0.0.1", "destination.port=3"):
        both_ways(
            copying, store, "explain", "--rules", rules, "--rule", "ports", "--entity", entity,
            "--from", "2023-11-14 22:13:25", "--format", "json",
        )  # fmt: skip
    both_ways(copying, store, "explain", "--rules", rules, "--rule", "door", "--entity", "10.0.0.3")


@pytest.mark.slow
def test_the_bundled_rules_find_every_hit_of_the_sample(copying: Copying, tmp_path: Path) -> None:
    store = tmp_path / "store"
    copying.out("replay", ROOT / "sample_logs" / "incident", "--store", store)
    copying.there(store)
    rules = load_rules([bundled_rules()])
    with StoreReader(store) as reader, server_reader(copying.config, ()) as server:
        hits = reader.hits().collect()
        records = ServerRecords(server, rules)
        assert records.newest() == StoreRecords(reader).newest()
        for document in reader.alerts():
            found = records.found(document)
            assert (found.doubt, found.gone) == (None, 0)
            behind = reader.alert_events(document["event"]["id"]).collect()
            assert found.events.equals(behind)
            own = hits.filter(
                hits["event.id"].is_in(behind["event.id"].implode()),
                rule=document["connwatch"]["key"]["rule"],
            )
            assert found.hits.select(list(HIT_SCHEMA)).sort("event.id").equals(own.sort("event.id"))


@pytest.mark.slow
def test_logs_that_were_replayed_one_after_the_other_are_behind_alerts_too(
    copying: Copying, tmp_path: Path
) -> None:
    store, incident = tmp_path / "store", ROOT / "sample_logs" / "incident"
    for paths in (["conn.log"], ["tcpdump.txt"], [one.name for one in incident.glob("ss-*.txt")]):
        copying.out("replay", *(incident / one for one in paths), "--store", store)
    copying.there(store)
    with server_reader(copying.config, ()) as server:
        records = ServerRecords(server, load_rules([bundled_rules()]))
        for document in alerts(store):
            found = records.found(document)
            own = document["connwatch"]
            assert (found.doubt, found.gone) == (None, 0)
            assert found.events.height == found.hits.height == own["count"]
            assert {one["event.id"] for one in own["evidence"]} <= set(found.events["event.id"])


def test_what_is_not_certain_is_said(
    copying: Copying, elasticsearch: Elastic, tmp_path: Path
) -> None:
    later = "".join(flow(700 + n, "10.0.0.8", n + 1) for n in range(12))
    store, rules = on_disk(copying, tmp_path, SYN, SCAN, more=later)
    document = max(alerts(store), key=lambda one: int(one["connwatch"]["count"]))
    number, count = document["event"]["id"], document["connwatch"]["count"]
    assert count == 12

    def shown(*more: object) -> list[str]:
        words = ("alerts", "events", number, "--format", "ndjson", *more)
        return copying.on_server(*words).splitlines()

    assert len(shown()) == 10  # the evidence
    assert "not among the rules here" in copying.said
    for change, said, events in (
        (("S0", "SF"), "does not match all that it lists", 10),
        (("[source.ip]", "[destination.ip]"), "groups alerts in another way", 10),
        (("gte: 4", "gte: 40"), "does not match all that it lists", 10),
    ):
        rules.write_text(f"{SYN}---\n{SCAN}".replace(*change))
        assert len(shown("--rules", rules)) == events
        assert said in copying.said
    rules.write_text(f"{SYN}---\n{SCAN}")
    with StoreReader(store) as reader:
        (index,) = elasticsearch.ask("GET", f"/{elasticsearch.prefix}-events")
        gone = reader.alert_events(number).collect()["event.id"][0]
    elasticsearch.ask("DELETE", f"/{index}/_doc/{gone}?refresh=true")
    assert len(shown("--rules", rules)) == 11
    assert "1 of its 12 events" in copying.said
    facts = json.loads(copying.on_server("explain", number, "--rules", rules, "--format", "json"))
    assert facts["events"]["gone"] == 1
    assert "some of its events are not there" in copying.said


def test_questions_name_no_more_than_they_need(copying: Copying, tmp_path: Path) -> None:
    """A read of records has the columns that were asked for, and just the span."""
    store, rules = on_disk(copying, tmp_path, SYN, SCAN)
    with StoreReader(store) as reader, server_reader(copying.config, ()) as server:
        here, there = StoreRecords(reader), ServerRecords(server, load_rules([rules]))
        first = here.read(["connwatch.log_time"], None, (None, None))["connwatch.log_time"].min()
        assert first is not None
        begin = first + timedelta(seconds=10)  # type: ignore[operator]
        for names, alternatives in (
            (["event.id"], None),
            (["event.id", "labels"], ((("source.ip", "10.0.0.1"),), (("source.port", None),))),
            (["event.id"], ((("network.bytes", None), ("network.protocol", "-")),)),
            (["event.id"], ((),)),
        ):
            for span in ((begin, None), (None, begin), (begin, begin + timedelta(seconds=20))):
                wanted = here.read(names, alternatives, span)  # type: ignore[arg-type]
                found = there.read(names, alternatives, span)  # type: ignore[arg-type]
                assert found.columns == names
                assert found.sort("event.id").equals(wanted.sort("event.id"))
