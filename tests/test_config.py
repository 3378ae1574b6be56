"""Configuration files: what they come to, and what is said of those that are wrong."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from connwatch.config import (
    BUNDLED,
    Config,
    Elasticsearch,
    Http,
    Limits,
    Log,
    Retention,
    SourceConfig,
    first_file,
    load,
    markdown,
    parse,
)

FORMATS = ("zeek-tsv", "zeek-json")
SMALLEST = """\
store: /var/lib/connwatch
rules: [rules/]
sources:
  - path: /var/log/zeek/current/conn.log
"""
SOURCES = "sources: [{path: a.log}]\n"


def read(text: str) -> Config:
    return parse(text, Path("/etc/connwatch/c.yml"), formats=FORMATS)


def test_the_smallest_configuration(tmp_path: Path) -> None:
    file = tmp_path / "connwatch.yml"
    file.write_text(SMALLEST)
    assert load(file, formats=FORMATS) == Config(
        store=Path("/var/lib/connwatch"),
        rules=(tmp_path / "rules",),
        sources=(SourceConfig("/var/log/zeek/current/conn.log"),),
    )


def test_every_key_takes_effect() -> None:
    config = read(
        """\
store: data
rules: [bundled, ./bundled, /r]
indicators: [bad.txt]
allow: [good.txt]
home_networks: [192.168.1.7/16, "2001:db8::/32"]
timezone: Europe/Berlin
idle_limit: 2m
batch: 50_000
watch: polling
poll_interval: 2
settle: 1h
limits: {items: 1000, open_alerts: 500}
retention: {events: 30d, alerts: 52w, max_size: 500 MiB}
elasticsearch:
  nodes: ["https://es1", "http://[::1]:9201/es/"]
  cloud_id: "c:x"
  prefix: lab-7
  username: writer
  password_file: p
  api_key_file: k
  bearer_token_file: t
  ca: ca.pem
  fingerprint: 00ff
  client_certificate: c.pem
  client_key: c.key
  proxy: http://proxy
  timeout: 5s
  allow_plain_http_to: [es2]
  routing: month
  shards: 3
  replicas: 0
