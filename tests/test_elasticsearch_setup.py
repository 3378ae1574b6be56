"""Templates, indices and documents on real servers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from elastic import Elastic
from elastic_events import START, alert, frame, one

from connwatch.errors import ServerError
from connwatch.sinks.elasticsearch import Server, connect, read_settings
from connwatch.sinks.elasticsearch.bodies import Alert, alert_bodies, event_bodies
from connwatch.sinks.elasticsearch.documents import from_documents
from connwatch.sinks.elasticsearch.fitting import LONGEST, MARK
from connwatch.sinks.elasticsearch.layout import Layout
from connwatch.sinks.elasticsearch.mappings import components
from connwatch.sinks.elasticsearch.retention import Retention, drop, expired
from connwatch.sinks.elasticsearch.setup import plan, remove, setup

NDJSON = {"content-type": "application/vnd.elasticsearch+x-ndjson; compatible-with=8"}


@pytest.fixture
def server(elasticsearch: Elastic) -> Iterator[Server]:
    with connect(read_settings(nodes=(elasticsearch.url,), environment={})) as connected:
        yield connected


@pytest.fixture
def layout(elasticsearch: Elastic) -> Layout:
    return Layout(prefix=elasticsearch.prefix.rstrip("-"), replicas=0)


def actions(changes: Any) -> set[str]:
    return {change.action for change in changes}


def post(server: Server, bodies: Any) -> list[tuple[int, str]]:
    """Status and reason of each item."""
    found = []
    for body in bodies:
        answer = server.perform("POST", "/_bulk?refresh=true", body.data, headers=NDJSON)
        assert answer.ok, answer
        for item in answer.body["items"]:
            (told,) = item.values()
            found.append((told["status"], str(told.get("error", ""))))
    return found


def search(server: Server, alias: str, query: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    body = {"query": query, "size": 100, **more}
    answer = server.perform("POST", f"/{alias}/_search", body)
    assert answer.ok, answer
    return list(answer.body["hits"]["hits"])


def ids(server: Server, alias: str, query: dict[str, Any], **more: Any) -> list[str]:
    return [hit["_id"] for hit in search(server, alias, query, _source=False, **more)]


def test_setup_does_what_the_plan_says_and_then_nothing(server: Server, layout: Layout) -> None:
    before = plan(server, layout)
    assert actions(before.changes) == {"create"}
    assert plan(server, layout) == before
    assert setup(server, layout) == before
    assert actions(plan(server, layout).changes) == {"unchanged"}
    assert setup(server, layout).pending == ()
    assert len(remove(server, layout)) == len(before.changes)
    assert plan(server, layout) == before
    assert remove(server, layout) == []


def test_other_settings_are_an_update_that_says_what(server: Server, layout: Layout) -> None:
    setup(server, layout)
    other = replace(layout, shards=2, codec="default")
    (change,) = plan(server, other).pending
    assert (change.action, change.name) == ("update", layout.settings_component)
    assert change.detail == "changes settings.index.codec, settings.index.number_of_shards"
    setup(server, other)
    assert plan(server, other).pending == ()


def test_another_routing_is_refused(server: Server, layout: Layout) -> None:
    setup(server, layout)
    with pytest.raises(ServerError, match="say routing day, or take another prefix"):
        setup(server, replace(layout, routing="month"))
    assert plan(server, layout).pending == ()


def test_an_older_version_is_upgraded_in_place(server: Server, layout: Layout) -> None:
    """One that did not know a field yet: template and index get it, and documents are kept."""
    setup(server, layout)
    name = layout.component(layout.events)
    older = components(layout, {})[name]
    del older["template"]["mappings"]["properties"]["zeek"]
    older["version"] = older["_meta"]["version"] = 0
    assert server.perform("PUT", f"/_component_template/{name}", older).ok
    assert post(server, event_bodies(frame(one()), layout)) == [(201, "")]
    index = layout.event_index("zeek.connection", START.date())
    pending = plan(server, layout).pending
    assert [(change.action, change.kind, change.name) for change in pending] == [
        ("update", "component template", name),
        ("update", "mapping", index),
    ]
    setup(server, layout)
    assert plan(server, layout).pending == ()
    assert post(server, event_bodies(frame(one(**{"event.id": "a"})), layout)) == [(201, "")]
    assert ids(server, layout.events, {"term": {"zeek.connection.state": "SF"}}) == ["a"]


def test_a_later_version_is_refused(server: Server, layout: Layout) -> None:
    setup(server, layout)
    later = components(layout, {})[layout.settings_component]
    later["_meta"]["version"] = 99
    server.perform("PUT", f"/_component_template/{layout.settings_component}", later)
    with pytest.raises(ServerError, match="of a later connwatch"):
        setup(server, layout)


CONFLICTS: dict[str, tuple[str, Any, str]] = {
    "a field of another type": (
        "/{prefix}-events-zeek.connection-2026.11.20",
        {"mappings": {"properties": {"source": {"properties": {"ip": {"type": "keyword"}}}}}},
        "source.ip is keyword, not ip",
    ),
    "an index with the alias's name": ("/{prefix}-events", {}, "the name that the alias must have"),
    "somebody's component template": (
        "/_component_template/{prefix}-settings",
        {"template": {}},
        "is not of connwatch",
    ),
    "somebody's index template": (
        "/_index_template/{prefix}-other",
        {"index_patterns": ["{prefix}-events-zeek*"], "priority": 400},
        "the same names and priority 400",
    ),
}


@pytest.mark.parametrize("case", CONFLICTS)
def test_a_conflict_is_found_before_anything_is_changed(
    case: str, server: Server, layout: Layout
) -> None:
    path, body, said = CONFLICTS[case]
    patterns = [one.replace("{prefix}", layout.prefix) for one in body.get("index_patterns", ())]
    body = {**body, **({"index_patterns": patterns} if patterns else {})}
    assert server.perform("PUT", path.replace("{prefix}", layout.prefix), body).ok
    with pytest.raises(ServerError, match=said):
        setup(server, layout)
    assert "create" in actions(plan(server, layout).changes)


def test_an_index_without_the_alias_gets_it(server: Server, layout: Layout) -> None:
    index = f"{layout.prefix}-alerts-2026.11.20"
    server.perform("PUT", f"/{index}", {})
    setup(server, layout)
    assert plan(server, layout).pending == ()
    assert post(server, alert_bodies([Alert("a", index, alert())])) == [(201, "")]
    assert ids(server, layout.alerts, {"term": {"connwatch.count": 3}}) == ["a"]


FOUND: dict[str, tuple[str, Any]] = {
    "keyword": ("zeek.connection.history", "Dd"),
    "keyword with doc values only": ("event.action", "connection_finished"),
    "list of keywords": ("event.type", "start"),
    "address": ("source.ip", "192.0.2.0/24"),
    "list of addresses": ("related.ip", "198.51.100.9"),
    "number": ("destination.port", 53),
    "number with doc values only": ("log.offset", 461),
    "truth": ("zeek.connection.local_orig", True),
    "time": ("@timestamp", "2026-11-20T12:00:00.000000Z"),
    "derived time": ("event.end", "2026-11-20T12:00:01.500000Z"),
    "unknown field": ("connwatch.extra.a.b", "x"),
    "number of an unknown field": ("connwatch.extra.n", "123456789012345678901234567890"),
    "label": ("labels.site", "north"),
}


def test_events_are_found_by_every_type_and_come_back_as_they_were(
    server: Server, layout: Layout
) -> None:
    setup(server, layout)
    whole = one(
        **{
            "connwatch.extra": '{"a":{"b":"x"},"n":123456789012345678901234567890}',
            "labels": '{"site":"north"}',
            "zeek.connection.tunnel_parents": ["b", "a", "b"],
        }
    )
    nothing = one(
        **{name: None for name in whole if name.startswith(("zeek", "network"))},
        **{"source.ip": "2001:db8::1", "destination.ip": "2001:db8::2", "source.port": 1},
        **{"event.duration": None, "log.offset": 7, "destination.port": None},
        **{"@timestamp": START + timedelta(microseconds=1), "source.bytes": 2**63 - 1},
    )
    events = frame(whole, nothing)
    assert post(server, event_bodies(events, layout)) == [(201, ""), (201, "")]
    assert {status for status, _ in post(server, event_bodies(events, layout, gzip=False))} == {409}
    for case, (field, value) in FOUND.items():
        assert ids(server, layout.events, {"term": {field: value}}) == [events["event.id"][0]], case
    hits = search(server, layout.events, {"match_all": {}}, sort=[{"event.id": "asc"}])
    assert from_documents(hit["_source"] for hit in hits).equals(events)


def test_times_are_sorted_and_searched_by_microseconds(server: Server, layout: Layout) -> None:
    setup(server, layout)
    micros = [5, 3, 999, 1, 1_000, 4, 2]
    rows = [one(**{"@timestamp": START + timedelta(microseconds=us)}) for us in micros]
    events = frame(*rows)
    post(server, event_bodies(events, layout))
    by_time = events.sort("@timestamp")["event.id"].to_list()
    everything: dict[str, Any] = {"match_all": {}}
    assert ids(server, layout.events, everything, sort=[{"@timestamp": "asc"}]) == by_time
    assert ids(server, layout.events, everything, sort=[{"@timestamp": "desc"}]) == by_time[::-1]
    some = {"gt": "2026-11-20T12:00:00.000002Z", "lte": "2026-11-20T12:00:00.000999Z"}
    query = {"range": {"@timestamp": some}}
    assert ids(server, layout.events, query, sort=[{"@timestamp": "asc"}]) == by_time[2:6]


ODD: dict[str, dict[str, Any]] = {
    "an address that is none": {"source.ip": "nobody"},
    "a number beyond its type": {"zeek.connection.vlan": 2**40},
    "an end after 2262": {"event.duration": 2**63 - 1, "@timestamp": START.replace(year=2099)},
    "a text too long to search": {"zeek.connection.history": "é" * LONGEST},
    "null characters": {"zeek.connection.service": "\x00", "observer.name": "\x00"},
    "hostile text": {"zeek.connection.history": '"}}\n{"delete":{}}\n\u2028\U0001f600'},
    "a dataset with anything in it": {"event.dataset": 'Ä/../"*\n'},
    "a dataset too long": {"event.dataset": "x" * 40_000},
    "unknown fields too deep": {"connwatch.extra": '{"a":' * 40 + "1" + "}" * 40},
    "unknown fields with null characters": {"connwatch.extra": '{"a\\u0000":"\\u0000"}'},
    "unknown fields with long names": {"connwatch.extra": '{"' + "k" * 33_000 + '":{"b":"' + "v" * 33_000 + '"}}'},
    "unknown fields with half a character": {"connwatch.extra": '{"a":"\\ud800"}'},
    "unknown fields with a long number": {"connwatch.extra": '{"a":%s}' % ("9" * 5_000)},
    "unknown fields twice": {"connwatch.extra": '{"a":1,"a":2}' + " " * 1_000},
    "unknown fields with long texts in long names": {
        "connwatch.extra": '{"%s":' % ("\U0001f600" * 900) * 17 + '"%s"' % ("\U0001f600" * 9_000) + "}" * 17
    },
}  # fmt: skip


def test_no_event_is_refused_for_one_odd_field(server: Server, layout: Layout) -> None:
    setup(server, layout)
    events = frame(*(one(**values) for values in ODD.values()))
    fates = dict(zip(ODD, post(server, event_bodies(events, layout)), strict=True))
    assert {case: fate for case, fate in fates.items() if fate[0] != 201} == {}
    cases = dict(zip(events["event.id"], ODD, strict=True))
    ignored = ids(server, layout.events, {"exists": {"field": "_ignored"}})
    assert {cases[one] for one in ignored} == {
        "an address that is none",
        "a number beyond its type",
        "an end after 2262",
    }
    (cut,) = search(server, layout.events, {"wildcard": {"zeek.connection.history": f"*{MARK}"}})
    assert cases[cut["_id"]] == "a text too long to search"


def test_an_alert_grows_and_keeps_the_word_of_an_analyst(server: Server, layout: Layout) -> None:
    setup(server, layout)
    first = alert()
    place = layout.alert_index(first)
    assert post(server, alert_bodies([Alert("a", place, first)])) == [(201, "")]
    said = {"doc": {"connwatch": {"status": "closed"}}}
    assert server.perform("POST", f"/{place}/_update/a", said).ok
    grown = alert(count=9)
    grown["source"] = {"port": 7}
    assert post(server, alert_bodies([Alert("a", place, grown)])) == [(200, "")]
    (hit,) = search(server, layout.alerts, {"term": {"connwatch.count": 9}})
    assert hit["_source"]["connwatch"]["status"] == "closed"
    assert hit["_source"]["source"] == {"ip": None, "port": 7}
    for query in (
        {"term": {"connwatch.group.source.ip": "192.0.2.0/24"}},
        {"term": {"connwatch.evidence.source.port": 7}},
        {"match_phrase": {"message": "scan of one"}},
        {"range": {"connwatch.values.peak": {"gt": 4.4}}},
        {"term": {"connwatch.values.counted": "22"}},
        {"term": {"rule.name": "Port scan of one host"}},
    ):
        assert ids(server, layout.alerts, query) == ["a"], query
    assert post(server, alert_bodies([Alert("a", place, None)])) == [(200, "")]
    assert ids(server, layout.alerts, {"match_all": {}}) == []


def test_whole_indices_are_dropped_when_their_last_day_is_past(
    server: Server, layout: Layout
) -> None:
    setup(server, layout)
    days = [START - timedelta(days=back) for back in (0, 9, 10, 11, 400)]
    post(server, event_bodies(frame(*(one(**{"@timestamp": day}) for day in days)), layout))
    server.perform("PUT", f"/{layout.prefix}-events-old", {})
    today = date(2026, 11, 20)
    assert expired(server, layout, Retention(), today) == []
    assert expired(server, layout, Retention(alerts=1), today) == []
    names = expired(server, layout, Retention(events=10), today)
    assert names == [
        layout.event_index("zeek.connection", day.date()) for day in (days[4], days[3])
    ]
    assert drop(server, names) == names
    assert drop(server, names) == []
    assert len(ids(server, layout.events, {"match_all": {}})) == 3
    with pytest.raises(ValueError, match="one index"):
        drop(server, ["*"])
    gone = remove(server, layout, indices=True)
    assert set(gone) & set(names) == set()
    assert server.perform("HEAD", f"/{layout.prefix}-events-old").ok


def test_the_role_of_the_deployment_is_enough(secured: Elastic) -> None:
    environment = {
        "CONNWATCH_ES_USERNAME": "connwatch",
        "CONNWATCH_ES_PASSWORD": secured.users["connwatch"],
    }
    known = read_settings(nodes=(secured.url,), environment=environment, ca=secured.ca)
    layout = Layout(prefix=secured.prefix.rstrip("-"), replicas=0)
    document = alert()
    place = layout.alert_index(document)
    with connect(known, writing=True) as server:
        setup(server, layout)
        events = frame(one())
        assert post(server, event_bodies(events, layout)) == [(201, "")]
        for wanted in (201, 200):
            assert post(server, alert_bodies([Alert("a", place, document)])) == [(wanted, "")]
        assert post(server, alert_bodies([Alert("a", place, None)])) == [(200, "")]
        assert ids(server, layout.events, {"match_all": {}}) == events["event.id"].to_list()
        assert plan(server, layout).pending == ()
        gone = [layout.event_index("zeek.connection", START.date()), place]
        assert remove(server, layout, indices=True)[:2] == sorted(gone)
