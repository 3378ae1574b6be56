"""What is said of servers that cannot be used, and what is never said."""

from __future__ import annotations

import base64
import gzip
import json
import logging
import pickle
import traceback
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority
from elastic import Elastic, free_port
from fake_server import WHO, Answer, elasticsearch, fake_server, silent_server

from connwatch.errors import (
    ServerAccessError,
    ServerAwayError,
    ServerError,
    ServerKindError,
    ServerLockedError,
    ServerTrustError,
)
from connwatch.sinks.elasticsearch import Settings, connect, read_settings
from connwatch.sinks.elasticsearch.client import NDJSON

PLAIN: dict[str, str] = {}
HTML = Answer(200, b"<html>It works!</html>", {})
SECRET = "correct-horse-battery"  # noqa: S105


def settings(*nodes: str, environment: dict[str, str] | None = None, **more: Any) -> Settings:
    return read_settings(nodes=nodes, environment=environment or {}, **more)


def refused(*nodes: str, **more: Any) -> ServerError:
    with pytest.raises(ServerError) as told:
        connect(settings(*nodes, **more), writing=True)
    return told.value


def root(number: str, **more: str) -> Answer:
    return Answer(
        200, {"version": {"number": number, **more}, "tagline": "You Know, for Search"}, PLAIN
    )