http: {port: 9477, address: 0.0.0.0, ready_max_lag_seconds: 10, ready_max_errors: 3}
log: {format: json, level: debug}
sources:
  - path: logs/*.log
    format: zeek-tsv
    sensor: 012
    labels: {site: no, rack: 1.10}
    timezone: UTC
    home_networks: []
    start: end
    exclude: ["*.tmp", old/*]
    archives: [old]
  - path: "-"
  - command: [ss, -t, "*"]
    kind: stream
    interval: 30s
    timeout: 1.5
"""
    )
    here = Path("/etc/connwatch")
    assert config == Config(
        store=here / "data",
        rules=(BUNDLED, here / "bundled", Path("/r")),
        indicators=(here / "bad.txt",),
        allow=(here / "good.txt",),
        home_networks=("192.168.0.0/16", "2001:db8::/32"),
        timezone="Europe/Berlin",
        idle_limit=120.0,
        batch=50_000,
        watch="polling",
        poll_interval=2.0,
        settle=3600.0,
        limits=Limits(1000, 500),
        retention=Retention(timedelta(days=30), timedelta(weeks=52), 500 * 2**20),
        elasticsearch=Elasticsearch(
            ("https://es1:443", "http://[::1]:9201/es"),
            "c:x",
            "lab-7",
            "writer",
            *(here / name for name in ("p", "k", "t", "ca.pem")),
            "00ff",
            here / "c.pem",
            here / "c.key",
            "http://proxy:8080",
            5.0,
            ("es2",),
            "month",
            3,
            0,
        ),
        http=Http(9477, "0.0.0.0", 10.0, 3),
        log=Log("json", "debug"),
        sources=(
            SourceConfig(
                "/etc/connwatch/logs/*.log",
                (),
                "table",
                10.0,
                5.0,
                "zeek-tsv",
                "012",
                {"site": "no", "rack": "1.10"},
                "UTC",
                (),
                "end",
                ("*.tmp", "/etc/connwatch/old/*"),
                ("/etc/connwatch/old",),
            ),
            SourceConfig("-"),
            SourceConfig(command=("ss", "-t", "*"), kind="stream", interval=30.0, timeout=1.5),
        ),
    )
    assert config.rule_paths(Path("/b")) == [Path("/b"), here / "bundled", Path("/r")]
    first, second, _ = config.sources
    assert (config.timezone_of(first), config.home_of(first)) == ("UTC", ())
    assert (config.timezone_of(second), config.home_of(second)) == (
        "Europe/Berlin",
        ("192.168.0.0/16", "2001:db8::/32"),
    )


@pytest.mark.parametrize(
    ("text", "rules"), [("", (BUNDLED,)), ("rules: []\n", ()), ("rules: [bundled]\n", (BUNDLED,))]
)
def test_without_rules_the_bundled_ones_and_with_none_none(text: str, rules: Any) -> None:
    assert read(text + SOURCES).rules == rules


PATHS = [
    ("a.log", "/etc/connwatch/a.log"),
    ("../a.log", "/etc/connwatch/../a.log"),
    ("./-", "/etc/connwatch/-"),
    ("folder/", "/etc/connwatch/folder"),
    ("~/a.log", "/home/me/a.log"),
    ("a~", "/etc/connwatch/a~"),
    ("${LOGS}/a.log", "/srv/logs/a.log"),
    ("x/${SENSOR}.log", "/etc/connwatch/x/dmz.log"),
    ("$${LOGS}", "/etc/connwatch/${LOGS}"),
    ("$LOGS", "/etc/connwatch/$LOGS"),
]


@pytest.mark.parametrize(("text", "path"), PATHS)
def test_a_path(text: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HOME": "/home/me", "LOGS": "/srv/logs", "SENSOR": "dmz"}.items():
        monkeypatch.setenv(name, value)
    config = read(f"store: '{text}'\nsources: [{{path: '{text}'}}]\n")
    assert config.sources[0].path == path
    assert str(config.store) == path


def test_the_folder_of_a_pattern_is_no_pattern() -> None:
    text = 'sources: [{path: "*.log"}, {path: a.log}]\n'
    sources = parse(text, Path("/x[1]/c.yml"), formats=FORMATS).sources
    assert [source.path for source in sources] == ["/x[[]1]/*.log", "/x[1]/a.log"]


def test_the_store_is_that_of_the_environment_when_the_file_names_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONNWATCH_STORE", "/from/environment")
    assert read(SOURCES).store == Path("/from/environment")
    assert read(f"store: /own\n{SOURCES}").store == Path("/own")


def test_aliases_are_read_and_an_empty_section_is_its_defaults() -> None:
    text = (
        "log:\nsources:\n  - path: a\n    labels: &l {site: north}\n  - path: b\n    labels: *l\n"
    )
    config = read(text)
    assert config.sources[0].labels == config.sources[1].labels == {"site": "north"}
    assert config.log == Log()


def test_the_first_file_and_every_line_of_it_load_to_the_defaults() -> None:
    text = first_file()
    expected = Config(sources=(SourceConfig("/var/log/zeek/current/conn.log"),))
    assert read(text) == expected
    everything = re.sub(r"(?m)^#((?:  )*)(?=\w+:)", r"\1", text)
    assert read(everything) == expected
    given = set(re.findall(r"(?m)^[ -]*(\w+):", everything))
    for of in (Config, SourceConfig, Limits, Retention, Elasticsearch, Http, Log):
        assert {field.name for field in fields(of)} <= given
    for line in (line for line in text.splitlines() if re.match(r"#\w+: ", line)):
        assert read(text.replace(line, line[1:])) == expected, line


@pytest.mark.source
def test_the_page_on_configuration_is_current_and_its_examples_load() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page.split("model.py -->\n\n")[1] == markdown()
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        read(example)
    assert examples[0] == SMALLEST