STRANGERS: dict[str, tuple[dict[str, Answer], type[ServerError], str]] = {
    "a web server": ({"*": HTML}, ServerKindError, "what answers is not Elasticsearch"),
    "a web server without this page": (
        {"*": Answer(404, b"not here", {})},
        ServerKindError,
        "what answers is not Elasticsearch (status 404)",
    ),
    "broken JSON": (
        {"*": Answer(200, b"{", {"Content-Type": "application/json"})},
        ServerKindError,
        "its answer cannot be read",
    ),
    "an unknown kind of content": (
        {"*": Answer(200, b"x", {"Content-Type": "image/png"})},
        ServerKindError,
        "its answer cannot be read",
    ),
    "JSON of another meaning": (
        {"*": Answer(200, [1], PLAIN)},
        ServerKindError,
        "is not Elasticsearch",
    ),
    "a redirect": (
        {"*": Answer(302, b"", {"Location": "http://elsewhere/"})},
        ServerKindError,
        "is not Elasticsearch (status 302)",
    ),
    "OpenSearch": (
        {
            WHO: Answer(200, {"nodes": {"n": {"version": "2.19.1"}}}, PLAIN),
            "/": root("2.19.1", distribution="opensearch"),
        },
        ServerKindError,
        "this is OpenSearch 2.19.1, not Elasticsearch",
    ),
    "too old, without the header": (
        {WHO: Answer(200, {"nodes": {"n": {"version": "7.10.2"}}}, PLAIN), "/": root("7.10.2")},
        ServerKindError,
        "this is Elasticsearch 7.10.2",
    ),
    "too old": (elasticsearch("7.17.9"), ServerKindError, "this is Elasticsearch 7.17.9"),
    "too new": (elasticsearch("10.0.0"), ServerKindError, "this is Elasticsearch 10.0.0"),
    "no version at all": ({WHO: Answer(200, {})}, ServerError, "GET /_nodes failed (200)"),
    "a proxy before nothing": (
        {"*": Answer(503, b"<html>", {})},
        ServerAwayError,
        "something answers with status 503",
    ),
    "not up yet": (
        {"*": Answer(503, {"error": {"type": "master_not_discovered", "reason": "none"}})},
        ServerAwayError,
        "(503): master_not_discovered: none",
    ),
    "who is asking": ({"*": Answer(401, {"error": "who?"})}, ServerAccessError, "(401): who?"),
    "not allowed": (
        {"*": Answer(403, {"error": {"type": "security_exception", "reason": "no"}})},
        ServerAccessError,
        "(403): security_exception: no",
    ),
    "locked": (
        elasticsearch()
        | {
            "/_cluster/settings": Answer(
                body={"persistent": {"cluster": {"blocks": {"read_only": "true"}}}}
            )
        },
        ServerLockedError,
        "takes no writes: cluster.blocks.read_only",
    ),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_a_server_that_cannot_be_used(name: str) -> None:
    answers, kind, told = STRANGERS[name]
    with fake_server(answers) as fake:
        error = refused(fake.url)
    assert type(error) is kind
    assert told in error.message
    assert error.where == fake.url


def test_a_server_that_does_not_say_its_version_to_everybody() -> None:
    """Nodes are not shown, the root is."""
    answers = {WHO: Answer(410), "/": Answer(200, {"version": {"number": "8.11.0"}})}
    with fake_server(answers) as fake, connect(settings(fake.url)) as server:
        assert server.version == (8, 11, 0)


def test_nobody_there() -> None:
    assert "refused" in refused(f"http://127.0.0.1:{free_port()}").message
    error = refused("https://name.invalid")
    assert (type(error), error.message) == (ServerAwayError, "no such host")
    with silent_server() as url:
        error = refused(url, timeout=0.2)
    assert (type(error), error.message) == (ServerAwayError, "no answer within 0.2 s")


def test_the_next_node_answers_for_one_that_is_away() -> None:
    with fake_server(elasticsearch()) as fake:
        away = f"http://127.0.0.1:{free_port()}"
        with connect(settings(away, fake.url)) as server:
            for _ in range(4):
                assert server.perform("GET", WHO).node == fake.url


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def good(authority: Authority) -> tuple[Path, Path]:
    return authority.issue("good", "127.0.0.1", "localhost")


def test_tls_that_is_right(authority: Authority, good: tuple[Path, Path], tmp_path: Path) -> None:
    leaf = fingerprint_of(good[0])
    with fake_server(elasticsearch(), tls=good) as fake:
        local = fake.url.replace("127.0.0.1", "localhost")
        for url, how in (
            (fake.url, {"ca": authority.ca}),
            (local, {"ca": authority.ca}),
            (fake.url, {"fingerprint": leaf}),
            (local, {"fingerprint": leaf.upper()}),
            (fake.url, {"environment": {"CONNWATCH_ES_CA": str(authority.ca)}}),
        ):
            with connect(settings(url, **how)) as server:
                assert server.version == (9, 5, 0)


def test_tls_that_is_wrong(authority: Authority, good: tuple[Path, Path], tmp_path: Path) -> None:
    expired = authority.issue("expired", "127.0.0.1", until=timedelta(days=-1))
    other = authority.issue("other", "other.example")
    trusted = {"ca": authority.ca}
    for pair, how, told in (
        (good, {}, "an authority that is not trusted here"),
        (good, {"ca": Authority(tmp_path, "somebody else").ca}, "not trusted here"),
        (good, {"fingerprint": "0" * 64}, "another fingerprint"),
        (expired, trusted, "has expired"),
        (other, trusted, "for another name"),
    ):
        with fake_server(elasticsearch(), tls=pair) as fake:
            error = refused(fake.url, **how)
        assert type(error) is ServerTrustError
        assert told in error.message
        assert error.hint


def test_a_scheme_that_is_wrong(authority: Authority, good: tuple[Path, Path]) -> None:
    with fake_server(elasticsearch(), tls=good) as fake:
        error = refused(fake.url.replace("https", "http"))
    assert error.hint == "does it want https:// there?"
    with fake_server(elasticsearch()) as fake:
        error = refused(fake.url.replace("http", "https"), ca=authority.ca)
    assert (type(error), error.hint) == (ServerTrustError, "is it http:// there?")


def test_a_client_certificate(authority: Authority, good: tuple[Path, Path]) -> None:
    certificate, key = authority.issue("client")
    both = {"client_certificate": certificate, "client_key": key}
    with fake_server(elasticsearch(), tls=good, client_ca=authority.ca) as fake:
        error = refused(fake.url, ca=authority.ca)
        assert error.hint
        assert "elasticsearch.client_certificate" in error.hint
        for trust in ({"ca": authority.ca}, {"fingerprint": fingerprint_of(good[0])}):
            with connect(settings(fake.url, **trust, **both)) as server:
                assert server.version == (9, 5, 0)


def test_a_proxy(authority: Authority, good: tuple[Path, Path]) -> None:
    """Plain HTTP goes through it with the whole address; https in a tunnel that it may refuse."""
    whole = {f"http://es.invalid:9200{path}": answer for path, answer in elasticsearch().items()}
    with fake_server(whole) as proxy:
        with connect(settings("http://es.invalid", proxy=proxy.url)) as server:
            assert server.version == (9, 5, 0)
        error = refused("https://es.invalid", proxy=proxy.url)
    assert type(error) is ServerAwayError
    assert error.where == f"{proxy.url} (the proxy)"


WAYS = {
    "basic": (
        {"CONNWATCH_ES_USERNAME": "ann", "CONNWATCH_ES_PASSWORD": SECRET},
        "Basic " + base64.b64encode(f"ann:{SECRET}".encode()).decode(),
    ),
    "key": ({"CONNWATCH_ES_API_KEY": SECRET}, f"ApiKey {SECRET}"),
    "key with id": (
        {"CONNWATCH_ES_API_KEY": f"id:{SECRET}"},
        "ApiKey " + base64.b64encode(f"id:{SECRET}".encode()).decode(),
    ),
    "bearer": ({"CONNWATCH_ES_BEARER_TOKEN": SECRET}, f"Bearer {SECRET}"),
}


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


@pytest.mark.parametrize("way", WAYS)
def test_a_secret_is_sent_and_never_shown(
    way: str, everything_logged: pytest.LogCaptureFixture
) -> None:
    environment, header = WAYS[way]
    hidden = {SECRET, header.partition(" ")[2]}
    with fake_server(elasticsearch()) as fake:
        given = settings(fake.url, environment=environment)
        shown = [repr(given), str(given)]
        with connect(given) as server:
            assert {one.headers["authorization"] for one in fake.asked} == {header}
            shown += [repr(server), repr(server.client), repr(server.perform("GET", "/x"))]
            shown += [repr(server.client.transport.node_pool.get().config)]
            fake.answers["*"] = Answer(401, {"error": "no"})
            fake.answers[WHO] = Answer(401, {"error": "no"})
        with pytest.raises(ServerAccessError) as told:
            connect(given)
        shown += ["".join(traceback.format_exception(told.value))]
    with pytest.raises(ServerAwayError) as away:
        connect(given)
    shown += ["".join(traceback.format_exception(away.value)), everything_logged.text]
    with pytest.raises(TypeError):
        pickle.dumps(given)
    assert "authorization" in everything_logged.text.lower()
    for text in shown:
        assert not any(secret in text for secret in hidden), text


def test_what_comes_back_is_as_it_was_sent() -> None:
    answers = elasticsearch() | {
        "/_bulk": Answer(429, {"error": {"type": "busy", "reason": "later"}}, {"Retry-After": "7"}),
        "/text": Answer(200, b"words"),
    }
    with fake_server(answers) as fake, connect(settings(fake.url)) as server:
        answer = server.perform(
            "POST", "/_bulk", b'{"a":1}\n', params={"filter_path": "errors,items.*.status"}
        )
        assert (answer.status, answer.ok, answer.reason) == (429, False, "busy: later")
        assert answer.headers["retry-after"] == "7"
        assert fake.asked[-1].body == b'{"a":1}\n'
        assert fake.asked[-1].path == "/_bulk?filter_path=errors%2Citems.%2A.status"
        assert len(fake.asked) == 2
        assert server.perform("GET", "/text").body == "words"
        server.perform("POST", "/x", {"ä": None})
        assert json.loads(fake.asked[-1].body) == {"ä": None}


def test_real_servers(elasticsearch: Elastic) -> None:
    with connect(settings(elasticsearch.url), writing=True) as server:
        assert server.version_text == elasticsearch.version
        index = f"{elasticsearch.prefix}-x"
        assert server.client.index(index=index, id="1", document={"a": 1})["result"] == "created"
        assert server.perform("PUT", f"/{index}/_create/1", {"a": 1}).status == 409
        assert server.get(f"/{index}/_doc/1")["_source"] == {"a": 1}
        line = json.dumps({"create": {"_index": index, "_id": "2"}}) + '\n{"a":2}\n'
        compressed = {"content-type": NDJSON, "content-encoding": "gzip"}
        answer = server.perform(
            "POST", "/_bulk", gzip.compress(line.encode() * 2), headers=compressed
        )
        assert [one["create"]["status"] for one in answer.body["items"]] == [201, 409]
    lock: dict[str, Any] = {"persistent": {"cluster.blocks.read_only_allow_delete": True}}
    elasticsearch.ask("PUT", "/_cluster/settings", lock)
    try:
        error = refused(elasticsearch.url)
        connect(settings(elasticsearch.url)).close()
    finally:
        lock["persistent"]["cluster.blocks.read_only_allow_delete"] = None
        elasticsearch.ask("PUT", "/_cluster/settings", lock)
    assert type(error) is ServerLockedError


def test_real_servers_with_tls_and_users(secured: Elastic) -> None:
    environment = {
        "CONNWATCH_ES_USERNAME": "connwatch",
        "CONNWATCH_ES_PASSWORD": secured.users["connwatch"],
    }
    with connect(settings(secured.url, environment=environment, ca=secured.ca)) as server:
        index = f"{secured.prefix}-events-x"
        for status in (201, 409):
            assert server.perform("PUT", f"/{index}/_create/1", {"a": 1}).status == status
    environment["CONNWATCH_ES_PASSWORD"] = SECRET
    error = refused(secured.url, environment=environment, ca=secured.ca)
    assert type(error) is ServerAccessError
    assert SECRET not in str(error)
    environment = {
        "CONNWATCH_ES_USERNAME": "nobody",
        "CONNWATCH_ES_PASSWORD": secured.users["nobody"],
    }
    error = refused(secured.url, environment=environment, ca=secured.ca)
    assert "(403)" in error.message


def fingerprint_of(certificate: Path) -> str:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    return (
        x509.load_pem_x509_certificate(certificate.read_bytes()).fingerprint(hashes.SHA256()).hex()
    )
